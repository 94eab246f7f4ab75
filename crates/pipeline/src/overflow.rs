//! What happens when a stream reaches its size limit: the source waits, or the oldest records of an expendable stream are given up.
//!
//! ```text
//!   size    0 ────────── 75 % ──── 80 % ────────── 100 %
//!                          ▲        alarm            │ block:       appends wait until there is room
//!                          └──── drops end here ─────┘ drop, sample: the oldest waiting records are settled as filtered
//! ```
//!
//! Nothing is ever removed from the log that is not settled: a drop is a settlement, which lets the checkpoint move, which lets
//! retention remove segments.

use async_trait::async_trait;
use contract::{AcceptedEnd, Appended, Bounds, Clock, Log, LogBatch, LogError, ProducerState, StreamSpec};
use hashbrown::HashMap;
use model::{Offset, ProducerId, RecordBatch, StreamId, StreamPartition};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The code of a settlement that gave a record up.
pub const SHED: &str = "PS5530";
/// A stream is nearly full, or full.
pub const NEARLY_FULL: &str = "PS5531";
/// A source waits since its stream is full.
pub const SOURCE_WAITS: &str = "PS5532";

/// Parts of a limit in percent: where the alarm begins, and how far drops go down.
const ALARM_PERCENT: u64 = 80;
const DRAIN_PERCENT: u64 = 75;
/// How often an appender that waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Bytes that may be appended between two looks at the size.
const UNLOOKED_BYTES_MAX: u64 = 4 << 20;

/// What is done when a stream is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The source waits: nothing is lost, the database keeps its WAL.
    #[default]
    Block,
    /// The oldest waiting records are given up.
    DropOldest,
    /// Of the oldest waiting records one of so many is kept.
    Sample { keep_one_of: u64 },
}

/// A stream's size limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamLimit {
    pub of: StreamPartition,
    pub bytes_max: u64,
    pub overflow: Overflow,
}

/// How full a stream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamFill {
    pub stream: StreamPartition,
    pub bytes: u64,
    pub bytes_max: u64,
    pub overflow: Overflow,
    pub level: Level,
    /// The source waits for room.
    pub source_waits: bool,
}

/// How near a stream is to its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    #[default]
    Fine,
    /// 80 % or more, until below 75 % again.
    Near,
    Full,
}

impl Level {
    /// The level at a size; it does not flutter at an edge: a source that waits lets the size swing about its limit.
    pub(crate) fn of(bytes: u64, bytes_max: u64, before: Self) -> Self {
        let percent = u128::from(bytes) * 100 / u128::from(bytes_max.max(1));
        let near = if before == Self::Fine { ALARM_PERCENT } else { DRAIN_PERCENT };
        let full = if before == Self::Full { ALARM_PERCENT } else { 100 };
        if percent >= u128::from(full) {
            Self::Full
        } else if percent >= u128::from(near) {
            Self::Near
        } else {
            Self::Fine
        }
    }
}

/// Below which offset records are given up, so that what is left takes 75 % of the limit; none while the stream is not full. Judged by
/// the mean size of the stream's records.
pub(crate) fn shed_below(bounds: Bounds, bytes: u64, bytes_max: u64) -> Option<Offset> {
    let records = bounds.durable.0.saturating_sub(bounds.start.0);
    if bytes < bytes_max || records == 0 {
        return None;
    }
    let keep = u128::from(bytes_max) * u128::from(DRAIN_PERCENT) / 100;
    let kept = u128::from(records) * keep / u128::from(bytes.max(1));
    Some(Offset(bounds.durable.0 - (kept as u64).min(records)))
}

/// Streams whose sources wait. Shared with the engine, which shows them.
pub(crate) type Waiting = Arc<Mutex<BTreeSet<StreamPartition>>>;

/// Tells whether every route has a checkpoint at a stream's end.
pub(crate) type Drained = Box<dyn Fn(&StreamPartition, Offset) -> bool + Send + Sync>;

/// A log whose appenders wait while their stream is full and its overflow is `block`. Everything else goes through unchanged.
pub struct BoundedLog {
    inner: Arc<dyn Log>,
    limits: HashMap<StreamPartition, u64>,
    /// Bytes that may be appended before the size is looked at again.
    unlooked: Mutex<HashMap<StreamPartition, u64>>,
    clock: Arc<dyn Clock>,
    waiting: Waiting,
    /// Tells whether every route is past the stream's end: then waiting frees nothing.
    drained: Drained,
    stop: CancellationToken,
}

impl BoundedLog {
    pub(crate) fn new(
        (inner, clock): (Arc<dyn Log>, Arc<dyn Clock>),
        limits: &[StreamLimit],
        waiting: Waiting,
        drained: Drained,
        stop: CancellationToken,
    ) -> Self {
        let blocking = limits.iter().filter(|limit| limit.overflow == Overflow::Block);
        let limits = blocking.map(|limit| (limit.of.clone(), limit.bytes_max)).collect();
        Self { inner, limits, unlooked: Mutex::default(), clock, waiting, drained, stop }
    }

    /// Waits until there is room for a batch.
    async fn until_room(&self, of: &StreamPartition, bytes: u64) -> Result<(), LogError> {
        let Some(bytes_max) = self.limits.get(of).copied() else { return Ok(()) };
        if let Some(left) = self.unlooked.lock().get_mut(of)
            && *left >= bytes
        {
            *left -= bytes;
            return Ok(());
        }
        let mut mark = None;
        loop {
            let size = self.inner.size_bytes(of)?;
            if size < bytes_max {
                let room = ((bytes_max - size) / 4).min(UNLOOKED_BYTES_MAX);
                self.unlooked.lock().insert(of.clone(), room.saturating_sub(bytes));
                return Ok(());
            }
            self.inner.retain(of, self.clock.now_ms()).await?;
            let end = self.inner.bounds(of)?.durable;
            if self.inner.size_bytes(of)? >= bytes_max && (self.drained)(of, end) {
                // Retention removes whole segments only, and the last one never.
                return Ok(());
            }
            if self.inner.size_bytes(of)? < bytes_max {
                continue;
            }
            mark.get_or_insert_with(|| WaitMark::new(&self.waiting, of));
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.stop.cancelled() => return Err(LogError::Closed),
            }
        }
    }
}

/// Stands for as long as an appender waits.
struct WaitMark {
    waiting: Waiting,
    of: StreamPartition,
}

impl WaitMark {
    fn new(waiting: &Waiting, of: &StreamPartition) -> Self {
        waiting.lock().insert(of.clone());
        // The operator is told by those who look at the stream and at the WAL: an appender waits many times a minute.
        tracing::debug!(%of, code = SOURCE_WAITS, "the stream is full: its source waits, the database keeps its WAL");
        metrics::gauge!("penstock_stream_source_waits", "stream" => of.to_string()).set(1.0);
        Self { waiting: waiting.clone(), of: of.clone() }
    }
}

impl Drop for WaitMark {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.of);
        tracing::debug!(of = %self.of, code = SOURCE_WAITS, "the source waits no longer");
        metrics::gauge!("penstock_stream_source_waits", "stream" => self.of.to_string()).set(0.0);
    }
}

#[async_trait]
impl Log for BoundedLog {
    async fn create_stream(&self, stream: &StreamId, spec: StreamSpec) -> Result<(), LogError> {
        self.inner.create_stream(stream, spec).await
    }

    fn streams(&self) -> Vec<(StreamId, u32)> {
        self.inner.streams()
    }

    async fn append(
        &self,
        to: &StreamPartition,
        batch: RecordBatch,
        producer: Option<ProducerState>,
    ) -> Result<Appended, LogError> {
        if !batch.is_empty() {
            self.until_room(to, batch.bytes().len() as u64).await?;
        }
        self.inner.append(to, batch, producer).await
    }

    async fn until_durable(&self, of: &StreamPartition, end: AcceptedEnd) -> Result<(), LogError> {
        self.inner.until_durable(of, end).await
    }

    fn bounds(&self, of: &StreamPartition) -> Result<Bounds, LogError> {
        self.inner.bounds(of)
    }

    fn size_bytes(&self, of: &StreamPartition) -> Result<u64, LogError> {
        self.inner.size_bytes(of)
    }

    async fn until_past(&self, of: &StreamPartition, offset: Offset) -> Result<Bounds, LogError> {
        self.inner.until_past(of, offset).await
    }

    async fn read(&self, of: &StreamPartition, from: Offset, bytes_max: usize) -> Result<Vec<LogBatch>, LogError> {
        self.inner.read(of, from, bytes_max).await
    }

    async fn producer(&self, of: &StreamPartition, producer: &ProducerId) -> Result<Option<ProducerState>, LogError> {
        self.inner.producer(of, producer).await
    }

    async fn offset_at(&self, of: &StreamPartition, time_ms: i64) -> Result<Offset, LogError> {
        self.inner.offset_at(of, time_ms).await
    }

    fn set_floor(&self, of: &StreamPartition, reader: &str, floor: Offset) {
        self.inner.set_floor(of, reader, floor);
    }

    async fn retain(&self, of: &StreamPartition, now_ms: i64) -> Result<Offset, LogError> {
        self.inner.retain(of, now_ms).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(start: u64, durable: u64) -> Bounds {
        Bounds { start: Offset(start), durable: Offset(durable), accepted: Offset(durable), withdrawals: 0 }
    }

    #[test]
    fn drops_go_down_to_three_quarters_of_the_limit() {
        assert_eq!(shed_below(bounds(0, 1000), 999, 1000), None);
        assert_eq!(shed_below(bounds(0, 1000), 1000, 1000), Some(Offset(250)));
        assert_eq!(shed_below(bounds(500, 1500), 2000, 1000), Some(Offset(1500 - 375)));
        assert_eq!(shed_below(bounds(7, 7), 1000, 1000), None);
    }

    #[test]
    fn alarm_does_not_flutter() {
        let mut level = Level::Fine;
        let levels: Vec<Level> = [79, 80, 76, 75, 74, 79, 100, 99, 80, 79, 100, 74]
            .into_iter()
            .map(|bytes| {
                level = Level::of(bytes, 100, level);
                level
            })
            .collect();
        use Level::{Fine, Full, Near};
        assert_eq!(levels, [Fine, Near, Near, Near, Fine, Fine, Full, Full, Full, Near, Full, Fine]);
    }

    proptest! {
        #[test]
        fn what_is_shed_lies_inside_the_stream(start in any::<u32>(), records in any::<u32>(), bytes in any::<u64>(), max in 1..u64::MAX) {
            let bounds = bounds(u64::from(start), u64::from(start) + u64::from(records));
            if let Some(below) = shed_below(bounds, bytes, max) {
                prop_assert!(bounds.start <= below && below <= bounds.durable && bytes >= max);
            }
        }
    }
}
