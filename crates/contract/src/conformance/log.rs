//! The suite that every implementer of `Log` runs.
//!
//! An implementer gives a [`LogFixture`] for each case and calls [`run_all`]. Each case uses streams of its own names, so
//! a fixture may also be one log for all of them.

use crate::{AcceptedEnd, Appended, Log, LogBatch, LogError, ProducerState, Retention, StreamSpec};
use async_trait::async_trait;
use bytes::Bytes;
use model::{Offset, Partition, ProducerId, RecordBatch, RecordBatchBuilder, StreamId, StreamPartition};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Long enough for any machine; a case that reaches it has hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// A log for one case.
#[async_trait]
pub trait LogFixture: Send {
    /// Opens the log for the first time.
    async fn open(&mut self) -> Arc<dyn Log>;

    /// Ends this instance as a crash would and opens what is left; `None` when this kind of log cannot be crashed.
    async fn crash(&mut self, log: Arc<dyn Log>) -> Option<Arc<dyn Log>>;
}

/// Runs every case, each with a fresh fixture; panics at the first broken promise.
pub async fn run_all<F: LogFixture>(mut fresh: impl FnMut() -> F) {
    appended_batches_come_back_in_order_without_holes(&mut fresh()).await;
    read_from_inside_a_batch_begins_with_that_batch(&mut fresh()).await;
    read_stops_at_the_batch_that_reaches_the_limit(&mut fresh()).await;
    read_outside_the_bounds_is_refused(&mut fresh()).await;
    unknown_stream_and_partition_are_refused(&mut fresh()).await;
    stream_creation_is_idempotent_and_checks_partitions(&mut fresh()).await;
    partitions_are_independent(&mut fresh()).await;
    empty_batch_changes_nothing_but_the_producer(&mut fresh()).await;
    waiters_are_woken_and_may_give_up(&mut fresh()).await;
    writers_interleave_by_whole_batches(&mut fresh()).await;
    keys_values_and_headers_come_back_as_they_were(&mut fresh()).await;
    producer_state_is_the_last_one(&mut fresh()).await;
    durable_records_survive_a_crash(&mut fresh()).await;
    crash_keeps_whole_batches_with_their_producer(&mut fresh()).await;
    offset_at_finds_the_first_batch_of_a_time(&mut fresh()).await;
    retention_never_passes_a_floor(&mut fresh()).await;
    too_large_producer_state_is_refused(&mut fresh()).await;
}

/// Makes a batch of `count` records numbered from `first`, at `time_ms`.
pub fn numbered(first: u64, count: u64, time_ms: i64) -> RecordBatch {
    let mut builder = RecordBatchBuilder::default();
    for number in first..first + count {
        let key = number.to_be_bytes();
        let value = format!("value of record {number}, which compresses: {}", "x".repeat((number % 90) as usize));
        builder.push(time_ms, Some(&key), Some(value.as_bytes()), &[("n", &key)]).expect("a small record fits");
    }
    builder.finish()
}

/// Returns the numbers of the records that `numbered` made, checking that offsets have no holes.
pub fn numbers(batches: &[LogBatch]) -> Vec<u64> {
    let mut numbers = Vec::new();
    for pair in batches.windows(2) {
        assert_eq!(pair[0].end(), pair[1].base, "batches follow each other");
    }
    for batch in batches {
        assert!(!batch.records.is_empty(), "a read gives no empty batch");
        assert_eq!(batch.records.iter().count(), batch.records.count() as usize);
        for record in &batch.records {
            let key: [u8; 8] = record.key.and_then(|key| key.try_into().ok()).expect("a numbered record");
            assert_eq!(record.header("n"), Some(&key[..]));
            numbers.push(u64::from_be_bytes(key));
        }
    }
    numbers
}

/// Reads everything that is durable.
pub async fn read_all(log: &dyn Log, of: &StreamPartition) -> Vec<LogBatch> {
    let bounds = log.bounds(of).expect("the stream exists");
    let (mut at, mut all) = (bounds.start, Vec::new());
    while at < bounds.durable {
        let batches = log.read(of, at, 1 << 16).await.expect("durable records can be read");
        assert!(!batches.is_empty(), "at least one batch below the durable end");
        at = batches.last().map_or(at, LogBatch::end);
        all.extend(batches);
    }
    all
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

async fn stream(log: &dyn Log, name: &str) -> StreamPartition {
    let stream = StreamId::new(name);
    log.create_stream(&stream, StreamSpec::default()).await.expect("a new stream");
    StreamPartition::first(stream)
}

async fn append(log: &dyn Log, to: &StreamPartition, batch: RecordBatch) -> Appended {
    soon("append", log.append(to, batch, None)).await.expect("an append")
}

async fn append_durably(log: &dyn Log, to: &StreamPartition, batch: RecordBatch) -> Appended {
    let appended = append(log, to, batch).await;
    soon("durability", log.until_durable(to, appended.accepted())).await.expect("durability");
    appended
}

fn state(producer: &str, position: u64) -> ProducerState {
    ProducerState { producer: ProducerId::new(producer), position: Bytes::copy_from_slice(&position.to_be_bytes()) }
}

async fn appended_batches_come_back_in_order_without_holes(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "in order").await;
    let (mut first, mut end) = (0, Offset(0));
    for count in [1, 7, 500, 1, 2] {
        let appended = append_durably(&*log, &to, numbered(first, count, 0)).await;
        assert_eq!((appended.first, appended.end), (end, end.plus(count)));
        (first, end) = (first + count, appended.end);
    }
    let bounds = log.bounds(&to).expect("bounds");
    assert_eq!((bounds.start, bounds.durable, bounds.accepted), (Offset(0), end, end));
    assert_eq!(numbers(&read_all(&*log, &to).await), (0..first).collect::<Vec<_>>());
}

async fn read_from_inside_a_batch_begins_with_that_batch(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "inside").await;
    append(&*log, &to, numbered(0, 10, 0)).await;
    append_durably(&*log, &to, numbered(10, 10, 0)).await;
    for (from, base) in [(0, 0), (9, 0), (10, 10), (19, 10)] {
        let batches = log.read(&to, Offset(from), 1).await.expect("a read");
        assert_eq!(batches.first().map(|batch| batch.base), Some(Offset(base)), "from {from}");
    }
    assert!(log.read(&to, Offset(20), 1000).await.expect("a read at the end").is_empty());
}

async fn read_stops_at_the_batch_that_reaches_the_limit(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "limit").await;
    let size = numbered(0, 10, 0).bytes().len();
    for first in 0..5 {
        append_durably(&*log, &to, numbered(first * 10, 10, 0)).await;
    }
    for (limit, most) in [(0, 1), (1, 1), (size, 1), (size + 1, 2), (usize::MAX, 5)] {
        let batches = log.read(&to, Offset(0), limit).await.expect("a read");
        assert!((1..=most).contains(&batches.len()), "limit {limit} gave {}", batches.len());
    }
}

async fn read_outside_the_bounds_is_refused(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "outside").await;
    append_durably(&*log, &to, numbered(0, 3, 0)).await;
    assert!(matches!(log.read(&to, Offset(4), 1).await, Err(LogError::OutOfRange { .. })));
    assert!(matches!(log.read(&to, Offset(u64::MAX), 1).await, Err(LogError::OutOfRange { .. })));
}

async fn unknown_stream_and_partition_are_refused(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let known = stream(&*log, "known").await;
    let strangers =
        [StreamPartition::first(StreamId::new("stranger")), StreamPartition { partition: Partition(1), ..known }];
    for of in strangers {
        assert!(matches!(log.bounds(&of), Err(LogError::NoStream { .. })));
        assert!(matches!(log.append(&of, numbered(0, 1, 0), None).await, Err(LogError::NoStream { .. })));
        assert!(matches!(log.read(&of, Offset(0), 1).await, Err(LogError::NoStream { .. })));
        assert!(matches!(log.until_past(&of, Offset(0)).await, Err(LogError::NoStream { .. })));
        assert!(matches!(log.offset_at(&of, 0).await, Err(LogError::NoStream { .. })));
    }
}

async fn stream_creation_is_idempotent_and_checks_partitions(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let name = StreamId::new("../Über a/b");
    let three = StreamSpec { partitions: 3, ..StreamSpec::default() };
    log.create_stream(&name, three).await.expect("a new stream");
    let of = StreamPartition { stream: name.clone(), partition: Partition(2) };
    append_durably(&*log, &of, numbered(0, 2, 0)).await;
    log.create_stream(&name, three).await.expect("the same again");
    assert_eq!(numbers(&read_all(&*log, &of).await), [0, 1]);
    let refused = log.create_stream(&name, StreamSpec::default()).await;
    assert!(matches!(refused, Err(LogError::Mismatch { found: 3, wanted: 1, .. })));
    log.create_stream(&StreamId::new("another"), StreamSpec::default()).await.expect("a new stream");
    let streams = log.streams();
    assert!(streams.contains(&(name, 3)));
    assert!(streams.is_sorted());
    if let Some(log) = fixture.crash(log).await {
        assert_eq!(log.streams(), streams);
    }
}

async fn partitions_are_independent(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let name = StreamId::new("independent");
    log.create_stream(&name, StreamSpec { partitions: 2, ..StreamSpec::default() }).await.expect("a new stream");
    let [a, b] = [0, 1].map(|n| StreamPartition { stream: name.clone(), partition: Partition(n) });
    append_durably(&*log, &a, numbered(0, 5, 0)).await;
    assert_eq!(append_durably(&*log, &b, numbered(70, 2, 0)).await.first, Offset(0));
    assert_eq!(numbers(&read_all(&*log, &a).await), [0, 1, 2, 3, 4]);
    assert_eq!(numbers(&read_all(&*log, &b).await), [70, 71]);
}

async fn empty_batch_changes_nothing_but_the_producer(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "empty").await;
    append_durably(&*log, &to, numbered(0, 2, 0)).await;
    let empty = || RecordBatchBuilder::default().finish();
    for producer in [None, Some(state("p", 7))] {
        let appended = log.append(&to, empty(), producer).await.expect("an empty batch");
        assert_eq!((appended.first, appended.end), (Offset(2), Offset(2)));
    }
    append_durably(&*log, &to, numbered(2, 1, 0)).await;
    assert_eq!(numbers(&read_all(&*log, &to).await), [0, 1, 2]);
    assert_eq!(log.producer(&to, &ProducerId::new("p")).await.expect("a state"), Some(state("p", 7)));
    if let Some(log) = fixture.crash(log).await {
        assert_eq!(numbers(&read_all(&*log, &to).await), [0, 1, 2]);
        assert_eq!(log.producer(&to, &ProducerId::new("p")).await.expect("a state"), Some(state("p", 7)));
    }
}

async fn waiters_are_woken_and_may_give_up(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "wait").await;
    {
        // A wait that is given up has no effect.
        let wait = log.until_past(&to, Offset(0));
        assert!(tokio::time::timeout(Duration::ZERO, wait).await.is_err());
    }
    let waiting = {
        let (log, to) = (Arc::clone(&log), to.clone());
        tokio::spawn(async move { log.until_past(&to, Offset(2)).await })
    };
    for first in 0..3 {
        append_durably(&*log, &to, numbered(first, 1, 0)).await;
    }
    let bounds = soon("waking", waiting).await.expect("no panic").expect("bounds");
    assert!(bounds.durable >= Offset(3));
    assert!(soon("an answer", log.until_past(&to, Offset(1))).await.is_ok());
    assert!(soon("an answer", log.until_durable(&to, AcceptedEnd { offset: Offset(0), withdrawals: 0 })).await.is_ok());
}

async fn writers_interleave_by_whole_batches(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "writers").await;
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let (log, to) = (Arc::clone(&log), to.clone());
            tokio::spawn(async move {
                for batch in 0..25 {
                    let first = writer * 1_000_000 + batch * 3;
                    let appended = log.append(&to, numbered(first, 3, 0), None).await.expect("an append");
                    if batch % 5 == 0 {
                        log.until_durable(&to, appended.accepted()).await.expect("durability");
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        soon("a writer", writer).await.expect("no panic");
    }
    soon("durability", log.until_durable(&to, AcceptedEnd { offset: Offset(300), withdrawals: 0 }))
        .await
        .expect("durability");
    let numbers = numbers(&read_all(&*log, &to).await);
    assert_eq!(numbers.len(), 300);
    assert!(numbers.chunks(3).all(|batch| batch[1] == batch[0] + 1 && batch[2] == batch[0] + 2), "whole batches");
    for writer in 0..4 {
        let own: Vec<_> = numbers.iter().filter(|n| **n / 1_000_000 == writer).collect();
        assert!(own.is_sorted(), "each writer's own order");
    }
}

async fn keys_values_and_headers_come_back_as_they_were(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "bytes").await;
    let mut builder = RecordBatchBuilder::default();
    let long = vec![0xa5; 300_000];
    builder.push(i64::MIN, None, None, &[]).expect("fits");
    builder.push(i64::MAX, Some(b""), Some(b""), &[("", b""), ("twice", b"1"), ("twice", b"2")]).expect("fits");
    builder.push(0, Some(b"\0\xff"), Some(&long), &[]).expect("fits");
    let batch = builder.finish();
    append_durably(&*log, &to, batch.clone()).await;
    let read = read_all(&*log, &to).await;
    assert_eq!(read.iter().map(|b| &b.records).collect::<Vec<_>>(), [&batch]);
    if let Some(log) = fixture.crash(log).await {
        assert_eq!(read_all(&*log, &to).await[0].records, batch);
    }
}

async fn producer_state_is_the_last_one(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "producers").await;
    assert_eq!(log.producer(&to, &ProducerId::new("a")).await.expect("an answer"), None);
    for (producer, position) in [("a", 1), ("b", 1), ("a", 2)] {
        let appended = log.append(&to, numbered(0, 1, 0), Some(state(producer, position))).await.expect("an append");
        soon("durability", log.until_durable(&to, appended.accepted())).await.expect("durability");
    }
    assert_eq!(log.producer(&to, &ProducerId::new("a")).await.expect("an answer"), Some(state("a", 2)));
    let Some(log) = fixture.crash(log).await else { return };
    assert_eq!(log.producer(&to, &ProducerId::new("a")).await.expect("an answer"), Some(state("a", 2)));
    assert_eq!(log.producer(&to, &ProducerId::new("b")).await.expect("an answer"), Some(state("b", 1)));
    assert_eq!(log.producer(&to, &ProducerId::new("c")).await.expect("an answer"), None);
}

async fn durable_records_survive_a_crash(fixture: &mut impl LogFixture) {
    let mut log = fixture.open().await;
    let to = stream(&*log, "crash").await;
    for round in 0..3 {
        append(&*log, &to, numbered(round * 10, 4, 0)).await;
        append_durably(&*log, &to, numbered(round * 10 + 4, 6, 0)).await;
        log = match fixture.crash(log).await {
            Some(log) => log,
            None => return,
        };
        assert_eq!(numbers(&read_all(&*log, &to).await), (0..(round + 1) * 10).collect::<Vec<_>>());
        let bounds = log.bounds(&to).expect("bounds");
        assert_eq!(bounds.durable, bounds.accepted);
    }
}

async fn crash_keeps_whole_batches_with_their_producer(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "atomic").await;
    append_durably(&*log, &to, numbered(0, 5, 0)).await;
    for batch in 1..20 {
        let batch_of_five = numbered(batch * 5, 5, 0);
        log.append(&to, batch_of_five, Some(state("p", batch))).await.expect("an append");
    }
    let Some(log) = fixture.crash(log).await else { return };
    let numbers = numbers(&read_all(&*log, &to).await);
    assert_eq!(numbers.len() % 5, 0, "whole batches");
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    let last = (numbers.len() as u64 / 5 - 1).checked_sub(1).map(|n| state("p", n + 1));
    assert_eq!(log.producer(&to, &ProducerId::new("p")).await.expect("an answer"), last);
}

async fn offset_at_finds_the_first_batch_of_a_time(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "time").await;
    for (batch, time) in [100, 300, 200, 400].into_iter().enumerate() {
        append_durably(&*log, &to, numbered(batch as u64 * 10, 10, time)).await;
    }
    for (time, offset) in [(i64::MIN, 0), (100, 0), (101, 10), (300, 10), (301, 30), (400, 30), (401, 40)] {
        assert_eq!(log.offset_at(&to, time).await.expect("an offset"), Offset(offset), "time {time}");
    }
}

async fn retention_never_passes_a_floor(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let stream = StreamId::new("retention");
    let spec = StreamSpec { partitions: 1, retention: Retention { age: None, bytes: Some(1) } };
    log.create_stream(&stream, spec).await.expect("a new stream");
    let to = StreamPartition::first(stream);
    for batch in 0..40 {
        append_durably(&*log, &to, numbered(batch * 10, 10, 0)).await;
    }
    log.set_floor(&to, "slow", Offset(95));
    log.set_floor(&to, "fast", Offset(300));
    let start = log.retain(&to, 0).await.expect("retention");
    assert!(start <= Offset(95), "start {start} is past the floor");
    assert_eq!(numbers(&read_all(&*log, &to).await), (start.0..400).collect::<Vec<_>>());
    log.set_floor(&to, "slow", Offset(400));
    let later = log.retain(&to, 0).await.expect("retention");
    assert!(start <= later && later <= Offset(300));
    if later > Offset(0) {
        assert!(matches!(log.read(&to, Offset(0), 1).await, Err(LogError::OutOfRange { .. })));
    }
    assert_eq!(log.bounds(&to).expect("bounds").start, later);
    if let Some(log) = fixture.crash(log).await {
        assert_eq!(numbers(&read_all(&*log, &to).await), (later.0..400).collect::<Vec<_>>());
    }
}

async fn too_large_producer_state_is_refused(fixture: &mut impl LogFixture) {
    let log = fixture.open().await;
    let to = stream(&*log, "large").await;
    let state = |bytes| ProducerState { producer: ProducerId::new("p"), position: Bytes::from(vec![1; bytes]) };
    assert!(log.append(&to, numbered(0, 1, 0), Some(state(4096))).await.is_ok());
    let refused = log.append(&to, numbered(1, 1, 0), Some(state(4097))).await;
    assert!(matches!(refused, Err(LogError::TooLarge { .. })));
    assert_eq!(log.bounds(&to).expect("bounds").accepted, Offset(1));
}
