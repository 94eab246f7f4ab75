//! examples/events.yaml at work: changes become events of the package, in order, deletes included.

use super::{answer, penstock};
use org_sim::{ObjectsSpec, OrgConfig, OrgSim};
use private_postgres::{Options, Server};
use serde_json::Value;
use std::path::Path;

#[tokio::test]
async fn changes_are_published_as_events_of_the_package_in_the_order_of_their_key() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let server = Server::start(Options::default()).await.expect("a server");
    server.execute("postgres", &read("city.sql")).await.unwrap();
    server.execute("postgres", "insert into city.agency values ('FDNY', 'Fire'), ('DOT', 'Roads')").await.unwrap();
    let objects: ObjectsSpec = serde_saphyr::from_str(&read("salesforce-org.yaml")).unwrap();
    let config = OrgConfig { objects, ..OrgConfig::default() };
    let app = config.apps[0].clone();
    let org = OrgSim::start(config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("penstock.yaml"), read("events.yaml").replace("127.0.0.1:9401", "off")).unwrap();
    let env = [
        ("SF_URL", org.url()),
        ("SF_CLIENT_ID", app.client_id),
        ("SF_CLIENT_SECRET", app.client_secret),
        ("DATABASE_URL", server.url("postgres")),
    ];
    let run = async || {
        let output = penstock(folder.path(), &["run", "--until-settled", "--json"], &env).await;
        assert_eq!(output.status.code(), Some(0), "{:#}", answer(&output));
    };
    run().await;
    let changes = "insert into city.service_request (unique_key, agency, created_date, complaint_type, status)
                     values (1, 'FDNY', now(), 'Smoke', 'Open'), (2, 'DOT', now(), 'Pothole', 'Open');
                   update city.service_request set status = 'Closed' where unique_key = 1;
                   delete from city.service_request where unique_key = 1;";
    server.execute("postgres", changes).await.unwrap();
    run().await;

    let url = org.url();
    let told =
        penstock(folder.path(), &["org", "events", "/event/PostgreSQL_Data__e", "--at", &url, "--json"], &[]).await;
    let told = answer(&told);
    let payloads: Vec<Value> = find(&told["result"], "events").and_then(Value::as_array).cloned().unwrap_or_default();
    let text =
        |event: &Value, field: &str| find(event, field).map(|value| value.as_str().unwrap_or_default().to_owned());
    let ops: Vec<_> = payloads.iter().map(|event| text(event, "Operation__c").unwrap_or_default()).collect();
    assert_eq!(ops, ["c", "u", "d"], "the filter leaves DOT out: {payloads:#?}");
    for event in &payloads {
        assert_eq!(text(event, "Table__c").as_deref(), Some("city.service_request"));
        assert_eq!(text(event, "Pipeline__c").as_deref(), Some("city-events"));
        let key: Value = serde_json::from_str(&text(event, "Key__c").unwrap()).unwrap();
        assert_eq!(key["unique_key"].to_string().trim_matches('"'), "1");
        let position = text(event, "Position__c").unwrap();
        assert!(position.split_once(':').is_some_and(|(_, offset)| offset.parse::<u64>().is_ok()), "{position}");
    }
    let row: Value = serde_json::from_str(&text(&payloads[1], "Payload__c").unwrap()).unwrap();
    assert_eq!(row["status"], "Closed");
    org.stop().await;
}

/// The first member of this name, at any depth.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(object) => object.get(name).or_else(|| object.values().find_map(|inner| find(inner, name))),
        Value::Array(items) => items.iter().find_map(|inner| find(inner, name)),
        _ => None,
    }
}
