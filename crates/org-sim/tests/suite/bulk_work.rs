//! Bulk jobs in the org's time: speed, locks, faults.

use crate::bulk_support::{World, insert, rows, upsert};
use crate::support::{config, org, org_with};
use http::Method;
use org_sim::{
    Api, Begun, BulkCall, Effect, FaultMatch, FaultRule, LatencyModel, OrgConfig, Request, ServiceTime, When, Work,
};
use serde_json::{Value, json};

fn slow(per_record_ms: f64) -> OrgConfig {
    let bulk = ServiceTime { base_ms: 0.0, per_record_ms };
    OrgConfig { latency: LatencyModel { bulk, ..LatencyModel::none() }, ..config() }
}

fn accounts(rows: usize) -> String {
    let text: String = (0..rows).map(|n| format!("k{n},N\n")).collect();
    format!("Code__c,Name\n{text}")
}

fn start(world: &mut World, body: Value, csv: &str) -> String {
    let job = world.create(body);
    world.upload(&job, csv);
    world.set(&job, "UploadComplete");
    job
}

#[test]
fn jobs_take_the_time_that_the_published_figures_say() {
    let mut config = config();
    config.latency = LatencyModel { jitter: 0.0, ..LatencyModel::realistic() };
    let mut world = World::with(config);
    let began = world.now_ms;
    // Thirty jobs with two internal batches each: one worker for each job.
    for job in 0..30 {
        let text: String = (0..400).map(|n| format!("k{job}-{n},N\n")).collect();
        start(&mut world, upsert(), &format!("Code__c,Name\n{text}"));
    }
    world.work_out();
    assert_eq!(world.org.records("Account").len(), 12_000);
    let per_s = 12_000.0 * 1000.0 / (world.now_ms - began) as f64;
    assert!((per_s - 1066.0).abs() < 5.0, "{per_s} rows/s");
}

#[test]
fn work_waits_for_the_clock_and_a_jump_does_all_that_was_due() {
    let mut config = slow(1.0);
    config.bulk.start_delay_ms = 5_000;
    let mut world = World::with(config);
    let job = start(&mut world, upsert(), &accounts(2_000));
    let closed = world.now_ms;
    assert_eq!(world.work(), Work::At(closed + 5_000));
    assert_eq!(world.state(&job), "UploadComplete");
    world.now_ms = closed + 5_000;
    assert_eq!(world.work(), Work::At(closed + 5_200));
    assert_eq!(world.state(&job), "InProgress");
    // Ten internal batches of 200 ms with five workers.
    world.now_ms = closed + 3_600_000;
    assert_eq!(world.work(), Work::Nothing);
    let info = world.get(&job).json();
    assert_eq!(
        (&info["state"], &info["totalProcessingTime"], &info["apiActiveProcessingTime"]),
        (&json!("JobComplete"), &json!(400), &json!(2_000))
    );
}

/// Orders of one account: each internal batch needs the account's lock.
fn children(rows: usize, parents: usize) -> String {
    let text: String = (0..rows).map(|n| format!("{n},1,k{}\n", n / 200 % parents)).collect();
    format!("Key__c,Total__c,Account__r.Code__c\n{text}")
}

#[test]
fn parallel_batches_contend_for_one_parent_and_sorted_ones_do_not() {
    let run = |parents: usize, per_record_ms: f64, workers_per_job: usize| {
        let mut config = slow(per_record_ms);
        config.bulk.workers_per_job = workers_per_job;
        config.bulk.lock_retries = 1;
        let mut world = World::with(config);
        start(&mut world, upsert(), &accounts(20));
        world.work_out();
        let job = start(&mut world, insert("Order__c"), &children(2_000, parents));
        world.work_out();
        let info = world.get(&job).json();
        let [done, failed, unprocessed] = world.files(&job);
        assert_eq!((done.len() + failed.len(), unprocessed.len()), (2_000, 0));
        assert!(failed.iter().all(|row| row[1].starts_with("UNABLE_TO_LOCK_ROW:unable to obtain exclusive access")));
        (failed.len(), info["retries"].as_u64().unwrap())
    };
    // A lock is held for 5.6 s; who waits for two others waits for more than 10 s.
    let (failed, retries) = run(1, 28.0, 5);
    assert!(failed > 0 && retries > 0, "{failed} {retries}");
    assert_eq!(run(10, 28.0, 5), (0, 0));
    // Fast enough, and everybody gets a turn; so it is in serial mode.
    assert_eq!(run(1, 1.0, 5).0, 0);
    assert_eq!(run(1, 28.0, 1), (0, 0));
}

#[test]
fn two_jobs_contend_for_the_same_row() {
    let mut config = slow(10.0);
    config.row_locks.wait_ms = 100;
    config.bulk.lock_retries = 0;
    let mut world = World::with(config);
    start(&mut world, upsert(), &accounts(1));
    world.work_out();
    // Two jobs for one row, the second one impatient.
    let one = start(&mut world, upsert(), &accounts(200));
    let two = start(&mut world, upsert(), "Code__c,Name\nk0,other\n");
    world.work_out();
    assert_eq!(world.files(&one)[0].len(), 200);
    assert!(world.files(&two)[1][0][1].starts_with("UNABLE_TO_LOCK_ROW"));
}

#[test]
fn reset_gives_back_the_locks_of_jobs_at_work() {
    let mut world = World::with(slow(28.0));
    start(&mut world, upsert(), &accounts(1));
    world.work_out();
    start(&mut world, insert("Order__c"), &children(200, 1));
    assert!(matches!(world.work(), Work::At(_)));
    world.org.reset(world.now_ms).unwrap();
    assert_eq!(world.work(), Work::Nothing);
    start(&mut world, upsert(), &accounts(1));
    world.work_out();
    let job = start(&mut world, insert("Order__c"), &children(200, 1));
    let began = world.now_ms;
    world.work_out();
    assert_eq!(world.files(&job).map(|file| file.len()), [200, 0, 0]);
    assert_eq!(world.now_ms - began, 5_600);
}

#[test]
fn job_waits_for_the_lock_that_a_request_holds() {
    let mut config = slow(1.0);
    config.latency.collections = ServiceTime { base_ms: 3_000.0, per_record_ms: 0.0 };
    let mut world = World::with(config);
    start(&mut world, upsert(), &accounts(1));
    world.work_out();
    let body = json!({ "records": [{ "Code__c": "k0", "Name": "by request" }] }).to_string();
    let headers = world.headers("application/json");
    let path = "/services/data/v62.0/composite/sobjects/Account/Code__c";
    let request = Request::new(&Method::PATCH, path, "", &headers, body.as_bytes());
    let Begun::Go(mut ticket) = world.org.begin(world.now_ms, &request) else { panic!("the request is admitted") };
    assert!(world.org.lock(&mut ticket));
    let job = start(&mut world, upsert(), "Code__c,Name\nk0,by job\n");
    let patience = world.now_ms + 10_000;
    assert_eq!(world.work(), Work::At(patience));
    world.now_ms += 3_000;
    assert_eq!(world.work(), Work::At(patience));
    assert_eq!(world.org.finish(world.now_ms, &ticket, &request).status, 200);
    assert_eq!(world.work(), Work::At(world.now_ms + 1));
    world.work_out();
    assert_eq!(world.files(&job).map(|file| file.len()), [1, 0, 0]);
    assert_eq!(world.org.records("Account")[0]["Name"], "by job");
}

fn on(bulk: Option<BulkCall>) -> FaultMatch {
    FaultMatch { api: Some(Api::Bulk), bulk, ..FaultMatch::default() }
}

#[test]
fn job_gets_stuck_fails_and_loses_nothing_that_was_applied() {
    let mut world = World::new();
    let stuck = Effect::JobStuck { after_rows: 400, ms: None };
    world.org.add_fault(FaultRule::new(on(None), stuck).times(1));
    let job = world.ingest(upsert(), &accounts(1_000));
    world.now_ms += 3_600_000;
    world.work();
    let info = world.get(&job).json();
    assert_eq!((&info["state"], &info["numberRecordsProcessed"]), (&json!("InProgress"), &json!(400)));
    world.set(&job, "Aborted");
    assert_eq!(world.files(&job).map(|file| file.len()), [400, 0, 600]);
    let for_a_while = Effect::JobStuck { after_rows: 0, ms: Some(60_000) };
    world.org.add_fault(FaultRule::new(on(None), for_a_while).times(1));
    let job = world.ingest(upsert(), &accounts(10));
    assert_eq!(world.state(&job), "InProgress");
    world.now_ms += 60_000;
    world.work();
    assert_eq!(world.state(&job), "JobComplete");
    let fail = Effect::JobFail { message: "InternalServerError : try again".into(), after_rows: 200 };
    world.org.add_fault(FaultRule::new(on(None), fail).times(1));
    let job = world.ingest(upsert(), &accounts(600));
    let info = world.get(&job).json();
    assert_eq!((&info["state"], &info["errorMessage"]), (&json!("Failed"), &json!("InternalServerError : try again")));
    assert_eq!(world.files(&job).map(|file| file.len()), [200, 0, 400]);
    let query = Effect::JobFail { message: "QUERY_TIMEOUT".into(), after_rows: 0 };
    world.org.add_fault(FaultRule::new(on(None), query).times(1));
    let job = world.create(json!({ "operation": "query", "query": "SELECT Id FROM Account" }));
    world.work();
    assert_eq!(world.get(&job).json()["errorMessage"], "QUERY_TIMEOUT");
}

#[test]
fn result_files_are_cut_short_and_get_nul_bytes() {
    let mut world = World::new();
    let job = world.ingest(upsert(), &accounts(100));
    let path = format!("{job}/successfulResults");
    let whole = world.get(&path).body;
    world.org.add_fault(FaultRule::new(on(None), Effect::TruncateResults { fraction: 0.5 }).times(1));
    let half = world.get(&path).body;
    assert_eq!(half.len(), whole.len() / 2);
    assert!(whole.starts_with(&half));
    world.org.add_fault(FaultRule::new(on(Some(BulkCall::Results)), Effect::NulByte).times(1));
    let with_nul = world.get(&path).body;
    assert_eq!(with_nul.replacen('\0', "", 1), whole);
    assert_eq!(rows(&with_nul)[0][0].matches('\0').count(), 1);
    assert_eq!(world.get(&path).body, whole);
}

#[test]
fn rows_and_calls_fail_as_rules_say_and_the_same_ones_each_time() {
    let run = || {
        let mut world = World::new();
        let row_error = Effect::RowError {
            code: "FIELD_CUSTOM_VALIDATION_EXCEPTION".into(),
            message: "no".into(),
            fields: vec!["Name".into()],
            row_fraction: 0.1,
        };
        world.org.add_fault(FaultRule::new(on(None), row_error));
        let keyed = FaultMatch { external_id: vec!["k7".into()], ..on(None) };
        world.org.add_fault(FaultRule::new(keyed, Effect::LockRows { row_fraction: 1.0 }));
        let job = world.ingest(upsert(), &accounts(1_000));
        let mut failed = world.files(&job)[1].clone();
        failed.sort();
        failed
    };
    let failed = run();
    assert!((50..150).contains(&failed.len()), "{}", failed.len());
    assert_eq!(failed, run());
    assert!(failed.iter().any(|row| row[2] == "k7"));
    assert!(failed.iter().any(|row| row[1] == "FIELD_CUSTOM_VALIDATION_EXCEPTION:no:Name --"));
    let mut world = World::new();
    let http = Effect::Http { status: 503, code: "SERVER_UNAVAILABLE".into(), message: "down".into() };
    world.org.add_fault(FaultRule::new(on(Some(BulkCall::Close)), http).times(1));
    let stored = Effect::HttpAfter { status: 500, code: "UNKNOWN_EXCEPTION".into(), message: String::new() };
    world.org.add_fault(FaultRule::new(on(Some(BulkCall::Upload)), stored).times(1));
    let job = world.create(upsert());
    assert_eq!(world.upload(&job, &accounts(1)).status, 500);
    // It was stored all the same: another upload is one too many.
    assert_eq!(world.upload(&job, &accounts(1)).code(), "BULK_API_ERROR");
    assert_eq!(world.set(&job, "UploadComplete").code(), "SERVER_UNAVAILABLE");
    assert_eq!(world.state(&job), "Open");
    assert_eq!(world.set(&job, "UploadComplete").status, 200);
    world.work();
    assert_eq!(world.state(&job), "JobComplete");
}

#[tokio::test]
async fn upload_whose_answer_is_lost_was_stored() {
    let (org, client) = org().await;
    let (_, job) = client.send("POST", "jobs/ingest", upsert()).await;
    let path = format!("jobs/ingest/{}", job["id"].as_str().unwrap());
    org.fault(FaultRule::new(on(Some(BulkCall::Upload)), Effect::Cut { when: When::After }).times(1));
    let put = || client.call("PUT", &format!("{path}/batches")).header("content-type", "text/csv").body(accounts(3));
    assert!(put().send().await.is_err());
    let again = put().send().await.unwrap();
    assert_eq!(again.status(), 400);
    client.send("PATCH", &path, json!({ "state": "UploadComplete" })).await;
    while client.get(&path).await.1["state"] != "JobComplete" {
        tokio::task::yield_now().await;
    }
    org.fault(FaultRule::new(on(Some(BulkCall::Results)), Effect::CutBody).times(1));
    let cut = client.call("GET", &format!("{path}/successfulResults")).send().await.unwrap();
    assert!(cut.bytes().await.is_err());
    org.stop().await;
}

#[test]
fn files_beyond_the_memory_that_is_granted_lie_on_disk_and_read_the_same() {
    let run = |memory_bytes_max: usize| {
        let mut config = config();
        config.bulk.memory_bytes_max = memory_bytes_max;
        let mut world = World::with(config);
        let job = world.ingest(upsert(), &accounts(50_000));
        let query = world.create(json!({ "operation": "query", "query": "SELECT Id, Name, Code__c FROM Account" }));
        world.work();
        let path = format!("{query}/results?maxRecords=30000");
        let first = world.get(&path);
        let locator = first.header("sforce-locator").to_owned();
        let second = world.get(&format!("{path}&locator={locator}"));
        let files = ["successfulResults", "failedResults", "unprocessedrecords"]
            .map(|file| world.get(&format!("{job}/{file}")).body);
        (files, first.body, second.body)
    };
    let (in_memory, on_disk) = (run(usize::MAX / 2), run(0));
    assert!(in_memory == on_disk);
    assert_eq!((rows(&on_disk.0[0]).len(), rows(&on_disk.1).len(), rows(&on_disk.2).len()), (50_000, 30_000, 20_000));
}

#[tokio::test]
async fn upload_that_is_too_large_is_refused_and_the_job_stays_open() {
    let mut config = config();
    config.bulk.upload_base64_bytes_max = 4_000;
    let (org, client) = org_with(config).await;
    let (_, job) = client.send("POST", "jobs/ingest", upsert()).await;
    let path = format!("jobs/ingest/{}", job["id"].as_str().unwrap());
    let put = |bytes: usize| {
        let text = format!("Code__c,Name\n{}", "x".repeat(bytes - 13));
        client.call("PUT", &format!("{path}/batches")).header("content-type", "text/csv").body(text)
    };
    let refused = put(3_001).send().await.unwrap();
    assert_eq!(refused.status(), 413);
    assert_eq!(client.get(&path).await.1["state"], "Open");
    assert_eq!(put(3_000).send().await.unwrap().status(), 201);
    org.stop().await;
}

#[tokio::test]
async fn clock_that_is_moved_wakes_the_work() {
    let clock = org_sim::OrgClock::standing(crate::bulk_support::START);
    let mut config = slow(1_000.0);
    config.bulk.start_delay_ms = 3_600_000;
    let org = org_sim::OrgSim::start_at(config, clock).await.unwrap();
    let client = crate::support::Client::log_in(&org).await;
    let (_, job) = client.send("POST", "jobs/ingest", upsert()).await;
    let path = format!("jobs/ingest/{}", job["id"].as_str().unwrap());
    let put = client.call("PUT", &format!("{path}/batches")).header("content-type", "text/csv").body(accounts(400));
    assert_eq!(put.send().await.unwrap().status(), 201);
    client.send("PATCH", &path, json!({ "state": "UploadComplete" })).await;
    assert_eq!(client.get(&path).await.1["state"], "UploadComplete");
    for (advance, state) in [(3_600_000, "InProgress"), (3_600_000, "JobComplete")] {
        let (status, _) = client.send("POST", "/_sim/clock", json!({ "advance_ms": advance })).await;
        assert_eq!(status, 200);
        while client.get(&path).await.1["state"] != state {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(org.count("Account"), 400);
    org.stop().await;
}

#[tokio::test]
async fn allocations_can_be_set_and_jobs_are_counted_from_outside() {
    let (org, client) = org().await;
    let (status, limits) =
        client.send("POST", "/_sim/limits", json!({ "bulk_batches": { "max": 7, "used": 7 } })).await;
    let batches = &limits["DailyBulkApiBatches"];
    assert_eq!((status, &batches["Max"], &batches["Remaining"]), (200, &json!(7), &json!(0)));
    let (status, refused) = client.send("POST", "jobs/ingest", upsert()).await;
    assert_eq!((status, &refused[0]["errorCode"]), (400, &json!("EXCEEDEDQUOTA")));
    client
        .send("POST", "/_sim/limits", json!({ "bulk_batches": { "used": 0 }, "bulk_query_jobs": { "max": 1 } }))
        .await;
    client.send("POST", "jobs/ingest", upsert()).await;
    let query = json!({ "operation": "query", "query": "SELECT Id FROM Account" });
    assert_eq!(client.send("POST", "jobs/query", query.clone()).await.0, 200);
    assert_eq!(client.send("POST", "jobs/query", query).await.0, 400);
    while client.get("/_sim").await.1["bulk"]["jobs"] != json!({ "Open": 1, "JobComplete": 1 }) {
        tokio::task::yield_now().await;
    }
    org.stop().await;
}
