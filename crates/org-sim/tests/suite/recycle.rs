//! The recycle bin: undelete, purge, cascades, merge.

use crate::support::{Client, org};
use org_sim::{HistoryOp, RunningOrg};
use serde_json::{Value, json};

async fn account(client: &Client, code: &str) -> String {
    let created = client.create(json!({ "attributes": { "type": "Account" }, "Name": code, "Code__c": code })).await;
    created["id"].as_str().unwrap().to_owned()
}

async fn order(client: &Client, key: u32, account: &str) -> String {
    let record = json!({ "attributes": { "type": "Order__c" }, "Key__c": key, "Total__c": 1, "Account__c": account });
    client.create(record).await["id"].as_str().unwrap().to_owned()
}

async fn delete(client: &Client, id: &str) {
    let (status, body) = client.send("DELETE", &format!("composite/sobjects?ids={id}"), Value::Null).await;
    assert_eq!((status, &body[0]["success"]), (200, &json!(true)), "{body}");
}

async fn sim(client: &Client, what: &str, body: Value) -> Value {
    let (status, body) = client.send("POST", &format!("/_sim/{what}"), body).await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn undelete(client: &Client, id: &str) -> Value {
    sim(client, "undelete", json!({ "ids": [id] })).await["results"][0].clone()
}

fn ops(org: &RunningOrg, after: u64) -> Vec<(HistoryOp, String, Option<String>)> {
    org.history_after(after, 99).into_iter().map(|entry| (entry.op, entry.object, entry.cause)).collect()
}

#[tokio::test]
async fn undelete_brings_back_details_and_cleared_lookups() {
    let (org, client) = org().await;
    let order_id = order(&client, 1, &account(&client, "A").await).await;
    for text in ["a", "b"] {
        client.create(json!({ "attributes": { "type": "Line__c" }, "Order__c": order_id, "Text__c": text })).await;
    }
    let (parent, child) = (account(&client, "P").await, account(&client, "C").await);
    client.send("PATCH", &format!("sobjects/Account/{child}"), json!({ "ParentId": parent })).await;
    delete(&client, &order_id).await;
    delete(&client, &parent).await;
    assert_eq!((org.count("Line__c"), org.count("Order__c"), org.count("Account")), (0, 0, 2));
    // A detail that went with its master does not come back alone.
    let line = client.query("SELECT Id FROM Line__c").await;
    assert_eq!(line["totalSize"], 0);
    let before = org.last_seq();
    assert_eq!(undelete(&client, &order_id).await["success"], true);
    assert_eq!(undelete(&client, &parent).await["success"], true);
    assert_eq!((org.count("Line__c"), org.count("Order__c"), org.count("Account")), (2, 1, 3));
    let records = org.records("Account");
    assert_eq!(records.iter().find(|row| row["Id"] == *child).unwrap()["ParentId"], *parent);
    let undone = |object: &str, cause: Option<&str>| (HistoryOp::Undelete, object.to_owned(), cause.map(str::to_owned));
    assert_eq!(
        ops(&org, before),
        [
            undone("Order__c", None),
            undone("Line__c", Some("cascade")),
            undone("Line__c", Some("cascade")),
            undone("Account", None),
            (HistoryOp::Update, "Account".into(), Some("lookup".into())),
        ]
    );
    let (_, deleted) = client.get("queryAll?q=SELECT+Id+FROM+Line__c+WHERE+IsDeleted=true").await;
    assert_eq!(deleted["totalSize"], 0);
    org.stop().await;
}

#[tokio::test]
async fn undelete_is_refused_where_it_would_break_a_rule() {
    let (org, client) = org().await;
    let id = account(&client, "A").await;
    let refused = |answer: Value| answer["errors"][0]["statusCode"].as_str().unwrap_or("none").to_owned();
    assert_eq!(refused(undelete(&client, &id).await), "UNDELETE_FAILED");
    delete(&client, &id).await;
    let other = account(&client, "a").await;
    assert_eq!(refused(undelete(&client, &id).await), "DUPLICATE_VALUE");
    delete(&client, &other).await;
    assert_eq!(undelete(&client, &id).await["success"], true);
    let order_id = order(&client, 1, &id).await;
    let line = client.create(json!({ "attributes": { "type": "Line__c" }, "Order__c": order_id })).await;
    let line = line["id"].as_str().unwrap();
    delete(&client, line).await;
    delete(&client, &order_id).await;
    assert_eq!(refused(undelete(&client, line).await), "UNDELETE_FAILED", "its master is not there");
    assert_eq!(refused(undelete(&client, "001Hs00000zzzzz").await), "INVALID_CROSS_REFERENCE_KEY");
    assert_eq!(refused(undelete(&client, "zzzHs00000zzzzz").await), "MALFORMED_ID");
    assert_eq!(client.send("POST", "/_sim/undelete", json!({ "ids": "x" })).await.0, 400);
    org.stop().await;
}

#[tokio::test]
async fn purged_rows_are_gone_by_hand_and_after_fifteen_days() {
    let (org, client) = org().await;
    let (first, second, third) =
        (account(&client, "A").await, account(&client, "B").await, account(&client, "C").await);
    delete(&client, &first).await;
    let all = |client: &Client| {
        let request = client.call("GET", "queryAll").query(&[("q", "SELECT Id FROM Account")]);
        async move { crate::support::read(request.send().await.unwrap()).await.1["totalSize"].clone() }
    };
    assert_eq!(all(&client).await, 3);
    let purge = |ids: Value, hard: bool| sim(&client, "purge", json!({ "ids": ids, "hard": hard }));
    let results = purge(json!([first, third]), false).await;
    assert_eq!(results["results"][0]["success"], true);
    assert_eq!(results["results"][1]["errors"][0]["statusCode"], "INVALID_ID_FIELD");
    assert_eq!(purge(json!([third]), true).await["results"][0]["success"], true);
    assert_eq!(all(&client).await, 1);
    assert_eq!(undelete(&client, &first).await["success"], false);
    let last = org.history().pop().unwrap();
    assert_eq!((last.op, last.external_id.as_deref()), (HistoryOp::Purge, Some("C")));
    assert_eq!(last.after("IsDeleted"), Some(&json!(true)), "it was live until now");
    delete(&client, &second).await;
    org.advance_ms(15 * 86_400_000 - 10_000);
    let client = Client::log_in(&org).await;
    assert_eq!(all(&client).await, 1);
    org.advance_ms(20_000);
    assert_eq!(all(&client).await, 0);
    let last = org.history().pop().unwrap();
    assert_eq!((last.op, last.id, last.cause.as_deref()), (HistoryOp::Purge, second, Some("expired")));
    assert!(last.changes.is_empty(), "it was deleted already");
    // An id is never used again.
    assert!(account(&client, "D").await.starts_with("001Hs0000000004"));
    org.stop().await;
}

#[tokio::test]
async fn merge_moves_children_and_names_the_master() {
    let (org, client) = org().await;
    let (winner, loser) = (account(&client, "W").await, account(&client, "L").await);
    let order_id = order(&client, 1, &loser).await;
    client.send("PATCH", &format!("sobjects/Account/{winner}"), json!({ "ParentId": loser })).await;
    let before = org.last_seq();
    let body = json!({ "winner": winner, "losers": [loser], "fields": { "Phone": "7" } });
    let merged = sim(&client, "merge", body).await;
    assert_eq!((&merged["success"], &merged["updatedRelatedIds"]), (&json!(true), &json!([order_id])));
    assert_eq!(org.records("Order__c")[0]["Account__c"], *winner);
    let row = &org.records("Account")[0];
    assert_eq!((row["Phone"].as_str(), row.get("ParentId")), (Some("7"), None), "it is not its own parent");
    let (_, all) = client.get("queryAll?q=SELECT+MasterRecordId+FROM+Account+WHERE+IsDeleted=true").await;
    assert_eq!(all["records"][0]["MasterRecordId"], *winner);
    let expected = [
        (HistoryOp::Update, "Order__c".to_owned(), Some("merge".to_owned())),
        (HistoryOp::Delete, "Account".to_owned(), Some("merge".to_owned())),
        (HistoryOp::Update, "Account".to_owned(), None),
    ];
    assert_eq!(ops(&org, before), expected);
    assert_eq!(undelete(&client, &loser).await["success"], true);
    assert!(org.records("Account")[1].get("MasterRecordId").is_none());
    for (winner, losers, code) in [
        (&winner, vec![&winner], "INVALID_OPERATION"),
        (&winner, vec![], "LIMIT_EXCEEDED"),
        (&order_id, vec![&order_id], "INVALID_OPERATION"),
        (&winner, vec![&order_id], "INVALID_CROSS_REFERENCE_KEY"),
    ] {
        let answer = sim(&client, "merge", json!({ "winner": winner, "losers": losers })).await;
        assert_eq!(answer["errors"][0]["statusCode"], code);
    }
    let body = json!({ "winner": winner, "losers": [loser], "fields": { "Name": null } });
    let before = org.last_seq();
    assert_eq!(sim(&client, "merge", body).await["errors"][0]["statusCode"], "REQUIRED_FIELD_MISSING");
    assert_eq!(org.last_seq(), before, "a refused merge changes nothing");
    org.stop().await;
}

#[tokio::test]
async fn late_commit_shows_rows_with_an_older_stamp_than_rows_seen_before() {
    let (org, client) = org().await;
    account(&client, "A").await;
    let rule = json!({ "match": { "object": "Account", "operation": "upsert" }, "effect": { "kind": "late_commit", "ms": 600_000 } });
    assert_eq!(client.send("POST", "/_sim/faults", rule).await.0, 201);
    let seen = client.query("SELECT SystemModstamp FROM Account").await["records"][0]["SystemModstamp"].clone();
    client.upsert("Account", "Code__c", vec![json!({ "Name": "n", "Code__c": "late" })]).await;
    let seen = seen.as_str().unwrap();
    let newer =
        client.query(&format!("SELECT Id FROM Account WHERE SystemModstamp > {}", seen.replace("+0000", "Z"))).await;
    assert_eq!((newer["totalSize"].clone(), org.count("Account")), (json!(0), 2), "a cursor passes it over");
    let stamp = client.query("SELECT SystemModstamp FROM Account WHERE Code__c = 'late'").await;
    assert!(stamp["records"][0]["SystemModstamp"].as_str().unwrap() < seen);
    org.stop().await;
}

#[tokio::test]
async fn required_lookup_holds_its_parent() {
    let (org, client) = org().await;
    let spec = json!({ "objects": { "Held__c": { "fields": {
        "Account__c": { "type": "lookup", "to": "Account", "required": true },
    } } } });
    assert_eq!(client.send("POST", "/_sim/objects", spec).await.0, 200);
    let id = account(&client, "A").await;
    client.create(json!({ "attributes": { "type": "Held__c" }, "Account__c": id })).await;
    let (status, body) = client.send("DELETE", &format!("sobjects/Account/{id}"), Value::Null).await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("DELETE_FAILED")));
    let (_, describe) = client.get("sobjects/Held__c/describe").await;
    let field = describe["fields"].as_array().unwrap().iter().find(|field| field["name"] == "Account__c").unwrap();
    assert_eq!(field["restrictedDelete"], true);
    org.stop().await;
}
