//! Update by external id: the record ids first, then one call.

use super::{ROWS_MAX, all_settled, failed_with, is_gone, refused, settle_into};
use crate::read::{Found, Target};
use crate::transport::{Call, Effect};
use crate::write::{read_answers, update_body};
use contract::{OutBatch, RowResult, SinkError};
use http::Method;

/// Updates existing records. A row whose record is not there fails with `NOT_FOUND`.
///
/// A record id from the cache that leads nowhere is looked up again, once.
///
/// # Errors
/// `SinkError` of the lookup or of the first call; after that each row has its own answer.
pub(crate) async fn update(target: &Target<'_>, batch: &OutBatch, spent: &mut u32) -> Result<Vec<RowResult>, SinkError> {
    debug_assert!(batch.rows.len() <= ROWS_MAX);
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
    let mut sent: Vec<(usize, &str)> = Vec::with_capacity(rows.len());
    for (row, found) in rows.iter().zip(found) {
        match found {
            Found::One { id, .. } => sent.push((*row, id)),
            Found::Absent => results[*row] = Some(refused("NOT_FOUND", target.sentence("holds no record for this key"))),
            Found::Many => {
                results[*row] = Some(refused("DUPLICATE_EXTERNAL_ID", target.sentence("holds several records for this key")));
            }
            Found::NoKey => results[*row] = Some(refused("MISSING_ARGUMENT", target.sentence("cannot be matched: the key is empty"))),
        }
    }
    if sent.is_empty() {
        return Ok(Vec::new());
    }
    let place = format!("update {}", batch.object);
    let call = Call {
        method: Method::PATCH,
        path: format!("{}/composite/sobjects", target.transport.data_path),
        body: Some(update_body(batch, &sent)),
        effect: Effect::Write,
        place: &place,
        if_modified_since: None,
    };
    let answer = target.transport.call(&call, spent).await?;
    let answers = read_answers(&answer.body, sent.len(), false, &place)?;
    let sent_rows: Vec<usize> = sent.iter().map(|(row, _)| *row).collect();
    settle_into(results, &sent_rows, answers);
    let cached = |row: usize| {
        let at = rows.iter().position(|r| *r == row);
        at.is_some_and(|at| matches!(found[at], Found::One { cached: true, .. }))
    };
    let gone = |row: &usize| matches!(&results[*row], Some(RowResult::Failed(error)) if is_gone(error));
    let stale: Vec<usize> = sent_rows.into_iter().filter(|row| gone(row) && cached(*row)).collect();
    stale.iter().for_each(|row| target.drop_id(batch, *row));
    Ok(stale)
}
