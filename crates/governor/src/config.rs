//! What a governor is told at the start.

use crate::allocation::{AllocationSpec, LevelSpec};
use model::Lane;
use std::sync::Arc;
use std::time::Duration;

/// A part of a whole in thousandths, 0 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permille(pub u16);

impl Permille {
    /// Makes a part from a percentage; more than 100 is taken as 100.
    pub fn percent(percent: u16) -> Self {
        Self(percent.min(100) * 10)
    }

    /// This part of `whole`, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        (u128::from(whole) * u128::from(self.0.min(1000)) / 1000) as u64
    }
}

/// What a governor is told at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GovernorConfig {
    /// The rows that count in a rolling span.
    pub allocations: Vec<AllocationSpec>,
    /// The rows that are levels.
    pub levels: Vec<LevelSpec>,
    /// The pipeline's part of every allocation that names no share of its own.
    pub share: Permille,
    /// The lanes' reserved parts of the pipeline's share, by lane; at most 1000 in all.
    pub reserved: [Permille; 3],
    /// What an idle lane keeps of its reserved part, so that it can start at once when it wakes: the rest is lent.
    pub kept_when_idle: Permille,
    /// A lane that has asked for nothing, and has nothing in flight, for this long lends its reserved part.
    pub idle_after: Duration,
    /// Calls in flight at once, those of background work aside.
    pub in_flight_max: usize,
    /// Of these, how many only critical calls may use.
    pub in_flight_critical: usize,
    /// Calls that take `long_call` or more, at once, in the whole org; processes that share the ledger divide them.
    pub long_calls_max: usize,
    /// From when on a call counts as long.
    pub long_call: Duration,
    /// How old an org's figure may be when it is told: what it says is certain of what is older.
    pub reading_lag: Duration,
    /// How much of the budget may be spent at once before pacing spreads the rest over the span.
    pub burst: Permille,
    /// How much a stored entry of the ledger reserves ahead of time, of each allocation (`Lease`): at least this where
    /// the allocation is large enough, more at a high rate. A crash wastes up to so much. At 0 nothing need be stored
    /// before a grant: a crash then forgets what was spent since the last entry, and processes do not see each other.
    pub ahead: u64,
}

impl Default for GovernorConfig {
    fn default() -> Self {
        Self {
            allocations: AllocationSpec::all(),
            levels: LevelSpec::all(),
            share: Permille::percent(50),
            reserved: [Permille::percent(20), Permille::percent(50), Permille::percent(30)],
            kept_when_idle: Permille::percent(25),
            idle_after: Duration::from_secs(600),
            in_flight_max: 20,
            in_flight_critical: 2,
            // Calls of 20 s or more: 25 in production and sandboxes, 5 in Developer orgs (reference, section 2.12).
            long_calls_max: 25,
            long_call: Duration::from_secs(20),
            // `/limits` is accurate to some five minutes (reference, section 2.5).
            reading_lag: Duration::from_secs(300),
            burst: Permille::percent(10),
            ahead: 0,
        }
    }
}

/// A configuration that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("PS6001: the lanes' reserved parts add up to {permille} thousandths; at most 1000 can be kept")]
    OverReserved { permille: u32 },
    #[error("PS6002: {what} is 0: nothing could ever be sent")]
    Nothing { what: &'static str },
    #[error(
        "PS6003: allocation {name} has a bucket of {bucket:?} in a span of {span:?}; a span is a whole number of buckets"
    )]
    Bucket { name: Arc<str>, bucket: Duration, span: Duration },
}

impl ConfigError {
    /// The stable code.
    pub fn code(&self) -> model::ErrorCode {
        model::ErrorCode(match self {
            Self::OverReserved { .. } => "PS6001",
            Self::Nothing { .. } => "PS6002",
            Self::Bucket { .. } => "PS6003",
        })
    }
}

impl GovernorConfig {
    /// Returns the configuration when it can be kept.
    ///
    /// # Errors
    /// `ConfigError`; an operator must change it.
    pub fn checked(self) -> Result<Self, ConfigError> {
        let permille = self.reserved.iter().map(|part| u32::from(part.0)).sum();
        if permille > 1000 {
            return Err(ConfigError::OverReserved { permille });
        }
        let no_share = |row: &AllocationSpec| row.share.unwrap_or(self.share).0 == 0;
        let nothing = [
            (self.allocations.is_empty(), "the list of allocations"),
            (self.allocations.iter().any(no_share), "the share"),
            (self.in_flight_max == 0, "the number of calls in flight"),
            (self.in_flight_max <= self.in_flight_critical, "the number of calls in flight besides critical ones"),
        ];
        if let Some((_, what)) = nothing.into_iter().find(|(is_so, _)| *is_so) {
            return Err(ConfigError::Nothing { what });
        }
        for row in &self.allocations {
            let (span, bucket) = (row.span.as_millis(), row.bucket.as_millis());
            if bucket == 0 || span == 0 || span % bucket != 0 {
                return Err(ConfigError::Bucket { name: row.name.clone(), bucket: row.bucket, span: row.span });
            }
        }
        Ok(self)
    }

    pub(crate) fn reading_lag_ms(&self) -> i64 {
        self.reading_lag.as_millis().min(i64::MAX as u128 / 4) as i64
    }

    /// A lane's reserved part.
    pub fn reserved(&self, lane: Lane) -> Permille {
        self.reserved[lane as usize]
    }
}
