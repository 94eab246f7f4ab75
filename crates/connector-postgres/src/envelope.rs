//! Change events, written straight into a batch: key, envelope and headers of each row change.
//!
//! ```text
//! Relation message + catalogue facts ── RelationPlan::compile (once per shape)
//! tuples / SQL rows ── EventWriter ── RecordBatchBuilder      (no map, no allocation per row)
//! ```
//!
//! The JSON is written into room that the writer keeps and is then copied into the batch in one piece: a value that
//! turns out broken half-way leaves no trace there, and the copy is a thousandth of the cost.
//!
//! Invariants: (1) a record's JSON always parses, whatever bytes the server sent; (2) when a call fails, nothing of that
//! change is in the batch; (3) the same input gives the same bytes, but for the processing time.

mod image;
mod plan;
mod source_block;
mod transaction;

#[cfg(test)]
mod tests;

pub use plan::{EventSource, RelationPlan};
pub use transaction::TransactionEnd;

use crate::pgoutput::{ColumnText, OldTuple, Tuple, TupleColumns};
use crate::values::{Scratch, ValueError, write_number};
use image::{Image, RowImage};
use model::{BatchFull, ErrorCode, Lsn, Op, RecordBatchBuilder, Retry, TableName, ValueMode, header};

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

impl<'a> Row<'a> {
    fn len(&self) -> usize {
        match self {
            Self::Tuple(tuple) => tuple.len(),
            Self::Columns(columns) => columns.len(),
        }
    }

    fn columns(&self) -> RowColumns<'a> {
        match self {
            Self::Tuple(tuple) => RowColumns::Tuple(tuple.columns()),
            Self::Columns(columns) => RowColumns::Columns(columns.iter()),
        }
    }

    fn column(&self, index: usize) -> Option<ColumnText<'a>> {
        self.columns().nth(index)
    }
}

enum RowColumns<'a> {
    Tuple(TupleColumns<'a>),
    Columns(std::slice::Iter<'a, ColumnText<'a>>),
}

impl<'a> Iterator for RowColumns<'a> {
    type Item = ColumnText<'a>;

    #[inline]
    fn next(&mut self) -> Option<ColumnText<'a>> {
        match self {
            Self::Tuple(columns) => columns.next(),
            Self::Columns(columns) => columns.next().copied(),
        }
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
    /// End LSN of the transaction before; `source.sequence` holds it beside `lsn`.
    pub previous_end_lsn: Option<Lsn>,
    pub snapshot: Snapshot,
}

/// Writes change events. Keep one per session: it holds room and counts.
#[derive(Debug, Default)]
pub struct EventWriter {
    key: Vec<u8>,
    other_key: Vec<u8>,
    value: Vec<u8>,
    other_value: Vec<u8>,
    unchanged: Vec<u8>,
    scratch: Scratch,
}

/// One change, as far as its records need to know.
struct Event<'a> {
    op: Op,
    before: Option<RowImage<'a>>,
    after: Option<RowImage<'a>>,
}

impl EventWriter {
    /// Makes a writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Values so far whose bytes were not UTF-8 (a database in `SQL_ASCII`): each bad sequence stands as U+FFFD.
    pub fn invalid_utf8(&self) -> u64 {
        self.scratch.invalid_utf8
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
        plan.check_columns(new)?;
        let after = Some(RowImage::of(Image::Whole(new)));
        self.one(out, plan, meta, &Event { op: Op::Create, before: None, after }, None)
    }

    /// Writes an update: one record, or two when the business key changed (`d` of the old key with header `newkey`, then
    /// `c` of the new one with header `oldkey`).
    ///
    /// A change of a business key that the replica identity does not carry (`RelationPlan::key_is_carried`) cannot be
    /// seen here: the row then moves without its `d`.
    pub fn update(
        &mut self,
        out: &mut RecordBatchBuilder,
        plan: &RelationPlan,
        meta: &EventMeta,
        old: OldTuple<'_>,
        new: Tuple<'_>,
    ) -> Result<u32, EventError> {
        let old = Image::of_old(plan, old)?;
        plan.check_columns(new.into())?;
        let before = old.map(RowImage::of);
        let after = RowImage { image: Image::Whole(new.into()), known: old };
        if let Some(before) = before
            && plan.key_is_carried()
            && self.key_changed(plan, before, after)?
        {
            return self.moved(out, plan, meta, before, after);
        }
        self.one(out, plan, meta, &Event { op: Op::Update, before, after: Some(after) }, None)
    }

    /// Writes a delete: one record.
    pub fn delete(
        &mut self,
        out: &mut RecordBatchBuilder,
        plan: &RelationPlan,
        meta: &EventMeta,
        old: OldTuple<'_>,
    ) -> Result<u32, EventError> {
        let before = Image::of_old(plan, old)?.map(RowImage::of);
        self.one(out, plan, meta, &Event { op: Op::Delete, before, after: None }, None)
    }

    /// Writes a truncate of one table: one record without a key.
    pub fn truncate(
        &mut self,
        out: &mut RecordBatchBuilder,
        plan: &RelationPlan,
        meta: &EventMeta,
    ) -> Result<u32, EventError> {
        self.one(out, plan, meta, &Event { op: Op::Truncate, before: None, after: None }, None)
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
        plan.check_columns(row)?;
        let after = Some(RowImage::of(Image::Whole(row)));
        self.one(out, plan, meta, &Event { op: Op::Read, before: None, after }, Some(chunk))
    }

    /// Writes only the JSON of a row's business key into `key` (cleared first; empty when the table has no key): to match
    /// chunk rows against live changes. It is the same bytes as the key of the row's records.
    pub fn key_of(&mut self, key: &mut Vec<u8>, plan: &RelationPlan, row: Row<'_>) -> Result<(), EventError> {
        plan.check_columns(row)?;
        key.clear();
        RowImage::of(Image::Whole(row)).write_key(key, plan, &mut self.scratch)
    }

    /// Like `key_of`, of an old row version; false when there is none or it does not carry the key.
    pub fn key_of_old(
        &mut self,
        key: &mut Vec<u8>,
        plan: &RelationPlan,
        old: OldTuple<'_>,
    ) -> Result<bool, EventError> {
        key.clear();
        match Image::of_old(plan, old)? {
            Some(old) if plan.key_is_carried() => {
                RowImage::of(old).write_key(key, plan, &mut self.scratch)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Tells whether two row versions have different business keys. Texts that are equal settle it without JSON.
    fn key_changed(
        &mut self,
        plan: &RelationPlan,
        before: RowImage<'_>,
        after: RowImage<'_>,
    ) -> Result<bool, EventError> {
        let same_text = plan.key.iter().all(|key| before.column(plan, key.index) == after.column(plan, key.index));
        if same_text {
            return Ok(false);
        }
        self.key.clear();
        self.other_key.clear();
        before.write_key(&mut self.key, plan, &mut self.scratch)?;
        after.write_key(&mut self.other_key, plan, &mut self.scratch)?;
        Ok(self.key != self.other_key)
    }

    /// Writes the two records of a changed key; `key` and `other_key` hold the old and the new one.
    fn moved(
        &mut self,
        out: &mut RecordBatchBuilder,
        plan: &RelationPlan,
        meta: &EventMeta,
        before: RowImage<'_>,
        after: RowImage<'_>,
    ) -> Result<u32, EventError> {
        let gone = Event { op: Op::Delete, before: Some(before), after: None };
        let here = Event { op: Op::Create, before: None, after: Some(after) };
        self.value.clear();
        write_envelope(&mut self.value, plan, meta, &gone, &mut self.unchanged, &mut self.scratch)?;
        self.other_value.clear();
        write_envelope(&mut self.other_value, plan, meta, &here, &mut self.unchanged, &mut self.scratch)?;
        // Both fit or neither is written; headers repeat a key and the unchanged names, which the halves below cover.
        let largest = self.value.len().max(self.other_value.len()) + self.key.len() + self.other_key.len();
        if u32::try_from(largest.saturating_mul(2)).is_err() {
            return Err(plan.too_large(BatchFull { bytes: largest }));
        }
        let time_ms = meta.commit_time_us.div_euclid(1000);
        let table = plan.table_header.as_bytes();
        let push = |out: &mut RecordBatchBuilder, key: &[u8], value: &[u8], headers: &[(&str, &[u8])]| {
            out.push(time_ms, Some(key), Some(value), headers).map_err(|full| plan.too_large(full))
        };
        let headers = [(header::OP, &b"d"[..]), (header::TABLE, table), (header::NEW_KEY, &self.other_key)];
        push(out, &self.key, &self.value, &headers)?;
        let headers = [
            (header::OP, &b"c"[..]),
            (header::TABLE, table),
            (header::OLD_KEY, &self.key),
            (header::UNCHANGED, &self.unchanged),
        ];
        let count = if self.unchanged.is_empty() { 3 } else { 4 };
        push(out, &self.other_key, &self.other_value, &headers[..count])?;
        Ok(2)
    }

    fn one(
        &mut self,
        out: &mut RecordBatchBuilder,
        plan: &RelationPlan,
        meta: &EventMeta,
        event: &Event<'_>,
        chunk: Option<&str>,
    ) -> Result<u32, EventError> {
        self.key.clear();
        if let Some(row) = event.after.or(event.before) {
            row.write_key(&mut self.key, plan, &mut self.scratch)?;
        }
        self.value.clear();
        write_envelope(&mut self.value, plan, meta, event, &mut self.unchanged, &mut self.scratch)?;
        let letter = [event.op.letter()];
        let mut headers =
            [(header::OP, &letter[..]), (header::TABLE, plan.table_header.as_bytes()), ("", &[]), ("", &[])];
        let mut count = 2;
        if !self.unchanged.is_empty() {
            headers[count] = (header::UNCHANGED, &self.unchanged);
            count += 1;
        }
        if let Some(chunk) = chunk {
            headers[count] = (header::CHUNK, chunk.as_bytes());
            count += 1;
        }
        let key = (!self.key.is_empty()).then_some(&self.key[..]);
        let time_ms = meta.commit_time_us.div_euclid(1000);
        out.push(time_ms, key, Some(&self.value), &headers[..count]).map_err(|full| plan.too_large(full))?;
        Ok(1)
    }
}

/// Appends the envelope; leaves in `unchanged` the JSON array of the columns that `after` lacks, empty when it lacks none.
fn write_envelope(
    out: &mut Vec<u8>,
    plan: &RelationPlan,
    meta: &EventMeta,
    event: &Event<'_>,
    unchanged: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<(), EventError> {
    unchanged.clear();
    out.extend_from_slice(b"{\"before\":");
    match event.before {
        Some(before) => before.write_object(out, plan, unchanged, scratch)?,
        None => out.extend_from_slice(b"null"),
    }
    // An old row version is complete as far as it goes: only `after` can lack a value.
    unchanged.clear();
    out.extend_from_slice(b",\"after\":");
    match event.after {
        Some(after) => after.write_object(out, plan, unchanged, scratch)?,
        None => out.extend_from_slice(b"null"),
    }
    if !unchanged.is_empty() {
        unchanged.push(b']');
    }
    plan.source.write(out, meta);
    if plan.mode == ValueMode::Debezium {
        out.extend_from_slice(b",\"transaction\":null");
    }
    out.extend_from_slice(b",\"op\":\"");
    out.push(event.op.letter());
    out.extend_from_slice(b"\",\"ts_ms\":");
    write_number(out, meta.now_ms);
    if plan.mode == ValueMode::Debezium {
        out.extend_from_slice(b",\"ts_us\":");
        write_number(out, meta.now_ms);
        out.extend_from_slice(b"000,\"ts_ns\":");
        write_number(out, meta.now_ms);
        out.extend_from_slice(b"000000");
    }
    out.push(b'}');
    Ok(())
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
