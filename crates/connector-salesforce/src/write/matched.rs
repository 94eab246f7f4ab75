//! Update and delete by external id: the record ids first, then one call.

use super::{failed_with, read_answers, refused, update_body};
use crate::read::{Found, Target};
use crate::transport::Call;
use contract::{OutBatch, OutOp, RowError, RowResult, SinkError};
use http::Method;
use model::ObjectName;

/// A row's answer in the making.
type Slot = Option<RowResult>;

/// Updates or deletes existing records.
///
/// An update of what is not there fails with `NOT_FOUND`; a delete of what is not there counts as applied. Several records
/// under one key: the row fails, since which one was meant cannot be told. A record id from the cache that leads nowhere is
/// looked up again, once: the key may have got another record since.
///
/// # Errors
/// `SinkError` of the lookup or of the first call; after that each row has its own answer.
pub(crate) async fn update_or_delete(
    target: &Target<'_>,
    batch: &OutBatch,
    spent: &mut u32,
) -> Result<Vec<RowResult>, SinkError> {
    let mut slots: Vec<Slot> = vec![None; batch.rows.len()];
    let all: Vec<usize> = (0..batch.rows.len()).collect();
    let found = target.resolve(batch, &all, true, spent).await?;
    let stale = send(target, batch, &all, &found, &mut slots, spent).await?;
    if !stale.is_empty() {
        let again = async {
            let found = target.resolve(batch, &stale, false, spent).await?;
            send(target, batch, &stale, &found, &mut slots, spent).await
        };
        // The other rows have their answers: a failure from here on belongs to these rows alone.
        if let Err(error) = again.await {
            stale.iter().for_each(|row| slots[*row] = Some(failed_with(&error)));
        }
    }
    Ok(slots.into_iter().map(|slot| slot.expect("each row was found, refused or sent")).collect())
}

/// Answers the rows that need no call, sends the others, and returns those whose cached id led nowhere.
async fn send(
    target: &Target<'_>,
    batch: &OutBatch,
    rows: &[usize],
    found: &[Found],
    slots: &mut [Slot],
    spent: &mut u32,
) -> Result<Vec<usize>, SinkError> {
    let mut sent: Vec<(usize, &str, bool)> = Vec::with_capacity(rows.len());
    for (row, found) in rows.iter().zip(found) {
        match found {
            Found::One { id, cached } => sent.push((*row, id, *cached)),
            other => slots[*row] = Some(without_a_call(target.object, &target.field.name, batch.op, other)),
        }
    }
    if sent.is_empty() {
        return Ok(Vec::new());
    }
    let place = format!("{} {}", if batch.op == OutOp::Update { "update" } else { "delete" }, batch.object);
    let answer = target.transport.call(&call(target, batch, &sent, &place), spent).await?;
    let answers = read_answers(&answer.body, sent.len(), false, &place)?;
    let mut stale = Vec::new();
    for ((row, _, cached), answer) in sent.iter().zip(answers) {
        let gone = matches!(&answer, RowResult::Failed(error) if is_gone(error));
        if gone && *cached {
            stale.push(*row);
        }
        if gone || batch.op == OutOp::Delete {
            target.drop_id(batch, *row);
        }
        slots[*row] = Some(match answer {
            // Looked up a moment ago and gone now: somebody else deleted it. A cross-reference code may mean another
            // record, so that row is left to be tried again.
            RowResult::Failed(error) if batch.op == OutOp::Delete && gone && !is_reference(&error) => {
                RowResult::Applied { id: None, created: false }
            }
            answer => answer,
        });
    }
    Ok(stale)
}

fn call<'a>(target: &Target<'_>, batch: &OutBatch, sent: &[(usize, &str, bool)], place: &'a str) -> Call<'a> {
    let base = &target.transport.data_path;
    let (method, path, body) = match batch.op {
        OutOp::Update => {
            let rows: Vec<(usize, &str)> = sent.iter().map(|(row, id, _)| (*row, *id)).collect();
            (Method::PATCH, format!("{base}/composite/sobjects"), Some(update_body(batch, &rows)))
        }
        _ => {
            let ids: Vec<&str> = sent.iter().map(|(_, id, _)| *id).collect();
            (Method::DELETE, format!("{base}/composite/sobjects?ids={}&allOrNone=false", ids.join(",")), None)
        }
    };
    Call::write(method, path, body, place)
}

/// The answer of a row whose key leads to no single record of the object; never with the key, which is data.
pub(crate) fn without_a_call(object: &ObjectName, field: &str, op: OutOp, found: &Found) -> RowResult {
    let sentence = |what: &str| format!("{object} {what} ({field})");
    match found {
        Found::Absent if op == OutOp::Delete => RowResult::Applied { id: None, created: false },
        Found::Many => refused("DUPLICATE_EXTERNAL_ID", sentence("holds several records for this key")),
        Found::NoKey => refused("MISSING_ARGUMENT", sentence("cannot be matched: the key is empty or no such value")),
        Found::Absent | Found::One { .. } => refused("NOT_FOUND", sentence("holds no record for this key")),
    }
}

/// Codes by which the org says that a record id leads nowhere.
fn is_gone(error: &RowError) -> bool {
    matches!(error.code.as_str(), "ENTITY_IS_DELETED" | "NOT_FOUND" | "RECORD_NOT_FOUND") || is_reference(error)
}

fn is_reference(error: &RowError) -> bool {
    error.code == "INVALID_CROSS_REFERENCE_KEY"
}
