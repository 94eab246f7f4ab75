//! An org's governor, shared by its routes, and its memory in the quota ledger.
//!
//! The stored entry always covers what was granted: the governor grants inside the leases of the entries that may stand. So
//! what a process that died has spent is never forgotten, and pipelines that share a ledger never overspend together.

use super::quota_ledger::{LedgerError, QuotaLedger};
use contract::{AllocationReading, Clock, Spend, StateError};
use governor::{
    Ask, Decision, Governor, GovernorConfig, Limit, Now, Outlook, Permit, RefusalReason, SnapshotError, Stored,
};
use model::{Lane, RouteId};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How soon to ask again when an entry is being stored.
const STORING: Duration = Duration::from_millis(2);
/// Other pipelines may store between our reading and our writing so often before we give up for now.
const TURNS_MAX: usize = 256;

/// Why not now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub delay: Duration,
    pub reason: String,
    /// False when it is only a matter of milliseconds: not worth showing to anybody.
    pub worth_telling: bool,
    /// It could be had now: the pace lets it wait.
    pub paced: bool,
}

/// The permits of one org. Without a governor everything is granted.
#[derive(Clone)]
pub struct Permits(Arc<Inner>);

struct Inner {
    ledger: QuotaLedger,
    clock: Arc<dyn Clock>,
    governor: Option<Mutex<Governor>>,
    /// An entry should be stored.
    wanted: Notify,
    /// One entry is on its way at a time.
    storing: tokio::sync::Mutex<()>,
}

/// Leave to spend; what is dropped unfinished counts as spent.
#[must_use]
pub struct Pass {
    permits: Permits,
    permit: Option<Permit>,
}

impl Pass {
    /// Says what it really cost.
    pub fn finish(mut self, spent: Spend) {
        if let Some(permit) = self.permit.take() {
            self.permits.with(|governor, now| governor.finish(permit, spent, now));
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.permits.with(|governor, now| governor.lose(permit, now));
        }
    }
}

impl Permits {
    /// Takes up the stored ledger and stores a first entry, so that the first grant is covered.
    ///
    /// # Errors
    /// `LedgerError` when the stored ledger or the configuration cannot be used.
    pub async fn open(
        ledger: QuotaLedger,
        config: Option<GovernorConfig>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LedgerError> {
        let governor = match config {
            None => None,
            Some(config) => {
                let stored = ledger.read().await?.own;
                let now = Now::of(&*clock);
                let governor = match stored {
                    None => Governor::new(config, now),
                    Some(snapshot) => Governor::restore(config, &snapshot, now),
                };
                Some(Mutex::new(governor.map_err(SnapshotError::from)?))
            }
        };
        let storing = tokio::sync::Mutex::new(());
        let permits = Self(Arc::new(Inner { ledger, clock, governor, wanted: Notify::new(), storing }));
        permits.store().await?;
        Ok(permits)
    }

    /// Asks for leave to spend: all of the cost, or nothing.
    ///
    /// # Errors
    /// `Wait` with when to ask again.
    pub fn ask(
        &self,
        lane: Lane,
        route: &RouteId,
        cost: Spend,
        time_left: Option<Duration>,
        background: bool,
    ) -> Result<Pass, Wait> {
        self.ask_for(&Ask { background, ..Ask::new(lane, route, cost, time_left) })
    }

    /// Asks for leave, with all that a wish may say.
    ///
    /// # Errors
    /// As `ask`.
    pub fn ask_for(&self, ask: &Ask<'_>) -> Result<Pass, Wait> {
        let Some((decision, wants_store)) =
            self.with(|governor, now| (governor.request(ask, now), governor.wants_store()))
        else {
            return Ok(Pass { permits: self.clone(), permit: None });
        };
        if wants_store {
            self.0.wanted.notify_one();
        }
        match decision {
            Decision::Granted(permit) => Ok(Pass { permits: self.clone(), permit: Some(permit) }),
            Decision::Refused(refusal) => {
                let due = refusal.reason == RefusalReason::SnapshotDue;
                let delay = if due { refusal.retry_after.min(STORING) } else { refusal.retry_after };
                let worth_telling = !due && refusal.reason != RefusalReason::InFlight;
                let paced = refusal.reason == RefusalReason::Paced;
                Err(Wait { delay, reason: refusal.to_string(), worth_telling, paced })
            }
        }
    }

    /// What a lane may spend, to choose between ways by.
    pub fn outlook(&self, lane: Lane) -> Outlook {
        self.with(|governor, now| governor.outlook(lane, now)).unwrap_or(Outlook::UNBOUNDED)
    }

    /// Grants nothing that this limit forbids for a while: the org said that it is exceeded. False: nothing is governed here.
    pub fn hold(&self, limit: Limit<'_>, duration: Duration) -> bool {
        let held = self.with(|governor, now| governor.hold(limit, duration, now)).is_some();
        if held {
            tracing::warn!(
                org = self.0.ledger.org,
                ?limit,
                ?duration,
                "the org says that a limit is exceeded: what needs it waits"
            );
        }
        held
    }

    /// Counts records that upserts turned out to create.
    pub fn note_created(&self, records: u64) {
        if records > 0 {
            self.with(|governor, _| governor.note_created(records));
        }
    }

    /// Takes in what the org said.
    pub fn observe(&self, readings: Vec<AllocationReading>) {
        if readings.is_empty() {
            return;
        }
        self.with(|governor, now| {
            for reading in &readings {
                governor.observe(reading, now);
            }
        });
    }

    /// Counts what was spent without leave.
    pub fn note_spent(&self, spent: Spend) {
        if spent != Spend::default() {
            self.with(|governor, now| governor.note_spent(Lane::Critical, spent, now));
        }
    }

    /// How often all allocations are read: at least so seldom that it takes no more than a part of what may be spent on calls.
    pub fn reading_every(&self, at_least: Duration, part: u64) -> Duration {
        let status = self.status();
        let rows = status.iter().flat_map(|status| &status.allocations);
        let calls = rows.filter(|row| row.counts == governor::Counts::Calls);
        let fits = calls.map(|row| Duration::from_millis(row.span_ms as u64 / (row.budget / part).max(1)));
        fits.max().unwrap_or_default().max(at_least)
    }

    /// What `penstock quota` shows; none without a governor.
    pub fn status(&self) -> Option<governor::Status> {
        self.with(|governor, now| governor.status(now))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Governor, Now) -> T) -> Option<T> {
        let mut governor = self.0.governor.as_ref()?.lock();
        let now = Now::of(&*self.0.clock);
        Some(work(&mut governor, now))
    }

    /// Waits until an entry should be stored. Cancel-safe.
    pub async fn store_wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Stores a last entry that reserves nothing: the process ends in good order.
    ///
    /// # Errors
    /// As `store`.
    pub async fn close(&self) -> Result<(), LedgerError> {
        self.with(|governor, _| governor.retire());
        self.store().await
    }

    /// Stores this pipeline's entry, having seen everybody else's. Dropped half-way, the entry may stand or not: the governor
    /// keeps inside both.
    ///
    /// # Errors
    /// `LedgerError`: nothing is granted beyond the leases that may stand until an entry was stored.
    pub async fn store(&self) -> Result<(), LedgerError> {
        let Some(governor) = &self.0.governor else { return Ok(()) };
        let (ledger, _turn) = (&self.0.ledger, self.0.storing.lock().await);
        for _ in 0..TURNS_MAX {
            let read = ledger.read().await?;
            let now = Now::of(&*self.0.clock);
            let (entry, config) = {
                let mut governor = governor.lock();
                (governor.entry(&read.peers, now), governor.config().clone())
            };
            let written = ledger.write(&read, &entry, &config, now.unix_ms).await;
            let what = match &written {
                Ok(()) => Stored::Yes,
                Err(StateError::Conflict { .. }) => Stored::Refused,
                Err(_) => Stored::Unknown,
            };
            governor.lock().stored(what);
            match written {
                Err(StateError::Conflict { .. }) => {}
                written => return Ok(written?),
            }
        }
        let (space, key) = (super::quota_ledger::SPACE.to_owned(), ledger.org.clone());
        Err(StateError::Conflict { space, key }.into())
    }
}
