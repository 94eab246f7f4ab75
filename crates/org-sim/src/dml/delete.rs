//! Deleting a row, and what becomes of the rows that point to it.

use super::{Cause, RowError, Undo, Writer};
use crate::history::HistoryOp;
use crate::ids::SfId;
use crate::schema::spec::OnDelete;
use crate::store::{Binned, Cleared, Row, RowState};
use crate::value::Value;
use hashbrown::HashSet;

/// What a delete does, worked out before anything is changed.
#[derive(Default)]
struct Plan {
    /// Rows that go, children before their parents.
    delete: Vec<(usize, u32)>,
    /// Lookups that are cleared.
    clear: Vec<Cleared>,
}

impl Writer<'_> {
    /// Puts the live row with this id, and the details that depend on it, into the recycle bin.
    ///
    /// # Errors
    /// `RowError`; nothing was changed. `ENTITY_IS_DELETED` when it is there already, `DELETE_FAILED` when a row that must
    /// not lose its parent points to it.
    pub fn delete(&mut self, table: usize, id: SfId) -> Result<(), RowError> {
        Self::allow(self.store.table(table).object.deletable)?;
        let slot = self.live_slot(table, id)?;
        let plan = self.plan(table, slot)?;
        self.put_into_bin((table, slot), plan);
        Ok(())
    }

    /// Deletes a row for good: a live one with its details, or one from the recycle bin.
    ///
    /// # Errors
    /// As `delete`; an unknown id or one that is gone already is `INVALID_CROSS_REFERENCE_KEY`.
    pub fn hard_delete(&mut self, table: usize, id: SfId) -> Result<(), RowError> {
        Self::allow(self.store.table(table).object.deletable)?;
        let (slot, state) = self.slot_and_state(table, id)?;
        let number = match state {
            RowState::Live => {
                let plan = self.plan(table, slot)?;
                self.clear(&plan.clear);
                self.purge_rows(&plan.delete, Cause::Request);
                return Ok(());
            }
            _ => self.store.bin.find((table, slot)),
        };
        match number {
            Some(number) => self.purge(number, Cause::Request),
            // It went with its parent: it is purged alone, and the parent's undelete passes it over.
            None => self.purge_rows(&[(table, slot)], Cause::Request),
        }
        Ok(())
    }

    /// Empties the recycle bin of one delete: its rows are gone for good.
    ///
    /// # Errors
    /// `INVALID_ID_FIELD` when the row is not in the recycle bin, or went there with its parent.
    pub fn empty_from_bin(&mut self, table: usize, id: SfId) -> Result<(), RowError> {
        let found = self.slot_and_state(table, id).ok().and_then(|(slot, _)| self.store.bin.find((table, slot)));
        let number = found.ok_or_else(|| RowError::new("INVALID_ID_FIELD", "entity is not in the recycle bin"))?;
        self.purge(number, Cause::Request);
        Ok(())
    }

    /// Makes a delete in the recycle bin final.
    pub fn purge(&mut self, number: u64, cause: Cause) {
        let Some(binned) = self.store.bin.take(number) else { return };
        self.purge_rows(&binned.rows, cause);
        if let Some(undo) = &mut self.undo {
            undo.push(Undo::Unbinned { number, binned });
        }
    }

    fn put_into_bin(&mut self, root: (usize, u32), plan: Plan) {
        self.clear(&plan.clear);
        let now = self.stamp();
        for (table, slot) in &plan.delete {
            let Some(mut row) = self.store.table(*table).row(*slot).cloned() else { continue };
            row.state = RowState::Deleted;
            row.modified_ms = now;
            row.modstamp_ms = now;
            row.modified_by = self.origin.user;
            let cause = if (*table, *slot) == root { Cause::Request } else { Cause::Cascade };
            self.replace_for(cause, *table, *slot, row, HistoryOp::Delete, &[]);
        }
        self.bin(root, plan.delete, plan.clear);
    }

    /// Puts one row, whose children are elsewhere by now, into the recycle bin.
    pub(super) fn put_merged_into_bin(&mut self, table: usize, slot: u32, mut row: Row) {
        let now = self.stamp();
        row.state = RowState::Deleted;
        (row.modified_ms, row.modstamp_ms, row.modified_by) = (now, now, self.origin.user);
        self.replace_for(Cause::Merge, table, slot, row, HistoryOp::Delete, &[]);
        self.bin((table, slot), vec![(table, slot)], Vec::new());
    }

    fn bin(&mut self, root: (usize, u32), rows: Vec<(usize, u32)>, cleared: Vec<Cleared>) {
        let number = self.store.bin.add(Binned { root, at_ms: self.origin.now_ms, rows, cleared });
        if let Some(undo) = &mut self.undo {
            undo.push(Undo::Binned { number });
        }
    }

    fn clear(&mut self, lookups: &[Cleared]) {
        let now = self.stamp();
        for lookup in lookups {
            let Some(mut row) = self.store.table(lookup.table).row(lookup.slot).cloned() else { continue };
            row.set(lookup.field, Value::Null);
            row.modstamp_ms = now;
            self.replace_for(Cause::Lookup, lookup.table, lookup.slot, row, HistoryOp::Update, &[]);
        }
    }

    fn purge_rows(&mut self, rows: &[(usize, u32)], cause: Cause) {
        for (at, (table, slot)) in rows.iter().enumerate() {
            let Some(old) = self.store.table(*table).row(*slot) else { continue };
            let mut gone = Row::new(old.id, old.modified_by, old.created_ms);
            gone.state = RowState::Gone;
            // Kept for the list of deleted rows: when it was deleted.
            gone.modstamp_ms = match old.state {
                RowState::Live => self.stamp(),
                _ => old.modstamp_ms,
            };
            let cause = if at + 1 == rows.len() { cause } else { Cause::Cascade };
            self.replace_for(cause, *table, *slot, gone, HistoryOp::Purge, &[]);
        }
    }

    /// Walks from the row to all that point to it, without recursion: a chain of details may be as long as the table.
    fn plan(&self, table: usize, slot: u32) -> Result<Plan, RowError> {
        let mut plan = Plan::default();
        let mut seen: HashSet<(usize, u32)> = HashSet::new();
        let mut open = vec![(table, slot)];
        seen.insert((table, slot));
        while let Some((table, slot)) = open.pop() {
            plan.delete.push((table, slot));
            let Some(parent) = self.store.table(table).row(slot) else { continue };
            for (child_table, field) in self.store.child_fields(table).iter().copied() {
                let children = self.store.table(child_table);
                let Some(reference) = &children.object.fields[usize::from(field)].reference else { continue };
                for child in children.children_of(field, parent.id) {
                    match reference.on_delete {
                        OnDelete::Cascade if seen.insert((child_table, child)) => open.push((child_table, child)),
                        OnDelete::Cascade => {}
                        OnDelete::Clear => {
                            plan.clear.push(Cleared { table: child_table, slot: child, field, parent: parent.id });
                        }
                        OnDelete::Restrict => return Err(restricted(parent.id, &children.object.name)),
                    }
                }
            }
        }
        plan.clear.retain(|lookup| !seen.contains(&(lookup.table, lookup.slot)));
        plan.delete.reverse();
        Ok(plan)
    }
}

fn restricted(parent: SfId, child: &str) -> RowError {
    RowError::new(
        "DELETE_FAILED",
        format!(
            "Your attempt to delete {parent} could not be completed because it is associated with the following {child} records."
        ),
    )
}
