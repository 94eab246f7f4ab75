//! What stops an org as a whole, and what never may: outages, refused credentials, poison.

use super::target::{Fault, text};
use super::world::*;
use model::ErrorClass::{self, *};
use pipeline::breaker::BreakerConfig;
use std::time::Duration;

/// Three unrelated routes of one org: three groups.
fn three() -> Vec<pipeline::spec::RouteSpec> {
    vec![item(), route("parents", "parent", "Parent__c"), route("others", "child", "Other__c")]
}

fn of_all(id: i64, v: i64) -> [Change; 3] {
    [write(id, v), write(id, v).of("parent"), write(id, v).of("child")]
}

#[tokio::test(start_paused = true)]
async fn outage_opens_the_breaker_and_nothing_is_lost_or_buried() {
    let mut world = World::new(three()).await;
    world.breaker = BreakerConfig { calls_min: 6, wait_min: Duration::from_secs(30), ..BreakerConfig::default() };
    let changes: Vec<_> = (0..60).flat_map(|id| of_all(id, 1)).collect();
    let end = world.append(&changes).await;
    world.target.limits.lock().rows_max = 5;
    let from = tokio::time::Instant::now();
    let well_at = from + Duration::from_secs(600);
    world.target.script(move |_| (tokio::time::Instant::now() < well_at).then_some(Fault::Fail(Transient, None)));
    let mut run = world.start();
    run.until(|status| {
        status.routes.iter().all(|route| route.paused.as_ref().is_some_and(|reason| reason.starts_with("PS5520")))
    })
    .await;
    let at_open = world.target.batches.lock().len();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.target.batches.lock().len(), at_open, "an open breaker sends nothing");
    tokio::time::sleep(Duration::from_secs(500)).await;
    let probes = world.target.batches.lock().len() - at_open;
    assert!((5..40).contains(&probes), "{probes} probes in 500 s");
    run.settled_within(end, Duration::from_secs(900)).await;
    run.until(|status| status.routes.iter().all(|route| route.paused.is_none())).await;
    run.stop().await;
    assert_eq!(world.dead_letters(), 0);
    for object in ["Item__c", "Parent__c", "Other__c"] {
        assert_in_order(&world.target, object, &(0..60).map(|id| write(id, 1)).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn breaker_of_one_api_pauses_only_routes_that_go_by_it() {
    let mut by_graph = route("others", "child", "Other__c");
    by_graph.api = pipeline::router::ApiSetting::Only(model::Api::Graph);
    let mut world = World::new(vec![item(), by_graph]).await;
    *world.target.graph_limits.lock() =
        Some(contract::SinkLimits { rows_max: 10, bytes_max: 1 << 20, in_flight_max: 4 });
    world.breaker = BreakerConfig { calls_min: 6, wait_min: Duration::from_secs(30), ..BreakerConfig::default() };
    let well_at = tokio::time::Instant::now() + Duration::from_secs(600);
    world.target.script(move |batch| {
        let fails = batch.api == model::Api::Graph && tokio::time::Instant::now() < well_at;
        fails.then_some(Fault::Fail(Transient, None))
    });
    let changes: Vec<_> = (0..60).flat_map(|id| [write(id, 1), write(id, 1).of("child")]).collect();
    let end = world.append(&changes).await;
    let mut run = world.start();
    run.until(|status| {
        let paused = |index: usize| status.routes[index].paused.as_deref();
        paused(1).is_some_and(|reason| reason.starts_with("PS5520") && reason.contains("graph")) && paused(0).is_none()
    })
    .await;
    run.settled_within(end, Duration::from_secs(900)).await;
    run.stop().await;
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_hold_all_routes_of_the_org_and_all_go_on_by_themselves() {
    let world = World::new(three()).await;
    let end = world.append(&of_all(1, 1)).await;
    let well_at = tokio::time::Instant::now() + Duration::from_secs(300);
    world.target.script(move |_| {
        (tokio::time::Instant::now() < well_at).then_some(Fault::Fail(Auth, Some("INVALID_SESSION_ID")))
    });
    let mut run = world.start();
    // Also those that have never met the refusal themselves.
    run.until(|status| {
        status.routes.iter().all(|route| route.paused.as_ref().is_some_and(|reason| reason.starts_with("PS5521")))
    })
    .await;
    let before = world.target.batches.lock().len();
    assert!(before <= 3, "{before} calls were under way when the first was refused");
    run.settled_within(end, Duration::from_secs(400)).await;
    run.until(|status| status.routes.iter().all(|route| route.paused.is_none())).await;
    let status = run.stop().await;
    assert!(status.routes.iter().all(|route| route.applied == 1));
    let calls = world.target.batches.lock().len();
    assert!(calls < 20, "{calls} calls: one probe at a time, at growing distances");
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn poison_rows_of_all_kinds_never_stop_another_key() {
    // What each poisoned key meets whenever it is sent.
    let kinds: [(i64, ErrorClass, &str, bool); 7] = [
        (1, BusinessRule, "FIELD_CUSTOM_VALIDATION_EXCEPTION", false),
        (2, Permanent, "STRING_TOO_LONG", false),
        (3, Lock, "UNABLE_TO_LOCK_ROW", false),
        (4, Transient, "UNKNOWN_EXCEPTION", false),
        // These take their whole batch along.
        (5, Permanent, "JSON_PARSER_ERROR", true),
        (6, Transient, "INTERNAL_ERROR", true),
        (7, Unknown, "", true),
    ];
    let mut world = World::new(vec![item()]).await;
    world.target.limits.lock().rows_max = 8;
    world.spec.routes[0].retry.transient.attempts_max = 3;
    world.target.script(move |batch| {
        let keys: Vec<i64> = batch.rows.iter().map(|row| text(row.key.as_ref().unwrap()).parse().unwrap()).collect();
        let met: Vec<_> = kinds.iter().filter(|(key, ..)| keys.contains(key)).collect();
        if let Some((_, class, code, _)) = met.iter().find(|(.., whole)| *whole) {
            return Some(Fault::Fail(*class, Some(code)));
        }
        let rows: Vec<_> = met.iter().map(|(key, class, code, _)| (key.to_string(), *class, *code)).collect();
        (!rows.is_empty()).then_some(Fault::Rows(rows))
    });
    let mut changes: Vec<_> = (0..60).map(|id| write(id, 1)).collect();
    changes.extend((0..60).map(|id| write(id, 2)));
    let mut end = world.append(&changes).await;
    let mut run = world.start();
    let mut next = 1000;
    // Good traffic goes on, and none of it waits long.
    let began = tokio::time::Instant::now();
    while run.handle.status().routes[0].dead_lettered < 14 {
        end = world.append(&[write(next, 1)]).await;
        let sent = tokio::time::Instant::now();
        let key = next.to_string();
        let mut answered = world.target.changed.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(5), async {
            while world.target.row("Item__c", &key).is_none() {
                answered.changed().await.unwrap();
            }
        });
        let waited = waited.await.is_ok();
        assert!(waited, "key {key} waits since {:?}: {:#?}", sent.elapsed(), run.handle.status());
        next += 1;
        // The clock is virtual: retries come due only where it moves.
        tokio::time::advance(Duration::from_millis(5)).await;
        assert!(began.elapsed() < Duration::from_secs(250), "{:#?}", run.handle.status());
    }
    run.settled(end).await;
    let status = run.stop().await;
    assert_eq!(status.routes[0].dead_lettered, 14, "seven poisoned keys with two changes each");
    let good: Vec<_> = changes.into_iter().filter(|change| !(1..=7).contains(&change.id)).collect();
    assert_in_order(&world.target, "Item__c", &good);
    world.assert_settled_once("items", 0..end.0);
}

#[tokio::test(start_paused = true)]
async fn target_that_fails_every_tenth_call_makes_no_dead_letters() {
    let mut world = World::new(vec![item()]).await;
    world.target.limits.lock().rows_max = 10;
    world.spec.routes[0].retry.transient.attempts_max = 3;
    world.spec.routes[0].retry.unknown.attempts_max = 3;
    let (mut calls, mut chance) = (0_u32, 1_u32);
    world.target.script(move |_| {
        calls += 1;
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let class = if calls % 2 == 0 { Transient } else { Unknown };
        ((chance >> 16) % 10 == 0).then_some(Fault::Fail(class, Some("SERVER_UNAVAILABLE")))
    });
    let changes: Vec<_> = (0..2_000).map(|n| write(n % 400, n)).collect();
    let end = world.append(&changes).await;
    let mut run = world.start();
    run.settled_within(end, Duration::from_secs(3_000)).await;
    run.stop().await;
    assert_eq!(world.dead_letters(), 0, "what fails together with others is nobody's fault");
    assert_in_order(&world.target, "Item__c", &changes);
}
