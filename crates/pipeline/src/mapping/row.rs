//! A mapped row, and how waiting rows of one key merge.

use contract::OutOp;
use model::{Cell, FieldValue};

/// What is to be done at the target for one record.
#[derive(Clone, Debug, PartialEq)]
pub struct MappedRow {
    pub op: OutOp,
    /// The external id's value; none only for a route that creates without one.
    pub key: Option<FieldValue>,
    /// One for each of `Mapper::columns`; empty for `Delete`.
    pub cells: Vec<Cell>,
}

/// Merges two rows of one key into what has the effect of both, for `coalesce: latest`.
///
/// Column by column the newer cell wins, unless it is unchanged: then the older one stays, so that an unchanged value
/// never wins. A delete swallows what came before it. What comes after a delete stands alone: the target's row is then
/// not deleted and made again but overwritten, so it keeps its id and its fields that are not mapped. A row that may
/// still have to be made stays an upsert or a create when an update follows it.
///
/// A chain is merged from the oldest on. Merging a row with itself gives the row.
pub fn merge(older: MappedRow, newer: MappedRow) -> MappedRow {
    let op = match (older.op, newer.op) {
        (_, OutOp::Delete) | (OutOp::Delete, _) => return newer,
        (OutOp::Create, _) => OutOp::Create,
        (OutOp::Upsert, _) | (_, OutOp::Upsert) => OutOp::Upsert,
        (OutOp::Update, newer) => newer,
    };
    let cells = older
        .cells
        .into_iter()
        .zip(newer.cells)
        .map(|(older, newer)| if newer == Cell::Unchanged { older } else { newer })
        .collect();
    MappedRow { op, key: newer.key, cells }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn any_row() -> impl Strategy<Value = MappedRow> {
        let cell = prop_oneof![
            Just(Cell::Unchanged),
            Just(Cell::Null),
            (0..9_i64).prop_map(|n| Cell::Value(FieldValue::Number(n.into())))
        ];
        let op = prop_oneof![Just(OutOp::Upsert), Just(OutOp::Update), Just(OutOp::Delete)];
        (op, prop::collection::vec(cell, 3)).prop_map(|(op, cells)| {
            let key = Some(FieldValue::Text("k".into()));
            MappedRow { op, key, cells: if op == OutOp::Delete { vec![] } else { cells } }
        })
    }

    /// A target of one row that never existed before, where absent fields are null.
    fn apply(row: &MappedRow, state: &mut Option<BTreeMap<usize, Cell>>) {
        match row.op {
            OutOp::Delete => *state = None,
            OutOp::Update if state.is_none() => {}
            _ => {
                let fields = state.get_or_insert_default();
                for (index, cell) in row.cells.iter().enumerate().filter(|(_, cell)| **cell != Cell::Unchanged) {
                    fields.insert(index, cell.clone());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn merged_writes_have_the_effect_of_both(older in any_row(), newer in any_row(), exists: bool) {
            // After a delete the row is overwritten rather than made again: told in the doc comment.
            prop_assume!(older.op != OutOp::Delete);
            // An update of a row that is not there fails at the target; an upsert behind it makes the row.
            prop_assume!(older.op != OutOp::Update || exists);
            let start = exists.then(|| BTreeMap::from([(0, Cell::Null), (1, Cell::Null), (2, Cell::Null)]));
            let (mut apart, mut merged) = (start.clone(), start);
            apply(&older, &mut apart);
            apply(&newer, &mut apart);
            apply(&merge(older, newer), &mut merged);
            prop_assert_eq!(apart, merged);
        }

        #[test]
        fn merging_writes_is_associative_and_repeats_change_nothing(a in any_row(), b in any_row(), c in any_row()) {
            prop_assert_eq!(merge(a.clone(), a.clone()), a.clone());
            prop_assume!([&a, &b, &c].iter().all(|row| row.op != OutOp::Delete));
            let left = merge(merge(a.clone(), b.clone()), c.clone());
            prop_assert_eq!(left, merge(a, merge(b, c)));
        }
    }
}
