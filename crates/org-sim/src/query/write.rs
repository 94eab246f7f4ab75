//! Writing rows, their parents and their children as the REST API does.

use super::bind::{Bound, Children, Output, TYPE_FIELD, Tree};
use super::cursors::{Cursor, Cursors};
use super::eval::same_field;
use super::run;
use crate::ids::SfId;
use crate::json::{write_int, write_text};
use crate::schema::Object;
use crate::store::{Row, RowState, Store};
use crate::value::Value;
use std::sync::Arc;

/// Writes pages; a list of children that does not fit gets a cursor of its own.
pub struct Pages<'a> {
    pub store: &'a Store,
    pub cursors: &'a mut Cursors,
    pub now_ms: i64,
}

impl Pages<'_> {
    /// Writes the page of `cursor` that begins at `offset`; `number` is the cursor's, if it is kept.
    pub fn write(&mut self, out: &mut Vec<u8>, cursor: &Cursor, offset: usize, number: u64) {
        let end = (offset + cursor.page).min(cursor.slots.len());
        let done = end == cursor.slots.len();
        out.extend_from_slice(b"{\"totalSize\":");
        write_int(out, cursor.slots.len() as i64);
        out.extend_from_slice(if done { b",\"done\":true" } else { b",\"done\":false" });
        if !done {
            let url = format!("/services/data/v{}.0/query/{}-{end}", cursor.version, SfId::new(*b"01g", number));
            out.extend_from_slice(b",\"nextRecordsUrl\":");
            write_text(out, &url);
        }
        out.extend_from_slice(b",\"records\":[");
        let table = self.store.table(cursor.tree.table);
        let mut first = true;
        for row in cursor.slots[offset..end].iter().filter_map(|slot| table.row(*slot)) {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            self.tree(out, cursor, &cursor.tree, row, cursor.tree.table);
        }
        out.extend_from_slice(b"]}");
    }

    fn tree(&mut self, out: &mut Vec<u8>, cursor: &Cursor, tree: &Tree, row: &Row, table: usize) {
        let object = &self.store.table(table).object;
        write_attributes(out, object, row, cursor.version);
        for output in &tree.outputs {
            match output {
                Output::Field(_, TYPE_FIELD) => {
                    out.extend_from_slice(b",\"Type\":");
                    write_text(out, &object.name);
                }
                Output::Field(bound, field) => {
                    if let Some(field) = same_field(self.store, *bound, *field, table) {
                        write_field(out, object, row, field);
                    }
                }
                Output::Parent { table: bound, lookup, tree: wanted } => {
                    let lookup = same_field(self.store, *bound, *lookup, table);
                    self.parent(out, cursor, object, row, lookup, |_| Some(wanted));
                }
                Output::TypeOf { lookup, whens, otherwise } => {
                    let tree_for = |table| whens.iter().find(|tree| tree.table == table).or(otherwise.as_ref());
                    self.parent(out, cursor, object, row, Some(*lookup), tree_for);
                }
                Output::Children(children) => self.children(out, cursor, children, row),
            }
        }
        out.push(b'}');
    }

    /// Writes the parent that `lookup` points to, with the tree for its table; null without a parent.
    fn parent<'t>(
        &mut self,
        out: &mut Vec<u8>,
        cursor: &Cursor,
        object: &Object,
        row: &Row,
        lookup: Option<u16>,
        tree_for: impl Fn(usize) -> Option<&'t Tree>,
    ) {
        let Some(lookup) = lookup else { return };
        let reference = object.fields[usize::from(lookup)].reference.as_ref();
        out.push(b',');
        write_text(out, reference.and_then(|reference| reference.relationship.as_deref()).unwrap_or_default());
        out.push(b':');
        let parent = match row.value(object, lookup).as_ref() {
            Value::Id(id) => self.store.row_of(*id),
            _ => None,
        };
        match parent {
            None => out.extend_from_slice(b"null"),
            Some((table, _, parent)) => match tree_for(table) {
                Some(tree) => self.tree(out, cursor, tree, parent, table),
                None => {
                    write_attributes(out, &self.store.table(table).object, parent, cursor.version);
                    out.push(b'}');
                }
            },
        }
    }

    fn children(&mut self, out: &mut Vec<u8>, cursor: &Cursor, children: &Children, row: &Row) {
        out.push(b',');
        write_text(out, &children.name);
        out.push(b':');
        let slots = child_rows(self.store, children, row.id, cursor.deleted);
        if slots.is_empty() {
            out.extend_from_slice(b"null");
            return;
        }
        let tree = Arc::clone(&children.bound.tree);
        let inner = Arc::new(Cursor { slots, tree, ..*cursor });
        let number = if inner.slots.len() > inner.page { self.cursors.add(Arc::clone(&inner), self.now_ms) } else { 0 };
        self.write(out, &inner, 0, number);
    }
}

/// The slots of a row's children, in the order of the child query.
fn child_rows(store: &Store, children: &Children, parent: SfId, deleted: bool) -> Vec<u32> {
    let bound: &Bound = &children.bound;
    let table = store.table(bound.table);
    let object = &table.object;
    let points_here = |row: &Row| *row.value(object, children.field) == Value::Id(parent);
    let fits = |row: &Row| run::fits(store, bound, row, deleted) && points_here(row);
    // The index knows live children only, and none of users.
    let slots = if object.fields[usize::from(children.field)].tracks_children() && !deleted {
        let slots = table.children_of(children.field, parent).into_iter();
        slots.filter(|slot| table.row(*slot).is_some_and(fits)).collect()
    } else {
        table.rows().filter(|(_, row)| row.state != RowState::Gone && fits(row)).map(|(slot, _)| slot).collect()
    };
    run::ordered(store, bound, slots)
}

/// Writes a record with these fields and its attributes.
pub fn write_record(out: &mut Vec<u8>, object: &Object, row: &Row, version: u32, fields: &[u16]) {
    write_attributes(out, object, row, version);
    for field in fields {
        write_field(out, object, row, *field);
    }
    out.push(b'}');
}

fn write_attributes(out: &mut Vec<u8>, object: &Object, row: &Row, version: u32) {
    use std::io::Write as _;
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "{{\"attributes\":{{\"type\":\"{0}\",\"url\":\"/services/data/v{version}.0/sobjects/{0}/{1}\"}}",
        object.name, row.id
    );
}

fn write_field(out: &mut Vec<u8>, object: &Object, row: &Row, field: u16) {
    out.push(b',');
    write_text(out, &object.fields[usize::from(field)].name);
    out.push(b':');
    row.value(object, field).write_json(out);
}
