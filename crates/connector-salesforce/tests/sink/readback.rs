//! Reading back after a lost answer.

use crate::stub::{ACCOUNT, Act, Stub, accounts, answer, is_describe, records, row, text};
use contract::{ColumnReference, OutColumn, OutOp, ReadBack, Sink};
use model::{Cell, FieldValue};
use serde_json::{Value, json};

async fn stub(held: Vec<Value>) -> Stub {
    Stub::start(move |seen, _| match () {
        () if is_describe(seen) => answer(200, ACCOUNT),
        () => records(&held),
    })
    .await
}

fn applied(found: &ReadBack) -> bool {
    matches!(found, ReadBack::Applied { .. })
}

#[tokio::test]
async fn rows_are_applied_only_where_every_cell_is_held() {
    let stub = stub(vec![
        json!({"Id": "001000000000001AAA", "Code__c": "a", "Name": "name of a"}),
        json!({"Id": "001000000000002AAA", "Code__c": "b", "Name": "older"}),
    ])
    .await;
    let (found, calls) = stub.sink().read_back(&accounts(OutOp::Upsert, &["a", "b", "c"])).await.unwrap();
    assert_eq!(
        found,
        [ReadBack::Applied { id: Some("001000000000001AAA".into()) }, ReadBack::Missing, ReadBack::Missing]
    );
    assert_eq!(calls, 2, "describe and one query");
}

#[tokio::test]
async fn unchanged_cells_are_ignored_and_nulls_are_looked_for() {
    let held = json!({"Id": "001000000000001AAA", "Code__c": "a", "Name": "x", "Amount__c": null, "ParentId": null, "Parent": null});
    let stub = stub(vec![held]).await;
    let mut batch = accounts(OutOp::Upsert, &["a"]);
    let reference = ColumnReference {
        relationship: "Parent".into(),
        object: "Account".into(),
        external_id: "Code__c".into(),
        polymorphic: false,
    };
    batch.columns = [
        OutColumn { field: "Name".into(), reference: None },
        OutColumn { field: "Amount__c".into(), reference: None },
        OutColumn { field: "ParentId".into(), reference: Some(reference) },
    ]
    .into();
    let sink = stub.sink();
    for (cells, expected) in [
        (vec![Cell::Unchanged, Cell::Null, Cell::Null], true),
        (vec![Cell::Null, Cell::Null, Cell::Null], false),
        (vec![Cell::Unchanged, Cell::Value(FieldValue::Number(0.into())), Cell::Null], false),
        (vec![Cell::Unchanged, Cell::Null, text("p")], false),
    ] {
        batch.rows = vec![row("a", cells.clone())];
        let (found, _) = sink.read_back(&batch).await.unwrap();
        assert_eq!(applied(&found[0]), expected, "{cells:?}");
    }
}

#[tokio::test]
async fn a_reference_is_held_when_the_parent_has_the_external_id() {
    let held = json!({"Id": "001000000000001AAA", "Code__c": "a", "ParentId": "001000000000009AAA", "Parent": {"attributes": {}, "Code__c": "p"}});
    let stub = stub(vec![held]).await;
    let mut batch = accounts(OutOp::Upsert, &["a"]);
    let mut reference = ColumnReference {
        relationship: "Parent".into(),
        object: "Account".into(),
        external_id: "Code__c".into(),
        polymorphic: false,
    };
    batch.columns = [OutColumn { field: "ParentId".into(), reference: Some(reference.clone()) }].into();
    let sink = stub.sink();
    for (parent, expected) in [("p", true), ("q", false)] {
        batch.rows = vec![row("a", vec![text(parent)])];
        assert_eq!(applied(&sink.read_back(&batch).await.unwrap().0[0]), expected);
    }
    reference.polymorphic = true;
    batch.columns = [OutColumn { field: "ParentId".into(), reference: Some(reference) }].into();
    batch.rows = vec![row("a", vec![text("p")])];
    assert_eq!(sink.read_back(&batch).await.unwrap().0, [ReadBack::Missing], "a polymorphic parent cannot be read");
}

#[tokio::test]
async fn the_position_field_decides_alone_where_it_is_there() {
    for (held, expected) in [("0:5", true), ("0:6", true), ("0:4", false), ("1:9", false), ("", false)] {
        let record = json!({"Id": "001000000000001AAA", "Code__c": "a", "Position__c": held});
        let stub = stub(vec![record]).await;
        let mut batch = accounts(OutOp::Upsert, &["a"]);
        batch.position_field = Some("Position__c".into());
        let (found, _) = stub.sink().read_back(&batch).await.unwrap();
        assert_eq!(applied(&found[0]), expected, "{held:?}");
    }
}

#[tokio::test]
async fn a_delete_is_applied_when_the_record_is_gone() {
    let stub = stub(vec![json!({"Id": "001000000000001AAA", "Code__c": "A"})]).await;
    let (found, _) = stub.sink().read_back(&accounts(OutOp::Delete, &["a", "b"])).await.unwrap();
    assert_eq!(found, [ReadBack::Missing, ReadBack::Applied { id: None }]);
}

#[tokio::test]
async fn a_create_is_never_called_missing_when_a_record_is_there() {
    let stub = stub(vec![
        json!({"Id": "001000000000001AAA", "Code__c": "a", "Name": "name of a"}),
        json!({"Id": "001000000000002AAA", "Code__c": "b", "Name": "changed since"}),
    ])
    .await;
    let (found, _) = stub.sink().read_back(&accounts(OutOp::Create, &["a", "b", "c"])).await.unwrap();
    assert!(applied(&found[0]));
    assert_eq!(found[1..], [ReadBack::Unknown, ReadBack::Missing]);
    let mut batch = accounts(OutOp::Create, &["a"]);
    batch.external_id = None;
    let (found, calls) = stub.sink().read_back(&batch).await.unwrap();
    assert_eq!((found, calls), (vec![ReadBack::Unknown], 0));
}

#[tokio::test]
async fn two_records_under_one_key_are_never_called_applied() {
    let record = |n: u8| json!({"Id": format!("00100000000000{n}AAA"), "Code__c": "a", "Name": "name of a"});
    let stub = stub(vec![record(1), record(2)]).await;
    let (found, _) = stub.sink().read_back(&accounts(OutOp::Upsert, &["a"])).await.unwrap();
    assert_eq!(found, [ReadBack::Missing]);
}

#[tokio::test]
async fn a_field_that_cannot_be_read_makes_its_rows_missing() {
    let stub = Stub::start(|seen, _| match is_describe(seen) {
        true => answer(200, ACCOUNT),
        false => answer(400, r#"[{"message":"No such column 'Name'","errorCode":"INVALID_FIELD"}]"#),
    })
    .await;
    let (found, _) = stub.sink().read_back(&accounts(OutOp::Upsert, &["a"])).await.unwrap();
    assert_eq!(found, [ReadBack::Missing]);
    let mut batch = accounts(OutOp::Upsert, &["a"]);
    batch.columns = [OutColumn { field: "Gone__c".into(), reference: None }].into();
    assert_eq!(stub.sink().read_back(&batch).await.unwrap().0, [ReadBack::Missing]);
}

#[tokio::test]
async fn an_answer_lost_after_the_work_is_found_applied() {
    let held = std::sync::Mutex::new(Vec::new());
    let stub = Stub::start(move |seen, _| match () {
        () if is_describe(seen) => answer(200, ACCOUNT),
        () if crate::stub::is_query(seen) => records(&held.lock().unwrap()),
        () => {
            let mut record = seen.json()["records"][0].clone();
            record["Id"] = json!("001000000000001AAA");
            held.lock().unwrap().push(record);
            Act::Cut
        }
    })
    .await;
    let sink = stub.sink();
    let batch = accounts(OutOp::Upsert, &["a"]);
    assert_eq!(sink.apply(&batch).await.unwrap_err().class, model::ErrorClass::Unknown);
    let (found, _) = sink.read_back(&batch).await.unwrap();
    assert!(applied(&found[0]));
}
