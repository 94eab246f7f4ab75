//! The task that copies tables, chunk by chunk, and keeps the ledger.

use super::ledger::{Ledger, LedgerEntry};
use super::read::{Chunk, ChunkQuery};
use super::shape::{CopyShape, Describing};
use super::visibility::VisibleSnapshot;
use super::window::{Announced, ChunkOutcome, ChunkRows, CopyMessage};
use crate::connect::Sql;
use crate::refusal::{Refusal, literal, transient};
use contract::{CrashPoint, SourceContext, SourceError, TablePhase};
use model::TableName;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The prefix of watermark messages in the WAL.
pub(crate) const WATERMARK_PREFIX: &str = "penstock.watermark";
/// The server sends only WAL that is flushed; without synchronous standbys a flushed commit is visible some microseconds
/// later, which never takes this long.
const BASELINE_PATIENCE: Duration = Duration::from_millis(500);
/// Between two readings of a chunk that a transaction still hides from.
const HIDDEN_WAIT: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// The log keeps a producer's state up to this size.
const STATE_BYTES_MAX: usize = 4096;

/// A table and the stream that it is copied into.
#[derive(Debug)]
pub(crate) struct CopyTable {
    pub(crate) outlet: usize,
    pub(crate) business_key: Vec<String>,
    pub(crate) shape: CopyShape,
    pub(crate) entry: LedgerEntry,
}

impl CopyTable {
    fn name(&self) -> &TableName {
        &self.shape.facts.table
    }
}

/// What the copier works with.
pub(crate) struct CopierParts {
    pub(crate) ctx: SourceContext,
    pub(crate) sql: Sql,
    pub(crate) messages: mpsc::Sender<CopyMessage>,
    pub(crate) ledger: Ledger,
    pub(crate) describing: Describing,
    /// Makes watermark texts of this session unlike all others.
    pub(crate) nonce: String,
    pub(crate) rows_max: u64,
    pub(crate) bytes_max: usize,
    pub(crate) synchronous_standbys: bool,
}

/// How reading a chunk went.
enum Attempt {
    Read {
        outcome: ChunkOutcome,
        entry: LedgerEntry,
        bytes: u64,
    },
    /// The table has another shape now.
    Reshaped,
    /// The session is over.
    Over,
}

/// Copies the tables of one session.
pub(crate) struct Copier {
    parts: CopierParts,
    chunk_number: u64,
    /// When the baseline was taken.
    baseline_at: Duration,
    new_baseline: Option<VisibleSnapshot>,
    done_rows: metrics::Counter,
}

impl Copier {
    pub(crate) fn new(parts: CopierParts) -> Self {
        let baseline_at = parts.ctx.clock.monotonic();
        let done_rows =
            metrics::counter!("penstock_source_snapshot_rows_total", "source" => parts.ctx.source.to_string());
        Self { parts, chunk_number: 0, baseline_at, new_baseline: None, done_rows }
    }

    /// Takes the snapshot that tells which transactions run, after one of our own has ended (see `Horizon::set_baseline`).
    pub(crate) async fn baseline(sql: &Sql) -> Result<VisibleSnapshot, SourceError> {
        let doing = "taking a snapshot";
        sql.text("SELECT pg_logical_emit_message(true, 'penstock.baseline', '')", doing).await?;
        let text = sql.text("SELECT pg_current_snapshot()::text", doing).await?;
        let parsed = text.as_deref().and_then(VisibleSnapshot::parse);
        parsed.ok_or_else(|| transient("PS2115", "pg_current_snapshot() answered something else"))
    }

    /// Copies what is not done, in the order given; answers when nothing is left or the session is over.
    pub(crate) async fn run(mut self, tables: Vec<CopyTable>) -> Result<(), SourceError> {
        for table in tables.into_iter().filter(|table| !table.entry.done) {
            if !self.copy(table).await? {
                return Ok(());
            }
        }
        // The capture loop may be gone already.
        let _gone = self.parts.messages.send(CopyMessage::Finished).await;
        Ok(())
    }

    /// Copies one table; false when the session is over.
    async fn copy(&mut self, mut table: CopyTable) -> Result<bool, SourceError> {
        let to = self.parts.ctx.streams[table.outlet].to.clone();
        self.begin(&table).await?;
        let mut wait = HIDDEN_WAIT.0;
        let mut rows_max = self.parts.rows_max.max(1);
        let mut row_bytes = None;
        let mut admitted = None;
        while !table.entry.done {
            self.report(&table);
            // A chunk that is read again was let in already.
            if admitted != Some(table.entry.chunks) {
                self.parts.ctx.admission.admit(table.name(), rows_max).await;
                admitted = Some(table.entry.chunks);
            }
            match self.chunk(&table, rows_max, row_bytes).await? {
                Attempt::Over => return Ok(false),
                Attempt::Reshaped => {
                    if !self.describe_again(&mut table).await? {
                        return Ok(true);
                    }
                }
                Attempt::Read { outcome: ChunkOutcome::Appended { end, superseded }, entry, bytes } => {
                    self.parts.ctx.log.until_durable(&to, end).await?;
                    let rows = entry.rows - table.entry.rows;
                    self.done_rows.increment(rows);
                    tracing::debug!(table = %table.name(), rows, superseded, "a chunk was copied");
                    row_bytes = bytes.checked_div(rows).or(row_bytes);
                    self.parts.ledger.store(&self.parts.ctx, &to, entry.clone()).await?;
                    table.entry = entry;
                    wait = HIDDEN_WAIT.0;
                }
                Attempt::Read { outcome: ChunkOutcome::Hidden { xid }, .. } => {
                    tracing::debug!(table = %table.name(), xid, "a chunk waits for a transaction to become visible");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(HIDDEN_WAIT.1);
                }
                Attempt::Read { outcome: ChunkOutcome::NeedsBaseline, .. } => {
                    self.new_baseline = Some(Self::baseline(&self.parts.sql).await?);
                    self.baseline_at = self.parts.ctx.clock.monotonic();
                }
                Attempt::Read { outcome: ChunkOutcome::Spoiled, .. } => rows_max = (rows_max / 2).max(100),
            }
        }
        self.report(&table);
        Ok(true)
    }

    /// Writes the entry down before its first chunk, so that the log's is recognised after a crash right behind it.
    async fn begin(&mut self, table: &CopyTable) -> Result<(), SourceError> {
        if table.entry.chunks > 0 {
            return Ok(());
        }
        let to = self.parts.ctx.streams[table.outlet].to.clone();
        self.parts.ledger.store(&self.parts.ctx, &to, table.entry.clone()).await
    }

    /// Describes a table that was altered; false when it is gone. Another key or another table starts the copy anew.
    async fn describe_again(&mut self, table: &mut CopyTable) -> Result<bool, SourceError> {
        let described = self.parts.describing.again(&self.parts.sql, table.name(), &table.business_key).await?;
        let Some(shape) = described else {
            tracing::warn!(table = %table.name(), "the table was dropped while it was copied");
            return Ok(false);
        };
        if shape.facts.oid != table.entry.oid || shape.key.columns != table.entry.key {
            let to = self.parts.ctx.streams[table.outlet].to.clone();
            let (oid, key) = (shape.facts.oid, shape.key.columns.clone());
            let wanted = LedgerEntry::new(table.name().clone(), oid, table.entry.epoch, key);
            table.entry = self.parts.ledger.begin(&to, wanted, true);
        }
        table.shape = shape;
        self.begin(table).await?;
        Ok(true)
    }

    /// Reads one chunk between its watermarks.
    async fn chunk(
        &mut self,
        table: &CopyTable,
        rows_max: u64,
        row_bytes: Option<u64>,
    ) -> Result<Attempt, SourceError> {
        self.chunk_number += 1;
        let text = |side: char| format!("{side}:{}:{}", self.parts.nonce, self.chunk_number);
        let (low, high) = (text('L'), text('H'));
        let released = !self.parts.synchronous_standbys
            && self.parts.ctx.clock.monotonic().saturating_sub(self.baseline_at) > BASELINE_PATIENCE;
        let announced = Announced {
            low: low.clone(),
            oid: table.shape.facts.oid,
            key: table.shape.key.columns.clone(),
            baseline: self.new_baseline.take(),
            baseline_released: released,
        };
        if self.parts.messages.send(CopyMessage::Announce(announced)).await.is_err() {
            return Ok(Attempt::Over);
        }
        self.watermark(&low).await?;
        let query = self.query(table, rows_max, row_bytes);
        let Some(chunk) = query.read(&self.parts.sql).await? else { return Ok(Attempt::Reshaped) };
        let bytes = chunk.rows.len() as u64;
        let entry = table.entry.after_chunk(chunk.count, chunk.upper.clone(), chunk.last);
        let (reply, answer) = oneshot::channel();
        let rows = self.rows(table, chunk, &entry, high.clone(), reply)?;
        if self.parts.messages.send(CopyMessage::Rows(Box::new(rows))).await.is_err() {
            return Ok(Attempt::Over);
        }
        self.parts.ctx.crash.reach(CrashPoint::InChunk);
        self.watermark(&high).await?;
        Ok(match answer.await {
            Ok(outcome) => Attempt::Read { outcome, entry, bytes },
            Err(_over) => Attempt::Over,
        })
    }

    fn query<'a>(&self, table: &'a CopyTable, rows_max: u64, row_bytes: Option<u64>) -> ChunkQuery<'a> {
        let shape = &table.shape;
        ChunkQuery {
            table: table.name(),
            oid: shape.facts.oid,
            fingerprint: shape.fingerprint(),
            partitioned: shape.facts.partitioned(),
            columns: &shape.columns,
            key: &shape.key.columns,
            after: table.entry.upper.as_deref(),
            row_filter: shape.row_filter.as_deref(),
            rows_max,
            bytes_max: self.parts.bytes_max,
            row_bytes,
        }
    }

    fn rows(
        &self,
        table: &CopyTable,
        chunk: Chunk,
        entry: &LedgerEntry,
        high: String,
        reply: oneshot::Sender<ChunkOutcome>,
    ) -> Result<ChunkRows, SourceError> {
        let state = entry.producer_state(&self.parts.ctx);
        if state.position.len() > STATE_BYTES_MAX {
            return Err(key_too_long(table.name(), state.position.len()).into());
        }
        let shape = &table.shape;
        let place = |name: &String| shape.columns.iter().position(|column| column == name);
        Ok(ChunkRows {
            high,
            outlet: table.outlet,
            plan: Arc::clone(&shape.plan),
            key_places: shape.key.columns.iter().filter_map(place).collect(),
            columns: Arc::clone(&shape.columns),
            rows: chunk.rows,
            count: chunk.count,
            snapshot: chunk.snapshot,
            entry: entry.clone(),
            state,
            reply,
        })
    }

    /// Writes a watermark into the WAL. It is a transaction of its own: its commit flushes the WAL, without which the server
    /// would send neither until somebody else commits.
    async fn watermark(&self, text: &str) -> Result<(), SourceError> {
        let statement = format!("SELECT pg_logical_emit_message(true, '{WATERMARK_PREFIX}', {})", literal(text));
        self.parts.sql.text(&statement, "writing a watermark").await.map(|_lsn| ())
    }

    fn report(&self, table: &CopyTable) {
        let entry = &table.entry;
        let phase = match entry.done {
            true => TablePhase::Done { rows: entry.rows },
            false => TablePhase::Copying {
                rows_done: entry.rows,
                rows_estimated: table.shape.facts.rows_estimated.max(entry.rows),
            },
        };
        report_phase(&self.parts.ctx, &entry.table, phase);
    }
}

/// Publishes how far a table's copy has come.
pub(crate) fn report_phase(ctx: &SourceContext, table: &TableName, phase: TablePhase) {
    ctx.status.send_modify(|status| match status.tables.iter_mut().find(|(name, _)| name == table) {
        Some((_, known)) => *known = phase,
        None => status.tables.push((table.clone(), phase)),
    });
}

fn key_too_long(table: &TableName, bytes: usize) -> Refusal {
    Refusal::table(
        "PS2138",
        table,
        format!("a key of its copy makes a ledger entry of {bytes} bytes; {STATE_BYTES_MAX} is the limit"),
        "give the table a shorter unique key, or set `snapshot: false` to capture live changes only",
    )
}
