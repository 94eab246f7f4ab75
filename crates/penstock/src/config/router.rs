//! The choice of an API, as configured.

use super::{OperationConfig, Size, Time};
use schemars::JsonSchema;
use serde::Deserialize;

/// By which API rows go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApiWord {
    /// The router chooses for each batch.
    #[default]
    Auto,
    /// sObject Collections: up to 200 rows in a call.
    Collections,
    /// Composite Graph.
    Graph,
    /// Bulk API 2.0.
    Bulk,
    /// Platform events: by Pub/Sub where it can be reached, else by REST.
    Event,
    /// Platform events by the Pub/Sub API only.
    PubSub,
    /// One record in a call.
    Rest,
}

/// How the router chooses.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RouterConfig {
    /// Fewer ready rows than this never make a Bulk job.
    #[serde(default = "default_bulk_from")]
    pub bulk_from: usize,
    /// Rows of one Bulk job; each 10,000 cost one of the day's batches.
    #[serde(default = "default_bulk_rows")]
    pub bulk_rows: usize,
    /// Record bytes of one Bulk job; those of one job of each route are held in memory.
    #[serde(default = "default_bulk_bytes")]
    pub bulk_bytes: Size,
    /// How long rows wait for more of them while a first copy runs, so that jobs are full.
    #[serde(default = "default_bulk_wait")]
    pub bulk_wait: Time,
    /// The first rule that matches decides; without one the router weighs cost, speed and deadline.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            bulk_from: default_bulk_from(),
            bulk_rows: default_bulk_rows(),
            bulk_bytes: default_bulk_bytes(),
            bulk_wait: default_bulk_wait(),
            rules: Vec::new(),
        }
    }
}

/// A rule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RuleConfig {
    #[serde(default)]
    pub when: WhenConfig,
    pub api: ApiWord,
}

/// What a rule names must all be so.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct WhenConfig {
    pub table: Option<String>,
    pub operation: Option<OperationConfig>,
    /// `critical`, `standard` or `bulk`.
    pub lane: Option<String>,
    /// At least so many rows are ready.
    pub rows_from: Option<usize>,
    /// At most so many rows are ready.
    pub rows_to: Option<usize>,
}

fn default_bulk_from() -> usize {
    2_000
}

fn default_bulk_rows() -> usize {
    10_000
}

fn default_bulk_bytes() -> Size {
    Size(32 << 20)
}

fn default_bulk_wait() -> Time {
    Time(std::time::Duration::from_secs(2))
}
