//! The request body, written straight into one buffer.
//!
//! `{"allOrNone":false,"records":[{"attributes":{"type":"Account"},"Ext__c":"k","Name":"n","Owner__r":{"Ext__c":"o"}}]}`
//!
//! An unchanged cell is left out (the org keeps what it has), a null cell is `null` (the org clears it); a null reference
//! clears the lookup field itself, since `"Parent__r": null` is ignored.

use bytes::Bytes;
use contract::{OutBatch, OutColumn, OutRow};
use model::{Cell, FieldValue};

/// Bytes of a row when nothing better is known.
const ROW_BYTES_TYPICAL: usize = 256;

/// Writes rows for create or upsert; the external id goes into the record.
pub(crate) fn create_or_upsert_body(batch: &OutBatch, all_or_none: bool) -> Bytes {
    let mut writer = Writer::new(batch, all_or_none);
    for row in &batch.rows {
        writer.open_record();
        writer.fields.key(&mut writer.out, row);
        writer.fields.cells(&mut writer.out, row, |_| None);
        writer.out.push(b'}');
    }
    writer.finish()
}

/// Writes the rows at `rows` for update, each with its record id.
pub(crate) fn update_body(batch: &OutBatch, rows: &[(usize, &str)]) -> Bytes {
    let mut writer = Writer::new(batch, false);
    for (row, id) in rows {
        let row = &batch.rows[*row];
        writer.open_record();
        writer.out.extend_from_slice(b",\"id\":");
        text(&mut writer.out, id);
        writer.fields.cells(&mut writer.out, row, |_| None);
        writer.out.push(b'}');
    }
    writer.finish()
}

/// Writes the fields of records, for calls that name object and record in their path.
pub(crate) struct Fields {
    key: Option<Vec<u8>>,
    columns: Vec<ColumnBytes>,
    /// Where the position is written to, when it is no column of the batch already.
    position: Option<Vec<u8>>,
}

impl Fields {
    /// Prepares the names of a batch's fields.
    pub fn new(batch: &OutBatch) -> Self {
        let position = batch.position_field.as_deref();
        let position = position.filter(|name| !batch.columns.iter().any(|c| c.field.eq_ignore_ascii_case(name)));
        Self {
            key: batch.external_id.as_deref().map(prefix),
            columns: batch.columns.iter().map(column).collect(),
            position: position.map(prefix),
        }
    }

    /// Writes a record as an object of its own. `parent` gives what a lookup is set to in place of the parent's external id,
    /// by the column's place.
    pub fn record(&self, row: &OutRow, with_key: bool, parent: impl Fn(usize) -> Option<String>) -> Vec<u8> {
        let mut out = Vec::with_capacity(ROW_BYTES_TYPICAL);
        if with_key {
            self.key(&mut out, row);
        }
        self.cells(&mut out, row, parent);
        match out.first_mut() {
            // Each field begins with a comma, as in a record that begins with its attributes.
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
        out
    }

    fn key(&self, out: &mut Vec<u8>, row: &OutRow) {
        if let (Some(prefix), Some(key)) = (&self.key, &row.key) {
            out.extend_from_slice(prefix);
            value(out, key);
        }
    }

    fn cells(&self, out: &mut Vec<u8>, row: &OutRow, parent: impl Fn(usize) -> Option<String>) {
        for (at, (column, cell)) in self.columns.iter().zip(&row.cells).enumerate() {
            match (cell, column) {
                (Cell::Unchanged, _) => {}
                (Cell::Null, ColumnBytes::Plain(field) | ColumnBytes::Reference { field, .. }) => {
                    out.extend_from_slice(field);
                    out.extend_from_slice(b"null");
                }
                (Cell::Value(cell), ColumnBytes::Plain(field)) => {
                    out.extend_from_slice(field);
                    value(out, cell);
                }
                (Cell::Value(cell), ColumnBytes::Reference { open, field }) => match parent(at) {
                    Some(parent) => {
                        out.extend_from_slice(field);
                        text(out, &parent);
                    }
                    None => {
                        out.extend_from_slice(open);
                        value(out, cell);
                        out.push(b'}');
                    }
                },
            }
        }
        if let Some(prefix) = &self.position {
            out.extend_from_slice(prefix);
            text(out, &row.position.to_string());
        }
    }
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
    fields: Fields,
    first: bool,
}

impl Writer {
    fn new(batch: &OutBatch, all_or_none: bool) -> Self {
        let mut head = b"{\"attributes\":{\"type\":".to_vec();
        text(&mut head, batch.object.as_str());
        head.push(b'}');
        let mut out = Vec::with_capacity(64 + batch.rows.len() * (head.len() + ROW_BYTES_TYPICAL));
        out.extend_from_slice(format!("{{\"allOrNone\":{all_or_none},\"records\":[").as_bytes());
        Self { out, head, fields: Fields::new(batch), first: true }
    }

    fn open_record(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(&self.head);
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
    use contract::{ColumnReference, OutOp};
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
        let body: Value = serde_json::from_slice(&create_or_upsert_body(&batch, false)).unwrap();
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
        let body = String::from_utf8(create_or_upsert_body(&with, false).to_vec()).unwrap();
        assert!(body.contains(r#","Position__c":"0:7"}"#), "{body}");
        with.position_field = Some("subject".into());
        let body = String::from_utf8(create_or_upsert_body(&with, false).to_vec()).unwrap();
        assert!(!body.contains("0:7"), "{body}");
    }

    #[test]
    fn a_record_of_its_own_has_no_attributes_and_takes_ids_of_parents() {
        let batch = batch(vec![row("a", vec![Cell::Unchanged, value_of("p"), Cell::Null])]);
        let fields = Fields::new(&batch);
        let json = |with_key, parent: Option<&str>| -> Value {
            let parent = parent.map(str::to_owned);
            serde_json::from_slice(&fields.record(&batch.rows[0], with_key, |_| parent.clone())).unwrap()
        };
        assert_eq!(json(false, None), json!({"Account": {"Code__c": "p"}, "WhatId": null}));
        assert_eq!(json(true, Some("@{n0.id}")), json!({"Key__c": "a", "AccountId": "@{n0.id}", "WhatId": null}));
        let nothing = row("a", vec![Cell::Unchanged, Cell::Unchanged, Cell::Unchanged]);
        assert_eq!(fields.record(&nothing, false, |_| None), b"{}");
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
            let bytes = create_or_upsert_body(&batch, false);
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
