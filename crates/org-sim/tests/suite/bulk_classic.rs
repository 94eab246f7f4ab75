//! Bulk API 1.0.

use crate::bulk_support::{Answer, World, rows};
use crate::support::config;
use serde_json::{Value, json};

const BASE: &str = "/services/async/62.0";

fn create(world: &mut World, operation: &str, content_type: &str, key: Option<&str>) -> String {
    let body = json!({
        "operation": operation, "object": "Account", "contentType": content_type, "externalIdFieldName": key,
        "concurrencyMode": 0,
    });
    let answer = world.json("POST", &format!("{BASE}/job"), body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.json()["state"], "Open");
    format!("{BASE}/job/{}", answer.json()["id"].as_str().unwrap())
}

fn add(world: &mut World, job: &str, content_type: &str, body: &str) -> (String, Answer) {
    let answer = world.call("POST", &format!("{job}/batch"), content_type, body.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.body);
    let id = match answer.json()["id"].as_str() {
        Some(id) => id.to_owned(),
        None => answer.body.split("<id>").nth(1).unwrap().split('<').next().unwrap().to_owned(),
    };
    (format!("{job}/batch/{id}"), answer)
}

#[test]
fn json_batches_give_their_results_in_the_order_of_their_records() {
    let mut world = World::new();
    let job = create(&mut world, "upsert", "JSON", Some("Code__c"));
    let records: Vec<Value> =
        (0..450).map(|n| json!({ "Code__c": format!("k{n}"), "Name": if n % 100 == 7 { "" } else { "N" } })).collect();
    let (batch, added) = add(&mut world, &job, "application/json", &json!(records).to_string());
    assert_eq!(added.json()["state"], "Queued");
    assert_eq!(world.get(&format!("{batch}/result")).json()["exceptionCode"], "InvalidBatch");
    world.work();
    let info = world.get(&batch).json();
    assert_eq!(
        (&info["state"], &info["numberRecordsProcessed"], &info["numberRecordsFailed"]),
        (&json!("Completed"), &json!(450), &json!(5))
    );
    let results = world.get(&format!("{batch}/result")).json();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 450);
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result["success"], n % 100 != 7, "{n}");
    }
    assert_eq!(results[7]["errors"][0]["statusCode"], "REQUIRED_FIELD_MISSING");
    assert_eq!(world.get(&format!("{batch}/request")).json().as_array().unwrap().len(), 450);
    let info = world.json("POST", &job, json!({ "state": "Closed" })).json();
    assert_eq!((&info["state"], &info["numberBatchesCompleted"]), (&json!("Closed"), &json!(1)));
    let refused = world.call("POST", &format!("{job}/batch"), "application/json", b"[]");
    assert_eq!(refused.json()["exceptionCode"], "InvalidJobState");
    assert_eq!(world.get("jobs/ingest?jobType=Classic").json()["records"][0]["state"], "Closed");
}

#[test]
fn csv_and_xml_batches_are_answered_in_xml_and_in_their_own_form() {
    let mut world = World::new();
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><jobInfo xmlns=\"http://www.force.com/2009/06/asyncapi/dataload\">\
                <operation>insert</operation><object>Account</object><concurrencyMode>Serial</concurrencyMode>\
                <contentType>CSV</contentType></jobInfo>";
    let answer = world.call("POST", &format!("{BASE}/job"), "application/xml; charset=utf-8", body.as_bytes());
    assert_eq!(answer.status, 201);
    assert!(answer.body.contains("<state>Open</state>") && answer.body.contains("<concurrencyMode>Serial<"));
    let id = answer.body.split("<id>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let job = format!("{BASE}/job/{id}");
    let (batch, _) = add(&mut world, &job, "text/csv", "Name,Code__c\r\nA,a\r\n,b\r\n");
    let (bad, _) = add(&mut world, &job, "text/csv", "Nope\n1\n");
    world.work();
    let result = world.call("GET", &format!("{batch}/result"), "text/plain", b"");
    assert!(result.body.starts_with("\"Id\",\"Success\",\"Created\",\"Error\"\n"));
    let lines = rows(&result.body);
    assert_eq!((lines[0][1].as_str(), lines[0][2].as_str(), lines[1][1].as_str()), ("true", "true", "false"));
    assert_eq!(lines[1][3], "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --");
    let info = world.call("GET", &bad, "text/plain", b"").body;
    assert!(info.contains("<stateMessage>InvalidBatch : Field name not found : Nope</stateMessage>"), "{info}");
    let list = world.call("GET", &format!("{job}/batch"), "text/plain", b"").body;
    assert_eq!(list.matches("<batchInfo>").count(), 2);
    let job = create(&mut world, "insert", "XML", None);
    let xml = "<sObjects xmlns=\"x\"><sObject><Name>A &amp; B</Name></sObject><sObject/></sObjects>";
    let (batch, _) = add(&mut world, &job, "application/xml", xml);
    world.work();
    let result = world.call("GET", &format!("{batch}/result"), "application/xml", b"").body;
    assert!(result.starts_with("<?xml") && result.ends_with("</results>"), "{result}");
    assert_eq!((result.matches("<success>true").count(), result.matches("<success>false").count()), (1, 1));
    assert_eq!(world.org.records("Account")[1]["Name"], "A & B");
}

#[test]
fn queries_are_batches_with_results_of_their_own() {
    let mut world = World::new();
    world.ingest(json!({ "operation": "insert", "object": "Account" }), "Name,Code__c\nA,a\nB,b\n");
    for (content_type, count) in [("JSON", 2), ("CSV", 2), ("XML", 2)] {
        let job = create(&mut world, "query", content_type, None);
        let (batch, _) = add(&mut world, &job, "text/csv", "SELECT Id, Name, Owner.Name FROM Account ORDER BY Name");
        world.work();
        let list = world.call("GET", &format!("{batch}/result"), "text/plain", b"").body;
        let id = match content_type {
            "JSON" => serde_json::from_str::<Vec<String>>(&list).unwrap()[0].clone(),
            _ => list.split("<result>").nth(1).unwrap().split('<').next().unwrap().to_owned(),
        };
        let body = world.call("GET", &format!("{batch}/result/{id}"), "text/plain", b"").body;
        let found = match content_type {
            "JSON" => {
                let records: Vec<Value> = serde_json::from_str(&body).unwrap();
                assert_eq!(records[1]["Owner"]["Name"], "Integration");
                assert_eq!(records[0]["attributes"]["type"], "Account");
                records.len()
            }
            "CSV" => rows(&body).len(),
            _ => body.matches("<records xsi:type=\"sObject\">").count(),
        };
        assert_eq!(found, count, "{body}");
    }
    let job = create(&mut world, "query", "JSON", None);
    let (batch, _) = add(&mut world, &job, "application/json", "SELECT Nope FROM Account");
    world.work();
    let info = world.get(&batch).json();
    assert_eq!(info["state"], "Failed");
    assert!(
        info["stateMessage"].as_str().unwrap().starts_with("InvalidBatch : Failed to process query: INVALID_FIELD:")
    );
}

#[test]
fn abort_leaves_queued_batches_unprocessed_and_limits_are_shared() {
    let mut config = config();
    config.bulk.daily_batches_max = 3;
    let mut world = World::with(config);
    let job = create(&mut world, "insert", "JSON", None);
    let (one, _) = add(&mut world, &job, "application/json", r#"[{"Name":"A"}]"#);
    world.work();
    let (two, _) = add(&mut world, &job, "application/json", r#"[{"Name":"B"}]"#);
    let aborted = world.json("POST", &job, json!({ "state": "Aborted" })).json();
    assert_eq!(aborted["state"], "Aborted");
    world.work();
    assert_eq!(world.get(&one).json()["state"], "Completed");
    assert_eq!(world.get(&two).json()["state"], "NotProcessed");
    assert_eq!(world.org.records("Account").len(), 1);
    world.ingest(json!({ "operation": "insert", "object": "Account" }), "Name\nC\n");
    assert_eq!(world.get("limits").json()["DailyBulkApiBatches"]["Remaining"], 0);
    let job = create(&mut world, "insert", "JSON", None);
    let refused = world.call("POST", &format!("{job}/batch"), "application/json", b"[]");
    assert_eq!((refused.status, refused.json()["exceptionCode"].clone()), (400, json!("ExceededQuota")));
    world.org.reset(world.now_ms).unwrap();
    assert_eq!(world.get(&job).json()["exceptionCode"], "InvalidJob");
}

#[test]
fn errors_have_the_form_of_this_api() {
    let mut world = World::new();
    let job = json!({ "operation": "insert", "object": "Nope", "contentType": "CSV" });
    let answer = world.json("POST", &format!("{BASE}/job"), job);
    assert_eq!((answer.status, answer.json()["exceptionCode"].clone()), (400, json!("InvalidJob")));
    let answer = world.call("GET", &format!("{BASE}/job/750000000000000AAA"), "application/xml", b"");
    assert!(answer.body.contains("<exceptionCode>InvalidJob</exceptionCode>"), "{}", answer.body);
    let answer = world.call("GET", &format!("{BASE}/nothing"), "application/json", b"");
    assert_eq!(answer.json()["exceptionCode"], "InvalidUrl");
    // Eleven thousand rows are too many for one batch.
    let job = create(&mut world, "insert", "CSV", None);
    let (batch, _) = add(&mut world, &job, "text/csv", &format!("Name\n{}", "N\n".repeat(10_001)));
    let (full, _) = add(&mut world, &job, "text/csv", &format!("Name\n{}", "N\n".repeat(10_000)));
    world.work();
    assert_eq!(world.get(&batch).json()["state"], "Failed");
    assert_eq!(world.get(&full).json()["numberRecordsProcessed"], 10_000);
}
