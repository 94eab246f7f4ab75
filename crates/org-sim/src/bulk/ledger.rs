//! What the Bulk APIs have used of their allocations in the last 24 hours.

use super::config::BulkConfig;
use crate::limits::Rolling;
use serde::Deserialize;

const MEGABYTE: u64 = 1_000_000;

/// Salesforce's sentence when the batches of the day are used up.
pub const NO_BATCHES: &str = "ApiBatchItems Limit exceeded.";

/// Salesforce's sentence when the query jobs of the day are used up.
pub const NO_QUERY_JOBS: &str = "BulkV2QueryJobs Limit exceeded.";

/// Salesforce's sentence when the query results of the day are used up.
pub const NO_QUERY_BYTES: &str = "BulkV2QueryFileStorage Limit exceeded.";

/// A new maximum or count of an allocation (`POST /_sim/limits`).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allocation {
    pub max: Option<u64>,
    pub used: Option<u64>,
}

impl Allocation {
    fn apply(self, max: &mut u64, rolling: &mut Rolling, now_ms: i64) {
        *max = self.max.unwrap_or(*max);
        if let Some(used) = self.used {
            *rolling = Rolling::default();
            rolling.add(now_ms, used);
        }
    }
}

/// Rolling counts of batches, query jobs and result bytes.
#[derive(Clone, Debug)]
pub struct Ledger {
    batches: Rolling,
    batches_max: u64,
    query_jobs: Rolling,
    query_jobs_max: u64,
    result_bytes: Rolling,
    result_mb_max: u64,
}

impl Ledger {
    /// Makes an unused one.
    pub fn new(config: &BulkConfig) -> Self {
        Self {
            batches: Rolling::default(),
            batches_max: config.daily_batches_max,
            query_jobs: Rolling::default(),
            query_jobs_max: config.daily_query_jobs_max,
            result_bytes: Rolling::default(),
            result_mb_max: config.daily_query_result_mb_max,
        }
    }

    /// Batches that are left.
    pub fn batches_left(&mut self, now_ms: i64) -> u64 {
        self.batches_max.saturating_sub(self.batches.used(now_ms))
    }

    /// Takes a batch; false when none is left.
    pub fn take_batch(&mut self, now_ms: i64) -> bool {
        let left = self.batches_left(now_ms) > 0;
        if left {
            self.batches.add(now_ms, 1);
        }
        left
    }

    /// Takes a query job.
    ///
    /// # Errors
    /// The sentence that refuses it.
    pub fn take_query_job(&mut self, now_ms: i64) -> Result<(), &'static str> {
        if self.query_jobs.used(now_ms) >= self.query_jobs_max {
            return Err(NO_QUERY_JOBS);
        }
        if self.result_bytes.used(now_ms) >= self.result_mb_max * MEGABYTE {
            return Err(NO_QUERY_BYTES);
        }
        self.query_jobs.add(now_ms, 1);
        Ok(())
    }

    /// Adds bytes of a query's result.
    pub fn add_result(&mut self, now_ms: i64, bytes: u64) {
        self.result_bytes.add(now_ms, bytes);
    }

    /// Sets the maximum of batches, or what was used of them.
    pub fn set_batches(&mut self, set: &Allocation, now_ms: i64) {
        set.apply(&mut self.batches_max, &mut self.batches, now_ms);
    }

    /// Sets the maximum of query jobs, or what was used of them.
    pub fn set_query_jobs(&mut self, set: &Allocation, now_ms: i64) {
        set.apply(&mut self.query_jobs_max, &mut self.query_jobs, now_ms);
    }

    /// Forgets all use.
    pub fn clear(&mut self) {
        (self.batches, self.query_jobs, self.result_bytes) = Default::default();
    }

    /// The rows of `/limits`: name, maximum, and what was used of it.
    pub fn figures(&mut self, now_ms: i64) -> [(&'static str, u64, u64); 3] {
        let result_mb = self.result_bytes.used(now_ms).div_ceil(MEGABYTE);
        [
            ("DailyBulkApiBatches", self.batches_max, self.batches.used(now_ms)),
            ("DailyBulkV2QueryJobs", self.query_jobs_max, self.query_jobs.used(now_ms)),
            ("DailyBulkV2QueryFileStorageMB", self.result_mb_max, result_mb),
        ]
    }
}
