//! Bulk API 2.0 query.

use crate::bulk_support::{World, insert, rows, upsert};
use crate::support::config;
use serde_json::{Value, json};

fn world(rows: usize) -> World {
    let mut world = World::new();
    let text: String = (0..rows).map(|n| format!("k{n},\"N \"\"{n}\"\"\n\",{n}\n")).collect();
    world.ingest(upsert(), &format!("Code__c,Name,Score__c\n{text}"));
    world
}

fn query(world: &mut World, operation: &str, text: &str) -> String {
    let job = world.create(json!({ "operation": operation, "query": text }));
    world.work();
    job
}

#[test]
fn query_job_goes_through_its_states_and_gives_its_rows_in_pages() {
    let mut world = world(10);
    let job = world.create(
        json!({ "operation": "query", "query": "SELECT Code__c, Name, CreatedDate FROM Account ORDER BY Score__c" }),
    );
    let info = world.get(&job).json();
    assert_eq!(
        (&info["state"], &info["jobType"], &info["object"]),
        (&json!("UploadComplete"), &json!("V2Query"), &json!("Account"))
    );
    let early = world.get(&format!("{job}/results"));
    assert_eq!((early.status, early.code().as_str()), (400, "INVALIDJOBSTATE"));
    world.work();
    let info = world.get(&job).json();
    assert_eq!((&info["state"], &info["numberRecordsProcessed"]), (&json!("JobComplete"), &json!(10)));
    assert_eq!(info["isPkChunkingSupported"], false);
    let mut path = format!("{job}/results?maxRecords=4");
    let mut codes = Vec::new();
    let mut pages = Vec::new();
    loop {
        let answer = world.get(&path);
        assert_eq!(answer.status, 200);
        assert!(answer.body.starts_with("\"Code__c\",\"Name\",\"CreatedDate\"\n"));
        let page = rows(&answer.body);
        assert_eq!(answer.header("sforce-numberofrecords"), page.len().to_string());
        pages.push(page.len());
        codes.extend(page.iter().map(|row| row[0].clone()));
        assert!(page[0][2].ends_with(".000Z") && page[0][1].ends_with("\"\n"), "{page:?}");
        match answer.header("sforce-locator") {
            "null" => break,
            locator => path = format!("{job}/results?maxRecords=4&locator={locator}"),
        }
    }
    assert_eq!(pages, [4, 4, 2]);
    assert_eq!(codes, (0..10).map(|n| format!("k{n}")).collect::<Vec<_>>());
    // A locator can be read again.
    assert_eq!(rows(&world.get(&path).body).len(), 2);
    assert_eq!(world.get(&format!("{job}/results?locator=zzz")).status, 400);
    assert_eq!(world.get(&format!("{job}/results?maxRecords=0")).status, 400);
    world.version = 61;
    assert_eq!(world.get(&format!("{job}/results")).status, 409);
    world.version = 62;
    assert_eq!(world.set(&job, "Aborted").json()[0]["message"], "Aborting already Completed Job not allowed");
    assert_eq!(world.json("DELETE", &job, Value::Null).status, 204);
    assert_eq!(world.get(&job).status, 404);
}

#[test]
fn pages_can_be_fetched_side_by_side_from_their_urls() {
    let mut config = config();
    config.bulk.page_rows = 3;
    let mut world = World::with(config);
    let text: String = (0..20).map(|n| format!("k{n},N\n")).collect();
    world.ingest(upsert(), &format!("Code__c,Name\n{text}"));
    let job = query(&mut world, "query", "SELECT Code__c FROM Account");
    let mut codes = Vec::new();
    let mut path = format!("{job}/resultPages");
    let mut calls = 0;
    loop {
        let pages = world.get(&path).json();
        calls += 1;
        for page in pages["resultPages"].as_array().unwrap() {
            let answer = world.get(page["resultUrl"].as_str().unwrap());
            codes.extend(rows(&answer.body).into_iter().map(|row| row[0].clone()));
        }
        assert!(pages["resultPages"].as_array().unwrap().len() <= 5);
        if pages["done"] == true {
            assert_eq!(pages.get("nextRecordsUrl"), None);
            break;
        }
        path = pages["nextRecordsUrl"].as_str().unwrap().to_owned();
    }
    assert_eq!(calls, 2);
    assert_eq!(codes, (0..20).map(|n| format!("k{n}")).collect::<Vec<_>>());
    world.version = 57;
    assert_eq!(world.get(&format!("{job}/resultPages")).status, 404);
}

#[test]
fn parents_deleted_rows_delimiters_and_an_empty_answer() {
    let mut world = world(3);
    let order = "Key__c,Total__c,Account__r.Code__c\n1,1,k1\n2,2,\n";
    world.ingest(insert("Order__c"), order);
    let job = query(
        &mut world,
        "query",
        "SELECT Key__c, Account__r.Code__c, Total__c, Account__r.Name FROM Order__c ORDER BY Key__c",
    );
    let body = world.get(&format!("{job}/results")).body;
    assert!(body.starts_with("\"Key__c\",\"Account__r.Code__c\",\"Total__c\",\"Account__r.Name\"\n"), "{body}");
    assert_eq!(rows(&body), [["1", "k1", "1", "N \"1\"\n"], ["2", "", "2", ""]]);
    let id = world.org.records("Account")[0]["Id"].as_str().unwrap().to_owned();
    world.ingest(json!({ "operation": "delete", "object": "Account" }), &format!("Id\n{id}\n"));
    for (operation, count) in [("query", 2), ("queryAll", 3)] {
        let job = query(&mut world, operation, "SELECT Id, IsDeleted FROM Account");
        assert_eq!(rows(&world.get(&format!("{job}/results")).body).len(), count);
    }
    let job = world.create(json!({
        "operation": "query", "query": "SELECT Id, Name FROM Account WHERE Name = 'x'",
        "columnDelimiter": "SEMICOLON", "lineEnding": "CRLF", "contentType": "CSV",
    }));
    world.work();
    let answer = world.get(&format!("{job}/results"));
    assert_eq!((answer.body.as_str(), answer.header("sforce-locator")), ("\"Id\";\"Name\"\r\n", "null"));
    assert_eq!(answer.header("sforce-numberofrecords"), "0");
}

#[test]
fn what_bulk_cannot_query_is_refused_when_the_job_is_created() {
    let mut world = world(1);
    for (text, code) in [
        ("SELECT COUNT() FROM Account", "API_ERROR"),
        ("SELECT Name, COUNT(Id) FROM Account GROUP BY Name", "API_ERROR"),
        ("SELECT Id FROM Account LIMIT 1 OFFSET 1", "API_ERROR"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "API_ERROR"),
        ("SELECT Id, BillingAddress FROM Account", "FUNCTIONALITY_NOT_ENABLED"),
        ("SELECT Nope FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT", "MALFORMED_QUERY"),
    ] {
        let refused = world.json("POST", "jobs/query", json!({ "operation": "query", "query": text }));
        assert_eq!((refused.status, refused.code().as_str()), (400, code), "{text}: {}", refused.body);
    }
    let refused = world.json("POST", "jobs/query", json!({ "operation": "query" }));
    assert_eq!(refused.code(), "INVALIDJOB");
    assert_eq!(world.get("limits").json()["DailyBulkV2QueryJobs"]["Remaining"], 10_000);
}

#[test]
fn query_jobs_and_result_bytes_of_the_day_run_out() {
    let mut config = config();
    config.bulk.daily_query_jobs_max = 2;
    config.bulk.daily_query_result_mb_max = 1;
    let mut world = World::with(config);
    world.ingest(insert("Account"), "Name\nA\n");
    let body = json!({ "operation": "query", "query": "SELECT Id FROM Account" });
    query(&mut world, "query", "SELECT Id FROM Account");
    let limits = world.get("limits").json();
    assert_eq!(limits["DailyBulkV2QueryJobs"], json!({ "Max": 2, "Remaining": 1 }));
    assert_eq!(limits["DailyBulkV2QueryFileStorageMB"], json!({ "Max": 1, "Remaining": 0 }));
    query(&mut world, "query", "SELECT Id FROM Account");
    assert_eq!(world.json("POST", "jobs/query", body.clone()).code(), "EXCEEDEDQUOTA");
    world.now_ms += 25 * 3_600_000;
    assert_eq!(world.json("POST", "jobs/query", body.clone()).status, 200);
    world.work();
    let text: String = (0..40_000).map(|n| format!("{n}{}\n", "x".repeat(20))).collect();
    world.now_ms += 25 * 3_600_000;
    world.ingest(insert("Account"), &format!("Name\n{text}"));
    query(&mut world, "query", "SELECT Id, Name FROM Account");
    assert!(world.json("POST", "jobs/query", body).body.contains("BulkV2QueryFileStorage Limit exceeded."));
}
