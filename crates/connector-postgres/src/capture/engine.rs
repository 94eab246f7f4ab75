//! The capture loop: decodes, writes records, keeps the position, closes chunks.

use super::confirm::Target;
use super::outlet::Outlet;
use super::relations::Relations;
use crate::column_type::RelationDescription;
use crate::envelope::{EventError, EventMeta, EventWriter, Row, Snapshot, TransactionEnd};
use crate::pgoutput::{ColumnText, Decoder, LogicalMessage, Message, OldTuple, Tuple};
use crate::refusal::{transient, unwritable};
use crate::snapshot::{ChunkOutcome, WATERMARK_PREFIX, Window};
use crate::wire::{Frame, frames};
use bytes::{Buf, Bytes};
use contract::{CrashPoint, SourceContext, SourceError};
use model::{ErrorCode, Lsn, SourcePosition};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A batch at least this large may wait a moment for more.
const LINGER_BYTES_MIN: usize = 16 << 10;
/// How long; it bounds what batching adds to the latency of a busy stream.
const LINGER: Duration = Duration::from_millis(2);

/// What the engine works with.
pub(crate) struct EngineParts {
    pub(crate) ctx: SourceContext,
    pub(crate) relations: Relations,
    pub(crate) outlets: Vec<Outlet>,
    pub(crate) window: Window,
    pub(crate) targets: watch::Sender<Target>,
    pub(crate) batch_bytes_max: usize,
    /// As `Copier`'s: other watermarks are not ours.
    pub(crate) nonce: String,
}

/// One session's capture loop.
pub(crate) struct Engine {
    parts: EngineParts,
    decoder: Decoder,
    writer: EventWriter,
    txn: Option<Txn>,
    /// Where the transaction before ended.
    previous_end: Option<Lsn>,
    /// Everything below was read, and what of it is a record is in the log or in a builder.
    reached: Lsn,
    received: Lsn,
    newest_commit_ms: i64,
    /// Changes since the last flush.
    changes: u64,
    full: bool,
    counters: Counters,
}

#[derive(Clone, Copy, Debug)]
struct Txn {
    xid: u32,
    commit_lsn: Lsn,
    commit_time_us: i64,
    seq: u64,
}

impl Txn {
    fn position(&self) -> SourcePosition {
        SourcePosition { commit_lsn: self.commit_lsn, seq: self.seq }
    }
}

/// What a message asks for beyond writing records.
enum Step {
    Next,
    Describe(RelationDescription),
    Low(Bytes, Lsn),
    High(Bytes),
}

struct Counters {
    changes: metrics::Counter,
    records: metrics::Counter,
    bytes: metrics::Counter,
    unbound: metrics::Counter,
    repeated: metrics::Counter,
    superseded: metrics::Counter,
}

impl Counters {
    fn of(source: &str) -> Self {
        let counter = |name: &'static str| metrics::counter!(name, "source" => source.to_owned());
        Self {
            changes: counter("penstock_source_changes_total"),
            records: counter("penstock_source_records_total"),
            bytes: counter("penstock_source_appended_bytes_total"),
            unbound: counter("penstock_source_unbound_changes_total"),
            repeated: counter("penstock_source_repeated_changes_total"),
            superseded: counter("penstock_source_snapshot_superseded_rows_total"),
        }
    }
}

impl Engine {
    pub(crate) fn new(parts: EngineParts) -> Self {
        let counters = Counters::of(parts.ctx.source.as_str());
        Self {
            parts,
            decoder: Decoder::new(),
            writer: EventWriter::new(),
            txn: None,
            previous_end: None,
            reached: Lsn(0),
            received: Lsn(0),
            newest_commit_ms: 0,
            changes: 0,
            full: false,
            counters,
        }
    }

    /// Captures until the run is stopped (everything read is then in the log, and the last target is sent), or until a
    /// task or this loop fails.
    pub(crate) async fn run(
        mut self,
        mut pieces: mpsc::Receiver<Bytes>,
        tasks: &mut JoinSet<Result<(), SourceError>>,
    ) -> Result<(), SourceError> {
        let stop = self.parts.ctx.stop.clone();
        loop {
            if stop.is_cancelled() {
                return self.flush().await;
            }
            if let Some(ended) = tasks.try_join_next() {
                outcome_of(ended)?;
            }
            if let Ok(piece) = pieces.try_recv() {
                self.piece(&piece).await?;
                continue;
            }
            if self.buffered() >= LINGER_BYTES_MIN
                && let Ok(Some(piece)) = tokio::time::timeout(LINGER, pieces.recv()).await
            {
                self.piece(&piece).await?;
                continue;
            }
            self.flush().await?;
            self.parts.window.look();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(ended) = tasks.join_next() => outcome_of(ended)?,
                piece = pieces.recv() => match piece {
                    Some(piece) => self.piece(&piece).await?,
                    // The reader's own error says more; the session asks it.
                    None => return Err(transient("PS2114", "the replication connection ended")),
                },
            }
        }
    }

    fn buffered(&self) -> usize {
        self.parts.outlets.iter().map(|outlet| outlet.builder.len_bytes()).sum()
    }

    async fn piece(&mut self, piece: &[u8]) -> Result<(), SourceError> {
        for frame in frames(piece) {
            match frame {
                Frame::Keepalive { end } => {
                    self.received = self.received.max(end);
                    if self.txn.is_none() {
                        self.reached = self.reached.max(end);
                    }
                }
                Frame::Wal { start, payload } => {
                    self.received = self.received.max(start);
                    match self.message(start, payload)? {
                        Step::Next => {}
                        step => self.step(step).await?,
                    }
                    if self.full {
                        self.flush().await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Handles one message; what needs to wait for something is given back as a step.
    #[inline]
    fn message(&mut self, start: Lsn, payload: &[u8]) -> Result<Step, SourceError> {
        let message = self.decoder.decode(payload).map_err(|error| unwritable(error.code(), error))?;
        match message {
            Message::Insert(insert) => self.change(start, insert.relation_id, Change::Insert(insert.new))?,
            Message::Update(update) => {
                self.change(start, update.relation_id, Change::Update(update.old, update.new))?;
            }
            Message::Delete(delete) => self.change(start, delete.relation_id, Change::Delete(delete.old))?,
            Message::Begin(begin) => {
                self.parts.window.horizon.saw(begin.xid);
                self.txn = Some(Txn {
                    xid: begin.xid,
                    commit_lsn: begin.final_lsn,
                    commit_time_us: begin.commit_time_us,
                    seq: 0,
                });
            }
            Message::Commit(commit) => {
                self.end_transaction()?;
                self.previous_end = Some(commit.end_lsn);
                self.reached = self.reached.max(commit.end_lsn);
            }
            Message::Truncate(truncate) => {
                let relations: Vec<u32> = truncate.relations.iter().collect();
                self.truncate(start, &relations)?;
            }
            Message::Relation(relation) => return Ok(Step::Describe(RelationDescription::from_message(&relation))),
            Message::Logical(logical) => return Ok(self.logical(&logical)),
            Message::Origin(_) | Message::Type(_) => {}
            _ => return Err(transient("PS2115", "a message came that was not asked for (streaming or two-phase)")),
        }
        Ok(Step::Next)
    }

    /// Marks the end of the transaction in the streams that it changed.
    fn end_transaction(&mut self) -> Result<(), SourceError> {
        let Some(txn) = self.txn.take() else { return Ok(()) };
        let end = TransactionEnd { xid: txn.xid, commit_time_us: txn.commit_time_us };
        let position = Txn { seq: txn.seq + 1, ..txn }.position();
        for outlet in &mut self.parts.outlets {
            outlet.end_transaction(&end, position).map_err(|full| unwritable(ErrorCode("PS2006"), full))?;
        }
        Ok(())
    }

    fn logical(&self, message: &LogicalMessage<'_>) -> Step {
        let ours = message.prefix == WATERMARK_PREFIX
            && message.content.get(2..).is_some_and(|rest| rest.starts_with(self.parts.nonce.as_bytes()));
        match message.content.first() {
            Some(b'L') if ours => Step::Low(Bytes::copy_from_slice(message.content), message.lsn),
            Some(b'H') if ours => Step::High(Bytes::copy_from_slice(message.content)),
            _ => Step::Next,
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), SourceError> {
        match step {
            Step::Next => {}
            Step::Describe(shape) => {
                self.parts.window.reshaped(&shape);
                self.parts.relations.describe(shape).await?;
            }
            Step::Low(text, lsn) => {
                let relations = &self.parts.relations;
                let shape = |oid: u32| relations.get(oid).map(|relation| relation.shape.clone());
                self.parts.window.low(&text, lsn, shape);
            }
            Step::High(text) => self.close_chunk(&text).await?,
        }
        Ok(())
    }

    #[inline]
    fn change(&mut self, start: Lsn, relation_id: u32, change: Change<'_>) -> Result<(), SourceError> {
        let meta = self.next_change(start)?;
        let position = self.txn.map(|txn| txn.position()).unwrap_or_default();
        let Some(relation) = self.parts.relations.get(relation_id) else {
            return Err(transient("PS2115", format!("a change of relation {relation_id} came before its description")));
        };
        if self.parts.window.watches(relation_id) {
            let (old, new) = change.tuples();
            self.parts.window.touch(relation_id, old, new);
        }
        if relation.plans.is_empty() {
            self.counters.unbound.increment(1);
        }
        for (outlet, plan) in &relation.plans {
            let outlet = &mut self.parts.outlets[*outlet];
            outlet.changed();
            if outlet.has(position) {
                self.counters.repeated.increment(1);
                continue;
            }
            let (writer, out) = (&mut self.writer, &mut outlet.builder);
            let written = match change {
                Change::Insert(new) => writer.insert(out, plan, &meta, Row::Tuple(new)),
                Change::Update(old, new) => writer.update(out, plan, &meta, old, new),
                Change::Delete(old) => writer.delete(out, plan, &meta, old),
            };
            written.map_err(|error| event_failure(&error))?;
            outlet.wrote(position);
            self.full |= outlet.builder.len_bytes() >= self.parts.batch_bytes_max;
        }
        Ok(())
    }

    /// Counts a change and says where and when it is.
    #[inline]
    fn next_change(&mut self, start: Lsn) -> Result<EventMeta, SourceError> {
        let Some(txn) = &mut self.txn else {
            return Err(transient("PS2115", "a change came outside a transaction"));
        };
        txn.seq += 1;
        self.changes += 1;
        self.newest_commit_ms = txn.commit_time_us.div_euclid(1000);
        Ok(EventMeta {
            commit_time_us: txn.commit_time_us,
            now_ms: self.parts.ctx.clock.now_ms(),
            xid: Some(txn.xid),
            lsn: start,
            previous_end_lsn: self.previous_end,
            snapshot: Snapshot::No,
        })
    }

    fn truncate(&mut self, start: Lsn, relations: &[u32]) -> Result<(), SourceError> {
        let meta = self.next_change(start)?;
        let position = self.txn.map(|txn| txn.position()).unwrap_or_default();
        for outlet_index in 0..self.parts.outlets.len() {
            let outlet = &mut self.parts.outlets[outlet_index];
            let of_stream = |id: &u32| {
                let plans = self.parts.relations.get(*id).map(|relation| &relation.plans);
                plans.is_some_and(|plans| plans.iter().any(|(index, _)| *index == outlet_index))
            };
            relations.iter().filter(|id| of_stream(id)).for_each(|_| outlet.changed());
            if outlet.has(position) {
                continue;
            }
            for relation in relations.iter().filter_map(|id| self.parts.relations.get(*id)) {
                for (_, plan) in relation.plans.iter().filter(|(index, _)| *index == outlet_index) {
                    let written = self.writer.truncate(&mut outlet.builder, plan, &meta);
                    written.map_err(|error| event_failure(&error))?;
                }
            }
            outlet.wrote(position);
        }
        relations.iter().for_each(|id| self.parts.window.truncated(*id));
        Ok(())
    }

    /// A high watermark was read: appends the chunk's rows that still stand.
    async fn close_chunk(&mut self, text: &[u8]) -> Result<(), SourceError> {
        let Some(closed) = self.parts.window.high(text) else { return Ok(()) };
        if let Some(outcome) = closed.verdict {
            // A copier that is gone has its own error to tell.
            let _gone = closed.rows.reply.send(outcome);
            return Ok(());
        }
        // What stands before the chunk in the stream stands before it in the log.
        self.flush().await?;
        let now_ms = self.parts.ctx.clock.now_ms();
        let meta = EventMeta {
            commit_time_us: now_ms.saturating_mul(1000),
            now_ms,
            xid: None,
            lsn: closed.low,
            previous_end_lsn: self.previous_end,
            snapshot: Snapshot::Initial,
        };
        let chunk = &closed.rows;
        let header = format!("{}:{}", chunk.entry.copy, chunk.entry.chunks);
        let outlet = &mut self.parts.outlets[chunk.outlet];
        let (mut bytes, mut superseded) = (chunk.rows.as_ref(), 0);
        let shape = self.parts.relations.get(chunk.entry.oid).map(|relation| &relation.shape.columns);
        // A row that came by the stream with other columns does not stand for this one.
        let same_columns = shape.is_some_and(|shape| shape.iter().map(|column| &column.name).eq(chunk.columns.iter()));
        let mut columns = Vec::with_capacity(chunk.columns.len());
        for _ in 0..chunk.count {
            take_row(&mut bytes, chunk.columns.len(), &mut columns);
            let key = closed.key_of(&columns);
            if !closed.stands(key) || (same_columns && self.parts.window.has_whole(chunk.entry.oid, key)) {
                superseded += 1;
                continue;
            }
            let row = Row::Columns(&columns);
            let written = self.writer.snapshot_row(&mut outlet.builder, &chunk.plan, &meta, &header, row);
            written.map_err(|error| event_failure(&error))?;
        }
        let batch = outlet.builder.finish();
        let (records, size) = (u64::from(batch.count()), batch.bytes().len() as u64);
        let end = outlet.append_chunk(&self.parts.ctx.log, batch, chunk.state.clone()).await?;
        self.parts.ctx.crash.reach(CrashPoint::AfterAppend);
        if chunk.entry.done {
            self.parts.window.copied(chunk.entry.oid);
        }
        self.counters.superseded.increment(superseded);
        self.appended(0, records, size);
        let _gone = closed.rows.reply.send(ChunkOutcome::Appended { end, superseded });
        Ok(())
    }

    /// Appends what the builders hold and says how far the log has come.
    async fn flush(&mut self) -> Result<(), SourceError> {
        self.full = false;
        let (mut records, mut bytes) = (0, 0);
        if self.buffered() > 0 {
            self.parts.ctx.crash.reach(CrashPoint::AfterRead);
            for outlet in &mut self.parts.outlets {
                let counts = outlet.flush(&self.parts.ctx.log).await?;
                (records, bytes) = (records + counts.0, bytes + counts.1);
            }
            self.parts.ctx.crash.reach(CrashPoint::AfterAppend);
        }
        let changes = std::mem::take(&mut self.changes);
        if changes > 0 || records > 0 || self.parts.targets.borrow().lsn < self.reached {
            self.appended(changes, records, bytes);
        }
        Ok(())
    }

    fn appended(&mut self, changes: u64, records: u64, bytes: u64) {
        self.counters.changes.increment(changes);
        self.counters.records.increment(records);
        self.counters.bytes.increment(bytes);
        let ends: Vec<_> = self.parts.outlets.iter().map(|outlet| (outlet.to.clone(), outlet.end())).collect();
        self.parts.ctx.status.send_modify(|status| {
            status.changes += changes;
            status.received_lsn = self.received;
            if self.newest_commit_ms > 0 {
                status.newest_commit_ms = self.newest_commit_ms;
            }
            status.appended = ends.iter().map(|(of, end)| (of.clone(), end.offset)).collect();
        });
        self.parts.targets.send_replace(Target { lsn: self.reached, ends });
    }
}

/// A row change in whatever form it came.
#[derive(Clone, Copy)]
enum Change<'a> {
    Insert(Tuple<'a>),
    Update(OldTuple<'a>, Tuple<'a>),
    Delete(OldTuple<'a>),
}

impl<'a> Change<'a> {
    /// The old and the new version, as far as sent.
    fn tuples(self) -> (Option<Tuple<'a>>, Option<Tuple<'a>>) {
        let of_old = |old| match old {
            OldTuple::None => None,
            OldTuple::Key(tuple) | OldTuple::Full(tuple) => Some(tuple),
        };
        match self {
            Self::Insert(new) => (None, Some(new)),
            Self::Update(old, new) => (of_old(old), Some(new)),
            Self::Delete(old) => (of_old(old), None),
        }
    }
}

/// Reads one row of a chunk as `ChunkRows::rows` has it.
fn take_row<'a>(bytes: &mut &'a [u8], count: usize, columns: &mut Vec<ColumnText<'a>>) {
    columns.clear();
    for _ in 0..count {
        let length = bytes.get_i32();
        columns.push(match usize::try_from(length) {
            Ok(length) => {
                let (text, rest) = bytes.split_at(length);
                *bytes = rest;
                ColumnText::Text(text)
            }
            Err(_) => ColumnText::Null,
        });
    }
}

#[cold]
fn event_failure(error: &EventError) -> SourceError {
    unwritable(error.code(), error)
}

fn outcome_of(ended: Result<Result<(), SourceError>, tokio::task::JoinError>) -> Result<(), SourceError> {
    match ended {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Ok(()),
        },
    }
}
