//! Bringing rows back from the recycle bin, and merging rows into one.

use super::resolve::Members;
use super::write::check_unique;
use super::{Cause, RowError, Undo, Writer};
use crate::history::HistoryOp;
use crate::ids::SfId;
use crate::store::{Row, RowState};
use crate::value::Value;
use hashbrown::HashSet;

/// Rows that one merge takes in, beside the one that stays.
const MERGED_MAX: usize = 2;

/// The field that names the row that took a merged one in; objects that have it can be merged.
pub const MASTER_FIELD: &str = "MasterRecordId";

/// What a merge did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    pub id: SfId,
    pub merged: Vec<SfId>,
    /// Rows that point to the one that stays now.
    pub updated_related: Vec<SfId>,
}

impl Writer<'_> {
    /// Brings a row back from the recycle bin with the details that went with it; lookups that the delete cleared are set
    /// again where they are still empty.
    ///
    /// A lookup of its own to a row that is gone by now is cleared.
    ///
    /// # Errors
    /// `RowError`; nothing was changed. `UNDELETE_FAILED` when it is not in the recycle bin, went there with its parent or
    /// cannot be without a parent that is not there; `DUPLICATE_VALUE` when another row has its unique value by now.
    pub fn undelete(&mut self, table: usize, id: SfId) -> Result<(), RowError> {
        let (slot, _) = self.slot_and_state(table, id)?;
        let number = self.store.bin.find((table, slot)).ok_or_else(not_in_bin)?;
        let binned = self.store.bin.get(number).cloned().ok_or_else(not_in_bin)?;
        let returning: HashSet<SfId> =
            binned.rows.iter().filter_map(|(table, slot)| Some(self.store.table(*table).row(*slot)?.id)).collect();
        let mut rows = Vec::with_capacity(binned.rows.len());
        // Parents first: a detail is never live without its master.
        for (table, slot) in binned.rows.iter().rev() {
            let Some(row) = self.store.table(*table).row(*slot) else { continue };
            rows.push((*table, *slot, self.restored(*table, row, &returning)?));
        }
        let now = self.stamp();
        for (at, (table, slot, row)) in rows.into_iter().enumerate() {
            let cause = if at == 0 { Cause::Request } else { Cause::Cascade };
            self.replace_for(cause, table, slot, row, HistoryOp::Undelete, &[]);
        }
        for lookup in &binned.cleared {
            let Some(row) = self.store.table(lookup.table).row(lookup.slot) else { continue };
            if row.state != RowState::Live || !row.cell(lookup.field).is_null() {
                continue;
            }
            let mut row = row.clone();
            row.set(lookup.field, Value::Id(lookup.parent));
            row.modstamp_ms = now;
            self.replace_for(Cause::Lookup, lookup.table, lookup.slot, row, HistoryOp::Update, &[]);
        }
        self.store.bin.take(number);
        if let Some(undo) = &mut self.undo {
            undo.push(Undo::Unbinned { number, binned });
        }
        Ok(())
    }

    /// The row as it comes back; `returning` are the rows that come back with it.
    fn restored(&self, table: usize, row: &Row, returning: &HashSet<SfId>) -> Result<Row, RowError> {
        let object = &self.store.table(table).object;
        let now = self.stamp();
        let mut row = row.clone();
        row.state = RowState::Live;
        (row.modified_ms, row.modstamp_ms, row.modified_by) = (now, now, self.origin.user);
        let lost = |value: &Value| match value {
            Value::Id(id) => {
                !returning.contains(id)
                    && self.store.row_of(*id).is_none_or(|(_, _, parent)| parent.state != RowState::Live)
            }
            _ => false,
        };
        for (number, field) in object.fields.iter().enumerate() {
            let number = number as u16;
            if &*field.name == MASTER_FIELD {
                row.set(number, Value::Null);
            } else if field.reference.is_some() && lost(row.cell(number)) {
                if field.required {
                    let message = format!("{}: the record that it depends on is not there", field.label);
                    return Err(RowError::on("UNDELETE_FAILED", message, &field.name));
                }
                row.set(number, Value::Null);
            }
        }
        let slot = self.store.table(table).slot_of(row.id);
        check_unique(self.store.table(table), &row, slot)?;
        Ok(row)
    }

    /// Merges rows of one object into `winner`: what points to them points to it, and they go to the recycle bin with its
    /// id as their master. `members` are written to the winner.
    ///
    /// # Errors
    /// `RowError`; nothing was changed. `INVALID_OPERATION` when the object cannot be merged or a row is named twice,
    /// `LIMIT_EXCEEDED` for more than two losers.
    pub fn merge(
        &mut self,
        table: usize,
        winner: SfId,
        losers: &[SfId],
        members: &Members<'_>,
    ) -> Result<Merged, RowError> {
        let object = &self.store.table(table).object;
        let Some(master) = object.field(MASTER_FIELD).filter(|_| object.deletable && object.updateable) else {
            return Err(RowError::new("INVALID_OPERATION", format!("{} records cannot be merged", object.name)));
        };
        if losers.is_empty() || losers.len() > MERGED_MAX {
            return Err(RowError::new("LIMIT_EXCEEDED", "a merge takes one or two records into another"));
        }
        let slot = self.live_slot(table, winner)?;
        let mut lost = Vec::new();
        for loser in losers {
            if *loser == winner || lost.iter().any(|(id, _)| id == loser) {
                return Err(RowError::new("INVALID_OPERATION", format!("{loser} is named twice in the merge")));
            }
            lost.push((*loser, self.live_slot(table, *loser)?));
        }
        let (mut row, sent) = self.changed_row(table, slot, members, None)?;
        for (field, value) in row.cells().to_vec() {
            if matches!(&value, Value::Id(id) if losers.contains(id)) {
                row.set(field, Value::Null);
            }
        }
        // Children hold to their rows; nothing can fail from here on.
        let updated_related = self.reparent(table, winner, losers);
        for (_, loser) in &lost {
            let Some(mut row) = self.store.table(table).row(*loser).cloned() else { continue };
            row.set(master, Value::Id(winner));
            self.put_merged_into_bin(table, *loser, row);
        }
        self.replace(table, slot, row, HistoryOp::Update, &sent);
        Ok(Merged { id: winner, merged: losers.to_vec(), updated_related })
    }

    /// Lets every live row that points to a loser point to the winner.
    fn reparent(&mut self, table: usize, winner: SfId, losers: &[SfId]) -> Vec<SfId> {
        let now = self.stamp();
        let mut moved = Vec::new();
        for (child_table, field) in self.store.child_fields(table).iter().copied() {
            for loser in losers {
                for slot in self.store.table(child_table).children_of(field, *loser) {
                    let Some(row) = self.store.table(child_table).row(slot) else { continue };
                    if row.id == winner || losers.contains(&row.id) {
                        continue;
                    }
                    let mut row = row.clone();
                    row.set(field, Value::Id(winner));
                    (row.modified_ms, row.modstamp_ms, row.modified_by) = (now, now, self.origin.user);
                    moved.push(row.id);
                    self.replace_for(Cause::Merge, child_table, slot, row, HistoryOp::Update, &[]);
                }
            }
        }
        moved
    }

    /// The slot of a row that is live or in the recycle bin.
    pub(super) fn slot_and_state(&self, table: usize, id: SfId) -> Result<(u32, RowState), RowError> {
        let table = self.store.table(table);
        let found = table.slot_of(id).and_then(|slot| Some((slot, table.row(slot)?.state)));
        found.ok_or_else(|| RowError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"))
    }

    /// Refuses what the object does not allow at all.
    pub(super) fn allow(allowed: bool) -> Result<(), RowError> {
        let refused = || RowError::new("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id");
        if allowed { Ok(()) } else { Err(refused()) }
    }
}

fn not_in_bin() -> RowError {
    RowError::new("UNDELETE_FAILED", "entity is not in the recycle bin")
}
