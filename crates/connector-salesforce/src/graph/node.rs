//! Calls for one record, as graphs hold them and as they go alone.

use bytes::Bytes;
use contract::OutOp;
use http::Method;
use model::{FieldValue, ObjectName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What may stand in a path as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// A call for one record.
pub(crate) struct Node {
    pub method: Method,
    /// From `/services/data` on, encoded.
    pub path: String,
    /// JSON; none for a delete.
    pub body: Option<Vec<u8>>,
}

/// Who a call is for.
pub(crate) enum Record<'a> {
    /// By external id: field and value.
    Key(&'a str, &'a FieldValue),
    Id(&'a str),
    /// One that is about to be made.
    New,
}

impl Node {
    /// Makes the call; `data_path` is `/services/data/v62.0`.
    pub fn new(data_path: &str, object: &ObjectName, record: &Record<'_>, op: OutOp, body: Option<Vec<u8>>) -> Self {
        let object = format!("{data_path}/sobjects/{object}");
        let path = match record {
            Record::Key(field, value) => {
                let text = crate::read::value_text(value);
                format!("{object}/{field}/{}", utf8_percent_encode(&text, KEPT))
            }
            Record::Id(id) => format!("{object}/{}", utf8_percent_encode(id, KEPT)),
            Record::New => object,
        };
        let method = match op {
            OutOp::Upsert | OutOp::Update => Method::PATCH,
            OutOp::Create => Method::POST,
            OutOp::Delete => Method::DELETE,
        };
        Self { method, path, body }
    }

    /// Writes the node into a `compositeRequest`.
    pub fn write(&self, out: &mut Vec<u8>, reference: &str) {
        out.extend_from_slice(b"{\"method\":\"");
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.extend_from_slice(b"\",\"url\":");
        write_text(out, &self.path);
        out.extend_from_slice(b",\"referenceId\":");
        write_text(out, reference);
        if let Some(body) = &self.body {
            out.extend_from_slice(b",\"body\":");
            out.extend_from_slice(body);
        }
        out.push(b'}');
    }
}

/// Writes graphs: each its id, and the nodes with their references.
pub(crate) fn graphs_body<'n>(graphs: impl Iterator<Item = (String, Vec<(&'n Node, String)>)>) -> Bytes {
    let mut out = b"{\"graphs\":[".to_vec();
    for (at, (id, nodes)) in graphs.enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"graphId\":" } else { b"{\"graphId\":" });
        write_text(&mut out, &id);
        out.extend_from_slice(b",\"compositeRequest\":[");
        for (at, (node, reference)) in nodes.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            node.write(&mut out, reference);
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]}");
    Bytes::from(out)
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string always serialises into memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(key: &str) -> String {
        let value = FieldValue::Text(key.into());
        Node::new("/services/data/v62.0", &"X__c".into(), &Record::Key("K__c", &value), OutOp::Upsert, None).path
    }

    #[test]
    fn a_key_never_leaves_its_place_in_the_path() {
        assert_eq!(path("a/b?c#d e%.."), "/services/data/v62.0/sobjects/X__c/K__c/a%2Fb%3Fc%23d%20e%25%2E%2E");
        assert!(!path("@{n0.id}").contains("@{"));
    }

    proptest! {
        #[test]
        fn any_key_comes_back_from_its_path(key in ".{1,20}") {
            let path = path(&key);
            let last = path.strip_prefix("/services/data/v62.0/sobjects/X__c/K__c/").unwrap();
            prop_assert!(!last.contains('/') && last.is_ascii());
            let decoded = percent_encoding::percent_decode_str(last).decode_utf8().unwrap();
            prop_assert_eq!(decoded, key);
        }
    }
}
