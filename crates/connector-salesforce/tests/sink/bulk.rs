//! Batches by Bulk jobs, in an org that works.

use crate::jobs::{Host, applied_rows, many, quick, start};
use crate::org::{parent, plain, things};
use crate::stub::{accounts, row, sink, text};
use contract::{OutBatch, OutOp, RowResult, Sink};
use model::{Api, Cell, ErrorClass};
use org_sim::{HistoryOp, RunningOrg};

async fn batches_used(sink: &impl Sink) -> u64 {
    let readings = sink.allocations().await.unwrap();
    readings.iter().find(|reading| &*reading.allocation == "DailyBulkApiBatches").unwrap().used
}

fn name_of(org: &RunningOrg, key: &str) -> Option<String> {
    let records = org.records("Account");
    let record = records.iter().find(|record| record["Code__c"] == key)?;
    record.get("Name").and_then(|name| name.as_str()).map(str::to_owned)
}

#[tokio::test]
async fn a_job_costs_what_it_says_and_no_more_than_was_announced() {
    let (org, sink) = start(|_| {}).await;
    for rows in [1, 10_000, 10_001] {
        let announced = sink.cost(Api::Bulk, OutOp::Upsert, rows);
        let (batches, calls) = (batches_used(&sink).await, org.daily_requests_used());
        let applied = sink.apply_job(many(OutOp::Upsert, rows), &Host::new()).await.unwrap();
        assert_eq!(applied_rows(&applied.rows), rows);
        assert_eq!(u64::from(applied.spent.calls), org.daily_requests_used() - calls);
        assert_eq!(u64::from(applied.spent.bulk_batches), batches_used(&sink).await - batches);
        assert_eq!(applied.spent.bulk_batches, announced.bulk_batches);
        assert!(applied.spent.calls <= announced.calls && announced.calls <= 12, "{:?}", applied.spent);
    }
    assert_eq!(org.count("Account"), 10_001);
}

#[tokio::test]
async fn every_write_of_a_job_carries_our_name() {
    let (org, sink) = start(|_| {}).await;
    let host = Host::new();
    sink.apply_job(many(OutOp::Upsert, 3), &host).await.unwrap();
    assert_eq!(host.uploads.load(std::sync::atomic::Ordering::Relaxed), 1);
    let history = org.history();
    assert_eq!(history.len(), 3);
    for entry in history {
        assert_eq!((entry.api.as_str(), entry.client.as_deref()), ("bulk", Some("penstock/test")));
    }
}

#[tokio::test]
async fn each_row_has_its_own_answer_whatever_order_the_results_have() {
    let (org, sink) = start(|_| {}).await;
    let mut batch = many(OutOp::Upsert, 700);
    for bad in [0, 199, 200, 421, 699] {
        batch.rows[bad].cells[0] = text(&"x".repeat(300));
    }
    let rows = sink.apply_job(batch.clone(), &Host::new()).await.unwrap().rows;
    let ids: Vec<_> = org.records("Account").iter().map(|r| (r["Code__c"].clone(), r["Id"].clone())).collect();
    for (at, (row, sent)) in rows.iter().zip(&batch.rows).enumerate() {
        let Some(model::FieldValue::Text(key)) = &sent.key else { panic!() };
        match row {
            RowResult::Applied { id, created } => {
                assert!(created);
                let (_, held) = ids.iter().find(|(code, _)| *code == **key).unwrap();
                assert_eq!(held, &**id.as_ref().unwrap());
            }
            RowResult::Failed(error) => {
                assert!([0, 199, 200, 421, 699].contains(&at));
                assert_eq!((error.code.as_str(), error.class), ("STRING_TOO_LONG", ErrorClass::Permanent));
                assert_eq!(error.fields, ["Name"]);
            }
        }
    }
    assert_eq!(applied_rows(&rows), 695);
}

#[tokio::test]
async fn a_missing_parent_and_a_present_one_are_told_apart() {
    let (org, sink) = start(|_| {}).await;
    sink.apply(&accounts(OutOp::Upsert, &["here"])).await.unwrap();
    let rows = vec![row("a", vec![text("here")]), row("b", vec![text("nowhere")]), row("c", vec![Cell::Null])];
    let batch = OutBatch { api: Api::Bulk, ..things(vec![parent()], "Exact_Key__c", rows) };
    let rows = sink.apply_job(batch.clone(), &Host::new()).await.unwrap().rows;
    assert_eq!(applied_rows(&rows), 2);
    assert!(matches!(&rows[1], RowResult::Failed(error) if error.class == ErrorClass::ParentMissing), "{rows:?}");
    let cleared = things(vec![parent()], "Exact_Key__c", vec![row("a", vec![Cell::Null])]);
    sink.apply_job(OutBatch { api: Api::Bulk, ..cleared }, &Host::new()).await.unwrap();
    assert!(org.records("Thing__c").iter().all(|record| record.get("Account__c").is_none()));
}

#[tokio::test]
async fn updates_and_deletes_find_their_records_first() {
    let (org, sink) = start(|_| {}).await;
    sink.apply_job(many(OutOp::Upsert, 450), &Host::new()).await.unwrap();
    let mut update = many(OutOp::Update, 452);
    update.rows.iter_mut().for_each(|row| row.cells[0] = text("new"));
    let applied = sink.apply_job(update.clone(), &Host::new()).await.unwrap();
    assert_eq!(applied_rows(&applied.rows), 450);
    assert!(applied.spent.calls <= sink.cost(Api::Bulk, OutOp::Update, 452).calls);
    for row in &applied.rows[450..] {
        assert!(matches!(row, RowResult::Failed(error) if error.code == "NOT_FOUND"), "{row:?}");
    }
    assert!(org.records("Account").iter().all(|record| record["Name"] == "new"));
    let applied = sink.apply_job(many(OutOp::Delete, 452), &Host::new()).await.unwrap();
    assert_eq!(applied_rows(&applied.rows), 452, "what is not there counts as deleted");
    assert_eq!(org.count("Account"), 0);
    let again = sink.apply_job(many(OutOp::Delete, 3), &Host::new()).await.unwrap();
    assert_eq!((applied_rows(&again.rows), again.spent.bulk_batches), (3, 0), "no job for nothing");
}

#[tokio::test]
async fn creates_are_matched_by_position_or_by_the_whole_row() {
    for position in [None, Some("Position__c".into())] {
        let (org, sink) = start(|_| {}).await;
        let mut batch = many(OutOp::Create, 6);
        (batch.external_id, batch.position_field) = (None, position);
        for (n, row) in batch.rows.iter_mut().enumerate() {
            (row.key, row.position.offset) = (None, model::Offset(n as u64));
            let long = "x".repeat(256);
            row.cells = vec![text(["twin", "twin", "a,\"b\"\nc", "twin", &long, "é"][n])];
        }
        let rows = sink.apply_job(batch.clone(), &Host::new()).await.unwrap().rows;
        assert_eq!(applied_rows(&rows), 5);
        assert!(matches!(&rows[4], RowResult::Failed(error) if error.code == "STRING_TOO_LONG"));
        let mut ids: Vec<_> = rows
            .iter()
            .filter_map(|row| match row {
                RowResult::Applied { id, created: true } => id.clone(),
                _ => None,
            })
            .collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 5, "no record answers for two rows");
        assert!(org.history().iter().all(|entry| entry.op == HistoryOp::Create));
    }
}

#[tokio::test]
async fn rows_that_csv_cannot_say_arrive_all_the_same() {
    let (org, sink) = start(|_| {}).await;
    let mut batch = many(OutOp::Upsert, 5);
    batch.columns = [plain("Name"), plain("Site")].into();
    let cells = [["#N/A", "s"], ["n", " "], ["n", "#N/A"], ["n", ""], ["n", "s"]];
    for (row, cells) in batch.rows.iter_mut().zip(cells) {
        row.cells = cells.map(text).to_vec();
    }
    let carried: Vec<bool> = batch.rows.iter().map(|row| sink.carries(Api::Bulk, row)).collect();
    assert_eq!(carried, [false, false, false, true, true]);
    assert!(batch.rows.iter().all(|row| sink.carries(Api::Collections, row)));
    let rows = sink.apply_job(batch.clone(), &Host::new()).await.unwrap().rows;
    assert_eq!(applied_rows(&rows), 5, "{rows:?}");
    let site = |key| org.records("Account").iter().find(|r| r["Code__c"] == key).unwrap().get("Site").cloned();
    assert_eq!(name_of(&org, "k0").as_deref(), Some("#N/A"));
    assert_eq!(site("k2").unwrap(), "#N/A");
    assert_eq!(site("k3"), None);
    let ways: Vec<String> = org.history().into_iter().map(|entry| entry.api).collect();
    assert_eq!(ways.iter().filter(|way| *way == "bulk").count(), 2);
}

#[tokio::test]
async fn a_file_is_never_longer_than_the_org_takes() {
    let (org, _) = start(|config| config.bulk.upload_base64_bytes_max = 1_400_000).await;
    let mut config = quick(&org);
    config.bulk.file_bytes_max = 1_000_000;
    let mut batch = many(OutOp::Upsert, 300);
    batch.columns = [plain("Name"), plain("Description")].into();
    // Quotes are doubled in the file.
    batch.rows.iter_mut().for_each(|row| row.cells.push(text(&"\"".repeat(2_500))));
    let rows = sink(&config).apply_job(batch, &Host::new()).await.unwrap().rows;
    let left: Vec<_> =
        rows.iter().filter(|row| matches!(row, RowResult::Failed(e) if e.class == ErrorClass::Collateral)).collect();
    assert!(!left.is_empty() && left.len() < 300);
    assert_eq!(org.count("Account"), 300 - left.len());
}

#[tokio::test]
async fn an_object_or_key_that_is_gone_stops_the_route_and_no_row_is_blamed() {
    let (_org, sink) = start(|_| {}).await;
    let gone = OutBatch { object: "Gone__c".into(), ..many(OutOp::Upsert, 2) };
    let error = sink.apply_job(gone.clone(), &Host::new()).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Auth, "PS4101"));
    let no_key = OutBatch { external_id: Some("Name".into()), ..many(OutOp::Upsert, 2) };
    let error = sink.apply_job(no_key.clone(), &Host::new()).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Auth, "PS4101"));
}

#[tokio::test]
async fn spent_batches_are_a_matter_of_quota() {
    let (org, sink) = start(|config| config.bulk.daily_batches_max = 0).await;
    let error = sink.apply_job(many(OutOp::Upsert, 2), &Host::new()).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Quota, "PS4103"));
    assert_eq!(org.count("Account"), 0);
}

#[tokio::test]
async fn rows_beyond_the_days_batches_are_in_no_result_and_so_unknown() {
    let (org, sink) = start(|config| config.bulk.daily_batches_max = 1).await;
    let rows = sink.apply_job(many(OutOp::Upsert, 10_200), &Host::new()).await.unwrap().rows;
    let applied = applied_rows(&rows);
    assert_eq!(applied, org.count("Account"));
    assert!(applied <= 10_000 && applied > 5_000, "{applied}");
    let rest = rows.iter().filter(|row| {
        matches!(row, RowResult::Failed(e) if matches!(e.class, ErrorClass::Unknown | ErrorClass::Quota | ErrorClass::Transient))
    });
    assert_eq!(rest.count(), 10_200 - applied);
}
