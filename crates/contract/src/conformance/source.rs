//! The suite that every implementer of `Source` runs.
//!
//! An implementer gives a [`SourceFixture`] for each case and calls [`run_all`]. A fixture is an upstream with one table whose
//! business key is a number, and the log and state that a process leaves behind.

use crate::{Log, Source, SourceContext, SourceEnd, SourceError};
use async_trait::async_trait;
use model::{Offset, Record, StreamPartition};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Long enough for any machine; a case that reaches it has hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// An upstream with what a process leaves behind.
#[async_trait]
pub trait SourceFixture: Send {
    /// The source as a new process would make it, with the log and state that the last one left.
    async fn open(&mut self) -> (Arc<dyn Source>, SourceContext);

    /// Adds rows with the keys `[first, first + count)` in one transaction, in this order.
    async fn add(&mut self, first: u64, count: u64);

    /// Cuts every connection between the source and its upstream, as a restart of either would.
    async fn cut(&mut self);

    /// Reads a record's key.
    fn number(&self, record: &Record<'_>) -> u64;
}

/// Runs every case, each with a fresh fixture; panics at the first broken promise.
pub async fn run_all<F: SourceFixture>(mut fresh: impl AsyncFnMut() -> F) {
    sound_source_has_no_finding_and_describes_its_tables(&mut fresh().await).await;
    rows_from_before_and_after_the_start_arrive_once(&mut fresh().await).await;
    changes_arrive_in_commit_order(&mut fresh().await).await;
    stopped_source_goes_on_where_it_was(&mut fresh().await).await;
    dropped_source_leaves_neither_gap_nor_repeat(&mut fresh().await).await;
    cut_connections_are_made_anew_by_the_source_itself(&mut fresh().await).await;
    status_follows_the_log(&mut fresh().await).await;
}

struct Running {
    ctx: SourceContext,
    task: JoinHandle<Result<SourceEnd, SourceError>>,
}

impl Running {
    async fn start(fixture: &mut impl SourceFixture) -> Self {
        let (source, ctx) = fixture.open().await;
        let task = tokio::spawn({
            let ctx = ctx.clone();
            async move { source.run(ctx).await }
        });
        Self { ctx, task }
    }

    fn to(&self) -> StreamPartition {
        self.ctx.streams[0].to.clone()
    }

    /// Waits until so many records are durable.
    async fn until(&self, records: u64) {
        let to = self.to();
        let past = self.ctx.log.until_past(&to, Offset(records - 1));
        tokio::time::timeout(PATIENCE, past).await.expect("the records arrive").expect("the log is open");
    }

    async fn stop(self) -> Arc<dyn Log> {
        self.ctx.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").expect("it does not panic");
        assert!(matches!(ended, Ok(SourceEnd::Stopped)), "{ended:?}");
        self.ctx.log
    }
}

/// The keys of every durable record, in log order.
async fn keys(fixture: &impl SourceFixture, log: &dyn Log, of: &StreamPartition) -> Vec<u64> {
    let (mut at, mut keys) = (Offset(0), Vec::new());
    loop {
        let batches = log.read(of, at, 1 << 20).await.expect("the log can be read");
        let Some(last) = batches.last() else { return keys };
        at = last.end();
        let records = batches.iter().flat_map(|batch| &batch.records);
        keys.extend(records.map(|record| fixture.number(&record)));
    }
}

async fn sound_source_has_no_finding_and_describes_its_tables(fixture: &mut impl SourceFixture) {
    let (source, ctx) = fixture.open().await;
    assert!(source.check().await.is_empty());
    let tables = source.tables().await.expect("the table is there");
    let bound: Vec<_> = ctx.streams[0].keys.keys().cloned().collect();
    assert_eq!(tables.iter().map(|table| table.table.clone()).collect::<Vec<_>>(), bound);
}

async fn rows_from_before_and_after_the_start_arrive_once(fixture: &mut impl SourceFixture) {
    fixture.add(0, 50).await;
    let running = Running::start(fixture).await;
    running.until(50).await;
    fixture.add(50, 50).await;
    running.until(100).await;
    let to = running.to();
    let log = running.stop().await;
    let mut keys = keys(fixture, &*log, &to).await;
    keys.sort_unstable();
    assert_eq!(keys, (0..100).collect::<Vec<_>>());
}

async fn changes_arrive_in_commit_order(fixture: &mut impl SourceFixture) {
    fixture.add(0, 1).await;
    let running = Running::start(fixture).await;
    running.until(1).await;
    for transaction in 0..20 {
        fixture.add(1 + transaction * 5, 5).await;
    }
    running.until(101).await;
    let to = running.to();
    let log = running.stop().await;
    assert_eq!(keys(fixture, &*log, &to).await, (0..101).collect::<Vec<_>>());
}

async fn stopped_source_goes_on_where_it_was(fixture: &mut impl SourceFixture) {
    fixture.add(0, 1).await;
    for round in 0..3 {
        let running = Running::start(fixture).await;
        running.until(1 + round * 10).await;
        fixture.add(1 + round * 10, 10).await;
        running.until(11 + round * 10).await;
        running.stop().await;
    }
    let running = Running::start(fixture).await;
    let to = running.to();
    let log = running.stop().await;
    assert_eq!(keys(fixture, &*log, &to).await, (0..31).collect::<Vec<_>>());
}

async fn dropped_source_leaves_neither_gap_nor_repeat(fixture: &mut impl SourceFixture) {
    fixture.add(0, 1).await;
    let mut added = 1;
    for round in 0..4 {
        let running = Running::start(fixture).await;
        running.until(added).await;
        fixture.add(added, 500).await;
        added += 500;
        // Dropped while the transaction is under way, a little further on each time.
        running.until(added - 500 + 1 + round * 100).await;
        running.task.abort();
        let _cancelled = running.task.await;
    }
    let running = Running::start(fixture).await;
    running.until(added).await;
    let to = running.to();
    let log = running.stop().await;
    assert_eq!(keys(fixture, &*log, &to).await, (0..added).collect::<Vec<_>>());
}

async fn cut_connections_are_made_anew_by_the_source_itself(fixture: &mut impl SourceFixture) {
    fixture.add(0, 1).await;
    let running = Running::start(fixture).await;
    running.until(1).await;
    for round in 0..3 {
        fixture.add(1 + round * 20, 20).await;
        fixture.cut().await;
    }
    running.until(61).await;
    let to = running.to();
    let log = running.stop().await;
    assert_eq!(keys(fixture, &*log, &to).await, (0..61).collect::<Vec<_>>());
}

async fn status_follows_the_log(fixture: &mut impl SourceFixture) {
    fixture.add(0, 1).await;
    let running = Running::start(fixture).await;
    let mut status = running.ctx.status.subscribe();
    running.until(1).await;
    fixture.add(1, 9).await;
    let to = running.to();
    let reached = status.wait_for(|status| status.connected && status.appended.contains(&(to.clone(), Offset(10))));
    tokio::time::timeout(PATIENCE, reached).await.expect("the status comes").expect("it is kept");
    running.stop().await;
}
