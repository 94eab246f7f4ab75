//! Values that an operator put in the place of a dead letter's own. The original bytes stay as they are: the edit is kept beside
//! them, and is laid over the record each time that it is retried.

use crate::event::scan::{Members, member, name_is, string_inside};
use model::{Record, RecordBatch, RecordBatchBuilder, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// An operator's values for some columns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DlqEdit {
    /// JSON of each edited column's value, as it stands in the stream's JSON.
    pub columns: BTreeMap<String, Box<RawValue>>,
    pub by: String,
    /// Unix milliseconds.
    pub at_ms: i64,
}

impl PartialEq for DlqEdit {
    fn eq(&self, other: &Self) -> bool {
        let texts = |edit: &Self| edit.columns.iter().map(|(n, v)| (n.clone(), v.get().to_owned())).collect::<Vec<_>>();
        texts(self) == texts(other) && self.by == other.by && self.at_ms == other.at_ms
    }
}

impl Eq for DlqEdit {}

/// Turns an operator's text into a column's JSON: `null` is null; where the original holds a string, everything else is text
/// (quotes may be written around it); elsewhere JSON is taken as it is.
///
/// # Errors
/// A sentence when the record has no such column, or the text is no JSON where the original is none of a string.
pub(crate) fn value_for(record: &Record<'_>, column: &str, text: &str) -> Result<Box<RawValue>, String> {
    let after = after(record)?;
    let own = member(after, column).map_err(|broken| broken.to_string())?;
    if own.is_none() && !unchanged(record).iter().any(|name| name == column) {
        return Err(format!("the row has no column {column}"));
    }
    let text_before = own.is_some_and(|own| string_inside(own).is_some());
    let json = match serde_json::from_str::<Value>(text) {
        Ok(Value::Null) => "null".to_owned(),
        Ok(Value::String(_)) => text.trim().to_owned(),
        Ok(_) if !text_before => text.trim().to_owned(),
        Err(_) if own.is_some_and(|own| !text_before && own != b"null") => {
            return Err(format!("column {column} is no text, so {text:?} must be JSON"));
        }
        _ => Value::String(text.to_owned()).to_string(),
    };
    RawValue::from_string(json).map_err(|error| error.to_string())
}

/// Lays an edit over a record: its `after` has the new values, and what was left out as unchanged and is edited stands in it.
///
/// # Errors
/// A sentence when the record is a delete or no change event.
pub(crate) fn edited(record: &Record<'_>, edit: &DlqEdit) -> Result<RecordBatch, String> {
    let mut row = String::from("{");
    let mut push = |name: &str, value: &str| {
        let comma = if row.len() > 1 { "," } else { "" };
        row.push_str(&format!("{comma}{name}:{value}"));
    };
    for (name, value) in members(after(record)?)? {
        let own = edit.columns.iter().find(|(column, _)| name_is(name.as_bytes(), column));
        push(&format!("\"{name}\""), own.map_or(value, |(_, edited)| edited.get()));
    }
    let left_out = unchanged(record);
    for column in edit.columns.keys().filter(|column| left_out.contains(column)) {
        push(&Value::from(column.as_str()).to_string(), edit.columns[column].get());
    }
    row.push('}');
    let mut value = String::from("{");
    for (name, part) in members(record.value.unwrap_or_default())? {
        let comma = if value.len() > 1 { "," } else { "" };
        value.push_str(&format!("{comma}\"{name}\":{}", if name == "after" { &row } else { part }));
    }
    value.push('}');
    let still: Vec<&String> = left_out.iter().filter(|column| !edit.columns.contains_key(*column)).collect();
    let still = serde_json::to_vec(&still).map_err(|error| error.to_string())?;
    let headers = record.headers().filter_map(|(name, value)| {
        let name = std::str::from_utf8(name).ok()?;
        if name != header::UNCHANGED {
            return Some((name, value));
        }
        (still != b"[]").then_some((name, still.as_slice()))
    });
    let headers: Vec<(&str, &[u8])> = headers.collect();
    let mut copy = RecordBatchBuilder::default();
    copy.push(record.time_ms, record.key, Some(value.as_bytes()), &headers).map_err(|full| full.to_string())?;
    Ok(copy.finish())
}

fn members(json: &[u8]) -> Result<Vec<(&str, &str)>, String> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned());
    let found = Members::of(json).map_err(|broken| broken.to_string())?;
    found.map(|found| found.map_err(|broken| broken.to_string()).and_then(|(n, v)| Ok((text(n)?, text(v)?)))).collect()
}

/// The row after the change.
fn after<'a>(record: &Record<'a>) -> Result<&'a [u8], String> {
    let after = member(record.value.unwrap_or_default(), "after").map_err(|broken| broken.to_string())?;
    match after {
        Some(after) if after != b"null" => Ok(after),
        _ => Err("it holds no row that could be edited (a delete or a truncate)".to_owned()),
    }
}

fn unchanged(record: &Record<'_>) -> Vec<String> {
    record.header(header::UNCHANGED).and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(value: &str, unchanged: Option<&str>) -> RecordBatch {
        let mut batch = RecordBatchBuilder::default();
        let mut headers: Vec<(&str, &[u8])> = vec![("op", b"u")];
        headers.extend(unchanged.map(|names| ("unchanged", names.as_bytes())));
        batch.push(5, Some(b"{\"id\":1}"), Some(value.as_bytes()), &headers).unwrap();
        batch.finish()
    }

    fn edit(columns: &[(&str, &str)]) -> DlqEdit {
        let columns = columns.iter().map(|(n, v)| ((*n).to_owned(), RawValue::from_string((*v).to_owned()).unwrap()));
        DlqEdit { columns: columns.collect(), by: "ann".into(), at_ms: 1 }
    }

    #[test]
    fn edited_columns_change_and_the_others_keep_their_bytes() {
        let value = r#"{"before":null,"after":{"id":1,"n":123456789012345678901.50,"t":"a\u0041"},"op":"u"}"#;
        let batch = record(value, Some(r#"["big","other"]"#));
        let made = edited(&batch.iter().next().unwrap(), &edit(&[("t", "\"x\""), ("big", "null")])).unwrap();
        let made = made.iter().next().unwrap();
        let text = std::str::from_utf8(made.value.unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"before":null,"after":{"id":1,"n":123456789012345678901.50,"t":"x","big":null},"op":"u"}"#
        );
        assert_eq!(made.header("unchanged"), Some(br#"["other"]"#.as_slice()));
        assert_eq!((made.time_ms, made.key), (5, Some(b"{\"id\":1}".as_slice())));
    }

    #[test]
    fn operators_text_takes_the_form_of_the_column() {
        let batch = record(r#"{"after":{"t":"a","n":1,"b":null},"op":"u"}"#, Some(r#"["big"]"#));
        let record = batch.iter().next().unwrap();
        let value = |column, text| value_for(&record, column, text).map(|value| value.get().to_owned());
        assert_eq!(value("t", "123").unwrap(), "\"123\"");
        assert_eq!(value("t", "null").unwrap(), "null");
        assert_eq!(value("t", "\"null\"").unwrap(), "\"null\"");
        assert_eq!(value("n", "12.50").unwrap(), "12.50");
        assert_eq!(value("big", "some text").unwrap(), "\"some text\"");
        assert_eq!(value("b", "some text").unwrap(), "\"some text\"");
        assert!(value("n", "twelve").is_err() && value("tt", "x").is_err());
    }

    #[test]
    fn delete_cannot_be_edited() {
        let batch = record(r#"{"before":{"id":1},"after":null,"op":"d"}"#, None);
        assert!(edited(&batch.iter().next().unwrap(), &edit(&[("id", "2")])).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(value in prop::collection::vec(any::<u8>(), 0..80), text in ".{0,10}") {
            let mut batch = RecordBatchBuilder::default();
            batch.push(5, None, Some(&value), &[("unchanged", &value)]).unwrap();
            let batch = batch.finish();
            let record = batch.iter().next().unwrap();
            let _ = edited(&record, &edit(&[("a", "1")]));
            let _ = value_for(&record, "a", &text);
        }

        /// What a JSON parser makes of the edited record is the original with the new value.
        #[test]
        fn edit_agrees_with_a_json_parser(row in prop::collection::btree_map("[a-c]{1,2}", any::<Option<i64>>(), 1..5), new in ".{0,20}") {
            let row: serde_json::Map<String, Value> = row.into_iter().map(|(n, v)| (n, Value::from(v))).collect();
            let column = row.keys().next().unwrap().clone();
            let batch = record(&serde_json::json!({"after": row, "op": "u"}).to_string(), None);
            let made = edited(&batch.iter().next().unwrap(), &edit(&[(&column, &Value::from(new.clone()).to_string())])).unwrap();
            let value: Value = serde_json::from_slice(made.iter().next().unwrap().value.unwrap()).unwrap();
            let mut wanted = row;
            wanted[&column] = Value::from(new);
            prop_assert_eq!(&value["after"], &Value::Object(wanted));
        }
    }
}
