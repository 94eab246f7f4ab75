//! An org's governor, shared by its routes, and its memory in the state store.
//!
//! The stored snapshot always covers what was granted: the governor grants at most `GovernorConfig::ahead` calls behind a
//! snapshot, and while a new one is on its way to the disk the old one's rest is all that is granted. So a call of a
//! process that died is never forgotten.

use contract::{AllocationReading, Clock, Spend, StateError, StateOp, StateStore};
use governor::{Ask, Decision, Governor, GovernorConfig, Now, Permit, RefusalReason, Snapshot, SnapshotError};
use model::{Lane, OrgId, RouteId};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The state store's space: one key per org, the governor's own snapshot format.
pub const SPACE: &str = "quota";
/// How soon to ask again when a snapshot is being stored.
const STORING: Duration = Duration::from_millis(2);

/// Why not now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub delay: Duration,
    pub reason: String,
    /// False when it is only a matter of milliseconds: not worth showing to anybody.
    pub worth_telling: bool,
}

/// The permits of one org. Without a governor everything is granted.
#[derive(Clone)]
pub struct Permits(Arc<Inner>);

struct Inner {
    org: OrgId,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// A snapshot is wanted.
    wanted: Notify,
}

struct State {
    governor: Option<Governor>,
    /// Calls that may still be granted while a snapshot is being stored.
    while_storing: Option<u64>,
    granted_since_snapshot: u64,
}

/// Leave to spend calls; what is dropped unfinished counts as spent.
#[must_use]
pub struct Pass {
    permits: Permits,
    permit: Option<Permit>,
}

impl Pass {
    /// Says what was really spent.
    pub fn finish(mut self, spent: Spend) {
        if let Some(permit) = self.permit.take() {
            self.permits.finish(permit, spent.calls);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let calls = permit.calls;
            self.permits.finish(permit, calls);
        }
    }
}

impl Permits {
    /// Takes up the stored ledger and stores a first snapshot, so that the first grant is covered.
    ///
    /// # Errors
    /// `SnapshotError` when the stored ledger or the configuration cannot be used; `StateError`.
    pub async fn open(
        org: OrgId,
        config: Option<GovernorConfig>,
        state: &dyn StateStore,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PermitsError> {
        let now = Now::of(&*clock);
        let governor = match (config, state.get(SPACE, org.as_str()).await?) {
            (None, _) => None,
            (Some(config), None) => Some(Governor::new(config, now).map_err(SnapshotError::from)?),
            (Some(config), Some(bytes)) => {
                let snapshot = Snapshot::from_bytes(&bytes)?;
                Some(Governor::restore(config, &snapshot, now).map_err(SnapshotError::from)?)
            }
        };
        let state_of = State { governor, while_storing: None, granted_since_snapshot: 0 };
        let inner = Inner { org, clock, state: Mutex::new(state_of), wanted: Notify::new() };
        let permits = Self(Arc::new(inner));
        permits.store(state).await?;
        Ok(permits)
    }

    /// Asks for leave to spend `calls`.
    ///
    /// # Errors
    /// `Wait` with when to ask again.
    pub fn ask(
        &self,
        lane: Lane,
        route: &RouteId,
        cost: Spend,
        time_left: Option<Duration>,
        _background: bool,
    ) -> Result<Pass, Wait> {
        let calls = cost.calls;
        let now = Now::of(&*self.0.clock);
        let mut state = self.0.state.lock();
        let State { governor, while_storing, granted_since_snapshot } = &mut *state;
        let Some(governor) = governor else { return Ok(Pass { permits: self.clone(), permit: None }) };
        let ahead = governor.config().ahead;
        if ahead > 0 && while_storing.is_some_and(|left| left < u64::from(calls)) {
            let reason = RefusalReason::SnapshotDue.to_string();
            return Err(Wait { delay: STORING, reason, worth_telling: false });
        }
        let decision = governor.request(&Ask { lane, route, calls, time_left }, now);
        if governor.wants_snapshot() {
            self.0.wanted.notify_one();
        }
        match decision {
            Decision::Granted(permit) => {
                *granted_since_snapshot += u64::from(calls);
                if let Some(left) = while_storing {
                    *left -= u64::from(calls).min(*left);
                }
                Ok(Pass { permits: self.clone(), permit: Some(permit) })
            }
            Decision::Refused(refusal) => {
                let worth_telling = !matches!(refusal.reason, RefusalReason::SnapshotDue | RefusalReason::InFlight);
                if refusal.reason == RefusalReason::SnapshotDue {
                    self.0.wanted.notify_one();
                }
                Err(Wait { delay: refusal.retry_after, reason: refusal.to_string(), worth_telling })
            }
        }
    }

    fn finish(&self, permit: Permit, calls: u32) {
        let now = Now::of(&*self.0.clock);
        if let Some(governor) = &mut self.0.state.lock().governor {
            governor.finish(permit, calls, now);
        }
    }

    /// Grants nothing for a while: the org said that an allocation is spent.
    pub fn hold(&self, duration: Duration) {
        let now = Now::of(&*self.0.clock);
        if let Some(governor) = &mut self.0.state.lock().governor {
            governor.hold(duration, now);
        }
    }

    /// Takes in what the org said.
    pub fn observe(&self, readings: Vec<AllocationReading>) {
        if readings.is_empty() {
            return;
        }
        let now = Now::of(&*self.0.clock);
        if let Some(governor) = &mut self.0.state.lock().governor {
            for reading in readings {
                governor.observe(&reading, now);
            }
        }
    }

    /// What `penstock quota` shows; none without a governor.
    pub fn status(&self) -> Option<governor::Status> {
        let now = Now::of(&*self.0.clock);
        self.0.state.lock().governor.as_mut().map(|governor| governor.status(now))
    }

    /// Waits until a snapshot is wanted. Cancel-safe.
    pub async fn snapshot_wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Stores a snapshot.
    ///
    /// # Errors
    /// `StateError`: nothing is granted beyond what the last stored snapshot covers until one was stored.
    pub async fn store(&self, store: &dyn StateStore) -> Result<(), StateError> {
        let now = Now::of(&*self.0.clock);
        let bytes = {
            let mut state = self.0.state.lock();
            let State { governor, while_storing, granted_since_snapshot } = &mut *state;
            let Some(governor) = governor else { return Ok(()) };
            let left = governor.config().ahead.saturating_sub(*granted_since_snapshot);
            // After a failed try the older snapshot's rest stays the bound.
            *while_storing = Some(while_storing.map_or(left, |earlier| earlier.min(left)));
            *granted_since_snapshot = 0;
            governor.snapshot(now).to_bytes()
        };
        store.write(vec![StateOp::Put { space: SPACE, key: self.0.org.as_str().to_owned(), value: bytes }]).await?;
        self.0.state.lock().while_storing = None;
        Ok(())
    }
}

/// Why an org's permits cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PermitsError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    State(#[from] StateError),
}
