//! What is asked of a governor and what it answers.

use model::{Lane, RouteId};
use std::fmt;
use std::time::Duration;

/// The time, from both clocks of `contract::Clock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since an arbitrary start; what spans are measured with. One that goes back is taken as standing still.
    pub monotonic: Duration,
    /// Unix milliseconds; only used to bridge a restart, and to order the org's readings.
    pub unix_ms: i64,
}

impl Now {
    /// Reads both clocks.
    pub fn of(clock: &dyn contract::Clock) -> Self {
        Self { monotonic: clock.monotonic(), unix_ms: clock.now_ms() }
    }
}

/// A wish to call the org.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub lane: Lane,
    /// Who asks: for the forecast's reason.
    pub route: &'a RouteId,
    /// The most calls that it may take.
    pub calls: u32,
    /// How long until the oldest record's deadline; zero when it has passed. None: no deadline, pacing decides.
    pub time_left: Option<Duration>,
}

/// Leave to spend calls; counted as spent from now on. Give it back by `Governor::finish`, whatever came of the call.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not finished keeps its place in flight"]
pub struct Permit {
    pub(crate) id: u64,
    pub lane: Lane,
    pub calls: u32,
}

/// The answer to a wish.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    Granted(Permit),
    Refused(Refusal),
}

/// Why not now, and when it makes sense to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: RefusalReason,
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
    /// A snapshot must be stored first (`GovernorConfig::ahead`).
    SnapshotDue,
    /// It asks for more than the whole budget: it can never be granted.
    LargerThanBudget,
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
        })
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShareSpent => "this pipeline's share of the org's allocation is spent",
            Self::OrgSpent => "the org's allocation is spent",
            Self::OwedToOtherLanes => "what is left is reserved for other lanes",
            Self::Paced => "it is spread over the day, its deadline allows it",
            Self::InFlight => "too many calls are in flight",
            Self::LongCalls => "too many calls take longer than 20 seconds",
            Self::Held => "the org said that a limit is exceeded",
            Self::SnapshotDue => "the quota ledger must be stored first",
            Self::LargerThanBudget => "it asks for more calls than the whole budget",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; ask again in {:?}", self.reason.code(), self.reason, self.retry_after)
    }
}
