//! What the newest batches cost, by route and API: the journal of batches joined with their settlements.

use super::read::{durable, each};
use super::report::ProofError;
use crate::settle::{BATCHES, SETTLEMENTS, internal};
use contract::Log;
use hashbrown::HashMap;
use model::{BatchId, BatchIntent, Offset, RouteId, Settlement};
use serde::Serialize;
use std::collections::BTreeMap;

/// Rows that a Bulk job's batch holds: the org cuts jobs into such batches (reference, section 3.5).
const BULK_ROWS: u64 = 10_000;

/// What a route's newest batches by one API cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WaySpending {
    pub route: RouteId,
    /// In the target's words: `collections`, `bulk`, ….
    pub api: String,
    pub batches: u64,
    /// Records that they carried.
    pub records: u64,
    /// API requests, of those that are settled.
    pub calls: u64,
    /// Records of those that are settled.
    pub settled_records: u64,
    /// Batches of 10,000 rows; 0 but for Bulk jobs.
    pub bulk_batches: u64,
    /// Why the router chose this API for the newest of them.
    pub reason: Option<String>,
    /// When the oldest and the newest of them were journalled, Unix milliseconds.
    pub from_ms: i64,
    pub to_ms: i64,
}

impl WaySpending {
    /// API requests for 1,000 records; none before anything is settled.
    pub fn calls_per_1000(&self) -> Option<f64> {
        (self.settled_records > 0).then(|| self.calls as f64 * 1000.0 / self.settled_records as f64)
    }
}

/// Reads the newest `journalled_max` records of the journal. Shape: sorted by route, then API.
///
/// # Errors
/// `ProofError` when the log cannot be read.
pub async fn spending(log: &dyn Log, journalled_max: u64) -> Result<Vec<WaySpending>, ProofError> {
    let newest = |(start, end): (Offset, Offset), count: u64| (Offset(end.0.saturating_sub(count)).max(start), end);
    let mut batches: HashMap<BatchId, BatchIntent> = HashMap::new();
    let journal = internal(BATCHES);
    each(log, &journal, newest(durable(log, &journal)?, journalled_max), |_, record| {
        // A batch that goes by a job is written twice; the later record counts. What cannot be read is `prove`'s matter.
        if let Ok(intent) = serde_json::from_slice::<BatchIntent>(record.value.unwrap_or_default()) {
            batches.insert(intent.batch, intent);
        }
    })
    .await?;
    let mut calls: HashMap<BatchId, u64> = HashMap::new();
    let settlements = internal(SETTLEMENTS);
    // Settlements of the newest batches stand among the newest, one or two for each.
    each(log, &settlements, newest(durable(log, &settlements)?, journalled_max.saturating_mul(3)), |_, record| {
        if let Ok(settlement) = serde_json::from_slice::<Settlement>(record.value.unwrap_or_default())
            && let Some(batch) = settlement.batch
        {
            let known = calls.entry(batch).or_default();
            *known = (*known).max(u64::from(settlement.calls));
        }
    })
    .await?;
    Ok(sum(batches.into_values(), &calls))
}

fn sum(batches: impl Iterator<Item = BatchIntent>, calls: &HashMap<BatchId, u64>) -> Vec<WaySpending> {
    let mut sums: BTreeMap<(RouteId, String), WaySpending> = BTreeMap::new();
    for intent in batches {
        let records: u64 = intent.offsets.iter().map(|range| range.count()).sum();
        let key = (intent.route.clone(), intent.api.clone());
        let sum = sums.entry(key).or_insert_with(|| WaySpending {
            route: intent.route.clone(),
            api: intent.api.clone(),
            batches: 0,
            records: 0,
            calls: 0,
            settled_records: 0,
            bulk_batches: 0,
            reason: None,
            from_ms: intent.at_ms,
            to_ms: i64::MIN,
        });
        sum.batches += 1;
        sum.records += records;
        if let Some(calls) = calls.get(&intent.batch) {
            sum.calls += calls;
            sum.settled_records += records;
        }
        if intent.api == model::Api::Bulk.as_str() {
            sum.bulk_batches += records.div_ceil(BULK_ROWS);
        }
        sum.from_ms = sum.from_ms.min(intent.at_ms);
        if intent.at_ms >= sum.to_ms {
            sum.to_ms = intent.at_ms;
            sum.reason = intent.reason;
        }
    }
    sums.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{OffsetRange, Partition};

    fn intent(batch: u64, api: &str, records: u64, at_ms: i64, reason: Option<&str>) -> BatchIntent {
        BatchIntent {
            batch: BatchId(batch),
            route: "requests".into(),
            stream: "city".into(),
            partition: Partition(0),
            object: "Case".into(),
            api: api.to_owned(),
            offsets: vec![OffsetRange { from: Offset(0), to: Offset(records) }],
            attempt: 1,
            at_ms,
            job: None,
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn each_way_has_its_own_sum_and_the_newest_reason() {
        let batches = [
            intent(1, "collections", 200, 30, Some("new")),
            intent(2, "collections", 100, 20, Some("old")),
            intent(3, "collections", 50, 25, None),
            intent(4, "bulk", 25_000, 10, Some("a backlog")),
        ];
        let calls: HashMap<BatchId, u64> = [(BatchId(1), 1), (BatchId(2), 2), (BatchId(4), 8)].into_iter().collect();
        let sums = sum(batches.into_iter(), &calls);
        assert_eq!(sums.iter().map(|way| way.api.as_str()).collect::<Vec<_>>(), ["bulk", "collections"]);
        assert_eq!((sums[0].bulk_batches, sums[0].calls_per_1000()), (3, Some(0.32)));
        let calls = &sums[1];
        assert_eq!((calls.batches, calls.records, calls.settled_records, calls.calls), (3, 350, 300, 3));
        assert_eq!((calls.calls_per_1000(), calls.reason.as_deref()), (Some(10.0), Some("new")));
        assert_eq!((calls.from_ms, calls.to_ms, calls.bulk_batches), (20, 30, 0));
    }
}
