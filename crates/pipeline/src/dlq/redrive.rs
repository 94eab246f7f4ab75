//! What of a dead letter may still be applied.

use crate::mapping::MappedRow;
use contract::{OutColumn, OutOp};
use hashbrown::HashSet;
use model::Cell;

/// What newer records of the same target row carried, once they were applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Newer {
    /// A newer delete took the whole row away; a newer write says that the row is there again.
    deleted: bool,
    any: bool,
    /// Fields, in lower case.
    carried: HashSet<String>,
}

impl Newer {
    /// Adds a newer record.
    pub(crate) fn add(&mut self, columns: &[OutColumn], row: &MappedRow) {
        self.any = true;
        self.deleted |= row.op == OutOp::Delete;
        let carried = columns.iter().zip(&row.cells).filter(|(_, cell)| **cell != Cell::Unchanged);
        self.carried.extend(carried.map(|(column, _)| column.field.to_ascii_lowercase()));
    }
}

/// Leaves of a row only the cells that no newer record carried; `None`: nothing remains, the row is superseded.
pub(crate) fn remaining(mut row: MappedRow, columns: &[OutColumn], newer: &Newer) -> Option<MappedRow> {
    if !newer.any {
        return Some(row);
    }
    if row.op == OutOp::Delete || newer.deleted {
        return None;
    }
    for (column, cell) in columns.iter().zip(&mut row.cells) {
        if newer.carried.contains(&column.field.to_ascii_lowercase()) {
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

    fn newer(row: &MappedRow) -> Newer {
        let mut newer = Newer::default();
        newer.add(&columns(), row);
        newer
    }

    #[test]
    fn newer_columns_are_left_alone() {
        let columns = columns();
        let old = row(OutOp::Upsert, [value("old"), value("old")]);
        let newer = |cells| newer(&row(OutOp::Upsert, cells));
        assert_eq!(remaining(old.clone(), &columns, &Newer::default()), Some(old.clone()));
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
        assert_eq!(remaining(write.clone(), &columns, &newer(&delete)), None);
        assert_eq!(remaining(delete.clone(), &columns, &newer(&write)), None);
        assert_eq!(remaining(delete.clone(), &columns, &Newer::default()), Some(delete));
    }
}
