use super::*;
use contract::{ColumnReference, OutBatch, OutColumn, OutOp, OutRow};
use model::{BatchId, Cell, FieldValue, Lane, Offset, Partition, Position};
use proptest::prelude::*;

fn batch(columns: Vec<OutColumn>, rows: Vec<OutRow>) -> OutBatch {
    OutBatch {
        id: BatchId(1),
        api: model::Api::Bulk,
        route: "r".into(),
        lane: Lane::Bulk,
        object: "Case".into(),
        op: OutOp::Upsert,
        external_id: Some("Key__c".into()),
        position_field: None,
        columns: columns.into(),
        rows,
    }
}

fn plain(field: &str) -> OutColumn {
    OutColumn { field: field.into(), reference: None }
}

fn parent(field: &str, relationship: &str, polymorphic: bool) -> OutColumn {
    let reference = ColumnReference {
        relationship: relationship.into(),
        object: "Account".into(),
        external_id: "Code__c".into(),
        polymorphic,
    };
    OutColumn { field: field.into(), reference: Some(reference) }
}

fn text(text: &str) -> Cell {
    Cell::Value(FieldValue::Text(text.into()))
}

fn row(key: &str, cells: Vec<Cell>) -> OutRow {
    let position = Position { partition: Partition(0), offset: Offset(7) };
    OutRow { position, key: Some(FieldValue::Text(key.into())), cells }
}

fn written(batch: &OutBatch) -> String {
    let rows: Vec<_> = (0..batch.rows.len()).map(|at| (at, None)).collect();
    String::from_utf8(write(batch, &cells::columns(batch), &rows, usize::MAX).unwrap().bytes).unwrap()
}

#[test]
fn the_header_is_the_union_of_what_the_rows_change() {
    let columns = vec![plain("Late__c"), plain("Never__c"), plain("Subject")];
    let batch = batch(
        columns,
        vec![
            row("a", vec![Cell::Unchanged, Cell::Unchanged, text("s")]),
            row("b", vec![Cell::Null, Cell::Unchanged, Cell::Unchanged]),
            row("c", vec![text(""), Cell::Unchanged, text("x\"y,\n")]),
        ],
    );
    assert_eq!(
        written(&batch),
        "\"Key__c\",\"Late__c\",\"Subject\"\n\"a\",,\"s\"\n\"b\",\"#N/A\",\n\"c\",\"#N/A\",\"x\"\"y,\n\"\n"
    );
}

#[test]
fn a_lookup_is_set_by_the_parents_key_and_cleared_by_its_own_field() {
    let columns = vec![parent("AccountId", "Account", false), parent("WhatId", "What", true)];
    let batch = batch(columns, vec![row("a", vec![text("p"), text("q")]), row("b", vec![Cell::Null, Cell::Unchanged])]);
    assert_eq!(
        written(&batch),
        "\"Key__c\",\"Account.Code__c\",\"AccountId\",\"Account:What.Code__c\"\n\"a\",\"p\",,\"q\"\n\"b\",,\"#N/A\",\n"
    );
}

#[test]
fn the_position_is_a_column_unless_the_batch_has_it_already() {
    let mut batch = batch(vec![plain("Subject")], vec![row("a", vec![text("s")])]);
    batch.position_field = Some("Position__c".into());
    assert!(written(&batch).ends_with("\"a\",\"s\",\"0:7\"\n"));
    batch.position_field = Some("subject".into());
    assert!(!written(&batch).contains("0:7"));
}

#[test]
fn a_delete_holds_record_ids_alone() {
    let mut batch = batch(vec![plain("Subject")], vec![row("a", vec![])]);
    batch.op = OutOp::Delete;
    let file = write(&batch, &cells::columns(&batch), &[(0, Some("500000000000001AAA"))], usize::MAX).unwrap();
    assert_eq!(file.bytes, b"\"Id\"\n\"500000000000001AAA\"\n");
}

#[test]
fn rows_that_do_not_fit_are_left_out_and_a_header_that_is_too_long_is_refused() {
    let rows = ["a", "bbbbbbbbbbbbbbbbbbbb", "c"].map(|key| row(key, vec![text("s")]));
    let sized = batch(vec![plain("Subject")], rows.to_vec());
    let all: Vec<_> = (0..3).map(|at| (at, None)).collect();
    let file = write(&sized, &cells::columns(&sized), &all, 40).unwrap();
    assert_eq!(file.left_out, [1]);
    let names: Vec<_> = (0..2_000).map(|n| plain(&format!("A_field_of_a_name_{n}__c"))).collect();
    let wide = batch(names, vec![row("a", vec![text("s"); 2_000])]);
    assert!(write(&wide, &cells::columns(&wide), &[(0, None)], usize::MAX).is_none());
}

#[test]
fn what_csv_has_no_form_for_is_not_carried() {
    let carries = |key: &str, cell: Cell| cells::carries(&row(key, vec![cell]));
    assert!(carries("k", text("")) && carries("k", Cell::Null) && carries("k", Cell::Unchanged));
    for cell in ["#N/A", " #n/a ", " ", "\n", "a\0b", &"é".repeat(131_073)] {
        assert!(!carries("k", text(cell)), "{cell:.9?}");
        assert!(!carries(cell, Cell::Null), "{cell:.9?}");
    }
    assert!(!carries("", Cell::Null));
    assert!(carries("k", text(&"é".repeat(131_072))));
    assert!(!cells::carries(&row("k", vec![text(&"x".repeat(131_072)); 4])));
    let nothing = OutRow { key: None, ..row("", vec![Cell::Unchanged]) };
    assert!(!cells::carries(&nothing), "a line of nothing is no line");
}

proptest! {
    /// What a foreign reader finds in the file is what the cells say.
    #[test]
    fn any_rows_are_read_back_by_another_reader(rows in prop::collection::vec(prop::collection::vec(
        prop_oneof![Just(Cell::Null), Just(Cell::Unchanged), "[^\0]{0,12}".prop_map(|t| text(&t))], 3), 1..6)) {
        let columns = vec![plain("A"), plain("B"), plain("C")];
        let rows: Vec<OutRow> = rows.into_iter().enumerate().map(|(n, cells)| row(&format!("k{n}"), cells)).collect();
        let batch = batch(columns, rows);
        let bytes = written(&batch);
        let mut reader = csv::ReaderBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_reader(bytes.as_bytes());
        let header = reader.headers().unwrap().clone();
        for (row, record) in batch.rows.iter().zip(reader.records()) {
            let record = record.unwrap();
            for (cell, name) in row.cells.iter().zip(["A", "B", "C"]) {
                let found = header.iter().position(|h| h == name).map_or("", |at| &record[at]);
                let said = match cell {
                    Cell::Unchanged => "",
                    Cell::Null => "#N/A",
                    Cell::Value(FieldValue::Text(t)) if t.is_empty() => "#N/A",
                    Cell::Value(FieldValue::Text(t)) => t,
                    Cell::Value(_) => unreachable!(),
                };
                prop_assert_eq!(found, said);
            }
        }
    }

    /// A row has one print, whatever other rows stand in its file.
    #[test]
    fn a_rows_print_does_not_depend_on_its_neighbours(a in "[a-c]{0,2}", b in "[a-c]{0,2}", other in "[a-c]{0,2}") {
        use crate::bulk::outcomes::Match;
        let cells_of = |t: &str| if t.is_empty() { Cell::Unchanged } else { text(t) };
        let columns = || vec![plain("A"), plain("B")];
        let mine = row("k", vec![cells_of(&a), cells_of(&b)]);
        let alone = batch(columns(), vec![mine.clone()]);
        let beside = batch(columns(), vec![row("x", vec![cells_of(&other), text("y")]), mine.clone()]);
        let print = |batch: &OutBatch| Match::WholeRow.print(batch, &cells::columns(batch), &mine, None);
        prop_assert_eq!(print(&alone), print(&beside));
    }
}
