//! Reads a group's stream and says of each record what the window needs to know.
//!
//! Runs beside the group's own task, one chunk ahead. What it hands on is bounded: chunks of at most `READ_BYTES` of
//! records, two waiting.

use super::error::EngineError;
use super::route::Route;
use super::transactions::{Gather, LargeEvent, ReadTransactions, UnitSpan};
use crate::event::{ChangeView, Keys};
use crate::settle::delay_of;
use crate::spec::{Ordering, TruncatePolicy};
use contract::{Log, LogBatch};
use model::{Fingerprint, Lane, Offset, OffsetRange, Op, Record, StreamPartition};
use std::sync::Arc;
use tokio::sync::mpsc;

const READ_BYTES: usize = 512 << 10;
/// Chunks read ahead.
const AHEAD: usize = 2;

/// A scanned stretch of the stream.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Ascending by offset, then route.
    pub entries: Vec<Scanned>,
    /// The keys of all entries, one after the other: written, then read.
    pub keys: Vec<Fingerprint>,
    /// The offset after the stretch.
    pub end: Offset,
    /// Set when a record stands at this offset that stops the route of this index until an operator acts.
    pub halted: Option<(u16, Offset)>,
    /// Which entries are one transaction; ascending, disjoint.
    pub units: Vec<UnitSpan>,
    /// What is known of transactions that are too large.
    pub large: Vec<LargeEvent>,
    /// The oldest and the newest event time, Unix milliseconds.
    pub times_ms: (i64, i64),
}

/// A record of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    pub offset: Offset,
    /// The route's index in its group.
    pub route: u16,
    pub kind: ScannedKind,
    pub writes: u16,
    pub reads: u16,
}

impl Scanned {
    /// How many of the chunk's keys are its own.
    pub fn keys(&self) -> usize {
        usize::from(self.writes) + usize::from(self.reads)
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScannedKind {
    /// Enters the window.
    Entry(Lane),
    /// Enters the window as a part of its transaction.
    Member(Lane),
    /// Of a transaction that is too large: a dead letter.
    Refused,
    /// Left out by the route's filter or its policy for deletes and truncates.
    Filtered,
    /// Settled by an earlier run.
    Settled,
}

/// A group's reader.
pub struct Reader {
    pub log: Arc<dyn Log>,
    pub stream: StreamPartition,
    /// In the group's order.
    pub routes: Vec<Arc<Route>>,
    /// For each route: where it starts, and what is settled from there on.
    pub start: Vec<(Offset, Vec<OffsetRange>)>,
    /// Where a route of the group is ordered by transaction.
    pub transactions: Option<ReadTransactions>,
}

impl Reader {
    /// Reads on and on into the channel; ends when the receiver is dropped, or after a chunk that halts.
    ///
    /// # Errors
    /// As `Log::read`, when trying again is useless.
    pub async fn run(self, chunks: mpsc::Sender<Chunk>) -> Result<(), EngineError> {
        let mut scan = Scan {
            progress: self
                .start
                .iter()
                .map(|(from, settled)| Progress { from: *from, settled: settled.clone(), at: 0 })
                .collect(),
            keys: Keys::default(),
            gather: None,
            read_to: Offset(0),
            routes: self.routes,
        };
        let mut noting = None;
        if let Some(ReadTransactions { gather, notes, state }) = self.transactions {
            scan.gather = Some(gather);
            noting = Some((notes, state));
        }
        let mut at = self.start.iter().map(|(from, _)| *from).min().unwrap_or_default();
        loop {
            let read = match self.log.until_past(&self.stream, at).await {
                Ok(_) => self.log.read(&self.stream, at, READ_BYTES).await,
                Err(error) => Err(error),
            };
            let batches = match read {
                Ok(batches) => batches,
                Err(error) => {
                    let (delay, trouble) = delay_of(error)?;
                    tracing::warn!(%trouble, stream = %self.stream, "reading waits for the log");
                    tokio::time::sleep(delay).await;
                    continue;
                }
            };
            let chunk = scan.chunk(&batches, at);
            drop(batches);
            at = scan.read_to;
            let found = scan.gather.as_mut().map(Gather::found).unwrap_or_default();
            for (note, (notes, state)) in found.iter().zip(noting.iter().cycle()) {
                tracing::warn!(stream = %self.stream, tx = %note.tx, why = %note.why, by_key = note.by_key, "a transaction is too large");
                notes.store(note, &**state).await?;
            }
            let halted = chunk.halted.is_some();
            if chunks.send(chunk).await.is_err() || halted {
                return Ok(());
            }
        }
    }

    /// The channel between reader and group.
    pub fn channel() -> (mpsc::Sender<Chunk>, mpsc::Receiver<Chunk>) {
        mpsc::channel(AHEAD)
    }
}

/// What an earlier run settled of one route; walked once, in offset order.
struct Progress {
    from: Offset,
    settled: Vec<OffsetRange>,
    /// The first range that ends above the offset looked at last.
    at: usize,
}

impl Progress {
    fn is_settled(&mut self, offset: Offset) -> bool {
        while self.settled.get(self.at).is_some_and(|range| range.to <= offset) {
            self.at += 1;
            if self.at == self.settled.len() {
                (self.settled, self.at) = (Vec::new(), 0);
            }
        }
        self.settled.get(self.at).is_some_and(|range| range.from <= offset)
    }
}

struct Scan {
    routes: Vec<Arc<Route>>,
    progress: Vec<Progress>,
    keys: Keys,
    gather: Option<Gather>,
    /// Everything below was scanned; a chunk may end before it, where a transaction is held back.
    read_to: Offset,
}

impl Scan {
    fn chunk(&mut self, batches: &[LogBatch], from: Offset) -> Chunk {
        let mut chunk = Chunk { end: from, times_ms: (i64::MAX, 0), ..Chunk::default() };
        self.read_to = from;
        for batch in batches {
            let skip = from.0.saturating_sub(batch.base.0) as usize;
            let mut records = batch.records.iter();
            let first = batch.base.plus(skip as u64);
            let start = if skip > 0 { records.nth(skip - 1).map(|_| ()) } else { Some(()) };
            if start.is_none() {
                continue;
            }
            for (offset, record) in (first.0..).map(Offset).zip(records) {
                let tail = (chunk.entries.len(), chunk.keys.len());
                if let Some(route) = self.record(offset, &record, &mut chunk) {
                    if let Some(gather) = &mut self.gather {
                        gather.halt(offset, &record, &mut chunk);
                    }
                    chunk.halted = Some((route, offset));
                    self.end(&mut chunk);
                    return chunk;
                }
                if let Some(gather) = &mut self.gather {
                    gather.take((offset, &record), tail, &mut chunk);
                }
                let (oldest_ms, newest_ms) = chunk.times_ms;
                chunk.times_ms = (oldest_ms.min(record.time_ms), newest_ms.max(record.time_ms));
                self.read_to = offset.plus(1);
            }
        }
        self.end(&mut chunk);
        chunk
    }

    fn end(&self, chunk: &mut Chunk) {
        chunk.end = self.gather.as_ref().and_then(Gather::held_from).unwrap_or(self.read_to);
    }

    /// Adds what the record is to each route; returns the route that it halts.
    fn record(&mut self, offset: Offset, record: &Record<'_>, chunk: &mut Chunk) -> Option<u16> {
        let mut view = None;
        let (entries, keys) = (chunk.entries.len(), chunk.keys.len());
        for (index, (route, progress)) in self.routes.iter().zip(&mut self.progress).enumerate() {
            if offset < progress.from || !route.keys.takes(record) {
                continue;
            }
            let mut scanned = Scanned { offset, route: index as u16, kind: ScannedKind::Settled, writes: 0, reads: 0 };
            if !progress.is_settled(offset) {
                let view = view.get_or_insert_with(|| ChangeView::parse(record));
                scanned.kind = match view {
                    Ok(view) if halts(route, view) => {
                        chunk.entries.truncate(entries);
                        chunk.keys.truncate(keys);
                        return Some(scanned.route);
                    }
                    Ok(view) => self.keys.scan(route, view),
                    // Mapping refuses it with the reason.
                    Err(_) => self.keys.unknown(route),
                };
                if let ScannedKind::Entry(_) = scanned.kind {
                    scanned.writes = count(self.keys.written.len());
                    scanned.reads = count(self.keys.read.len());
                    chunk.keys.extend_from_slice(&self.keys.written);
                    chunk.keys.extend_from_slice(&self.keys.read);
                }
            }
            chunk.entries.push(scanned);
        }
        None
    }
}

fn halts(route: &Route, view: &ChangeView<'_>) -> bool {
    view.op() == Op::Truncate && route.spec.truncate == TruncatePolicy::Refuse
}

/// The window refuses far fewer keys than this, with a reason.
fn count(keys: usize) -> u16 {
    u16::try_from(keys).unwrap_or(u16::MAX)
}

/// The key that every record of a `fifo` route writes.
pub(super) fn whole_route(route: &Route) -> Fingerprint {
    Fingerprint::of("fifo", [route.spec.id.as_str().as_bytes()])
}

trait ScanKeys {
    fn scan(&mut self, route: &Route, view: &ChangeView<'_>) -> ScannedKind;
    fn unknown(&mut self, route: &Route) -> ScannedKind;
}

impl ScanKeys for Keys {
    /// Decides about a record and leaves its keys here.
    fn scan(&mut self, route: &Route, view: &ChangeView<'_>) -> ScannedKind {
        let mapper = route.mapper();
        // A filter or a lane that fails over this row fails again when it is mapped, and the row becomes a dead letter.
        if let Ok(false) = mapper.passes(view) {
            return ScannedKind::Filtered;
        }
        let lane = mapper.lane(view).unwrap_or(Lane::Standard);
        match route.spec.ordering {
            Ordering::None => {
                self.written.clear();
                self.read.clear();
            }
            Ordering::Key | Ordering::Transaction => route.keys.keys(view, self),
            Ordering::Fifo => {
                route.keys.keys(view, self);
                self.written.push(whole_route(route));
            }
        }
        ScannedKind::Entry(lane)
    }

    fn unknown(&mut self, route: &Route) -> ScannedKind {
        self.written.clear();
        self.read.clear();
        if route.spec.ordering == Ordering::Fifo {
            self.written.push(whole_route(route));
        }
        ScannedKind::Entry(Lane::Standard)
    }
}
