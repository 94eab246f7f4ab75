//! Where changes come from.

use crate::{Clock, CrashPoints, Log, LogError, StateError, StateStore};
use async_trait::async_trait;
use model::{ErrorCode, Finding, Lsn, Offset, Retry, SourceId, StreamPartition, TableName, TableSchema};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A system whose changes are captured into streams of the log.
///
/// **Order.** Records of one source stand in its streams in source commit order, within a transaction in the order of
/// the changes.
/// **Repetition.** A source finds its own last durable position in the log (`Log::producer`) when it starts and appends
/// nothing at or below it again: a crash at any point leaves neither a gap nor a repeat.
/// **Confirmation.** Upstream is told only of positions whose records are durable in every stream.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Checks connection, rights and tables without changing anything. Empty: all is well.
    async fn check(&self) -> Vec<Finding>;

    /// Describes the configured tables, in configuration order.
    ///
    /// # Errors
    /// `SourceError` when the source cannot be reached or a table is missing.
    async fn tables(&self) -> Result<Vec<TableSchema>, SourceError>;

    /// Captures until `ctx.stop` is cancelled or an error that needs an operator; reconnects by itself over transient ones.
    ///
    /// # Errors
    /// `SourceError` whose `retry()` is not `After`: what an operator must decide.
    async fn run(&self, ctx: SourceContext) -> Result<SourceEnd, SourceError>;
}

/// What a source works with.
#[derive(Clone)]
pub struct SourceContext {
    pub source: SourceId,
    pub log: Arc<dyn Log>,
    pub state: Arc<dyn StateStore>,
    pub clock: Arc<dyn Clock>,
    pub streams: Vec<StreamBinding>,
    pub stop: CancellationToken,
    pub admission: Arc<dyn Admission>,
    pub crash: CrashPoints,
    /// The source keeps this up to date; readers may be slow.
    pub status: Arc<watch::Sender<SourceStatus>>,
    /// Seeds back-off jitter.
    pub seed: u64,
}

/// Which tables a stream takes, and the business key of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamBinding {
    pub to: StreamPartition,
    /// Table → its business key's columns, in key order.
    pub keys: BTreeMap<TableName, Vec<String>>,
    /// Whether a record without a row marks the end of each source transaction that changed a row of the stream (header
    /// `transaction: end`), so that a reader knows at once when it has all of it.
    pub transactions: bool,
}

/// Lets snapshot chunks in only as fast as the routes take them.
#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Waits until another chunk of `table` may be read. Cancel-safe.
    async fn admit(&self, table: &TableName, rows: u64);
}

/// Admits at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdmitAll;

#[async_trait]
impl Admission for AdmitAll {
    async fn admit(&self, _table: &TableName, _rows: u64) {}
}

/// How far a table's first copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TablePhase {
    /// Set when the table is first seen; persisted by its absence from the chunk ledger.
    Waiting,
    /// Set with the first chunk; persisted with each chunk.
    Copying { rows_done: u64, rows_estimated: u64 },
    /// Set with the last chunk; persisted.
    Done { rows: u64 },
}

/// A source's state, for metrics and `penstock status`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceStatus {
    pub connected: bool,
    /// Changes appended since the start of this process.
    pub changes: u64,
    /// The source's newest position that was seen.
    pub received_lsn: Lsn,
    /// What upstream was told.
    pub confirmed_lsn: Lsn,
    /// Bytes of WAL between the server's end and `confirmed_lsn`, at the last look.
    pub lag_bytes: u64,
    /// Bytes of WAL that the slot makes the server keep, at the last look.
    pub retained_bytes: u64,
    /// Commit time of the newest change that was appended, Unix milliseconds; 0 before the first.
    pub newest_commit_ms: i64,
    /// The end of what was appended, for each stream partition.
    pub appended: Vec<(StreamPartition, Offset)>,
    pub tables: Vec<(TableName, TablePhase)>,
    pub reconnects: u64,
    /// The last transient error, without secrets.
    pub last_error: Option<String>,
}

/// How a capture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceEnd {
    /// `stop` was cancelled; everything appended is durable and confirmed.
    Stopped,
}

/// Why a source stopped or refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The connector's own error with its code and advice.
    #[error("{code}: {message} ({fix})")]
    Refused { code: ErrorCode, message: String, fix: String },
    #[error("{code}: {message}")]
    Transient { code: ErrorCode, message: String },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
}

impl SourceError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { code, .. } | Self::Transient { code, .. } => *code,
            Self::Log(error) => error.code(),
            Self::State(error) => error.code(),
        }
    }

    /// What to do next.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Refused { .. } => Retry::AfterOperator,
            Self::Transient { .. } => Retry::After(std::time::Duration::from_secs(1)),
            Self::Log(error) => error.retry(),
            Self::State(error) => error.retry(),
        }
    }
}
