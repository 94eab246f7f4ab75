//! sObject Collections.

use crate::support::org;
use serde_json::{Value, json};

fn account(code: usize) -> Value {
    json!({ "attributes": { "type": "Account" }, "Code__c": format!("A-{code}"), "Name": format!("Account {code}") })
}

#[tokio::test]
async fn upsert_creates_then_updates_and_keeps_order() {
    let (org, client) = org().await;
    let first = client.upsert("Account", "Code__c", (0..200).map(account).collect()).await;
    assert!(first.iter().all(|row| row["success"] == true && row["created"] == true && row["errors"] == json!([])));
    let again = client.upsert("Account", "code__C", (0..200).rev().map(account).collect()).await;
    for (one, other) in first.iter().zip(again.iter().rev()) {
        assert_eq!((one["id"].clone(), Value::Bool(false)), (other["id"].clone(), other["created"].clone()));
    }
    assert_eq!(org.count("Account"), 200);
    let history = org.history();
    assert_eq!(history.len(), 400);
    assert_eq!((history[0].external_id.as_deref(), history[0].sent.len()), (Some("A-0"), 2));
    assert!(history[200..].iter().all(|change| change.changes.is_empty()));
    org.stop().await;
}

#[tokio::test]
async fn failed_rows_have_status_code_and_no_id_and_the_others_are_applied() {
    let (org, client) = org().await;
    let rows = vec![
        account(1),
        json!({ "Code__c": "x", "Name": "n".repeat(256) }),
        json!({ "Code__c": "y" }),
        json!({ "Name": "no key" }),
        json!({ "Code__c": "z", "Name": "z", "Level__c": "Bronze" }),
        json!({ "Code__c": "u", "Name": "u", "Nothing__c": 1 }),
        json!({ "Code__c": "v", "Name": "v", "Score__c": 10000 }),
        json!({ "Code__c": "a-1", "Name": "same key, other case" }),
        json!({ "Code__c": "w", "Name": 5 }),
        json!({ "Code__c": "t", "Name": "t", "CreatedDate": "2020-01-01T00:00:00Z" }),
    ];
    let results = client.upsert("Account", "Code__c", rows).await;
    let codes: Vec<&str> = results.iter().map(|row| row["errors"][0]["statusCode"].as_str().unwrap_or("")).collect();
    assert_eq!(
        codes,
        [
            "",
            "STRING_TOO_LONG",
            "REQUIRED_FIELD_MISSING",
            "MISSING_ARGUMENT",
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "INVALID_FIELD",
            "NUMBER_OUTSIDE_VALID_RANGE",
            "DUPLICATE_VALUE",
            "JSON_PARSER_ERROR",
            "INVALID_FIELD_FOR_INSERT_UPDATE",
        ]
    );
    assert!(results[1..].iter().all(|row| row.get("id").is_none() && row["success"] == false));
    assert_eq!(results[5]["errors"][0]["message"], "No such column 'Nothing__c' on sobject of type Account");
    assert_eq!(org.count("Account"), 1);
    org.stop().await;
}

#[tokio::test]
async fn all_or_none_rolls_back_records_and_history() {
    let (org, client) = org().await;
    let body =
        json!({ "allOrNone": true, "records": [account(1), { "attributes": { "type": "Account" } }, account(2)] });
    let (status, results) = client.send("POST", "composite/sobjects", body).await;
    assert_eq!(status, 200);
    let code = |row: usize| results[row]["errors"][0]["statusCode"].clone();
    assert_eq!((code(0), code(1)), ("ALL_OR_NONE_OPERATION_ROLLED_BACK".into(), "REQUIRED_FIELD_MISSING".into()));
    assert!(results[0].get("id").is_none());
    assert_eq!((org.count("Account"), org.last_seq()), (0, 0));
    // The key of the row that was rolled back is free again.
    assert_eq!(client.create(account(1)).await["success"], true);
    org.stop().await;
}

#[tokio::test]
async fn call_with_too_many_records_or_chunks_is_refused_whole() {
    let (org, client) = org().await;
    let (status, body) = client
        .send(
            "PATCH",
            "composite/sobjects/Account/Code__c",
            json!({ "records": (0..201).map(account).collect::<Vec<_>>() }),
        )
        .await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("LIMIT_EXCEEDED")));
    let mixed = |runs: usize| -> Vec<Value> {
        let contact = json!({ "attributes": { "type": "Contact" }, "LastName": "c" });
        (0..runs).map(|run| if run % 2 == 0 { account(run) } else { contact.clone() }).collect()
    };
    assert_eq!(client.send("POST", "composite/sobjects", json!({ "records": mixed(10) })).await.0, 200);
    assert_eq!(client.send("POST", "composite/sobjects", json!({ "records": mixed(11) })).await.0, 400);
    let (status, body) = client.send("PATCH", "composite/sobjects/Account/Name", json!({ "records": [] })).await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (404, Some("NOT_FOUND")));
    assert_eq!(client.send("PATCH", "composite/sobjects/Nothing/Name", json!({ "records": [] })).await.0, 404);
    assert_eq!(client.send("PATCH", "composite/sobjects/Account/Code__c", json!({})).await.0, 400);
    org.stop().await;
}

#[tokio::test]
async fn parent_is_found_by_external_id_and_a_missing_one_names_key_and_entity() {
    let (org, client) = org().await;
    client.upsert("Account", "Code__c", vec![account(1)]).await;
    let order = |key: u64, parent: Value| json!({ "Key__c": key, "Total__c": "12.345", "Account__r": parent });
    let results = client
        .upsert(
            "Order__c",
            "Key__c",
            vec![order(1, json!({ "Code__c": "A-1" })), order(2, json!({ "Code__c": "A-9" })), order(3, Value::Null)],
        )
        .await;
    assert_eq!(results[0]["success"], true);
    let error = &results[1]["errors"][0];
    assert_eq!(error["statusCode"], "INVALID_FIELD");
    assert_eq!(error["message"], "Foreign key external ID: A-9 not found for field Code__c in entity Account");
    assert_eq!(results[2]["success"], true);
    let records = org.records("Order__c");
    assert_eq!(records[0]["Account__c"], org.records("Account")[0]["Id"]);
    assert_eq!((records[0]["Total__c"].clone(), records[0]["Name"].clone()), (json!(12.35), json!("O-0001")));
    assert_eq!(records[0]["Paid__c"], true);
    org.stop().await;
}

#[tokio::test]
async fn update_and_delete_answer_unknown_deleted_and_malformed_ids() {
    let (org, client) = org().await;
    let id = client.create(account(1)).await["id"].as_str().unwrap().to_owned();
    let update = |id: &str| json!({ "records": [{ "attributes": { "type": "Account" }, "id": id, "Name": "new", "Phone": "" }] });
    let code = |(status, body): (u16, Value)| {
        assert_eq!(status, 200, "{body}");
        body[0]["errors"][0]["statusCode"].as_str().unwrap_or("ok").to_owned()
    };
    assert_eq!(code(client.send("PATCH", "composite/sobjects", update(&id)).await), "ok");
    assert_eq!(code(client.send("PATCH", "composite/sobjects", update(&id[..15])).await), "ok");
    let delete = |id: &str| format!("composite/sobjects?ids={id}&allOrNone=false");
    assert_eq!(code(client.send("DELETE", &delete(&id), Value::Null).await), "ok");
    assert_eq!(code(client.send("DELETE", &delete(&id), Value::Null).await), "ENTITY_IS_DELETED");
    assert_eq!(code(client.send("PATCH", "composite/sobjects", update(&id)).await), "ENTITY_IS_DELETED");
    assert_eq!(
        code(client.send("PATCH", "composite/sobjects", update("001Hs00000zzzzz")).await),
        "INVALID_CROSS_REFERENCE_KEY"
    );
    assert_eq!(code(client.send("PATCH", "composite/sobjects", update("nonsense")).await), "MALFORMED_ID");
    // A deleted row's key is free (see `Unverified`).
    assert_eq!(client.upsert("Account", "Code__c", vec![account(1)]).await[0]["created"], true);
    org.stop().await;
}

#[tokio::test]
async fn delete_cascades_restricts_and_clears() {
    let (org, client) = org().await;
    let id = |row: Value| row["id"].as_str().unwrap().to_owned();
    let parent = id(client.create(account(1)).await);
    let child =
        id(client.create(json!({ "attributes": { "type": "Account" }, "Name": "c", "ParentId": parent })).await);
    let case = id(client.create(json!({ "attributes": { "type": "Case" }, "AccountId": parent })).await);
    let order =
        id(client.create(json!({ "attributes": { "type": "Order__c" }, "Total__c": 1, "Account__c": parent })).await);
    let line = client.create(json!({ "attributes": { "type": "Line__c" }, "Order__c": order })).await;
    assert_eq!(line["success"], true, "{line}");
    let delete = |id: &str| client.call("DELETE", &format!("composite/sobjects?ids={id}")).send();
    let refused: Value = delete(&parent).await.unwrap().json().await.unwrap();
    assert_eq!(refused[0]["errors"][0]["statusCode"], "DELETE_FAILED");
    delete(&order).await.unwrap();
    assert_eq!((org.count("Order__c"), org.count("Line__c")), (0, 0));
    delete(&parent).await.unwrap();
    assert_eq!(org.count("Account"), 1);
    let (_, child) = client.get(&format!("sobjects/Account/{child}")).await;
    let (_, case) = client.get(&format!("sobjects/Case/{case}")).await;
    assert_eq!((child["ParentId"].clone(), case["AccountId"].clone()), (Value::Null, Value::Null));
    org.stop().await;
}

#[tokio::test]
async fn null_clears_absent_keeps_and_empty_text_is_null() {
    let (org, client) = org().await;
    let full = json!({ "Code__c": "k", "Name": "n", "Phone": "1", "Fax": "2", "Site": "s" });
    client.upsert("Account", "Code__c", vec![full]).await;
    client.upsert("Account", "Code__c", vec![json!({ "Code__c": "K", "Phone": null, "Fax": "" })]).await;
    let record = &org.records("Account")[0];
    assert!(record.get("Phone").is_none() && record.get("Fax").is_none());
    assert_eq!((record["Site"].clone(), record["Code__c"].clone()), (json!("s"), json!("k")));
    let change = &org.history()[1];
    assert_eq!((change.before("Phone"), change.after("Phone")), (Some(&json!("1")), Some(&Value::Null)));
    assert_eq!(change.sent, ["Code__c", "Phone", "Fax"]);
    let (_, body) = client
        .send(
            "POST",
            "composite/sobjects/Account",
            json!({ "ids": [record["Id"], "001Hs00000zzzzz"], "fields": ["Name"] }),
        )
        .await;
    assert_eq!((body[0]["Name"].clone(), body[1].clone()), (json!("n"), Value::Null));
    org.stop().await;
}
