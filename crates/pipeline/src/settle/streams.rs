//! The pipeline's own streams, and the journal of batches.

use contract::{Log, LogError, Retention, StreamSpec};
use model::{BatchIntent, Offset, RecordBatchBuilder, StreamId, StreamPartition};
use std::sync::Arc;

/// What became of every record: `model::Settlement`.
pub const SETTLEMENTS: &str = "_settlements";
/// Every batch before it is sent: `model::BatchIntent`.
pub const BATCHES: &str = "_batches";
/// Records that could not be applied, with `model::DeadLetter` in a header.
pub const DEAD_LETTERS: &str = "_dead_letters";

/// Bytes of intents that are kept behind the oldest checkpoint, for `penstock trace`.
const BATCHES_RETAINED_BYTES: u64 = 1 << 30;

/// Names the one partition of an internal stream.
pub(crate) fn internal(stream: &str) -> StreamPartition {
    StreamPartition::first(StreamId::from(stream))
}

/// Makes the internal streams if they are not there. Idempotent. Settlements and dead letters are kept without limit: they
/// are the proof.
///
/// # Errors
/// As `Log::create_stream`.
pub async fn create_streams(log: &dyn Log) -> Result<(), LogError> {
    let kept = StreamSpec { partitions: 1, retention: Retention::default() };
    let bounded = StreamSpec { partitions: 1, retention: Retention { age: None, bytes: Some(BATCHES_RETAINED_BYTES) } };
    log.create_stream(&StreamId::from(SETTLEMENTS), kept).await?;
    log.create_stream(&StreamId::from(DEAD_LETTERS), kept).await?;
    log.create_stream(&StreamId::from(BATCHES), bounded).await
}

/// Packs a value as one JSON record.
pub(crate) fn push_json<T: serde::Serialize>(into: &mut RecordBatchBuilder, at_ms: i64, value: &T) {
    let json = serde_json::to_vec(value).expect("settlements and intents hold only strings, numbers and lists");
    into.push(at_ms, None, Some(&json), &[]).expect("a batch has at most some ten thousand rows: far below 4 GiB");
}

/// Writes batches down before they are sent.
#[derive(Clone)]
pub struct Journal {
    log: Arc<dyn Log>,
    stream: StreamPartition,
}

impl Journal {
    /// Opens the journal; its stream exists.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, stream: internal(BATCHES) }
    }

    /// The offset at or after which every intent that is written from now on will stand.
    ///
    /// # Errors
    /// As `Log::bounds`.
    pub fn end(&self) -> Result<Offset, LogError> {
        // Not `accepted`: accepted records that the disk refuses are withdrawn, and their offsets given out again.
        Ok(self.log.bounds(&self.stream)?.durable)
    }

    /// Writes intents down; answers when they are durable. When it fails, a part may have become durable all the same: a
    /// restart then reads these rows back, which changes nothing.
    ///
    /// # Errors
    /// As `Log::append` and `Log::until_durable`.
    pub async fn write(&self, intents: &[BatchIntent]) -> Result<(), LogError> {
        let mut records = RecordBatchBuilder::default();
        for intent in intents {
            push_json(&mut records, intent.at_ms, intent);
        }
        let appended = self.log.append(&self.stream, records.finish(), None).await?;
        self.log.until_durable(&self.stream, appended.accepted()).await
    }
}
