//! Several allocations at once: all or nothing, each with its own share, hold and forecast; jobs; storage; siblings.

use super::*;

fn all() -> GovernorConfig {
    let mut config = GovernorConfig { in_flight_max: 10, in_flight_critical: 1, burst: Permille(1000), ..config() };
    config.allocations = AllocationSpec::all();
    for (row, max) in config.allocations.iter_mut().zip([2_000, 40, 500]) {
        row.assumed_max = max;
    }
    config
}

fn of(calls: u32, bulk_batches: u32, events: u32) -> Spend {
    Spend { calls, bulk_batches, events }
}

fn ask(route: &RouteId, cost: Spend) -> Ask<'_> {
    Ask::new(Lane::Critical, route, cost, Some(Duration::ZERO))
}

fn refusal(governor: &mut Governor, ask: &Ask<'_>, ms: i64) -> Refusal {
    match governor.request(ask, at(ms)) {
        Decision::Refused(refusal) => refusal,
        Decision::Granted(permit) => panic!("granted {permit:?}"),
    }
}

fn spent(governor: &mut Governor, ms: i64) -> Vec<u64> {
    governor.status(at(ms)).allocations.iter().take(3).map(|row| row.spent).collect()
}

#[test]
fn a_permit_is_granted_of_every_allocation_or_of_none() {
    let (mut governor, route) = (governor(all()), route());
    let Decision::Granted(permit) = governor.request(&ask(&route, of(12, 15, 0)), at(0)) else { panic!() };
    assert_eq!(spent(&mut governor, 0), [12, 15, 0]);
    let refused = refusal(&mut governor, &ask(&route, of(12, 6, 0)), 0);
    assert_eq!((refused.reason, refused.allocation.as_deref()), (RefusalReason::ShareSpent, Some(BULK_BATCHES)));
    assert_eq!(spent(&mut governor, 0), [12, 15, 0], "nothing of it was taken");
    governor.finish(permit, of(7, 14, 0), at(1));
    assert_eq!(spent(&mut governor, 1), [7, 14, 0]);
    assert!(matches!(governor.request(&ask(&route, of(12, 6, 0)), at(1)), Decision::Granted(_)));
}

#[test]
fn of_several_that_stand_in_the_way_the_one_that_frees_last_is_told() {
    let (mut governor, route) = (governor(all()), route());
    for (cost, ms) in [(of(0, 20, 0), 0), (of(0, 0, 250), 1)] {
        assert!(matches!(governor.request(&ask(&route, cost), at(ms)), Decision::Granted(_)));
    }
    let events = refusal(&mut governor, &ask(&route, of(1, 0, 1)), 2);
    assert!(events.retry_after <= Duration::from_secs(3700), "events count by the hour: {events}");
    let both = refusal(&mut governor, &ask(&route, of(1, 1, 1)), 2);
    assert_eq!(both.allocation.as_deref(), Some(BULK_BATCHES));
    assert!(both.retry_after > Duration::from_secs(23 * 3600), "{both}");
    // An hour later only the batches are still spent.
    let later = HOUR_MS + 60_000;
    assert!(matches!(governor.request(&ask(&route, of(1, 0, 250)), at(later)), Decision::Granted(_)));
}

#[test]
fn each_allocation_may_have_a_share_of_its_own() {
    let mut config = all();
    config.allocations[1].share = Some(Permille(800));
    let mut governor = governor(config);
    let budgets: Vec<u64> = governor.status(at(0)).allocations.iter().take(3).map(|row| row.budget).collect();
    assert_eq!(budgets, [1_000, 32, 250]);
    let mut none = all();
    none.allocations[2].share = Some(Permille(0));
    assert_eq!(Governor::new(none, at(0)).unwrap_err().code().0, "PS6002");
}

#[test]
fn a_job_takes_no_place_and_is_no_long_call_but_counts_as_spent() {
    let (mut governor, route) = (governor(GovernorConfig { in_flight_max: 2, long_calls_max: 1, ..all() }), route());
    let job = Ask { background: true, ..ask(&route, of(12, 1, 0)) };
    for _ in 0..5 {
        assert!(matches!(governor.request(&job, at(0)), Decision::Granted(_)));
    }
    assert_eq!(spent(&mut governor, 0), [60, 5, 0]);
    let status = governor.status(at(60_000));
    assert_eq!((status.in_flight, status.background, status.long_calls), (5, 5, 0));
    let Decision::Granted(_a) = governor.request(&ask(&route, of(1, 0, 0)), at(60_000)) else { panic!() };
    let Decision::Granted(_b) = governor.request(&ask(&route, of(1, 0, 0)), at(60_000)) else { panic!() };
    assert_eq!(refusal(&mut governor, &ask(&route, of(1, 0, 0)), 60_000).reason, RefusalReason::InFlight);
    assert!(matches!(governor.request(&job, at(60_000)), Decision::Granted(_)), "jobs need no place");
}

#[test]
fn a_hold_stops_only_what_needs_the_allocation_that_the_org_spoke_of() {
    let (mut governor, route) = (governor(all()), route());
    governor.hold(Limit::Allocation(EVENTS_PUBLISHED), Duration::from_secs(60), at(0));
    let refused = refusal(&mut governor, &ask(&route, of(1, 0, 1)), 1);
    assert_eq!((refused.reason, refused.allocation.as_deref()), (RefusalReason::Held, Some(EVENTS_PUBLISHED)));
    assert_eq!(refused.retry_after, Duration::from_millis(59_999));
    assert!(matches!(governor.request(&ask(&route, of(1, 1, 0)), at(1)), Decision::Granted(_)));
    governor.hold(Limit::LongCalls, Duration::from_secs(5), at(1));
    assert_eq!(refusal(&mut governor, &ask(&route, of(1, 0, 0)), 2).reason, RefusalReason::Held);
    let job = Ask { background: true, ..ask(&route, of(1, 1, 0)) };
    assert!(matches!(governor.request(&job, at(2)), Decision::Granted(_)), "a job that waits is no long call");
    assert!(governor.outlook(Lane::Critical, at(3)).burden(of(1, 0, 1)).is_infinite());
}

#[test]
fn creates_wait_while_the_storage_is_full_and_updates_go_on() {
    let (mut governor, route) = (governor(all()), route());
    let create = Ask { creates: 512, ..ask(&route, of(1, 0, 0)) };
    assert!(matches!(governor.request(&create, at(0)), Decision::Granted(_)), "the org told nothing yet");
    let told =
        |used, ms: i64| AllocationReading { allocation: DATA_STORAGE.into(), max: 5, used, at_ms: at(ms).unix_ms };
    assert!(governor.observe(&told(3, 1), at(1)));
    // 3 of 5 MB, and 512 records of 2 kB that the reading may not show: one more MB fits.
    assert!(matches!(governor.request(&create, at(2)), Decision::Granted(_)));
    let refused = refusal(&mut governor, &Ask { creates: 1, ..create }, 3);
    assert_eq!((refused.reason, refused.allocation.as_deref()), (RefusalReason::StorageFull, Some(DATA_STORAGE)));
    assert!(matches!(governor.request(&ask(&route, of(1, 0, 0)), at(3)), Decision::Granted(_)));
    assert!(governor.status(at(3)).levels[0].full);
    // Two readings later the records are surely in the figure.
    for minutes in [6, 12] {
        governor.observe(&told(4, minutes * 60_000), at(minutes * 60_000));
    }
    assert!(matches!(governor.request(&create, at(13 * 60_000)), Decision::Granted(_)));
}

#[test]
fn the_outlook_makes_what_is_scarce_dear() {
    let (mut governor, route) = (governor(all()), route());
    let by_calls = of(50, 0, 0);
    let by_job = of(6, 1, 0);
    let outlook = governor.outlook(Lane::Critical, at(0));
    assert!(outlook.affords(by_calls) && outlook.affords(by_job));
    assert!(outlook.burden(by_job) < outlook.burden(by_calls), "{outlook:?}");
    assert!(matches!(governor.request(&ask(&route, of(0, 19, 0)), at(0)), Decision::Granted(_)));
    let outlook = governor.outlook(Lane::Critical, at(0));
    assert!(outlook.burden(by_job) > outlook.burden(by_calls), "one batch is left: {outlook:?}");
    assert_eq!(outlook.burden(Spend::default()), 0.0);
    assert!(!outlook.affords(of(0, 2, 0)));
}

#[test]
fn a_wish_larger_than_the_burst_goes_when_the_burst_is_full_and_is_paid_for_afterwards() {
    let (mut governor, route) = (governor(GovernorConfig { burst: Permille(100), ..all() }), route());
    // A burst of one batch: a tenth of bulk's 6, of 20.
    let wish = Ask { lane: Lane::Bulk, time_left: None, background: true, ..ask(&route, of(1, 4, 0)) };
    assert!(matches!(governor.request(&wish, at(0)), Decision::Granted(_)));
    let refused = refusal(&mut governor, &wish, 0);
    assert_eq!((refused.reason, refused.allocation.as_deref()), (RefusalReason::Paced, Some(BULK_BATCHES)));
    // Four batches at some 17 a day: five hours and more.
    assert!(refused.retry_after > Duration::from_secs(4 * 3600), "{refused}");
    let then = refused.retry_after.as_millis() as i64 + 2;
    assert!(matches!(governor.request(&wish, at(then)), Decision::Granted(_)));
}

#[test]
fn what_no_permit_pays_for_is_noted_and_forecast() {
    let mut governor = governor(all());
    assert!(governor.note(EVENTS_DELIVERED, Lane::Standard, 4_000, at(0)));
    assert!(!governor.note("SingleEmail", Lane::Standard, 1, at(0)));
    let forecast = governor.forecast(EVENTS_DELIVERED, at(60_000)).expect("a row");
    assert!(forecast.runs_out.expect("5,000 are ours").of_share);
    let told = forecast.sentence("events delivered", &|_| "noon".to_owned());
    assert_eq!(told, "events delivered end at noon at this rate");
}

#[test]
fn who_waits_is_told_until_it_goes() {
    let (mut governor, route) = (governor(all()), route());
    let Decision::Granted(_most) = governor.request(&ask(&route, of(0, 20, 0)), at(0)) else { panic!() };
    refusal(&mut governor, &ask(&route, of(1, 1, 0)), 1_000);
    refusal(&mut governor, &ask(&route, of(1, 1, 0)), 3_000);
    let waiting = governor.status(at(4_000)).waiting;
    assert_eq!((waiting.len(), waiting[0].for_ms, waiting[0].code.0), (1, 3_000, "PS6010"));
    assert!(matches!(governor.request(&ask(&route, of(1, 0, 0)), at(5_000)), Decision::Granted(_)));
    assert!(governor.status(at(5_000)).waiting.is_empty());
}

#[test]
fn siblings_spending_leases_holds_and_long_calls_are_seen() {
    let config = || GovernorConfig { ahead: 10, share: Permille(1000), long_calls_max: 5, ..all() };
    let (mut ours, mut theirs) = (governor(config()), governor(config()));
    store(&mut theirs, at(0));
    let route = route();
    let Decision::Granted(_permit) = theirs.request(&ask(&route, of(10, 0, 0)), at(0)) else { panic!() };
    theirs.hold(Limit::Allocation(BULK_BATCHES), Duration::from_secs(30), at(0));
    let entry = store(&mut theirs, at(0));
    let peer = Peer { member: "other".into(), entry };
    ours.entry(std::slice::from_ref(&peer), at(10));
    ours.stored(Stored::Yes);
    let status = ours.status(at(10));
    let row = &status.allocations[0];
    assert_eq!((row.spent, row.siblings[0].spent, row.siblings[0].reserved), (0, 10, 10));
    assert_eq!(row.left, 2_000 - 20);
    assert_eq!(status.allocations[1].held_for_ms, 29_990, "what the org told one process, all know");
    assert_eq!(status.long_calls_max, 2, "two processes divide five");
    // It is gone: its lease ends, and goes on counting as spent for a day.
    let late = LEASE_VALID.as_millis() as i64 + 20;
    ours.entry(std::slice::from_ref(&peer), at(late));
    let status = ours.status(at(late));
    assert_eq!((status.long_calls_max, status.allocations[0].siblings[0].reserved), (5, 10));
    let day = SPAN_MS + HOUR_MS;
    ours.entry(std::slice::from_ref(&peer), at(day));
    let row = &ours.status(at(day)).allocations[0];
    assert_eq!((row.siblings[0].spent, row.siblings[0].reserved), (0, 0));
}
