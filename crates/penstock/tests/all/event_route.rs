//! examples/events.yaml at work: changes become events of the package, in order, deletes included.

use super::world::{CITY, Made, World};
use serde_json::Value;

#[tokio::test]
async fn changes_are_published_as_events_of_the_package_in_the_order_of_their_key() {
    let made = Made {
        pipeline: "events.yaml",
        objects: "salesforce-org.yaml",
        rows: "insert into city.agency values ('FDNY', 'Fire'), ('DOT', 'Roads')",
        ..CITY
    };
    let world = World::new(made, |text| text).await;
    world.settle().await;
    let changes = "insert into city.service_request (unique_key, agency, created_date, complaint_type, status)
                     values (1, 'FDNY', now(), 'Smoke', 'Open'), (2, 'DOT', now(), 'Pothole', 'Open');
                   update city.service_request set status = 'Closed' where unique_key = 1;
                   delete from city.service_request where unique_key = 1;";
    world.sql(changes).await;
    world.settle().await;

    let url = world.org.url();
    let told = world.done(&["org", "events", "/event/PostgreSQL_Data__e", "--at", &url, "--json"]).await;
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
    world.org.stop().await;
}

/// The first member of this name, at any depth.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(object) => object.get(name).or_else(|| object.values().find_map(|inner| find(inner, name))),
        Value::Array(items) => items.iter().find_map(|inner| find(inner, name)),
        _ => None,
    }
}
