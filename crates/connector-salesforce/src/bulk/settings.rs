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
            jobs_max: 6,
            transfer_timeout: Duration::from_secs(600),
            poll_min: Duration::from_secs(1),
            poll_max: Duration::from_secs(120),
            stuck_after: Duration::from_secs(30 * 60),
            adopted_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// 150 MB in base64, which adds a third.
const FILE_BYTES_LIMIT: usize = 112_500_000;

impl BulkSettings {
    /// What cannot work; none: all is well.
    pub(crate) fn nonsense(&self) -> Option<&'static str> {
        match () {
            () if self.rows_max == 0 => Some("a job has one row at least"),
            () if self.jobs_max == 0 => Some("no job could ever be made"),
            () if self.file_bytes_max > FILE_BYTES_LIMIT => Some("Salesforce takes files of 112 MB at most"),
            () if self.file_bytes_max < 1_000_000 => Some("a file of less than 1 MB need not hold a single record"),
            () if self.poll_min.is_zero() || self.stuck_after.is_zero() => Some("a wait of nothing is no wait"),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_the_edges_are_known() {
        assert_eq!(BulkSettings::default().nonsense(), None);
        let file = |file_bytes_max| BulkSettings { file_bytes_max, ..BulkSettings::default() }.nonsense();
        assert!(file(112_500_000).is_none() && file(112_500_001).is_some() && file(999_999).is_some());
        assert!(BulkSettings { rows_max: 0, ..BulkSettings::default() }.nonsense().is_some());
        assert!(BulkSettings { poll_min: Duration::ZERO, ..BulkSettings::default() }.nonsense().is_some());
    }
}
