mod allocations;
mod interleavings;
mod property;

use super::*;
use model::RouteId;

const HOUR_MS: i64 = 3_600_000;
const SPAN_MS: i64 = 24 * HOUR_MS;

fn at(ms: i64) -> Now {
    Now { monotonic: Duration::from_millis(ms as u64), unix_ms: 1_700_000_000_000 + ms }
}

fn route() -> RouteId {
    "requests".into()
}

/// A wish whose deadline has passed, so that pacing never stands in its way.
fn urgent(route: &RouteId, lane: Lane, calls: u32) -> Ask<'_> {
    Ask::new(lane, route, Spend::calls(calls), Some(Duration::ZERO))
}

/// 1,000 calls of an org of 2,000: critical 200, standard 500, bulk 300.
fn config() -> GovernorConfig {
    let mut row = AllocationSpec::daily_api_requests();
    row.assumed_max = 2000;
    GovernorConfig {
        allocations: vec![row],
        in_flight_max: 100_000,
        in_flight_critical: 1,
        ..GovernorConfig::default()
    }
}

fn governor(config: GovernorConfig) -> Governor {
    Governor::new(config, at(0)).expect("valid")
}

fn reading(max: u64, used: u64, at_ms: i64) -> AllocationReading {
    AllocationReading { allocation: "DailyApiRequests".into(), max, used, at_ms }
}

/// Spends one call at a time until refused; returns how many were granted, and the refusal.
fn spend_all(governor: &mut Governor, lane: Lane, now: Now) -> (u64, Refusal) {
    let route = route();
    for granted in 0.. {
        match governor.request(&urgent(&route, lane, 1), now) {
            Decision::Granted(permit) => governor.finish(permit, Spend::calls(1), now),
            Decision::Refused(refusal) => return (granted, refusal),
        }
    }
    unreachable!("a budget is finite")
}

fn lane_status(governor: &mut Governor, lane: Lane, now: Now) -> LaneStatus {
    governor.status(now).allocations[0].lanes[lane as usize].clone()
}

#[test]
fn bulk_borrows_what_idle_lanes_lend_and_leaves_them_a_quarter() {
    let mut governor = governor(config());
    let (granted, refusal) = spend_all(&mut governor, Lane::Bulk, at(0));
    // 300 of its own, 150 of critical's 200, 375 of standard's 500.
    assert_eq!(granted, 825);
    assert_eq!(refusal.reason, RefusalReason::OwedToOtherLanes);
    let (granted, refusal) = spend_all(&mut governor, Lane::Critical, at(0));
    assert_eq!(granted, 175);
    assert_eq!(refusal.reason, RefusalReason::ShareSpent);
    assert_eq!(refusal.retry_after, Duration::from_millis(refill_ms(0)));
}

/// When what was spent at `ms` is forgotten, from 0 on.
fn refill_ms(ms: i64) -> u64 {
    let unix = at(ms).unix_ms;
    let quarter = HOUR_MS / 4;
    (unix - unix.rem_euclid(quarter) + quarter + SPAN_MS - at(0).unix_ms) as u64
}

#[test]
fn what_an_idle_lane_lent_comes_back_once_it_has_work() {
    let mut governor = governor(config());
    assert_eq!(spend_all(&mut governor, Lane::Bulk, at(0)).0, 825);
    // Critical wakes: from now on its whole reserve is owed to it, and what bulk's old spending frees goes there first.
    let _ = governor.request(&urgent(&route(), Lane::Critical, 1), at(1));
    let later = at(refill_ms(0) as i64);
    let route = route();
    let Decision::Granted(permit) = governor.request(&urgent(&route, Lane::Critical, 1), later) else { panic!("free") };
    governor.finish(permit, Spend::calls(1), later);
    let (granted, refusal) = spend_all(&mut governor, Lane::Bulk, later);
    // Standard is idle and keeps a quarter (125); critical has work and keeps all that it has not spent.
    assert_eq!(granted, 1000 - 1 - 199 - 125);
    assert_eq!(refusal.reason, RefusalReason::OwedToOtherLanes);
    assert_eq!(lane_status(&mut governor, Lane::Critical, later).owed, 199);
}

#[test]
fn critical_may_take_everything_that_is_left() {
    let mut governor = governor(config());
    let _ = governor.request(&urgent(&route(), Lane::Standard, 1), at(0));
    assert_eq!(spend_all(&mut governor, Lane::Critical, at(0)).0, 999);
}

#[test]
fn lanes_do_not_block_each_other_when_critical_took_more_than_its_part() {
    let mut governor = governor(config());
    let route = route();
    let ask = urgent(&route, Lane::Critical, 600);
    assert!(matches!(governor.request(&ask, at(0)), Decision::Granted(_)));
    // 400 are left, 500 are owed to standard and 300 to bulk, which both have work: standard comes first.
    let _ = governor.request(&urgent(&route, Lane::Bulk, 1000), at(0));
    assert_eq!(spend_all(&mut governor, Lane::Bulk, at(0)).0, 275, "standard is idle: a quarter of its part is kept");
    assert_eq!(spend_all(&mut governor, Lane::Standard, at(0)).0, 125);
}

#[test]
fn a_finished_permit_refunds_what_it_did_not_use_and_pays_what_it_used_more() {
    let mut governor = governor(config());
    let route = route();
    let Decision::Granted(a) = governor.request(&urgent(&route, Lane::Standard, 10), at(0)) else { panic!() };
    let Decision::Granted(b) = governor.request(&urgent(&route, Lane::Standard, 10), at(0)) else { panic!() };
    assert_eq!(governor.status(at(0)).allocations[0].spent, 20);
    governor.finish(a, Spend::calls(3), at(HOUR_MS));
    governor.finish(b, Spend::calls(15), at(HOUR_MS));
    assert_eq!(governor.status(at(HOUR_MS)).allocations[0].spent, 18);
    assert_eq!(governor.in_flight(), 0);
}

#[test]
fn others_spending_counts_and_a_reading_never_lowers_our_own() {
    let mut governor = governor(config());
    let route = route();
    for _ in 0..10 {
        let Decision::Granted(permit) = governor.request(&urgent(&route, Lane::Critical, 10), at(0)) else { panic!() };
        governor.finish(permit, Spend::calls(10), at(0));
    }
    assert!(governor.observe(&reading(2000, 1950, 5), at(5)));
    let row = &governor.status(at(5)).allocations[0];
    assert_eq!((row.spent, row.spent_by_others, row.left), (100, 1850, 50));
    assert_eq!(spend_all(&mut governor, Lane::Critical, at(5)).1.reason, RefusalReason::OrgSpent);
    // The org's figure lags behind: it says less than we spent ourselves.
    assert!(governor.observe(&reading(2000, 20, 6), at(6)));
    let row = &governor.status(at(6)).allocations[0];
    assert_eq!((row.spent, row.spent_by_others), (150, 1850), "a lower figure is believed after five minutes");
    assert!(!governor.observe(&reading(2000, 0, 4), at(7)), "an older reading is left out");
    let later = 11 * 60_000;
    assert!(governor.observe(&reading(2000, 160, later), at(later)));
    assert!(governor.observe(&reading(2000, 160, 2 * later), at(2 * later)));
    assert_eq!(governor.status(at(2 * later)).allocations[0].spent_by_others, 10);
}

#[test]
fn the_orgs_maximum_wins_over_the_assumed_one() {
    let mut governor = governor(config());
    assert!(governor.observe(&reading(100, 0, 1), at(1)));
    assert_eq!(governor.status(at(1)).allocations[0].budget, 50);
    let route = route();
    let Decision::Refused(refusal) = governor.request(&urgent(&route, Lane::Critical, 51), at(1)) else { panic!() };
    assert_eq!(refusal.reason, RefusalReason::LargerThanBudget);
    let other = AllocationReading { allocation: "DailyBulkApiBatches".into(), max: 5, used: 5, at_ms: 9 };
    assert!(!governor.observe(&other, at(2)), "a row that is not kept here");
}

#[test]
fn a_hold_stops_every_lane_until_it_is_over_and_a_shorter_one_does_not_shorten_it() {
    let mut governor = governor(config());
    governor.hold(Limit::Everything, Duration::from_secs(60), at(0));
    governor.hold(Limit::Everything, Duration::from_secs(1), at(0));
    let route = route();
    let Decision::Refused(refusal) = governor.request(&urgent(&route, Lane::Critical, 1), at(10_000)) else { panic!() };
    assert_eq!((refusal.reason, refusal.retry_after), (RefusalReason::Held, Duration::from_secs(50)));
    assert!(matches!(governor.request(&urgent(&route, Lane::Bulk, 1), at(60_000)), Decision::Granted(_)));
}

#[test]
fn lower_lanes_leave_places_in_flight_to_critical() {
    let mut governor = governor(GovernorConfig { in_flight_max: 3, in_flight_critical: 1, ..config() });
    let route = route();
    let mut permits = Vec::new();
    for lane in [Lane::Bulk, Lane::Standard, Lane::Bulk, Lane::Critical, Lane::Critical] {
        match governor.request(&urgent(&route, lane, 1), at(0)) {
            Decision::Granted(permit) => permits.push(permit.lane),
            Decision::Refused(refusal) => assert_eq!(refusal.reason, RefusalReason::InFlight),
        }
    }
    assert_eq!(permits, [Lane::Bulk, Lane::Standard, Lane::Critical]);
}

#[test]
fn calls_that_take_long_stop_new_ones_at_the_orgs_limit() {
    let mut governor = governor(GovernorConfig { long_calls_max: 2, ..config() });
    let route = route();
    let Decision::Granted(slow) = governor.request(&urgent(&route, Lane::Bulk, 1), at(0)) else { panic!() };
    let Decision::Granted(_other) = governor.request(&urgent(&route, Lane::Bulk, 1), at(0)) else { panic!() };
    assert!(matches!(governor.request(&urgent(&route, Lane::Bulk, 1), at(19_999)), Decision::Granted(_)));
    let Decision::Refused(refusal) = governor.request(&urgent(&route, Lane::Bulk, 1), at(20_000)) else { panic!() };
    assert_eq!(refusal.reason, RefusalReason::LongCalls);
    governor.finish(slow, Spend::calls(1), at(20_001));
    assert!(matches!(governor.request(&urgent(&route, Lane::Bulk, 1), at(20_001)), Decision::Granted(_)));
}

#[test]
fn pacing_makes_a_patient_wish_wait_and_lets_a_deadline_through() {
    let mut governor = governor(config());
    let route = route();
    let patient = |calls| Ask::new(Lane::Standard, &route, Spend::calls(calls), None);
    // A tenth of standard's 500 at once.
    assert!(matches!(governor.request(&patient(50), at(0)), Decision::Granted(_)));
    let Decision::Refused(refusal) = governor.request(&patient(1), at(0)) else { panic!() };
    assert_eq!(refusal.reason, RefusalReason::Paced);
    // 1,000 a day, of which the idle lanes keep a quarter of their 500: 875 a day are one in 98.7 s.
    assert_eq!(refusal.retry_after.as_secs(), 86_400 / 875);
    let hurried = |left| Ask { time_left: Some(Duration::from_secs(left)), ..patient(1) };
    assert!(matches!(governor.request(&hurried(200), at(0)), Decision::Refused(_)));
    // What has room for more records waits for them until it must go; what is full goes.
    let Decision::Refused(gathers) = governor.request(&Ask { full: false, ..hurried(60) }, at(0)) else { panic!() };
    assert_eq!((gathers.reason, gathers.retry_after), (RefusalReason::Paced, Duration::from_secs(60)));
    assert!(matches!(governor.request(&hurried(60), at(0)), Decision::Granted(_)));
    assert!(matches!(governor.request(&Ask { full: false, ..hurried(0) }, at(0)), Decision::Granted(_)));
    let after = at(3 * refusal.retry_after.as_millis() as i64 + 2);
    assert!(matches!(governor.request(&patient(1), after), Decision::Granted(_)));
}

#[test]
fn the_critical_lane_is_never_held_for_the_pace() {
    let mut governor = governor(config());
    let route = route();
    // All of the 1,000 in one moment.
    for _ in 0..1000 {
        let ask = Ask::new(Lane::Critical, &route, Spend::calls(1), None);
        let Decision::Granted(permit) = governor.request(&ask, at(0)) else { panic!() };
        governor.finish(permit, Spend::calls(1), at(0));
    }
}

#[test]
fn forecast_tells_when_the_share_runs_out_and_which_route_spends_it() {
    let mut governor = governor(config());
    let (quick, slow) = (RouteId::from("quick"), RouteId::from("slow"));
    let mut now = 0;
    for n in 0..60 {
        now = n * 60_000;
        for (route, calls) in [(&quick, 4), (&slow, 1)] {
            let Decision::Granted(permit) = governor.request(&urgent(route, Lane::Critical, calls), at(now)) else {
                panic!()
            };
            governor.finish(permit, Spend::calls(calls), at(now));
        }
    }
    let forecast = governor.forecast("DailyApiRequests", at(now)).expect("a row");
    let runs_out = forecast.runs_out.expect("5 a minute are 7,200 a day");
    // 700 are left at 300 an hour.
    assert!((2 * HOUR_MS..3 * HOUR_MS).contains(&runs_out.in_ms), "{runs_out:?}");
    assert!(runs_out.of_share);
    assert_eq!(forecast.per_hour_by_route[0].0, quick);
    assert!((200.0..280.0).contains(&forecast.per_hour_by_route[0].1), "{forecast:?}");
    // Nothing more is spent: it never runs out.
    assert_eq!(governor.forecast("DailyApiRequests", at(now + 10 * HOUR_MS)).expect("a row").runs_out, None);
    assert!(governor.forecast("Unknown", at(now)).is_none());
}

#[test]
fn over_reserved_and_empty_configurations_are_refused() {
    let over = GovernorConfig { reserved: [Permille(400), Permille(400), Permille(201)], ..config() };
    assert_eq!(Governor::new(over, at(0)).unwrap_err().code().0, "PS6001");
    let none = GovernorConfig { share: Permille(0), ..config() };
    assert_eq!(Governor::new(none, at(0)).unwrap_err().code().0, "PS6002");
    let mut odd = config();
    odd.allocations[0].bucket = Duration::from_secs(7000);
    assert_eq!(Governor::new(odd, at(0)).unwrap_err().code().0, "PS6003");
}

/// Frozen: what version 1 wrote. Never changed; a new version gets a sample of its own.
const SNAPSHOT_V1: &str = r#"{"version":1,"at_ms":1700003600000,"unix_ms":1700003600000,"ahead":20,"rows":[{"name":"DailyApiRequests","max":2000,"bucket_ms":900000,"buckets":[{"start_ms":1699999200000,"spent":[1,0,2]},{"start_ms":1700002800000,"spent":[0,7,0]}]}],"held_until_ms":1700003700000}"#;

/// Frozen: what version 2 wrote.
const SNAPSHOT_V2: &str = r#"{"version":2,"at_ms":1700003600000,"unix_ms":1700003600000,"lease_until_ms":1700003660000,"rows":[{"name":"DailyApiRequests","max":2000,"bucket_ms":900000,"buckets":[{"start_ms":1699999200000,"spent":[1,0,2]},{"start_ms":1700002800000,"spent":[0,7,0]}],"doubt":[[1700002800000,4]],"lease":20,"unsent":3,"foreign":11,"reading":[25,2000,1700003599000],"lanes":[{"count":8.0,"at_ms":1700003599000,"since_ms":1700000000000},{"count":0.0,"at_ms":1700000000000,"since_ms":1700000000000},{"count":0.0,"at_ms":1700000000000,"since_ms":1700000000000}],"routes":{"requests":{"count":8.0,"at_ms":1700003599000,"since_ms":1700000000000}}}],"held_until_ms":1700003700000}"#;

#[test]
fn snapshot_of_version_1_stays_readable() {
    let snapshot = Snapshot::from_bytes(SNAPSHOT_V1.as_bytes()).expect("frozen");
    let mut governor = Governor::restore(config(), &snapshot, at(HOUR_MS)).expect("valid");
    let status = governor.status(at(HOUR_MS));
    let row = &status.allocations[0];
    assert_eq!((row.spent, row.in_doubt), (30, 20), "1 + 2 + 7, and 20 ahead");
    assert_eq!(status.held_for_ms, 100_000);
}

#[test]
fn snapshot_of_version_2_stays_readable_and_is_written_alike() {
    let snapshot = Snapshot::from_bytes(SNAPSHOT_V2.as_bytes()).expect("frozen");
    assert_eq!(String::from_utf8(snapshot.to_bytes()).expect("text"), SNAPSHOT_V2);
    let mut governor = Governor::restore(config(), &snapshot, at(HOUR_MS)).expect("valid");
    let status = governor.status(at(HOUR_MS));
    let row = &status.allocations[0];
    assert_eq!((row.spent, row.in_doubt, row.spent_by_others), (34, 24, 11), "10 certain, 4 and 20 in doubt");
    let forecast = row.forecast.as_ref().expect("a row");
    assert_eq!(forecast.reason(), Some((&route(), 100)), "who spent is known over a restart");
    let newer = SNAPSHOT_V2.replace("\"version\":2", "\"version\":3");
    assert_eq!(Snapshot::from_bytes(newer.as_bytes()).unwrap_err().code().0, "PS6005");
    assert_eq!(Snapshot::from_bytes(b"{}").unwrap_err().code().0, "PS6004");
    let absurd = SNAPSHOT_V2.replace("\"lease\":20", "\"lease\":18446744073709551615");
    assert_eq!(Snapshot::from_bytes(absurd.as_bytes()).unwrap_err().code().0, "PS6004");
}

/// Stores an entry of a process that is alone.
fn store(governor: &mut Governor, now: Now) -> Snapshot {
    let entry = governor.entry(&[], now);
    governor.stored(Stored::Yes);
    Snapshot::from_bytes(&entry.to_bytes()).expect("own bytes")
}

#[test]
fn without_a_stored_entry_nothing_is_granted_beyond_its_lease() {
    // 1,000 calls: a lease of one in 128.
    let mut governor = governor(GovernorConfig { ahead: 10, ..config() });
    let (granted, refusal) = spend_all(&mut governor, Lane::Critical, at(0));
    assert_eq!((granted, refusal.reason), (0, RefusalReason::SnapshotDue), "nothing is stored yet");
    let first = store(&mut governor, at(0));
    assert_eq!(spend_all(&mut governor, Lane::Critical, at(0)).0, 7);
    assert!(governor.wants_store());
    // A crash here: the 7 calls after the entry are not in its buckets, and counted all the same.
    let mut restored = Governor::restore(governor.config().clone(), &first, at(1)).expect("valid");
    assert_eq!(restored.status(at(1)).allocations[0].spent, 7);
    assert_eq!(spend_all(&mut restored, Lane::Critical, at(1)).0, 0, "its own first entry is due");
}

#[test]
fn a_wish_larger_than_the_lease_makes_the_next_one_larger() {
    let mut governor = governor(GovernorConfig { ahead: 10, ..config() });
    let route = route();
    store(&mut governor, at(0));
    let Decision::Refused(refusal) = governor.request(&urgent(&route, Lane::Bulk, 120), at(0)) else { panic!() };
    assert_eq!((refusal.reason, refusal.allocation.as_deref()), (RefusalReason::SnapshotDue, Some(API_REQUESTS)));
    store(&mut governor, at(0));
    assert!(matches!(governor.request(&urgent(&route, Lane::Bulk, 120), at(0)), Decision::Granted(_)));
}

#[test]
fn a_lease_ends_after_its_time() {
    let mut governor = governor(GovernorConfig { ahead: 10, ..config() });
    store(&mut governor, at(0));
    let late = at(LEASE_VALID.as_millis() as i64);
    assert_eq!(spend_all(&mut governor, Lane::Critical, late).1.reason, RefusalReason::SnapshotDue);
    store(&mut governor, late);
    assert_eq!(spend_all(&mut governor, Lane::Critical, late).0, 7);
}

#[test]
fn a_process_that_ends_in_good_order_leaves_no_doubt() {
    let mut governor = governor(GovernorConfig { ahead: 10, ..config() });
    store(&mut governor, at(0));
    assert_eq!(spend_all(&mut governor, Lane::Critical, at(0)).0, 7);
    governor.retire();
    let last = store(&mut governor, at(0));
    assert_eq!(spend_all(&mut governor, Lane::Critical, at(0)).0, 0);
    let mut next = Governor::restore(governor.config().clone(), &last, at(1)).expect("valid");
    let row = &next.status(at(1)).allocations[0];
    assert_eq!((row.spent, row.in_doubt), (7, 0));
}

#[test]
fn what_a_dead_process_reserved_is_given_back_by_the_orgs_figure_and_not_too_early() {
    let mut governor = governor(GovernorConfig { ahead: 10, ..config() });
    store(&mut governor, at(0));
    assert_eq!(spend_all(&mut governor, Lane::Critical, at(0)).0, 7);
    let entry = store(&mut governor, at(0));
    let mut next = Governor::restore(governor.config().clone(), &entry, at(1)).expect("valid");
    let doubt = |governor: &mut Governor, ms| governor.status(at(ms)).allocations[0].in_doubt;
    assert_eq!(doubt(&mut next, 1), 7);
    // Two of the seven were spent by somebody. A figure that is too young says nothing.
    next.observe(&reading(2000, 9, at(60_000).unix_ms), at(60_000));
    assert_eq!(doubt(&mut next, 60_000), 7);
    // After the bucket of the doubt has ended, and the figure's own five minutes.
    let later = 25 * 60_000;
    next.observe(&reading(2000, 9, at(later).unix_ms), at(later));
    assert_eq!(doubt(&mut next, later), 2, "9 less the 7 that are certain");
    assert_eq!(next.status(at(later)).allocations[0].spent, 9);
}
