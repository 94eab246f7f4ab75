//! Settings of Bulk API 2.0.

use std::time::Duration;

/// How jobs are made and waited for. The defaults follow "Bulk API and Bulk API 2.0 Limits and Allocations".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkSettings {
    /// Rows of a job. Each 10,000 begun cost one of the org's daily batches.
    pub rows_max: usize,
    /// Bytes of a job's file: 150 MB in base64 are about 112 MB; Salesforce advises 100 MB.
    pub file_bytes_max: usize,
    /// Jobs at a time.
    pub jobs_max: usize,
    /// From sending a file, or asking for a result, to the last byte of the answer. Salesforce ends a call after 10 minutes.
    pub transfer_timeout: Duration,
    /// The shortest and the longest wait between two looks at a job.
    pub poll_min: Duration,
    pub poll_max: Duration,
    /// A job that works off no row for so long is aborted; its rows are settled by its results.
    pub stuck_after: Duration,
    /// Memory for results of adopted jobs, whose rows are asked for in pieces.
    pub adopted_bytes_max: usize,
}

impl Default for BulkSettings {
    fn default() -> Self {
        Self {
            rows_max: 100_000,
            file_bytes_max: 100_000_000,
            jobs_max: 4,
            transfer_timeout: Duration::from_secs(600),
            poll_min: Duration::from_secs(1),
            poll_max: Duration::from_secs(120),
            stuck_after: Duration::from_secs(30 * 60),
            adopted_bytes_max: 64 * 1024 * 1024,
        }
    }
}
