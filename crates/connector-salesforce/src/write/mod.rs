//! Writes a batch as an sObject Collections call and reads its answers.

mod answers;
mod body;
mod deletes;
mod updates;

pub(crate) use answers::read_answers;
pub(crate) use body::{create_or_upsert_body, update_body};
pub(crate) use deletes::delete;
pub(crate) use updates::update;

use crate::faults::{self, fault};
use contract::{RowError, RowResult, SinkError};
use model::ErrorClass;

/// The records that one Collections call takes.
pub(crate) const ROWS_MAX: usize = 200;

/// Codes by which the org says that a record id leads nowhere.
fn is_gone(error: &RowError) -> bool {
    matches!(error.code.as_str(), "ENTITY_IS_DELETED" | "NOT_FOUND" | "RECORD_NOT_FOUND" | "INVALID_CROSS_REFERENCE_KEY")
}

/// A refusal of ours, in the shape of the target's.
fn refused(code: &str, message: String) -> RowResult {
    RowResult::Failed(RowError {
        class: ErrorClass::Permanent,
        code: code.to_owned(),
        message: faults::bounded(&message),
        fields: Vec::new(),
    })
}

/// Makes a row's answer of a call's failure, where other rows of the batch have their answers already.
fn failed_with(error: &SinkError) -> RowResult {
    RowResult::Failed(RowError {
        class: error.class,
        code: error.target_code.clone().unwrap_or_else(|| error.code.0.to_owned()),
        message: error.message.clone(),
        fields: Vec::new(),
    })
}

/// Puts the rows' answers in place after checking that the org gave one for each.
fn settle_into(results: &mut [Option<RowResult>], rows: &[usize], answers: Vec<RowResult>) {
    assert_eq!(rows.len(), answers.len(), "read_answers checks the count");
    for (row, answer) in rows.iter().zip(answers) {
        results[*row] = Some(answer);
    }
}

/// Unwraps answers after every row was settled.
fn all_settled(results: Vec<Option<RowResult>>) -> Vec<RowResult> {
    let missing = || refused(faults::MALFORMED, "the row got no answer".into());
    results.into_iter().map(|result| result.unwrap_or_else(missing)).collect()
}

/// A batch that Collections cannot carry.
pub(crate) fn impossible(place: &str, why: impl AsRef<str>) -> SinkError {
    fault(faults::IMPOSSIBLE, ErrorClass::Permanent, place, why)
}
