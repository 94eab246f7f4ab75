//! What was planned against what was done: the stored plan beside the batches and settlements of the log.

use super::page::{amount, difference, lines};
use super::stored::StoredPlan;
use contract::{Log, LogError};
use model::{Api, BatchId, BatchIntent, Offset, RouteId, Settlement, StreamId, StreamPartition};
use pipeline::plan::{RoutePlan, Work};
use pipeline::settle::{BATCHES, SETTLEMENTS};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The org cuts a Bulk job into batches of so many rows.
const BULK_BATCH_ROWS: u64 = 10_000;
/// Bytes of a read.
const READ_BYTES: usize = 1 << 20;

/// One route: planned and done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Compared {
    pub route: RouteId,
    pub planned: Work,
    pub actual: Work,
    /// What really went, by API.
    pub by_api: BTreeMap<Api, Work>,
    /// (actual − planned) ÷ planned of the calls; none where none were planned.
    pub calls_off: Option<f64>,
}

/// Compares everything that was sent since the stored plan's run began. Live changes are planned for the time until the last
/// settlement.
///
/// # Errors
/// `LogError` when the log cannot be read.
pub(crate) async fn compare(log: &dyn Log, stored: &StoredPlan) -> Result<Vec<Compared>, LogError> {
    let batches = batches(log, stored.at_ms).await?;
    let (mut done, last_ms) = settled(log, stored.at_ms, &batches).await?;
    let days = ((last_ms - stored.at_ms).max(0) as f64) / 86_400_000.0;
    let compared = stored.plan.routes.iter().map(|route| {
        let by_api = done.remove(&route.id).unwrap_or_default();
        let actual: Work = by_api.values().copied().sum();
        let planned = planned(route, days);
        let calls_off = (planned.calls > 0.0).then(|| (actual.calls - planned.calls) / planned.calls);
        Compared { route: route.id.clone(), planned, actual, by_api, calls_off }
    });
    Ok(compared.collect())
}

fn planned(route: &RoutePlan, days: f64) -> Work {
    let mut work = route.copy.total;
    if let Some(live) = &route.live {
        work += live.expected.times(days);
    }
    work
}

/// The way and the rows of each batch since `from_ms`.
async fn batches(log: &dyn Log, from_ms: i64) -> Result<HashMap<BatchId, (Api, u64)>, LogError> {
    let mut batches = HashMap::new();
    each(log, BATCHES, |value| {
        let Ok(intent) = serde_json::from_slice::<BatchIntent>(value) else { return };
        if intent.at_ms >= from_ms {
            let rows = intent.offsets.iter().map(|range| range.count()).sum();
            batches.insert(intent.batch, (Api::from_word(&intent.api).unwrap_or_default(), rows));
        }
    })
    .await?;
    Ok(batches)
}

/// What was settled by batches since `from_ms`, by route and API; and when the last of it was.
async fn settled(
    log: &dyn Log,
    from_ms: i64,
    batches: &HashMap<BatchId, (Api, u64)>,
) -> Result<(BTreeMap<RouteId, BTreeMap<Api, Work>>, i64), LogError> {
    let mut done: BTreeMap<RouteId, BTreeMap<Api, Work>> = BTreeMap::new();
    let mut counted: HashSet<BatchId> = HashSet::new();
    let mut last_ms = from_ms;
    each(log, SETTLEMENTS, |value| {
        let Ok(settlement) = serde_json::from_slice::<Settlement>(value) else { return };
        let Some((batch, (api, rows))) = settlement.batch.and_then(|batch| Some((batch, *batches.get(&batch)?))) else {
            return;
        };
        last_ms = last_ms.max(settlement.at_ms);
        let settled: u64 = settlement.rows.iter().flat_map(|rows| &rows.offsets).map(|range| range.count()).sum();
        let events = if matches!(api, Api::Event | Api::PubSub) { settled } else { 0 };
        // A batch may be settled in several pieces, and is one batch all the same.
        let whole = counted.insert(batch);
        let bulk_batches = if whole && api == Api::Bulk { rows.div_ceil(BULK_BATCH_ROWS) } else { 0 };
        let work = done.entry(settlement.route.clone()).or_default().entry(api).or_default();
        *work += Work {
            records: settled as f64,
            batches: f64::from(u8::from(whole)),
            calls: f64::from(settlement.calls),
            bulk_batches: bulk_batches as f64,
            events: events as f64,
        };
    })
    .await?;
    Ok((done, last_ms))
}

/// Reads a stream of the pipeline's own from its start to its end.
async fn each(log: &dyn Log, stream: &str, mut look: impl FnMut(&[u8])) -> Result<(), LogError> {
    let stream = StreamPartition::first(StreamId::new(stream));
    let Ok(bounds) = log.bounds(&stream) else { return Ok(()) };
    let mut at: Offset = bounds.start;
    while at < bounds.durable {
        let read = log.read(&stream, at, READ_BYTES).await?;
        if read.is_empty() {
            break;
        }
        for batch in &read {
            for record in batch.records.iter() {
                look(record.value.unwrap_or_default());
            }
            at = batch.end();
        }
    }
    Ok(())
}

/// The comparison for people.
pub(crate) fn text(compared: &[Compared]) -> String {
    let mut rows = Vec::new();
    for route in compared {
        let pairs = [
            ("calls", route.planned.calls, route.actual.calls),
            ("batches", route.planned.batches, route.actual.batches),
            ("Bulk batches", route.planned.bulk_batches, route.actual.bulk_batches),
            ("events", route.planned.events, route.actual.events),
            ("records", route.planned.records, route.actual.records),
        ];
        for (what, planned, actual) in pairs.into_iter().filter(|(_, planned, actual)| planned + actual > 0.0) {
            let name = if rows.last().is_some_and(|row: &Vec<String>| row[0] == route.route.as_str()) {
                String::new()
            } else {
                route.route.to_string()
            };
            rows.push(vec![name, what.into(), amount(planned), amount(actual), difference(planned, actual)]);
        }
    }
    lines(&["route", "", "planned", "done", "difference"], "llrrr", &rows)
}
