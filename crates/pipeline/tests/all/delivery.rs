//! Records reach the target in the order of their keys, once, and every one is settled.

use super::target::Fault;
use super::world::*;
use contract::Admission;
use model::{Lane, Outcome};
use pipeline::spec::{DeletePolicy, LaneSpec, Ordering, TruncatePolicy};
use std::sync::atomic::Ordering as Atomic;
use std::time::Duration;

fn many(keys: i64, versions: i64) -> Vec<Change> {
    (1..=versions).flat_map(|v| (0..keys).map(move |key| write(key, v))).collect()
}

#[tokio::test(start_paused = true)]
async fn every_key_gets_its_changes_in_order_and_once() {
    let world = World::new(vec![item()]).await;
    let changes = many(300, 5);
    let end = world.append(&changes).await;
    let status = world.run_through(end).await;
    assert_in_order(&world.target, "Item__c", &changes);
    world.assert_settled_once("items", 0..end.0);
    let route = &status.routes[0];
    assert_eq!((route.applied, route.checkpoint, route.lag_records()), (1500, end, 0));
    assert_eq!(world.target.read_backs.load(Atomic::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn second_run_sends_nothing_again() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&many(10, 3)).await;
    world.run_through(end).await;
    let sent = world.target.batches.lock().len();
    let status = world.run_through(end).await;
    assert_eq!(world.target.batches.lock().len(), sent);
    assert_eq!(status.routes[0].settled_offset, end);
    let more = world.append(&[write(3, 9)]).await;
    world.run_through(more).await;
    assert_eq!(world.target.values("Item__c", "3"), [Some(1), Some(2), Some(3), Some(9)]);
}

#[tokio::test(start_paused = true)]
async fn deletes_go_in_their_keys_order_and_in_batches_of_their_own() {
    let world = World::new(vec![item()]).await;
    let changes = [write(1, 1), write(2, 1), delete(1), write(1, 2), delete(2)];
    let end = world.append(&changes).await;
    world.run_through(end).await;
    assert_in_order(&world.target, "Item__c", &changes);
    assert_eq!(world.target.row("Item__c", "2"), None);
    world.assert_settled_once("items", 0..end.0);
}

#[tokio::test(start_paused = true)]
async fn filtered_and_ignored_records_are_settled_and_not_sent() {
    let mut route = item();
    route.filter = Some("v > 1".into());
    route.deletes = DeletePolicy::Ignore;
    let world = World::new(vec![route]).await;
    let changes = [write(1, 1), write(1, 2), delete(1), write(2, 1), write(2, 5).of("other")];
    let end = world.append(&changes).await;
    let status = world.run_through(end).await;
    assert_eq!(world.target.values("Item__c", "1"), [Some(2)]);
    assert_eq!((status.routes[0].applied, status.routes[0].filtered), (1, 3));
    world.assert_settled_once("items", 0..4);
    assert!(!world.outcomes().contains_key(&("items".into(), 4)), "a record of another table is not this route's");
}

#[tokio::test(start_paused = true)]
async fn truncate_stops_the_route_and_keeps_what_follows() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&[write(1, 1), Change { op: 't', ..write(0, 0) }, write(1, 2)]).await;
    let mut run = world.start();
    run.until(|status| status.routes[0].paused.as_ref().is_some_and(|why| why.contains("PS5506"))).await;
    run.until(|status| status.routes[0].applied == 1).await;
    assert_eq!(run.stop().await.routes[0].checkpoint.0, 1);
    let mut world = world;
    world.spec.routes[0].truncate = TruncatePolicy::Ignore;
    let status = world.run_through(end).await;
    assert_eq!((status.routes[0].applied, status.routes[0].filtered), (1, 1));
    assert_eq!(world.target.values("Item__c", "1"), [Some(1), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn parents_precede_their_children_across_routes() {
    let world = World::new(vec![child(), route("parents", "parent", "Parent__c")]).await;
    let mut changes = Vec::new();
    for id in 0..50 {
        changes.push(write(id, 1).of("parent"));
        changes.push(Change { parent: Some(id), ..write(1000 + id, 1).of("child") });
    }
    let end = world.append(&changes).await;
    world
        .target
        .script(|batch| (batch.object.as_str() == "Parent__c").then_some(Fault::Late(Duration::from_millis(50))));
    let status = world.run_through(end).await;
    assert_eq!(status.routes.iter().map(|route| route.applied).sum::<u64>(), 100);
    assert_eq!(status.routes[0].retried, 0, "no child was sent before its parent");
}

#[tokio::test(start_paused = true)]
async fn fifo_route_sends_one_record_at_a_time() {
    let mut route = item();
    route.ordering = Ordering::Fifo;
    let world = World::new(vec![route]).await;
    let end = world.append(&many(5, 4)).await;
    world.run_through(end).await;
    let batches = world.target.batches.lock();
    let keys: Vec<_> = batches.iter().map(|(_, keys)| keys.join(",")).collect();
    let expected: Vec<_> = (0..20).map(|n| (n % 5).to_string()).collect();
    assert_eq!(keys, expected);
}

#[tokio::test(start_paused = true)]
async fn unordered_route_never_has_a_key_twice_in_a_batch() {
    let mut route = item();
    route.ordering = Ordering::None;
    route.parallel = 1;
    let world = World::new(vec![route]).await;
    let end = world.append(&many(3, 10)).await;
    world.run_through(end).await;
    world.assert_settled_once("items", 0..end.0);
    for (_, keys) in world.target.batches.lock().iter() {
        let mut distinct = keys.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), keys.len());
    }
}

#[tokio::test(start_paused = true)]
async fn critical_record_passes_a_bulk_backlog() {
    let mut route = item();
    route.lane = LaneSpec::Cel(r#"v == 7 ? "critical" : "bulk""#.into());
    let world = World::new(vec![route]).await;
    world.target.limits.lock().rows_max = 10;
    world.target.script(|_| Some(Fault::Late(Duration::from_millis(300))));
    let backlog: Vec<_> = (0..2000).map(|id| write(id, 1)).collect();
    world.append(&backlog).await;
    let mut run = world.start();
    run.until(|status| status.routes[0].applied > 0).await;
    let end = world.append(&[write(5000, 7)]).await;
    let from = tokio::time::Instant::now();
    run.until(|_| world.target.row("Item__c", "5000").is_some()).await;
    assert!(from.elapsed() < Duration::from_millis(400), "{:?}", from.elapsed());
    assert!(world.target.history.lock().len() < 500, "the backlog is still there");
    run.settled(end).await;
    let history = world.target.history.lock().clone();
    assert_eq!(history.iter().find(|effect| effect.key == "5000").unwrap().lane, Lane::Critical);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn full_window_stops_reading_and_loses_nothing() {
    let mut world = World::new(vec![item()]).await;
    world.spec.window_bytes_max = 256 << 10;
    world.target.open.send_replace(false);
    let changes = many(20_000, 2);
    let end = world.append(&changes).await;
    let mut run = world.start();
    run.until(|status| status.routes[0].lanes[1].in_flight > 0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let held = run.handle.status().routes[0].unsettled;
    assert!(held < 30_000, "{held} entries in 256 KiB");
    world.target.open.send_replace(true);
    run.settled(end).await;
    run.stop().await;
    assert_eq!(world.target.history.lock().len(), changes.len());
}

#[tokio::test(start_paused = true)]
async fn snapshot_chunks_are_admitted_when_the_backlog_shrinks() {
    let world = World::new(vec![item()]).await;
    world.target.open.send_replace(false);
    let end = world.append(&(0..30_000).map(|id| write(id, 1)).collect::<Vec<_>>()).await;
    let mut run = world.start();
    let admission = run.handle.admission();
    let name = world.spec.routes[0].table.clone();
    let refused = tokio::time::timeout(Duration::from_secs(1), admission.admit(&name, 1000)).await;
    assert!(refused.is_err(), "30,000 records wait");
    world.target.open.send_replace(true);
    admission.admit(&name, 1000).await;
    run.settled(end).await;
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn graceful_stop_waits_for_the_answer_and_settles_it() {
    let world = World::new(vec![item()]).await;
    world.target.script(|_| Some(Fault::Late(Duration::from_secs(3))));
    let end = world.append(&[write(1, 1)]).await;
    let mut run = world.start();
    run.until(|status| status.routes[0].lanes[1].in_flight == 1).await;
    let status = run.stop().await;
    assert_eq!((status.routes[0].applied, status.routes[0].checkpoint), (1, end));
    assert_eq!(world.outcomes()[&("items".into(), 0)], [Outcome::Applied]);
}

#[tokio::test(start_paused = true)]
async fn stop_does_not_wait_for_ever_for_a_hanging_target() {
    let mut world = World::new(vec![item()]).await;
    world.spec.stop_wait_max = Duration::from_secs(1);
    world.target.open.send_replace(false);
    let end = world.append(&[write(1, 1)]).await;
    let mut run = world.start();
    run.until(|status| status.routes[0].lanes[1].in_flight == 1).await;
    run.stop().await;
    world.target.open.send_replace(true);
    world.run_through(end).await;
    assert_eq!(world.target.values("Item__c", "1"), [Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn child_that_comes_before_its_parent_in_the_stream_lets_it_pass() {
    let world = World::new(vec![child(), route("parents", "parent", "Parent__c")]).await;
    let mut changes: Vec<_> = (0..5).map(|v| Change { parent: Some(7), ..write(1, v).of("child") }).collect();
    changes.push(write(7, 1).of("parent"));
    changes.push(Change { parent: Some(7), ..write(2, 9).of("child") });
    let end = world.append(&changes).await;
    let from = tokio::time::Instant::now();
    let status = world.run_through(end).await;
    assert_eq!(
        status.routes.iter().map(|route| (route.applied, route.dead_lettered)).collect::<Vec<_>>(),
        [(6, 0), (1, 0)]
    );
    assert_eq!(world.target.values("Child__c", "1"), (0..5).map(Some).collect::<Vec<_>>());
    assert!(from.elapsed() < Duration::from_secs(10), "{:?}", from.elapsed());
}
