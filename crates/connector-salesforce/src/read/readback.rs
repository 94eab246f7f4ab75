//! After a lost answer or a crash: which rows does the org already hold?

use super::lookup::Found;
use super::query::{self, Fields};
use super::{Target, compare, soql};
use crate::DatetimePrecision;
use contract::{FieldSchema, ObjectSchema, OutBatch, OutColumn, OutOp, OutRow, ReadBack, SinkError};
use model::{Cell, ErrorClass, Offset, Partition, Position};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::Arc;

/// Encoded bytes of one query's field list; a wider batch is read in several queries, the rest is for keys.
const SELECT_BYTES_MAX: usize = 6_000;

/// How a column is looked at.
enum Look<'a> {
    Field(&'a FieldSchema),
    /// The parent's external id through the relationship, and the lookup itself for null.
    Parent {
        relationship: &'a str,
        external_id: &'a str,
        field: &'a FieldSchema,
    },
    /// Cannot be read or compared: a row that writes it is never found applied.
    Unsure,
}

/// What is known of a row while its records are read.
#[derive(Clone, Default)]
struct Seen {
    id: Option<Arc<str>>,
    several: bool,
    /// Column groups whose fields all held the row's cells.
    groups_equal: usize,
}

/// Tells for each row, in order, whether the org holds its effect.
///
/// With a position field: held at the row's position or a later one of the same partition. Without: every cell that is not
/// unchanged is there. A delete is held when the record is gone. Whatever cannot be told is `Missing` (for `Create`, where
/// sending again could make a second record: `Unknown`).
///
/// # Errors
/// `SinkError`; nothing was changed.
pub(crate) async fn read_back(
    target: &Target<'_>,
    schema: &ObjectSchema,
    batch: &OutBatch,
    precision: DatetimePrecision,
    spent: &mut u32,
) -> Result<Vec<ReadBack>, SinkError> {
    if batch.op == OutOp::Delete {
        let rows: Vec<usize> = (0..batch.rows.len()).collect();
        let found = target.resolve(batch, &rows, false, spent).await?;
        let held = |found| match found {
            Found::Absent => ReadBack::Applied { id: None },
            Found::One { .. } | Found::Many | Found::NoKey => ReadBack::Missing,
        };
        return Ok(found.into_iter().map(held).collect());
    }
    let looks: Vec<Look<'_>> = batch.columns.iter().map(|column| look(column, schema)).collect();
    let groups = groups(batch, &looks, schema);
    let mut seen = vec![Seen::default(); batch.rows.len()];
    for group in &groups {
        match read_group(target, batch, &looks, group, precision, &mut seen, spent).await {
            Ok(()) => {}
            // A field that cannot be selected: the write will say so, row by row, where a failing read-back would block.
            Err(error) if error.class == ErrorClass::Permanent => {
                tracing::warn!(object = %batch.object, error = %error, "the rows cannot be read back; they are sent again");
                let unsure = if batch.op == OutOp::Create { ReadBack::Unknown } else { ReadBack::Missing };
                return Ok(vec![unsure; batch.rows.len()]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(seen.into_iter().map(|seen| verdict(seen, groups.len(), batch.op)).collect())
}

fn verdict(seen: Seen, groups: usize, op: OutOp) -> ReadBack {
    match seen {
        Seen { id: None, .. } => ReadBack::Missing,
        Seen { id, several: false, groups_equal } if groups_equal == groups => ReadBack::Applied { id },
        // The record is there, but is not what was sent: made by us and changed since, or not ours.
        _ if op == OutOp::Create => ReadBack::Unknown,
        _ => ReadBack::Missing,
    }
}

/// Chooses how each column is read.
fn look<'a>(column: &'a OutColumn, schema: &'a ObjectSchema) -> Look<'a> {
    let Some(field) = schema.field(&column.field) else { return Look::Unsure };
    match &column.reference {
        None => Look::Field(field),
        // SOQL reaches only the common fields of a polymorphic parent.
        Some(reference) if reference.polymorphic => Look::Unsure,
        Some(reference) => {
            Look::Parent { relationship: &reference.relationship, external_id: &reference.external_id, field }
        }
    }
}

/// A run of columns read by one query, with what it selects.
struct Group {
    columns: Vec<usize>,
    /// Encoded, with a leading comma for each field.
    select: String,
    /// The query reads the position instead of the columns.
    position: Option<Arc<str>>,
}

fn groups(batch: &OutBatch, looks: &[Look<'_>], schema: &ObjectSchema) -> Vec<Group> {
    if let Some(field) = batch.position_field.as_deref().and_then(|name| schema.field(name)) {
        let select = format!(",{}", field.name);
        return vec![Group { columns: Vec::new(), select, position: Some(Arc::clone(&field.name)) }];
    }
    let mut groups = vec![Group { columns: Vec::new(), select: String::new(), position: None }];
    for (at, look) in looks.iter().enumerate() {
        if batch.rows.iter().all(|row| matches!(row.cells[at], Cell::Unchanged)) {
            continue;
        }
        let select = match look {
            // The external id is selected already, and SOQL refuses a field that stands twice.
            Look::Field(field) if is_selected_already(batch, &field.name) => String::new(),
            Look::Field(field) => format!(",{}", field.name),
            Look::Parent { relationship, external_id, field } => {
                format!(",{relationship}.{external_id},{}", field.name)
            }
            Look::Unsure => String::new(),
        };
        match groups.last_mut() {
            Some(group) if group.columns.is_empty() || group.select.len() + select.len() <= SELECT_BYTES_MAX => {
                group.select.push_str(&select);
                group.columns.push(at);
            }
            _ => groups.push(Group { columns: vec![at], select, position: None }),
        }
    }
    groups
}

fn is_selected_already(batch: &OutBatch, name: &str) -> bool {
    name.eq_ignore_ascii_case("Id") || batch.external_id.as_deref().is_some_and(|key| key.eq_ignore_ascii_case(name))
}

/// Reads one group's fields of all rows and counts the group for each row that holds its cells.
async fn read_group(
    target: &Target<'_>,
    batch: &OutBatch,
    looks: &[Look<'_>],
    group: &Group,
    precision: DatetimePrecision,
    seen: &mut [Seen],
    spent: &mut u32,
) -> Result<(), SinkError> {
    let key_name = &target.field.name;
    let id = if key_name.eq_ignore_ascii_case("Id") { String::new() } else { "Id,".into() };
    let head = format!("SELECT {id}{key_name}{} FROM {} WHERE {key_name} IN (", group.select, target.object);
    let head = soql::encoded(&head);
    let mut asked: HashMap<String, Vec<usize>> = HashMap::new();
    let mut literals = Vec::with_capacity(batch.rows.len());
    for (at, row) in batch.rows.iter().enumerate() {
        let Some(key) = &row.key else { continue };
        if let (Some(canonical), Some(literal)) = (target.canonical_key(key), target.literal(key)) {
            asked.entry(canonical).or_default().push(at);
            literals.push(literal);
        }
    }
    let place = format!("read back {} by {key_name}", batch.object);
    let room = soql::URI_BYTES_MAX.saturating_sub(target.transport.data_path.len() + head.len() + 16);
    for run in soql::runs(&literals, room) {
        let text = format!("{head}{})", literals[run].join(","));
        query::run(target.transport, &text, &place, spent, |fields| {
            let key = query::field(fields, key_name).and_then(compare::raw_text);
            let Some(key) = key.and_then(|key| target.canonical(&key)) else { return };
            for at in asked.get(&key).into_iter().flatten() {
                let (row, seen) = (&batch.rows[*at], &mut seen[*at]);
                note(seen, fields);
                if group_holds(row, looks, group, fields, precision) {
                    seen.groups_equal += 1;
                }
            }
        })
        .await?;
    }
    Ok(())
}

/// Keeps the record's id; a second record under the same key makes the row unsure.
fn note(seen: &mut Seen, fields: &Fields<'_>) {
    let Some(id) = query::field(fields, "Id").and_then(compare::raw_text) else { return };
    match &seen.id {
        Some(known) if **known != *id => seen.several = true,
        Some(_) => {}
        None => seen.id = Some(Arc::from(&*id)),
    }
}

fn group_holds(
    row: &OutRow,
    looks: &[Look<'_>],
    group: &Group,
    fields: &Fields<'_>,
    precision: DatetimePrecision,
) -> bool {
    if let Some(name) = &group.position {
        let held = query::field(fields, name).and_then(compare::raw_text).and_then(|text| parse_position(&text));
        return held.is_some_and(|held| held.partition == row.position.partition && held.offset >= row.position.offset);
    }
    group.columns.iter().all(|column| match (&row.cells[*column], &looks[*column]) {
        (Cell::Unchanged, _) => true,
        (_, Look::Unsure) => false,
        (cell, Look::Field(field)) => {
            query::field(fields, &field.name).is_some_and(|found| compare::holds(cell, field, found, precision))
        }
        (Cell::Null, Look::Parent { field, .. }) => {
            query::field(fields, &field.name).is_some_and(|found| found.get() == "null")
        }
        (Cell::Value(value), Look::Parent { relationship, external_id, .. }) => {
            let parent = query::field(fields, relationship).map(RawValue::get);
            let parent = parent.and_then(|json| serde_json::from_str::<Fields<'_>>(json).ok());
            let name = parent.as_ref().and_then(|parent| query::field(parent, external_id));
            name.is_some_and(|found| compare::names(value, found))
        }
    })
}

/// Parses `Position`'s own text, `partition:offset`.
fn parse_position(text: &str) -> Option<Position> {
    let (partition, offset) = text.trim().split_once(':')?;
    Some(Position { partition: Partition(partition.parse().ok()?), offset: Offset(offset.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_is_read_as_it_is_written(partition: u32, offset: u64) {
            let position = Position { partition: Partition(partition), offset: Offset(offset) };
            prop_assert_eq!(parse_position(&position.to_string()), Some(position));
        }

        #[test]
        fn any_text_is_a_position_or_none(text in "[0-9:x ]{0,20}") {
            let _ = parse_position(&text);
        }
    }
}
