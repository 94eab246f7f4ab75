//! The request body, written straight into one buffer.
//!
//! `{"allOrNone":false,"records":[{"attributes":{"type":"Account"},"Ext__c":"k","Name":"n","Owner__r":{"Ext__c":"o"}}]}`
//!
//! An unchanged cell is left out (the org keeps what it has), a null cell is `null` (the org clears it); a null reference
//! clears the lookup field itself, since `"Parent__r": null` is ignored.

use bytes::Bytes;
use contract::{OutBatch, OutColumn};
use model::{Cell, FieldValue};

/// Bytes of a row when nothing better is known.
const ROW_BYTES_TYPICAL: usize = 256;

/// Writes rows for create or upsert; the external id goes into the record.
pub(crate) fn create_or_upsert_body(batch: &OutBatch) -> Bytes {
    let mut writer = Writer::new(batch);
    let key_prefix = batch.external_id.as_deref().map(prefix);
    for row in &batch.rows {
        writer.open_record();
        if let (Some(prefix), Some(key)) = (&key_prefix, &row.key) {
            writer.out.extend_from_slice(prefix);
            value(&mut writer.out, key);
        }
        writer.cells(&row.cells);
        writer.close_record(row);
    }
    writer.finish()
}

/// Writes the rows at `rows` for update, each with its record id.
pub(crate) fn update_body(batch: &OutBatch, rows: &[(usize, &str)]) -> Bytes {
    let mut writer = Writer::new(batch);
    for (row, id) in rows {
        let row = &batch.rows[*row];
        writer.open_record();
        writer.out.extend_from_slice(b",\"id\":");
        text(&mut writer.out, id);
        writer.cells(&row.cells);
        writer.close_record(row);
    }
    writer.finish()
}

/// The fixed bytes of a column.
enum ColumnBytes {
    /// `,"Field":`
    Plain(Vec<u8>),
    /// `,"Rel__r":{"Ext__c":` and, for null, `,"Field":`
    Reference { open: Vec<u8>, field: Vec<u8> },
}

struct Writer {
    out: Vec<u8>,
    /// `{"attributes":{"type":"X"}`
    head: Vec<u8>,
    columns: Vec<ColumnBytes>,
    /// Where the position is written to, when it is no column of the batch already.
    position: Option<Vec<u8>>,
    first: bool,
}

impl Writer {
    fn new(batch: &OutBatch) -> Self {
        let mut head = b"{\"attributes\":{\"type\":".to_vec();
        text(&mut head, batch.object.as_str());
        head.push(b'}');
        let position = batch.position_field.as_deref();
        let position = position.filter(|name| !batch.columns.iter().any(|c| c.field.eq_ignore_ascii_case(name)));
        let mut out = Vec::with_capacity(64 + batch.rows.len() * (head.len() + ROW_BYTES_TYPICAL));
        out.extend_from_slice(b"{\"allOrNone\":false,\"records\":[");
        Self {
            out,
            head,
            columns: batch.columns.iter().map(column).collect(),
            position: position.map(prefix),
            first: true,
        }
    }

    fn open_record(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(&self.head);
    }

    fn cells(&mut self, cells: &[Cell]) {
        for (column, cell) in self.columns.iter().zip(cells) {
            match (cell, column) {
                (Cell::Unchanged, _) => {}
                (Cell::Null, ColumnBytes::Plain(field) | ColumnBytes::Reference { field, .. }) => {
                    self.out.extend_from_slice(field);
                    self.out.extend_from_slice(b"null");
                }
                (Cell::Value(cell), ColumnBytes::Plain(field)) => {
                    self.out.extend_from_slice(field);
                    value(&mut self.out, cell);
                }
                (Cell::Value(cell), ColumnBytes::Reference { open, .. }) => {
                    self.out.extend_from_slice(open);
                    value(&mut self.out, cell);
                    self.out.push(b'}');
                }
            }
        }
    }

    fn close_record(&mut self, row: &contract::OutRow) {
        if let Some(prefix) = &self.position {
            self.out.extend_from_slice(prefix);
            text(&mut self.out, &row.position.to_string());
        }
        self.out.push(b'}');
    }

    fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(b"]}");
        Bytes::from(self.out)
    }
}

fn column(column: &OutColumn) -> ColumnBytes {
    let Some(reference) = &column.reference else { return ColumnBytes::Plain(prefix(&column.field)) };
    let mut open = prefix(&reference.relationship);
    open.push(b'{');
    if reference.polymorphic {
        open.extend_from_slice(b"\"attributes\":{\"type\":");
        text(&mut open, reference.object.as_str());
        open.extend_from_slice(b"},");
    }
    text(&mut open, &reference.external_id);
    open.push(b':');
    ColumnBytes::Reference { open, field: prefix(&column.field) }
}

/// `,"name":`
fn prefix(name: &str) -> Vec<u8> {
    let mut out = vec![b','];
    text(&mut out, name);
    out.push(b':');
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(&mut *out, text).expect("a string always serialises into memory");
}

fn value(out: &mut Vec<u8>, value: &FieldValue) {
    match value {
        FieldValue::Bool(true) => out.extend_from_slice(b"true"),
        FieldValue::Bool(false) => out.extend_from_slice(b"false"),
        FieldValue::Number(number) => out.extend_from_slice(number.as_str().as_bytes()),
        FieldValue::Text(string) => text(out, string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{ColumnReference, OutOp, OutRow};
    use model::{BatchId, Lane, Offset, Partition, Position};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn batch(rows: Vec<OutRow>) -> OutBatch {
        let reference = |polymorphic| ColumnReference {
            relationship: "Account".into(),
            object: "Account".into(),
            external_id: "Code__c".into(),
            polymorphic,
        };
        OutBatch {
            id: BatchId(1),
            api: model::Api::Collections,
            route: "r".into(),
            lane: Lane::Standard,
            object: "Case".into(),
            op: OutOp::Upsert,
            external_id: Some("Key__c".into()),
            position_field: None,
            columns: vec![
                OutColumn { field: "Subject".into(), reference: None },
                OutColumn { field: "AccountId".into(), reference: Some(reference(false)) },
                OutColumn {
                    field: "WhatId".into(),
                    reference: Some(ColumnReference { relationship: "What".into(), ..reference(true) }),
                },
            ]
            .into(),
            rows,
        }
    }

    fn row(key: &str, cells: Vec<Cell>) -> OutRow {
        let position = Position { partition: Partition(0), offset: Offset(7) };
        OutRow { position, key: Some(FieldValue::Text(key.into())), cells }
    }

    fn value_of(text: &str) -> Cell {
        Cell::Value(FieldValue::Text(text.into()))
    }

    #[test]
    fn unchanged_is_absent_null_clears_and_references_go_by_external_id() {
        let batch = batch(vec![
            row("a", vec![Cell::Unchanged, Cell::Null, value_of("p")]),
            row("b\"", vec![Cell::Null, value_of("x"), Cell::Unchanged]),
        ]);
        let body: Value = serde_json::from_slice(&create_or_upsert_body(&batch)).unwrap();
        assert_eq!(
            body,
            json!({"allOrNone": false, "records": [
                {"attributes": {"type": "Case"}, "Key__c": "a", "AccountId": null,
                 "What": {"attributes": {"type": "Account"}, "Code__c": "p"}},
                {"attributes": {"type": "Case"}, "Key__c": "b\"", "Subject": null, "Account": {"Code__c": "x"}},
            ]})
        );
    }

    #[test]
    fn position_is_written_once_whether_it_is_a_column_or_not() {
        let mut with = batch(vec![row("a", vec![value_of("s"), Cell::Unchanged, Cell::Unchanged])]);
        with.position_field = Some("Position__c".into());
        let body = String::from_utf8(create_or_upsert_body(&with).to_vec()).unwrap();
        assert!(body.contains(r#","Position__c":"0:7"}"#), "{body}");
        with.position_field = Some("subject".into());
        let body = String::from_utf8(create_or_upsert_body(&with).to_vec()).unwrap();
        assert!(!body.contains("0:7"), "{body}");
    }

    proptest! {
        #[test]
        fn any_text_and_number_survives_the_body(text in ".*", number: i64, fraction: f64) {
            prop_assume!(fraction.is_finite());
            let mut batch = batch(vec![]);
            batch.columns = ["A", "B", "C"].map(|f| OutColumn { field: f.into(), reference: None }).to_vec().into();
            let fraction = model::Number::from_f64(fraction).unwrap();
            batch.rows = vec![row(&text, vec![
                value_of(&text),
                Cell::Value(FieldValue::Number(number.into())),
                Cell::Value(FieldValue::Number(fraction.clone())),
            ])];
            let bytes = create_or_upsert_body(&batch);
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            let record = &body["records"][0];
            prop_assert_eq!(record["A"].as_str(), Some(text.as_str()));
            prop_assert_eq!(record["Key__c"].as_str(), Some(text.as_str()));
            prop_assert_eq!(record["B"].as_i64(), Some(number));
            let written = format!(",\"C\":{}}}]}}", fraction.as_str());
            prop_assert!(bytes.ends_with(written.as_bytes()), "the digits stand as they are");
        }
    }
}
