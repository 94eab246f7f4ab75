//! How long the org takes: a base per request and a part per record, with a seeded jitter.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Time of one kind of request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceTime {
    pub base_ms: f64,
    pub per_record_ms: f64,
}

/// Times of every kind of request; all zero unless set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LatencyModel {
    /// Token endpoints.
    pub oauth: ServiceTime,
    /// `/limits`, versions, describe.
    pub metadata: ServiceTime,
    pub query: ServiceTime,
    /// Calls for one record.
    pub single: ServiceTime,
    pub collections: ServiceTime,
    /// Composite, Batch, Graph and Tree, by subrequest or record.
    pub composite: ServiceTime,
    /// An internal batch of 200 rows of a Bulk job; `BulkConfig::workers` of them are worked on at the same time.
    pub bulk: ServiceTime,
    /// A query of a Bulk job.
    pub bulk_query: ServiceTime,
    /// Deliveries of the Pub/Sub API.
    pub pubsub: ServiceTime,
    /// The time varies by this part to either side: 0.2 is ± 20 %.
    pub jitter: f64,
}

impl LatencyModel {
    /// No delays.
    pub fn none() -> Self {
        Self::default()
    }

    /// What was measured on a real org: Collections 350 records/s with 10 calls of 200 in flight (5.7 s a call), reads
    /// 11,000 to 15,000 records/s, Bulk 1,066 records/s with 30 jobs, of which each has one of the 30 workers then
    /// (Redpanda's published figures); the bases are ordinary round trips.
    pub fn realistic() -> Self {
        let time = |base_ms, per_record_ms| ServiceTime { base_ms, per_record_ms };
        Self {
            oauth: time(250.0, 0.0),
            metadata: time(120.0, 0.0),
            query: time(90.0, 0.075),
            single: time(150.0, 0.0),
            collections: time(120.0, 28.0),
            composite: time(120.0, 50.0),
            bulk: time(0.0, 28.143),
            bulk_query: time(2_000.0, 0.075),
            // 200 events/s.
            pubsub: time(0.0, 5.0),
            jitter: 0.2,
        }
    }

    /// Parses the name of a profile.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::none()),
            "realistic" => Some(Self::realistic()),
            _ => None,
        }
    }

    /// The time of a request; `dice` is uniform in 0 to 1.
    pub fn time(&self, of: ServiceTime, records: usize, dice: f64) -> Duration {
        let ms = of.base_ms + of.per_record_ms * records as f64;
        let ms = ms * (1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * dice - 1.0));
        if ms > 0.0 { Duration::from_secs_f64(ms / 1000.0) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_delays_are_exactly_zero_and_jitter_stays_in_its_band() {
        let none = LatencyModel::none();
        assert_eq!(none.time(none.collections, 200, 0.9), Duration::ZERO);
        let real = LatencyModel::realistic();
        let call = |dice| real.time(real.collections, 200, dice).as_secs_f64();
        assert!((call(0.5) - 5.72).abs() < 1e-9);
        assert!((call(0.0) - 5.72 * 0.8).abs() < 1e-9 && (call(1.0) - 5.72 * 1.2).abs() < 1e-9);
    }
}
