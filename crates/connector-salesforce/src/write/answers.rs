//! The answers of a Collections call: one result per record, in order, HTTP 200 even when every record failed.

use crate::errors::table;
use crate::faults::{self, fault};
use contract::{RowError, RowResult, SinkError};
use model::ErrorClass;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
struct RecordAnswer {
    #[serde(default)]
    id: Option<Arc<str>>,
    success: bool,
    #[serde(default)]
    created: Option<bool>,
    #[serde(default)]
    errors: Vec<RecordFault>,
}

#[derive(Deserialize)]
struct RecordFault {
    #[serde(rename = "statusCode", alias = "errorCode", default)]
    status_code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    fields: Option<Vec<String>>,
}

/// Reads the results of `rows` records; `created` is what a success means when the org does not say.
///
/// # Errors
/// `PS4107`, class `Unknown`, when the body is no list of that many results: the records may have been written.
pub(crate) fn read_answers(body: &[u8], rows: usize, created: bool, place: &str) -> Result<Vec<RowResult>, SinkError> {
    let answers: Vec<RecordAnswer> = serde_json::from_slice(body).map_err(|cause| {
        let message = format!("the answer is no list of results: {} at byte {}", category(&cause), cause.column());
        fault(faults::MALFORMED, ErrorClass::Unknown, place, message)
    })?;
    if answers.len() != rows {
        let message = format!("{rows} records were sent, {} results came back", answers.len());
        return Err(fault(faults::MALFORMED, ErrorClass::Unknown, place, message));
    }
    Ok(answers.into_iter().map(|answer| result(answer, created)).collect())
}

/// Names a parser's trouble without quoting the body.
fn category(cause: &serde_json::Error) -> &'static str {
    match cause.classify() {
        serde_json::error::Category::Eof => "it breaks off",
        serde_json::error::Category::Syntax => "it is not JSON",
        _ => "it has another shape",
    }
}

fn result(answer: RecordAnswer, created: bool) -> RowResult {
    if answer.success {
        return RowResult::Applied { id: answer.id, created: answer.created.unwrap_or(created) };
    }
    let mut faults = answer.errors.into_iter();
    let Some(first) = faults.next() else {
        return RowResult::Failed(RowError {
            class: ErrorClass::Transient,
            code: faults::MALFORMED.into(),
            message: "the org refused the row without saying why".into(),
            fields: Vec::new(),
        });
    };
    let class = table::classify(&first.status_code, &first.message).class;
    let mut message = first.message;
    let mut fields = first.fields.unwrap_or_default();
    for other in faults {
        message.push_str(&format!("; {}: {}", other.status_code, other.message));
        fields.extend(other.fields.unwrap_or_default());
    }
    fields.dedup();
    RowResult::Failed(RowError { class, code: first.status_code, message, fields })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mixed_answers_keep_their_order_and_class() {
        let body = br#"[{"id":"001000000000001AAA","success":true,"errors":[],"created":true},
            {"success":false,"errors":[{"statusCode":"UNABLE_TO_LOCK_ROW","message":"m","fields":[]}]},
            {"success":false,"errors":[{"statusCode":"REQUIRED_FIELD_MISSING","message":"Required fields are missing: [Name]","fields":["Name"]},
                                       {"statusCode":"STRING_TOO_LONG","message":"long","fields":["X"]}]},
            {"success":false,"errors":[]}]"#;
        let rows = read_answers(body, 4, false, "upsert").unwrap();
        assert_eq!(rows[0], RowResult::Applied { id: Some("001000000000001AAA".into()), created: true });
        let class = |row: &RowResult| match row {
            RowResult::Failed(error) => error.class,
            other => panic!("{other:?}"),
        };
        assert_eq!(class(&rows[1]), ErrorClass::Lock);
        assert_eq!(class(&rows[2]), ErrorClass::Permanent);
        assert_eq!(class(&rows[3]), ErrorClass::Transient);
        let RowResult::Failed(error) = &rows[2] else { panic!() };
        assert_eq!(error.fields, ["Name", "X"]);
        assert!(error.message.ends_with("; STRING_TOO_LONG: long"));
    }

    #[test]
    fn a_wrong_number_of_answers_leaves_the_rows_unknown() {
        let error = read_answers(b"[]", 1, false, "upsert").unwrap_err();
        assert_eq!(error.class, ErrorClass::Unknown);
        let error = read_answers(b"{\"a\":", 1, false, "upsert").unwrap_err();
        assert_eq!(error.class, ErrorClass::Unknown);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>, rows in 0usize..3) {
            if let Ok(read) = read_answers(&body, rows, false, "x") {
                prop_assert_eq!(read.len(), rows);
            }
        }

        #[test]
        fn any_cut_body_is_refused(cut in 0usize..60) {
            let body = br#"[{"id":"001000000000001AAA","success":true,"errors":[]}]"#;
            let cut = cut.min(body.len() - 1);
            prop_assert_eq!(read_answers(&body[..cut], 1, false, "x").unwrap_err().class, ErrorClass::Unknown);
        }
    }
}
