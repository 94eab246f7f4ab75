//! The process dies at every named point, and once more while it recovers.

use super::target::Fault;
use super::world::*;
use contract::CrashPoint;
use model::ErrorClass;
use pipeline::spec::Coalesce;
use std::sync::atomic::Ordering as Atomic;

const POINTS: [CrashPoint; 5] = [
    CrashPoint::AfterJournal,
    CrashPoint::AfterSend,
    CrashPoint::BeforeSettle,
    CrashPoint::InCheckpoint,
    CrashPoint::AfterJournal,
];

fn changes() -> Vec<Change> {
    let mut changes = Vec::new();
    for v in 1..=6 {
        for key in 0..40 {
            changes.push(if v > 1 && (key + v) % 11 == 0 { delete(key) } else { write(key, v) });
        }
    }
    changes
}

#[tokio::test(start_paused = true)]
async fn death_at_any_point_loses_repeats_and_swaps_nothing() {
    for point in POINTS {
        for nth in [1, 2, 3, 5, 8] {
            for power in [false, true] {
                let world = World::new(vec![item()]).await;
                world.target.limits.lock().rows_max = 7;
                let changes = changes();
                let end = world.append(&changes).await;
                let died = world.start_dying(point, nth).died_before(end).await;
                if power {
                    world.disk.lose_power();
                }
                // It dies again while it recovers.
                world.start_dying(point, 2).died_before(end).await;
                if power {
                    world.disk.lose_power();
                }
                world.run_through(end).await;
                let place = format!("{point:?} for the {nth}. time, power lost: {power}, died: {died}");
                println!("{place}");
                assert_in_order(&world.target, "Item__c", &changes);
                if !power {
                    world.assert_settled_once("items", 0..end.0);
                }
                let outcomes = world.outcomes();
                assert!((0..end.0).all(|offset| outcomes.contains_key(&("items".into(), offset))), "{place}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn death_with_merged_rows_under_way_repeats_nothing() {
    for point in POINTS {
        for nth in [1, 2, 4] {
            let mut route = item();
            route.coalesce = Coalesce::Latest;
            let world = World::new(vec![route]).await;
            world.target.limits.lock().rows_max = 5;
            let changes: Vec<_> = (1..=9).flat_map(|v| (0..12).map(move |key| write(key, v))).collect();
            let end = world.append(&changes).await;
            world.start_dying(point, nth).died_before(end).await;
            world.run_through(end).await;
            for key in 0..12 {
                let values = world.target.values("Item__c", &key.to_string());
                assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "{point:?} {nth}: {values:?}");
                assert_eq!(values.last(), Some(&Some(9)));
            }
            world.assert_settled_once("items", 0..end.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letter_is_not_buried_twice_by_a_death_before_its_settlement() {
    for nth in 1..=3 {
        let world = World::new(vec![item()]).await;
        let end = world.append(&[write(1, 1), write(2, 1), write(1, 2)]).await;
        world.target.script(|batch| {
            let refused = batch.rows.iter().any(|row| row.position.offset.0 == 0);
            refused.then(|| Fault::Rows(vec![("1".into(), ErrorClass::BusinessRule, "NO")]))
        });
        world.start_dying(CrashPoint::BeforeSettle, nth).died_before(end).await;
        world.run_through(end).await;
        assert_eq!(world.dead_letters(), 1);
        assert_eq!(world.target.values("Item__c", "1"), [Some(2)]);
        let listed = pipeline::dlq::list(&world.state(), &Default::default(), 10).await.unwrap();
        assert_eq!(listed.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_back_when_every_batch_was_answered() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&changes()).await;
    let mut run = world.start();
    run.settled(end).await;
    run.life.end();
    run.task.abort();
    let _ = run.task.await;
    world.run_through(end).await;
    assert_eq!(world.target.read_backs.load(Atomic::Relaxed), 0);
    assert_in_order(&world.target, "Item__c", &changes());
}

#[tokio::test(start_paused = true)]
async fn request_of_the_dead_process_is_not_overtaken() {
    let mut world = World::new(vec![item()]).await;
    world.spec.recovery_grace = std::time::Duration::from_millis(200);
    let end = world.append(&[write(1, 1), write(1, 2)]).await;
    // The target applies it only after the process died; less than the grace later.
    world.target.script(|batch| {
        (batch.rows[0].position.offset.0 == 0).then_some(Fault::Late(std::time::Duration::from_millis(100)))
    });
    let run = world.start();
    let target = world.target.clone();
    target.arrived.subscribe().wait_for(|batches| *batches == 1).await.unwrap();
    run.life.end();
    // The request goes on in the target: only the answer finds nobody.
    let dead = run;
    world.run_through(end).await;
    assert_eq!(target.values("Item__c", "1"), [Some(1), Some(2)]);
    dead.task.abort();
}

#[tokio::test(start_paused = true)]
async fn slow_target_is_given_the_time_that_its_calls_take() {
    use std::time::Duration;
    let world = World::new(vec![item()]).await;
    // A call takes much longer than the configured grace of 20 ms, and the pipeline has seen it.
    world.target.script(|_| Some(Fault::Late(Duration::from_secs(6))));
    let first = world.append(&[write(7, 1), write(8, 1), write(9, 1)]).await;
    world.run_through(first).await;
    let end = world.append(&[write(1, 1), write(2, 1), write(3, 1), write(1, 2)]).await;
    let seen = *world.target.arrived.borrow();
    let run = world.start();
    world.target.arrived.subscribe().wait_for(|batches| *batches > seen).await.unwrap();
    run.life.end();
    // The request goes on in the target: only the answer finds nobody.
    let dead = run;
    world.run_through(end).await;
    assert_eq!(world.target.values("Item__c", "1"), [Some(1), Some(2)]);
    dead.task.abort();
}

#[tokio::test(start_paused = true)]
async fn crash_after_crash_makes_no_wait_longer() {
    use std::time::Duration;
    let mut world = World::new(vec![item()]).await;
    // Every life reads all the journals again.
    world.spec.checkpoint_every = Duration::from_secs(3600);
    for life in 0..12 {
        let end = world.append(&[write(life, 1)]).await;
        let began = tokio::time::Instant::now();
        world.start_dying(CrashPoint::AfterSend, 1).died_before(end).await;
        // The life that reads the row back is killed before it writes a checkpoint.
        let mut run = world.start();
        run.settled(end).await;
        run.life.end();
        run.task.abort();
        // Ten times the configured 20 ms is what an answer of unknown pace is given.
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(1), "life {life} waited {waited:?}");
    }
    assert_eq!(world.target.batches.lock().len(), 12, "nothing was sent again");
}

#[tokio::test(start_paused = true)]
async fn row_without_external_id_whose_answer_is_lost_is_not_created_twice() {
    let mut route = item();
    route.operation = pipeline::spec::Operation::Create;
    route.external_id = None;
    route.deletes = pipeline::spec::DeletePolicy::Ignore;
    let world = World::new(vec![route]).await;
    let end = world.append(&[write(1, 1)]).await;
    world.start_dying(CrashPoint::AfterJournal, 1).died_before(end).await;
    let status = world.run_through(end).await;
    assert_eq!(status.routes[0].dead_lettered, 1);
    assert!(world.target.history.lock().is_empty());
    let listed = pipeline::dlq::list(&world.state(), &Default::default(), 10).await.unwrap();
    assert_eq!(listed[0].code, pipeline::engine::CREATE_UNKNOWN);
}
