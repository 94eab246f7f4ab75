//! From a file's first line to fields, and from a record to what `dml` takes.

use super::csv::Record;
use super::job::Operation;
use crate::json::Json;
use crate::schema::Kind;
use crate::store::Store;
use std::borrow::Cow;

/// Clears a field; an empty value leaves it as it is.
const NULL: &str = "#N/A";

/// A column of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    Field {
        name: String,
        checkbox: bool,
    },
    /// `Account.Code__c`, or `Lead:Who.Email` where the parent may be of several types.
    Parent {
        relationship: String,
        object: Option<String>,
        key: String,
    },
}

/// Finds the columns of `names`; a field that the user cannot see is not there.
///
/// # Errors
/// The job's error, which no row survives.
pub fn bind(
    store: &Store,
    table: usize,
    operation: Operation,
    external_id: Option<&str>,
    names: &[String],
) -> Result<Vec<Column>, String> {
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let column =
            column(store, table, name).ok_or_else(|| format!("InvalidBatch : Field name not found : {name}"))?;
        if columns.contains(&column) {
            return Err(format!("InvalidBatch : Field name is duplicated : {name}"));
        }
        columns.push(column);
    }
    let has = |wanted: &str| {
        columns.iter().any(|column| matches!(column, Column::Field { name, .. } if name.eq_ignore_ascii_case(wanted)))
    };
    let needed = match operation {
        Operation::Upsert => external_id,
        Operation::Update | Operation::Delete | Operation::HardDelete => Some("Id"),
        _ => None,
    };
    if let Some(needed) = needed.filter(|needed| !has(needed)) {
        return Err(format!("InvalidBatch : Field name not found : {needed}"));
    }
    if matches!(operation, Operation::Delete | Operation::HardDelete) && columns.len() > 1 {
        return Err(format!("InvalidBatch : The '{}' batch must contain only ids", operation.word()));
    }
    Ok(columns)
}

fn column(store: &Store, table: usize, name: &str) -> Option<Column> {
    let object = &store.table(table).object;
    if let Some(number) = store.visible_field(table, name) {
        let field = &object.fields[usize::from(number)];
        return Some(Column::Field { name: field.name.to_string(), checkbox: field.kind == Kind::Boolean });
    }
    let (typed, path) = match name.split_once(':') {
        Some((typed, path)) => (Some(typed), path),
        None => (None, name),
    };
    let (relationship, key) = path.split_once('.')?;
    let number = object.relationship(relationship).filter(|number| store.sees(table, *number))?;
    let to = &object.fields[usize::from(number)].reference.as_ref()?.to;
    // The type is required where there are several, and an error where there is one.
    match typed {
        Some(typed) if to.len() < 2 || !to.iter().any(|to| to.eq_ignore_ascii_case(typed)) => return None,
        None if to.len() > 1 => return None,
        _ => {}
    }
    if key.contains('.') {
        return None;
    }
    Some(Column::Parent {
        relationship: relationship.to_owned(),
        object: typed.map(str::to_owned),
        key: key.to_owned(),
    })
}

/// The members of a record: empty values are left out, `#N/A` is null.
pub fn members<'r>(columns: &'r [Column], record: &'r Record) -> Vec<(Cow<'r, str>, Json<'r>)> {
    let mut members = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        let text = record.get(at);
        if text.is_empty() {
            continue;
        }
        let value = if text == NULL { Json::Null } else { Json::Text(Cow::Borrowed(text)) };
        members.push(match column {
            Column::Field { name, checkbox } => {
                let value = if *checkbox { truth(text).map_or(value, Json::Bool) } else { value };
                (Cow::Borrowed(name.as_str()), value)
            }
            Column::Parent { relationship, object, key } => {
                (Cow::Borrowed(relationship.as_str()), parent(object.as_deref(), key, value))
            }
        });
    }
    members
}

fn parent<'r>(object: Option<&'r str>, key: &'r str, value: Json<'r>) -> Json<'r> {
    if value == Json::Null {
        return Json::Null;
    }
    let typed = object.map(|object| {
        let named = (Cow::Borrowed("type"), Json::Text(Cow::Borrowed(object)));
        (Cow::Borrowed("attributes"), Json::Object(vec![named]))
    });
    Json::Object(typed.into_iter().chain([(Cow::Borrowed(key), value)]).collect())
}

/// Reads a checkbox in any of the spellings of "Valid CSV Record Data Types".
fn truth(text: &str) -> Option<bool> {
    let is = |words: [&str; 5]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match text {
        _ if is(["true", "yes", "y", "on", "1"]) => Some(true),
        _ if is(["false", "no", "n", "off", "0"]) => Some(false),
        _ => None,
    }
}
