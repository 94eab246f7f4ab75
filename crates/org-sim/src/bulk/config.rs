//! Settings of the Bulk APIs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a job becomes that stayed open for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OpenJobEnd {
    Aborted,
    #[default]
    Failed,
}

/// How the Bulk APIs work; the times of the work are in the latency model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BulkConfig {
    /// Internal batches of 200 rows that the org works on at the same time.
    pub workers: usize,
    /// Those of one job; 1 is serial.
    pub workers_per_job: usize,
    /// Milliseconds from closing a job, or creating a query, to its start.
    pub start_delay_ms: u64,
    /// How often an internal batch that got no lock is put back before its rows fail.
    pub lock_retries: u32,
    /// Batches of 10,000 rows in rolling 24 hours, Bulk API 1.0 and 2.0 together.
    pub daily_batches_max: u64,
    /// Query jobs of Bulk API 2.0 in rolling 24 hours.
    pub daily_query_jobs_max: u64,
    /// Megabytes of query results in rolling 24 hours.
    pub daily_query_result_mb_max: u64,
    /// Bytes of an upload once it is encoded in base64, which adds a third.
    pub upload_base64_bytes_max: u64,
    /// Bytes of a batch of Bulk API 1.0.
    pub batch_bytes_max: u64,
    /// Rows of a page of query results unless the caller says otherwise.
    pub page_rows: usize,
    /// Bytes of a page of query results, whatever the caller says.
    pub page_bytes_max: u64,
    /// Hours that a job may stay open.
    pub open_hours_max: i64,
    /// What a job becomes that stayed open for too long; the documents leave it open.
    pub open_job_becomes: OpenJobEnd,
    /// Days that jobs and results are kept.
    pub retention_days: i64,
    /// Whether users may delete for good ("Bulk API Hard Delete").
    pub hard_delete: bool,
    /// Compressed bytes of uploads and results in memory; more go to temporary files.
    pub memory_bytes_max: usize,
    /// Jobs that are kept at the same time; creating one more is refused.
    pub jobs_max: usize,
}

impl Default for BulkConfig {
    fn default() -> Self {
        Self {
            workers: 30,
            workers_per_job: 5,
            start_delay_ms: 0,
            lock_retries: 3,
            daily_batches_max: 15_000,
            daily_query_jobs_max: 10_000,
            daily_query_result_mb_max: 976_562,
            upload_base64_bytes_max: 150_000_000,
            batch_bytes_max: 10_000_000,
            page_rows: 100_000,
            page_bytes_max: 100_000_000,
            open_hours_max: 24,
            open_job_becomes: OpenJobEnd::Failed,
            retention_days: 7,
            hard_delete: true,
            memory_bytes_max: 256 * 1024 * 1024,
            jobs_max: 100_000,
        }
    }
}
