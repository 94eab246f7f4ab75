use super::*;
use contract::Spend;
use model::{Api, Lane, TableName};
use proptest::prelude::*;
use std::time::Duration;

use crate::spec::Operation;

fn ways() -> Vec<Way> {
    vec![
        Way {
            api: Api::Collections,
            rows_max: 200,
            parallel: 4,
            pace: Pace::typical(Api::Collections),
            cost: Spend::calls(1),
        },
        Way {
            api: Api::Bulk,
            rows_max: 10_000,
            parallel: 10,
            pace: Pace::typical(Api::Bulk),
            cost: Spend { calls: 12, bulk_batches: 1, events: 0 },
        },
    ]
}

fn table() -> TableName {
    TableName { schema: "s".into(), name: "t".into() }
}

fn ask<'a>(ways: &'a [Way], table: &'a TableName, lane: Lane, rows: usize, seconds: u64) -> Question<'a> {
    Question {
        setting: ApiSetting::Auto,
        rules: &[],
        bulk_from: 2_000,
        table,
        operation: Operation::Upsert,
        events: false,
        lane,
        rows,
        time_left: Duration::from_secs(seconds),
        ways,
        left: Left { calls: 50_000, bulk_batches: 7_500, events: 0 },
    }
}

fn api(question: &Question<'_>) -> Api {
    choose(question).unwrap().api
}

#[test]
fn the_default_matrix_of_criticality_and_volume() {
    let (ways, table) = (ways(), table());
    let cases = [
        (Lane::Critical, 10, 5, Api::Collections),
        (Lane::Critical, 50_000, 5, Api::Collections),
        (Lane::Standard, 10, 300, Api::Collections),
        (Lane::Standard, 1_999, 300, Api::Collections),
        (Lane::Standard, 50_000, 300, Api::Bulk),
        (Lane::Bulk, 100, 300, Api::Collections),
        (Lane::Bulk, 100_000, 60, Api::Bulk),
        (Lane::Bulk, 5_000, 3_600, Api::Bulk),
        // Ten calls are cheaper than a job.
        (Lane::Bulk, 2_000, 3_600, Api::Collections),
    ];
    for (lane, rows, seconds, wanted) in cases {
        assert_eq!(api(&ask(&ways, &table, lane, rows, seconds)), wanted, "{lane} {rows} {seconds}");
    }
}

#[test]
fn a_near_deadline_takes_the_way_that_meets_it() {
    let (mut ways, table) = (ways(), table());
    // 5,000 rows: seven waves of calls at 1 s, against a job's 38 s.
    ways[0].pace = Pace::assumed(0.0, 5.0);
    assert_eq!(api(&ask(&ways, &table, Lane::Standard, 5_000, 10)), Api::Collections);
    assert_eq!(api(&ask(&ways, &table, Lane::Standard, 5_000, 60)), Api::Bulk);
    assert_eq!(
        api(&ask(&ways, &table, Lane::Standard, 5_000, 45)),
        Api::Collections,
        "a job may end later than expected"
    );
}

#[test]
fn a_spent_allocation_sends_rows_the_other_way() {
    let (ways, table) = (ways(), table());
    let mut question = ask(&ways, &table, Lane::Bulk, 50_000, 3_600);
    question.left.bulk_batches = 0;
    assert_eq!(api(&question), Api::Collections);
    question.left = Left { calls: 5, bulk_batches: 7_000, events: 0 };
    assert_eq!(api(&question), Api::Collections, "a job of 12 calls cannot be paid");
    // Scarce calls make the job the cheaper way, scarce batches the calls.
    question.left = Left { calls: 1_000_000_000, bulk_batches: 2, events: 0 };
    assert_eq!(api(&question), Api::Collections);
}

#[test]
fn routes_and_rules_come_before_the_routers_own_mind() {
    let (ways, table) = (ways(), table());
    let mut question = ask(&ways, &table, Lane::Bulk, 50_000, 3_600);
    let rule =
        |rows_min, api| ApiRule { api, table: None, operation: None, lane: Some(Lane::Bulk), rows_min, rows_max: None };
    let rules = [rule(Some(60_000), Api::Bulk), rule(None, Api::Collections)];
    question.rules = &rules;
    let choice = choose(&question).unwrap();
    assert_eq!((choice.api, choice.reason.as_str()), (Api::Collections, "rule 2 of the router"));
    question.setting = ApiSetting::Only(Api::Bulk);
    assert_eq!(api(&question), Api::Bulk);
    question.setting = ApiSetting::Only(Api::Graph);
    assert_eq!(choose(&question), None, "the target does not have it");
}

#[test]
fn events_go_where_they_cost_no_call() {
    let way = |api, calls| Way {
        api,
        rows_max: 200,
        parallel: 4,
        pace: Pace::typical(api),
        cost: Spend { calls, bulk_batches: 0, events: 200 },
    };
    let (ways, table) = ([way(Api::Event, 1), way(Api::PubSub, 0)], table());
    let mut question = ask(&ways, &table, Lane::Standard, 50, 60);
    (question.events, question.left.events) = (true, 10_000);
    assert_eq!(api(&question), Api::PubSub);
    question.ways = &ways[..1];
    assert_eq!(api(&question), Api::Event);
}

#[test]
fn a_pace_is_learned_from_calls_of_any_size() {
    let mut pace = Pace::typical(Api::Collections);
    let assumed = pace.of(200);
    assert!((assumed.as_secs_f64() - 5.72).abs() < 0.01);
    for _ in 0..20 {
        pace.learn(200, Duration::from_millis(572));
    }
    assert!((pace.of(200).as_secs_f64() - 0.572).abs() < 0.01);
    assert!(pace.of(10) < pace.of(200), "fewer rows take less, as they are assumed to");
    for rows in [1, 50, 200, 100, 20, 150].into_iter().cycle().take(120) {
        pace.learn(rows, Duration::from_millis(100 + 3 * rows as u64));
    }
    assert!((pace.of(0).as_secs_f64() - 0.1).abs() < 0.03, "{:?}", pace.of(0));
    assert!((pace.of(200).as_secs_f64() - 0.7).abs() < 0.03, "{:?}", pace.of(200));
}

proptest! {
    #[test]
    fn a_pace_is_finite_whatever_was_seen(calls in prop::collection::vec((0..20_000_usize, 0..10_000_000_u64), 0..60), rows in 0..100_000_usize) {
        let mut pace = Pace::typical(Api::Bulk);
        for (rows, micros) in calls {
            pace.learn(rows, Duration::from_micros(micros));
        }
        prop_assert!(pace.of(rows) <= Duration::from_secs(86_400));
    }

    #[test]
    fn some_way_is_found_as_long_as_collections_are_there(
        lane in 0..3_usize, rows in 1..200_000_usize, seconds in 0..100_000_u64, calls: u64, batches: u64,
    ) {
        let (ways, table) = (ways(), table());
        let mut question = ask(&ways, &table, Lane::ALL[lane], rows, seconds);
        question.left = Left { calls, bulk_batches: batches, events: 0 };
        let choice = choose(&question).unwrap();
        prop_assert!(choice.rows >= 1 && choice.rows <= rows);
        prop_assert!(choice.api == Api::Collections || (lane != 0 && rows >= 2_000));
    }
}
