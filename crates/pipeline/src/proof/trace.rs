//! One key's journey: every record, the batches that carried it, and what became of it.

use super::key_query::KeyQuery;
use super::read::{durable, each};
use super::report::{ProofError, ProofRoute};
use crate::dlq::{Act, acts};
use crate::settle::{BATCHES, DEAD_LETTERS, SETTLEMENTS};
use contract::{Log, StateError, StateStore};
use model::{
    BatchId, BatchIntent, DeadLetter, Offset, OffsetRange, Op, Outcome, Position, Record, RouteId, Settlement,
    StreamId, StreamPartition, header,
};
use serde::{Deserialize, Serialize};

/// Acts about one record that are shown: the newest.
const ACTS_MAX: usize = 100;

/// Records that were found for a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trace {
    /// By stream and position; at most as many as were asked for: the newest.
    pub records: Vec<TracedRecord>,
    /// Older records of the key that are left out.
    pub left_out: u64,
}

/// One record of the key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TracedRecord {
    pub stream: StreamId,
    pub position: Position,
    pub table: String,
    pub op: Option<Op>,
    /// Event time, Unix milliseconds.
    pub time_ms: i64,
    /// The key as it stands in the log.
    pub key: String,
    /// The envelope's `source.lsn` and `source.txId`, where there are any.
    pub lsn: Option<u64>,
    pub tx_id: Option<u64>,
    pub value_bytes: usize,
    /// Each route that takes this table, in configuration order.
    pub routes: Vec<TracedRoute>,
}

/// What became of a record in one route. All empty: it is waiting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TracedRoute {
    pub route: RouteId,
    pub intents: Vec<TracedIntent>,
    pub settlements: Vec<TracedSettlement>,
    pub dead_letters: Vec<DeadLetter>,
    /// The dead letters' ids, in the same order.
    pub dead_letter_ids: Vec<Offset>,
    /// What operators did about them, oldest first.
    pub acts: Vec<Act>,
}

/// A batch that was about to carry the record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TracedIntent {
    pub batch: BatchId,
    pub attempt: u32,
    pub api: String,
    pub at_ms: i64,
    /// Records of the batch.
    pub records: u64,
    /// The target's name for the job that carried it.
    pub job: Option<String>,
    /// Why the router chose the API; none where only one was open.
    pub reason: Option<String>,
}

/// One settlement of the record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TracedSettlement {
    /// Where it stands in `_settlements`.
    pub offset: Offset,
    pub outcome: Outcome,
    pub batch: Option<BatchId>,
    pub at_ms: i64,
    pub attempts: u32,
    pub read_back: bool,
    /// API calls of the whole batch.
    pub calls: u32,
    pub target_id: Option<String>,
    pub by: Option<Offset>,
    pub code: Option<String>,
}

/// Traces a key through the routes' streams; keeps the newest `records_max` records.
///
/// # Errors
/// `ProofError` when the log cannot be read.
pub async fn trace(
    log: &dyn Log,
    routes: &[ProofRoute],
    key: &KeyQuery,
    records_max: usize,
) -> Result<Trace, ProofError> {
    let mut found = Trace::default();
    let mut streams: Vec<&StreamPartition> = routes.iter().map(|route| &route.stream).collect();
    streams.sort();
    streams.dedup();
    for stream in streams {
        each(log, stream, durable(log, stream)?, |offset, record| {
            if record.key.is_some_and(|bytes| key.matches(bytes)) {
                found.records.push(traced(stream, offset, &record, routes));
                if found.records.len() > records_max.max(1) * 2 {
                    found.leave_out(records_max);
                }
            }
        })
        .await?;
    }
    found.leave_out(records_max);
    found.add_intents(log).await?;
    found.add_settlements(log).await?;
    found.add_dead_letters(log).await?;
    Ok(found)
}

impl Trace {
    fn leave_out(&mut self, records_max: usize) {
        let excess = self.records.len().saturating_sub(records_max);
        if excess > 0 {
            // Newest by event time: the streams were read one after the other.
            self.records.sort_by_key(|record| record.time_ms);
            self.records.drain(..excess);
            self.left_out += excess as u64;
        }
        self.records.sort_by(|a, b| (&a.stream, a.position).cmp(&(&b.stream, b.position)));
    }

    /// The route entry of each traced record inside the ranges, with the record's place in them.
    fn inside<'a>(
        &'a mut self,
        route: &'a RouteId,
        (stream, partition): (&'a StreamId, model::Partition),
        ranges: &'a [OffsetRange],
    ) -> impl Iterator<Item = (usize, &'a mut TracedRoute)> {
        self.records
            .iter_mut()
            .filter(move |record| record.stream == *stream && record.position.partition == partition)
            .filter_map(move |record| {
                let place = place_in(ranges, record.position.offset)?;
                record.routes.iter_mut().find(|traced| traced.route == *route).map(|traced| (place, traced))
            })
    }

    /// Adds what operators did about the key's dead letters.
    ///
    /// # Errors
    /// As `StateStore::scan`.
    pub async fn add_acts(&mut self, state: &dyn StateStore) -> Result<(), StateError> {
        for traced in self.records.iter_mut().flat_map(|record| &mut record.routes) {
            if !traced.dead_letter_ids.is_empty() {
                let ids = traced.dead_letter_ids.clone();
                traced.acts = acts(state, ACTS_MAX, |act| ids.iter().any(|id| act.concerns(*id))).await?;
            }
        }
        Ok(())
    }

    async fn add_intents(&mut self, log: &dyn Log) -> Result<(), ProofError> {
        let of = StreamPartition::first(BATCHES.into());
        each(log, &of, durable(log, &of)?, |_, record| {
            let Ok(intent) = serde_json::from_slice::<BatchIntent>(record.value.unwrap_or_default()) else { return };
            let place = (&intent.stream, intent.partition);
            for (_, traced) in self.inside(&intent.route, place, &intent.offsets) {
                // A job's batch is written twice; the second record names the job.
                if let Some(first) = traced.intents.iter_mut().find(|known| known.batch == intent.batch) {
                    first.job.clone_from(&intent.job);
                    continue;
                }
                traced.intents.push(TracedIntent {
                    batch: intent.batch,
                    attempt: intent.attempt,
                    api: intent.api.clone(),
                    at_ms: intent.at_ms,
                    records: intent.offsets.iter().map(|range| range.count()).sum(),
                    job: intent.job.clone(),
                    reason: intent.reason.clone(),
                });
            }
        })
        .await
    }

    async fn add_settlements(&mut self, log: &dyn Log) -> Result<(), ProofError> {
        let of = StreamPartition::first(SETTLEMENTS.into());
        each(log, &of, durable(log, &of)?, |offset, record| {
            let Ok(settlement) = serde_json::from_slice::<Settlement>(record.value.unwrap_or_default()) else { return };
            let place = (&settlement.stream, settlement.partition);
            for rows in &settlement.rows {
                for (at, traced) in self.inside(&settlement.route, place, &rows.offsets) {
                    traced.settlements.push(TracedSettlement {
                        offset,
                        outcome: rows.outcome,
                        batch: settlement.batch,
                        at_ms: settlement.at_ms,
                        attempts: settlement.attempts,
                        read_back: settlement.read_back,
                        calls: settlement.calls,
                        target_id: rows.target_ids.get(at).cloned(),
                        by: rows.by,
                        code: rows.code.clone(),
                    });
                }
            }
        })
        .await
    }

    async fn add_dead_letters(&mut self, log: &dyn Log) -> Result<(), ProofError> {
        let of = StreamPartition::first(DEAD_LETTERS.into());
        each(log, &of, durable(log, &of)?, |offset, record| {
            let Some(letter) = record.header(DeadLetter::HEADER) else { return };
            let Ok(letter) = serde_json::from_slice::<DeadLetter>(letter) else { return };
            let range = [OffsetRange { from: letter.position.offset, to: letter.position.offset.plus(1) }];
            let place = (&letter.stream, letter.position.partition);
            for (_, traced) in self.inside(&letter.route, place, &range) {
                traced.dead_letters.push(letter.clone());
                traced.dead_letter_ids.push(offset);
            }
        })
        .await
    }
}

/// How many offsets of the ranges lie before this one; none when it lies in none of them.
fn place_in(ranges: &[OffsetRange], offset: Offset) -> Option<usize> {
    let at = ranges.partition_point(|range| range.to <= offset);
    let inside = ranges.get(at).filter(|range| range.from <= offset)?;
    let before: u64 = ranges[..at].iter().map(|range| range.count()).sum();
    Some((before + offset.0 - inside.from.0) as usize)
}

/// The part of an envelope that a trace shows.
#[derive(Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    source: Option<EnvelopeSource>,
}

#[derive(Default, Deserialize)]
struct EnvelopeSource {
    #[serde(default)]
    lsn: Option<u64>,
    #[serde(default, rename = "txId")]
    tx_id: Option<u64>,
}

fn traced(stream: &StreamPartition, offset: Offset, record: &Record<'_>, routes: &[ProofRoute]) -> TracedRecord {
    let table = String::from_utf8_lossy(record.header(header::TABLE).unwrap_or_default()).into_owned();
    let value = record.value.unwrap_or_default();
    let source = serde_json::from_slice::<Envelope>(value).unwrap_or_default().source.unwrap_or_default();
    let takes = |route: &&ProofRoute| route.stream == *stream && route.table == table && offset >= route.from;
    let waiting = |route: &ProofRoute| TracedRoute {
        route: route.id.clone(),
        intents: Vec::new(),
        settlements: Vec::new(),
        dead_letters: Vec::new(),
        dead_letter_ids: Vec::new(),
        acts: Vec::new(),
    };
    TracedRecord {
        stream: stream.stream.clone(),
        position: Position { partition: stream.partition, offset },
        op: record.header(header::OP).and_then(|op| op.first().copied()).and_then(Op::from_letter),
        time_ms: record.time_ms,
        key: String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned(),
        lsn: source.lsn,
        tx_id: source.tx_id,
        value_bytes: value.len(),
        routes: routes.iter().filter(takes).map(waiting).collect(),
        table,
    }
}
