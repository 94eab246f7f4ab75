//! Writing rows as Salesforce does: checks, defaults, relationships, and the history of what was applied.
//!
//! Every API ends here. A row is applied whole or not at all; a transaction (`allOrNone`) can be taken back.

mod convert;
mod delete;
mod resolve;
mod restore;
mod write;

pub use convert::{convert, parse_key};
pub use restore::MASTER_FIELD;
pub use write::Upserted;

use crate::events::feed::told;
use crate::history::{Draft, History, HistoryOp, Mark};
use crate::ids::SfId;
use crate::json::Json;
use crate::persist::Position;
use crate::schema::Field;
use crate::store::{Binned, Row, RowState, Store};
use crate::value::Value;
use std::borrow::Cow;

/// Why a row was refused, in Salesforce's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    pub code: Cow<'static, str>,
    pub message: String,
    pub fields: Vec<String>,
}

impl RowError {
    /// Makes an error that names no field.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), fields: Vec::new() }
    }

    /// Makes an error about one field.
    pub fn on(code: &'static str, message: impl Into<String>, field: &str) -> Self {
        Self { fields: vec![field.to_owned()], ..Self::new(code, message) }
    }
}

/// Settings where the reference leaves open what Salesforce does.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Unverified {
    /// Code of a relationship whose external id is unknown: `INVALID_FIELD` or `INVALID_CROSS_REFERENCE_KEY`.
    pub unknown_foreign_key_code: String,
    /// Whether a row in the recycle bin keeps its unique values.
    pub deleted_rows_hold_unique_values: bool,
    /// HTTP status of a single call for a record in the recycle bin.
    pub entity_is_deleted_status: u16,
    /// HTTP status of the token endpoint for a wrong client secret.
    pub invalid_client_status: u16,
    /// Whether an unknown field or a value of the wrong JSON type refuses the whole Collections call (400) rather than its row.
    pub collections_refuse_whole_call: bool,
    /// How far in the future a JWT may expire, in seconds.
    pub jwt_expiry_max_s: i64,
    /// Whether white space around text is removed before it is stored.
    pub text_is_trimmed: bool,
    /// Whether datetimes are kept to the second only, as audit times always are.
    pub datetimes_to_the_second: bool,
    /// Whether children that a merge moves to another parent emit change events.
    pub merge_tells_children: bool,
    /// Days that a deleted row can be brought back for.
    pub recycle_bin_days: i64,
    /// Whether each subrequest of a batch counts as an API call, rather than the batch as one.
    pub batch_subrequests_count: bool,
}

impl Default for Unverified {
    fn default() -> Self {
        Self {
            unknown_foreign_key_code: "INVALID_FIELD".into(),
            deleted_rows_hold_unique_values: false,
            entity_is_deleted_status: 404,
            invalid_client_status: 400,
            collections_refuse_whole_call: false,
            jwt_expiry_max_s: 300,
            text_is_trimmed: false,
            datetimes_to_the_second: false,
            merge_tells_children: true,
            recycle_bin_days: 15,
            batch_subrequests_count: true,
        }
    }
}

/// Who writes, through what, and when.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub now_ms: i64,
    pub user: SfId,
    pub api: &'static str,
    pub request: u64,
    /// The API's version; 0 for what the org does by itself.
    pub version: u32,
    pub client: Option<&'a str>,
}

/// Why a row was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The caller named it.
    Request,
    /// It went, or came back, with the row that it depends on.
    Cascade,
    /// A row that it points to went or came back.
    Lookup,
    /// A row that it points to was merged into another, or it was itself.
    Merge,
    /// Its time in the recycle bin was over.
    Expired,
}

impl Cause {
    /// The word in the history; none for what the caller asked for.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Cause::Request => None,
            Cause::Cascade => Some("cascade"),
            Cause::Lookup => Some("lookup"),
            Cause::Merge => Some("merge"),
            Cause::Expired => Some("expired"),
        }
    }
}

enum Undo {
    Inserted { table: usize, slot: u32 },
    Replaced { table: usize, slot: u32, row: Row },
    Binned { number: u64 },
    Unbinned { number: u64, binned: Binned },
}

/// A transaction around several writers: what each of them commits can still be taken back together.
pub struct Whole {
    mark: Mark,
    undo: Vec<Undo>,
    /// Number and time of the request, once a writer has committed.
    at: Option<(u64, i64)>,
}

impl Whole {
    /// Begins. Until `commit` or `rollback`, every writer must be begun `within` this.
    pub fn begin(history: &History) -> Self {
        Self { mark: history.mark(), undo: Vec::new(), at: None }
    }

    /// Makes everything since `begin` final.
    pub fn commit(self, store: &mut Store, history: &mut History) {
        history.commit();
        if let Some((request, at_ms)) = self.at {
            store.save(Position { seq: history.last_seq(), request, at_ms, ..Position::default() });
        }
    }

    /// Takes everything since `begin` back; ids of created rows stay used.
    pub fn rollback(self, store: &mut Store, history: &mut History) {
        take_back(store, self.undo);
        history.rollback(self.mark);
    }
}

/// One transaction.
pub struct Writer<'a> {
    pub store: &'a mut Store,
    history: &'a mut History,
    unverified: &'a Unverified,
    origin: Origin<'a>,
    mark: Mark,
    /// None when the transaction will not be taken back.
    undo: Option<Vec<Undo>>,
    whole: Option<&'a mut Whole>,
    /// How long ago the transaction began, by the times that it gives to rows.
    began_before_ms: i64,
}

impl<'a> Writer<'a> {
    /// Begins. `undoable`: whether `rollback` may be called.
    pub fn begin(
        store: &'a mut Store,
        history: &'a mut History,
        unverified: &'a Unverified,
        origin: Origin<'a>,
        undoable: bool,
    ) -> Self {
        let mark = history.mark();
        store.access.act_as(origin.user);
        Self {
            store,
            history,
            unverified,
            origin,
            mark,
            undo: undoable.then(Vec::new),
            whole: None,
            began_before_ms: 0,
        }
    }

    /// Lets rows carry the times of a transaction that began `ms` ago: they become visible late.
    #[must_use]
    pub fn begun_before(mut self, ms: u64) -> Self {
        self.began_before_ms = i64::try_from(ms).unwrap_or(i64::MAX / 2);
        self
    }

    /// The time that changed rows get, to the second.
    fn stamp(&self) -> i64 {
        write::seconds(self.origin.now_ms.saturating_sub(self.began_before_ms))
    }

    /// Makes this a part of a larger transaction, if there is one: `commit` then hands over what it takes to undo it.
    #[must_use]
    pub fn within(mut self, whole: Option<&'a mut Whole>) -> Self {
        if whole.is_some() {
            self.undo.get_or_insert_default();
        }
        self.whole = whole;
        self
    }

    /// Makes everything since `begin` final, unless the writer is a part of a larger transaction.
    pub fn commit(self) {
        match self.whole {
            Some(whole) => {
                whole.undo.extend(self.undo.unwrap_or_default());
                whole.at = Some((self.origin.request, self.origin.now_ms));
            }
            None => {
                self.history.commit();
                let (seq, request, at_ms) = (self.history.last_seq(), self.origin.request, self.origin.now_ms);
                self.store.save(Position { seq, request, at_ms, ..Position::default() });
            }
        }
    }

    /// Takes everything since `begin` back; ids of created rows stay used.
    ///
    /// # Panics
    /// When the transaction was not begun as undoable: half of it would stay.
    pub fn rollback(self) {
        let undo = self.undo.expect("only an undoable transaction is rolled back");
        take_back(self.store, undo);
        self.history.rollback(self.mark);
    }

    /// Converts what a caller sent for a field, as this org stores it.
    fn convert(&self, field: &Field, json: &Json<'_>) -> Result<Value, RowError> {
        let trimmed;
        let json = match json {
            Json::Text(text) if self.unverified.text_is_trimmed && text.trim().len() < text.len() => {
                trimmed = Json::Text(Cow::Borrowed(text.trim()));
                &trimmed
            }
            json => json,
        };
        match convert(field, json)? {
            Value::Datetime(ms) if self.unverified.datetimes_to_the_second => Ok(Value::Datetime(write::seconds(ms))),
            value => Ok(value),
        }
    }

    fn insert(&mut self, table: usize, row: Row) -> u32 {
        let slot = self.store.insert_row(table, row);
        if let Some(undo) = &mut self.undo {
            undo.push(Undo::Inserted { table, slot });
        }
        slot
    }

    fn replace(&mut self, table: usize, slot: u32, row: Row, op: HistoryOp, sent: &[u16]) {
        self.replace_for(Cause::Request, table, slot, row, op, sent);
    }

    fn replace_for(&mut self, cause: Cause, table: usize, slot: u32, row: Row, op: HistoryOp, sent: &[u16]) {
        let old = self.store.replace_row(table, slot, row);
        self.record(cause, table, slot, op, sent, Some(&old));
        if let Some(undo) = &mut self.undo {
            undo.push(Undo::Replaced { table, slot, row: old });
        }
    }

    /// Adds a change to the history: what differs between `old` and the row as it is now.
    fn record(&mut self, cause: Cause, table: usize, slot: u32, op: HistoryOp, sent: &[u16], old: Option<&Row>) {
        let table = self.store.table(table);
        // A purged row has no values any more; it is told by those that it had.
        let Some(row) = (if op == HistoryOp::Purge { old } else { table.row(slot) }) else { return };
        let object = &table.object;
        let mut changes: Vec<(&str, &Value, &Value)> = Vec::new();
        let name = |field: u16| &*object.fields[usize::from(field)].name;
        for (field, after) in row.cells() {
            let before = old.map_or(&Value::Null, |old| old.cell(*field));
            if before != after {
                changes.push((name(*field), before, after));
            }
        }
        for (field, before) in old.map_or(&[][..], Row::cells) {
            if row.cell(*field).is_null() {
                changes.push((name(*field), before, &Value::Null));
            }
        }
        let was_live = old.is_some_and(|old| old.state == RowState::Live);
        match op {
            HistoryOp::Delete => changes.push(("IsDeleted", &Value::Bool(false), &Value::Bool(true))),
            HistoryOp::Purge if was_live => changes.push(("IsDeleted", &Value::Bool(false), &Value::Bool(true))),
            HistoryOp::Undelete => changes.push(("IsDeleted", &Value::Bool(true), &Value::Bool(false))),
            _ => {}
        }
        let key = |number: &u16| {
            let field = &object.fields[usize::from(*number)];
            (field.external_id && !row.cell(*number).is_null()).then(|| (&*field.name, row.cell(*number)))
        };
        let external_id = sent.first().and_then(key).or_else(|| object.checks.external_id.iter().find_map(key));
        let untold = cause == Cause::Merge && op == HistoryOp::Update && !self.unverified.merge_tells_children;
        let sent: Vec<&str> = sent.iter().map(|number| name(*number)).collect();
        self.history.append(&Draft {
            at_ms: self.origin.now_ms,
            api: self.origin.api,
            request: self.origin.request,
            client: self.origin.client,
            object: &object.name,
            id: row.id,
            external_id,
            op,
            cause: cause.word(),
            sent: &sent,
            user: self.origin.user,
            version: self.origin.version,
            told: told(op, cause, object, row, old).filter(|_| !untold),
            changes: &changes,
        });
    }
}

/// Undoes steps, the latest first.
fn take_back(store: &mut Store, undo: Vec<Undo>) {
    for step in undo.into_iter().rev() {
        match step {
            Undo::Replaced { table, slot, row } => {
                store.replace_row(table, slot, row);
            }
            Undo::Inserted { table, slot } => {
                let row = store.table(table).row(slot);
                let id = row.map(|row| row.id).expect("an inserted row is there until its undo");
                let mut gone = Row::new(id, id, 0);
                gone.state = RowState::Gone;
                store.replace_row(table, slot, gone);
            }
            Undo::Binned { number } => {
                store.bin.take(number);
            }
            Undo::Unbinned { number, binned } => store.bin.put(number, binned),
        }
    }
}
