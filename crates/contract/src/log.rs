//! The durable, ordered, partitioned log.

use async_trait::async_trait;
use bytes::Bytes;
use model::{ErrorCode, Offset, ProducerId, RecordBatch, Retry, StreamId, StreamPartition};
use std::time::Duration;

/// A durable log of records in streams and partitions.
///
/// ```text
///   start            durable              accepted
///     |----- readable -----|--- being synced ---|   -> appends go here
///  trimmed                                    next offset
/// ```
///
/// **Order.** Records of one append stand together, in their order, at consecutive offsets without holes. Appends to one
/// partition from several writers interleave by whole batches.
/// **Atomicity.** After a crash a batch is there whole or not at all.
/// **Durability.** `append` answers when the batch is *accepted*: ordered and given to the operating system. It is
/// *durable* once `until_durable` answered for its end. Readers only ever see durable records.
/// **Failure.** When the disk is full or fails, `append` and `until_durable` return an error, what was durable stays
/// readable, accepted records that were not durable are withdrawn (their offsets are given out again), and later appends
/// succeed again once there is room. An append that fails by itself withdraws nothing but its own batch. A withdrawal is
/// told: to everyone who waits for a withdrawn record; to a producer whose state was withdrawn, by each of its appends
/// until it has asked for its state again (`producer`), so that it can leave no gap; and by one append to the appenders
/// without a producer. A process that ends while its disk refuses even the withdrawal may find such batches again, whole.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Makes a stream if it is not there. Idempotent; the partition count of an existing stream must match.
    ///
    /// # Errors
    /// `Mismatch` when it exists with another number of partitions; `Io`.
    async fn create_stream(&self, stream: &StreamId, spec: StreamSpec) -> Result<(), LogError>;

    /// Lists the streams, sorted by name, with their partition counts.
    fn streams(&self) -> Vec<(StreamId, u32)>;

    /// Appends a batch; an empty batch is accepted and changes nothing but the producer's state.
    ///
    /// `producer`, when given, is stored atomically with the batch and comes back from `producer` after a crash.
    ///
    /// # Errors
    /// `NoStream`, `Full` and `Io` (nothing of the batch is kept; retry when the operator has acted), `ReadOnly`, `Closed`.
    async fn append(
        &self,
        to: &StreamPartition,
        batch: RecordBatch,
        producer: Option<ProducerState>,
    ) -> Result<Appended, LogError>;

    /// Waits until every record below `end` is durable, as they were when `end` was told: records that were withdrawn since
    /// and whose offsets were given out again are not the same. Cancel-safe.
    ///
    /// # Errors
    /// `Full`, `Io` when records below `end` were withdrawn; `Closed`.
    async fn until_durable(&self, of: &StreamPartition, end: AcceptedEnd) -> Result<(), LogError>;

    /// Reads the partition's bounds as they are now.
    ///
    /// # Errors
    /// `NoStream`.
    fn bounds(&self, of: &StreamPartition) -> Result<Bounds, LogError>;

    /// Bytes that the partition's records take on disk, those that retention may remove included.
    ///
    /// # Errors
    /// `NoStream`.
    fn size_bytes(&self, of: &StreamPartition) -> Result<u64, LogError>;

    /// Waits until the durable end lies beyond `offset` (a record at `offset` can be read). Cancel-safe.
    ///
    /// # Errors
    /// `NoStream`, `Closed`.
    async fn until_past(&self, of: &StreamPartition, offset: Offset) -> Result<Bounds, LogError>;

    /// Reads durable batches: the first holds `from`; the total is at least one batch when `from` is durable, and stops
    /// at the batch that reaches `bytes_max` (decompressed bytes). Empty when `from` is the durable end.
    ///
    /// # Errors
    /// `OutOfRange` when `from` was trimmed or lies beyond the end; `Corrupt` with the place; `Io`.
    async fn read(&self, of: &StreamPartition, from: Offset, bytes_max: usize) -> Result<Vec<LogBatch>, LogError>;

    /// Returns the last state that this producer appended with, if any; after a crash: the last *durable* one.
    ///
    /// # Errors
    /// `NoStream`.
    async fn producer(&self, of: &StreamPartition, producer: &ProducerId) -> Result<Option<ProducerState>, LogError>;

    /// Returns the first offset whose record's batch has an event time at or after `time_ms`; the durable end when none has.
    ///
    /// # Errors
    /// `NoStream`, `Io`.
    async fn offset_at(&self, of: &StreamPartition, time_ms: i64) -> Result<Offset, LogError>;

    /// Says that `reader` still needs everything from `floor` on: retention never removes it. Kept in memory; a reader
    /// says it again after a restart, before `retain` is called.
    fn set_floor(&self, of: &StreamPartition, reader: &str, floor: Offset);

    /// Removes what retention allows (whole segments, never past a floor); returns the new start.
    ///
    /// # Errors
    /// `NoStream`, `Io`.
    async fn retain(&self, of: &StreamPartition, now_ms: i64) -> Result<Offset, LogError>;
}

/// What a stream is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    pub partitions: u32,
    pub retention: Retention,
}

impl Default for StreamSpec {
    fn default() -> Self {
        Self { partitions: 1, retention: Retention::default() }
    }
}

/// How long records are kept, once every reader is past them. `None`: no limit of that kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub age: Option<Duration>,
    /// Bytes on disk per partition.
    pub bytes: Option<u64>,
}

/// Where an accepted batch stands: `[first, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first: Offset,
    pub end: Offset,
    /// Withdrawals of the partition before it.
    pub withdrawals: u64,
}

impl Appended {
    /// What to wait for, so that the batch is durable.
    pub fn accepted(&self) -> AcceptedEnd {
        AcceptedEnd { offset: self.end, withdrawals: self.withdrawals }
    }
}

/// An end of accepted records that `Log::until_durable` waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptedEnd {
    pub offset: Offset,
    /// How many withdrawals the partition had had when this end was told: offsets alone do not name records for good.
    pub withdrawals: u64,
}

/// A partition's bounds; `start <= durable <= accepted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first record that is still there.
    pub start: Offset,
    /// Everything below can be read and survives a crash.
    pub durable: Offset,
    /// The next offset to be given out.
    pub accepted: Offset,
    /// Withdrawals so far, of this process.
    pub withdrawals: u64,
}

impl Bounds {
    /// What to wait for, so that everything that is accepted now is durable.
    pub fn accepted_end(&self) -> AcceptedEnd {
        AcceptedEnd { offset: self.accepted, withdrawals: self.withdrawals }
    }
}

/// A batch as it stands in the log.
#[derive(Clone, Debug)]
pub struct LogBatch {
    /// The offset of its first record.
    pub base: Offset,
    pub records: RecordBatch,
}

impl LogBatch {
    /// The offset after its last record.
    pub fn end(&self) -> Offset {
        self.base.plus(u64::from(self.records.count()))
    }
}

/// A producer's own last position, opaque to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub producer: ProducerId,
    /// At most 4 KiB.
    pub position: Bytes,
}

/// Why the log refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    #[error("PS3001: the log has no partition {of}")]
    NoStream { of: StreamPartition },
    #[error("PS3002: stream {stream} has {found} partitions, {wanted} were asked for")]
    Mismatch { stream: StreamId, found: u32, wanted: u32 },
    #[error(
        "PS3003: no room left on the disk that holds {path}; what was durable is kept, appends go on when there is room"
    )]
    Full { path: String },
    #[error("PS3004: {action} {path} failed: {cause}")]
    Io { action: &'static str, path: String, cause: std::io::Error },
    #[error("PS3005: offset {wanted} of {of} is not in the log, which holds [{start}, {end})")]
    OutOfRange { of: StreamPartition, wanted: Offset, start: Offset, end: Offset },
    #[error("PS3006: {path} is damaged at byte {at}: {why}")]
    Corrupt { path: String, at: u64, why: String },
    #[error("PS3007: the log was opened for reading only")]
    ReadOnly,
    #[error("PS3008: another process writes to {path}")]
    Locked { path: String },
    #[error("PS3009: {path} has format version {found}; this program reads up to {known}")]
    TooNew { path: String, found: u16, known: u16 },
    #[error("PS3010: the log is closed")]
    Closed,
    #[error("PS3011: a record or producer state of {bytes} bytes is over the log's limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
}

impl LogError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        ErrorCode(match self {
            Self::NoStream { .. } => "PS3001",
            Self::Mismatch { .. } => "PS3002",
            Self::Full { .. } => "PS3003",
            Self::Io { .. } => "PS3004",
            Self::OutOfRange { .. } => "PS3005",
            Self::Corrupt { .. } => "PS3006",
            Self::ReadOnly => "PS3007",
            Self::Locked { .. } => "PS3008",
            Self::TooNew { .. } => "PS3009",
            Self::Closed => "PS3010",
            Self::TooLarge { .. } => "PS3011",
        })
    }

    /// What to do next.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Full { .. } => Retry::After(Duration::from_secs(1)),
            Self::Io { .. } => Retry::After(Duration::from_secs(5)),
            Self::Locked { .. } | Self::Corrupt { .. } | Self::TooNew { .. } => Retry::AfterOperator,
            _ => Retry::Never,
        }
    }
}
