//! The recycle bin: which deleted rows belong together, since when, and what they let go of.

use crate::ids::SfId;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// A lookup that a delete cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleared {
    pub table: usize,
    pub slot: u32,
    pub field: u16,
    /// The parent that it pointed to.
    pub parent: SfId,
}

/// One delete: the row that was named, and all that went with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binned {
    /// The row that was named, as table and slot; the last of `rows`.
    pub root: (usize, u32),
    /// When it was deleted, Unix milliseconds.
    pub at_ms: i64,
    /// Rows that are deleted, children before their parents.
    pub rows: Vec<(usize, u32)>,
    pub cleared: Vec<Cleared>,
}

/// Deleted rows that can be brought back, oldest first.
#[derive(Debug, Default)]
pub struct RecycleBin {
    last: u64,
    entries: BTreeMap<u64, Binned>,
    by_root: HashMap<(usize, u32), u64>,
    /// Numbers of entries that came or went since `forget_changes`; none are gathered unless `tracks`.
    changed: Vec<u64>,
    tracks: bool,
}

impl RecycleBin {
    /// Adds a delete and returns its number.
    pub fn add(&mut self, binned: Binned) -> u64 {
        self.last += 1;
        self.put(self.last, binned);
        self.last
    }

    /// Puts a delete back under the number that it had.
    pub fn put(&mut self, number: u64, binned: Binned) {
        self.last = self.last.max(number);
        if self.tracks {
            self.changed.push(number);
        }
        self.by_root.insert(binned.root, number);
        self.entries.insert(number, binned);
    }

    /// Takes a delete out.
    pub fn take(&mut self, number: u64) -> Option<Binned> {
        let binned = self.entries.remove(&number)?;
        self.by_root.remove(&binned.root);
        if self.tracks {
            self.changed.push(number);
        }
        Some(binned)
    }

    /// Gathers what changes from now on.
    pub fn track_changes(&mut self) {
        self.changed.clear();
        self.tracks = true;
    }

    /// Entries that came or went.
    pub fn changed(&self) -> &[u64] {
        &self.changed
    }

    /// Forgets what was gathered.
    pub fn forget_changes(&mut self) {
        self.changed.clear();
    }

    /// The number of the delete that named this row; none for a row that went with another.
    pub fn find(&self, root: (usize, u32)) -> Option<u64> {
        self.by_root.get(&root).copied()
    }

    /// A delete by its number.
    pub fn get(&self, number: u64) -> Option<&Binned> {
        self.entries.get(&number)
    }

    /// The oldest delete that is not younger than `at_ms`.
    pub fn expired(&self, at_ms: i64) -> Option<u64> {
        self.entries.first_key_value().filter(|(_, binned)| binned.at_ms <= at_ms).map(|(number, _)| *number)
    }

    /// Every delete, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Binned)> {
        self.entries.iter().map(|(number, binned)| (*number, binned))
    }
}
