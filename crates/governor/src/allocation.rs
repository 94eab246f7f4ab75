//! The allocations of an org that matter to who writes to it or listens to it.
//!
//! | allocation | span | what counts | paid by |
//! |---|---|---|---|
//! | `DailyApiRequests` | 24 h | API requests | permits |
//! | `DailyBulkApiBatches` | 24 h | batches of 10,000 rows that Bulk jobs are cut into | permits |
//! | `HourlyPublishedPlatformEvents` | 1 h | high-volume platform events published | permits |
//! | `HourlyPublishedStandardVolumePlatformEvents` | 1 h | events of the old kind | what is noted |
//! | `DailyDeliveredPlatformEvents` | 24 h | events delivered, once for each client that listens | what is noted |
//! | `DailyBulkV2QueryJobs`, `DailyBulkV2QueryFileStorageMB` | 24 h | query jobs, megabytes of their results | what is noted |
//! | `DataStorageMB` | a level | records kept | creates are refused when it is full |
//! | `MonthlyPlatformEventsUsageEntitlement` | a contract's month | events, with the add-on only | watched |
//!
//! Source: reference, sections 2.5 and 7.

use crate::config::Permille;
use contract::Spend;
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub const API_REQUESTS: &str = "DailyApiRequests";
pub const BULK_BATCHES: &str = "DailyBulkApiBatches";
pub const EVENTS_PUBLISHED: &str = "HourlyPublishedPlatformEvents";
pub const STANDARD_EVENTS_PUBLISHED: &str = "HourlyPublishedStandardVolumePlatformEvents";
pub const EVENTS_DELIVERED: &str = "DailyDeliveredPlatformEvents";
pub const QUERY_JOBS: &str = "DailyBulkV2QueryJobs";
pub const QUERY_MEGABYTES: &str = "DailyBulkV2QueryFileStorageMB";
pub const DATA_STORAGE: &str = "DataStorageMB";
pub const EVENTS_ENTITLED: &str = "MonthlyPlatformEventsUsageEntitlement";

/// Which part of a `Spend` an allocation counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    Calls,
    BulkBatches,
    Events,
    /// No part: nothing asks for it; what is used of it is noted (`Governor::note`).
    Noted,
}

impl Counts {
    /// That part.
    pub fn of(self, cost: Spend) -> u64 {
        u64::from(match self {
            Self::Calls => cost.calls,
            Self::BulkBatches => cost.bulk_batches,
            Self::Events => cost.events,
            Self::Noted => 0,
        })
    }
}

/// An allocation that counts in a rolling span: a row of the governor's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationSpec {
    /// In the org's spelling: `DailyApiRequests`.
    pub name: Arc<str>,
    /// How older versions spell it.
    pub aliases: &'static [&'static str],
    /// What one of it is, for people: `API requests`.
    pub words: &'static str,
    pub counts: Counts,
    /// The rolling span that the allocation counts in.
    pub span: Duration,
    /// How finely spending is forgotten; divides the span.
    pub bucket: Duration,
    /// Taken as the maximum until the org has told its own.
    pub assumed_max: u64,
    /// The pipeline's part of it; none: `GovernorConfig::share`.
    pub share: Option<Permille>,
}

impl AllocationSpec {
    /// API requests in rolling 24 hours. Before the org has told its maximum, the smallest edition's 15,000 is assumed
    /// (reference, section 7).
    pub fn daily_api_requests() -> Self {
        rolling(API_REQUESTS, "API requests", Counts::Calls, DAY, 15_000)
    }

    /// Every rolling allocation, API requests first. The assumed maxima are the smallest edition's.
    pub fn all() -> Vec<Self> {
        let batches = rolling(BULK_BATCHES, "Bulk batches", Counts::BulkBatches, DAY, 15_000);
        vec![
            Self::daily_api_requests(),
            // Named so up to version 48, and by some orgs later (reference, section 2.5).
            Self { aliases: &["DailyBulkApiRequests"], ..batches },
            rolling(EVENTS_PUBLISHED, "events published", Counts::Events, HOUR, 50_000),
            rolling(STANDARD_EVENTS_PUBLISHED, "standard-volume events published", Counts::Noted, HOUR, 1_000),
            rolling(EVENTS_DELIVERED, "events delivered", Counts::Noted, DAY, 10_000),
            rolling(QUERY_JOBS, "Bulk query jobs", Counts::Noted, DAY, 10_000),
            rolling(QUERY_MEGABYTES, "MB of Bulk query results", Counts::Noted, DAY, 1 << 20),
        ]
    }

    /// True for its name, in any version's spelling.
    pub fn is_named(&self, name: &str) -> bool {
        *self.name == *name || self.aliases.contains(&name)
    }
}

/// A span is forgotten in ninety-sixths: a quarter of an hour of a day, 37.5 s of an hour.
fn rolling(name: &str, words: &'static str, counts: Counts, span: Duration, assumed_max: u64) -> AllocationSpec {
    AllocationSpec { name: name.into(), aliases: &[], words, counts, span, bucket: span / 96, assumed_max, share: None }
}

/// An allocation that is a level: it frees only when somebody deletes, or a month ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelSpec {
    pub name: Arc<str>,
    pub aliases: &'static [&'static str],
    pub words: &'static str,
    /// Up to which part of the maximum records may be created.
    pub full_at: Permille,
    /// Kilobytes that a created record takes; 0: it is only watched.
    pub record_kb: u64,
}

impl LevelSpec {
    /// Data storage, and the monthly entitlement to events.
    pub fn all() -> Vec<Self> {
        vec![
            LevelSpec {
                name: DATA_STORAGE.into(),
                aliases: &[],
                words: "MB of records",
                full_at: Permille(1000),
                // What Salesforce counts for a record of most objects.
                record_kb: 2,
            },
            LevelSpec {
                name: EVENTS_ENTITLED.into(),
                aliases: &["MonthlyPlatformEvents"],
                words: "events of the month",
                full_at: Permille(1000),
                record_kb: 0,
            },
        ]
    }

    /// True for its name, in any version's spelling.
    pub fn is_named(&self, name: &str) -> bool {
        *self.name == *name || self.aliases.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_cost_is_counted_in_exactly_one_row() {
        let cost = Spend { calls: 3, bulk_batches: 5, events: 7 };
        let counted: Vec<u64> =
            AllocationSpec::all().iter().map(|row| row.counts.of(cost)).filter(|n| *n > 0).collect();
        assert_eq!(counted, [3, 5, 7]);
        assert_eq!(AllocationSpec::all()[0].name.as_ref(), API_REQUESTS);
        assert!(AllocationSpec::all()[1].is_named("DailyBulkApiRequests"));
    }
}
