//! From operators' commands to dead letters in memory, with their edits laid over them and their keys told.

use super::error::EngineError;
use super::group::Shared;
use super::reader::whole_route;
use super::redrive_end::{Ending, end_failed};
use super::redrives::{Command, Loaded, RedriveOutcome};
use super::route::Route;
use crate::dlq::{DlqStatus, delete_command, edited, find, load as load_entry, parse_letter};
use crate::event::{ChangeView, Keys};
use crate::settle::{DEAD_LETTERS, internal};
use crate::spec::Ordering;
use contract::RowError;
use model::{ErrorClass, Offset, RecordBatch, RecordBatchBuilder};

/// Bytes of dead letters that a route's retries hold in memory: what does not fit is loaded later.
const LOADED_BYTES_MAX: usize = 4 << 20;
/// The dead letter itself cannot be read.
const UNREADABLE: &str = "PS5804";
/// The edit does not fit the record.
const BAD_EDIT: &str = "PS5806";

/// Reads dead letters, in the commands' order. What cannot be read is open again, with the reason.
pub(super) async fn load(shared: &Shared, route: &Route, commands: Vec<Command>) -> RedriveOutcome {
    let (mut letters, mut over, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut commands = commands.into_iter();
    while bytes < LOADED_BYTES_MAX
        && let Some(command) = commands.next()
    {
        match load_one(shared, route, command).await {
            Ok(Some(loaded)) => {
                bytes += loaded.record.bytes().len();
                letters.push(loaded);
            }
            Ok(None) => over.push(command.id),
            Err(error) => return RedriveOutcome::Broken(error),
        }
    }
    RedriveOutcome::Loaded { letters, over, left: commands.collect() }
}

/// None when it is not to be retried, and the index says why.
async fn load_one(shared: &Shared, route: &Route, command: Command) -> Result<Option<Loaded>, EngineError> {
    let id = command.id;
    let entry = match load_entry(&*shared.state, id).await? {
        Some((entry, _)) if entry.status == DlqStatus::Retried => entry,
        _ => {
            shared.state.write(vec![delete_command(&route.spec.id, id)]).await?;
            return Ok(None);
        }
    };
    let read = async {
        let (record, origin) = read(shared, id).await.map_err(|error| (UNREADABLE, error.to_string()))?;
        let record = match &entry.edit {
            Some(edit) => {
                let original = record.iter().next().ok_or((UNREADABLE, "it is empty".to_owned()))?;
                let made = edited(&original, edit).map_err(|cause| (BAD_EDIT, cause))?;
                let new = made.iter().next().ok_or((BAD_EDIT, "nothing is left of it".to_owned()))?;
                let (before, after) = (keys(route, &original), keys(route, &new));
                if before.written != after.written {
                    return Err((BAD_EDIT, "it would change the key that order is kept by".to_owned()));
                }
                made
            }
            None => record,
        };
        Ok((record, origin))
    };
    match read.await {
        Ok((record, origin)) => {
            let keys = record.iter().next().map(|record| keys(route, &record)).unwrap_or_default();
            let (writes, reads) = (keys.written, keys.read);
            Ok(Some(Loaded { id, record, origin, options: command.options, writes, reads }))
        }
        Err((code, message)) => {
            let error = RowError { class: ErrorClass::Permanent, code: code.into(), message, fields: Vec::new() };
            end_failed(shared, vec![Ending { entry, record: None, attempts: 0 }], vec![error], &[]).await?;
            Ok(None)
        }
    }
}

/// The dead letter's record and where its original stands.
async fn read(shared: &Shared, id: Offset) -> Result<(RecordBatch, Offset), EngineError> {
    let batches = shared.carrier.log.read(&internal(DEAD_LETTERS), id, 1).await?;
    let broken = |cause: String| EngineError::Journal { place: format!("{DEAD_LETTERS}:{id}"), cause };
    let record =
        find(&batches, id).ok_or_else(|| broken("the log gave other records than were asked for".to_owned()))?;
    let letter = parse_letter(id, &record)?;
    let headers: Vec<(&str, &[u8])> =
        record.headers().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value))).collect();
    let mut copy = RecordBatchBuilder::default();
    copy.push(record.time_ms, record.key, record.value, &headers).map_err(|full| broken(full.to_string()))?;
    Ok((copy.finish(), letter.position.offset))
}

fn keys(route: &Route, record: &model::Record<'_>) -> Keys {
    let mut keys = Keys::default();
    if let Ok(view) = ChangeView::parse(record) {
        if route.spec.ordering != Ordering::None {
            route.keys.keys(&view, &mut keys);
        }
        if route.spec.ordering == Ordering::Fifo {
            keys.written.push(whole_route(route));
        }
    }
    keys
}
