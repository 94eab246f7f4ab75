//! Rows that came whole by the stream while their table is still to be copied.
//!
//! Such a row need not be copied: its newest version stands in the log already, before the chunk. `Whole` means that one change of
//! the row carried every column; later changes that leave a large value out leave one out that the log has. This only saves
//! work: what is forgotten here (after a restart, or beyond the limit) is copied once more, with the value that it has.

use super::window::{key_columns, key_hash, places_of};
use crate::column_type::RelationDescription;
use crate::pgoutput::{ColumnText, Tuple};
use std::collections::{HashMap, HashSet};

/// Keys remembered at most, over all tables (some 16 MB).
const KEYS_MAX: usize = 500_000;

/// The rows of the tables that are still to be copied.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    tables: HashMap<u32, Table>,
    keys: usize,
}

#[derive(Debug, Default)]
struct Table {
    key: Vec<String>,
    /// Copies that are still to be done: one for each stream that takes the table.
    copies: usize,
    /// Places of the key in the table's tuples; none before its description.
    places: Option<Vec<usize>>,
    whole: HashSet<u128>,
}

impl Delivered {
    pub(super) fn of(tables: impl IntoIterator<Item = (u32, Vec<String>)>) -> Self {
        let mut delivered = Self::default();
        for (relation_id, key) in tables {
            let table = delivered.tables.entry(relation_id).or_default();
            table.key = key;
            table.copies += 1;
        }
        delivered
    }

    #[inline]
    pub(super) fn watches(&self, relation_id: u32) -> bool {
        self.tables.contains_key(&relation_id)
    }

    pub(super) fn has(&self, relation_id: u32, key: u128) -> bool {
        self.tables.get(&relation_id).is_some_and(|table| table.whole.contains(&key))
    }

    /// The table was described: with another shape, what came before no longer counts as whole.
    pub(super) fn reshaped(&mut self, shape: &RelationDescription) {
        if let Some(table) = self.tables.get_mut(&shape.relation_id) {
            table.places = places_of(&table.key, shape);
            self.keys -= table.whole.len();
            table.whole.clear();
        }
    }

    /// A row was changed to `new` (none: deleted; its key then comes back only as a new row).
    pub(super) fn change(&mut self, relation_id: u32, new: Option<Tuple<'_>>) {
        let (Some(table), Some(new)) = (self.tables.get_mut(&relation_id), new) else { return };
        let Some(places) = &table.places else { return };
        if self.keys >= KEYS_MAX || new.columns().any(|column| column == ColumnText::Unchanged) {
            return;
        }
        let key = key_hash(key_columns(new, places).into_iter());
        self.keys += usize::from(table.whole.insert(key));
    }

    /// One copy of the table is done.
    pub(super) fn copied(&mut self, relation_id: u32) {
        let Some(table) = self.tables.get_mut(&relation_id) else { return };
        table.copies = table.copies.saturating_sub(1);
        if table.copies == 0 {
            self.keys -= table.whole.len();
            self.tables.remove(&relation_id);
        }
    }
}
