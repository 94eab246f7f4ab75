//! What runs beside the groups: the quota's memory, the log's retention, operators' commands.

use super::error::EngineError;
use super::quota_metrics;
use super::redrives::{Command, IN_HAND_MAX, InHand};
use super::route::Org;
use crate::dlq::{adopt_old, lowest_commands};
use contract::{Clock, Log, Spend, StateStore};
use hashbrown::HashMap;
use model::{Lane, Partition, RouteId, StreamPartition};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The quota ledger is stored at least this often while it changes on its own (readings, forgotten buckets).
const QUOTA_EVERY: Duration = Duration::from_secs(10);
/// All allocations are read this often at most: each reading costs a call, and is some five minutes old.
const ALLOCATIONS_EVERY: Duration = Duration::from_secs(600);
/// And reading them takes at most one in so many of the calls that may be made.
const READINGS_PART: u64 = 100;
/// Retention looks this often.
const RETAIN_EVERY: Duration = Duration::from_secs(30);
/// Operators' commands are looked for this often: the store tells nobody.
const COMMANDS_EVERY: Duration = Duration::from_millis(500);

/// Stores an org's entry in the quota ledger when the governor wants it.
pub(super) async fn keep_quota(org: Arc<Org>) {
    loop {
        let _ = tokio::time::timeout(QUOTA_EVERY, org.permits.store_wanted()).await;
        if let Err(error) = org.permits.store().await {
            tracing::warn!(org = %org.id, code = %error.code(), %error, "the quota ledger was not stored; grants will stop");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if let Some(status) = org.permits.status() {
            quota_metrics::publish(&org.id, &status);
        }
        org.wake();
    }
}

/// Reads all of an org's allocations, now and then: the header of each answer tells of API requests only.
pub(super) async fn read_allocations(org: Arc<Org>, clock: Arc<dyn Clock>) {
    let route = RouteId::new("_limits");
    loop {
        let mut delay = org.permits.reading_every(ALLOCATIONS_EVERY, READINGS_PART);
        match org.permits.ask(Lane::Critical, &route, Spend::calls(1), Some(Duration::ZERO), false) {
            Err(wait) => delay = wait.delay.clamp(Duration::from_millis(1), delay),
            Ok(pass) => match org.sink.allocations().await {
                // A target that counts nothing need not be asked again.
                Ok(readings) if readings.is_empty() => return pass.finish(Spend::default()),
                Ok(readings) => {
                    pass.finish(Spend::calls(1));
                    org.permits.observe(readings);
                    org.wake();
                }
                Err(error) => {
                    pass.finish(error.spent);
                    tracing::warn!(org = %org.id, code = %error.code, %error, "the org's allocations were not read");
                }
            },
        }
        tracing::debug!(org = %org.id, at_ms = clock.now_ms(), ?delay, "the org's allocations are read again");
        tokio::time::sleep(delay).await;
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

/// Hands operators' commands to the groups. Each route's lowest ids go first, so that two of one key come back in their order; what a
/// route has not in hand stays in the store.
pub(super) async fn watch_commands(state: Arc<dyn StateStore>, ways: CommandWays, in_hand: InHand) {
    let mut adopted = false;
    loop {
        if let Err(error) = look_for_commands(&*state, &ways, &in_hand, &mut adopted).await {
            tracing::warn!(code = %error.code(), %error, "commands cannot be read");
        }
        tokio::time::sleep(COMMANDS_EVERY).await;
    }
}

async fn look_for_commands(
    state: &dyn StateStore,
    ways: &CommandWays,
    in_hand: &InHand,
    adopted: &mut bool,
) -> Result<(), EngineError> {
    if !*adopted {
        adopt_old(state).await?;
        *adopted = true;
    }
    for (id, (way, route)) in ways {
        // Those in hand stand in the store still, so as many as fit into a hand always show what is next.
        for (letter, options) in lowest_commands(state, id, IN_HAND_MAX).await? {
            if in_hand.take(id, letter) {
                // A group that has ended takes no commands; they stand until the next run.
                let _ended = way.send(Command { route: *route, id: letter, options });
            }
        }
    }
    Ok(())
}
