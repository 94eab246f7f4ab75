//! Batches in JSON and XML: brought into one form, a JSON text per record and line.

use super::xml::{self, Element};
use crate::json::{Json, write_text};

/// Records of a batch.
pub const RECORDS_MAX: usize = 10_000;

/// Reads a batch in JSON.
///
/// # Errors
/// The batch's error.
pub fn of_json(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let json = Json::parse(bytes).map_err(|error| format!("InvalidBatch : Failed to parse JSON: {}", error.cause))?;
    let records = json.items().ok_or("InvalidBatch : Failed to parse JSON: an array of records is expected")?;
    check(records.len())?;
    let mut out = Vec::with_capacity(bytes.len());
    for record in records {
        if record.members().is_none() {
            return Err("InvalidBatch : Failed to parse JSON: a record is an object".into());
        }
        write(&mut out, record);
        out.push(b'\n');
    }
    Ok(out)
}

/// Reads a batch in XML.
///
/// # Errors
/// The batch's error.
pub fn of_xml(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let document = std::str::from_utf8(bytes).ok().and_then(xml::parse);
    let document = document.filter(|document| document.name == "sObjects");
    let document = document.ok_or("InvalidBatch : Failed to parse XML. An element sObjects is expected")?;
    check(document.children.len())?;
    let mut out = Vec::with_capacity(bytes.len());
    for record in &document.children {
        write_element(&mut out, record);
        out.push(b'\n');
    }
    Ok(out)
}

fn check(records: usize) -> Result<(), String> {
    if records > RECORDS_MAX {
        return Err(format!("InvalidBatch : Records not processed: a batch has at most {RECORDS_MAX} records"));
    }
    Ok(())
}

fn write(out: &mut Vec<u8>, json: &Json<'_>) {
    match json {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Json::Number(digits) => out.extend_from_slice(digits.as_bytes()),
        Json::Text(text) => write_text(out, text),
        Json::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Json::Object(members) => {
            out.push(b'{');
            for (at, (name, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_text(out, name);
                out.push(b':');
                write(out, value);
            }
            out.push(b'}');
        }
    }
}

/// A record or a parent: `<Account><sObject><Code__c>A</Code__c></sObject></Account>`.
fn write_element(out: &mut Vec<u8>, element: &Element) {
    out.push(b'{');
    let mut first = true;
    for child in &element.children {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        if child.name == "type" {
            out.extend_from_slice(b"\"attributes\":{\"type\":");
            write_text(out, child.text.trim());
            out.push(b'}');
            continue;
        }
        write_text(out, &child.name);
        out.push(b':');
        match child.children.as_slice() {
            _ if child.nil => out.extend_from_slice(b"null"),
            [inner] if inner.name == "sObject" => write_element(out, inner),
            [] => write_text(out, &child.text),
            _ => write_element(out, child),
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_and_json_batches_become_the_same_lines() {
        let xml = "<sObjects xmlns=\"http://x\"><sObject><type>Order__c</type><Total__c>1.50</Total__c><Note__c xsi:nil=\"true\"/>\
                   <Account__r><sObject><Code__c>A&amp;B</Code__c></sObject></Account__r></sObject></sObjects>";
        let json = "[ {\"attributes\":{\"type\":\"Order__c\"}, \"Total__c\":\"1.50\", \"Note__c\":null, \"Account__r\":{\"Code__c\":\"A&B\"}} ]";
        assert_eq!(of_xml(xml.as_bytes()), of_json(json.as_bytes()));
        assert!(of_json(b"{}").is_err() && of_json(b"[1]").is_err() && of_xml(b"<a/>").is_err());
        let many = format!("[{}]", vec!["{}"; RECORDS_MAX + 1].join(","));
        assert!(of_json(many.as_bytes()).unwrap_err().starts_with("InvalidBatch"));
    }
}
