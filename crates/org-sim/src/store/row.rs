//! One row.

use crate::ids::SfId;
use crate::schema::compound::NAME_PARTS;
use crate::schema::{Object, Storage};
use crate::value::Value;
use std::borrow::Cow;

/// Whether a row can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowState {
    #[default]
    Live,
    /// In the recycle bin: only `queryAll` sees it.
    Deleted,
    /// Rolled back or purged: its id is never used again.
    Gone,
}

/// A row: the system's fields, and a cell for each other field that is not null.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub id: SfId,
    pub state: RowState,
    pub created_ms: i64,
    pub modified_ms: i64,
    pub modstamp_ms: i64,
    pub created_by: SfId,
    pub modified_by: SfId,
    /// Sorted by field number; never null.
    cells: Vec<(u16, Value)>,
}

impl Default for Row {
    fn default() -> Self {
        let nobody = SfId::new(*b"000", 0);
        Self::new(nobody, nobody, 0)
    }
}

const NULL: Value = Value::Null;

impl Row {
    /// Makes an empty live row.
    pub fn new(id: SfId, user: SfId, now_ms: i64) -> Self {
        Self {
            id,
            state: RowState::Live,
            created_ms: now_ms,
            modified_ms: now_ms,
            modstamp_ms: now_ms,
            created_by: user,
            modified_by: user,
            cells: Vec::new(),
        }
    }

    /// A cell's value; null for a system field.
    pub fn cell(&self, field: u16) -> &Value {
        match self.cells.binary_search_by_key(&field, |(number, _)| *number) {
            Ok(at) => &self.cells[at].1,
            Err(_) => &NULL,
        }
    }

    /// Sets a cell and returns what it held.
    pub fn set(&mut self, field: u16, value: Value) -> Value {
        match (self.cells.binary_search_by_key(&field, |(number, _)| *number), value.is_null()) {
            (Ok(at), true) => self.cells.remove(at).1,
            (Ok(at), false) => std::mem::replace(&mut self.cells[at].1, value),
            (Err(_), true) => Value::Null,
            (Err(at), false) => {
                self.cells.insert(at, (field, value));
                Value::Null
            }
        }
    }

    /// The cells that are not null, by field number.
    pub fn cells(&self) -> &[(u16, Value)] {
        &self.cells
    }

    /// Frees the room that sets have left over.
    pub fn shrink(&mut self) {
        self.cells.shrink_to_fit();
    }

    /// A field's value, wherever it comes from.
    pub fn value(&self, object: &Object, field: u16) -> Cow<'_, Value> {
        Cow::Owned(match object.fields[usize::from(field)].storage {
            Storage::Cell => return Cow::Borrowed(self.cell(field)),
            Storage::Id => Value::Id(self.id),
            Storage::IsDeleted => Value::Bool(self.state == RowState::Deleted),
            Storage::CreatedDate => Value::Datetime(self.created_ms),
            Storage::CreatedById => Value::Id(self.created_by),
            // Audit times are kept to the second, as in Salesforce.
            Storage::LastModifiedDate => Value::Datetime(self.modified_ms),
            Storage::LastModifiedById => Value::Id(self.modified_by),
            Storage::SystemModstamp => Value::Datetime(self.modstamp_ms),
            Storage::PersonName => self.person_name(object),
            Storage::Address => self.address(object, field),
            Storage::Listed => Value::Bool(self.is_listed(object, field)),
        })
    }

    fn address(&self, object: &Object, field: u16) -> Value {
        let parts = object.parts(field);
        if parts.iter().all(|(_, part)| self.cell(*part).is_null()) {
            return Value::Null;
        }
        Value::Compound(parts.iter().map(|(member, part)| (*member, self.cell(*part).clone())).collect())
    }

    fn is_listed(&self, object: &Object, field: u16) -> bool {
        let Some((from, values)) = &object.fields[usize::from(field)].true_when else { return false };
        self.cell(*from).text().is_some_and(|text| values.iter().any(|value| value == text))
    }

    fn person_name(&self, object: &Object) -> Value {
        let part = |name: &&str| object.field(name).and_then(|field| self.cell(field).text());
        let name = NAME_PARTS.iter().filter_map(part).collect::<Vec<_>>().join(" ");
        if name.is_empty() { Value::Null } else { Value::Text(name.into()) }
    }
}
