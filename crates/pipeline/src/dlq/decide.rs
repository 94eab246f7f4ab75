//! What operators decide about dead letters: each decision in one write with the act that tells of it.

use super::acts::{Act, Deed, Operator};
use super::command::{self, RetryOptions};
use super::edit::{DlqEdit, value_for};
use super::index::{DlqEntry, DlqStatus, SPACE, id_key, load, put_entry};
use super::letter::find;
use super::surface::{DlqError, DlqFilter, list};
use crate::settle::{DEAD_LETTERS, internal};
use contract::{Log, StateError, StateOp, StateStore};
use model::Offset;

/// Dead letters that are decided in one write.
const PAGE: usize = 500;
/// Tries of a page that somebody else changes at the same time.
const TRIES: usize = 5;

/// What is done with open dead letters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// They are applied after all: a running engine takes them within a second, else the next run does. What came of each stands in
    /// its `status` and `result`.
    Retry(RetryOptions),
    /// They are given up. Final; their bytes stay in the stream.
    Drop,
}

/// Decides about open dead letters by their ids, in pages: each page is decided whole or not at all.
///
/// # Errors
/// `None`, `Decided` when one of a page is not there or not open; `State`. Earlier pages stay decided.
pub async fn decide(
    state: &dyn StateStore,
    ids: &[Offset],
    decision: &Decision,
    operator: &Operator,
) -> Result<u64, DlqError> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    for page in ids.chunks(PAGE) {
        let mut found = Vec::new();
        for id in page {
            let (entry, bytes) = load(state, *id).await?.ok_or(DlqError::None { id: *id })?;
            if entry.status != DlqStatus::Open {
                return Err(DlqError::Decided { id: *id, status: entry.status });
            }
            found.push((entry, bytes));
        }
        write(state, found, decision, operator).await?;
    }
    Ok(ids.len() as u64)
}

/// Decides about every open dead letter that a filter takes; returns how many. Memory: one page, however many there are. Those that
/// are buried meanwhile may be left out.
///
/// # Errors
/// `State`; earlier pages stay decided.
pub async fn decide_all(
    state: &dyn StateStore,
    filter: &DlqFilter,
    decision: &Decision,
    operator: &Operator,
) -> Result<u64, DlqError> {
    let mut filter = DlqFilter { status: Some(DlqStatus::Open), ..filter.clone() };
    let mut decided = 0;
    loop {
        let page = list(state, &filter, PAGE).await?;
        let Some(last) = page.last().map(|entry| entry.id) else { return Ok(decided) };
        let ids: Vec<Offset> = page.iter().map(|entry| entry.id).collect();
        decided += decide_open(state, &ids, decision, operator).await?;
        filter.after = Some(last);
    }
}

/// Decides about those of a page that are still open.
async fn decide_open(
    state: &dyn StateStore,
    ids: &[Offset],
    decision: &Decision,
    operator: &Operator,
) -> Result<u64, DlqError> {
    for attempt in 1.. {
        let mut found = Vec::new();
        for id in ids {
            found.extend(load(state, *id).await?.filter(|(entry, _)| entry.status == DlqStatus::Open));
        }
        let count = found.len() as u64;
        match write(state, found, decision, operator).await {
            Err(DlqError::State(StateError::Conflict { .. })) if attempt < TRIES => {}
            written => return written.map(|()| count),
        }
    }
    Ok(0)
}

async fn write(
    state: &dyn StateStore,
    found: Vec<(DlqEntry, Vec<u8>)>,
    decision: &Decision,
    operator: &Operator,
) -> Result<(), DlqError> {
    if found.is_empty() {
        return Ok(());
    }
    let ids: Vec<Offset> = found.iter().map(|(entry, _)| entry.id).collect();
    let (mut ops, mut puts) = (Vec::new(), Vec::new());
    for (mut entry, bytes) in found {
        ops.push(StateOp::Expect { space: SPACE, key: id_key(entry.id), value: Some(bytes) });
        match decision {
            Decision::Retry(options) => {
                entry.status = DlqStatus::Retried;
                puts.push(command::put(&entry.route, entry.id, options));
            }
            Decision::Drop => {
                entry.status = DlqStatus::Dropped;
                let why = operator.why.as_deref().unwrap_or("no reason given");
                entry.result = Some(format!("dropped by {}: {why}", operator.who));
            }
        }
        puts.push(StateOp::Put { space: SPACE, key: id_key(entry.id), value: entry.encode() });
    }
    let deed = match decision {
        Decision::Retry(options) => Deed::Retry { lane: options.lane, rate: options.rate },
        Decision::Drop => Deed::Drop,
    };
    ops.extend(puts);
    ops.push(Act::new(operator, deed, &ids).put());
    Ok(state.write(ops).await?)
}

/// Puts values in the place of an open dead letter's own; the original bytes stay as they are. Later values of a column take the place
/// of earlier ones. `values`: column and text, as an operator writes it.
///
/// # Errors
/// `None`, `Decided`, `Gone`, `BadEdit` when a column is not there, is part of the business key (`key`), or its text does not fit;
/// `State`.
pub async fn edit(
    log: &dyn Log,
    state: &dyn StateStore,
    id: Offset,
    (values, key): (&[(String, String)], &[String]),
    operator: &Operator,
) -> Result<(), DlqError> {
    let (mut entry, bytes) = load(state, id).await?.ok_or(DlqError::None { id })?;
    if entry.status != DlqStatus::Open {
        return Err(DlqError::Decided { id, status: entry.status });
    }
    let batches = log.read(&internal(DEAD_LETTERS), id, 1).await.map_err(|cause| DlqError::Gone { id, cause })?;
    let record = find(&batches, id)
        .ok_or_else(|| DlqError::Unreadable { id, cause: "the log gave other records".to_owned() })?;
    let mut columns = entry.edit.take().map(|edit| edit.columns).unwrap_or_default();
    for (column, text) in values {
        if key.contains(column) {
            let cause = format!("column {column} is part of the business key, which order is kept by");
            return Err(DlqError::BadEdit { id, cause });
        }
        let value = value_for(&record, column, text).map_err(|cause| DlqError::BadEdit { id, cause })?;
        columns.insert(column.clone(), value);
    }
    let names = values.iter().map(|(column, _)| column.clone()).collect();
    entry.edit = Some(DlqEdit { columns, by: operator.who.clone(), at_ms: operator.at_ms });
    let mut ops = vec![StateOp::Expect { space: SPACE, key: id_key(id), value: Some(bytes) }];
    ops.extend(put_entry(&entry));
    ops.push(Act::new(operator, Deed::Edit { columns: names }, &[id]).put());
    Ok(state.write(ops).await?)
}
