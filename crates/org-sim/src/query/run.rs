//! Finding and ordering rows.

use super::bind::{Bound, OrderBy, Source};
use super::eval;
use crate::store::{Row, RowState, Store};
use crate::value::Value;
use std::cmp::Ordering;

/// The slots of a query's rows, in its order, after offset and limit. `deleted`: those in the recycle bin too.
pub fn rows(store: &Store, bound: &Bound, deleted: bool) -> Vec<u32> {
    ordered(store, bound, fitting(store, bound, deleted))
}

/// The slots of the rows that fit the condition, in the order of their creation. No more than limit and offset can use.
pub fn fitting(store: &Store, bound: &Bound, deleted: bool) -> Vec<u32> {
    let table = store.table(bound.table);
    let fits = |row: &Row| fits(store, bound, row, deleted);
    // Without an order, rows come in the order of their creation: no more than limit and offset need be looked for.
    let enough = match bound.limit {
        Some(limit) if bound.order.is_empty() && bound.groups.is_none() => limit.saturating_add(bound.offset),
        _ => usize::MAX,
    };
    let candidates =
        bound.filter.as_ref().filter(|_| !deleted).and_then(|filter| eval::candidates(store, filter, bound.table));
    match candidates {
        Some(mut slots) => {
            slots.sort_unstable();
            slots.dedup();
            slots.into_iter().filter(|slot| table.row(*slot).is_some_and(&fits)).take(enough).collect()
        }
        None => table.rows().filter(|(_, row)| fits(row)).map(|(slot, _)| slot).take(enough).collect(),
    }
}

/// Tells whether a row can be seen and fits the condition.
pub fn fits(store: &Store, bound: &Bound, row: &Row, deleted: bool) -> bool {
    let visible = row.state == RowState::Live || (deleted && row.state == RowState::Deleted);
    let value = |source: &Source| eval::source_value(store, source, row, bound.table);
    visible && bound.filter.as_ref().is_none_or(|filter| eval::holds(filter, &value))
}

/// Puts rows into the query's order and cuts offset and limit.
pub fn ordered(store: &Store, bound: &Bound, mut slots: Vec<u32>) -> Vec<u32> {
    if !bound.order.is_empty() {
        let table = store.table(bound.table);
        slots.sort_by_cached_key(|slot| {
            let row = table.row(*slot);
            let value = |source: &Source| {
                row.map_or(Value::Null, |row| eval::source_value(store, source, row, bound.table).into_owned())
            };
            SortKey::of(&bound.order, value)
        });
    }
    slots.drain(..bound.offset.min(slots.len()));
    slots.truncate(bound.limit.unwrap_or(usize::MAX));
    slots
}

/// The values that a row or group is ordered by.
#[derive(PartialEq, Eq)]
pub struct SortKey {
    parts: Vec<Part>,
}

#[derive(PartialEq, Eq)]
struct Part {
    value: Value,
    descending: bool,
    nulls_last: bool,
}

impl SortKey {
    /// Gathers the values.
    pub fn of(order: &[OrderBy], value: impl Fn(&Source) -> Value) -> Self {
        let part = |order: &OrderBy| Part {
            value: value(&order.source),
            descending: order.descending,
            nulls_last: order.nulls_last,
        };
        Self { parts: order.iter().map(part).collect() }
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = self.parts.iter().zip(&other.parts).map(|(mine, theirs)| {
            let null_first = if mine.nulls_last { Ordering::Greater } else { Ordering::Less };
            match (mine.value.is_null(), theirs.value.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) => null_first,
                (false, true) => null_first.reverse(),
                (false, false) => {
                    let order = eval::compare(&mine.value, &theirs.value).unwrap_or(Ordering::Equal);
                    if mine.descending { order.reverse() } else { order }
                }
            }
        });
        parts.into_iter().find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
    }
}
