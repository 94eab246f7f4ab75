//! Rows that are applied together, and rows by themselves.

use crate::jobs::{applied_rows, failed_rows};
use crate::org::{config, org, parent, plain, things};
use crate::stub::{Stub, accounts, answer, row, sink, text};
use connector_salesforce::SalesforceSink;
use contract::{AppliedBatch, OutBatch, OutOp, OutRow, RowResult, Sink, Spend};
use model::{Api, Cell, ErrorClass};
use org_sim::{Api as Wire, Effect, FaultMatch, FaultRule, RunningOrg, When};

async fn start() -> (RunningOrg, SalesforceSink) {
    let org = org().await;
    let sink = sink(&config(&org));
    (org, sink)
}

fn children(op: OutOp, rows: Vec<OutRow>) -> OutBatch {
    let rows =
        rows.into_iter().map(|row| OutRow { cells: if op == OutOp::Delete { vec![] } else { row.cells }, ..row });
    OutBatch { op, api: Api::Graph, ..things(vec![parent(), plain("Long__c")], "Exact_Key__c", rows.collect()) }
}

fn parents(op: OutOp, keys: &[&str]) -> OutBatch {
    OutBatch { api: Api::Graph, ..accounts(op, keys) }
}

fn answers(parts: &[AppliedBatch]) -> Vec<RowResult> {
    parts.iter().flat_map(|part| part.rows.clone()).collect()
}

#[tokio::test]
async fn parents_and_children_of_one_transaction_are_one_call() {
    let (org, sink) = start().await;
    sink.describe(&"Account".into()).await.unwrap();
    let before = org.daily_requests_used();
    let rows = vec![row("c1", vec![text("p1"), text("x")]), row("c2", vec![text("p2"), Cell::Null])];
    let parts = [parents(OutOp::Upsert, &["p1", "p2"]), children(OutOp::Upsert, rows)];
    let done = sink.apply_together(&parts).await.unwrap();
    assert_eq!(applied_rows(&answers(&done)), 4);
    assert_eq!((done[0].spent, done[1].spent), (Spend::calls(1), Spend::default()));
    assert_eq!(org.daily_requests_used() - before, 1);
    let history = org.history();
    assert!(history.iter().all(|entry| entry.client.as_deref() == Some("penstock/test")));
    let ids: Vec<_> = org.records("Account").iter().map(|r| r["Id"].clone()).collect();
    let held: Vec<_> = org.records("Thing__c").iter().map(|r| r["Account__c"].clone()).collect();
    assert_eq!(ids, held, "each child hangs on the parent that was made beside it");
    let again = sink.apply_together(&parts).await.unwrap();
    let created = |row: &RowResult| matches!(row, RowResult::Applied { created: true, .. });
    assert!(!answers(&again).iter().any(created), "sent again it changes nothing");
}

#[tokio::test]
async fn one_refused_row_takes_all_others_back() {
    let (org, sink) = start().await;
    let rows = vec![row("c1", vec![text("p1"), text("x")]), row("c2", vec![text("p1"), text(&"y".repeat(5_001))])];
    let parts = [parents(OutOp::Upsert, &["p1"]), children(OutOp::Upsert, rows)];
    let rows = answers(&sink.apply_together(&parts).await.unwrap());
    assert_eq!((failed_rows(&rows, ErrorClass::Collateral), failed_rows(&rows, ErrorClass::Permanent)), (2, 1));
    assert!(
        matches!(&rows[2], RowResult::Failed(error) if error.code == "STRING_TOO_LONG" && error.fields == ["Long__c"])
    );
    assert_eq!((org.count("Account"), org.count("Thing__c")), (0, 0));
}

#[tokio::test]
async fn one_part_goes_by_collections_all_or_none() {
    let (org, sink) = start().await;
    let mut batch = parents(OutOp::Upsert, &["a", "b", "c"]);
    batch.rows[1].cells[0] = text(&"x".repeat(300));
    let rows = answers(&sink.apply_together(std::slice::from_ref(&batch)).await.unwrap());
    assert!(matches!(&rows[1], RowResult::Failed(error) if error.code == "STRING_TOO_LONG"));
    assert_eq!((failed_rows(&rows, ErrorClass::Collateral), org.count("Account")), (2, 0));
    batch.rows[1].cells[0] = text("x");
    let done = sink.apply_together(&[batch]).await.unwrap();
    assert_eq!((applied_rows(&done[0].rows), done[0].spent), (3, Spend::calls(1)));
    assert!(org.history().iter().all(|entry| entry.api == "collections"));
}

#[tokio::test]
async fn a_key_that_changes_several_times_ends_as_its_last_row_says() {
    let (org, sink) = start().await;
    sink.apply(&accounts(OutOp::Upsert, &["old", "there"])).await.unwrap();
    let mut update = parents(OutOp::Update, &["new", "there"]);
    update.rows.iter_mut().for_each(|row| row.cells[0] = text("updated"));
    let parts = [
        parents(OutOp::Upsert, &["new", "brief"]),
        update,
        parents(OutOp::Delete, &["old", "brief", "never"]),
        parents(OutOp::Upsert, &["old"]),
    ];
    let rows = answers(&sink.apply_together(&parts).await.unwrap());
    assert_eq!(applied_rows(&rows), 8, "{rows:?}");
    let mut held: Vec<_> =
        org.records("Account").iter().map(|r| (r["Code__c"].to_string(), r["Name"].to_string())).collect();
    held.sort();
    let expected = [("new", "updated"), ("old", "name of old"), ("there", "updated")];
    assert_eq!(held, expected.map(|(key, name)| (format!("{key:?}"), format!("{name:?}"))));
}

#[tokio::test]
async fn an_update_of_nothing_refuses_its_group_without_a_write() {
    let (org, sink) = start().await;
    let parts = [parents(OutOp::Upsert, &["a"]), parents(OutOp::Update, &["nowhere"])];
    let rows = answers(&sink.apply_together(&parts).await.unwrap());
    assert!(matches!(&rows[0], RowResult::Failed(error) if error.class == ErrorClass::Collateral));
    assert!(matches!(&rows[1], RowResult::Failed(error) if error.code == "NOT_FOUND"));
    assert_eq!(org.count("Account"), 0);
}

#[tokio::test]
async fn a_record_deleted_by_somebody_else_does_not_hold_up_its_group() {
    let (org, sink) = start().await;
    sink.apply(&accounts(OutOp::Upsert, &["gone"])).await.unwrap();
    // The id is cached, then somebody else deletes the record.
    sink.apply(&accounts(OutOp::Update, &["gone"])).await.unwrap();
    crate::org::connect(&org).apply(&accounts(OutOp::Delete, &["gone"])).await.unwrap();
    let parts = [parents(OutOp::Delete, &["gone"]), parents(OutOp::Upsert, &["a"])];
    let rows = answers(&sink.apply_together(&parts).await.unwrap());
    assert_eq!((applied_rows(&rows), org.count("Account")), (2, 1), "{rows:?}");
}

#[tokio::test]
async fn more_than_a_graph_takes_is_refused_and_never_split() {
    let (org, sink) = start().await;
    let keys: Vec<String> = (0..501).map(|n| n.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let error = sink.apply_together(&[parents(OutOp::Upsert, &keys)]).await.unwrap_err();
    assert_eq!((error.class, error.code.0, error.spent), (ErrorClass::Permanent, "PS4117", Spend::default()));
    assert_eq!(org.count("Account"), 0);
    let done = sink.apply_together(&[parents(OutOp::Upsert, &keys[..500])]).await.unwrap();
    assert_eq!((applied_rows(&done[0].rows), done[0].spent.calls), (500, 1));
}

#[tokio::test]
async fn a_text_that_looks_like_a_reference_is_never_resolved() {
    let (org, sink) = start().await;
    let evil = row("c1", vec![text("p1"), text("@{n0.id}")]);
    assert!(!sink.carries(Api::Graph, &evil) && sink.carries(Api::Collections, &evil));
    let parts = [parents(OutOp::Upsert, &["p1"]), children(OutOp::Upsert, vec![evil.clone()])];
    let rows = answers(&sink.apply_together(&parts).await.unwrap());
    assert!(
        matches!(&rows[1], RowResult::Failed(error) if error.code == "PS4118" && error.class == ErrorClass::Permanent)
    );
    assert_eq!((failed_rows(&rows, ErrorClass::Collateral), org.count("Account")), (1, 0));
    sink.apply(&accounts(OutOp::Upsert, &["p1"])).await.unwrap();
    sink.apply_together(&[children(OutOp::Upsert, vec![evil])]).await.unwrap();
    assert_eq!(
        org.records("Thing__c")[0]["Long__c"],
        "@{n0.id}",
        "one part goes by Collections, which knows no references"
    );
}

#[tokio::test]
async fn a_lost_answer_leaves_a_group_unknown_and_read_back_tells() {
    for (when, held) in [(When::After, true), (When::Before, false)] {
        let (org, sink) = start().await;
        let matches = FaultMatch { api: Some(Wire::Composite), ..FaultMatch::default() };
        org.fault(FaultRule::new(matches, Effect::Cut { when }).times(1));
        let rows = vec![row("c1", vec![text("p1"), text("x")])];
        let parts = [parents(OutOp::Upsert, &["p1"]), children(OutOp::Upsert, rows)];
        assert_eq!(sink.apply_together(&parts).await.unwrap_err().class, ErrorClass::Unknown);
        for part in &parts {
            assert_eq!(crate::org::applied(&sink.read_back(part).await.unwrap().0), [held]);
        }
    }
}

#[tokio::test]
async fn rows_by_graphs_fail_alone() {
    let (org, sink) = start().await;
    let keys: Vec<String> = (0..160).map(|n| format!("k/{n}?")).collect();
    let mut batch = parents(OutOp::Upsert, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    batch.rows[3].cells[0] = text(&"x".repeat(300));
    batch.rows[100].key = Some(model::FieldValue::Text(" ".into()));
    let done = sink.apply(&batch).await.unwrap();
    assert_eq!((applied_rows(&done.rows), org.count("Account")), (158, 158));
    assert_eq!((done.spent.calls, sink.cost(Api::Graph, OutOp::Upsert, 160).calls), (3, 3));
    assert!(matches!(&done.rows[3], RowResult::Failed(error) if error.code == "STRING_TOO_LONG"));
    assert!(matches!(&done.rows[100], RowResult::Failed(error) if error.code == "MISSING_ARGUMENT"));
    let done = sink.apply(&parents(OutOp::Delete, &["k/0?", "never"])).await.unwrap();
    assert_eq!((applied_rows(&done.rows), org.count("Account")), (2, 157));
}

#[tokio::test]
async fn single_records_are_written_whatever_their_key_holds() {
    let (org, sink) = start().await;
    for key in ["a/b", "it's?", "100%", "ü ☃", "a+b&c=d#e", "@{n0.id}", "...", "line\nbreak", ";,:"] {
        for (op, count) in
            [(OutOp::Upsert, 1), (OutOp::Update, 1), (OutOp::Upsert, 1), (OutOp::Delete, 0), (OutOp::Delete, 0)]
        {
            let batch = OutBatch { api: Api::Rest, ..accounts(op, &[key]) };
            assert!(sink.carries(Api::Rest, &batch.rows[0]));
            let before = org.daily_requests_used();
            let done = sink.apply(&batch).await.unwrap();
            assert_eq!(applied_rows(&done.rows), 1, "{key} {op:?} {:?}", done.rows);
            assert_eq!(org.daily_requests_used() - before, u64::from(done.spent.calls));
            assert!(done.spent.calls <= sink.cost(Api::Rest, op, 1).calls);
            assert_eq!(org.count("Account"), count, "{key} {op:?}");
        }
    }
    assert!(!sink.carries(Api::Rest, &row("..", vec![])));
    assert!(org.history().iter().all(|entry| entry.client.as_deref() == Some("penstock/test")));
}

#[tokio::test]
async fn refusals_of_single_records_are_the_rows_own() {
    let (org, sink) = start().await;
    let mut batch = OutBatch { api: Api::Rest, ..accounts(OutOp::Upsert, &["a"]) };
    batch.rows[0].cells[0] = text(&"x".repeat(300));
    let rows = sink.apply(&batch).await.unwrap().rows;
    assert!(matches!(&rows[0], RowResult::Failed(error) if error.code == "STRING_TOO_LONG"));
    let child = OutBatch { api: Api::Rest, ..things(vec![parent()], "Exact_Key__c", vec![row("c", vec![text("no")])]) };
    let rows = sink.apply(&child).await.unwrap().rows;
    assert!(matches!(&rows[0], RowResult::Failed(error) if error.class == ErrorClass::ParentMissing), "{rows:?}");
    let missing = OutBatch { api: Api::Rest, ..accounts(OutOp::Update, &["nowhere"]) };
    let rows = sink.apply(&missing).await.unwrap().rows;
    assert!(matches!(&rows[0], RowResult::Failed(error) if error.code == "NOT_FOUND"));
    let gone = OutBatch { api: Api::Rest, object: "Gone__c".into(), ..accounts(OutOp::Upsert, &["a"]) };
    let error = sink.apply(&gone).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Auth, "PS4101"));
    org.set_daily_requests(Some(10), Some(10));
    let error = sink.apply(&batch).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Quota, "PS4103"));
}

#[tokio::test]
async fn several_records_under_one_key_are_told_and_nothing_is_written() {
    let stub =
        Stub::start(|_, _| answer(300, r#"["/services/data/v62.0/sobjects/Account/001000000000001AAA","/x"]"#)).await;
    let rows = stub.sink().apply(&OutBatch { api: Api::Rest, ..accounts(OutOp::Upsert, &["a b"]) }).await.unwrap().rows;
    assert!(matches!(&rows[0], RowResult::Failed(error) if error.code == "DUPLICATE_EXTERNAL_ID"), "{rows:?}");
    assert_eq!(stub.seen()[0].path, "/services/data/v62.0/sobjects/Account/Code__c/a%20b");
    assert_eq!(stub.seen()[0].headers["sforce-call-options"], "client=penstock/test");
    assert_eq!(stub.seen()[0].json(), serde_json::json!({"Name": "name of a b"}));
}
