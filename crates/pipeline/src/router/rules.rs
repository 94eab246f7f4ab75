//! What configuration says about the choice of an API.

use crate::spec::Operation;
use model::{Api, Lane, TableName};
use std::time::Duration;

/// A route's `api`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ApiSetting {
    /// The router chooses.
    #[default]
    Auto,
    Only(Api),
}

/// A rule of the pipeline: rows that match all that it names go by its API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiRule {
    pub api: Api,
    pub table: Option<TableName>,
    pub operation: Option<Operation>,
    pub lane: Option<Lane>,
    /// Ready rows, from and up to.
    pub rows_min: Option<usize>,
    pub rows_max: Option<usize>,
}

impl ApiRule {
    /// True when rows of this kind and number match.
    pub fn matches(&self, table: &TableName, operation: Operation, lane: Lane, rows: usize) -> bool {
        self.table.as_ref().is_none_or(|wanted| wanted == table)
            && self.operation.is_none_or(|wanted| wanted == operation)
            && self.lane.is_none_or(|wanted| wanted == lane)
            && self.rows_min.is_none_or(|min| rows >= min)
            && self.rows_max.is_none_or(|max| rows <= max)
    }
}

/// The router's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterSpec {
    /// Fewer ready rows than this never make a job.
    pub bulk_from: usize,
    /// Rows of one job.
    pub bulk_rows_max: usize,
    /// Record bytes of one job; one job of a route is written and uploaded at a time.
    pub bulk_bytes_max: usize,
    /// How long rows wait for more of them while a copy runs, so that jobs are full.
    pub bulk_wait: Duration,
    /// In order: the first that matches decides.
    pub rules: Vec<ApiRule>,
}

impl Default for RouterSpec {
    fn default() -> Self {
        // A job costs some ten calls and a batch of the day's 15,000: Collections take as many calls for 2,000 rows.
        Self {
            bulk_from: 2_000,
            bulk_rows_max: 10_000,
            bulk_bytes_max: 32 << 20,
            bulk_wait: Duration::from_secs(2),
            rules: Vec::new(),
        }
    }
}
