//! What is asked of a governor and what it answers.

use contract::Spend;
use model::{Lane, RouteId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The time, from both clocks of `contract::Clock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since an arbitrary start; what spans are measured with. One that goes back is taken as standing still.
    pub monotonic: Duration,
    /// Unix milliseconds; only used to bridge a restart, to see other processes' entries, and to order the org's readings.
    pub unix_ms: i64,
}

impl Now {
    /// Reads both clocks.
    pub fn of(clock: &dyn contract::Clock) -> Self {
        Self { monotonic: clock.monotonic(), unix_ms: clock.now_ms() }
    }
}

/// A wish to spend something of the org's allocations: all of it is granted, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub lane: Lane,
    /// Who asks: for the forecast's reason.
    pub route: &'a RouteId,
    /// The most that it may cost.
    pub cost: Spend,
    /// Records that it creates, for the org's storage. What an upsert will create is not known: 0, and `Governor::note_created`.
    pub creates: u32,
    /// A Bulk job: it takes no place among the calls in flight and is no long call while it waits for the org.
    pub background: bool,
    /// How long it can wait for its oldest record's deadline; zero: not at all. None: no deadline, pacing decides.
    pub time_left: Option<Duration>,
    /// It takes as many records as it can: by waiting it would gather no more, and one that must go before its lane's pace
    /// allows it goes now. Another one waits as long as it can.
    pub full: bool,
}

impl<'a> Ask<'a> {
    /// A wish for a full call that is waited for and creates nothing.
    pub fn new(lane: Lane, route: &'a RouteId, cost: Spend, time_left: Option<Duration>) -> Self {
        Self { lane, route, cost, creates: 0, background: false, time_left, full: true }
    }
}

/// Leave to spend; counted as spent from now on. Give it back by `Governor::finish`, whatever came of it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not finished keeps its place in flight"]
pub struct Permit {
    pub(crate) id: u64,
    pub lane: Lane,
    pub cost: Spend,
}

/// The answer to a wish.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    Granted(Permit),
    Refused(Refusal),
}

/// Why not now, and when it makes sense to ask again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: RefusalReason,
    /// Which allocation stands in the way; none for places in flight and the like.
    pub allocation: Option<Arc<str>>,
    /// Asking earlier is allowed, and answered in the same way unless something was given back meanwhile.
    pub retry_after: Duration,
}

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The pipeline's share of the allocation is spent.
    ShareSpent,
    /// The org's allocation is spent, by us and others.
    OrgSpent,
    /// What is left is owed to other lanes.
    OwedToOtherLanes,
    /// It would be spent too early; its deadline allows it to wait.
    Paced,
    /// Too many calls are in flight.
    InFlight,
    /// Too many calls take long.
    LongCalls,
    /// The org said that its limit is exceeded.
    Held,
    /// An entry of the ledger must be stored first (`GovernorConfig::ahead`).
    SnapshotDue,
    /// It asks for more than the whole budget: it can never be granted.
    LargerThanBudget,
    /// The org has no room for more records.
    StorageFull,
}

impl RefusalReason {
    /// The stable code.
    pub fn code(self) -> model::ErrorCode {
        model::ErrorCode(match self {
            Self::ShareSpent => "PS6010",
            Self::OrgSpent => "PS6011",
            Self::OwedToOtherLanes => "PS6012",
            Self::Paced => "PS6013",
            Self::InFlight => "PS6014",
            Self::LongCalls => "PS6015",
            Self::Held => "PS6016",
            Self::SnapshotDue => "PS6017",
            Self::LargerThanBudget => "PS6018",
            Self::StorageFull => "PS6019",
        })
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShareSpent => "this pipeline's share is spent",
            Self::OrgSpent => "the org's allocation is spent",
            Self::OwedToOtherLanes => "what is left is reserved for other lanes",
            Self::Paced => "it is spread over the span, its deadline allows it",
            Self::InFlight => "too many calls are in flight",
            Self::LongCalls => "too many calls take longer than 20 seconds",
            Self::Held => "the org said that a limit is exceeded",
            Self::SnapshotDue => "the quota ledger must be stored first",
            Self::LargerThanBudget => "it asks for more than the whole budget",
            Self::StorageFull => "the org has no room for more records",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.reason.code())?;
        if let Some(allocation) = &self.allocation {
            write!(f, "{allocation}: ")?;
        }
        write!(f, "{}; ask again in {:?}", self.reason, self.retry_after)
    }
}
