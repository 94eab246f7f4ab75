//! Finds the slot, makes it, or refuses it; and writes down what it is.

use super::facts::SlotFacts;
use super::identity::{FORMAT, SlotRecord, StreamMark, Verdict, acceptable, judge};
use crate::config::{OnSlotMismatch, PostgresConfig};
use crate::connect::Sql;
use crate::position::{StoredPosition, position_producer};
use crate::refusal::{Refusal, literal, transient};
use crate::wire::Identity;
use contract::{ProducerState, SourceContext, SourceError, StateError, StateOp};
use model::{Lsn, RecordBatchBuilder, SourcePosition};

/// The state space of slot records.
const SPACE: &str = "slot";

/// A slot that may be read from.
#[derive(Debug)]
pub(crate) struct OpenSlot {
    pub(crate) record: SlotRecord,
    /// The last position of each bound stream, in the order of `ctx.streams`.
    pub(crate) positions: Vec<SourcePosition>,
}

/// Opens the configured slot for this run.
///
/// # Errors
/// Refusals PS2120–PS2122 (rights and settings), PS2150–PS2159 (the slot is not the one that the log was filled from).
pub(crate) async fn open_slot(
    ctx: &SourceContext,
    config: &PostgresConfig,
    sql: &Sql,
    server: &Identity,
    database: &str,
) -> Result<OpenSlot, SourceError> {
    // The slot first: `allowed` is written before the server is told, so a record that is read later covers it, also while
    // another run still moves the slot.
    let found = SlotFacts::load(sql, &config.slot).await?;
    let record = read_record(ctx).await?;
    if let Some(refusal) = found.as_ref().and_then(SlotFacts::unusable) {
        return Err(refusal.into());
    }
    let marks = stream_marks(ctx).await?;
    let fresh = |epoch: u64, adopted: Lsn| SlotRecord {
        format: FORMAT,
        system: server.system,
        timeline: server.timeline,
        database: database.to_owned(),
        slot: config.slot.clone(),
        epoch,
        adopted,
        allowed: adopted,
        streams: Vec::new(),
    };
    let confirmed = found.as_ref().and_then(|found| found.confirmed).unwrap_or_default();
    let stored = record.clone();
    let mut record = match (judge(record.as_ref(), found.as_ref(), server, &marks), record) {
        (Verdict::Continue, Some(record)) => record,
        (Verdict::Continue, None) => unreachable_without_record(),
        (Verdict::Adopt { epoch }, _) => fresh(epoch, confirmed),
        (Verdict::Create { epoch }, _) => fresh(epoch, create_slot(sql, config).await?),
        (Verdict::Mismatch(refusal), record) => {
            let last = record.as_ref().map(|record| record.epoch);
            let last =
                last.into_iter().chain(marks.iter().filter_map(|mark| Some(mark.position?.0))).max().unwrap_or(0);
            tracing::warn!(code = refusal.code, cause = %refusal.cause, policy = ?config.on_slot_mismatch, "the slot does not match");
            match (config.on_slot_mismatch, &found) {
                (OnSlotMismatch::Resnapshot, _) => {
                    drop_slot(sql, found.as_ref()).await?;
                    fresh(last + 1, create_slot(sql, config).await?)
                }
                (OnSlotMismatch::Accept, Some(found))
                    if found.lost().is_none() && acceptable(&refusal, record.as_ref(), server, &marks) =>
                {
                    // Positions of the log stay valid; what the slot has skipped is the operator's word.
                    let streams = record.map(|record| record.streams).unwrap_or_default();
                    SlotRecord { streams, ..fresh(last.max(1), confirmed) }
                }
                _ => return Err(refusal.into()),
            }
        }
    };
    let positions = mark_streams(ctx, stored, &mut record).await?;
    Ok(OpenSlot { record, positions })
}

/// `judge` answers `Continue` only for a record.
fn unreachable_without_record() -> SlotRecord {
    unreachable!("a slot without a record is created, adopted or refused")
}

async fn read_record(ctx: &SourceContext) -> Result<Option<SlotRecord>, SourceError> {
    let Some(bytes) = ctx.state.get(SPACE, ctx.source.as_str()).await? else { return Ok(None) };
    let malformed = |cause: String| StateError::Malformed { space: SPACE.into(), key: ctx.source.to_string(), cause };
    let record: SlotRecord = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    if record.format > FORMAT {
        return Err(malformed(format!("its format {} is newer than {FORMAT}", record.format)).into());
    }
    Ok(Some(record))
}

/// Writes the record durably.
pub(crate) async fn write_record(ctx: &SourceContext, record: &SlotRecord) -> Result<(), SourceError> {
    let value = serde_json::to_vec(record).unwrap_or_default();
    Ok(ctx.state.write(vec![StateOp::Put { space: SPACE, key: ctx.source.to_string(), value }]).await?)
}

async fn stream_marks(ctx: &SourceContext) -> Result<Vec<StreamMark>, SourceError> {
    let mut marks = Vec::with_capacity(ctx.streams.len());
    for binding in &ctx.streams {
        let state = ctx.log.producer(&binding.to, &position_producer(&ctx.source)).await?;
        let position = state.and_then(|state| StoredPosition::parse(&state.position));
        let position = position.map(|stored| (stored.epoch, stored.position.commit_lsn));
        marks.push(StreamMark { to: binding.to.clone(), position });
    }
    Ok(marks)
}

/// Gives every bound stream a position of this epoch, durably, and writes the record where it differs from the stored one;
/// returns the positions.
async fn mark_streams(
    ctx: &SourceContext,
    stored: Option<SlotRecord>,
    record: &mut SlotRecord,
) -> Result<Vec<SourcePosition>, SourceError> {
    // First without streams that are not marked yet: a crash in between leaves marks that no record asks for.
    record.streams.retain(|marked| ctx.streams.iter().any(|binding| binding.to == *marked));
    // An unchanged record is left alone: a run that still holds the slot may have moved it on since it was read here.
    if stored.as_ref() != Some(&*record) {
        write_record(ctx, record).await?;
    }
    let producer = position_producer(&ctx.source);
    let start = SourcePosition { commit_lsn: record.adopted, seq: 0 };
    let mut positions = Vec::with_capacity(ctx.streams.len());
    for binding in &ctx.streams {
        let state = ctx.log.producer(&binding.to, &producer).await?;
        let stored = state.and_then(|state| StoredPosition::parse(&state.position));
        if let Some(stored) = stored.filter(|stored| stored.epoch == record.epoch) {
            positions.push(stored.position);
            continue;
        }
        let stored = StoredPosition { position: start, epoch: record.epoch };
        let state = ProducerState { producer: producer.clone(), position: stored.to_bytes() };
        let appended = ctx.log.append(&binding.to, RecordBatchBuilder::default().finish(), Some(state)).await?;
        ctx.log.until_durable(&binding.to, appended.accepted()).await?;
        positions.push(start);
    }
    let marked: Vec<_> = ctx.streams.iter().map(|binding| binding.to.clone()).collect();
    if record.streams != marked {
        record.streams = marked;
        write_record(ctx, record).await?;
    }
    Ok(positions)
}

async fn create_slot(sql: &Sql, config: &PostgresConfig) -> Result<Lsn, SourceError> {
    let place = format!("slot {}", config.slot);
    let statement =
        format!("SELECT lsn::text FROM pg_create_logical_replication_slot({}, 'pgoutput');", literal(&config.slot));
    if !config.create_slot {
        return Err(Refusal::new("PS2150", place, "there is no such slot", statement).into());
    }
    // The server waits until every transaction that runs now has ended.
    match sql.query_one(statement.as_str(), &[]).await {
        Ok(row) => {
            let text: String = row.try_get(0).map_err(sql.failed("making the slot"))?;
            text.parse().map_err(|cause| transient("PS2115", cause))
        }
        Err(error) => {
            Err(create_refusal(&error, &place).map_or_else(|| sql.failed("making the slot")(error), Into::into))
        }
    }
}

fn create_refusal(error: &tokio_postgres::Error, place: &str) -> Option<Refusal> {
    let db = error.as_db_error()?;
    let cause = db.message().to_owned();
    match db.code().code() {
        "42501" => Some(Refusal::new("PS2120", place, cause, "ALTER ROLE … REPLICATION;")),
        "53400" => Some(Refusal::new(
            "PS2122",
            place,
            cause,
            "drop a slot that nobody reads (SELECT slot_name, active FROM pg_replication_slots;) or raise max_replication_slots and restart the server",
        )),
        "55000" => {
            Some(Refusal::new("PS2121", place, cause, "ALTER SYSTEM SET wal_level = 'logical'; and restart the server"))
        }
        _ => None,
    }
}

async fn drop_slot(sql: &Sql, found: Option<&SlotFacts>) -> Result<(), SourceError> {
    let Some(found) = found else { return Ok(()) };
    let statement = format!("SELECT pg_drop_replication_slot({})", literal(&found.name));
    sql.batch_execute(&statement).await.map_err(sql.failed("dropping the slot"))
}
