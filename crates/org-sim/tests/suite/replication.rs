//! getUpdated, getDeleted, relationships of a record, and what was viewed.

use crate::support::{Client, config};
use org_sim::{OrgClock, OrgSim, RunningOrg};
use serde_json::{Value, json};

/// 2026-11-21T12:00:30Z
const NOW_MS: i64 = 1_795_262_430_000;

async fn standing() -> (RunningOrg, Client) {
    let org = OrgSim::start_at(config(), OrgClock::standing(NOW_MS)).await.unwrap();
    let client = Client::log_in(&org).await;
    (org, client)
}

async fn account(client: &Client, name: &str) -> String {
    let created = client.create(json!({ "attributes": { "type": "Account" }, "Name": name })).await;
    created["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn updated_and_deleted_tell_whole_minutes_of_their_span() {
    let (org, client) = standing().await;
    let (early, late) = (account(&client, "early").await, account(&client, "late").await);
    org.advance_ms(3_600_000);
    client.send("PATCH", &format!("sobjects/Account/{late}"), json!({ "Name": "later" })).await;
    let span = |what: &str, from: &str, to: &str| {
        format!("sobjects/Account/{what}/?start=2026-11-21T{from}%2B00:00&end=2026-11-21T{to}Z")
    };
    let (status, body) = client.get(&span("updated", "12:00:59", "12:01:00")).await;
    assert_eq!((status, body), (200, json!({ "ids": [early], "latestDateCovered": "2026-11-21T12:01:00.000+0000" })));
    let (_, body) = client.get(&span("updated", "13:00:00", "14:00:00")).await;
    assert_eq!(
        body,
        json!({ "ids": [late], "latestDateCovered": "2026-11-21T13:00:00.000+0000" }),
        "the future is not covered"
    );
    assert_eq!(client.get(&span("deleted", "13:00:00", "14:00:00")).await.1["deletedRecords"], json!([]));
    client.send("DELETE", &format!("sobjects/Account/{early}"), Value::Null).await;
    let (status, body) = client.get(&span("deleted", "13:00:00", "14:00:00")).await;
    assert_eq!(status, 200);
    assert_eq!(body["deletedRecords"], json!([{ "deletedDate": "2026-11-21T13:00:30.000+0000", "id": early }]));
    assert_eq!(body["earliestDateAvailable"], "2026-11-21T13:00:00.000+0000");
    assert!(
        client.get(&span("updated", "12:00:00", "14:00:00")).await.1["ids"] == json!([late]),
        "a deleted row is not updated"
    );
    for (path, code) in [
        (span("updated", "12:00:10", "12:00:50"), "INVALID_REPLICATION_DATE"),
        (span("updated", "14:00:00", "13:00:00"), "INVALID_REPLICATION_DATE"),
        (span("updated", "13:30:00", "14:00:00"), "INVALID_REPLICATION_DATE"),
        (
            "sobjects/Account/updated?start=2026-10-21T13:00:00Z&end=2026-11-21T13:00:00Z".into(),
            "INVALID_REPLICATION_DATE",
        ),
        (
            "sobjects/Account/deleted?start=2026-11-05T13:00:00Z&end=2026-11-21T13:00:00Z".into(),
            "INVALID_REPLICATION_DATE",
        ),
        ("sobjects/Account/updated?start=yesterday&end=2026-11-21T13:00:00Z".into(), "ILLEGAL_QUERY_PARAMETER_VALUE"),
        ("sobjects/Account/updated?start=2026-11-21T13:00:00Z".into(), "MISSING_ARGUMENT"),
        ("sobjects/Nothing/updated?start=2026-11-21T13:00:00Z&end=2026-11-21T14:00:00Z".into(), "NOT_FOUND"),
    ] {
        assert_eq!(client.get(&path).await.1[0]["errorCode"], code, "{path}");
    }
    let boundary = "sobjects/Account/updated?start=2026-10-22T13:00:00Z&end=2026-11-21T13:00:00Z";
    assert_eq!(client.get(boundary).await.0, 200, "thirty days are allowed");
    org.stop().await;
}

#[tokio::test]
async fn relationships_lead_to_parent_and_children() {
    let (org, client) = standing().await;
    let id = account(&client, "parent").await;
    let contact =
        client.create(json!({ "attributes": { "type": "Contact" }, "LastName": "Lee", "AccountId": id })).await;
    let contact = contact["id"].as_str().unwrap();
    let (status, parent) = client.get(&format!("sobjects/Contact/{contact}/Account?fields=Name")).await;
    assert_eq!(
        (status, parent["Name"].as_str(), parent["attributes"]["type"].as_str()),
        (200, Some("parent"), Some("Account"))
    );
    let (_, children) = client.get(&format!("sobjects/Account/{id}/contacts?fields=LastName")).await;
    assert_eq!((children["totalSize"].clone(), children["records"][0]["LastName"].clone()), (json!(1), json!("Lee")));
    for path in [
        format!("sobjects/Account/{id}/Nothing"),
        format!("sobjects/Account/{id}/Parent"),
        "sobjects/Account/001Hs0000009999/Contacts".into(),
    ] {
        assert_eq!(client.get(&path).await.0, 404, "{path}");
    }
    assert_eq!(client.get(&format!("sobjects/Account/{id}/Contacts?fields=Nothing")).await.0, 400);
    org.stop().await;
}

#[tokio::test]
async fn recent_tells_what_queries_for_view_found_newest_first() {
    let (org, client) = standing().await;
    for name in ["a", "b", "c"] {
        account(&client, name).await;
    }
    client.query("SELECT Id FROM Account").await;
    assert_eq!(client.get("recent").await.1, json!([]));
    client.query("SELECT Id FROM Account WHERE Name != 'c' ORDER BY Name FOR VIEW").await;
    client.query("SELECT Id FROM Account WHERE Name = 'a' FOR REFERENCE").await;
    let (_, body) = client.get("recent").await;
    let names: Vec<&Value> = body.as_array().unwrap().iter().map(|record| &record["Name"]).collect();
    assert_eq!(names, [&json!("a"), &json!("b")]);
    assert_eq!(client.get("recent?limit=1").await.1.as_array().unwrap().len(), 1);
    org.stop().await;
}
