//! A plan, then the run that follows: their numbers agree.

use super::world::{CITY, Made, World};
use super::{answer, penstock};
use serde_json::Value;

/// How far a run may be from its plan.
const TOLERANCE: f64 = 0.05;

/// The city's example with so many service requests.
async fn city(requests: u32, change: impl FnOnce(String) -> String) -> World {
    let rows = format!(
        "insert into city.agency select 'A' || n, 'Agency ' || n from generate_series(1, 12) n;
         insert into city.agency values ('FDNY', 'Fire Department');
         insert into city.service_request (unique_key, agency, created_date, complaint_type, status, resolution_description)
         select n, case when n % 10 = 0 then 'FDNY' else 'A' || (1 + n % 12) end, now(), 'Noise', 'Open', repeat('x', n % 300)
         from generate_series(1, {requests}) n;
         analyze;"
    );
    World::new(Made { rows: &rows, ..CITY }, change).await
}

/// Calls of each route's first copy.
fn copy_calls(plan: &Value) -> Vec<(String, f64)> {
    let routes = plan["routes"].as_array().expect("a plan");
    let calls = |route: &Value| route["copy"]["total"]["calls"].as_f64().expect("a plan");
    routes.iter().map(|route| (route["id"].as_str().expect("a plan").to_owned(), calls(route))).collect()
}

#[tokio::test]
async fn a_first_copy_costs_what_its_plan_said() {
    let world = city(20_000, |text| text).await;
    let (code, planned) = world.run(&["plan", "--json"]).await;
    assert_eq!(code, Some(0), "{planned:#}");
    let plan = &planned["result"]["plan"];
    assert_eq!(plan["orgs"][0]["is_told"], true, "the org's own figures are used: {plan:#}");
    let requests = &plan["routes"][1]["copy"];
    assert_eq!(requests["total"]["records"], 20_000.0);
    let critical = requests["by"].as_array().unwrap().iter().find(|part| part["lane"] == "critical").unwrap();
    let critical = critical["work"]["records"].as_f64().unwrap();
    assert!((critical - 2_000.0).abs() < 200.0, "the lane's expression is evaluated over a sample: {critical}");

    let before = world.org.daily_requests_used();
    let (code, run) = world.run(&["run", "--until-settled", "--json"]).await;
    assert_eq!(code, Some(0), "{run:#}");
    let spent = (world.org.daily_requests_used() - before) as f64;

    let compared = assert_planned(&world).await;
    // The plan that `penstock plan` printed is the one that the run began with, but for the sample that tells the lanes.
    for ((route, printed), (_, began)) in copy_calls(plan).into_iter().zip(copy_calls(&compared["result"]["plan"])) {
        assert!((printed - began).abs() <= 2.0, "{route}: {printed} were printed, {began} stored");
    }
    // And the org counted no more than that: beside the rows the start's own calls, with its look at the limits.
    let all: f64 = copy_calls(plan).iter().map(|(_, calls)| calls).sum();
    let start = plan["orgs"][0]["start_calls"].as_f64().unwrap();
    assert!(
        (spent - all - start).abs() <= (all * TOLERANCE).max(3.0),
        "the org counted {spent}, planned were {all} + {start}"
    );
    let (_, after) = world.run(&["plan", "--json"]).await;
    assert_eq!(copy_calls(&after["result"]["plan"]).iter().map(|(_, calls)| calls).sum::<f64>(), 0.0, "all is copied");
    world.org.stop().await;
}

/// Holds what a run did against the plan that it began with.
async fn assert_planned(world: &World) -> Value {
    let compared = world.done(&["plan", "--actual", "--json"]).await;
    for route in compared["result"]["routes"].as_array().expect("a comparison") {
        let (planned, actual) = (&route["planned"], &route["actual"]);
        assert_eq!(planned["records"], actual["records"], "{compared:#}");
        for part in ["calls", "batches", "bulk_batches"] {
            let (planned, actual) =
                (planned[part].as_f64().expect("a comparison"), actual[part].as_f64().expect("a comparison"));
            assert!((actual - planned).abs() <= (planned * TOLERANCE).max(1.0), "{part} of {route:#}");
        }
    }
    compared
}

#[tokio::test]
async fn each_way_of_the_order_systems_tables_costs_what_its_plan_said() {
    let made = Made {
        pipeline: "router.yaml",
        objects: "orders-org.yaml",
        tables: "orders.sql",
        rows: "insert into shop.price select 'S' || n, 'Thing ' || n, n from generate_series(1, 3000) n;
               insert into shop.orders select n, case when n % 10 = 0 then 'paid' else 'new' end, n from generate_series(1, 20000) n;
               insert into shop.order_archive select n, '2020-01-01', n from generate_series(1, 25000) n;
               analyze",
    };
    // The rows that are there, in place of those that the example expects, and nothing that changes. However slow the machine is, a
    // job waits for all rows that there are.
    let counted = |text: String| {
        let (above, _) = text.split_once("\nexpect:").unwrap();
        format!("{above}\n").replace("router:\n", "router:\n  bulk_wait: 20s\n")
    };
    let world = World::new(made, counted).await;
    world.settle().await;
    let compared = assert_planned(&world).await;
    let archive = &compared["result"]["routes"][0];
    assert_eq!(archive["actual"]["bulk_batches"], 3.0, "{archive:#}");
    assert_eq!(world.org.records("Archived_Order__c").len(), 25_000);
    world.org.stop().await;
}

#[tokio::test]
async fn a_copy_of_transactions_costs_what_its_plan_said() {
    let rows = "insert into billing.invoice select n, '2026-01-31', n from generate_series(1, 2000) n;
                insert into billing.invoice_line select n, 1 + n % 2000, 'Bolt', 1 from generate_series(1, 6000) n;
                analyze";
    let made =
        Made { pipeline: "transactions.yaml", objects: "transactions-org.yaml", tables: "transactions.sql", rows };
    // However slow the machine is, a job waits for all rows that there are.
    let world = World::new(made, |text| text + "router: {bulk_wait: 20s}\n").await;
    world.settle().await;
    assert_planned(&world).await;
    world.org.stop().await;
}

#[tokio::test]
async fn an_impossible_plan_is_refused_and_runs_when_told_to() {
    let world = city(500, |text| {
        text.replace("deadline: 5m", "deadline: 2s")
            + "expect:\n  changes: {city.service_request: {updates: 40/s, inserts: 1/h}}\n"
    })
    .await;
    let (code, refused) = world.run(&["run", "--until-settled", "--json"]).await;
    assert_eq!((code, refused["error"]["code"].as_str()), (Some(3), Some("PS1012")), "{refused:#}");
    assert!(world.org.records("Case").is_empty(), "nothing was sent");

    let (code, run) = world.run(&["run", "--until-settled", "--despite-plan", "--json"]).await;
    assert_eq!(code, Some(0), "{run:#}");
    assert_eq!(world.org.records("Case").len(), 500);
    world.org.stop().await;
}

#[tokio::test]
async fn a_plan_whose_org_and_database_do_not_answer_is_made_all_the_same() {
    let world = city(10, |text| text).await;
    world.org.stop().await;
    world.server.execute("postgres", "drop table city.service_request").await.unwrap();
    let mut env = world.env.clone();
    env[3].1 = "postgres://nobody@127.0.0.1:1/nowhere".into();
    let output = penstock(world.folder.path(), &["plan", "--json", "--rows", "city.agency=15"], &env).await;
    let told = answer(&output);
    assert_eq!(output.status.code(), Some(0), "{told:#}");
    let assumed = told["result"]["assumed"].to_string();
    assert!(assumed.contains("city_db") && assumed.contains("did not tell its limits"), "{assumed}");
    assert_eq!(copy_calls(&told["result"]["plan"])[0].1, 1.0);
}

#[tokio::test]
async fn changes_are_measured_over_an_interval() {
    let world = city(100, |text| text).await;
    let client = world.server.connect("postgres").await.unwrap();
    let writing = tokio::spawn(async move {
        loop {
            // The statistics are handed in when a session is idle for a moment, or at its end.
            let update = "update city.service_request set status = 'Closed' where unique_key <= 20";
            if client.batch_execute(update).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let (code, told) = world.run(&["plan", "--json", "--measure", "4s"]).await;
    writing.abort();
    assert!(matches!(code, Some(0 | 3)), "{told:#}");
    let live = &told["result"]["plan"]["routes"][1]["live"];
    assert_eq!(live["counted"], "measured", "{told:#}");
    assert!(live["rate"].as_f64().unwrap() > 1.0, "{live:#}");
    world.org.stop().await;
}
