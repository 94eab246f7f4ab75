//! Who waits for a permit, and why: for people.

use crate::decision::{Ask, RefusalReason};
use crate::status::WaitStatus;
use model::{Lane, RouteId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A wish that was refused and not granted since.
#[derive(Clone, Debug)]
struct Wait {
    reason: RefusalReason,
    allocation: Option<Arc<str>>,
    since_ms: i64,
    until_ms: i64,
}

/// The newest refusal of each route and lane; as many as there are routes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(BTreeMap<(RouteId, Lane), Wait>);

impl Waiting {
    pub(crate) fn go(&mut self, ask: &Ask<'_>) {
        if !self.0.is_empty() {
            self.0.remove(&(ask.route.clone(), ask.lane));
        }
    }

    /// Waits of milliseconds are nobody's concern.
    pub(crate) fn stop(
        &mut self,
        ask: &Ask<'_>,
        (reason, allocation, until_ms): (RefusalReason, &Option<Arc<str>>, i64),
        now_ms: i64,
    ) {
        if matches!(reason, RefusalReason::InFlight | RefusalReason::SnapshotDue) {
            return;
        }
        let key = (ask.route.clone(), ask.lane);
        let since_ms = self.0.get(&key).map_or(now_ms, |earlier| earlier.since_ms);
        self.0.insert(key, Wait { reason, allocation: allocation.clone(), since_ms, until_ms });
    }

    /// Longest wait first. One that was not asked for again after its time is no longer waited for.
    pub(crate) fn status(&self, now_ms: i64) -> Vec<WaitStatus> {
        let forgotten_ms = 60_000;
        let current = self.0.iter().filter(|(_, wait)| wait.until_ms + forgotten_ms > now_ms);
        let mut waits: Vec<WaitStatus> = current
            .map(|((route, lane), wait)| WaitStatus {
                route: route.clone(),
                lane: *lane,
                code: wait.reason.code(),
                reason: wait.reason,
                sentence: wait.reason.to_string(),
                allocation: wait.allocation.as_ref().map(ToString::to_string),
                for_ms: now_ms - wait.since_ms,
                free_in_ms: (wait.until_ms - now_ms).max(0),
            })
            .collect();
        waits.sort_by_key(|wait| std::cmp::Reverse(wait.for_ms));
        waits
    }
}
