//! The write ledger against what an org says of its changes: our own are told from another client's.

use super::world::{CITY, Made, World};
use contract::{Clock, SystemClock};
use log_store::{LogOptions, LogStore};
use model::{ReplicaIdentity, StreamPartition, TableName, TableSchema};
use org_sim::HistoryEntry;
use pipeline::spec::RouteSpec;
use pipeline::writes::{Whose, WriteLedger, WriteLedgerConfig};
use serde_json::{Value, json};
use std::sync::Arc;

/// The ledger's view of a route of `examples/city.yaml`.
fn route(id: &str, object: &str) -> RouteSpec {
    let schema = TableSchema {
        table: TableName { schema: "city".into(), name: id.into() },
        columns: vec![],
        primary_key: vec![],
        replica_identity: ReplicaIdentity::Default,
        identity_columns: vec![],
    };
    RouteSpec::upsert(id, StreamPartition::first("city".into()), schema, ("main".into(), object.into()), "Key__c")
}

#[tokio::test]
async fn echoes_of_our_writes_are_told_from_changes_of_others_after_a_restart() {
    let rows = "insert into city.agency values ('FDNY', 'Fire'), ('DOT', 'Roads')";
    let world = World::new(Made { rows, ..CITY }, |text| text).await;
    world.settle().await;
    let World { org, folder, app, .. } = world;
    let ours = org.history();
    assert_eq!(ours.len(), 2, "{ours:?}");

    // The ledger of a process that starts now: what the log tells is all that it has.
    let clock = Arc::new(SystemClock::new());
    let log = LogStore::open(&folder.path().join("penstock-data/log"), LogOptions::default(), clock.clone()).unwrap();
    let config = WriteLedgerConfig::default();
    let writes = WriteLedger::new(&[route("agencies", "Account"), route("requests", "Case")], config, clock.now_ms());
    let whose = |change: &HistoryEntry, origin: Option<bool>| {
        let object = change.object.as_str().into();
        writes.whose((&"main".into(), &object, &change.id), change.at, origin)
    };
    assert_eq!(whose(&ours[0], None), Whose::Unknown, "nothing is claimed before the log was read");
    writes.rebuild(&log, clock.now_ms()).await.unwrap();
    assert_eq!(writes.len(), 2);
    for change in &ours {
        let by_us = change.client.as_deref().is_some_and(|client| client.starts_with("penstock"));
        assert!(by_us, "{change:?}");
        assert!(matches!(whose(change, Some(by_us)), Whose::Ours(_)), "{change:?}");
        assert!(matches!(whose(change, None), Whose::Ours(_)), "{change:?}");
    }

    change_as_another_client(&org.url(), (&app.0, &app.1), &ours[0].id).await;
    let theirs = org.history().pop().unwrap();
    assert_eq!((theirs.id.as_str(), theirs.client.as_deref()), (ours[0].id.as_str(), Some("nightly-import")));
    assert_eq!(whose(&theirs, Some(false)), Whose::Theirs);
    // Where the change does not say who made it, the time does, once it is later than the clocks may differ.
    let later = HistoryEntry { at: theirs.at + 6_000, ..theirs };
    assert_eq!(whose(&later, None), Whose::Theirs);
    org.stop().await;
}

async fn change_as_another_client(url: &str, (client_id, client_secret): (&str, &str), id: &str) {
    // Another test may have installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = reqwest::Client::new();
    let form = format!("grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}");
    let token = http
        .post(format!("{url}/services/oauth2/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let token: Value =
        serde_json::from_str(&token.send().await.expect("an answer").text().await.expect("a text")).expect("JSON");
    let answer = http
        .patch(format!("{url}/services/data/v62.0/sobjects/Account/{id}"))
        .bearer_auth(token["access_token"].as_str().expect("a token"))
        .header("sforce-call-options", "client=nightly-import")
        .header("content-type", "application/json")
        .body(json!({"Name": "Fire Department"}).to_string());
    let answer = answer.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.expect("a text"));
}
