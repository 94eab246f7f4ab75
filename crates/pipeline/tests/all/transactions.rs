//! `ordering: transaction`: together or not at all.

use super::target::Fault;
use super::world::*;
use contract::{CrashPoint, SinkLimits};
use model::{ErrorClass, Offset, Outcome, Settlement};
use pipeline::dlq::DlqEntry;
use pipeline::engine::{BY_KEY, REFUSED_TOGETHER, TOO_LARGE};
use pipeline::spec::{Ordering, RouteSpec, TooLarge};
use std::sync::atomic::Ordering as Atomic;
use std::time::Duration;

pub fn together(mut route: RouteSpec) -> RouteSpec {
    route.ordering = Ordering::Transaction;
    route
}

pub fn parent() -> RouteSpec {
    route("parents", "parent", "Parent__c")
}

pub async fn world(routes: Vec<RouteSpec>, rows_max: usize) -> World {
    let world = World::new(routes).await;
    *world.target.graph_limits.lock() = Some(SinkLimits { rows_max, bytes_max: 1 << 20, in_flight_max: 4 });
    world
}

/// A parent, two children of it, and the parent once more.
fn family(tx: u64, id: i64, v: i64) -> Vec<Change> {
    let child = |id, v| Change { parent: Some(id / 10), ..write(id, v).of("child") };
    let changes = [
        write(id, v).of("parent"),
        child(id * 10, v),
        child(id * 10 + 1, v),
        write(id, v + 1).of("parent"),
        Change::end(tx),
    ];
    changes.map(|change| change.in_tx(tx)).into()
}

fn objects(world: &World, call: usize) -> Vec<String> {
    world.target.together.lock()[call].0.iter().map(|(object, key)| format!("{object}:{key}")).collect()
}

async fn letters(world: &World) -> Vec<DlqEntry> {
    let mut letters = pipeline::dlq::list(&world.state(), &Default::default(), 10_000).await.unwrap();
    letters.sort_by_key(|letter| (letter.route.clone(), letter.position));
    letters
}

fn marked(world: &World) -> usize {
    let settlements = world.disk.all::<Settlement>("_settlements");
    let rows = settlements.iter().flat_map(|settlement| &settlement.rows);
    let marked = rows.filter(|rows| rows.outcome == Outcome::Applied && rows.code.as_deref() == Some(BY_KEY));
    marked.flat_map(|rows| &rows.offsets).map(|range| range.count() as usize).sum()
}

#[tokio::test(start_paused = true)]
async fn parent_and_children_of_a_transaction_go_in_one_call_in_the_order_of_the_stream() {
    let world = world(vec![together(parent()), together(child())], 500).await;
    let end = world.append(&family(7, 1, 5)).await;
    let status = world.run_through(end).await;
    assert_eq!(world.target.together.lock().len(), 1);
    assert_eq!(objects(&world, 0), ["Parent__c:1", "Child__c:10", "Child__c:11", "Parent__c:1"]);
    assert!(world.target.batches.lock().is_empty(), "nothing went beside it");
    assert_eq!(world.target.values("Parent__c", "1"), [Some(5), Some(6)]);
    assert_eq!((status.routes[0].applied, status.routes[1].applied), (2, 2));
    assert_eq!(status.routes[0].settled_offset, end);
    assert_eq!(status.routes[0].calls + status.routes[1].calls, 1);
    let intents = world.disk.all::<model::BatchIntent>("_batches");
    assert!(intents.iter().all(|intent| intent.api == "graph" && intent.reason.is_some()), "{intents:?}");
}

#[tokio::test(start_paused = true)]
async fn routes_that_are_not_related_share_their_transactions_and_others_stay_out() {
    let other = route("others", "other", "Other__c");
    let world = world(vec![together(item()), together(other), parent()], 500).await;
    let changes = [write(1, 1).in_tx(7), write(1, 1).of("other").in_tx(7), write(2, 1).of("parent").in_tx(7)];
    world.append(&changes).await;
    let end = world.append(&[Change::end(7), write(3, 1).in_tx(8), Change::end(8)]).await;
    world.run_through(end).await;
    assert_eq!(world.target.together.lock().len(), 1);
    assert_eq!(objects(&world, 0), ["Item__c:1", "Other__c:1"]);
    // One row of ours is whole by itself.
    assert_eq!(world.target.batches.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_end_of_the_transaction_is_read() {
    let world = world(vec![together(item())], 500).await;
    world.append(&[write(1, 1).in_tx(7), write(2, 1).in_tx(7)]).await;
    let mut run = world.start();
    let end = world.append(&[write(9, 1).of("nobody").in_tx(7)]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.target.together.lock().is_empty() && world.target.batches.lock().is_empty());
    assert_eq!(run.handle.status().routes[0].settled_offset, Offset(0));
    // Without a marker, the next transaction's first record tells.
    world.append(&[write(3, 1).in_tx(8)]).await;
    run.settled(end).await;
    assert_eq!(objects(&world, 0), ["Item__c:1", "Item__c:2"]);
    // A row of a first copy belongs to none.
    let end = world.append(&[Change { op: 'r', ..write(4, 1) }]).await;
    run.settled(end).await;
    assert_eq!(world.target.values("Item__c", "3"), [Some(1)]);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn lock_of_one_row_sends_the_whole_transaction_again() {
    let world = world(vec![together(parent()), together(child())], 500).await;
    let end = world.append(&family(7, 1, 5)).await;
    let mut left = 3;
    world.target.script(move |batch| {
        let locked = batch.object.as_str() == "Child__c" && left > 0;
        left -= i32::from(locked);
        locked.then(|| Fault::Rows(vec![("11".into(), ErrorClass::Lock, "UNABLE_TO_LOCK_ROW")]))
    });
    world.run_through(end).await;
    let calls: Vec<bool> = world.target.together.lock().iter().map(|(_, whole)| *whole).collect();
    assert_eq!(calls, [false, false, false, true]);
    assert_eq!(world.target.values("Parent__c", "1"), [Some(5), Some(6)]);
    assert_eq!(world.dead_letters(), 0);
    world.assert_settled_once("parents", [0, 3]);
    world.assert_settled_once("children", [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn refusal_of_one_row_buries_the_whole_transaction_and_says_whose_fault_it_was() {
    let world = world(vec![together(parent()), together(child())], 500).await;
    let mut changes = family(7, 1, 5);
    changes.extend(family(8, 1, 8));
    let end = world.append(&changes).await;
    world.target.script(|batch| {
        let first = batch.rows.iter().any(|row| row.position.offset.0 == 1);
        first.then(|| Fault::Rows(vec![("10".into(), ErrorClass::BusinessRule, "NO_WAY")]))
    });
    world.run_through(end).await;
    // The later transaction of the same rows goes on.
    assert_eq!(world.target.values("Parent__c", "1"), [Some(8), Some(9)]);
    assert_eq!(world.target.values("Child__c", "10"), [Some(8)]);
    let letters = letters(&world).await;
    let found: Vec<(u64, &str)> =
        letters.iter().map(|letter| (letter.position.offset.0, letter.code.as_str())).collect();
    assert_eq!(found, [(1, "NO_WAY"), (2, REFUSED_TOGETHER), (0, REFUSED_TOGETHER), (3, REFUSED_TOGETHER)]);
    assert!(letters[1].message.contains("NO_WAY") && letters[1].message.contains("s/0:1"), "{}", letters[1].message);
    for (route, offsets) in [("parents", [0, 3, 5, 8]), ("children", [1, 2, 6, 7])] {
        world.assert_settled_once(route, offsets);
    }
}

#[tokio::test(start_paused = true)]
async fn row_that_cannot_be_mapped_keeps_its_transaction_from_being_sent() {
    let world = world(vec![together(item())], 500).await;
    let long = Change { note: Some("x".repeat(300)), ..write(2, 1) };
    let end = world.append(&[write(1, 1).in_tx(7), long.in_tx(7), Change::end(7)]).await;
    world.run_through(end).await;
    assert!(world.target.history.lock().is_empty() && world.target.together.lock().is_empty());
    let letters = letters(&world).await;
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].code, REFUSED_TOGETHER);
    assert_ne!(letters[1].code, REFUSED_TOGETHER);
}

#[tokio::test(start_paused = true)]
async fn lost_answer_is_read_back_as_the_whole_transaction_leaves_each_row() {
    let world = world(vec![together(parent()), together(child())], 500).await;
    let end = world.append(&family(7, 1, 5)).await;
    let mut first = true;
    world.target.script(move |_| std::mem::take(&mut first).then_some(Fault::LoseAnswer));
    let status = world.run_through(end).await;
    assert_eq!(world.target.together.lock().len(), 1, "it was not sent again");
    assert_eq!(world.target.read_backs.load(Atomic::Relaxed), 2);
    assert_eq!((status.routes[0].applied, status.routes[0].suspects), (2, 0));
    world.assert_settled_once("parents", [0, 3]);
}

#[tokio::test(start_paused = true)]
async fn cut_call_is_sent_again_as_a_whole() {
    let world = world(vec![together(parent()), together(child())], 500).await;
    let end = world.append(&family(7, 1, 5)).await;
    let mut first = true;
    world.target.script(move |_| std::mem::take(&mut first).then_some(Fault::Fail(ErrorClass::Unknown, None)));
    world.run_through(end).await;
    assert_eq!(world.target.values("Parent__c", "1"), [Some(5), Some(6)]);
    assert_eq!(objects(&world, 0).len(), 4);
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn missing_parent_is_waited_for_by_the_whole_transaction() {
    let world = world(vec![together(parent()), together(child())], 500).await;
    let child = |id| Change { parent: Some(9), ..write(id, 1).of("child") };
    let changes =
        [write(1, 1).of("parent").in_tx(7), child(10).in_tx(7), Change::end(7), write(9, 1).of("parent").in_tx(8)];
    world.append(&changes).await;
    let end = world.append(&[write(8, 1).of("parent").in_tx(8), Change::end(8)]).await;
    world.run_through(end).await;
    assert_eq!(world.target.values("Child__c", "10"), [Some(1)]);
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn transaction_at_the_limit_goes_and_one_above_it_is_refused_with_all_its_rows() {
    for rows in [4, 5, 6] {
        let world = world(vec![together(item())], 5).await;
        let mut changes: Vec<Change> = (0..rows).map(|id| write(id, 1).in_tx(7)).collect();
        changes.extend([Change::end(7), write(0, 2).in_tx(8), write(1, 2).in_tx(8), Change::end(8)]);
        let end = world.append(&changes).await;
        world.run_through(end).await;
        let letters = letters(&world).await;
        if rows <= 5 {
            assert_eq!((letters.len(), world.target.together.lock().len()), (0, 2), "{rows}");
            continue;
        }
        assert_eq!(letters.len() as i64, rows);
        assert!(letters.iter().all(|letter| letter.code == TOO_LARGE && letter.message.contains("transaction 7")));
        assert_eq!(world.target.values("Item__c", "0"), [Some(2)], "what comes later goes on");
        assert_eq!(world.target.values("Item__c", "5"), []);
        world.assert_settled_once("items", 0..6);
    }
}

#[tokio::test(start_paused = true)]
async fn transaction_of_too_many_bytes_is_refused() {
    let world = world(vec![together(item())], 500).await;
    world.target.graph_limits.lock().as_mut().unwrap().bytes_max = 400;
    let changes = (0..4).map(|id| write(id, 1).in_tx(7)).chain([Change::end(7)]);
    let end = world.append(&changes.collect::<Vec<_>>()).await;
    world.run_through(end).await;
    assert!(letters(&world).await.iter().all(|letter| letter.code == TOO_LARGE && letter.message.contains("bytes")));
    assert_eq!(world.dead_letters(), 4);
}

#[tokio::test(start_paused = true)]
async fn too_large_a_transaction_goes_by_key_where_the_route_says_so_and_its_settlements_tell() {
    let mut route = together(item());
    route.too_large = TooLarge::ByKey;
    let world = world(vec![route], 5).await;
    let mut changes: Vec<Change> = (0..8).map(|at| write(at % 4, at).in_tx(7)).collect();
    changes.extend([Change::end(7), write(0, 20).in_tx(8), write(1, 20).in_tx(8), Change::end(8)]);
    let end = world.append(&changes).await;
    world.run_through(end).await;
    assert_eq!(world.target.values("Item__c", "0"), [Some(0), Some(4), Some(20)]);
    assert_eq!(world.target.together.lock().len(), 1, "only the small one");
    assert_eq!(marked(&world), 8);
    assert_eq!(world.dead_letters(), 0);
    world.assert_settled_once("items", (0..8).chain(9..11));
}

#[tokio::test(start_paused = true)]
async fn one_route_that_refuses_speaks_for_all_that_take_part() {
    let (mut by_key, refuses) = (together(item()), together(route("others", "other", "Other__c")));
    by_key.too_large = TooLarge::ByKey;
    let world = world(vec![by_key, refuses], 3).await;
    let changes = (0..6).map(|id| write(id, 1).in_tx(7)).chain([Change::end(7)]);
    let end = world.append(&changes.collect::<Vec<_>>()).await;
    world.run_through(end).await;
    assert!(world.target.history.lock().is_empty());
    assert_eq!(world.dead_letters(), 6);
}

#[tokio::test(start_paused = true)]
async fn rest_of_a_refused_transaction_never_passes_for_a_small_one_after_a_death() {
    for point in [CrashPoint::BeforeSettle, CrashPoint::InCheckpoint] {
        for nth in 1..12 {
            let mut world = world(vec![together(item())], 5).await;
            world.spec.checkpoint_every = Duration::from_millis(1);
            // It comes in pieces, so that a part of it is settled, and a checkpoint stands in it, when the process dies.
            let mut changes = (0..12).map(|id| write(id, 1).in_tx(7)).collect::<Vec<_>>();
            changes.push(Change::end(7));
            let first = world.append(&changes[..7]).await;
            let mut run = world.start_dying(point, nth);
            let life = run.life.clone();
            tokio::select! {
                () = life.until_over() => {}
                () = run.settled(first) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            run.life.end();
            run.task.abort();
            let _ = run.task.await;
            let end = world.append(&changes[7..]).await;
            world.run_through(end).await;
            assert!(world.target.history.lock().is_empty(), "{point:?} {nth}");
            assert_eq!(letters(&world).await.len(), 12, "{point:?} {nth}");
            world.assert_settled_once("items", 0..12);
            let notes = world.disk.space("transaction");
            assert!(notes.is_empty(), "a note goes with its transaction: {notes:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn death_at_any_point_splits_loses_and_repeats_nothing() {
    let points = [CrashPoint::AfterJournal, CrashPoint::AfterSend, CrashPoint::BeforeSettle, CrashPoint::InCheckpoint];
    for point in points {
        for nth in [1, 2, 3, 5] {
            for power in [false, true] {
                let world = world(vec![together(parent()), together(child())], 500).await;
                let mut changes = Vec::new();
                for tx in 0..9 {
                    changes.extend(family(tx, (tx % 3) as i64, 10 * tx as i64));
                }
                let end = world.append(&changes).await;
                for nth in [nth, 2] {
                    world.start_dying(point, nth).died_before(end).await;
                    if power {
                        world.disk.lose_power();
                    }
                }
                world.run_through(end).await;
                for (table, object) in [("parent", "Parent__c"), ("child", "Child__c")] {
                    let of: Vec<Change> = changes.iter().filter(|change| change.table == table).cloned().collect();
                    assert_in_order(&world.target, object, &of);
                }
                assert!(world.target.batches.lock().is_empty(), "{point:?} {nth} {power}: nothing went alone");
                assert_eq!(world.target.together.lock().len(), 9, "{point:?} {nth} {power}");
                if !power {
                    world.assert_settled_once("parents", (0..45).filter(|at| matches!(at % 5, 0 | 3)));
                    world.assert_settled_once("children", (0..45).filter(|at| matches!(at % 5, 1 | 2)));
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn death_while_a_transaction_is_buried_leaves_no_part_of_it_to_be_sent() {
    for nth in 1..4 {
        let world = world(vec![together(parent()), together(child())], 500).await;
        let end = world.append(&family(7, 1, 5)).await;
        world.target.script(|_| Some(Fault::Rows(vec![("10".into(), ErrorClass::BusinessRule, "NO")])));
        world.start_dying(CrashPoint::BeforeSettle, nth).died_before(end).await;
        world.run_through(end).await;
        assert!(world.target.history.lock().is_empty());
        assert_eq!(letters(&world).await.len(), 4);
        world.assert_settled_once("parents", [0, 3]);
        world.assert_settled_once("children", [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn filtered_rows_of_a_transaction_are_no_part_of_it() {
    let mut route = together(item());
    route.filter = Some("v < 10".into());
    let world = world(vec![route], 2).await;
    let changes = [write(1, 1), write(2, 99), write(3, 1), write(4, 99), Change::end(7)].map(|change| change.in_tx(7));
    let end = world.append(&changes).await;
    let status = world.run_through(end).await;
    assert_eq!(objects(&world, 0), ["Item__c:1", "Item__c:3"]);
    assert_eq!((status.routes[0].applied, status.routes[0].filtered), (2, 2));
    world.assert_settled_once("items", 0..4);
}

#[tokio::test(start_paused = true)]
async fn related_route_ordered_by_key_waits_for_the_transaction_before_it() {
    let world = world(vec![together(parent()), child()], 500).await;
    let child = Change { parent: Some(2), ..write(20, 1).of("child") };
    let changes = [write(1, 1).of("parent"), child, write(2, 1).of("parent"), Change::end(7)];
    let end = world.append(&changes.map(|change| change.in_tx(7))).await;
    world.run_through(end).await;
    assert_eq!(objects(&world, 0), ["Parent__c:1", "Parent__c:2"]);
    assert_eq!(world.target.values("Child__c", "20"), [Some(1)]);
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn truncate_inside_a_transaction_keeps_all_of_it_out() {
    let world = world(vec![together(item())], 500).await;
    let truncate = Change { op: 't', ..write(0, 0) };
    let changes = [write(1, 1).in_tx(6), Change::end(6), write(2, 1).in_tx(7), write(3, 1).in_tx(7), truncate.in_tx(7)];
    world.append(&changes).await;
    let mut run = world.start();
    run.until(|status| status.routes[0].paused.as_deref().is_some_and(|paused| paused.contains("offset 4"))).await;
    run.settled(Offset(2)).await;
    run.stop().await;
    assert_eq!(world.target.history.lock().len(), 1);
    assert!(world.target.together.lock().is_empty());
}
