//! The org's tables: rows, the indexes over them, and who points to whom.
//!
//! Knows nothing of requests, users or rules; `dml` decides, this keeps.
//!
//! Invariants:
//! 1. A row's slot is its number less one and never changes; a row is never removed, only marked gone.
//! 2. An index holds exactly the live rows with a value in its field (and the deleted ones where they hold on to it).

mod access;
mod bin;
mod row;

pub use access::{Access, FieldAccess};
pub use bin::{Binned, Cleared, RecycleBin};
pub use row::{Row, RowState};

use crate::ids::SfId;
use crate::persist::{Position, Saver};
use crate::schema::{Field, Object};
use crate::value::Value;
use hashbrown::HashMap;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How far ahead of the last slot a saved row may stand.
const RESTORED_AHEAD_MAX: usize = 10_000_000;

/// Rows with one key: nearly always one.
#[derive(Clone, Debug, PartialEq)]
enum Slots {
    One(u32),
    Several(Vec<u32>),
}

impl Slots {
    fn as_slice(&self) -> &[u32] {
        match self {
            Slots::One(slot) => std::slice::from_ref(slot),
            Slots::Several(slots) => slots,
        }
    }
}

/// One object and its rows.
#[derive(Debug)]
pub struct Table {
    pub object: Object,
    rows: Vec<Row>,
    indexes: Vec<(u16, HashMap<Box<str>, Slots>)>,
    children: Vec<(u16, BTreeSet<(SfId, u32)>)>,
    /// The last number given by each auto-number field.
    pub last_numbers: Vec<(u16, u64)>,
    live: usize,
    holds_unique: bool,
}

impl Table {
    fn new(object: Object, holds_unique: bool) -> Self {
        let mut table = Self {
            object,
            rows: Vec::new(),
            indexes: Vec::new(),
            children: Vec::new(),
            last_numbers: Vec::new(),
            live: 0,
            holds_unique,
        };
        table.add_missing_indexes();
        table
    }

    fn add_missing_indexes(&mut self) {
        for (number, field) in self.object.fields.iter().enumerate() {
            let number = number as u16;
            if field.indexed() && !self.indexes.iter().any(|(known, _)| *known == number) {
                self.indexes.push((number, HashMap::new()));
            }
            if field.tracks_children() && !self.children.iter().any(|(known, _)| *known == number) {
                self.children.push((number, BTreeSet::new()));
            }
        }
    }

    /// Every row in the order of creation, deleted ones included, gone ones not.
    pub fn rows(&self) -> impl Iterator<Item = (u32, &Row)> {
        self.rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.state != RowState::Gone)
            .map(|(slot, row)| (slot as u32, row))
    }

    /// Rows that are neither deleted nor gone.
    pub fn live(&self) -> usize {
        self.live
    }

    /// The row in a slot.
    pub fn row(&self, slot: u32) -> Option<&Row> {
        self.rows.get(slot as usize).filter(|row| row.state != RowState::Gone)
    }

    /// Rows that are gone for good and when they were deleted, for lists of deleted rows.
    pub fn purged(&self) -> impl Iterator<Item = (SfId, i64)> {
        let gone = self.rows.iter().filter(|row| row.state == RowState::Gone && row.modstamp_ms > 0);
        gone.map(|row| (row.id, row.modstamp_ms))
    }

    /// The slot of an id of this object; none if there never was such a row.
    pub fn slot_of(&self, id: SfId) -> Option<u32> {
        if id.prefix() != self.object.prefix {
            return None;
        }
        let slot = u32::try_from(id.number()?.checked_sub(1)?).ok()?;
        self.row(slot).map(|_| slot)
    }

    /// The id that the next row gets.
    pub fn next_id(&self) -> SfId {
        SfId::new(self.object.prefix, self.rows.len() as u64 + 1)
    }

    /// The slots of rows whose indexed field has this value; none if the field has no index.
    pub fn find(&self, field: u16, value: &Value) -> Option<&[u32]> {
        let (_, index) = self.indexes.iter().find(|(number, _)| *number == field)?;
        let key = index_key(&self.object.fields[usize::from(field)], value);
        Some(key.and_then(|key| index.get(&*key)).map_or(&[], Slots::as_slice))
    }

    /// Live rows whose lookup `field` points to `parent`, in the order of creation.
    pub fn children_of(&self, field: u16, parent: SfId) -> Vec<u32> {
        let Some((_, children)) = self.children.iter().find(|(number, _)| *number == field) else {
            return Vec::new();
        };
        children.range((parent, 0)..=(parent, u32::MAX)).map(|(_, slot)| *slot).collect()
    }

    /// How many slots there are, those of gone rows included.
    pub fn slots(&self) -> u32 {
        self.rows.len() as u32
    }

    /// The row in a slot even if it is gone.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn row_or_gone(&self, slot: u32) -> &Row {
        &self.rows[slot as usize]
    }

    /// Puts a saved row into its slot; the slots before it that are missing become gone ones.
    ///
    /// Returns none for a slot that no table can have.
    pub fn restore(&mut self, slot: u32, row: Row) -> Option<()> {
        if slot as usize > self.rows.len() + RESTORED_AHEAD_MAX {
            return None;
        }
        while self.rows.len() <= slot as usize {
            let mut gone = Row::new(self.next_id(), row.created_by, 0);
            gone.state = RowState::Gone;
            self.rows.push(gone);
        }
        self.replace(slot, row);
        Some(())
    }

    /// Adds a row, which must have `next_id`.
    pub fn insert(&mut self, row: Row) -> u32 {
        let slot = self.rows.len() as u32;
        assert!(row.id == self.next_id(), "a new row takes the next id");
        self.index(slot, None, Some(&row));
        self.rows.push(row);
        slot
    }

    /// Puts `row` into a slot and returns the row that was there.
    pub fn replace(&mut self, slot: u32, row: Row) -> Row {
        let old = std::mem::replace(&mut self.rows[slot as usize], row);
        // The new row is taken out and put back, so that indexing may borrow both it and the table.
        let new = std::mem::take(&mut self.rows[slot as usize]);
        self.index(slot, Some(&old), Some(&new));
        self.rows[slot as usize] = new;
        old
    }

    /// Brings the indexes from `old` to `new`.
    fn index(&mut self, slot: u32, old: Option<&Row>, new: Option<&Row>) {
        let holds = self.holds_unique;
        let counts = |row: &&Row| row.state == RowState::Live || (holds && row.state == RowState::Deleted);
        let live = |row: &&Row| row.state == RowState::Live;
        self.live = self.live + usize::from(new.filter(live).is_some()) - usize::from(old.filter(live).is_some());
        for (number, index) in &mut self.indexes {
            let field = &self.object.fields[usize::from(*number)];
            let before = old.filter(counts).and_then(|row| index_key(field, row.cell(*number)));
            let after = new.filter(counts).and_then(|row| index_key(field, row.cell(*number)));
            if before == after {
                continue;
            }
            if let Some(key) = before {
                remove(index, &key, slot);
            }
            if let Some(key) = after {
                add(index, key, slot);
            }
        }
        for (number, children) in &mut self.children {
            let parent = |row: Option<&Row>| match row.filter(live).map(|row| row.cell(*number)) {
                Some(Value::Id(id)) => Some(*id),
                _ => None,
            };
            let (before, after) = (parent(old), parent(new));
            if before == after {
                continue;
            }
            if let Some(id) = before {
                children.remove(&(id, slot));
            }
            if let Some(id) = after {
                children.insert((id, slot));
            }
        }
    }
}

fn add(index: &mut HashMap<Box<str>, Slots>, key: Cow<'_, str>, slot: u32) {
    match index.get_mut(&*key) {
        None => {
            index.insert(key.into_owned().into_boxed_str(), Slots::One(slot));
        }
        Some(Slots::Several(slots)) => slots.push(slot),
        Some(slots) => *slots = Slots::Several(vec![slots.as_slice()[0], slot]),
    }
}

fn remove(index: &mut HashMap<Box<str>, Slots>, key: &str, slot: u32) {
    match index.get_mut(key) {
        Some(Slots::Several(slots)) => {
            slots.retain(|known| *known != slot);
            if slots.is_empty() {
                index.remove(key);
            }
        }
        Some(Slots::One(known)) if *known == slot => {
            index.remove(key);
        }
        _ => {}
    }
}

/// The text under which a value is indexed; none for null.
pub fn index_key<'a>(field: &Field, value: &'a Value) -> Option<Cow<'a, str>> {
    match value {
        Value::Null => None,
        Value::Text(text) if field.case_sensitive => Some(Cow::Borrowed(text)),
        Value::Text(text) if !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte >= 0x80) => {
            Some(Cow::Borrowed(text))
        }
        Value::Text(text) => Some(Cow::Owned(text.to_lowercase())),
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// All tables.
#[derive(Debug, Default)]
pub struct Store {
    tables: Vec<Table>,
    by_name: HashMap<Box<str>, usize>,
    by_prefix: HashMap<[u8; 3], usize>,
    /// For each table, the lookups that point to it: table and field.
    child_fields: Vec<Arc<[(usize, u16)]>>,
    holds_unique: bool,
    pub bin: RecycleBin,
    pub access: Access,
    /// Rows that changed since they were saved; none are gathered unless `tracks`.
    changed: Vec<(usize, u32)>,
    tracks: bool,
    /// Keeps what is committed in a folder.
    pub saver: Option<Saver>,
}

impl Store {
    /// Makes empty tables. `holds_unique`: a deleted row keeps its unique values until it is gone.
    pub fn new(objects: Vec<Object>, holds_unique: bool) -> Self {
        let mut store = Self { holds_unique, ..Self::default() };
        store.set_objects(objects);
        store
    }

    /// Takes new objects and fields over; existing ones keep their place and rows (see `schema::build::extend`).
    pub fn set_objects(&mut self, objects: Vec<Object>) {
        for (at, object) in objects.into_iter().enumerate() {
            if let Some(table) = self.tables.get_mut(at) {
                table.object = object;
                table.add_missing_indexes();
            } else {
                self.by_name.insert(object.name.to_ascii_lowercase().into(), at);
                self.by_name.insert((&*object.name).into(), at);
                self.by_prefix.insert(object.prefix, at);
                self.tables.push(Table::new(object, self.holds_unique));
            }
        }
        self.child_fields = self.tables.iter().map(|parent| self.find_child_fields(&parent.object.name)).collect();
    }

    fn find_child_fields(&self, parent: &Arc<str>) -> Arc<[(usize, u16)]> {
        let fields = self.tables.iter().enumerate().flat_map(|(number, table)| {
            let fields = table.object.fields.iter().enumerate();
            fields.map(move |(field, schema)| (number, field as u16, schema))
        });
        let points = |field: &Field| {
            field.tracks_children() && field.reference.as_ref().is_some_and(|reference| reference.to.contains(parent))
        };
        fields.filter(|(_, _, field)| points(field)).map(|(table, number, _)| (table, number)).collect()
    }

    /// The lookups whose live rows are known by their parent in this table: table and field.
    pub fn child_fields(&self, parent: usize) -> Arc<[(usize, u16)]> {
        self.child_fields[parent].clone()
    }

    /// Removes every row.
    pub fn clear(&mut self) {
        let objects = self.tables.drain(..).map(|table| table.object).collect();
        let (access, saver) = (std::mem::take(&mut self.access), self.saver.take());
        let tracks = self.tracks;
        *self = Self { access, saver, ..Self::new(objects, self.holds_unique) };
        if tracks {
            self.track_changes();
        }
    }

    /// The number of a table by its object's name, without regard to ASCII case.
    pub fn find_table(&self, object: &str) -> Option<usize> {
        self.by_name.get(object).or_else(|| self.by_name.get(&*object.to_ascii_lowercase())).copied()
    }

    /// The number of the table that an id belongs to.
    pub fn table_of(&self, id: SfId) -> Option<usize> {
        self.by_prefix.get(&id.prefix()).copied()
    }

    /// A table by number, as `find_table` and `table_of` give it.
    pub fn table(&self, number: usize) -> &Table {
        &self.tables[number]
    }

    /// Adds a row, which must have the table's next id; its slot.
    pub fn insert_row(&mut self, table: usize, row: Row) -> u32 {
        let slot = self.tables[table].insert(row);
        if self.tracks {
            self.changed.push((table, slot));
        }
        slot
    }

    /// Puts `row` into a slot and returns the row that was there.
    pub fn replace_row(&mut self, table: usize, slot: u32, row: Row) -> Row {
        if self.tracks {
            self.changed.push((table, slot));
        }
        self.tables[table].replace(slot, row)
    }

    /// Gathers what changes from now on.
    pub fn track_changes(&mut self) {
        self.changed.clear();
        self.tracks = true;
        self.bin.track_changes();
    }

    /// Rows that changed, in order, some more than once.
    pub fn changed_rows(&self) -> &[(usize, u32)] {
        &self.changed
    }

    /// Whether anything changed since `forget_changes`.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty() || !self.bin.changed().is_empty()
    }

    /// Forgets what was gathered.
    pub fn forget_changes(&mut self) {
        self.changed.clear();
        self.bin.forget_changes();
    }

    /// Keeps how far the event bus has counted, if the org is kept in a folder.
    pub fn note_replay(&mut self, last: u64) {
        if let Some(mut saver) = self.saver.take() {
            saver.note_replay(self, last);
            self.saver = Some(saver);
        }
    }

    /// Saves what changed, if the org is kept in a folder.
    pub fn save(&mut self, position: Position) {
        if let Some(mut saver) = self.saver.take() {
            saver.save(self, position);
            self.saver = Some(saver);
        }
    }

    /// Finds a field that the acting user may see, by name, without regard to ASCII case.
    pub fn visible_field(&self, table: usize, name: &str) -> Option<u16> {
        self.tables[table].object.field(name).filter(|field| self.sees(table, *field))
    }

    /// Whether the acting user may see a field.
    pub fn sees(&self, table: usize, field: u16) -> bool {
        self.access.of(table, field) != FieldAccess::Hidden
    }

    /// A table by number, to be changed.
    pub fn table_mut(&mut self, number: usize) -> &mut Table {
        &mut self.tables[number]
    }

    /// Every table.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The row of an id with its table's number and slot.
    pub fn row_of(&self, id: SfId) -> Option<(usize, u32, &Row)> {
        let table = self.table_of(id)?;
        let slot = self.tables[table].slot_of(id)?;
        Some((table, slot, self.tables[table].row(slot)?))
    }
}
