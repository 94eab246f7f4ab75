//! One partition that this process writes.
//!
//! ```text
//!  append ──lock──▶ write frame, remember it as pending ──▶ wake the committer
//!                                                             │ fdatasync, without the lock
//!  until_durable ◀── progress ◀── index, producers, durable ◀─┘
//! ```
//!
//! Invariants:
//! 1. `durable <= accepted`, in offsets and in bytes; the frames between are exactly `pending`, in order.
//! 2. Only whole frames below `durable` are shown, indexed, or counted as a producer's state after a withdrawal.
//! 3. A segment is durable to its end before the next one gets its name, so a torn tail is only ever in the last one.
//! 4. A withdrawal is told: to everyone who waits on a withdrawn offset, to each producer whose state was withdrawn (its
//!    next append fails until it has asked for its state), and once to the appenders without a producer.

mod append;
mod committer;
mod frames;
mod open;
mod repair;
mod retain;

pub(crate) use frames::Prepared;
pub(crate) use open::{OpenPartition, create_partition, list_bases, open_partition, shelve_sealed};

use crate::fault::Failure;
use crate::format::compress::Compressor;
use crate::format::frame::FrameHeader;
use crate::format::producers::Producers;
use crate::fs::LogFile;
use crate::options::LogOptions;
use crate::shelf::{Segment, Shelf};
use bytes::Bytes;
use contract::{AcceptedEnd, Bounds, Clock, LogError, ProducerState, Retention};
use model::{Offset, ProducerId, StreamId};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// Withdrawals remembered for waiters that slept through them; each also woke them.
const WITHDRAWALS_KEPT: usize = 64;

/// A partition with its only writer.
pub(crate) struct Partition {
    pub(crate) shelf: Arc<Shelf>,
    options: LogOptions,
    clock: Arc<dyn Clock>,
    compressor: Compressor,
    retention: Mutex<Retention>,
    floors: Mutex<BTreeMap<String, u64>>,
    writer: Mutex<Writer>,
    /// Wakes the committer.
    work: Condvar,
    /// Wakes everyone else; holds what they wait for.
    progress: watch::Sender<Progress>,
    /// The next offset, for `bounds` without the writer's lock.
    accepted: AtomicU64,
    meters: Meters,
}

/// What is counted for each partition's stream.
struct Meters {
    appended_records: metrics::Counter,
    stored_bytes: metrics::Counter,
    withdrawals: metrics::Counter,
    fsync_seconds: metrics::Histogram,
}

impl Meters {
    fn new(stream: &StreamId) -> Self {
        let stream = stream.as_str().to_owned();
        Self {
            appended_records: metrics::counter!("penstock_log_appended_records_total", "stream" => stream.clone()),
            stored_bytes: metrics::counter!("penstock_log_stored_bytes_total", "stream" => stream.clone()),
            withdrawals: metrics::counter!("penstock_log_withdrawals_total", "stream" => stream.clone()),
            fsync_seconds: metrics::histogram!("penstock_log_fsync_seconds", "stream" => stream),
        }
    }
}

/// What waiters see.
#[derive(Clone, Copy, Debug)]
struct Progress {
    durable: u64,
    /// Number of withdrawals so far.
    epoch: u64,
    closed: bool,
}

/// The writing end, under the lock.
struct Writer {
    phase: Phase,
    file: Arc<dyn LogFile>,
    segment: Arc<Segment>,
    accepted: Mark,
    durable: Mark,
    pending: VecDeque<Pending>,
    producers_accepted: Producers,
    producers_durable: Producers,
    /// Producers whose withdrawn state they have not been told of.
    fenced: BTreeMap<ProducerId, Failure>,
    /// The same for appends without a producer.
    fenced_anonymous: Option<Failure>,
    withdrawals: VecDeque<Withdrawal>,
    epoch: u64,
    repair_wanted: bool,
    repairs: u64,
    closing: bool,
}

/// A place between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    offset: u64,
    bytes: u64,
}

/// An accepted frame that is not durable.
struct Pending {
    header: FrameHeader,
    producer: Option<ProducerState>,
}

struct Withdrawal {
    epoch: u64,
    from: u64,
    failure: Failure,
}

/// What the writing end is doing. Set by appenders and the committer, never persisted.
enum Phase {
    /// Takes appends.
    Open,
    /// The segment is full: appenders wait while the committer makes the next one.
    Rolling,
    /// Something failed: the committer must put the file right, or make a new segment, before the next append.
    Broken(Failure),
}

impl Partition {
    /// Reads the bounds.
    pub(crate) fn bounds(&self) -> Bounds {
        let start = self.shelf.start();
        // The count first: a withdrawal in between then only makes a waiter start again.
        let Progress { durable, epoch: withdrawals, .. } = *self.progress.borrow();
        let accepted = self.accepted.load(Ordering::Acquire).max(durable);
        Bounds { start: Offset(start.min(durable)), durable: Offset(durable), accepted: Offset(accepted), withdrawals }
    }

    /// Waits until everything below `end` is durable.
    pub(crate) async fn until_durable(&self, end: AcceptedEnd) -> Result<(), LogError> {
        let mut progress = self.progress.subscribe();
        loop {
            let seen = *progress.borrow_and_update();
            if seen.epoch > end.withdrawals {
                self.refuse_withdrawn(end)?;
            }
            if seen.durable >= end.offset.0 {
                return Ok(());
            }
            if seen.closed {
                return Err(LogError::Closed);
            }
            progress.changed().await.map_err(|_| LogError::Closed)?;
        }
    }

    /// Fails when records below `end` were withdrawn since it was told; also when that is too long ago to tell.
    fn refuse_withdrawn(&self, end: AcceptedEnd) -> Result<(), LogError> {
        let writer = self.writer.lock();
        let mut since = writer.withdrawals.iter().filter(|withdrawal| withdrawal.epoch > end.withdrawals).peekable();
        let forgotten = since.peek().is_some_and(|oldest| oldest.epoch > end.withdrawals + 1);
        match since.find(|withdrawal| forgotten || withdrawal.from < end.offset.0) {
            Some(withdrawal) => Err(withdrawal.failure.error()),
            None => Ok(()),
        }
    }

    /// Waits until the record at `offset` can be read.
    pub(crate) async fn until_past(&self, offset: u64) -> Result<Bounds, LogError> {
        let mut progress = self.progress.subscribe();
        loop {
            let seen = *progress.borrow_and_update();
            if seen.durable > offset {
                return Ok(self.bounds());
            }
            if seen.closed {
                return Err(LogError::Closed);
            }
            progress.changed().await.map_err(|_| LogError::Closed)?;
        }
    }

    /// Returns a producer's last accepted state, and takes it as told what was withdrawn.
    pub(crate) fn producer(&self, producer: &ProducerId) -> Option<Bytes> {
        let mut writer = self.writer.lock();
        writer.fenced.remove(producer);
        writer.producers_accepted.get(producer).cloned()
    }

    /// Notes how far a reader still needs the records.
    pub(crate) fn set_floor(&self, reader: &str, floor: u64) {
        self.floors.lock().insert(reader.to_owned(), floor);
    }

    /// Changes what retention allows from now on.
    pub(crate) fn set_retention(&self, retention: Retention) {
        *self.retention.lock() = retention;
    }

    /// Asks the committer to make durable what is accepted, and to end; waiters get `Closed`.
    pub(crate) fn begin_close(&self) {
        self.writer.lock().closing = true;
        self.work.notify_all();
        // Appenders that wait for room or for a roll must see it as well.
        self.progress.send_modify(|_| {});
    }
}

impl Writer {
    /// The states that are withdrawn when everything pending is.
    fn pending_producers(&self) -> BTreeSet<ProducerId> {
        self.pending.iter().filter_map(|p| p.producer.as_ref()).map(|state| state.producer.clone()).collect()
    }
}
