//! Change events, written straight into a batch: key, envelope and headers of each row change.
//!
//! ```text
//! Relation message + catalogue facts ── RelationPlan::compile (once per shape)
//! tuples / SQL rows ── EventWriter ── RecordBatchBuilder      (no map, no allocation per row)
//! ```
//!
//! Invariants: (1) a record's JSON always parses, whatever bytes the server sent; (2) when a call fails, nothing of that
//! change is in the batch; (3) the same input gives the same bytes, but for the processing time.

use crate::column_type::{PlanError, RelationDescription, TypeCatalogue};
use crate::pgoutput::{ColumnText, OldTuple, Tuple};
use crate::values::ValueError;
use model::{BatchFull, ErrorCode, Lsn, RecordBatchBuilder, Retry, TableName, ValueMode};

/// What is the same in every event of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSource {
    /// `source.name`: the source's name in the configuration (Debezium: `topic.prefix`).
    pub name: String,
    /// `source.db`.
    pub database: String,
    pub mode: ValueMode,
}

/// Everything about a table's shape that writing its events needs, compiled once per Relation message.
#[derive(Clone, Debug)]
pub struct RelationPlan {}

impl RelationPlan {
    /// Compiles a table's shape. `key`: the business key's columns in key order; empty gives records without a key.
    ///
    /// # Errors
    /// `PlanError` when a key column is not in the table.
    pub fn compile(
        relation: &RelationDescription,
        catalogue: &TypeCatalogue,
        key: &[String],
        source: &EventSource,
    ) -> Result<Self, PlanError> {
        let _ = (relation, catalogue, key, source);
        todo!()
    }

    /// The table's name.
    pub fn table(&self) -> &TableName {
        todo!()
    }
}

/// The columns of one row version: a decoded tuple, or the text columns of an SQL row.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    Tuple(Tuple<'a>),
    Columns(&'a [ColumnText<'a>]),
}

impl<'a> From<Tuple<'a>> for Row<'a> {
    fn from(tuple: Tuple<'a>) -> Self {
        Self::Tuple(tuple)
    }
}

/// `source.snapshot` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// From the stream: `false`.
    No,
    /// From a table's first copy: `true`.
    Initial,
    /// From a chunk copied beside the stream: `incremental`.
    Incremental,
}

/// Where and when a change happened.
#[derive(Clone, Copy, Debug)]
pub struct EventMeta {
    /// `source.ts_*` and the record's time: the commit's time; for a snapshot row when it was read. Unix microseconds.
    pub commit_time_us: i64,
    /// `ts_*`: when Penstock handled the change. Unix milliseconds.
    pub now_ms: i64,
    pub xid: Option<u32>,
    /// `source.lsn`: the XLogData's start (for a snapshot row: the low watermark).
    pub lsn: Lsn,
    /// Commit LSN of the transaction before; `source.sequence` holds it beside `lsn`.
    pub previous_commit_lsn: Option<Lsn>,
    pub snapshot: Snapshot,
}

/// Writes change events. Keep one per session: it holds scratch space and counts.
#[derive(Debug, Default)]
pub struct EventWriter {
    invalid_utf8: u64,
}

impl EventWriter {
    /// Makes a writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Values so far whose bytes were not UTF-8 (a database in `SQL_ASCII`): each bad sequence stands as U+FFFD.
    pub fn invalid_utf8(&self) -> u64 {
        self.invalid_utf8
    }

    /// Writes an insert: one record. Each method answers the number of records it wrote.
    ///
    /// # Errors
    /// `EventError`; nothing of the change is in the batch then. The same holds for every method here.
    pub fn insert(
        &mut self,
        out: &mut RecordBatchBuilder,
        plan: &RelationPlan,
        meta: &EventMeta,
        new: Row<'_>,
    ) -> Result<u32, EventError> {
        let _ = (out, plan, meta, new);
        todo!()
    }

    /// Writes an update: one record, or two when the business key changed (`d` of the old key with header `newkey`, then
    /// `c` of the new one with header `oldkey`).
    pub fn update(
        &mut self,
        out: &mut RecordBatchBuilder,
        plan: &RelationPlan,
        meta: &EventMeta,
        old: OldTuple<'_>,
        new: Tuple<'_>,
    ) -> Result<u32, EventError> {
        let _ = (out, plan, meta, old, new);
        todo!()
    }

    /// Writes a delete: one record.
    pub fn delete(
        &mut self,
        out: &mut RecordBatchBuilder,
        plan: &RelationPlan,
        meta: &EventMeta,
        old: OldTuple<'_>,
    ) -> Result<u32, EventError> {
        let _ = (out, plan, meta, old);
        todo!()
    }

    /// Writes a truncate of one table: one record without a key.
    pub fn truncate(
        &mut self,
        out: &mut RecordBatchBuilder,
        plan: &RelationPlan,
        meta: &EventMeta,
    ) -> Result<u32, EventError> {
        let _ = (out, plan, meta);
        todo!()
    }

    /// Writes a row of a snapshot chunk (op `r`): one record. `chunk` goes into the header of that name.
    pub fn snapshot_row(
        &mut self,
        out: &mut RecordBatchBuilder,
        plan: &RelationPlan,
        meta: &EventMeta,
        chunk: &str,
        row: Row<'_>,
    ) -> Result<u32, EventError> {
        let _ = (out, plan, meta, chunk, row);
        todo!()
    }

    /// Writes only the JSON of a row's business key into `key` (cleared first): to match chunk rows against live changes.
    /// It is the same bytes as the key of the row's records.
    pub fn key_of(&mut self, key: &mut bytes::BytesMut, plan: &RelationPlan, row: Row<'_>) -> Result<(), EventError> {
        let _ = (key, plan, row);
        todo!()
    }
}

/// A change that could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    #[error(
        "PS2003: a change of table {table} carries {found} columns, its description has {expected}; \
         the description is not of the same moment as the change"
    )]
    ColumnCount { table: TableName, expected: usize, found: usize },
    #[error(
        "PS2004: a change of table {table} does not carry business key column {column:?}; \
         make it part of the replica identity (ALTER TABLE … REPLICA IDENTITY FULL, or USING INDEX)"
    )]
    KeyNotCarried { table: TableName, column: String },
    #[error("PS2005: column {column:?} of table {table}: {cause}")]
    Value { table: TableName, column: String, cause: ValueError },
    #[error("PS2006: a change of table {table} is too large: {cause}")]
    TooLarge { table: TableName, cause: BatchFull },
}

impl EventError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        ErrorCode(match self {
            Self::ColumnCount { .. } => "PS2003",
            Self::KeyNotCarried { .. } => "PS2004",
            Self::Value { .. } => "PS2005",
            Self::TooLarge { .. } => "PS2006",
        })
    }

    /// What to do next.
    pub fn retry(&self) -> Retry {
        match self {
            Self::KeyNotCarried { .. } => Retry::AfterOperator,
            _ => Retry::Never,
        }
    }
}
