//! Create, update and upsert of one row.

use super::resolve::{Cells, Intent, Members};
use super::{Cause, RowError, Writer};
use crate::history::HistoryOp;
use crate::ids::SfId;
use crate::json::Json;
use crate::schema::rules::Rule;
use crate::schema::{Kind, Object, Storage};
use crate::store::{Row, RowState, Table};
use crate::value::Value;

/// What an upsert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upserted {
    pub id: SfId,
    pub created: bool,
}

/// How an upsert finds its row.
pub enum Match {
    Row(u32),
    Nothing,
    Several(Vec<SfId>),
}

impl Writer<'_> {
    /// Creates a row.
    ///
    /// # Errors
    /// `RowError`; nothing was changed.
    pub fn create(&mut self, table: usize, members: &Members<'_>) -> Result<SfId, RowError> {
        self.create_with_key(table, members, None)
    }

    /// Updates the live row with this id.
    ///
    /// # Errors
    /// `RowError`; nothing was changed. An unknown id is `INVALID_CROSS_REFERENCE_KEY`, a deleted row `ENTITY_IS_DELETED`.
    pub fn update(&mut self, table: usize, id: SfId, members: &Members<'_>) -> Result<(), RowError> {
        let slot = self.live_slot(table, id)?;
        self.update_slot(table, slot, members, None)
    }

    /// Finds the live rows that an upsert by `field` = `value` means.
    pub fn match_key(&self, table: usize, field: u16, value: &Value) -> Match {
        let table = self.store.table(table);
        let found = table.find(field, value).unwrap_or(&[]);
        let live = |slot: &u32| table.row(*slot).filter(|row| row.state == RowState::Live).map(|row| (*slot, row.id));
        let mut rows = found.iter().filter_map(live);
        match (rows.next(), rows.next()) {
            (None, _) => Match::Nothing,
            (Some((slot, _)), None) => Match::Row(slot),
            (Some(_), Some(_)) => Match::Several(found.iter().filter_map(live).map(|(_, id)| id).collect()),
        }
    }

    /// Updates the row whose `field` is `key`, or creates one with it.
    ///
    /// # Errors
    /// `RowError`; nothing was changed. Several matches are `DUPLICATE_EXTERNAL_ID`.
    pub fn upsert(
        &mut self,
        table: usize,
        field: u16,
        key: Value,
        members: &Members<'_>,
    ) -> Result<Upserted, RowError> {
        match self.match_key(table, field, &key) {
            Match::Row(slot) => {
                self.update_slot(table, slot, members, Some((field, key)))?;
                let id = self.store.table(table).row(slot).map(|row| row.id).expect("an updated row is there");
                Ok(Upserted { id, created: false })
            }
            Match::Nothing => {
                let id = self.create_with_key(table, members, Some((field, key)))?;
                Ok(Upserted { id, created: true })
            }
            Match::Several(ids) => {
                let name = &self.store.table(table).object.fields[usize::from(field)].name;
                let ids: Vec<&str> = ids.iter().map(SfId::as_str).collect();
                Err(RowError::on(
                    "DUPLICATE_EXTERNAL_ID",
                    format!("{name}: more than one record found for external id field: [{}]", ids.join(", ")),
                    name,
                ))
            }
        }
    }

    /// Reads the upsert's key from a record.
    ///
    /// # Errors
    /// `MISSING_ARGUMENT` when it is absent or null, and whatever `convert` finds.
    pub fn key_of(&self, table: usize, field: u16, members: &Members<'_>) -> Result<Value, RowError> {
        let field = &self.store.table(table).object.fields[usize::from(field)];
        let sent = members.iter().find(|(name, _)| name.eq_ignore_ascii_case(&field.name)).map(|(_, json)| json);
        let key = self.convert(field, sent.unwrap_or(&Json::Null))?;
        if key.is_null() {
            return Err(RowError::on("MISSING_ARGUMENT", format!("{} not specified", field.name), &field.name));
        }
        Ok(key)
    }

    /// The slot of a live row.
    pub(super) fn live_slot(&self, table: usize, id: SfId) -> Result<u32, RowError> {
        let table = self.store.table(table);
        let slot = table.slot_of(id).filter(|slot| table.row(*slot).is_some());
        let slot = slot.ok_or_else(|| RowError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"))?;
        match table.row(slot).map(|row| row.state) {
            Some(RowState::Live) => Ok(slot),
            _ => Err(RowError::new("ENTITY_IS_DELETED", "entity is deleted")),
        }
    }

    fn create_with_key(
        &mut self,
        table: usize,
        members: &Members<'_>,
        key: Option<(u16, Value)>,
    ) -> Result<SfId, RowError> {
        let object = &self.store.table(table).object;
        Self::allow(object.createable)?;
        let cells = self.cells(table, members, Intent::Create, key.as_ref().map(|(field, _)| *field))?;
        let cells: Cells = key.into_iter().chain(cells).collect();
        let sent: Vec<u16> = cells.iter().map(|(field, _)| *field).collect();
        let id = self.store.table(table).next_id();
        let mut row = Row::new(id, self.origin.user, self.stamp());
        row.modstamp_ms = row.created_ms;
        for (field, value) in cells {
            set_new(object, &mut row, field, value);
        }
        self.check_audit(&row)?;
        self.fill_defaults(object, &mut row);
        check_required(object, &row, None)?;
        self.check_rules(object, &row, None)?;
        check_unique(self.store.table(table), &row, None)?;
        if object.is_event() {
            return self.history.feed.publish_row(object, &mut row, self.origin.now_ms);
        }
        self.number(table, &mut row);
        row.shrink();
        let slot = self.insert(table, row);
        self.record(Cause::Request, table, slot, HistoryOp::Create, &sent, None);
        Ok(id)
    }

    /// Refuses audit times that cannot have been.
    fn check_audit(&self, row: &Row) -> Result<(), RowError> {
        let now = self.origin.now_ms;
        for (field, wrong) in [
            ("CreatedDate", row.created_ms > now),
            ("LastModifiedDate", row.modified_ms > now || row.modified_ms < row.created_ms),
        ] {
            if wrong {
                let message = format!("{field}: an audit time lies in the past, and the creation before any change");
                return Err(RowError::on("FIELD_INTEGRITY_EXCEPTION", message, field));
            }
        }
        Ok(())
    }

    /// Refuses a row that breaks a validation rule; the first one that it breaks is told.
    fn check_rules(&self, object: &Object, row: &Row, old: Option<&Row>) -> Result<(), RowError> {
        let broken = |rule: &&std::sync::Arc<Rule>| rule.active && rule.refuses(object, row, old, self.origin.now_ms);
        match object.rules.iter().find(broken) {
            None => Ok(()),
            Some(rule) => Err(RowError {
                code: "FIELD_CUSTOM_VALIDATION_EXCEPTION".into(),
                message: rule.message.clone(),
                fields: rule.field.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    fn fill_defaults(&self, object: &Object, row: &mut Row) {
        for number in object.checks.defaulted.iter().copied() {
            let field = &object.fields[usize::from(number)];
            if !row.cell(number).is_null() {
                continue;
            }
            if let Some(default) = &field.default {
                row.set(number, default.clone());
            } else if &*field.name == "OwnerId" {
                row.set(number, Value::Id(self.origin.user));
            } else {
                row.set(number, Value::Text(row.id.as_str().into()));
            }
        }
    }

    fn number(&mut self, table: usize, row: &mut Row) {
        let table = self.store.table_mut(table);
        for number in table.object.checks.auto_number.iter().copied() {
            let Some(format) = &table.object.fields[usize::from(number)].auto_number else { continue };
            let last = match table.last_numbers.iter_mut().find(|(known, _)| *known == number) {
                Some((_, last)) => {
                    *last += 1;
                    *last
                }
                None => {
                    table.last_numbers.push((number, 1));
                    1
                }
            };
            row.set(number, Value::Text(format.write(last).into()));
        }
    }

    fn update_slot(
        &mut self,
        table: usize,
        slot: u32,
        members: &Members<'_>,
        key: Option<(u16, Value)>,
    ) -> Result<(), RowError> {
        let (row, sent) = self.changed_row(table, slot, members, key)?;
        self.replace(table, slot, row, HistoryOp::Update, &sent);
        Ok(())
    }

    /// The row as an update leaves it, checked, and the fields that were sent.
    pub(super) fn changed_row(
        &self,
        table: usize,
        slot: u32,
        members: &Members<'_>,
        key: Option<(u16, Value)>,
    ) -> Result<(Row, Vec<u16>), RowError> {
        let object = &self.store.table(table).object;
        Self::allow(object.updateable)?;
        let cells = self.cells(table, members, Intent::Update, key.as_ref().map(|(field, _)| *field))?;
        // The key is what the row was found by: it is sent, and stays in the spelling that the row has.
        let key = key.into_iter().map(|(field, _)| field);
        let sent: Vec<u16> = key.chain(cells.iter().map(|(field, _)| *field)).collect();
        let mut row = self.store.table(table).row(slot).cloned().expect("the slot was found just now");
        for (field, value) in cells {
            // A checkbox cannot be null: null is false.
            let value = match (object.fields[usize::from(field)].kind, value) {
                (Kind::Boolean, Value::Null) => Value::Bool(false),
                (_, value) => value,
            };
            row.set(field, value);
        }
        let old = self.store.table(table).row(slot);
        check_required(object, &row, old)?;
        self.check_rules(object, &row, old)?;
        check_unique(self.store.table(table), &row, Some(slot))?;
        row.modified_ms = self.stamp();
        row.modstamp_ms = row.modified_ms;
        row.modified_by = self.origin.user;
        row.shrink();
        Ok((row, sent))
    }
}

/// Sets what a create gives: a cell, or an audit field. A null leaves an audit field as it is.
fn set_new(object: &Object, row: &mut Row, field: u16, value: Value) {
    match (object.fields[usize::from(field)].storage, value) {
        (Storage::CreatedDate, Value::Datetime(ms)) => row.created_ms = seconds(ms),
        (Storage::LastModifiedDate, Value::Datetime(ms)) => row.modified_ms = seconds(ms),
        (Storage::CreatedById, Value::Id(id)) => row.created_by = id,
        (Storage::LastModifiedById, Value::Id(id)) => row.modified_by = id,
        (Storage::Cell, value) => {
            row.set(field, value);
        }
        _ => {}
    }
}

/// Audit times are kept to the second.
pub(super) fn seconds(now_ms: i64) -> i64 {
    now_ms - now_ms.rem_euclid(1000)
}

/// Refuses a row whose required fields are empty; on update only those that were filled before.
fn check_required(object: &Object, row: &Row, old: Option<&Row>) -> Result<(), RowError> {
    let is_missing =
        |number: &&u16| row.cell(**number).is_null() && old.is_none_or(|old| !old.cell(**number).is_null());
    let missing = object.checks.required.iter().filter(is_missing);
    let missing: Vec<String> = missing.map(|number| object.fields[usize::from(*number)].name.to_string()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(RowError {
        code: "REQUIRED_FIELD_MISSING".into(),
        message: format!("Required fields are missing: [{}]", missing.join(", ")),
        fields: missing,
    })
}

/// Refuses a row whose unique value another row has.
pub(super) fn check_unique(table: &Table, row: &Row, slot: Option<u32>) -> Result<(), RowError> {
    for number in table.object.checks.unique.iter().copied() {
        let field = &table.object.fields[usize::from(number)];
        let found = table.find(number, row.cell(number)).unwrap_or(&[]);
        if let Some(other) = found.iter().find(|other| Some(**other) != slot).and_then(|other| table.row(*other)) {
            return Err(RowError::on(
                "DUPLICATE_VALUE",
                format!("duplicate value found: {} duplicates value on record with id: {}", field.name, other.id),
                &field.name,
            ));
        }
    }
    Ok(())
}
