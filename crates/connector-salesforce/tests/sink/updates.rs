//! Update and delete by external id.

use crate::stub::{ACCOUNT, Seen, Stub, accounts, all_applied, answer, is_describe, is_query, records, sink};
use contract::{OutOp, RowResult, Sink};
use http::Method;
use model::ErrorClass;
use serde_json::json;

fn id(n: usize) -> String {
    format!("001000000000{n:03}AAA")
}

fn deleted(seen: &Seen, code: Option<&str>) -> crate::stub::Act {
    let ids = seen.path.split_once("ids=").unwrap().1.split('&').next().unwrap().split(',').count();
    let one = match code {
        None => r#"{"id":"001000000000001AAA","success":true,"errors":[]}"#.to_owned(),
        Some(code) => format!(r#"{{"success":false,"errors":[{{"statusCode":"{code}","message":"m","fields":[]}}]}}"#),
    };
    answer(200, &format!("[{}]", vec![one; ids].join(",")))
}

#[tokio::test]
async fn an_update_looks_ids_up_once_and_answers_missing_rows() {
    let stub = Stub::start(|seen, _| match () {
        () if is_describe(seen) => answer(200, ACCOUNT),
        () if is_query(seen) => records(&[json!({"Id": id(1), "Code__c": "A"}), json!({"Id": id(3), "Code__c": "c "})]),
        () => all_applied(seen),
    })
    .await;
    let sink = stub.sink();
    let applied = sink.apply(&accounts(OutOp::Update, &["a", "b", "c"])).await.unwrap();
    assert!(matches!(applied.rows[0], RowResult::Applied { .. }), "not case-sensitive");
    assert!(
        matches!(&applied.rows[1], RowResult::Failed(e) if e.code == "NOT_FOUND" && e.class == ErrorClass::Permanent)
    );
    assert!(matches!(applied.rows[2], RowResult::Applied { .. }));
    assert_eq!(applied.spent.calls, 3, "describe, lookup, update");
    let seen = stub.seen();
    assert_eq!(seen[1].soql(), "SELECT Id, Code__c FROM Account WHERE Code__c IN ('a','b','c')");
    let records = seen[2].json()["records"].clone();
    assert_eq!((&records[0]["id"], &records[1]["id"]), (&json!(id(1)), &json!(id(3))));
    assert!(records[0].get("Code__c").is_none());
    let again = sink.apply(&accounts(OutOp::Update, &["a", "c"])).await.unwrap();
    assert_eq!(again.spent.calls, 1, "ids are cached");
}

#[tokio::test]
async fn a_stale_cached_id_is_looked_up_again() {
    let stub = Stub::start(|seen, number| match () {
        () if is_describe(seen) => answer(200, ACCOUNT),
        () if is_query(seen) => records(&[json!({"Id": id(number), "Code__c": "a"})]),
        () if seen.method == Method::PATCH && number == 3 => {
            answer(200, r#"[{"success":false,"errors":[{"statusCode":"ENTITY_IS_DELETED","message":"entity is deleted","fields":[]}]}]"#)
        }
        () => all_applied(seen),
    })
    .await;
    let sink = stub.sink();
    sink.apply(&accounts(OutOp::Update, &["a"])).await.unwrap();
    let applied = sink.apply(&accounts(OutOp::Update, &["a"])).await.unwrap();
    assert!(matches!(applied.rows[0], RowResult::Applied { .. }));
    assert_eq!(applied.spent.calls, 3);
    assert_eq!(stub.seen().last().unwrap().json()["records"][0]["id"], id(4));
}

#[tokio::test]
async fn deleting_what_is_not_there_counts_as_applied() {
    let stub = Stub::start(|seen, _| match () {
        () if is_describe(seen) => answer(200, ACCOUNT),
        () if is_query(seen) => records(&[json!({"Id": id(1), "Code__c": "a"})]),
        () => deleted(seen, Some("ENTITY_IS_DELETED")),
    })
    .await;
    let applied = stub.sink().apply(&accounts(OutOp::Delete, &["a", "b"])).await.unwrap();
    assert_eq!(applied.rows, vec![RowResult::Applied { id: None, created: false }; 2]);
    assert_eq!(stub.seen()[2].path, format!("/services/data/v62.0/composite/sobjects?ids={}&allOrNone=false", id(1)));
}

#[tokio::test]
async fn a_delete_that_matches_several_records_takes_none() {
    let stub = Stub::start(|seen, _| match () {
        () if is_describe(seen) => answer(200, ACCOUNT),
        () => records(&[json!({"Id": id(1), "Code__c": "a"}), json!({"Id": id(2), "Code__c": "A"})]),
    })
    .await;
    let applied = stub.sink().apply(&accounts(OutOp::Delete, &["a"])).await.unwrap();
    assert!(matches!(&applied.rows[0], RowResult::Failed(error) if error.code == "DUPLICATE_EXTERNAL_ID"));
}

#[tokio::test]
async fn a_deleted_key_is_forgotten_so_that_its_successor_is_found() {
    let stub = Stub::start(|seen, number| match () {
        () if is_describe(seen) => answer(200, ACCOUNT),
        () if is_query(seen) => records(&[json!({"Id": id(number), "Code__c": "a"})]),
        () => deleted(seen, None),
    })
    .await;
    let sink = stub.sink();
    sink.apply(&accounts(OutOp::Delete, &["a"])).await.unwrap();
    let applied = sink.apply(&accounts(OutOp::Delete, &["a"])).await.unwrap();
    assert_eq!(applied.spent.calls, 2, "looked up again");
}

#[tokio::test]
async fn long_keys_are_looked_up_in_uris_that_fit() {
    let stub = Stub::start(|seen, _| match () {
        () if is_describe(seen) => answer(200, ACCOUNT),
        () => {
            assert!(seen.path.len() < 14_000, "{}", seen.path.len());
            records(&[])
        }
    })
    .await;
    let keys: Vec<String> = (0..200).map(|n| format!("{n:03}{}", "ü'".repeat(40))).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut config = stub.config();
    config.id_cache_bytes_max = 0;
    let applied = sink(&config).apply(&accounts(OutOp::Delete, &keys)).await.unwrap();
    assert!(applied.rows.iter().all(|row| matches!(row, RowResult::Applied { id: None, .. })));
    let asked: usize =
        stub.seen().iter().filter(|seen| is_query(seen)).map(|seen| seen.soql().matches("\\'").count()).sum();
    assert_eq!(asked, 200 * 40, "every key was asked for, quoted");
    assert!(applied.spent.calls > 2);
}

#[tokio::test]
async fn an_empty_key_is_refused_and_never_counts_as_deleted() {
    let stub = Stub::start(|seen, _| if is_describe(seen) { answer(200, ACCOUNT) } else { records(&[]) }).await;
    let applied = stub.sink().apply(&accounts(OutOp::Delete, &[" "])).await.unwrap();
    assert!(matches!(&applied.rows[0], RowResult::Failed(error) if error.code == "MISSING_ARGUMENT"));
}

#[tokio::test]
async fn a_lookup_follows_pages_but_never_to_another_host() {
    let stub = Stub::start(|seen, number| match () {
        () if is_describe(seen) => answer(200, ACCOUNT),
        () if seen.path.ends_with("/query/01g-1") => records(&[json!({"Id": id(2), "Code__c": "b"})]),
        () if is_query(seen) && number == 1 => {
            let next = "/services/data/v62.0/query/01g-1";
            answer(
                200,
                &json!({"done": false, "nextRecordsUrl": next, "records": [{"Id": id(1), "Code__c": "a"}]}).to_string(),
            )
        }
        () if is_query(seen) => answer(200, r#"{"done":false,"nextRecordsUrl":"http://evil.example/","records":[]}"#),
        () => all_applied(seen),
    })
    .await;
    let mut config = stub.config();
    config.id_cache_bytes_max = 0;
    let sink = sink(&config);
    let applied = sink.apply(&accounts(OutOp::Update, &["a", "b"])).await.unwrap();
    assert!(applied.rows.iter().all(|row| matches!(row, RowResult::Applied { .. })));
    let error = sink.apply(&accounts(OutOp::Update, &["a", "b"])).await.unwrap_err();
    assert_eq!(error.code.0, "PS4107");
}
