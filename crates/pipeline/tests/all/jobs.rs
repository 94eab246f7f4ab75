//! Rows that go by jobs: a backlog, deaths at every point of a job's life, leftovers, rows that no job carries.

use super::bulk::JobState;
use super::target::Fault;
use super::world::*;
use contract::{CrashPoint, SinkLimits};
use model::{Api, ErrorClass, Lane};
use pipeline::spec::{LaneSpec, RouteSpec};
use std::sync::atomic::Ordering as Atomic;
use std::time::Duration;

const POINTS: [CrashPoint; 6] = [
    CrashPoint::AfterJournal,
    CrashPoint::AfterJobNoted,
    CrashPoint::AfterUpload,
    CrashPoint::AfterSend,
    CrashPoint::BeforeSettle,
    CrashPoint::InCheckpoint,
];

fn bulk_item() -> RouteSpec {
    let mut route = item();
    route.lane = LaneSpec::Constant(Lane::Bulk);
    route.deadline = Duration::from_secs(3600);
    route
}

async fn world() -> World {
    let mut world = World::new(vec![bulk_item()]).await;
    *world.target.job_limits.lock() = Some(SinkLimits { rows_max: 100, bytes_max: 1 << 20, in_flight_max: 3 });
    world.spec.router.bulk_from = 50;
    // A call of ten rows against a job of a hundred: jobs are cheaper as soon as there are some.
    world.target.limits.lock().rows_max = 10;
    world.spec.routes[0].batch.rows_max = 10;
    world
}

fn backlog(keys: i64) -> Vec<Change> {
    (1..=2).flat_map(|v| (0..keys).map(move |key| write(key, v))).collect()
}

#[tokio::test(start_paused = true)]
async fn backlog_goes_by_full_jobs_and_the_rest_by_calls() {
    let world = world().await;
    let changes = backlog(330);
    let end = world.append(&changes).await;
    let status = world.run_through(end).await;
    assert_in_order(&world.target, "Item__c", &changes);
    let uploads = world.target.jobs.uploads.lock().clone();
    assert!(uploads.iter().filter(|rows| **rows == 100).count() >= 6, "{uploads:?}");
    let by_api = &status.routes[0].by_api;
    assert_eq!(by_api[&Api::Bulk].rows + by_api[&Api::Collections].rows, 660);
    assert!(by_api[&Api::Collections].rows <= 200, "{by_api:?}");
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_copy_wait_for_a_job_only_where_one_is_to_be_had() {
    for (bulk_is_taken, longest, least) in [(false, 1, 0), (true, 60, 2)] {
        let mut world = world().await;
        if !bulk_is_taken {
            let rule = pipeline::router::ApiRule {
                api: Api::Collections,
                table: None,
                operation: None,
                lane: None,
                rows_min: None,
                rows_max: None,
            };
            world.spec.router.rules = vec![rule];
        }
        let end = world.append(&(0..40).map(|key| write(key, 1)).collect::<Vec<_>>()).await;
        let began = tokio::time::Instant::now();
        let mut run = world.start();
        run.handle.set_copying([item().table]);
        run.settled(end).await;
        let took = began.elapsed();
        let (longest, least) = (Duration::from_secs(longest), Duration::from_secs(least));
        assert!(took >= least && took < longest, "Bulk {bulk_is_taken}: {took:?}");
        run.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_changes_of_one_key_do_not_each_wait_for_a_job() {
    let world = world().await;
    let changes: Vec<_> = (0..300).map(|v| write(1, v)).collect();
    let end = world.append(&changes).await;
    let began = tokio::time::Instant::now();
    let mut run = world.start();
    run.settled_within(end, Duration::from_secs(3_600)).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    run.stop().await;
    assert_in_order(&world.target, "Item__c", &changes);
}

#[tokio::test(start_paused = true)]
async fn critical_row_passes_the_jobs() {
    let mut world = world().await;
    world.spec.routes[0].lane = LaneSpec::Cel("v == 9 ? 'critical' : 'bulk'".into());
    let end = world.append(&backlog(400)).await;
    let mut run = world.start();
    run.until(|status| status.routes[0].lanes[2].in_flight >= 300).await;
    let began = tokio::time::Instant::now();
    let last = world.append(&[write(1_000, 9)]).await;
    run.until(|status| status.routes[0].applied > 0).await;
    assert!(began.elapsed() < Duration::from_secs(1), "a job takes 30 s, this took {:?}", began.elapsed());
    assert_eq!(world.target.values("Item__c", "1000"), [Some(9)]);
    run.settled(last.max(end)).await;
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn death_at_any_point_of_a_jobs_life_loses_repeats_and_swaps_nothing() {
    for point in POINTS {
        for nth in [1, 2, 4] {
            for power in [false, true] {
                let world = world().await;
                let changes = backlog(150);
                let end = world.append(&changes).await;
                let died = world.start_dying(point, nth).died_before(end).await;
                if power {
                    world.disk.lose_power();
                }
                world.start_dying(point, 2).died_before(end).await;
                if power {
                    world.disk.lose_power();
                }
                world.run_through(end).await;
                let place = format!("{point:?} for the {nth}. time, power lost: {power}, died: {died}");
                println!("{place}");
                assert_in_order(&world.target, "Item__c", &changes);
                assert_eq!(world.target.history.lock().len(), changes.len(), "{place}: each effect once");
                assert_eq!(world.target.jobs.in_state(&JobState::Open), 0, "{place}: no job is left open");
                assert_eq!(world.target.read_backs.load(Atomic::Relaxed), 0, "{place}: jobs are asked, rows are not");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn job_whose_name_was_lost_is_closed_at_the_next_start_before_another_is_made() {
    let world = world().await;
    *world.target.jobs.lose_name.lock() = true;
    let changes = backlog(150);
    let end = world.append(&changes).await;
    world.run_through(end).await;
    assert_in_order(&world.target, "Item__c", &changes);
    assert_eq!(world.target.history.lock().len(), changes.len());
    assert_eq!((world.target.jobs.in_state(&JobState::Open), *world.target.jobs.looked.lock()), (1, 0));
    let end = world.append(&backlog(150)).await;
    world.run_through(end).await;
    assert_eq!((world.target.jobs.in_state(&JobState::Open), *world.target.jobs.looked.lock()), (0, 1));
    world.run_through(end).await;
    assert_eq!(*world.target.jobs.looked.lock(), 1, "there is nothing to look for any more");
}

#[tokio::test(start_paused = true)]
async fn stop_leaves_the_job_to_the_next_start() {
    let world = world().await;
    *world.target.jobs.takes.lock() = Duration::from_secs(200);
    let changes: Vec<_> = (0..100).map(|key| write(key, 1)).collect();
    let end = world.append(&changes).await;
    let mut run = world.start();
    run.until(|status| status.routes[0].lanes[2].in_flight == 100).await;
    let uploaded = || world.target.jobs.uploads.lock().len();
    while uploaded() == 0 {
        tokio::task::yield_now().await;
    }
    let began = tokio::time::Instant::now();
    run.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "the stop waits for no job");
    world.run_through(end).await;
    assert_eq!((world.target.history.lock().len(), uploaded()), (100, 1));
}

#[tokio::test(start_paused = true)]
async fn rows_that_a_job_refuses_or_does_not_carry_find_their_way() {
    let world = world().await;
    world.target.script(|_| Some(Fault::Rows(vec![("7".into(), ErrorClass::BusinessRule, "RULE")])));
    let mut changes: Vec<_> = (0..100).map(|key| write(key, 1)).collect();
    changes[3].note = Some("#N/A".into());
    changes[5].op = 'd';
    let end = world.append(&changes).await;
    let status = world.run_through(end).await;
    let route = &status.routes[0];
    assert_eq!((route.applied, route.dead_lettered), (99, 1));
    assert_eq!((route.by_api[&Api::Bulk].rows, route.by_api[&Api::Collections].rows), (98, 2));
    assert_eq!(world.target.row("Item__c", "3").unwrap()["Note__c"].as_deref(), Some("#N/A"));
}
