//! Reading the journals from the checkpoints on.

use super::suspects::Way;
use crate::settle::internal;
use crate::settle::{BATCHES, Checkpoint, Pace, SETTLEMENTS};
use crate::spec::RouteSpec;
use contract::{Log, StateStore};
use hashbrown::{HashMap, HashSet};
use model::{Api, BatchId, BatchIntent, Offset, OffsetRange, RouteId, Settlement, StreamPartition};
use serde::de::DeserializeOwned;
use std::sync::Arc;

use crate::engine::EngineError;

const READ_BYTES: usize = 1 << 20;

/// What a run finds of the one before it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// In the order of the routes.
    pub routes: Vec<RecoveredRoute>,
    /// The next batch id.
    pub next_batch: u64,
    /// The durable end of `_settlements`.
    pub settlements_end: Offset,
}

/// One route's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredRoute {
    /// Everything below is settled.
    pub from: Offset,
    /// What is settled at or above `from`: ascending, disjoint.
    pub settled: Vec<OffsetRange>,
    /// Batches without an answer that have rows at or above `from`; ascending.
    pub unanswered: Vec<Unanswered>,
    /// From where on the journals still matter for this route.
    pub settlements_from: Offset,
    pub batches_from: Offset,
    /// The highest offset that the journals speak of.
    pub highest: Offset,
    /// What calls took, as the checkpoint tells. (The journals do not: a settlement may come from a later process.)
    pub pace: Option<Pace>,
}

/// A batch that was journalled and not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    pub batch: BatchId,
    /// When it was journalled, Unix milliseconds.
    pub at_ms: i64,
    pub way: Way,
    pub rows: Vec<OffsetRange>,
}

/// Reads checkpoints and journals. A route without checkpoint starts at its stream's start.
///
/// # Errors
/// `EngineError` when log or state cannot be read, or a journal record is no journal record.
pub async fn recover(log: &dyn Log, state: &dyn StateStore, routes: &[RouteSpec]) -> Result<Recovered, EngineError> {
    let mut found = Recovered { settlements_end: log.bounds(&internal(SETTLEMENTS))?.durable, ..Recovered::default() };
    let batches_end = log.bounds(&internal(BATCHES))?.durable;
    let (mut settlements_from, mut batches_from) = (found.settlements_end, batches_end);
    for route in routes {
        let checkpoint = Checkpoint::load(state, &route.id, route.stream.partition).await?;
        let start = log.bounds(&route.stream)?.start;
        let part = match &checkpoint {
            Some(checkpoint) => {
                found.next_batch = found.next_batch.max(checkpoint.next_batch);
                RecoveredRoute {
                    from: checkpoint.offset,
                    settlements_from: checkpoint.settlements_from,
                    batches_from: checkpoint.batches_from,
                    pace: checkpoint.pace,
                    ..RecoveredRoute::default()
                }
            }
            // It may have died before its first checkpoint.
            None => RecoveredRoute { from: start, ..RecoveredRoute::default() },
        };
        settlements_from = settlements_from.min(part.settlements_from);
        batches_from = batches_from.min(part.batches_from);
        found.routes.push(part);
    }
    let answered = replay_settlements(log, routes, &mut found, settlements_from).await?;
    replay_batches(log, routes, &mut found, batches_from, &answered).await?;
    Ok(found)
}

/// Answers which batches are answered.
async fn replay_settlements(
    log: &dyn Log,
    routes: &[RouteSpec],
    found: &mut Recovered,
    from: Offset,
) -> Result<HashSet<BatchId>, EngineError> {
    let index = index_of(routes);
    let mut answered = HashSet::new();
    let mut ranges: Vec<Vec<OffsetRange>> = vec![Vec::new(); routes.len()];
    each(log, &internal(SETTLEMENTS), from, |settlement: Settlement| {
        answered.extend(settlement.batch);
        let Some(route) = index.get(&settlement.route).copied() else { return };
        let (spec, floor) = (&routes[route], found.routes[route].from);
        if spec.stream.stream != settlement.stream || spec.stream.partition != settlement.partition {
            return;
        }
        for range in settlement.rows.into_iter().flat_map(|rows| rows.offsets) {
            found.routes[route].highest = found.routes[route].highest.max(range.to);
            if range.to > floor {
                ranges[route].push(range);
            }
        }
    })
    .await?;
    for (route, ranges) in found.routes.iter_mut().zip(ranges) {
        route.settled = union(ranges);
    }
    Ok(answered)
}

async fn replay_batches(
    log: &dyn Log,
    routes: &[RouteSpec],
    found: &mut Recovered,
    from: Offset,
    answered: &HashSet<BatchId>,
) -> Result<(), EngineError> {
    let index = index_of(routes);
    // Where each open batch stands among its route's.
    let mut noted: HashMap<BatchId, usize> = HashMap::new();
    let Recovered { routes: parts, next_batch, .. } = found;
    each(log, &internal(BATCHES), from, |intent: BatchIntent| {
        *next_batch = (*next_batch).max(intent.batch.0 + 1);
        let Some(route) = index.get(&intent.route).copied() else { return };
        let (spec, part) = (&routes[route], &mut parts[route]);
        let same = spec.stream.stream == intent.stream && spec.stream.partition == intent.partition;
        if let (true, Some(last)) = (same, intent.offsets.last()) {
            part.highest = part.highest.max(last.to);
        }
        let open = same && !answered.contains(&intent.batch);
        if !open || intent.offsets.iter().all(|range| range.to <= part.from) {
            return;
        }
        let way = way(&intent);
        match noted.get(&intent.batch) {
            // The second record of a batch names its job.
            Some(at) => part.unanswered[*at].way = way,
            None => {
                noted.insert(intent.batch, part.unanswered.len());
                let BatchIntent { batch, at_ms, offsets: rows, .. } = intent;
                part.unanswered.push(Unanswered { batch, at_ms, way, rows });
            }
        }
    })
    .await?;
    for part in parts.iter_mut() {
        part.unanswered.sort_by_key(|open| open.batch);
    }
    Ok(())
}

/// How the batch went.
fn way(intent: &BatchIntent) -> Way {
    match (&intent.job, intent.api == Api::Bulk.as_str()) {
        (Some(job), _) => Way::Job(Arc::from(job.as_str())),
        (None, true) => Way::NoJob,
        (None, false) => Way::Call,
    }
}

/// Number of rows in ranges of offsets.
pub(crate) fn rows_of(ranges: &[OffsetRange]) -> u64 {
    ranges.iter().map(|range| range.to.0 - range.from.0).sum()
}

fn index_of(routes: &[RouteSpec]) -> HashMap<RouteId, usize> {
    routes.iter().enumerate().map(|(index, route)| (route.id.clone(), index)).collect()
}

/// Sorts ranges and joins those that touch.
fn union(mut ranges: Vec<OffsetRange>) -> Vec<OffsetRange> {
    ranges.sort_unstable();
    let mut joined: Vec<OffsetRange> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.from <= last.to => last.to = last.to.max(range.to),
            _ => joined.push(range),
        }
    }
    joined
}

/// Reads a stream of JSON records to its durable end.
pub(crate) async fn each<T: DeserializeOwned>(
    log: &dyn Log,
    stream: &StreamPartition,
    from: Offset,
    mut take: impl FnMut(T),
) -> Result<(), EngineError> {
    let bounds = log.bounds(stream)?;
    let mut at = from.max(bounds.start);
    while at < bounds.durable {
        for batch in log.read(stream, at, READ_BYTES).await? {
            let skip = at.0.saturating_sub(batch.base.0);
            for (offset, record) in (batch.base.0..).zip(&batch.records).skip(skip as usize) {
                let value = record.value.unwrap_or_default();
                let parsed = serde_json::from_slice(value).map_err(|error| EngineError::Journal {
                    place: format!("{stream}:{offset}"),
                    cause: error.to_string(),
                })?;
                take(parsed);
            }
            at = batch.end();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn union_holds_the_same_offsets(pairs in prop::collection::vec((0..60_u64, 0..9_u64), 0..20)) {
            let ranges: Vec<_> = pairs.iter().map(|(from, n)| OffsetRange { from: Offset(*from), to: Offset(from + n) }).collect();
            let all: BTreeSet<_> = ranges.iter().flat_map(|range| range.offsets()).collect();
            let joined = union(ranges);
            prop_assert_eq!(all, joined.iter().flat_map(|range| range.offsets()).collect::<BTreeSet<_>>());
            prop_assert!(joined.windows(2).all(|pair| pair[0].to < pair[1].from));
        }
    }
}
