//! What runs beside the groups: the quota's memory, the log's retention, operators' commands.

use super::error::EngineError;
use super::redrives::Command;
use super::route::Org;
use crate::dlq::{COMMAND_PREFIX, COMMAND_SPACE, load};
use contract::{Clock, Log, StateStore};
use hashbrown::HashMap;
use model::{Offset, Partition, RouteId, StreamPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The quota ledger is stored at least this often while it changes on its own (readings, forgotten buckets).
const QUOTA_EVERY: Duration = Duration::from_secs(10);
/// Retention looks this often.
const RETAIN_EVERY: Duration = Duration::from_secs(30);
/// Operators' commands are looked for this often: the store tells nobody.
const COMMANDS_EVERY: Duration = Duration::from_millis(500);
const COMMANDS_MAX: usize = 256;

/// Stores an org's quota ledger when the governor wants it.
pub(super) async fn keep_quota(org: Arc<Org>, state: Arc<dyn StateStore>) {
    loop {
        let _ = tokio::time::timeout(QUOTA_EVERY, org.permits.snapshot_wanted()).await;
        if let Err(error) = org.permits.store(&*state).await {
            tracing::warn!(org = %org.id, code = %error.code(), %error, "the quota ledger was not stored; grants will stop");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        org.wake();
    }
}

/// Removes what retention allows. Floors are set before this starts.
pub(super) async fn retain(log: Arc<dyn Log>, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(RETAIN_EVERY).await;
        for (stream, partitions) in log.streams() {
            for partition in (0..partitions).map(Partition) {
                let of = StreamPartition { stream: stream.clone(), partition };
                if let Err(error) = log.retain(&of, clock.now_ms()).await {
                    tracing::warn!(%of, code = %error.code(), %error, "retention failed");
                }
            }
        }
    }
}

/// Where a route's commands go: its group, and its index there.
pub(super) type CommandWays = HashMap<RouteId, (mpsc::UnboundedSender<Command>, usize)>;

/// The commands that stand in the store and were handed on, with their values.
type Given = BTreeMap<Offset, Vec<u8>>;

/// Hands operators' commands to the groups, each once for as long as it stands in the store.
pub(super) async fn watch_commands(state: Arc<dyn StateStore>, ways: CommandWays) {
    let mut given = Given::new();
    loop {
        if let Err(error) = look_for_commands(&*state, &ways, &mut given).await {
            tracing::warn!(code = %error.code(), %error, "commands cannot be read");
        }
        tokio::time::sleep(COMMANDS_EVERY).await;
    }
}

async fn look_for_commands(state: &dyn StateStore, ways: &CommandWays, given: &mut Given) -> Result<(), EngineError> {
    let found = state.scan(COMMAND_SPACE, COMMAND_PREFIX, None, COMMANDS_MAX).await?;
    let standing = found.into_iter().filter_map(|(key, value)| {
        let id = key.strip_prefix(COMMAND_PREFIX)?.parse().ok()?;
        Some((Offset(id), value))
    });
    let standing: Given = standing.collect();
    let before = std::mem::replace(given, standing);
    // Older dead letters first: two of one key come back in their order.
    for (id, value) in given.iter() {
        if before.get(id) == Some(value) {
            continue;
        }
        let id = *id;
        let Some((entry, _)) = load(state, id).await? else { continue };
        match ways.get(&entry.route) {
            // A group that has ended takes no commands; they stand until the next run.
            Some((way, route)) => drop(way.send(Command { route: *route, id })),
            None => tracing::warn!(route = %entry.route, dead_letter = %id, "no route of this name: its retry waits"),
        }
    }
    Ok(())
}
