//! Why the engine ended.

use super::quota_ledger::LedgerError;
use contract::{LogError, SinkError, StateError};
use governor::SnapshotError;
use model::{ErrorCode, Finding, OrgId, Retry, RouteId};
use std::fmt;

/// Why the engine did not start, or stopped before it was told to. What was settled is settled; a restart goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The route does not fit its table or its target.
    #[error("PS5501: route {route} cannot run: {findings}")]
    Plan { route: RouteId, findings: Findings },
    /// A record of an internal stream is not what it must be.
    #[error("PS5502: the journal record at {place} cannot be read: {cause}; `penstock prove` tells what it concerned")]
    Journal { place: String, cause: String },
    #[error("PS5503: no sink is configured for org {org}, which route {route} writes to")]
    NoSink { route: RouteId, org: OrgId },
    /// A task of the engine panicked: a broken promise of our own.
    #[error("PS5504: a task of the engine failed: {cause}; restart, and report it with the log")]
    Task { cause: String },
    /// A record that cannot be taken into the window.
    #[error("PS5505: route {route} cannot read on: {cause}")]
    Unreadable { route: RouteId, cause: String },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Quota(#[from] SnapshotError),
}

impl From<LedgerError> for EngineError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Snapshot(error) => Self::Quota(error),
            LedgerError::State(error) => Self::State(error),
        }
    }
}

/// The findings of a check, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            write!(f, "{}{finding}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl EngineError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Plan { .. } => ErrorCode("PS5501"),
            Self::Journal { .. } => ErrorCode("PS5502"),
            Self::NoSink { .. } => ErrorCode("PS5503"),
            Self::Task { .. } => ErrorCode("PS5504"),
            Self::Unreadable { .. } => ErrorCode("PS5505"),
            Self::Log(error) => error.code(),
            Self::State(error) => error.code(),
            Self::Sink(error) => error.code,
            Self::Quota(error) => error.code(),
        }
    }

    /// What to do next.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Plan { .. }
            | Self::NoSink { .. }
            | Self::Journal { .. }
            | Self::Unreadable { .. }
            | Self::Quota(_) => Retry::AfterOperator,
            Self::Task { .. } => Retry::After(std::time::Duration::from_secs(1)),
            Self::Log(error) => error.retry(),
            Self::State(error) => error.retry(),
            Self::Sink(error) => error.retry(),
        }
    }
}
