//! Bulk API 2.0 ingest.

use crate::bulk_support::{START, World, insert, rows, upsert};
use crate::support::{config, org};
use org_sim::Work;
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn job_goes_through_its_states_and_tells_what_it_did() {
    let mut world = World::new();
    let answer = world.json("POST", "jobs/ingest", upsert());
    let created = answer.json();
    assert_eq!((answer.status, &created["state"], &created["apiVersion"]), (200, &json!("Open"), &json!(62.0)));
    let id = created["id"].as_str().unwrap();
    assert!(id.starts_with("750"));
    assert_eq!(created["contentUrl"], format!("services/data/v62.0/jobs/ingest/{id}/batches"));
    assert_eq!(
        (&created["lineEnding"], &created["columnDelimiter"], &created["concurrencyMode"]),
        (&json!("LF"), &json!("COMMA"), &json!("Parallel"))
    );
    let job = format!("jobs/ingest/{id}");
    let put = world.upload(&job, "Code__c,Name\na,A\nb,\nc,C\n");
    assert_eq!((put.status, put.body.as_str()), (201, ""));
    let closed = world.set(&job, "UploadComplete").json();
    assert_eq!((&closed["state"], closed.get("contentUrl")), (&json!("UploadComplete"), None));
    // Nothing is done inside a request.
    assert_eq!(world.state(&job), "UploadComplete");
    assert_eq!(world.org.work(world.now_ms), Work::Now);
    assert_eq!(world.state(&job), "InProgress");
    assert_eq!(world.org.records("Account").len(), 0);
    assert_eq!(world.work(), Work::Nothing);
    let info = world.get(&job).json();
    assert_eq!(
        (&info["state"], &info["numberRecordsProcessed"], &info["numberRecordsFailed"], &info["jobType"]),
        (&json!("JobComplete"), &json!(3), &json!(1), &json!("V2Ingest"))
    );
    for name in ["retries", "totalProcessingTime", "apiActiveProcessingTime", "apexProcessingTime"] {
        assert!(info[name].is_number(), "{name}");
    }
    let [done, failed, unprocessed] = world.files(&job);
    assert_eq!((done.len(), failed.len(), unprocessed.len()), (2, 1, 0));
    assert_eq!(failed[0], ["", "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --", "b", ""]);
    assert_eq!(world.org.changes(0, 10)[0].api, "bulk");
    let head = world.get(&format!("{job}/successfulResults")).body;
    assert!(head.starts_with("\"sf__Id\",\"sf__Created\",\"Code__c\",\"Name\"\n\"001"), "{head}");
}

#[test]
fn every_operation_does_what_it_says() {
    let mut world = World::new();
    let job = world.ingest(insert("Account"), "Code__c,Name,Phone\na,A,1\nb,B,2\nc,C,3\nd,D,4\n");
    let [done, ..] = world.files(&job);
    let id = |code: &str| done.iter().find(|row| row[2] == code).unwrap()[0].clone();
    let update = json!({ "operation": "update", "object": "Account" });
    // Empty leaves a value, #N/A clears it.
    let job = world.ingest(update, &format!("Id,Name,Phone\n{},AA,\n{},,#N/A\nx,X,1\n,Y,1\n", id("a"), id("b")));
    let [updated, failed, _] = world.files(&job);
    assert!(updated.iter().all(|row| row[1] == "false") && updated.len() == 2);
    let mut codes: Vec<&str> = failed.iter().map(|row| row[1].split(':').next().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["MALFORMED_ID", "MISSING_ARGUMENT"]);
    let records = world.org.records("Account");
    assert_eq!((&records[0]["Name"], &records[0]["Phone"]), (&json!("AA"), &json!("1")));
    assert_eq!((&records[1]["Name"], records[1].get("Phone")), (&json!("B"), None));
    let job = world.ingest(upsert(), "Code__c,Name\na,AAA\nnew,N\nnew,M\n");
    let [done, failed, _] = world.files(&job);
    let mut created: Vec<&str> = done.iter().map(|row| row[1].as_str()).collect();
    created.sort_unstable();
    assert_eq!(created, ["false", "true"]);
    assert!(failed[0][1].starts_with("DUPLICATE_VALUE:Duplicate external id specified: new:"), "{:?}", failed);
    let by_id = json!({ "operation": "upsert", "object": "Account", "externalIdFieldName": "Id" });
    world.ingest(by_id, &format!("Id,Name\n{},four\n,five\n", id("d")));
    assert_eq!(world.org.records("Account").len(), 6);
    for (operation, code) in [("delete", "a"), ("hardDelete", "b")] {
        let job = json!({ "operation": operation, "object": "Account" });
        let job = world.ingest(job, &format!("Id\n{}\n", id(code)));
        assert_eq!(world.files(&job)[0].len(), 1, "{operation}");
    }
    let all = world.get("queryAll?q=SELECT+Code__c,IsDeleted+FROM+Account+WHERE+IsDeleted+=+true").json();
    assert_eq!((all["totalSize"].clone(), all["records"][0]["Code__c"].clone()), (json!(1), json!("a")));
    let job = world.ingest(json!({ "operation": "delete", "object": "Account" }), &format!("Id\n{}\n", id("a")));
    assert!(world.files(&job)[1][0][1].starts_with("ENTITY_IS_DELETED:"));
}

#[test]
fn parent_is_named_by_its_key_and_by_its_type_where_there_are_several() {
    let mut world = World::new();
    world.ingest(insert("Account"), "Code__c,Name\np,P\n");
    let order = json!({ "operation": "upsert", "object": "Order__c", "externalIdFieldName": "Key__c" });
    let job = world.ingest(order.clone(), "Key__c,Total__c,Account__r.Code__c,Paid__c\n1,1.50,p,no\n2,1,q,1\n");
    let [done, failed, _] = world.files(&job);
    assert_eq!((done.len(), failed.len()), (1, 1));
    assert!(failed[0][1].contains("Foreign key external ID: q not found"), "{:?}", failed);
    let order_row = world.org.records("Order__c")[0].clone();
    assert_eq!(order_row["Account__c"], world.org.records("Account")[0]["Id"]);
    assert_eq!(order_row["Paid__c"], false);
    world.ingest(order.clone(), "Key__c,Account__r.Code__c\n1,#N/A\n");
    assert_eq!(world.org.records("Order__c")[0].get("Account__c"), None);
    let job = world.ingest(order, "Key__c,Account:Account__r.Code__c\n1,p\n");
    let info = world.get(&job).json();
    assert_eq!(info["errorMessage"], "InvalidBatch : Field name not found : Account:Account__r.Code__c");
    assert_eq!(info["state"], "Failed");
    let task = insert("Case");
    let job = world.ingest(task, "Subject,Account.Code__c\ns,p\n");
    assert_eq!(world.files(&job)[0].len(), 1);
}

#[test]
fn one_upload_and_no_more_and_wrong_calls_are_refused_with_their_codes() {
    let mut world = World::new();
    let job = world.create(upsert());
    assert_eq!(world.upload(&job, "Code__c,Name\na,A\n").status, 201);
    let again = world.upload(&job, "Code__c,Name\nb,B\n");
    assert_eq!((again.status, again.code().as_str()), (400, "BULK_API_ERROR"));
    assert!(again.body.contains("Found multiple contents for job: <750"));
    let early = world.get(&format!("{job}/successfulResults"));
    assert_eq!((early.status, early.code().as_str()), (400, "INVALIDJOBSTATE"));
    assert_eq!(world.json("DELETE", &job, Value::Null).code(), "INVALIDJOBSTATE");
    world.set(&job, "UploadComplete");
    assert_eq!(world.upload(&job, "Code__c\n").code(), "INVALIDJOBSTATE");
    world.work();
    for (state, message) in [("Aborted", "Aborting"), ("UploadComplete", "Closing")] {
        let refused = world.set(&job, state);
        assert_eq!((refused.status, refused.code().as_str()), (400, "INVALIDJOBSTATE"));
        assert_eq!(refused.json()[0]["message"], format!("{message} already Completed Job not allowed"));
    }
    world.version = 61;
    for path in [format!("{job}/successfulResults"), format!("{job}/failedResults")] {
        assert_eq!(world.get(&path).status, 409);
    }
    assert_eq!(world.set(&job, "Aborted").status, 409);
    world.version = 62;
    assert_eq!(world.json("DELETE", &job, Value::Null).status, 204);
    let gone = world.get(&job);
    assert_eq!((gone.status, gone.code().as_str()), (404, "NOT_FOUND"));
    for (body, code) in [
        (json!({ "operation": "insert", "object": "Nope" }), "INVALIDENTITY"),
        (json!({ "operation": "insert" }), "INVALIDJOB"),
        (json!({ "operation": "upsert", "object": "Account" }), "INVALIDJOB"),
        (json!({ "operation": "upsert", "object": "Account", "externalIdFieldName": "Phone" }), "INVALIDJOB"),
        (json!({ "operation": "explode", "object": "Account" }), "INVALIDJOB"),
        (json!({ "operation": "insert", "object": "Account", "contentType": "JSON" }), "INVALIDJOB"),
        (json!({ "operation": "insert", "object": "Account", "columnDelimiter": "DOT" }), "JSON_PARSER_ERROR"),
    ] {
        let refused = world.json("POST", "jobs/ingest", body.clone());
        assert_eq!((refused.status, refused.code().as_str()), (400, code), "{body}");
    }
    assert_eq!(world.json("PUT", "jobs/ingest", json!({})).status, 405);
    assert_eq!(world.get("jobs/other").status, 404);
}

#[test]
fn file_that_does_not_fit_the_job_fails_it_before_any_row() {
    for (text, message) in [
        (
            "Code__c,Name\r\na,A\r\n",
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF",
        ),
        ("Code__c,Name,Nope__c\na,A,x\n", "InvalidBatch : Field name not found : Nope__c"),
        ("Name\nA\n", "InvalidBatch : Field name not found : Code__c"),
        ("Code__c,code__C\na,A\n", "InvalidBatch : Field name is duplicated : code__C"),
    ] {
        let mut world = World::new();
        let job = world.ingest(upsert(), text);
        let info = world.get(&job).json();
        assert_eq!((&info["state"], &info["errorMessage"]), (&json!("Failed"), &json!(message)));
        let [done, failed, unprocessed] = world.files(&job);
        assert_eq!((done.len(), failed.len(), unprocessed.len()), (0, 0, 1), "{text}");
        assert_eq!(world.org.records("Account").len(), 0);
    }
    let mut world = World::new();
    // A line that ends otherwise behind two hundred good ones: none of these is applied either.
    let mut text: String = (0..1000).map(|n| format!("k{n},N\n")).collect();
    text.push_str("z,Z\r\n");
    let job = world.ingest(upsert(), &format!("Code__c,Name\n{text}"));
    assert_eq!((world.state(&job).as_str(), world.org.records("Account").len()), ("Failed", 0));
    let delete = json!({ "operation": "delete", "object": "Account" });
    let job = world.ingest(delete, "Id,Name\n001,x\n");
    assert!(world.get(&job).json()["errorMessage"].as_str().unwrap().contains("must contain only ids"));
    let crlf = json!({ "operation": "insert", "object": "Account", "lineEnding": "CRLF", "columnDelimiter": "PIPE" });
    let job = world.ingest(crlf, "Name|Code__c\r\n\"a\r\nb|c\"|x\r\n");
    assert_eq!(world.state(&job), "JobComplete");
    assert_eq!(world.org.records("Account")[0]["Name"], "a\r\nb|c");
    assert!(world.get(&format!("{job}/successfulResults")).body.ends_with("\"a\r\nb|c\"|\"x\"\r\n"));
}

#[test]
fn malformed_rows_fail_alone() {
    let mut world = World::new();
    let text = "Code__c,Name\na,A\nb, \"B\"\nc\nd,D,x\ne,\"E\"\n";
    let job = world.ingest(upsert(), text);
    let [done, failed, unprocessed] = world.files(&job);
    assert_eq!((done.len(), failed.len(), unprocessed.len()), (2, 3, 0));
    assert!(failed.iter().all(|row| row[1].starts_with("ClientInputError:Failed to parse CSV.")), "{failed:?}");
    assert_eq!(world.state(&job), "JobComplete");
}

#[test]
fn aborted_job_keeps_what_was_applied_and_shows_the_rest_as_unprocessed() {
    let mut world = World::new();
    let job = world.create(upsert());
    let text: String = (0..2000).map(|n| format!("k{n},N{n}\n")).collect();
    world.upload(&job, &format!("Code__c,Name\n{text}"));
    world.set(&job, "UploadComplete");
    while world.org.records("Account").len() < 600 {
        assert_eq!(world.org.work(world.now_ms), Work::Now);
    }
    assert_eq!(world.set(&job, "Aborted").json()["state"], "Aborted");
    assert_eq!(world.work(), Work::Nothing);
    let [done, failed, unprocessed] = world.files(&job);
    assert_eq!((done.len(), failed.len(), unprocessed.len()), (600, 0, 1400));
    let mut keys: Vec<String> =
        done.iter().map(|row| row[2].clone()).chain(unprocessed.iter().map(|row| row[0].clone())).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 2000);
    assert_eq!(world.set(&job, "Aborted").json()[0]["message"], "Aborting already Aborted Job not allowed");
    let open = world.create(upsert());
    world.upload(&open, "Code__c,Name\na,A\n");
    world.set(&open, "Aborted");
    assert_eq!(world.files(&open)[2], [["a", "A"]]);
}

#[test]
fn results_have_an_order_of_their_own() {
    let mut world = World::new();
    let text: String = (0..1000).map(|n| format!("k{n},N\n")).collect();
    let job = world.ingest(upsert(), &format!("Code__c,Name\n{text}"));
    let [done, ..] = world.files(&job);
    let order: Vec<&str> = done.iter().map(|row| row[2].as_str()).collect();
    let sent: Vec<String> = (0..1000).map(|n| format!("k{n}")).collect();
    assert_ne!(order, sent);
    let mut sorted: Vec<String> = order.iter().map(|key| (*key).to_owned()).collect();
    sorted.sort_by_key(|key| key[1..].parse::<u32>().unwrap());
    assert_eq!(sorted, sent);
}

#[test]
fn job_is_created_with_its_rows_in_one_request() {
    let mut world = World::new();
    let body = "--B\r\nContent-Type: application/json\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n\
                {\"object\":\"Account\",\"contentType\":\"CSV\",\"operation\":\"insert\"}\r\n--B\r\nContent-Type: text/csv\r\n\
                Content-Disposition: form-data; name=\"content\"; filename=\"content\"\r\n\r\nName,Code__c\nA,a\n\r\n--B--\r\n";
    let answer = world.call("POST", "jobs/ingest", "multipart/form-data; boundary=B", body.as_bytes());
    assert_eq!((answer.status, answer.json()["state"].clone()), (200, json!("UploadComplete")));
    world.work();
    assert_eq!(world.org.records("Account").len(), 1);
    let answer = world.call("POST", "jobs/ingest", "multipart/form-data; boundary=B", b"--B\r\n\r\nx--B--");
    assert_eq!(answer.code(), "INVALIDJOB");
}

#[test]
fn jobs_are_listed_in_pages_with_filters() {
    let mut world = World::new();
    for _ in 0..1001 {
        world.create(upsert());
    }
    world.create(json!({ "operation": "query", "query": "SELECT Id FROM Account" }));
    let first = world.get("jobs/ingest?jobType=V2Ingest").json();
    assert_eq!((first["records"].as_array().unwrap().len(), &first["done"]), (1000, &json!(false)));
    let next = first["nextRecordsUrl"].as_str().unwrap().to_owned();
    let second = world.get(&next).json();
    assert_eq!((second["records"].as_array().unwrap().len(), &second["done"]), (1, &json!(true)));
    assert_eq!(world.get("jobs/query").json()["records"][0]["jobType"], "V2Query");
    assert_eq!(world.get("jobs/ingest?jobType=Classic").json()["records"], json!([]));
    assert_eq!(world.get("jobs/ingest?isPkChunkingEnabled=true").json()["records"], json!([]));
}

#[test]
fn open_job_ends_after_a_day_and_every_job_is_gone_after_a_week() {
    let mut world = World::new();
    let open = world.create(upsert());
    world.upload(&open, "Code__c,Name\na,A\n");
    let complete = world.ingest(upsert(), "Code__c,Name\nb,B\n");
    world.now_ms = START + 24 * HOUR_MS;
    assert_eq!(world.state(&open), "Failed");
    assert_eq!(world.files(&open)[2].len(), 1);
    world.now_ms = START + 7 * 24 * HOUR_MS - 1;
    assert_eq!(world.get(&complete).status, 200);
    world.now_ms = START + 7 * 24 * HOUR_MS + 60_000;
    assert_eq!(world.get(&complete).status, 404);
    assert_eq!(world.get(&open).status, 200);
    world.now_ms += 24 * HOUR_MS;
    assert_eq!(world.get(&open).status, 404);
}

#[test]
fn batches_of_the_day_are_counted_and_run_out() {
    let mut config = config();
    config.bulk.daily_batches_max = 3;
    let mut world = World::with(config);
    let left = |world: &mut World| world.get("limits").json()["DailyBulkApiBatches"]["Remaining"].clone();
    world.ingest(upsert(), "Code__c,Name\na,A\n");
    assert_eq!(left(&mut world), 2);
    let text: String = (0..25_000).map(|n| format!("k{n},N\n")).collect();
    let job = world.ingest(upsert(), &format!("Code__c,Name\n{text}"));
    let info = world.get(&job).json();
    assert_eq!(
        (&info["state"], &info["errorMessage"]),
        (&json!("Failed"), &json!("ExceededQuota : ApiBatchItems Limit exceeded."))
    );
    // Rows beyond the batches of the day are in no file.
    let [done, failed, unprocessed] = world.files(&job);
    assert!(done.len() > 18_000 && failed.is_empty());
    assert_eq!(done.len() + unprocessed.len(), 20_000);
    assert_eq!(left(&mut world), 0);
    world.version = 48;
    let old = world.get("limits").json();
    assert_eq!((&old["DailyBulkApiRequests"]["Remaining"], old.get("DailyBulkApiBatches")), (&json!(0), None));
    world.version = 62;
    let refused = world.json("POST", "jobs/ingest", upsert());
    assert_eq!((refused.status, refused.code().as_str()), (400, "EXCEEDEDQUOTA"));
    world.now_ms += 25 * HOUR_MS;
    world.create(upsert());
    assert_eq!(left(&mut world), 3);
}

#[tokio::test]
async fn served_org_works_on_jobs_and_takes_compressed_uploads() {
    use std::io::Write as _;
    let (org, client) = org().await;
    let (status, job) = client.send("POST", "jobs/ingest", upsert()).await;
    assert_eq!(status, 200, "{job}");
    let path = format!("jobs/ingest/{}", job["id"].as_str().unwrap());
    let text: String = (0..5000).map(|n| format!("k{n},N{n}\n")).collect();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(format!("Code__c,Name\n{text}").as_bytes()).unwrap();
    let put = client.call("PUT", job["contentUrl"].as_str().map(|url| format!("/{url}")).unwrap().as_str());
    let put = put.header("content-type", "text/csv").header("content-encoding", "gzip");
    assert_eq!(put.body(encoder.finish().unwrap()).send().await.unwrap().status(), 201);
    let (_, closed) = client.send("PATCH", &path, json!({ "state": "UploadComplete" })).await;
    assert_eq!(closed["state"], "UploadComplete");
    while client.get(&path).await.1["state"] != "JobComplete" {
        tokio::task::yield_now().await;
    }
    assert_eq!(org.count("Account"), 5000);
    let answer = client.call("GET", &format!("{path}/successfulResults")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/csv");
    assert_eq!(rows(&answer.text().await.unwrap()).len(), 5000);
    org.stop().await;
}
