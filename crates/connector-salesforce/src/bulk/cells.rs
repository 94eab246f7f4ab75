//! Cells as CSV says them: empty leaves the field as it is, `#N/A` clears it.
//!
//! Source: Bulk API 2.0 Developer Guide, "Prepare CSV Files".

use crate::read::value_text;
use contract::{OutBatch, OutOp, OutRow};
use model::Cell;
use std::borrow::Cow;
use xxhash_rust::xxh3::Xxh3;

/// Clears a field.
pub(crate) const NULL: &str = "#N/A";
/// Characters of one value.
const VALUE_CHARS_MAX: usize = 131_072;
/// Characters of one record.
const RECORD_CHARS_MAX: usize = 400_000;

/// True when CSV can say everything that the row says, whatever its columns are.
///
/// It cannot say the text `#N/A` itself, a text of blanks alone (is it empty, and so unchanged?), a NUL, or more characters
/// than a value or record may have. An empty text becomes `#N/A`: the org stores both as null.
pub(crate) fn carries(row: &OutRow) -> bool {
    let key_fits = row.key.as_ref().is_none_or(|key| {
        let text = value_text(key);
        !text.is_empty() && fits(&text)
    });
    let mut chars = row.key.as_ref().map_or(0, |key| value_text(key).chars().count());
    let cells_fit = row.cells.iter().all(|cell| match cell {
        Cell::Value(value) => {
            let text = value_text(value);
            chars += text.chars().count();
            fits(&text)
        }
        Cell::Null | Cell::Unchanged => true,
    });
    let says_something = row.key.is_some() || row.cells.iter().any(|cell| *cell != Cell::Unchanged);
    key_fits && cells_fit && says_something && chars <= RECORD_CHARS_MAX
}

fn fits(text: &str) -> bool {
    let blank = !text.is_empty() && text.trim().is_empty();
    !blank
        && !text.contains('\0')
        && !text.trim().eq_ignore_ascii_case(NULL)
        && (text.len() <= VALUE_CHARS_MAX || text.chars().count() <= VALUE_CHARS_MAX)
}

/// Where a column of the file gets its values from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// The external id.
    Key,
    /// The record id.
    Id,
    /// A cell; a null one of a lookup by external id stays empty.
    Cell(usize),
    /// `#N/A` where the cell is null: what clears a lookup is its own field, not the parent's external id.
    Cleared(usize),
    Position,
}

/// A column of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// As the header spells it.
    pub name: String,
    from: From,
}

/// The columns that a batch needs: one for each field that any of its rows changes, none for the others. So a field stands
/// in the file although the first row does not have it, and is left alone where a row says nothing of it.
pub(crate) fn columns(batch: &OutBatch) -> Vec<Column> {
    let mut columns = Vec::with_capacity(batch.columns.len() + 3);
    let mut add = |name: String, from| columns.push(Column { name, from });
    match (batch.op, &batch.external_id) {
        (OutOp::Update | OutOp::Delete, _) => add("Id".into(), From::Id),
        (OutOp::Upsert | OutOp::Create, Some(field)) => add(field.to_string(), From::Key),
        (OutOp::Upsert | OutOp::Create, None) => {}
    }
    if batch.op == OutOp::Delete {
        return columns;
    }
    for (at, column) in batch.columns.iter().enumerate() {
        let any = |wanted: fn(&Cell) -> bool| batch.rows.iter().any(|row| wanted(&row.cells[at]));
        let has_value = any(|cell| matches!(cell, Cell::Value(_)));
        let has_null = any(|cell| *cell == Cell::Null);
        match &column.reference {
            None if has_value || has_null => add(column.field.to_string(), From::Cell(at)),
            None => {}
            Some(reference) => {
                if has_value {
                    let path = format!("{}.{}", reference.relationship, reference.external_id);
                    let typed = format!("{}:{path}", reference.object);
                    add(if reference.polymorphic { typed } else { path }, From::Cell(at));
                }
                if has_null {
                    add(column.field.to_string(), From::Cleared(at));
                }
            }
        }
    }
    if let Some(field) = position_field(batch) {
        add(field.to_owned(), From::Position);
    }
    columns
}

/// The field that the position is written to, unless it is a column of the batch already.
pub(crate) fn position_field(batch: &OutBatch) -> Option<&str> {
    let field = batch.position_field.as_deref()?;
    (!batch.columns.iter().any(|column| column.field.eq_ignore_ascii_case(field))).then_some(field)
}

/// The text of a row's cell in a column; empty for what stays as it is. `id`: the record id, where the operation needs one.
pub(crate) fn text<'r>(column: &Column, batch: &OutBatch, row: &'r OutRow, id: Option<&'r str>) -> Cow<'r, str> {
    let cleared = Cow::Borrowed(NULL);
    match column.from {
        From::Key => row.key.as_ref().map_or(Cow::Borrowed(""), value_text),
        From::Id => Cow::Borrowed(id.unwrap_or_default()),
        From::Position => Cow::Owned(row.position.to_string()),
        From::Cleared(at) if row.cells[at] == Cell::Null => cleared,
        From::Cleared(_) => Cow::Borrowed(""),
        From::Cell(at) => match &row.cells[at] {
            Cell::Unchanged => Cow::Borrowed(""),
            Cell::Null if batch.columns[at].reference.is_some() => Cow::Borrowed(""),
            Cell::Null => cleared,
            Cell::Value(value) => match value_text(value) {
                text if text.is_empty() => cleared,
                text => text,
            },
        },
    }
}

/// True when a row has an empty external id of a parent: `#N/A` would clear the lookup, where the org refuses the row.
pub(crate) fn names_no_parent(batch: &OutBatch, row: &OutRow) -> bool {
    let cells = batch.columns.iter().zip(&row.cells);
    cells.filter(|(column, _)| column.reference.is_some()).any(|(_, cell)| match cell {
        Cell::Value(value) => value_text(value).is_empty(),
        Cell::Null | Cell::Unchanged => false,
    })
}

/// What a row and its line in a result file have in common: a hash of the values that tell rows apart.
///
/// Shape: values by name, in any order; empty ones do not count, since another file of the same rows need not have them.
pub(crate) fn print<'p>(values: impl Iterator<Item = (&'p str, Cow<'p, str>)>) -> u128 {
    let mut values: Vec<(String, Cow<'p, str>)> =
        values.filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name.to_ascii_lowercase(), text)).collect();
    values.sort_unstable();
    let mut hash = Xxh3::new();
    for (name, text) in &values {
        hash.update(name.as_bytes());
        hash.update(&[0]);
        hash.update(text.as_bytes());
        hash.update(&[0]);
    }
    hash.digest128()
}

/// The print of a row by one value alone.
pub(crate) fn print_of(text: &str) -> u128 {
    print(std::iter::once(("", Cow::Borrowed(text))))
}
