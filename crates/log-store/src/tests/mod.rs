//! Tests over the whole crate.

mod conformance;
mod damage;
mod disk_faults;
mod follow;
mod model;
mod on_disk;
mod samples;
mod simulated;

use crate::fs::Files;
use crate::{LogOptions, LogStore};
use ::contract::conformance::log::{numbered, numbers, read_all};
use ::contract::{AcceptedEnd, Appended, Clock, Log, LogError, ProducerState, Retention, StreamSpec};
use ::model::{Offset, ProducerId, RecordBatch, StreamId, StreamPartition};
use bytes::Bytes;
use simulated::SimulatedFiles;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const ROOT: &str = "/log";

/// A clock that goes on by a millisecond each time somebody looks.
struct StepClock;

impl Clock for StepClock {
    fn now_ms(&self) -> i64 {
        static STEPS: AtomicI64 = AtomicI64::new(1_700_000_000_000);
        STEPS.fetch_add(1, Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Small segments and a small cache, so that short tests roll and read from files.
fn small() -> LogOptions {
    LogOptions { segment_bytes: 1_000, cache_bytes: 2_000, unsynced_bytes_max: 4_000, ..LogOptions::default() }
}

fn try_open(files: &SimulatedFiles, options: LogOptions) -> Result<LogStore, LogError> {
    let files: Arc<dyn Files> = Arc::new(files.process());
    LogStore::open_on(files, Path::new(ROOT), options, Arc::new(StepClock))
}

fn open(files: &SimulatedFiles) -> LogStore {
    try_open(files, small()).expect("a log that opens")
}

/// Makes the stream `s` and names its partition.
async fn stream(log: &dyn Log) -> StreamPartition {
    let id = StreamId::new("s");
    log.create_stream(&id, StreamSpec::default()).await.expect("a stream");
    StreamPartition::first(id)
}

async fn durably(log: &dyn Log, to: &StreamPartition, batch: RecordBatch) -> Appended {
    let appended = log.append(to, batch, None).await.expect("an append");
    log.until_durable(to, appended.accepted()).await.expect("durability");
    appended
}

fn state(producer: &str, position: u64) -> ProducerState {
    ProducerState { producer: ProducerId::new(producer), position: Bytes::copy_from_slice(&position.to_be_bytes()) }
}
