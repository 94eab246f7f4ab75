//! Queries for the Bulk APIs: which rows, and the text of each value in the order of the `SELECT`.

use super::bind::{self, BindError, BoundPath, Scope, TYPE_FIELD};
use super::{Prepared, Shape, eval, run};
use crate::ids::SfId;
use crate::schema::Kind;
use crate::soql::{self, Item, Term};
use crate::store::{RowState, Store};
use crate::value::Value;
use std::borrow::Cow;

/// Why a Bulk API does not run a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: &'static str,
    pub message: String,
}

fn refused(code: &'static str, message: impl Into<String>) -> Refused {
    Refused { code, message: message.into() }
}

/// The rows of a query.
#[derive(Debug)]
pub struct BulkRows {
    object: String,
    table: usize,
    slots: Vec<u32>,
    columns: Vec<(String, BoundPath)>,
    deleted: bool,
}

/// Tells which object a query reads.
///
/// # Errors
/// `Refused` when the query is none, does not fit the objects, or uses what Bulk does not support.
pub fn object(store: &Store, text: &str, now_ms: i64) -> Result<String, Refused> {
    let (prepared, _) = prepare(store, text, now_ms)?;
    Ok(store.table(prepared.query.table).object.name.to_string())
}

/// Finds the rows of a query. `deleted`: those in the recycle bin too.
///
/// # Errors
/// As `object`.
pub fn select(store: &Store, text: &str, deleted: bool, now_ms: i64) -> Result<BulkRows, Refused> {
    let (Prepared { query, .. }, columns) = prepare(store, text, now_ms)?;
    let slots = run::rows(store, &query, deleted);
    let object = store.table(query.table).object.name.to_string();
    Ok(BulkRows { object, table: query.table, slots, columns, deleted })
}

type Columns = Vec<(String, BoundPath)>;

fn prepare(store: &Store, text: &str, now_ms: i64) -> Result<(Prepared, Columns), Refused> {
    let place = |error: BindError| {
        let message = error.at.map_or_else(|| error.message.clone(), |at| super::located(text, at, &error.message));
        refused(error.code, message)
    };
    let prepared = super::prepare(store, text, now_ms).map_err(place)?;
    if prepared.shape != Shape::Rows {
        return Err(refused("API_ERROR", "Aggregate Relationships not supported in Bulk Query"));
    }
    if prepared.query.offset > 0 {
        return Err(refused("API_ERROR", "OFFSET clause is not supported in Bulk Query"));
    }
    // The bound query puts the fields of one parent together; a Bulk file has them where the SELECT has them.
    let select = soql::parse(text).map_err(|error| refused("MALFORMED_QUERY", error.message))?;
    let scope = Scope { store, table: prepared.query.table, alias: select.alias.as_deref(), now_ms };
    let mut columns = Vec::new();
    for item in &select.items {
        match item {
            Item::Term { term: Term::Path(path), .. } | Item::Label { path, .. } => {
                let path = bind::bind_path(&scope, path).map_err(place)?;
                columns.push((name(store, &path)?, path));
            }
            Item::Fields { standard, custom } => all(store, scope.table, *standard, *custom, &mut columns),
            Item::Children(_) => {
                return Err(refused("API_ERROR", "Aggregate Relationships not supported in Bulk Query"));
            }
            Item::TypeOf { .. } => return Err(refused("API_ERROR", "TYPEOF is not supported in Bulk Query")),
            Item::Term { .. } => return Err(refused("API_ERROR", "Functions are not supported in Bulk Query")),
        }
    }
    Ok((prepared, columns))
}

fn all(store: &Store, table: usize, standard: bool, custom: bool, out: &mut Columns) {
    let fields = store.table(table).object.fields.iter().enumerate();
    let wanted = fields.filter(|(_, field)| if field.custom() { custom } else { standard });
    let wanted = wanted.filter(|(number, _)| store.sees(table, *number as u16));
    for (number, field) in wanted.filter(|(_, field)| !is_compound(field.kind)) {
        let path = BoundPath { lookups: Vec::new(), table, field: number as u16 };
        out.push((field.name.to_string(), path));
    }
}

fn is_compound(kind: Kind) -> bool {
    matches!(kind, Kind::Address)
}

/// The name of a column, as the objects spell it.
fn name(store: &Store, path: &BoundPath) -> Result<String, Refused> {
    let mut out = String::new();
    for (table, lookup) in &path.lookups {
        let reference = store.table(*table).object.fields[usize::from(*lookup)].reference.as_ref();
        out.push_str(reference.and_then(|reference| reference.relationship.as_deref()).unwrap_or_default());
        out.push('.');
    }
    if path.field == TYPE_FIELD {
        out.push_str("Type");
        return Ok(out);
    }
    let field = &store.table(path.table).object.fields[usize::from(path.field)];
    if is_compound(field.kind) {
        return Err(refused("FUNCTIONALITY_NOT_ENABLED", "Selecting compound data not supported in Bulk Query"));
    }
    out.push_str(&field.name);
    Ok(out)
}

impl BulkRows {
    /// How many rows were found; some may be gone when they are read.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The object's name.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// A row's id and values; none when it is gone.
    pub fn values<'s>(&self, store: &'s Store, at: usize) -> Option<(SfId, Vec<Cow<'s, Value>>)> {
        let row = store.table(self.table).row(*self.slots.get(at)?)?;
        if row.state != RowState::Live && !(self.deleted && row.state == RowState::Deleted) {
            return None;
        }
        let value = |(_, path): &(String, BoundPath)| eval::path_value(store, path, row, self.table);
        Some((row.id, self.columns.iter().map(value).collect()))
    }
}

/// The text of a value in a Bulk file; datetimes end in `Z`.
pub fn text(value: &Value) -> String {
    let mut text = value.to_string();
    if matches!(value, Value::Datetime(_)) && text.ends_with("+0000") {
        text.truncate(text.len() - 5);
        text.push('Z');
    }
    text
}
