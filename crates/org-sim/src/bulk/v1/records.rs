//! Rows of a query of Bulk API 1.0 in JSON and XML.

use super::super::job::Format;
use super::xml::escape;
use crate::ids::SfId;
use crate::query::bulk::{BulkRows, text};
use crate::value::Value;
use serde_json::{Map, json};
use std::borrow::Cow;

/// Adds a row; `first`: no row was written before it.
pub fn write(
    out: &mut Vec<u8>,
    format: Format,
    version: u32,
    rows: &BulkRows,
    first: bool,
    (id, values): (SfId, &[Cow<'_, Value>]),
) {
    let object = rows.object();
    let fields = rows.names().zip(values);
    if format == Format::Xml {
        let mut line = format!("<records xsi:type=\"sObject\"><type>{object}</type>");
        for (name, value) in fields {
            match value.is_null() {
                true => line.push_str(&format!("<{name} xsi:nil=\"true\"/>")),
                false => line.push_str(&format!("<{name}>{}</{name}>", escape(&text(value)))),
            }
        }
        line.push_str("</records>");
        out.extend_from_slice(line.as_bytes());
        return;
    }
    let url = format!("/services/data/v{version}.0/sobjects/{object}/{id}");
    let mut record = Map::new();
    record.insert("attributes".into(), json!({ "type": object, "url": url }));
    for (name, value) in fields {
        let mut json = Vec::new();
        value.write_json(&mut json);
        let json = serde_json::from_slice(&json).unwrap_or_default();
        put(&mut record, name, json);
    }
    if !first {
        out.push(b',');
    }
    out.extend_from_slice(serde_json::Value::Object(record).to_string().as_bytes());
}

/// Puts `Account.Name` into an object `Account`.
fn put(record: &mut Map<String, serde_json::Value>, name: &str, value: serde_json::Value) {
    match name.split_once('.') {
        None => {
            record.insert(name.to_owned(), value);
        }
        Some((parent, rest)) => {
            let inner = record.entry(parent).or_insert_with(|| serde_json::Value::Object(Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}
