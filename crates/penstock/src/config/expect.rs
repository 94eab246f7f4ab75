//! What is expected of the data: changes, rows, bursts, subscribers. Only plans read it; nothing is sent differently for it.

use super::{Rate, Time};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Expectations.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ExpectConfig {
    /// Table → how often it changes: `5/s`, or inserts, updates and deletes apart.
    #[serde(default)]
    pub changes: BTreeMap<String, ExpectedChanges>,
    /// Table → rows, where the database is not asked (`plan --offline`).
    #[serde(default)]
    pub rows: BTreeMap<String, u64>,
    /// A burst that the log must hold.
    pub burst: Option<ExpectedBurst>,
    /// Clients outside the org that subscribe to published events: each of them counts every event.
    #[serde(default = "one")]
    pub subscribers: u64,
}

/// How often a table changes.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ExpectedChanges {
    /// All together; reckoned as updates.
    All(Rate),
    Each(ExpectedKinds),
}

/// Changes by kind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectedKinds {
    pub inserts: Option<Rate>,
    pub updates: Option<Rate>,
    pub deletes: Option<Rate>,
}

/// A burst.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ExpectedBurst {
    pub rate: Rate,
    pub length: Time,
    /// The table that bursts; without it all do, in the proportions of their changes.
    pub table: Option<String>,
}

impl Default for ExpectConfig {
    fn default() -> Self {
        Self { changes: BTreeMap::new(), rows: BTreeMap::new(), burst: None, subscribers: one() }
    }
}

fn one() -> u64 {
    1
}
