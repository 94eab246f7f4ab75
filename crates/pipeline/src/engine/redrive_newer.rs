//! What was applied to the target rows of dead letters since: one pass over the log for a whole batch of them.

use super::error::EngineError;
use super::group::Shared;
use super::redrives::Letter;
use super::route::Route;
use crate::dlq::{DlqStatus, Newer, entry_at};
use crate::event::{ChangeView, Keys};
use crate::mapping::MappedRow;
use contract::{LogError, RowError};
use hashbrown::HashMap;
use model::{ErrorClass, FieldValue, Fingerprint, Offset, Position, Record};
use std::sync::Arc;

const READ_BYTES: usize = 1 << 20;
/// The log no longer holds what came after the original.
const TRIMMED: &str = "PS5805";

/// A dead letter's row, to be compared with what came later.
pub(super) struct Sought<'a> {
    pub letter: &'a Letter,
    pub row: &'a MappedRow,
}

/// A record that may have written one of the rows.
struct Candidate {
    /// The index of the row that it wrote.
    sought: usize,
    /// The route that it went by.
    route: usize,
    offset: Offset,
    row: MappedRow,
}

/// Looks for the applied records of the same target rows that stand behind the originals. Shape: one answer for each row, in order; an
/// error where the log does not reach back that far.
///
/// # Errors
/// As `Log::read` and `StateStore::get`.
pub(super) async fn newer(
    shared: &Shared,
    route: &Route,
    related: &[Arc<Route>],
    sought: &[Sought<'_>],
) -> Result<Vec<Result<Newer, RowError>>, EngineError> {
    let stream = &route.spec.stream;
    let mut found: Vec<Result<Newer, RowError>> = sought.iter().map(|_| Ok(Newer::default())).collect();
    let mut wanted: HashMap<Fingerprint, Vec<usize>> = HashMap::new();
    for (index, Sought { letter, .. }) in sought.iter().enumerate() {
        letter.loaded.writes.iter().for_each(|key| wanted.entry(*key).or_default().push(index));
    }
    let Some(mut at) = sought.iter().map(|sought| sought.letter.loaded.origin.plus(1)).min() else { return Ok(found) };
    let end = sought.iter().map(|sought| sought.letter.until).max().unwrap_or(at);
    let mut keys = Keys::default();
    while at < end {
        let batches = match shared.carrier.log.read(stream, at, READ_BYTES).await {
            Err(LogError::OutOfRange { start, .. }) if start > at => {
                for (sought, found) in sought.iter().zip(&mut found) {
                    if sought.letter.loaded.origin.plus(1) < start {
                        *found = Err(trimmed(sought.letter.loaded.origin, start));
                    }
                }
                at = start;
                continue;
            }
            read => read?,
        };
        let mut candidates = Vec::new();
        for batch in &batches {
            let skip = at.0.saturating_sub(batch.base.0) as usize;
            for (offset, record) in (batch.base.0..end.0).map(Offset).zip(&batch.records).skip(skip) {
                look(related, route, (offset, &record), (sought, &wanted), &mut keys, &mut candidates);
            }
            at = at.max(batch.end());
        }
        if batches.is_empty() {
            break;
        }
        for candidate in candidates {
            let by = &related[candidate.route];
            let position = Position { partition: stream.partition, offset: candidate.offset };
            let entry = entry_at(&*shared.state, &by.spec.id, position).await?;
            // One that is a dead letter itself was not applied.
            if entry.is_none_or(|entry| entry.status == DlqStatus::Resolved)
                && let Ok(newer) = &mut found[candidate.sought]
            {
                newer.add(&by.mapper().columns(), &candidate.row);
            }
        }
    }
    Ok(found)
}

/// Adds what the record writes to any of the rows, for each route.
fn look(
    related: &[Arc<Route>],
    own: &Route,
    (offset, record): (Offset, &Record<'_>),
    (sought, wanted): (&[Sought<'_>], &HashMap<Fingerprint, Vec<usize>>),
    keys: &mut Keys,
    found: &mut Vec<Candidate>,
) {
    for (index, route) in related.iter().enumerate() {
        let same_object = route.spec.object.as_str().eq_ignore_ascii_case(own.spec.object.as_str());
        if !same_object || !route.keys.takes(record) {
            continue;
        }
        let Ok(view) = ChangeView::parse(record) else { continue };
        route.keys.keys(&view, keys);
        let mut hit: Vec<usize> = keys.written.iter().filter_map(|key| wanted.get(key)).flatten().copied().collect();
        hit.sort_unstable();
        hit.dedup();
        hit.retain(|at| sought[*at].letter.loaded.origin < offset && offset < sought[*at].letter.until);
        if hit.is_empty() {
            continue;
        }
        let mapper = route.mapper();
        let passes = mapper.passes(&view).unwrap_or(false);
        let Some(row) = passes.then(|| mapper.map(&view).ok()).flatten() else { continue };
        for at in hit.into_iter().filter(|at| same_key(own, &row, sought[*at].row)) {
            found.push(Candidate { sought: at, route: index, offset, row: row.clone() });
        }
    }
}

fn trimmed(origin: Offset, start: Offset) -> RowError {
    RowError {
        class: ErrorClass::Permanent,
        code: TRIMMED.into(),
        message: format!(
            "the log begins at offset {start} now: whether something newer than offset {origin} was applied cannot be told; \
             touch the row in the source instead"
        ),
        fields: Vec::new(),
    }
}

/// True when both rows are one row of the target.
fn same_key(route: &Route, a: &MappedRow, b: &MappedRow) -> bool {
    match (target_key(route, a), target_key(route, b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// The target row's key; none where the target gives it.
pub(super) fn target_key(route: &Route, row: &MappedRow) -> Option<Fingerprint> {
    let text = match row.key.as_ref()? {
        FieldValue::Text(text) => text.to_string(),
        FieldValue::Number(number) => number.as_str().to_owned(),
        FieldValue::Bool(flag) => flag.to_string(),
    };
    Some(route.keys.fingerprint_of_target(&text))
}
