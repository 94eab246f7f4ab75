//! What of a dead letter may still be applied.

use crate::mapping::MappedRow;
use contract::{OutColumn, OutOp};
use hashbrown::HashSet;
use model::Cell;

/// A newer record of the same target row that was applied.
#[derive(Clone, Debug)]
pub(crate) struct Newer<'a> {
    pub columns: &'a [OutColumn],
    pub row: MappedRow,
}

/// Leaves of a row only the cells that no newer record carried; `None`: nothing remains, the row is superseded.
pub(crate) fn remaining(mut row: MappedRow, columns: &[OutColumn], newer: &[Newer<'_>]) -> Option<MappedRow> {
    if newer.is_empty() {
        return Some(row);
    }
    // A newer delete took the whole row away; a newer write says that the row is there again.
    if row.op == OutOp::Delete || newer.iter().any(|newer| newer.row.op == OutOp::Delete) {
        return None;
    }
    let carried: HashSet<String> = newer
        .iter()
        .flat_map(|newer| newer.columns.iter().zip(&newer.row.cells))
        .filter(|(_, cell)| **cell != Cell::Unchanged)
        .map(|(column, _)| column.field.to_ascii_lowercase())
        .collect();
    for (column, cell) in columns.iter().zip(&mut row.cells) {
        if carried.contains(&column.field.to_ascii_lowercase()) {
            *cell = Cell::Unchanged;
        }
    }
    row.cells.iter().any(|cell| *cell != Cell::Unchanged).then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::FieldValue;

    fn columns() -> Vec<OutColumn> {
        ["A", "B"].map(|name| OutColumn { field: name.into(), reference: None }).into()
    }

    fn row(op: OutOp, cells: [Cell; 2]) -> MappedRow {
        let cells = if op == OutOp::Delete { vec![] } else { cells.into() };
        MappedRow { op, key: Some(FieldValue::Text("k".into())), cells }
    }

    fn value(text: &str) -> Cell {
        Cell::Value(FieldValue::Text(text.into()))
    }

    #[test]
    fn newer_columns_are_left_alone() {
        let columns = columns();
        let old = row(OutOp::Upsert, [value("old"), value("old")]);
        let newer = |cells| vec![Newer { columns: &columns, row: row(OutOp::Upsert, cells) }];
        assert_eq!(remaining(old.clone(), &columns, &[]), Some(old.clone()));
        assert_eq!(
            remaining(old.clone(), &columns, &newer([value("new"), Cell::Unchanged])),
            Some(row(OutOp::Upsert, [Cell::Unchanged, value("old")]))
        );
        assert_eq!(remaining(old.clone(), &columns, &newer([value("new"), Cell::Null])), None);
    }

    #[test]
    fn deletes_on_either_side_leave_nothing() {
        let columns = columns();
        let write = row(OutOp::Upsert, [value("x"), Cell::Unchanged]);
        let delete = row(OutOp::Delete, [Cell::Null, Cell::Null]);
        let newer = |row: &MappedRow| vec![Newer { columns: &columns, row: row.clone() }];
        assert_eq!(remaining(write.clone(), &columns, &newer(&delete)), None);
        assert_eq!(remaining(delete.clone(), &columns, &newer(&write)), None);
        assert_eq!(remaining(delete.clone(), &columns, &[]), Some(delete));
    }
}
