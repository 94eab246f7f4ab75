//! Upsert and create: what is sent, and what each row is answered.

use crate::stub::{Stub, accounts, all_applied, answer, row, sink};
use contract::{OutOp, RowResult, Sink};
use http::Method;
use model::{Cell, ErrorClass};

#[tokio::test]
async fn an_upsert_is_one_call_with_our_client_name() {
    let stub = Stub::start(|seen, _| all_applied(seen)).await;
    let applied = stub.sink().apply(&accounts(OutOp::Upsert, &["a", "b"])).await.unwrap();
    assert_eq!(applied.spent.calls, 1);
    assert!(matches!(&applied.rows[..], [RowResult::Applied { created: true, .. }, RowResult::Applied { .. }]));
    let seen = &stub.seen()[0];
    assert_eq!(
        (&seen.method, seen.path.as_str()),
        (&Method::PATCH, "/services/data/v62.0/composite/sobjects/Account/Code__c")
    );
    assert_eq!(seen.headers["sforce-call-options"], "client=penstock/test");
    assert_eq!(seen.json()["records"][1]["Code__c"], "b");
    assert_eq!(seen.json()["allOrNone"], false);
}

#[tokio::test]
async fn a_create_posts_and_counts_successes_as_created() {
    let stub = Stub::start(|_, _| answer(200, r#"[{"id":"001000000000001AAA","success":true,"errors":[]}]"#)).await;
    let applied = stub.sink().apply(&accounts(OutOp::Create, &["a"])).await.unwrap();
    assert!(matches!(applied.rows[0], RowResult::Applied { created: true, .. }));
    assert_eq!(stub.seen()[0].method, Method::POST);
}

#[tokio::test]
async fn mixed_answers_reach_their_rows() {
    let stub = Stub::start(|_, _| {
        answer(
            200,
            r#"[{"id":"001000000000001AAA","success":true,"errors":[],"created":false},
                {"success":false,"errors":[{"statusCode":"UNABLE_TO_LOCK_ROW","message":"unable to obtain exclusive access to this record","fields":[]}]},
                {"success":false,"errors":[{"statusCode":"INVALID_FIELD","message":"Foreign key external ID: x not found for field Code__c in entity Account","fields":[]}]},
                {"success":false,"errors":[{"statusCode":"FIELD_CUSTOM_VALIDATION_EXCEPTION","message":"no","fields":["Name"]}]}]"#,
        )
    })
    .await;
    let applied = stub.sink().apply(&accounts(OutOp::Upsert, &["a", "b", "c", "d"])).await.unwrap();
    let classes: Vec<_> = applied
        .rows
        .iter()
        .map(|row| match row {
            RowResult::Applied { .. } => None,
            RowResult::Failed(error) => Some(error.class),
        })
        .collect();
    let expected = [None, Some(ErrorClass::Lock), Some(ErrorClass::ParentMissing), Some(ErrorClass::BusinessRule)];
    assert_eq!(classes, expected);
}

#[tokio::test]
async fn large_bodies_go_compressed_and_small_ones_do_not() {
    let stub = Stub::start(|seen, _| all_applied(seen)).await;
    let mut config = stub.config();
    config.compress_over_bytes = Some(1000);
    let sink = sink(&config);
    sink.apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap();
    let keys: Vec<String> = (0..200).map(|n| format!("key {n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let applied = sink.apply(&accounts(OutOp::Upsert, &keys)).await.unwrap();
    assert_eq!(applied.rows.len(), 200);
    let mut huge = accounts(OutOp::Upsert, &keys);
    huge.rows.iter_mut().for_each(|row| row.cells = vec![crate::stub::text(&"x".repeat(2000))]);
    sink.apply(&huge).await.unwrap();
    let seen = stub.seen();
    assert!(seen[2].headers.contains_key("content-encoding") && seen[2].body.len() > 400_000);
    assert!(seen[0].headers.get("content-encoding").is_none());
    assert_eq!(seen[1].headers["content-encoding"], "gzip");
    assert_eq!(seen[1].json()["records"].as_array().unwrap().len(), 200);
}

#[tokio::test]
#[should_panic(expected = "a key stands once in a batch")]
async fn a_key_that_stands_twice_is_a_broken_promise() {
    let stub = Stub::start(|seen, _| all_applied(seen)).await;
    let _ = stub.sink().apply(&accounts(OutOp::Upsert, &["a", "a"])).await;
}

#[tokio::test]
async fn an_upsert_by_record_id_is_refused_without_a_call() {
    let stub = Stub::start(|seen, _| all_applied(seen)).await;
    let mut batch = accounts(OutOp::Upsert, &["a"]);
    batch.external_id = Some("Id".into());
    let error = stub.sink().apply(&batch).await.unwrap_err();
    assert_eq!((error.code.0, error.class, error.spent.calls), ("PS4109", ErrorClass::Permanent, 0));
}

#[tokio::test]
async fn a_row_without_changes_still_names_its_key() {
    let stub = Stub::start(|seen, _| all_applied(seen)).await;
    let mut batch = accounts(OutOp::Upsert, &["a"]);
    batch.rows = vec![row("a", vec![Cell::Unchanged])];
    stub.sink().apply(&batch).await.unwrap();
    let expected = serde_json::json!({"attributes": {"type": "Account"}, "Code__c": "a"});
    assert_eq!(stub.seen()[0].json()["records"][0], expected);
}

#[tokio::test]
async fn readings_come_with_every_answer_and_are_taken_once() {
    let stub = Stub::start(|seen, _| all_applied(seen)).await;
    let sink = stub.sink();
    sink.apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap();
    let readings = sink.take_readings();
    assert_eq!(readings.len(), 1);
    assert_eq!((&*readings[0].allocation, readings[0].used, readings[0].max), ("DailyApiRequests", 18, 5000));
    assert!(sink.take_readings().is_empty());
}

#[tokio::test]
async fn an_upsert_that_lost_a_race_is_tried_again_and_other_duplicates_are_not() {
    let stub = Stub::start(|_, _| {
        answer(
            200,
            r#"[{"success":false,"errors":[{"statusCode":"DUPLICATE_VALUE","message":"duplicate value found: Code__c duplicates value on record with id: 001000000000001","fields":[]}]},
                {"success":false,"errors":[{"statusCode":"DUPLICATE_VALUE","message":"duplicate value found: Email__c duplicates value on record with id: 001000000000001","fields":[]}]}]"#,
        )
    })
    .await;
    let applied = stub.sink().apply(&accounts(OutOp::Upsert, &["a", "b"])).await.unwrap();
    assert!(matches!(&applied.rows[0], RowResult::Failed(error) if error.class == ErrorClass::Transient));
    assert!(matches!(&applied.rows[1], RowResult::Failed(error) if error.class == ErrorClass::Permanent));
}

#[tokio::test]
async fn an_object_that_is_gone_stops_the_route_and_keeps_its_rows() {
    let body = r#"[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]"#;
    let stub = Stub::start(move |_, _| answer(404, body)).await;
    let error = stub.sink().apply(&accounts(OutOp::Upsert, &["a", "b"])).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Auth, "PS4101"));
}

#[tokio::test]
async fn a_whole_refusal_for_one_rows_parent_splits_the_batch_until_the_row_stands_alone() {
    let body = r#"[{"errorCode":"INVALID_CROSS_REFERENCE_KEY","message":"invalid cross reference id"}]"#;
    let stub = Stub::start(move |_, _| answer(400, body)).await;
    let class = async |keys: &[&str]| stub.sink().apply(&accounts(OutOp::Upsert, keys)).await.unwrap_err().class;
    assert_eq!(class(&["a", "b"]).await, ErrorClass::Permanent);
    assert_eq!(class(&["a"]).await, ErrorClass::ParentMissing);
}
