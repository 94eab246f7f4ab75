//! How Bulk jobs are made and waited for.

use super::values::{Size, Time};
use connector_salesforce::BulkSettings;
use schemars::JsonSchema;
use serde::Deserialize;

/// Bulk API 2.0 jobs of one org. What is left out has its default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct JobSettings {
    /// Rows of a job at most; each 10,000 begun cost one of the org's daily batches. Default: 100000.
    pub max_rows: Option<usize>,
    /// Bytes of a job's file at most; Salesforce takes about 112 MB. Default: 100000000B.
    pub max_file: Option<Size>,
    /// Jobs at a time. Default: 6.
    pub max_jobs: Option<usize>,
    /// How long sending a file, or reading a result, may take. Default: 10m.
    pub transfer_timeout: Option<Time>,
    /// The shortest wait between two looks at a job; each look is an API call. Default: 1s.
    pub look_every: Option<Time>,
    /// A job that works off no row for so long is aborted. Default: 30m.
    pub stuck_after: Option<Time>,
}

impl JobSettings {
    /// The settings, over the defaults.
    pub fn resolve(&self) -> BulkSettings {
        let default = BulkSettings::default();
        let size = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
        BulkSettings {
            rows_max: self.max_rows.unwrap_or(default.rows_max),
            file_bytes_max: self.max_file.map_or(default.file_bytes_max, size),
            jobs_max: self.max_jobs.unwrap_or(default.jobs_max),
            transfer_timeout: self.transfer_timeout.map_or(default.transfer_timeout, |time| time.0),
            poll_min: self.look_every.map_or(default.poll_min, |time| time.0),
            stuck_after: self.stuck_after.map_or(default.stuck_after, |time| time.0),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load_text;
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_written_stands_over_the_defaults_and_unknown_keys_are_refused() {
        let city = include_str!("../../../../examples/city.yaml");
        let with = |bulk: &str| city.replacen("share: 50%", &format!("share: 50%\n    bulk: {bulk}"), 1);
        let loaded = load_text("city.yaml", &with("{max_rows: 20000, stuck_after: 5m}"));
        assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
        let settings = loaded.config.unwrap().orgs.values().next().unwrap().bulk.resolve();
        assert_eq!((settings.rows_max, settings.stuck_after), (20_000, Duration::from_secs(300)));
        assert_eq!(settings.file_bytes_max, BulkSettings::default().file_bytes_max);
        assert_eq!(load_text("city.yaml", &with("{max_row: 1}")).findings[0].code.0, "PS1003");
    }
}
