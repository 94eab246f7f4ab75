//! Streams at their size limit: who waits, what is given up, and that every record is accounted for.

use super::target::Fault;
use super::world::*;
use model::{ErrorClass, Offset, Outcome, RecordBatchBuilder, Settlement};
use pipeline::engine::EngineStatus;
use pipeline::overflow::{Level, Overflow, StreamLimit};
use pipeline::proof::{ProofRoute, prove};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LIMIT: u64 = 40_000;

async fn limited(overflow: Overflow) -> World {
    let mut world = World::new(vec![item()]).await;
    world.spec.stream_limits = vec![StreamLimit { of: stream(), bytes_max: LIMIT, overflow }];
    world
}

fn batch(world: &World, changes: &[Change]) -> model::RecordBatch {
    let mut batch = RecordBatchBuilder::default();
    changes.iter().for_each(|change| change.push(&mut batch, contract::Clock::now_ms(&*world.clock)));
    batch.finish()
}

/// Ten records a batch.
fn changes(from: i64) -> Vec<Change> {
    (from..from + 10).map(|n| write(n % 50, n)).collect()
}

fn filtered(world: &World) -> Vec<Offset> {
    let rows = world.disk.all::<Settlement>("_settlements").into_iter().flat_map(|settlement| settlement.rows);
    let shed = rows.filter(|rows| rows.outcome == Outcome::Filtered && rows.code.as_deref() == Some("PS5530"));
    let mut offsets: Vec<Offset> = shed.flat_map(|rows| rows.offsets).flat_map(|range| range.offsets()).collect();
    offsets.sort_unstable();
    offsets
}

fn fill(status: &EngineStatus) -> Option<(Level, bool)> {
    status.streams.first().map(|fill| (fill.level, fill.source_waits))
}

#[tokio::test(start_paused = true)]
async fn full_stream_makes_its_source_wait_and_drops_nothing() {
    let world = limited(Overflow::Block).await;
    world.target.open.send_replace(false);
    let mut run = world.start();
    run.until(|status| !status.streams.is_empty()).await;
    let log = run.handle.bounded_log(CancellationToken::new());
    let mut written = Vec::new();
    let waits = loop {
        let more = changes(written.len() as i64);
        let of = stream();
        let append = log.append(&of, batch(&world, &more), None);
        match tokio::time::timeout(Duration::from_secs(60), append).await {
            Ok(appended) => {
                log.until_durable(&stream(), appended.unwrap().accepted()).await.unwrap();
                written.extend(more);
            }
            Err(_) => break true,
        }
        assert!(written.len() < 10_000, "an append must wait at some time");
    };
    assert!(waits && log.size_bytes(&stream()).unwrap() < LIMIT * 2);
    // Appended by one who waits while the alarm is shown.
    let more = changes(written.len() as i64);
    let (bounded, last) = (log.clone(), batch(&world, &more));
    let waiting = tokio::spawn(async move { bounded.append(&stream(), last, None).await });
    run.until(|status| fill(status) == Some((Level::Full, true))).await;
    world.target.open.send_replace(true);
    let appended = tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap().unwrap();
    log.until_durable(&stream(), appended.accepted()).await.unwrap();
    written.extend(more);
    run.settled(appended.end).await;
    run.until(|status| fill(status) == Some((Level::Fine, false))).await;
    let status = run.stop().await;
    assert_eq!((status.routes[0].applied, status.routes[0].filtered), (written.len() as u64, 0));
    assert_in_order(&world.target, "Item__c", &written);
}

#[tokio::test(start_paused = true)]
async fn source_that_waits_ends_when_it_is_told_to_stop() {
    let world = limited(Overflow::Block).await;
    world.target.open.send_replace(false);
    let run = world.start();
    let stop = CancellationToken::new();
    let log = run.handle.bounded_log(stop.clone());
    world.append(&(0..1_000).map(|n| write(n, n)).collect::<Vec<_>>()).await;
    let late = batch(&world, &changes(0));
    let waiting = tokio::spawn(async move { log.append(&stream(), late, None).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished());
    stop.cancel();
    assert!(matches!(waiting.await.unwrap(), Err(contract::LogError::Closed)));
    world.target.open.send_replace(true);
    run.stop().await;
}

/// Fills the stream over its limit while nothing is sent, lets it shed, then lets the rest through.
async fn overfill(overflow: Overflow) -> (World, Vec<Change>) {
    let world = limited(overflow).await;
    world.target.limits.lock().rows_max = 7;
    world.target.open.send_replace(false);
    let mut run = world.start();
    let mut written = Vec::new();
    for n in 0..60 {
        let more = changes(n * 10);
        world.append(&more).await;
        written.extend(more);
    }
    run.until(|status| fill(status).is_some_and(|(level, _)| level > Level::Fine)).await;
    run.until(|status| status.routes[0].filtered > 0).await;
    world.target.open.send_replace(true);
    run.settled(Offset(600)).await;
    let status = run.stop().await;
    assert_eq!(status.routes[0].applied + status.routes[0].filtered, 600);
    world.assert_settled_once("items", 0..600);
    let route = ProofRoute {
        id: "items".into(),
        stream: stream(),
        table: "s.item".into(),
        ordered: true,
        from: Offset(0),
        settled_to: Offset(600),
    };
    let log = world.disk_log();
    let report = prove(&log, &[route], 1 << 20).await.unwrap();
    assert!(report.holds(), "{report:?}");
    (world, written)
}

#[tokio::test(start_paused = true)]
async fn oldest_records_of_an_expendable_stream_are_settled_as_filtered_with_the_reason() {
    let (world, written) = overfill(Overflow::DropOldest).await;
    let gone = filtered(&world);
    assert!(gone.len() > 50 && gone.len() < 500, "{} of 600", gone.len());
    // The newest stay, what was in flight stays, and what was applied keeps its order.
    assert!(gone.last().unwrap().0 < 500);
    let kept = written.iter().enumerate().filter(|(at, _)| gone.binary_search(&Offset(*at as u64)).is_err());
    let kept: Vec<Change> = kept.map(|(_, change)| change.clone()).collect();
    assert_in_order(&world.target, "Item__c", &kept);
    assert_eq!(world.outcomes().values().filter(|found| found[..] == [Outcome::Filtered]).count(), gone.len());
}

#[tokio::test(start_paused = true)]
async fn sample_keeps_one_of_so_many_of_the_oldest() {
    let (world, _) = overfill(Overflow::Sample { keep_one_of: 5 }).await;
    let gone = filtered(&world);
    assert!(gone.len() > 50 && gone.iter().all(|offset| offset.0 % 5 != 0), "{gone:?}");
}

#[tokio::test(start_paused = true)]
async fn record_that_may_have_been_applied_is_never_given_up() {
    let world = limited(Overflow::DropOldest).await;
    world.target.limits.lock().rows_max = 20;
    let mut calls = 0;
    world.target.script(move |_| {
        calls += 1;
        (calls <= 3).then_some(Fault::LoseAnswer)
    });
    // All suspects at once: their answers are lost, and their read-back is far away.
    let mut world = world;
    world.spec.recovery_grace = Duration::from_secs(20);
    let mut run = world.start();
    world.append(&(0..60).map(|n| write(n, n)).collect::<Vec<_>>()).await;
    run.until(|status| status.routes[0].suspects == 60).await;
    world.target.script(|_| Some(Fault::Fail(ErrorClass::Quota, None)));
    world.append(&(60..1_000).map(|n| write(n, n)).collect::<Vec<_>>()).await;
    run.until(|status| status.routes[0].filtered > 100).await;
    world.target.script(|_| None);
    run.settled(Offset(1_000)).await;
    run.stop().await;
    assert!(filtered(&world).iter().all(|offset| offset.0 >= 60));
    for key in 0..60 {
        assert_eq!(world.target.values("Item__c", &key.to_string()), [Some(key)]);
    }
    world.assert_settled_once("items", 0..1_000);
}
