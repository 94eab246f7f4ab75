//! From a JSON record to cells: field names, write permissions, relationships by id and by external id.

use super::{RowError, Writer};
use crate::ids::SfId;
use crate::json::Json;
use crate::schema::{Field, Object, Reference};
use crate::store::{FieldAccess, RowState};
use crate::value::Value;
use std::borrow::Cow;

/// What a write wants of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    Create,
    Update,
}

/// A record's cells by field number, in the order in which they were sent.
pub type Cells = Vec<(u16, Value)>;

/// The members of a JSON record.
pub type Members<'j> = [(Cow<'j, str>, Json<'j>)];

impl Writer<'_> {
    /// Turns a record's members into cells. `attributes`, the id and the upsert's key `except` are passed over.
    pub(super) fn cells(
        &self,
        table: usize,
        members: &Members<'_>,
        intent: Intent,
        except: Option<u16>,
    ) -> Result<Cells, RowError> {
        let object = &self.store.table(table).object;
        let mut cells = Vec::with_capacity(members.len() + 1);
        let mut read_only = Vec::new();
        for (name, json) in members {
            if name == "attributes" || (intent == Intent::Update && name.eq_ignore_ascii_case("Id")) {
                continue;
            }
            let (number, value) = match object.field(name) {
                Some(number) => (number, None),
                None => match object.relationship(name) {
                    Some(number) => (number, Some(self.parent_by_key(object, number, json)?)),
                    None => return Err(no_such_column(object, name)),
                },
            };
            if except == Some(number) {
                continue;
            }
            let field = &object.fields[usize::from(number)];
            let audit = self.store.access.sets_audit_fields && field.is_audit();
            let writable = if intent == Intent::Create { field.createable || audit } else { field.updateable };
            if !writable || self.store.access.of(table, number) != FieldAccess::Editable {
                read_only.push(field.name.to_string());
                continue;
            }
            let value = match value {
                Some(value) => value,
                None => self.convert(field, json)?,
            };
            if let (Value::Id(id), Some(reference)) = (&value, &field.reference) {
                self.check_parent(field, reference, *id)?;
            }
            cells.push((number, value));
        }
        if read_only.is_empty() { Ok(cells) } else { Err(not_writable(intent, read_only)) }
    }

    /// Finds the parent of `{"Account": {"Ext__c": "v"}}`.
    fn parent_by_key(&self, object: &Object, number: u16, json: &Json<'_>) -> Result<Value, RowError> {
        let field = &object.fields[usize::from(number)];
        let Some(reference) = &field.reference else { return Err(no_such_column(object, &field.name)) };
        let members = match json {
            Json::Null => return Ok(Value::Null),
            Json::Object(members) => members,
            _ => {
                return Err(RowError::on(
                    "JSON_PARSER_ERROR",
                    format!("Cannot deserialize instance of {} from {}", reference.to.join(" or "), json.token()),
                    &field.name,
                ));
            }
        };
        let parent = self.parent_table(field, reference, json)?;
        let mut keys = members.iter().filter(|(name, _)| name != "attributes");
        let (Some((key, value)), None) = (keys.next(), keys.next()) else {
            return Err(RowError::on(
                "INVALID_FIELD",
                format!("Relationship {} must name exactly one external id", field.name),
                &field.name,
            ));
        };
        let parent_object = &self.store.table(parent).object;
        let Some(key_number) = parent_object.field(key) else { return Err(no_such_column(parent_object, key)) };
        let key_field = &parent_object.fields[usize::from(key_number)];
        if key.eq_ignore_ascii_case("Id") {
            return self.convert(field, value);
        }
        if !key_field.is_key() {
            return Err(RowError::on(
                "INVALID_FIELD",
                format!("{} is not an External ID or indexed field for {}", key_field.name, parent_object.name),
                &field.name,
            ));
        }
        let wanted = self.convert(key_field, value)?;
        let found = self.store.table(parent).find(key_number, &wanted).unwrap_or(&[]);
        let live = |slot: &&u32| self.store.table(parent).row(**slot).is_some_and(|row| row.state == RowState::Live);
        let mut rows = found.iter().filter(live);
        match (rows.next(), rows.next()) {
            (Some(slot), None) => Ok(self.store.table(parent).row(*slot).map_or(Value::Null, |row| Value::Id(row.id))),
            (None, _) => Err(RowError {
                code: self.unverified.unknown_foreign_key_code.clone().into(),
                message: format!(
                    "Foreign key external ID: {wanted} not found for field {} in entity {}",
                    key_field.name, parent_object.name
                ),
                fields: Vec::new(),
            }),
            (Some(_), Some(_)) => Err(RowError::on(
                "DUPLICATE_EXTERNAL_ID",
                format!(
                    "Foreign key external ID: {wanted} matches more than one record in entity {}",
                    parent_object.name
                ),
                &field.name,
            )),
        }
    }

    fn parent_table(&self, field: &Field, reference: &Reference, json: &Json<'_>) -> Result<usize, RowError> {
        let named = json.get("attributes").and_then(|attributes| attributes.get("type")).and_then(Json::text);
        let target = match (named, reference.to.as_slice()) {
            (Some(named), _) => reference.to.iter().find(|to| to.eq_ignore_ascii_case(named)),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        target.and_then(|target| self.store.find_table(target)).ok_or_else(|| {
            RowError::on(
                "INVALID_FIELD",
                format!("{}: name the parent's type in attributes: {}", field.name, reference.to.join(", ")),
                &field.name,
            )
        })
    }

    fn check_parent(&self, field: &Field, reference: &Reference, id: SfId) -> Result<(), RowError> {
        let wrong_kind = || {
            RowError::on(
                "FIELD_INTEGRITY_EXCEPTION",
                format!("{}: id value of incorrect type: {id}", field.label),
                &field.name,
            )
        };
        let Some(table) = self.store.table_of(id) else { return Err(wrong_kind()) };
        if !reference.to.iter().any(|to| *to == self.store.table(table).object.name) {
            return Err(wrong_kind());
        }
        match self.store.row_of(id) {
            Some((_, _, row)) if row.state == RowState::Live => Ok(()),
            Some(_) => Err(RowError::on("ENTITY_IS_DELETED", "entity is deleted", &field.name)),
            None => Err(RowError::on("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &field.name)),
        }
    }
}

fn no_such_column(object: &Object, name: &str) -> RowError {
    RowError::new("INVALID_FIELD", format!("No such column '{name}' on sobject of type {}", object.name))
}

fn not_writable(intent: Intent, fields: Vec<String>) -> RowError {
    if intent == Intent::Create && fields.iter().any(|field| field == "Id") {
        return RowError {
            code: "INVALID_FIELD_FOR_INSERT_UPDATE".into(),
            message: "cannot specify Id in an insert call".into(),
            fields,
        };
    }
    RowError {
        code: "INVALID_FIELD_FOR_INSERT_UPDATE".into(),
        message: format!(
            "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is \
             read/write for your profile or permission set.",
            fields.join(", ")
        ),
        fields,
    }
}
