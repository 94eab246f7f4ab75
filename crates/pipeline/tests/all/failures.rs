//! What the target refuses, loses or delays.

use super::target::{Fault, text};
use super::world::*;
use governor::GovernorConfig;
use model::ErrorClass::{self, *};
use model::{BatchIntent, Outcome};
use std::sync::atomic::Ordering as Atomic;
use std::time::Duration;

fn rows(keys: &[&str], class: ErrorClass, code: &'static str) -> Fault {
    Fault::Rows(keys.iter().map(|key| ((*key).to_owned(), class, code)).collect())
}

#[tokio::test(start_paused = true)]
async fn locked_row_is_retried_inside_its_keys_order() {
    let world = World::new(vec![item()]).await;
    let changes = [write(1, 1), write(2, 1), write(1, 2), write(1, 3)];
    let end = world.append(&changes).await;
    let mut left = 3;
    world.target.script(move |_| {
        left -= 1;
        (left >= 0).then(|| rows(&["1"], Lock, "UNABLE_TO_LOCK_ROW"))
    });
    let status = world.run_through(end).await;
    assert_in_order(&world.target, "Item__c", &changes);
    assert!(status.routes[0].retried >= 2);
    world.assert_settled_once("items", 0..end.0);
}

#[tokio::test(start_paused = true)]
async fn row_that_stays_locked_becomes_a_dead_letter_and_frees_its_key() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&[write(1, 1), write(1, 2)]).await;
    let mut failures = 0;
    world.target.script(move |_| {
        failures += 1;
        (failures <= 10).then(|| rows(&["1"], Lock, "UNABLE_TO_LOCK_ROW"))
    });
    let status = world.run_through(end).await;
    assert_eq!((status.routes[0].dead_lettered, world.dead_letters()), (1, 1));
    assert_eq!(world.target.values("Item__c", "1"), [Some(2)]);
    assert_eq!(world.outcomes()[&("items".into(), 0)], [Outcome::DeadLettered]);
}

#[tokio::test(start_paused = true)]
async fn quota_refusal_holds_without_counting_attempts() {
    let mut world = World::new(vec![item()]).await;
    world.spec.routes[0].retry.transient.attempts_max = 2;
    world.governor = Some(GovernorConfig::default());
    let end = world.append(&[write(1, 1)]).await;
    let mut failures = 0;
    world.target.script(move |_| {
        failures += 1;
        (failures <= 4).then_some(Fault::Fail(Quota, Some("REQUEST_LIMIT_EXCEEDED")))
    });
    let mut run = world.start();
    run.until(|status| status.routes[0].paused.is_some()).await;
    run.settled(end).await;
    let status = run.stop().await;
    assert_eq!((status.routes[0].applied, world.dead_letters()), (1, 0));
    assert_eq!(world.target.batches.lock().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn spent_budget_sends_nothing_until_it_frees() {
    let mut world = World::new(vec![item()]).await;
    let mut config = GovernorConfig::default();
    config.allocations[0].assumed_max = 20;
    config.burst = governor::Permille::percent(100);
    world.governor = Some(config);
    world.target.limits.lock().rows_max = 1;
    let changes: Vec<_> = (0..40).map(|id| write(id, 1)).collect();
    let end = world.append(&changes).await;
    let mut run = world.start();
    run.until(|status| status.routes[0].paused.is_some()).await;
    assert!(world.target.batches.lock().len() <= 10, "the share is half of 20 calls");
    assert!(run.handle.quota(&"org".into()).unwrap().allocations[0].spent <= 10);
    // The ledger is known to the next run.
    run.stop().await;
    let run = world.start();
    let mut watch = run.handle.watch();
    let waited =
        tokio::time::timeout(Duration::from_secs(600), watch.wait_for(|status| status.routes[0].settled_offset == end))
            .await;
    assert!(waited.is_err(), "a restart does not refill the budget");
    assert!(world.target.batches.lock().len() <= 10);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn missing_parent_is_waited_for() {
    let world = World::new(vec![child()]).await;
    let end = world.append(&[Change { parent: Some(7), ..write(1, 1).of("child") }]).await;
    let mut run = world.start();
    run.until(|_| world.target.batches.lock().len() >= 3).await;
    world.target.rows.lock().insert(("Parent__c".into(), "7".into()), Default::default());
    run.settled(end).await;
    let status = run.stop().await;
    assert_eq!((status.routes[0].applied, world.dead_letters()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn parent_that_never_comes_makes_a_dead_letter() {
    let mut world = World::new(vec![child()]).await;
    world.spec.routes[0].retry.parent_missing.patience = Duration::from_secs(5);
    let end = world.append(&[Change { parent: Some(7), ..write(1, 1).of("child") }]).await;
    let from = tokio::time::Instant::now();
    let status = world.run_through(end).await;
    assert_eq!(status.routes[0].dead_lettered, 1);
    assert!(from.elapsed() >= Duration::from_secs(5) && from.elapsed() < Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn lost_answer_is_read_back_and_nothing_is_sent_twice() {
    let world = World::new(vec![item()]).await;
    let changes = [write(1, 1), write(2, 1), write(1, 2)];
    let end = world.append(&changes).await;
    let mut first = true;
    world.target.script(move |_| std::mem::take(&mut first).then_some(Fault::LoseAnswer));
    world.run_through(end).await;
    assert_in_order(&world.target, "Item__c", &changes);
    assert_eq!(world.target.read_backs.load(Atomic::Relaxed), 1);
    world.assert_settled_once("items", 0..end.0);
}

#[tokio::test(start_paused = true)]
async fn cut_connection_before_anything_was_applied_sends_again() {
    let world = World::new(vec![item()]).await;
    let changes = [write(1, 1), write(1, 2)];
    let end = world.append(&changes).await;
    let mut first = true;
    world.target.script(move |_| std::mem::take(&mut first).then_some(Fault::Fail(Unknown, None)));
    world.run_through(end).await;
    assert_in_order(&world.target, "Item__c", &changes);
    assert_eq!(world.target.read_backs.load(Atomic::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn poisoned_batch_is_split_until_the_offender_stands_alone() {
    let world = World::new(vec![item()]).await;
    let changes: Vec<_> = (0..100).map(|id| write(id, 1)).collect();
    let end = world.append(&changes).await;
    world.target.script(|batch| {
        let poisoned = batch.rows.iter().any(|row| text(row.key.as_ref().unwrap()) == "42");
        poisoned.then_some(Fault::Fail(Permanent, Some("JSON_PARSER_ERROR")))
    });
    let status = world.run_through(end).await;
    assert_eq!((status.routes[0].applied, status.routes[0].dead_lettered), (99, 1));
    assert_eq!(world.outcomes()[&("items".into(), 42)], [Outcome::DeadLettered]);
    assert!(world.target.batches.lock().len() <= 24, "halving takes some log2(100) steps");
    world.assert_settled_once("items", 0..end.0);
}

#[tokio::test(start_paused = true)]
async fn collateral_rows_are_sent_again_without_the_offender() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&[write(1, 1), write(2, 1)]).await;
    let mut first = true;
    world.target.script(move |_| {
        std::mem::take(&mut first).then(|| {
            Fault::Rows(vec![
                ("1".into(), BusinessRule, "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
                ("2".into(), Collateral, "ALL_OR_NONE_OPERATION_ROLLED_BACK"),
            ])
        })
    });
    let status = world.run_through(end).await;
    assert_eq!((status.routes[0].applied, status.routes[0].dead_lettered), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_pause_the_route_and_probe() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&(0..50).map(|id| write(id, 1)).collect::<Vec<_>>()).await;
    let mut failures = 0;
    world.target.script(move |_| {
        failures += 1;
        (failures <= 5).then_some(Fault::Fail(Auth, Some("INVALID_SESSION_ID")))
    });
    let mut run = world.start();
    run.until(|status| status.routes[0].paused.is_some()).await;
    run.settled(end).await;
    let status = run.stop().await;
    assert_eq!((status.routes[0].applied, status.routes[0].dead_lettered), (50, 0));
    assert_eq!(status.routes[0].paused, None);
    assert_eq!(world.target.batches.lock().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn long_outage_makes_no_dead_letters() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&[write(1, 1), write(2, 1)]).await;
    let mut failures = 0;
    world.target.script(move |_| {
        failures += 1;
        (failures <= 100).then_some(Fault::Fail(Transient, None))
    });
    let status = world.run_through(end).await;
    assert_eq!((status.routes[0].applied, world.dead_letters()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn long_silence_makes_no_dead_letters() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&[write(1, 1), write(2, 1)]).await;
    let mut failures = 0;
    world.target.script(move |_| {
        failures += 1;
        (failures <= 100).then_some(Fault::Fail(Unknown, None))
    });
    let status = world.run_through(end).await;
    assert_eq!((status.routes[0].applied, world.dead_letters()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn row_that_breaks_the_target_is_found_while_others_go_through() {
    for class in [Transient, Unknown] {
        break_the_target(class).await;
    }
}

async fn break_the_target(class: ErrorClass) {
    let world = World::new(vec![item()]).await;
    let end = world.append(&(0..20).map(|id| write(id, 1)).collect::<Vec<_>>()).await;
    world.target.limits.lock().rows_max = 4;
    world.target.script(move |batch| {
        let breaks = batch.rows.iter().any(|row| text(row.key.as_ref().unwrap()) == "9");
        breaks.then_some(Fault::Fail(class, Some("UNKNOWN_EXCEPTION")))
    });
    let mut run = world.start();
    // Only what goes through meanwhile tells that the target itself is well.
    let mut next = 100;
    while world.dead_letters_or_none() == 0 {
        world.append(&[write(next, 1)]).await;
        next += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(next < 2000, "{:#?}", run.handle.status());
    }
    run.settled(end).await;
    let status = run.stop().await;
    assert_eq!(status.routes[0].dead_lettered, 1);
    assert!(world.target.row("Item__c", "8").is_some() && world.target.row("Item__c", "9").is_none());
}

#[tokio::test(start_paused = true)]
async fn unknown_field_is_described_again_once_then_buried() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&[write(1, 1)]).await;
    world.target.script(|_| Some(rows(&["1"], Permanent, "INVALID_FIELD")));
    let status = world.run_through(end).await;
    assert_eq!(world.target.forgotten.load(Atomic::Relaxed), 1);
    assert_eq!((status.routes[0].dead_lettered, world.target.batches.lock().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn row_that_cannot_be_mapped_is_buried_without_a_call() {
    let world = World::new(vec![item()]).await;
    let long = Change { note: Some("x".repeat(300)), ..write(1, 1) };
    let end = world.append(&[long, write(1, 2)]).await;
    let status = world.run_through(end).await;
    assert_eq!((status.routes[0].applied, status.routes[0].dead_lettered), (1, 1));
    assert_eq!(world.target.values("Item__c", "1"), [Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn full_log_stops_sending_and_goes_on_when_there_is_room() {
    for stream in ["_batches", "_settlements", "_dead_letters"] {
        let world = World::new(vec![item()]).await;
        let changes = [write(1, 1), write(2, 1), write(1, 2)];
        let end = world.append(&changes).await;
        *world.disk.full.lock() = Some(stream.into());
        let mut first = true;
        let bury = stream == "_dead_letters";
        world.target.script(move |_| (bury && std::mem::take(&mut first)).then(|| rows(&["2"], Permanent, "NO")));
        let mut run = world.start();
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(world.target.values("Item__c", "1").len() <= if bury { 2 } else { 1 }, "{stream}");
        *world.disk.full.lock() = None;
        run.settled(end).await;
        run.stop().await;
        assert_eq!(world.target.values("Item__c", "1"), [Some(1), Some(2)], "{stream}");
        world.assert_settled_once("items", 0..end.0);
    }
}

#[tokio::test(start_paused = true)]
async fn each_batch_is_journalled_before_it_is_sent() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&(0..500).map(|id| write(id, 1)).collect::<Vec<_>>()).await;
    let disk = world.disk.clone();
    world.target.script(move |batch| {
        let intents: Vec<BatchIntent> = disk.all("_batches");
        assert!(intents.iter().any(|intent| intent.batch == batch.id), "{} is not in the journal", batch.id);
        None
    });
    world.run_through(end).await;
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_process_that_died_count_as_spent() {
    let mut world = World::new(vec![item()]).await;
    let mut config = GovernorConfig { ahead: 6, burst: governor::Permille::percent(100), ..GovernorConfig::default() };
    config.allocations[0].assumed_max = 10_000;
    world.governor = Some(config);
    world.target.limits.lock().rows_max = 1;
    let (mut sent, mut end) = (0, model::Offset(0));
    for round in 0..5 {
        end = world.append(&(0..30).map(|id| write(id, round)).collect::<Vec<_>>()).await;
        let mut run = world.start();
        run.settled(end).await;
        sent = world.target.batches.lock().len() as u64;
        run.life.end();
        run.task.abort();
        let _ = run.task.await;
    }
    assert_eq!(sent, 150);
    let mut run = world.start();
    run.settled(end).await;
    let spent = run.handle.quota(&"org".into()).unwrap().allocations[0].spent;
    run.stop().await;
    assert!((sent..=sent + 6 * 6).contains(&spent), "{spent} calls are counted, {sent} were made");
}

#[tokio::test(start_paused = true)]
async fn settlements_that_the_log_withdraws_are_written_again() {
    for breaks in [1, 2, 5] {
        let world = World::new(vec![item()]).await;
        world.target.limits.lock().rows_max = 3;
        let changes: Vec<_> = (0..60).map(|n| write(n % 10, n)).collect();
        let end = world.append(&changes).await;
        *world.disk.broken_syncs.lock() = Some(("_settlements".into(), breaks));
        let mut run = world.start();
        run.until(|status| status.routes[0].checkpoint == end).await;
        run.stop().await;
        assert_eq!(world.disk.broken_syncs.lock().as_ref().map(|(_, left)| *left), Some(0));
        assert_in_order(&world.target, "Item__c", &changes);
        world.disk.lose_power();
        world.assert_settled_once("items", 0..end.0);
        world.run_through(end).await;
        assert_eq!(world.target.read_backs.load(Atomic::Relaxed), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_come_one_by_one_gather_until_their_deadline_when_the_pace_is_spent() {
    const RECORDS: u64 = 600;
    let mut world = World::new(vec![item()]).await;
    world.spec.routes[0].deadline = Duration::from_secs(60);
    // 200 calls a day are ours: one in nine minutes for this lane once its first ten are spent.
    let mut config = GovernorConfig::default();
    config.allocations[0].assumed_max = 400;
    world.governor = Some(config);
    let mut run = world.start();
    let (mut end, mut held) = (model::Offset(0), false);
    for id in 0..RECORDS {
        end = world.append(&[write(id as i64, 1)]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = run.handle.status();
        held |= status.routes[0].paused.as_deref().is_some_and(|reason| reason.starts_with("PS6013"));
        let late = status.routes[0].oldest_unsettled_age_ms.unwrap_or_default();
        assert!(late <= 60_000, "a record is {late} ms old after {id} others");
    }
    run.settled(end).await;
    assert!(run.stop().await.routes[0].applied_p99_ms.unwrap() <= 60_000.0 * 1.125);
    assert!(held, "the status says what is waited for");
    let calls = world.target.batches.lock().len();
    assert!(calls <= 10 + 12, "{calls} calls for ten minutes of a record a second");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_becomes_full_while_it_gathers_goes_at_once() {
    let mut world = World::new(vec![item()]).await;
    world.spec.routes[0].deadline = Duration::from_secs(60);
    world.target.limits.lock().rows_max = 50;
    let mut config = GovernorConfig::default();
    config.allocations[0].assumed_max = 400;
    world.governor = Some(config);
    // The first ten calls are there at once.
    let first: Vec<_> = (0..500).map(|id| write(id, 1)).collect();
    let end = world.append(&first).await;
    let mut run = world.start();
    run.settled(end).await;
    let few: Vec<_> = (0..10).map(|id| write(1000 + id, 1)).collect();
    world.append(&few).await;
    run.until(|status| status.routes[0].paused.is_some()).await;
    let began = tokio::time::Instant::now();
    let rest: Vec<_> = (0..40).map(|id| write(1010 + id, 1)).collect();
    let end = world.append(&rest).await;
    run.settled(end).await;
    assert!(began.elapsed() < Duration::from_secs(1), "it waited {:?}", began.elapsed());
    run.stop().await;
}
