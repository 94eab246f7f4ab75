//! Dead letters in the stream: writing and finding them.

use super::index::{DlqEntry, DlqStatus, entry_at, put_entry};
use super::secret::redact_message;
use crate::engine::EngineError;
use crate::settle::{DEAD_LETTERS, internal};
use contract::{Log, LogBatch, RowError, StateStore};
use model::{DeadLetter, Offset, Position, Record, RecordBatchBuilder, RouteId, StreamPartition};

/// A record to be buried.
#[derive(Clone, Debug)]
pub(crate) struct Burial {
    pub offset: Offset,
    pub error: RowError,
    pub attempts: u32,
}

/// A record that was buried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Buried {
    pub offset: Offset,
    pub code: String,
}

/// Buries records of a route (ascending), without the values of its secret columns in what the target said: durable in stream and index when it answers. One that lies there open already, since a run
/// died before it was settled, is not written twice.
///
/// # Errors
/// As `Log::read`, `Log::append`, `StateStore::write`; a part may be buried.
pub(crate) async fn bury(
    log: &dyn Log,
    state: &dyn StateStore,
    (route, stream, secret): (&RouteId, &StreamPartition, &[String]),
    burials: &[Burial],
    at_ms: i64,
) -> Result<Vec<Buried>, EngineError> {
    let mut records = RecordBatchBuilder::default();
    let mut entries = Vec::new();
    for burial in burials {
        let position = Position { partition: stream.partition, offset: burial.offset };
        if entry_at(state, route, position).await?.is_some_and(|entry| entry.status == DlqStatus::Open) {
            continue;
        }
        let batches = log.read(stream, burial.offset, 1).await?;
        let original = find(&batches, burial.offset).ok_or_else(|| EngineError::Journal {
            place: format!("{stream}:{}", burial.offset),
            cause: "the log gave other records than were asked for".into(),
        })?;
        let letter = DeadLetter {
            route: route.clone(),
            stream: stream.stream.clone(),
            position,
            class: burial.error.class,
            code: burial.error.code.clone(),
            message: redact_message(&burial.error.message, &original, secret),
            fields: burial.error.fields.clone(),
            attempts: burial.attempts,
            at_ms,
        };
        push_letter(&mut records, &original, &letter)?;
        entries.push(DlqEntry::new(Offset(0), &letter, &original));
    }
    if !entries.is_empty() {
        let to = internal(DEAD_LETTERS);
        let appended = log.append(&to, records.finish(), None).await?;
        log.until_durable(&to, appended.accepted()).await?;
        for (entry, id) in entries.iter_mut().zip(appended.first.0..) {
            entry.id = Offset(id);
        }
        state.write(entries.iter().flat_map(put_entry).collect()).await?;
    }
    Ok(burials.iter().map(|burial| Buried { offset: burial.offset, code: burial.error.code.clone() }).collect())
}

/// Packs a dead letter: the original's bytes, and the header that says why.
fn push_letter(
    records: &mut RecordBatchBuilder,
    original: &Record<'_>,
    letter: &DeadLetter,
) -> Result<(), EngineError> {
    let json = serde_json::to_vec(letter).expect("a dead letter holds only strings and numbers");
    let mut headers: Vec<(&str, &[u8])> = Vec::new();
    for (name, value) in original.headers() {
        // Header names are ASCII; one that is not cannot be one of ours, and is kept out rather than changed.
        match std::str::from_utf8(name) {
            Ok(name) => headers.push((name, value)),
            Err(_) => {
                tracing::warn!(position = %letter.position, "a header whose name is no text is left out of the dead letter")
            }
        }
    }
    headers.push((DeadLetter::HEADER, &json));
    records.push(original.time_ms, original.key, original.value, &headers).map_err(|full| EngineError::Journal {
        place: format!("{}:{}", letter.stream, letter.position),
        cause: full.to_string(),
    })
}

/// Finds the record at an offset in what the log gave.
pub(crate) fn find(batches: &[LogBatch], offset: Offset) -> Option<Record<'_>> {
    let batch = batches.iter().find(|batch| batch.base <= offset && offset < batch.end())?;
    batch.records.iter().nth((offset.0 - batch.base.0) as usize)
}

/// Reads a dead letter's header.
pub(crate) fn parse_letter(id: Offset, record: &Record<'_>) -> Result<DeadLetter, EngineError> {
    let broken = |cause: String| EngineError::Journal { place: format!("{DEAD_LETTERS}:{id}"), cause };
    // The original may be a dead letter itself (a route over `_dead_letters`): ours is the last header of the name.
    let header = record.headers().filter(|(name, _)| *name == DeadLetter::HEADER.as_bytes()).last();
    let (_, json) = header.ok_or_else(|| broken("it has no dead_letter header".into()))?;
    serde_json::from_slice(json).map_err(|error| broken(error.to_string()))
}
