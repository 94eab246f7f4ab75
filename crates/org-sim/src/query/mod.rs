//! Running queries: binding names to fields, filtering, ordering, paging.

mod bind;
mod eval;

use crate::answer::{Request, Response};
use crate::json::{write_int, write_text};
use crate::org::Org;
use crate::rest::Plan;
use crate::schema::Object;
use crate::soql::{self, Items};
use crate::store::{Row, RowState, Store};
use bind::Tree;
use hashbrown::HashMap;
use std::cmp::Ordering;

/// Rows of a page unless the caller asks for fewer.
const PAGE_ROWS: usize = 2000;

/// The fewest rows that a caller can ask for.
const PAGE_ROWS_MIN: usize = 200;

/// How long a locator lives.
const LOCATOR_MS: i64 = 2 * 86_400_000;

/// Rows that all locators together may keep in mind; the oldest locator makes room.
const LOCATOR_ROWS_MAX: usize = 8_000_000;

const OFFSET_MAX: usize = 2000;

struct Cursor {
    table: usize,
    slots: Vec<u32>,
    tree: Tree,
    version: u32,
    page: usize,
    ends_ms: i64,
}

/// Queries whose later pages may still be asked for.
#[derive(Default)]
pub struct Cursors {
    next: u64,
    open: HashMap<u64, Cursor>,
}

impl Cursors {
    fn add(&mut self, cursor: Cursor, now_ms: i64) -> u64 {
        self.open.retain(|_, cursor| cursor.ends_ms > now_ms);
        let rows = |open: &HashMap<u64, Cursor>| open.values().map(|cursor| cursor.slots.len()).sum::<usize>();
        while rows(&self.open) + cursor.slots.len() > LOCATOR_ROWS_MAX {
            let Some(oldest) = self.open.keys().min().copied() else { break };
            self.open.remove(&oldest);
        }
        self.next += 1;
        self.open.insert(self.next, cursor);
        self.next
    }
}

/// Answers `GET /query?q=` and `/queryAll?q=`.
pub fn start(org: &mut Org, plan: &Plan, request: &Request<'_>, deleted: bool, now_ms: i64) -> Response {
    let Some(text) = request.parameter("q") else {
        return Response::error(400, "MALFORMED_QUERY", "A query string has to be specified");
    };
    let select = match soql::parse(&text) {
        Ok(select) => select,
        Err(error) => return malformed(&text, &error),
    };
    if select.offset > OFFSET_MAX {
        return Response::error(400, "NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000");
    }
    let bound = match bind::bind(&org.store, &select, now_ms) {
        Ok(bound) => bound,
        Err(error) => return Response::error(400, error.code, &error.message),
    };
    let slots = run(&org.store, &bound, &select, deleted);
    if select.items == Items::Count {
        return Response::json(200, format!("{{\"totalSize\":{},\"done\":true,\"records\":[]}}", slots.len()).into());
    }
    let page = request.header("sforce-query-options").and_then(batch_size).unwrap_or(PAGE_ROWS);
    let cursor = Cursor {
        table: bound.table,
        slots,
        tree: bound.tree,
        version: plan.version,
        page,
        ends_ms: now_ms + LOCATOR_MS,
    };
    if cursor.slots.len() <= page {
        return Response::json(200, write_page(&org.store, &cursor, 0, 0));
    }
    let number = org.cursors.add(cursor, now_ms);
    match org.cursors.open.get(&number) {
        Some(cursor) => Response::json(200, write_page(&org.store, cursor, 0, number)),
        None => bad_locator(),
    }
}

/// Answers `GET /query/{locator}`.
pub fn more(org: &mut Org, plan: &Plan, now_ms: i64) -> Response {
    let text = plan.key_value.as_deref().unwrap_or_default();
    let Some((id, offset)) = text.split_once('-') else { return bad_locator() };
    let id = crate::ids::SfId::parse(id).filter(|id| id.prefix() == *b"01g").and_then(|id| id.number());
    let (Some(number), Ok(offset)) = (id, offset.parse::<usize>()) else { return bad_locator() };
    match org.cursors.open.get(&number).filter(|cursor| cursor.ends_ms > now_ms && offset < cursor.slots.len()) {
        Some(cursor) => Response::json(200, write_page(&org.store, cursor, offset, number)),
        None => bad_locator(),
    }
}

fn bad_locator() -> Response {
    Response::error(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
}

fn malformed(text: &str, error: &soql::SoqlError) -> Response {
    let before = text.get(..error.at).unwrap_or(text);
    let row = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let from = before.char_indices().rev().nth(20).map_or(0, |(at, _)| at);
    let near: String = text[from..].chars().take(60).collect();
    let message = format!("\n{near}\n^\nERROR at Row:{row}:Column:{column}\n{}", error.message);
    Response::error(400, "MALFORMED_QUERY", &message)
}

fn batch_size(options: &str) -> Option<usize> {
    let size = options.split(',').find_map(|option| option.trim().strip_prefix("batchSize="))?;
    Some(size.trim().parse::<usize>().ok()?.clamp(PAGE_ROWS_MIN, PAGE_ROWS))
}

fn run(store: &Store, bound: &bind::Bound, select: &soql::Select, deleted: bool) -> Vec<u32> {
    let table = store.table(bound.table);
    let visible = |row: &Row| row.state == RowState::Live || (deleted && row.state == RowState::Deleted);
    let fits = |row: &Row| {
        visible(row) && bound.filter.as_ref().is_none_or(|filter| eval::holds(store, filter, row, bound.table))
    };
    // Without an order, rows come in the order of their creation: no more than limit and offset need be looked for.
    let enough = match select.limit {
        Some(limit) if bound.order.is_empty() => limit.saturating_add(select.offset),
        _ => usize::MAX,
    };
    let candidates =
        bound.filter.as_ref().filter(|_| !deleted).and_then(|filter| eval::candidates(store, filter, bound.table));
    let mut slots: Vec<u32> = match candidates {
        Some(mut slots) => {
            slots.sort_unstable();
            slots.dedup();
            slots.into_iter().filter(|slot| table.row(*slot).is_some_and(&fits)).take(enough).collect()
        }
        None => table.rows().filter(|(_, row)| fits(row)).map(|(slot, _)| slot).take(enough).collect(),
    };
    if !bound.order.is_empty() {
        sort(store, bound, &mut slots);
    }
    slots.drain(..select.offset.min(slots.len()));
    slots.truncate(select.limit.unwrap_or(usize::MAX));
    slots
}

fn sort(store: &Store, bound: &bind::Bound, slots: &mut [u32]) {
    let table = store.table(bound.table);
    let key = |slot: &u32| {
        let row = table.row(*slot);
        let value =
            |path| row.map_or(crate::value::Value::Null, |row| eval::value(store, path, row, bound.table).into_owned());
        bound.order.iter().map(|(path, _, _)| value(path)).collect::<Vec<_>>()
    };
    slots.sort_by_cached_key(|slot| {
        let directions = bound.order.iter().map(|(_, descending, nulls_last)| (*descending, *nulls_last));
        SortKey { parts: key(slot).into_iter().zip(directions).collect() }
    });
}

#[derive(PartialEq, Eq)]
struct SortKey {
    parts: Vec<(crate::value::Value, (bool, bool))>,
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        for ((mine, (descending, nulls_last)), (theirs, _)) in self.parts.iter().zip(&other.parts) {
            let order = match (mine.is_null(), theirs.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) => {
                    if *nulls_last {
                        Ordering::Greater
                    } else {
                        Ordering::Less
                    }
                }
                (false, true) => {
                    if *nulls_last {
                        Ordering::Less
                    } else {
                        Ordering::Greater
                    }
                }
                (false, false) => {
                    let order = eval::compare(mine, theirs).unwrap_or(Ordering::Equal);
                    if *descending { order.reverse() } else { order }
                }
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}

fn write_page(store: &Store, cursor: &Cursor, offset: usize, number: u64) -> Vec<u8> {
    let end = (offset + cursor.page).min(cursor.slots.len());
    let done = end == cursor.slots.len();
    let mut out = Vec::with_capacity(256 * (end - offset) + 64);
    out.extend_from_slice(b"{\"totalSize\":");
    write_int(&mut out, cursor.slots.len() as i64);
    out.extend_from_slice(if done { b",\"done\":true" } else { b",\"done\":false" });
    if !done {
        let id = crate::ids::SfId::new(*b"01g", number);
        let url = format!("/services/data/v{}.0/query/{id}-{end}", cursor.version);
        out.extend_from_slice(b",\"nextRecordsUrl\":");
        write_text(&mut out, &url);
    }
    out.extend_from_slice(b",\"records\":[");
    let table = store.table(cursor.table);
    let mut first = true;
    for row in cursor.slots[offset..end].iter().filter_map(|slot| table.row(*slot)) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_tree(&mut out, store, &table.object, row, cursor.version, &cursor.tree);
    }
    out.extend_from_slice(b"]}");
    out
}

fn write_tree(out: &mut Vec<u8>, store: &Store, object: &Object, row: &Row, version: u32, tree: &Tree) {
    write_attributes(out, object, row, version);
    for field in &tree.fields {
        write_field(out, object, row, *field);
    }
    for (lookup, inner) in &tree.parents {
        let reference = object.fields[usize::from(*lookup)].reference.as_ref();
        out.push(b',');
        write_text(out, reference.and_then(|reference| reference.relationship.as_deref()).unwrap_or_default());
        out.push(b':');
        match row.value(object, *lookup).as_ref() {
            crate::value::Value::Id(id) => match store.row_of(*id) {
                Some((table, _, parent)) => write_tree(out, store, &store.table(table).object, parent, version, inner),
                None => out.extend_from_slice(b"null"),
            },
            _ => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
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
