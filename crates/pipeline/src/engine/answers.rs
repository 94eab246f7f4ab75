//! From the target's answers to what happens with each row. Pure: no clock, no window.

use contract::{Adopted, AdoptedRow, AppliedBatch, ReadBack, RowError, RowResult, SinkError};
use model::ErrorClass;
use std::sync::Arc;
use std::time::Duration;

/// The code of a dead letter whose fate the target cannot tell.
pub const CREATE_UNKNOWN: &str = "PS5510";
/// The code of a dead letter that the target never answered for and never took.
pub const NEVER_ANSWERED: &str = "PS5511";

/// What happens with a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The target holds it.
    Applied { id: Option<Arc<str>> },
    /// Send it again after the class's backoff; counts as an attempt where the flag is set.
    Again { error: RowError, counts: bool },
    /// Nothing is wrong with it: send it again as soon as the route may send.
    Return,
    /// Its parent is not there: send it again, for as long as the route's patience lasts.
    Parent(RowError),
    /// It is not known whether it was applied: read it back.
    Suspect,
    /// It was read back and was not applied.
    Missing,
    /// Dead letter.
    Dead(RowError),
    /// Send it in a batch of at most half the rows.
    Halve,
    /// The target's description of the object is outdated: describe again, then once more.
    Refresh(RowError),
}

/// What happens with the route, besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteVerdict {
    /// Set when the target was not reached or not ready: wait before anything else is sent.
    pub back_off: Option<Option<Duration>>,
    /// Set when an allocation is spent: the org's routes wait.
    pub quota: Option<QuotaSaid>,
    /// Set when an operator must act.
    pub auth: bool,
    /// For the status.
    pub error: Option<String>,
}

/// What the target said of a spent allocation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuotaSaid {
    pub wait: Option<Duration>,
    /// The target's own code and sentence.
    pub code: String,
    pub message: String,
}

impl QuotaSaid {
    fn of(error: &SinkError) -> Self {
        let code = error.target_code.clone().unwrap_or_default();
        Self { wait: error.retry_after, code, message: error.message.clone() }
    }
}

/// Target codes that tell of an outdated description.
const STALE_CODES: [&str; 3] = ["INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE", "INVALID_TYPE"];

/// Judges a batch that was sent. Shape: one verdict for each row, in order.
pub fn judge(rows: usize, answer: &Result<AppliedBatch, SinkError>) -> (Vec<Verdict>, RouteVerdict) {
    match answer {
        Ok(applied) => judge_rows(&applied.rows),
        Err(error) => judge_failure(rows, error),
    }
}

fn judge_rows(results: &[RowResult]) -> (Vec<Verdict>, RouteVerdict) {
    let mut route = RouteVerdict::default();
    let offender = results.iter().any(|result| match result {
        RowResult::Failed(error) => error.class != ErrorClass::Collateral,
        RowResult::Applied { .. } => false,
    });
    let verdicts = results
        .iter()
        .map(|result| match result {
            RowResult::Applied { id, .. } => Verdict::Applied { id: id.clone() },
            RowResult::Failed(error) => {
                route.error.get_or_insert_with(|| format!("{}: {}", error.code, error.message));
                judge_row(error, offender, &mut route)
            }
        })
        .collect();
    (verdicts, route)
}

fn judge_row(error: &RowError, offender: bool, route: &mut RouteVerdict) -> Verdict {
    match error.class {
        ErrorClass::Transient | ErrorClass::Lock => Verdict::Again { error: error.clone(), counts: true },
        ErrorClass::Quota => {
            route.quota.get_or_insert_with(|| QuotaSaid {
                wait: None,
                code: error.code.clone(),
                message: error.message.clone(),
            });
            Verdict::Return
        }
        ErrorClass::ParentMissing => Verdict::Parent(error.clone()),
        ErrorClass::Auth => {
            route.auth = true;
            Verdict::Return
        }
        ErrorClass::Unknown => Verdict::Suspect,
        ErrorClass::Collateral if offender => Verdict::Return,
        // Nobody is to blame: the target contradicts itself, so patience must end.
        ErrorClass::Collateral => Verdict::Again { error: error.clone(), counts: true },
        ErrorClass::BusinessRule | ErrorClass::Permanent if STALE_CODES.contains(&error.code.as_str()) => {
            Verdict::Refresh(error.clone())
        }
        ErrorClass::BusinessRule | ErrorClass::Permanent => Verdict::Dead(error.clone()),
    }
}

fn judge_failure(rows: usize, error: &SinkError) -> (Vec<Verdict>, RouteVerdict) {
    let mut route = RouteVerdict { error: Some(error.to_string()), ..RouteVerdict::default() };
    let row = row_error(error);
    let stale = STALE_CODES.contains(&row.code.as_str());
    let verdict = match error.class {
        ErrorClass::Transient | ErrorClass::Lock | ErrorClass::Collateral => {
            route.back_off = Some(error.retry_after);
            Verdict::Again { error: row, counts: false }
        }
        ErrorClass::Quota => {
            route.quota = Some(QuotaSaid::of(error));
            Verdict::Return
        }
        ErrorClass::Auth => {
            route.auth = true;
            Verdict::Return
        }
        ErrorClass::Unknown => {
            // A target that hangs would make a suspect of every row of the window.
            route.back_off = Some(error.retry_after);
            Verdict::Suspect
        }
        ErrorClass::ParentMissing | ErrorClass::BusinessRule | ErrorClass::Permanent if stale => Verdict::Refresh(row),
        ErrorClass::ParentMissing | ErrorClass::BusinessRule | ErrorClass::Permanent if rows > 1 => Verdict::Halve,
        ErrorClass::ParentMissing => Verdict::Parent(row),
        ErrorClass::BusinessRule | ErrorClass::Permanent => Verdict::Dead(row),
    };
    (vec![verdict; rows], route)
}

/// A batch's failure as that of each of its rows.
fn row_error(error: &SinkError) -> RowError {
    RowError {
        class: error.class,
        code: error.target_code.clone().unwrap_or_else(|| error.code.0.to_owned()),
        message: error.message.clone(),
        fields: Vec::new(),
    }
}

/// Judges an adopted job. Shape: one verdict for each row, in order.
pub fn judge_adopted(rows: usize, answer: &Result<Adopted, SinkError>) -> (Vec<Verdict>, RouteVerdict) {
    let adopted = match answer {
        Ok(adopted) => adopted,
        Err(error) => return (vec![Verdict::Suspect; rows], not_asked(error)),
    };
    let mut route = RouteVerdict::default();
    let judge_one = |row: &AdoptedRow| match row {
        AdoptedRow::Answered(RowResult::Applied { id, .. }) => Verdict::Applied { id: id.clone() },
        AdoptedRow::Answered(RowResult::Failed(error)) => judge_row(error, true, &mut route),
        AdoptedRow::Missing => Verdict::Return,
        AdoptedRow::Unknown => judge_found(&ReadBack::Unknown),
    };
    let verdicts = adopted.rows.iter().map(judge_one).collect();
    (verdicts, route)
}

/// What the route does after a question that had no answer.
fn not_asked(error: &SinkError) -> RouteVerdict {
    let mut route = RouteVerdict { error: Some(error.to_string()), ..RouteVerdict::default() };
    match error.class {
        ErrorClass::Quota => route.quota = Some(QuotaSaid::of(error)),
        ErrorClass::Auth => route.auth = true,
        // Nothing was changed, so every other failure only means: not yet.
        _ => route.back_off = Some(error.retry_after),
    }
    route
}

/// Judges a read-back. Shape: one verdict for each row, in order.
pub fn judge_read_back(rows: usize, answer: &Result<(Vec<ReadBack>, u32), SinkError>) -> (Vec<Verdict>, RouteVerdict) {
    let error = match answer {
        Ok((found, _)) => return (found.iter().map(judge_found).collect(), RouteVerdict::default()),
        Err(error) => error,
    };
    (vec![Verdict::Suspect; rows], not_asked(error))
}

fn judge_found(found: &ReadBack) -> Verdict {
    match found {
        ReadBack::Applied { id } => Verdict::Applied { id: id.clone() },
        ReadBack::Missing => Verdict::Missing,
        ReadBack::Unknown => Verdict::Dead(RowError {
            class: ErrorClass::Unknown,
            code: CREATE_UNKNOWN.to_owned(),
            message:
                "the target gave no answer and the row has no external id to look for it by: it may or may not have \
                      been created; look at the target, then retry or drop it"
                    .to_owned(),
            fields: Vec::new(),
        }),
    }
}
