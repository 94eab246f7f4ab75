//! What a proof is asked about, and what it says.

use contract::LogError;
use model::{ErrorCode, Offset, Position, Retry, RouteId, StreamId, StreamPartition};
use serde::Serialize;

/// A route as the proof needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofRoute {
    pub id: RouteId,
    pub stream: StreamPartition,
    /// As in the records' `table` header: `schema.table`.
    pub table: String,
    /// False for `ordering: none`: order is then not promised, and not checked.
    pub ordered: bool,
    /// Where the route began to read; records before are not its own. The stream's start is the earliest.
    pub from: Offset,
    /// Everything below should be settled: the checkpoint, or the stream's end when the pipeline has run dry. Records
    /// at or above it that are not settled are pending.
    pub settled_to: Offset,
}

/// The whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProofReport {
    /// In the order in which they were asked about.
    pub routes: Vec<RouteProof>,
    /// The first faults of each kind and route, at most 20 of a kind; the counts are complete.
    pub faults: Vec<Fault>,
    /// Settlements read.
    pub settlements: u64,
    /// The same settlement written twice because the log had withdrawn it.
    pub echoes: u64,
    /// Records of `_settlements` that are none.
    pub malformed_settlements: u64,
    /// How often the streams were read to stay within the memory limit.
    pub passes: u32,
}

impl ProofReport {
    /// True when nothing was lost, repeated, out of order, stray or unaccounted for.
    pub fn holds(&self) -> bool {
        self.malformed_settlements == 0 && self.routes.iter().all(RouteProof::holds)
    }

    /// Adds a count over all routes.
    pub fn total(&self, count: impl Fn(&RouteProof) -> u64) -> u64 {
        self.routes.iter().map(count).sum()
    }
}

/// One route's counts; every record of its table in the stream's present part is in exactly one of applied, superseded,
/// filtered, dead-lettered, pending, lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteProof {
    pub route: RouteId,
    /// Records of the route's table.
    pub records: u64,
    pub applied: u64,
    pub superseded: u64,
    pub filtered: u64,
    pub dead_lettered: u64,
    /// Not settled, at or above the checkpoint.
    pub pending: u64,
    /// Not settled, below the checkpoint.
    pub lost: u64,
    /// Settled more than once, and not in one way.
    pub repeated: u64,
    /// Applied although a later record of the same key was applied before.
    pub out_of_order: u64,
    /// Settled again in the same way by a read-back, or without effect.
    pub confirmed: u64,
    /// Dead-lettered once and redriven since.
    pub redriven: u64,
    /// Of the applied: told by a read-back and not by an answer.
    pub read_back: u64,
    /// Dead-lettered, but `_dead_letters` has no record of it.
    pub dead_letters_missing: u64,
    /// Settled for a position that holds no record of the route's table.
    pub stray: u64,
    /// Records without a key: their order cannot be checked.
    pub keyless: u64,
    pub settled_to: Offset,
}

impl RouteProof {
    pub(super) fn new(route: &ProofRoute) -> Self {
        Self {
            route: route.id.clone(),
            records: 0,
            applied: 0,
            superseded: 0,
            filtered: 0,
            dead_lettered: 0,
            pending: 0,
            lost: 0,
            repeated: 0,
            out_of_order: 0,
            confirmed: 0,
            redriven: 0,
            read_back: 0,
            dead_letters_missing: 0,
            stray: 0,
            keyless: 0,
            settled_to: route.settled_to,
        }
    }

    /// True when this route kept its promises.
    pub fn holds(&self) -> bool {
        self.lost == 0
            && self.repeated == 0
            && self.out_of_order == 0
            && self.dead_letters_missing == 0
            && self.stray == 0
    }
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    pub kind: FaultKind,
    pub route: RouteId,
    pub stream: StreamId,
    pub position: Position,
    /// The record's key, where it was at hand; at most 200 bytes of it.
    pub key: Option<String>,
    /// The offset in `_settlements` that shows it.
    pub settlement: Option<Offset>,
}

/// Which promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    Lost,
    Repeated,
    OutOfOrder,
    DeadLetterMissing,
    Stray,
}

impl FaultKind {
    /// The stable code of `penstock explain`.
    pub fn code(self) -> ErrorCode {
        ErrorCode(match self {
            Self::Lost => "PS5701",
            Self::Repeated => "PS5702",
            Self::OutOfOrder => "PS5703",
            Self::DeadLetterMissing => "PS5704",
            Self::Stray => "PS5705",
        })
    }
}

/// Why nothing could be proved.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("PS5711: {of} was trimmed to {start} while it was read from {wanted}; run the proof again")]
    Trimmed { of: StreamPartition, start: Offset, wanted: Offset },
}

impl ProofError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Log(error) => error.code(),
            Self::Trimmed { .. } => ErrorCode("PS5711"),
        }
    }

    /// What to do next.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Log(error) => error.retry(),
            Self::Trimmed { .. } => Retry::After(std::time::Duration::ZERO),
        }
    }
}
