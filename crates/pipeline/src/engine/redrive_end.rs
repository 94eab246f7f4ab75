//! How retries end: the settlement first, then the index; a crash between the two repeats the retry, which then finds the target as it
//! should be.

use super::error::EngineError;
use super::group::Shared;
use super::redrives::settler_gone;
use super::route::Route;
use crate::dlq::{DlqEntry, DlqStatus, delete_command, put_entry, redact_message};
use contract::{RowError, StateOp};
use model::{BatchId, OffsetRange, Outcome, RecordBatch, SettledRows, Settlement};
use std::sync::Arc;

/// A retry that ends.
pub(super) struct Ending {
    pub entry: DlqEntry,
    /// What was sent; none when it could not be read.
    pub record: Option<RecordBatch>,
    /// Times that it was sent by this retry.
    pub attempts: u32,
}

/// What settles retries together.
pub(super) struct Settles {
    pub batch: Option<BatchId>,
    pub read_back: bool,
    pub calls: u32,
}

/// Settles retries and resolves their entries. `ids`: the target's, where it named them.
///
/// # Errors
/// As the settler and the state store: nothing, or only the settlement, is written.
pub(super) async fn end_settled(
    shared: &Shared,
    route: &Route,
    endings: Vec<(Ending, Outcome, Option<Arc<str>>)>,
    settles: Settles,
) -> Result<(), EngineError> {
    if endings.is_empty() {
        return Ok(());
    }
    let spec = &route.spec;
    let rows = endings.iter().map(|(ending, outcome, id)| SettledRows {
        outcome: *outcome,
        offsets: OffsetRange::pack([ending.entry.position.offset]),
        target_ids: id.iter().map(|id| id.to_string()).collect(),
        by: None,
        code: Some(format!("dlq:{}", ending.entry.id)),
    });
    let settlement = Settlement {
        route: spec.id.clone(),
        stream: spec.stream.stream.clone(),
        partition: spec.stream.partition,
        batch: settles.batch,
        at_ms: shared.now_ms(),
        attempts: endings.iter().map(|(ending, ..)| ending.attempts).max().unwrap_or_default(),
        read_back: settles.read_back,
        calls: settles.calls,
        rows: rows.collect(),
    };
    shared.writes.note(&settlement);
    shared.settler.order(vec![settlement], true).await.map_err(|_| settler_gone())?;
    let mut ops = Vec::new();
    for (ending, outcome, _) in endings {
        let mut entry = ending.entry;
        let word = match outcome {
            Outcome::Applied => "applied",
            Outcome::Superseded => "superseded: newer records of the row carry all of its columns",
            Outcome::Filtered => "filtered: the route leaves it out now",
            Outcome::DeadLettered => "dead letter",
        };
        entry.status = DlqStatus::Resolved;
        entry.result = Some(word.to_owned());
        decided(entry, &mut ops);
    }
    Ok(shared.state.write(ops).await?)
}

/// The retries failed: they are dead letters as before, with the newer reason. One error for each ending, in order.
///
/// # Errors
/// As `StateStore::write`: nothing is written.
pub(super) async fn end_failed(
    shared: &Shared,
    endings: Vec<Ending>,
    errors: Vec<RowError>,
    secret: &[String],
) -> Result<(), EngineError> {
    let mut ops = Vec::new();
    for (ending, error) in endings.into_iter().zip(errors) {
        let mut entry = ending.entry;
        let record = ending.record.as_ref().and_then(|record| record.iter().next());
        let message = record.map_or(error.message.clone(), |record| redact_message(&error.message, &record, secret));
        entry.status = DlqStatus::Open;
        entry.result = Some(format!("the retry failed: {}: {message}", error.code));
        entry.class = error.class;
        entry.code = error.code;
        entry.message = message;
        entry.attempts += ending.attempts;
        decided(entry, &mut ops);
    }
    if ops.is_empty() { Ok(()) } else { Ok(shared.state.write(ops).await?) }
}

/// Stores a decision and takes the command away, in one write.
fn decided(mut entry: DlqEntry, ops: &mut Vec<StateOp>) {
    entry.sent_at_ms = None;
    ops.push(delete_command(&entry.route, entry.id));
    ops.extend(put_entry(&entry));
}
