//! A plan, then the run that follows: their numbers agree.

use super::{answer, penstock};
use org_sim::{ObjectsSpec, OrgConfig, OrgSim, RunningOrg};
use private_postgres::{Options, Server};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// How far a run may be from its plan.
const TOLERANCE: f64 = 0.05;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// A database with the example's tables, an org with its objects, and the example's configuration.
struct World {
    server: Server,
    org: RunningOrg,
    folder: tempfile::TempDir,
    env: Vec<(&'static str, String)>,
}

impl World {
    async fn new(requests: u32, change: impl FnOnce(String) -> String) -> Self {
        let server = Server::start(Options::default()).await.expect("a server");
        let read = |name| std::fs::read_to_string(example(name)).expect("a world and its plan");
        server.execute("postgres", &read("city.sql")).await.expect("a world and its plan");
        let rows = format!(
            "insert into city.agency select 'A' || n, 'Agency ' || n from generate_series(1, 12) n;
             insert into city.agency values ('FDNY', 'Fire Department');
             insert into city.service_request (unique_key, agency, created_date, complaint_type, status, resolution_description)
             select n, case when n % 10 = 0 then 'FDNY' else 'A' || (1 + n % 12) end, now(), 'Noise', 'Open', repeat('x', n % 300)
             from generate_series(1, {requests}) n;
             analyze;"
        );
        server.execute("postgres", &rows).await.expect("a world and its plan");
        let objects: ObjectsSpec = serde_saphyr::from_str(&read("city-org.yaml")).expect("a world and its plan");
        let config = OrgConfig { objects, ..OrgConfig::default() };
        let app = config.apps[0].clone();
        let org = OrgSim::start(config).await.expect("a world and its plan");
        let folder = tempfile::tempdir().expect("a world and its plan");
        let text = change(read("city.yaml").replace("127.0.0.1:9400", "off"));
        std::fs::write(folder.path().join("penstock.yaml"), text).expect("a world and its plan");
        let env = vec![
            ("SF_URL", org.url()),
            ("SF_CLIENT_ID", app.client_id),
            ("SF_CLIENT_SECRET", app.client_secret),
            ("DATABASE_URL", server.url("postgres")),
        ];
        Self { server, org, folder, env }
    }

    async fn run(&self, args: &[&str]) -> (Option<i32>, Value) {
        let output = penstock(self.folder.path(), args, &self.env).await;
        (output.status.code(), answer(&output))
    }
}

/// Calls of each route's first copy.
fn copy_calls(plan: &Value) -> Vec<(String, f64)> {
    let routes = plan["routes"].as_array().expect("a world and its plan");
    let calls = |route: &Value| route["copy"]["total"]["calls"].as_f64().expect("a world and its plan");
    routes.iter().map(|route| (route["id"].as_str().expect("a world and its plan").to_owned(), calls(route))).collect()
}

#[tokio::test]
async fn a_first_copy_costs_what_its_plan_said() {
    let world = World::new(20_000, |text| text).await;
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

    let (code, compared) = world.run(&["plan", "--actual", "--json"]).await;
    assert_eq!(code, Some(0), "{compared:#}");
    for route in compared["result"]["routes"].as_array().unwrap() {
        let (planned, actual) = (&route["planned"], &route["actual"]);
        assert_eq!(planned["records"], actual["records"], "{compared:#}");
        for part in ["calls", "batches", "bulk_batches"] {
            let (planned, actual) = (planned[part].as_f64().unwrap(), actual[part].as_f64().unwrap());
            assert!((actual - planned).abs() <= (planned * TOLERANCE).max(1.0), "{part} of {route:#}");
        }
    }
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

#[tokio::test]
async fn an_impossible_plan_is_refused_and_runs_when_told_to() {
    let world = World::new(500, |text| {
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
    let world = World::new(10, |text| text).await;
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
    let world = World::new(100, |text| text).await;
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
