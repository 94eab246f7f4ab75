//! Writes a batch as an sObject Collections call and reads its answers.

mod answers;
mod body;
mod matched;

pub(crate) use answers::read_answers;
pub(crate) use body::{Fields, create_or_upsert_body, update_body};
pub(crate) use matched::{update_or_delete, without_a_call};

use crate::faults::{self, fault};
use contract::{RowError, RowResult, SinkError};
use model::ErrorClass;

/// The records that one Collections call takes.
pub(crate) const ROWS_MAX: usize = 200;

/// A refusal of ours, in the shape of the target's.
pub(crate) fn refused(code: &str, message: String) -> RowResult {
    RowResult::Failed(RowError { class: ErrorClass::Permanent, code: code.to_owned(), message, fields: Vec::new() })
}

/// Makes a row's answer of a call's failure, where other rows of the batch have their answers already.
pub(crate) fn failed_with(error: &SinkError) -> RowResult {
    RowResult::Failed(RowError {
        class: error.class,
        code: error.target_code.clone().unwrap_or_else(|| error.code.0.to_owned()),
        message: error.message.clone(),
        fields: Vec::new(),
    })
}

/// A batch that Collections cannot carry.
pub(crate) fn impossible(place: &str, why: impl AsRef<str>) -> SinkError {
    fault(faults::IMPOSSIBLE, ErrorClass::Permanent, place, why)
}
