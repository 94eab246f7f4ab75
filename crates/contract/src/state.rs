//! What Penstock remembers between runs: small values under names.

use async_trait::async_trait;
use model::{ErrorCode, Retry};
use std::time::Duration;

/// A durable, ordered map in named spaces (`checkpoint`, `slot`, `chunk`, `dlq`, `quota`, `command`, …).
///
/// **Atomicity.** The operations of one `write` happen all or not at all, also over a crash.
/// **Durability.** `write` answers when its operations survive a power cut.
/// **Isolation.** A read sees every write that was answered before it began; several processes may share one store.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// Reads one value.
    ///
    /// # Errors
    /// `StateError` when the store cannot be read; retrying may help when it is busy.
    async fn get(&self, space: &str, key: &str) -> Result<Option<Vec<u8>>, StateError>;

    /// Reads the entries whose key starts with `prefix`, sorted bytewise by key, at most `limit`, from after `after` on
    /// (`None`: from the start).
    ///
    /// # Errors
    /// As `get`.
    async fn scan(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StateError>;

    /// Carries out the operations in order, atomically.
    ///
    /// # Errors
    /// `Conflict` when an `Expect` does not hold: nothing was written; otherwise as `get`.
    async fn write(&self, ops: Vec<StateOp>) -> Result<(), StateError>;
}

/// One operation of an atomic write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateOp {
    Put {
        space: &'static str,
        key: String,
        value: Vec<u8>,
    },
    Delete {
        space: &'static str,
        key: String,
    },
    /// Fails the whole write unless the key has this value now (`None`: is absent).
    Expect {
        space: &'static str,
        key: String,
        value: Option<Vec<u8>>,
    },
}

/// Why the state store refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    #[error("PS3101: {space}/{key} was changed by somebody else")]
    Conflict { space: String, key: String },
    #[error("PS3102: the state store {path} failed: {cause}")]
    Store { path: String, cause: String },
    #[error("PS3103: the state store {path} has format version {found}; this program knows {known}")]
    TooNew { path: String, found: i64, known: i64 },
    #[error("PS3104: the state store {path} stayed busy for {waited:?}")]
    Busy { path: String, waited: Duration },
    #[error("PS3105: the value of {space}/{key} cannot be read: {cause}")]
    Malformed { space: String, key: String, cause: String },
    #[error("PS3106: the state store is closed")]
    Closed,
}

impl StateError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        ErrorCode(match self {
            Self::Conflict { .. } => "PS3101",
            Self::Store { .. } => "PS3102",
            Self::TooNew { .. } => "PS3103",
            Self::Busy { .. } => "PS3104",
            Self::Malformed { .. } => "PS3105",
            Self::Closed => "PS3106",
        })
    }

    /// What to do next.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Busy { .. } | Self::Conflict { .. } => Retry::After(Duration::from_millis(100)),
            Self::Store { .. } | Self::TooNew { .. } | Self::Malformed { .. } => Retry::AfterOperator,
            Self::Closed => Retry::Never,
        }
    }
}
