//! The answers of a graph call: HTTP 200 even when every graph failed.

use crate::errors::table;
use crate::faults::{self, fault};
use contract::{RowError, RowResult, SinkError};
use model::ErrorClass;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    graphs: Vec<Graph<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Graph<'a> {
    #[serde(borrow)]
    graph_id: Cow<'a, str>,
    is_successful: bool,
    #[serde(borrow)]
    graph_response: Response<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    #[serde(borrow)]
    composite_response: Vec<Part<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    http_status_code: u16,
    #[serde(borrow)]
    reference_id: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
struct Success {
    #[serde(default)]
    id: Option<Arc<str>>,
    #[serde(default)]
    created: Option<bool>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(rename = "errorCode", alias = "statusCode", default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    fields: Option<Vec<String>>,
}

/// Reads what became of each node, by graph and reference.
///
/// A node of a graph that failed was not applied, whatever its own answer says.
///
/// # Errors
/// `PS4107`, class `Unknown`, when the body is no such answer: the records may have been written.
pub(crate) fn read(body: &[u8], place: &str) -> Result<HashMap<(String, String), RowResult>, SinkError> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|_| fault(faults::MALFORMED, ErrorClass::Unknown, place, "the answer is no list of graphs"))?;
    let mut results = HashMap::new();
    for graph in answer.graphs {
        for part in graph.graph_response.composite_response {
            let result = match result(part.http_status_code, part.body.map(RawValue::get)) {
                RowResult::Applied { .. } if !graph.is_successful => rolled_back(),
                result => result,
            };
            results.insert((graph.graph_id.to_string(), part.reference_id.into_owned()), result);
        }
    }
    Ok(results)
}

/// Reads the answer to a call for one record.
pub(crate) fn result(status: u16, body: Option<&str>) -> RowResult {
    let body = body.unwrap_or_default();
    if (200..300).contains(&status) {
        let success: Success = serde_json::from_str(body).unwrap_or_default();
        return RowResult::Applied { id: success.id, created: success.created.unwrap_or(status == 201) };
    }
    let failed = |class, code: &str, message: String, fields| {
        RowResult::Failed(RowError { class, code: code.to_owned(), message, fields })
    };
    if status == 300 {
        let message = "the external id is that of several records".to_owned();
        return failed(ErrorClass::Permanent, "DUPLICATE_EXTERNAL_ID", message, Vec::new());
    }
    let faults: Vec<Fault> = serde_json::from_str(body).unwrap_or_default();
    let Some(first) = faults.into_iter().next() else {
        let class = if status >= 500 { ErrorClass::Unknown } else { ErrorClass::Transient };
        return failed(class, faults::MALFORMED, format!("HTTP {status} without a reason"), Vec::new());
    };
    let class = table::classify(&first.code, &first.message).class;
    failed(class, &first.code, first.message, first.fields.unwrap_or_default())
}

/// The answer of a row that was fine, but not alone.
pub(crate) fn rolled_back() -> RowResult {
    RowResult::Failed(RowError {
        class: ErrorClass::Collateral,
        code: "PROCESSING_HALTED".into(),
        message: "another row that had to be applied together with this one was refused".into(),
        fields: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_graph_that_failed_has_applied_nothing_whatever_its_nodes_say() {
        let body = br#"{"graphs":[{"graphId":"g","isSuccessful":false,"graphResponse":{"compositeResponse":[
            {"body":{"id":"001000000000001AAA","success":true,"created":true},"httpHeaders":{},"httpStatusCode":201,"referenceId":"n0"},
            {"body":[{"errorCode":"REQUIRED_FIELD_MISSING","message":"m","fields":["Name"]}],"httpStatusCode":400,"referenceId":"n1"}]}},
            {"graphId":"h","isSuccessful":true,"graphResponse":{"compositeResponse":[
            {"body":null,"httpStatusCode":204,"referenceId":"n0"}]}}]}"#;
        let results = read(body, "x").unwrap();
        let of = |graph: &str, node: &str| &results[&(graph.to_owned(), node.to_owned())];
        assert_eq!(*of("g", "n0"), rolled_back());
        assert!(
            matches!(of("g", "n1"), RowResult::Failed(e) if e.fields == ["Name"] && e.class == ErrorClass::Permanent)
        );
        assert_eq!(*of("h", "n0"), RowResult::Applied { id: None, created: false });
        assert!(matches!(result(300, Some("[\"/x\"]")), RowResult::Failed(e) if e.code == "DUPLICATE_EXTERNAL_ID"));
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>, status: u16, text in ".{0,40}") {
            let _ = read(&body, "x");
            let _ = result(status, Some(&text));
        }
    }
}
