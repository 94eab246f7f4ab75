//! Deleting a row, and what becomes of the rows that point to it.

use super::write::seconds;
use super::{RowError, Writer};
use crate::history::HistoryOp;
use crate::ids::SfId;
use crate::schema::spec::OnDelete;
use crate::store::RowState;
use crate::value::Value;
use hashbrown::HashSet;

/// What a delete does, worked out before anything is changed.
#[derive(Default)]
struct Plan {
    /// Rows that go, children before their parents.
    delete: Vec<(usize, u32)>,
    /// Lookups that are cleared.
    clear: Vec<(usize, u32, u16)>,
}

impl Writer<'_> {
    /// Puts the live row with this id, and the details that depend on it, into the recycle bin.
    ///
    /// # Errors
    /// `RowError`; nothing was changed. `ENTITY_IS_DELETED` when it is there already, `DELETE_FAILED` when a row that must
    /// not lose its parent points to it.
    pub fn delete(&mut self, table: usize, id: SfId) -> Result<(), RowError> {
        if !self.store.table(table).object.deletable {
            return Err(RowError::new("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id"));
        }
        let slot = self.live_slot(table, id)?;
        let plan = self.plan(table, slot)?;
        let now = seconds(self.origin.now_ms);
        for (table, slot, field) in plan.clear {
            let Some(mut row) = self.store.table(table).row(slot).cloned() else { continue };
            row.set(field, Value::Null);
            row.modstamp_ms = now;
            self.replace(table, slot, row, HistoryOp::Update, &[]);
        }
        for (table, slot) in plan.delete {
            let Some(mut row) = self.store.table(table).row(slot).cloned() else { continue };
            row.state = RowState::Deleted;
            row.modified_ms = now;
            row.modstamp_ms = now;
            row.modified_by = self.origin.user;
            self.replace(table, slot, row, HistoryOp::Delete, &[]);
        }
        Ok(())
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
            let parent_object = &self.store.table(table).object.name;
            for (number, children) in self.store.tables().iter().enumerate() {
                for (field_number, field) in children.object.fields.iter().enumerate() {
                    let Some(reference) = field.reference.as_ref().filter(|_| field.tracks_children()) else {
                        continue;
                    };
                    if !reference.to.iter().any(|to| to == parent_object) {
                        continue;
                    }
                    for child in children.children_of(field_number as u16, parent.id) {
                        match reference.on_delete {
                            OnDelete::Cascade if seen.insert((number, child)) => open.push((number, child)),
                            OnDelete::Cascade => {}
                            OnDelete::Clear => plan.clear.push((number, child, field_number as u16)),
                            OnDelete::Restrict => return Err(restricted(parent.id, &children.object.name)),
                        }
                    }
                }
            }
        }
        plan.clear.retain(|(table, slot, _)| !seen.contains(&(*table, *slot)));
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
