//! Delete by external id: the record ids first, then one call. A record that is not there counts as deleted.

use super::{all_settled, failed_with, is_gone, refused, settle_into};
use crate::read::{Found, Target};
use crate::transport::{Call, Effect};
use crate::write::read_answers;
use contract::{OutBatch, RowResult, SinkError};
use http::Method;

/// Deletes records.
///
/// A record id from the cache that leads nowhere is looked up again, once: the key may have got another record since.
///
/// # Errors
/// `SinkError` of the lookup or of the first call; after that each row has its own answer.
pub(crate) async fn delete(target: &Target<'_>, batch: &OutBatch, spent: &mut u32) -> Result<Vec<RowResult>, SinkError> {
    let mut results: Vec<Option<RowResult>> = vec![None; batch.rows.len()];
    let all: Vec<usize> = (0..batch.rows.len()).collect();
    let found = target.resolve(batch, &all, true, spent).await?;
    let again = send(target, batch, &all, &found, &mut results, spent).await?;
    if !again.is_empty() {
        let retried = async {
            let found = target.resolve(batch, &again, false, spent).await?;
            send(target, batch, &again, &found, &mut results, spent).await
        };
        if let Err(error) = retried.await {
            again.iter().for_each(|row| results[*row] = Some(failed_with(&error)));
        }
    }
    Ok(all_settled(results))
}

/// Sends the rows that were found; returns those whose cached id led nowhere.
async fn send(
    target: &Target<'_>,
    batch: &OutBatch,
    rows: &[usize],
    found: &[Found],
    results: &mut [Option<RowResult>],
    spent: &mut u32,
) -> Result<Vec<usize>, SinkError> {
    let mut sent: Vec<(usize, &str, bool)> = Vec::with_capacity(rows.len());
    for (row, found) in rows.iter().zip(found) {
        match found {
            Found::One { id, cached } => sent.push((*row, id, *cached)),
            Found::Absent => results[*row] = Some(RowResult::Applied { id: None, created: false }),
            // Which of them was meant cannot be told, and a delete cannot be taken back.
            Found::Many => {
                results[*row] = Some(refused("DUPLICATE_EXTERNAL_ID", target.sentence("holds several records for this key")));
            }
            Found::NoKey => results[*row] = Some(refused("MISSING_ARGUMENT", target.sentence("cannot be matched: the key is empty"))),
        }
    }
    if sent.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = sent.iter().map(|(_, id, _)| *id).collect();
    let place = format!("delete {}", batch.object);
    let call = Call {
        method: Method::DELETE,
        path: format!("{}/composite/sobjects?ids={}&allOrNone=false", target.transport.data_path, ids.join(",")),
        body: None,
        effect: Effect::Write,
        place: &place,
        if_modified_since: None,
    };
    let answer = target.transport.call(&call, spent).await?;
    let answers = read_answers(&answer.body, sent.len(), false, &place)?;
    let sent_rows: Vec<usize> = sent.iter().map(|(row, ..)| *row).collect();
    settle_into(results, &sent_rows, answers);
    let mut stale = Vec::new();
    for (row, _, cached) in &sent {
        match &results[*row] {
            Some(RowResult::Applied { .. }) => target.drop_id(batch, *row),
            Some(RowResult::Failed(error)) if is_gone(error) && *cached => {
                target.drop_id(batch, *row);
                stale.push(*row);
            }
            // Looked up a moment ago and gone now: somebody else deleted it. A cross-reference code may mean another
            // record, so that row is left to be tried again.
            Some(RowResult::Failed(error)) if is_gone(error) && error.code != "INVALID_CROSS_REFERENCE_KEY" => {
                results[*row] = Some(RowResult::Applied { id: None, created: false });
            }
            _ => {}
        }
    }
    Ok(stale)
}
