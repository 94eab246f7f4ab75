//! Describe, queries, single records, limits, and the protocol around them.

use crate::support::{config, org, org_with, read};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write as _;

#[tokio::test]
async fn versions_need_no_session_and_carry_no_usage_but_calls_do() {
    let (org, client) = org().await;
    let answer = client.http.get(format!("{}/services/data", org.url())).send().await.unwrap();
    assert!(answer.headers().get("sforce-limit-info").is_none());
    let versions: Value = answer.json().await.unwrap();
    let v59 = versions.as_array().unwrap().iter().find(|v| v["version"] == "59.0").unwrap();
    assert_eq!(v59, &json!({ "label": "Winter '24", "url": "/services/data/v59.0", "version": "59.0" }));
    assert_eq!(org.daily_requests_used(), 0);
    let answer = client.call("GET", "limits").send().await.unwrap();
    assert_eq!(answer.headers()["sforce-limit-info"], "api-usage=1/110000");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        body["DailyApiRequests"],
        json!({ "Max": 110_000, "Remaining": 109_999, "penstock": { "Max": 0, "Remaining": 0 } })
    );
    assert_eq!(body["DailyBulkV2QueryJobs"]["Max"], 10_000);
    for (path, status) in [("/services/data/v20.0/limits", 410), ("/services/data/v99.0/limits", 404), ("nothing", 404)]
    {
        assert_eq!(client.get(path).await.0, status, "{path}");
    }
    assert_eq!(client.send("POST", "limits", json!({})).await.0, 405);
    org.stop().await;
}

#[tokio::test]
async fn spent_quota_refuses_with_403_and_lets_not_one_call_through() {
    let mut config = config();
    config.daily_api_requests_max = Some(3);
    let (org, client) = org_with(config).await;
    for _ in 0..3 {
        assert_eq!(client.get("limits").await.0, 200);
    }
    let (status, body) = client.get("limits").await;
    assert_eq!(
        (status, body),
        (403, json!([{ "message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED" }]))
    );
    org.advance_ms(86_400_000 + 60_000);
    let client = crate::support::Client::log_in(&org).await;
    assert_eq!(client.get("limits").await.0, 200);
    org.stop().await;
}

#[tokio::test]
async fn describe_tells_fields_and_answers_304_until_a_field_is_added() {
    let (org, client) = org().await;
    let answer = client.call("GET", "sobjects/account/describe").send().await.unwrap();
    let modified = answer.headers()["last-modified"].clone();
    let body: Value = answer.json().await.unwrap();
    let field = |body: &Value, name: &str| {
        body["fields"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap().clone()
    };
    let code = field(&body, "Code__c");
    for (property, value) in [
        ("type", json!("string")),
        ("length", json!(20)),
        ("externalId", json!(true)),
        ("idLookup", json!(true)),
        ("unique", json!(true)),
        ("caseSensitive", json!(false)),
        ("nillable", json!(true)),
        ("createable", json!(true)),
    ] {
        assert_eq!(code[property], value, "{property}");
    }
    assert_eq!(field(&body, "ParentId")["referenceTo"], json!(["Account"]));
    assert_eq!(field(&body, "ParentId")["relationshipName"], "Parent");
    assert_eq!(field(&body, "Level__c")["picklistValues"][1]["value"], "Silver");
    assert_eq!(field(&body, "Name")["nillable"], false);
    assert_eq!(field(&body, "CreatedDate")["createable"], false);
    // Typed clients want every key, also of what this org has not got.
    for (key, value) in [("calculated", json!(false)), ("inlineHelpText", Value::Null), ("aggregatable", json!(true))] {
        assert_eq!(field(&body, "Code__c").as_object().unwrap().get(key), Some(&value), "{key}");
    }
    for (key, value) in [("mergeable", json!(true)), ("searchLayoutable", Value::Null), ("hasSubtypes", json!(false))] {
        assert_eq!(body.as_object().unwrap().get(key), Some(&value), "{key}");
    }
    let again = || client.call("GET", "sobjects/Account/describe").header("if-modified-since", modified.clone()).send();
    assert_eq!(again().await.unwrap().status(), 304);
    org.advance_ms(5000);
    let (status, _) = client
        .send(
            "POST",
            "/_sim/objects",
            json!({ "objects": { "Account": { "fields": { "New__c": { "type": "text" } } } } }),
        )
        .await;
    assert_eq!(status, 200);
    let answer = again().await.unwrap();
    assert_eq!(answer.status(), 200);
    field(&answer.json().await.unwrap(), "New__c");
    let (_, global) = client.get("sobjects").await;
    assert!(global["sobjects"].as_array().unwrap().iter().any(|o| o["name"] == "Order__c" && o["keyPrefix"] == "a00"));
    assert_eq!(client.get("sobjects/Nothing/describe").await.0, 404);
    org.stop().await;
}

#[tokio::test]
async fn single_upsert_follows_the_version_split_and_update_only() {
    let (org, client) = org().await;
    let path = |version: u32, key: &str| format!("/services/data/v{version}.0/sobjects/Account/Code__c/{key}");
    let body = json!({ "Name": "n" });
    let (status, answer) = client.send("PATCH", &path(62, "a%20b%2Fc"), body.clone()).await;
    assert_eq!((status, answer["created"].clone()), (201, json!(true)));
    assert_eq!(org.records("Account")[0]["Code__c"], "a b/c");
    let (status, answer) = client.send("PATCH", &path(46, "A%20b%2Fc"), body.clone()).await;
    assert_eq!((status, answer["created"].clone()), (200, json!(false)));
    assert_eq!(client.send("PATCH", &path(45, "a%20b%2Fc"), body.clone()).await, (204, Value::Null));
    let (status, answer) = client.send("PATCH", &path(45, "new"), body.clone()).await;
    assert_eq!((status, answer.get("created")), (201, None));
    assert_eq!(client.send("PATCH", &format!("{}?updateOnly=true", path(62, "third")), body.clone()).await.0, 404);
    assert_eq!(client.send("PATCH", &path(62, "x"), json!({ "Name": "n", "Code__c": "x" })).await.0, 400);
    assert_eq!(client.send("PATCH", "sobjects/Account/Name/x", body.clone()).await.0, 404);
    let id = org.records("Account")[0]["Id"].as_str().unwrap().to_owned();
    let (status, answer) = client.send("PATCH", &format!("sobjects/Account/Id/{id}"), body.clone()).await;
    assert_eq!((status, answer["created"].clone()), (200, json!(false)));
    assert_eq!(client.send("PATCH", "sobjects/Account/Id/001Hs00000zzzzz", body.clone()).await.0, 404);
    assert_eq!(org.count("Account"), 2);
    org.stop().await;
}

#[tokio::test]
async fn several_matches_answer_300_and_write_nothing() {
    let (org, client) = org().await;
    for _ in 0..2 {
        client.create(json!({ "attributes": { "type": "Account" }, "Name": "n", "Loose__c": "same" })).await;
    }
    let before = org.last_seq();
    let (status, body) = client.send("PATCH", "sobjects/Account/Loose__c/same", json!({ "Name": "m" })).await;
    assert_eq!((status, body.as_array().unwrap().len()), (300, 2));
    assert!(body[0].as_str().unwrap().starts_with("/services/data/v62.0/sobjects/Account/001"));
    let results = client.upsert("Account", "Loose__c", vec![json!({ "Loose__c": "same", "Name": "m" })]).await;
    assert_eq!(results[0]["errors"][0]["statusCode"], "DUPLICATE_EXTERNAL_ID");
    assert_eq!(org.last_seq(), before);
    // A case-sensitive key tells the two apart; one that is not does not.
    for (field, created) in [("Exact__c", true), ("Code__c", false)] {
        client.upsert("Account", field, vec![json!({ field: "k", "Name": "m" })]).await;
        let results = client.upsert("Account", field, vec![json!({ field: "K", "Name": "m" })]).await;
        assert_eq!(results[0]["created"], created, "{field}");
    }
    org.stop().await;
}

#[tokio::test]
async fn single_record_life() {
    let (org, client) = org().await;
    let (status, body) = client
        .send("POST", "sobjects/Contact", json!({ "FirstName": "Ann", "LastName": "Lee", "Email": "ann@example.com" }))
        .await;
    assert_eq!(status, 201);
    let path = format!("sobjects/Contact/{}", body["id"].as_str().unwrap());
    let (_, record) = client.get(&format!("{path}?fields=Name,Email,CreatedDate")).await;
    assert_eq!((record["Name"].clone(), record["attributes"]["type"].clone()), (json!("Ann Lee"), json!("Contact")));
    assert!(record["CreatedDate"].as_str().unwrap().ends_with(".000+0000"));
    assert_eq!(
        client.send("PATCH", &path, json!({ "LastName": null })).await.1[0]["errorCode"],
        "REQUIRED_FIELD_MISSING"
    );
    assert_eq!(
        client.send("PATCH", &path, json!({ "Email": "nonsense" })).await.1[0]["errorCode"],
        "INVALID_EMAIL_ADDRESS"
    );
    assert_eq!(client.send("PATCH", &path, json!({ "Phone": "1" })).await, (204, Value::Null));
    assert_eq!(client.send("DELETE", &path, Value::Null).await, (204, Value::Null));
    let (status, body) = client.send("DELETE", &path, Value::Null).await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (404, Some("ENTITY_IS_DELETED")));
    assert_eq!(client.get("sobjects/Contact/003Hs00000zzzzz").await.0, 404);
    let answer = client.call("POST", "sobjects/Contact").body("{\"LastName\": }").send().await.unwrap();
    assert_eq!(read(answer).await.1[0]["errorCode"], "JSON_PARSER_ERROR");
    assert_eq!(client.call("POST", "sobjects/Contact").send().await.unwrap().status(), 400);
    org.stop().await;
}

#[tokio::test]
async fn queries_filter_order_follow_parents_and_count() {
    let (org, client) = org().await;
    let accounts = (0..10).map(|n| json!({ "Code__c": format!("A{n}"), "Name": format!("Name {n}"), "Score__c": n % 3, "Phone": if n == 4 { Value::Null } else { json!("5") } }));
    client.upsert("Account", "Code__c", accounts.collect()).await;
    let orders = (0..5)
        .map(|n| json!({ "Key__c": n, "Total__c": n as f64 + 0.5, "Account__r": { "Code__c": format!("a{n}") } }));
    client.upsert("Order__c", "Key__c", orders.collect()).await;
    for (condition, count) in [
        ("", 10),
        ("WHERE Name = 'name 3'", 1),
        ("WHERE Code__c IN ('A1', 'a2', 'A77')", 2),
        ("WHERE Code__c NOT IN ('A1', 'a2')", 8),
        ("WHERE Name LIKE 'NAME _'", 10),
        ("WHERE Name LIKE '%9' OR Name LIKE '%8'", 2),
        ("WHERE Score__c >= 1 AND Score__c < 2", 3),
        ("WHERE NOT (Score__c = 1 OR Score__c = 2)", 4),
        ("WHERE Phone = null", 1),
        ("WHERE Phone != '6'", 10),
        ("WHERE CreatedDate = TODAY AND CreatedDate > 2020-01-01T00:00:00Z", 10),
        ("WHERE Id = '001Hs00000zzzzz'", 0),
        ("WHERE Owner.Username LIKE 'integration%'", 10),
        ("LIMIT 3 OFFSET 8", 2),
    ] {
        let body = client.query(&format!("SELECT COUNT() FROM Account {condition}")).await;
        assert_eq!(body["totalSize"], count, "{condition}");
    }
    let body = client.query("SELECT Key__c, Account__r.Name, Account__r.Owner.Username FROM Order__c WHERE Account__r.Score__c > 0 ORDER BY Total__c DESC").await;
    let keys: Vec<&Value> = body["records"].as_array().unwrap().iter().map(|record| &record["Key__c"]).collect();
    assert_eq!(keys, [&json!(4), &json!(2), &json!(1)]);
    assert_eq!(body["records"][0]["Account__r"]["Name"], "Name 4");
    assert_eq!(body["records"][0]["Account__r"]["Owner"]["Username"], org.credentials().username);
    let body = client.query("SELECT Name FROM Account ORDER BY Phone NULLS LAST, Name DESC").await;
    assert_eq!(
        (body["records"][0]["Name"].clone(), body["records"][9]["Name"].clone()),
        (json!("Name 9"), json!("Name 4"))
    );
    for (soql, code) in [
        ("SELECT Nothing FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ("SELECT Id FROM Account WHERE Score__c = '1'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Name = 1", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Description = 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FORM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account LIMIT 1 OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
    ] {
        let (status, body) = read(client.call("GET", "query").query(&[("q", soql)]).send().await.unwrap()).await;
        assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some(code)), "{soql}");
    }
    org.stop().await;
}

#[tokio::test]
async fn pages_follow_each_other_and_query_all_sees_the_recycle_bin() {
    let (org, client) = org().await;
    for page in 0..3 {
        let rows = (0..200).map(|n| json!({ "Code__c": format!("{page}-{n}"), "Name": "n" })).collect();
        client.upsert("Account", "Code__c", rows).await;
    }
    let request = client.call("GET", "query").query(&[("q", "SELECT Code__c FROM Account")]);
    let mut body = read(request.header("sforce-query-options", "batchSize=250").send().await.unwrap()).await.1;
    let mut seen = Vec::new();
    loop {
        assert_eq!(body["totalSize"], 600);
        seen.extend(body["records"].as_array().unwrap().iter().map(|record| record["Code__c"].clone()));
        match body.get("nextRecordsUrl") {
            Some(next) => body = client.get(next.as_str().unwrap()).await.1,
            None => break,
        }
    }
    assert_eq!(body["done"], true);
    seen.sort_by_key(|code| code.to_string());
    seen.dedup();
    assert_eq!(seen.len(), 600);
    let (status, body) = client.get("query/01gHs0000000009AAA-2000").await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("INVALID_QUERY_LOCATOR")));
    let id = org.records("Account")[0]["Id"].as_str().unwrap().to_owned();
    client.send("DELETE", &format!("sobjects/Account/{id}"), Value::Null).await;
    assert_eq!(client.query("SELECT COUNT() FROM Account").await["totalSize"], 599);
    let deleted = "SELECT Id, IsDeleted FROM Account WHERE IsDeleted = true";
    assert_eq!(client.query(deleted).await["totalSize"], 0);
    let (_, body) = read(client.call("GET", "queryAll").query(&[("q", deleted)]).send().await.unwrap()).await;
    assert_eq!((body["records"][0]["Id"].as_str(), body["totalSize"].clone()), (Some(id.as_str()), json!(1)));
    org.stop().await;
}

#[tokio::test]
async fn bodies_are_compressed_both_ways_and_long_uris_refused() {
    let (org, client) = org().await;
    let rows: Vec<Value> = (0..100).map(|n| json!({ "Code__c": format!("{n}"), "Name": "n" })).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&serde_json::to_vec(&json!({ "records": rows })).unwrap()).unwrap();
    let body = encoder.finish().unwrap();
    let request =
        client.call("PATCH", "composite/sobjects/Account/Code__c").header("content-encoding", "gzip").body(body);
    let (status, results) = read(request.header("content-type", "application/json").send().await.unwrap()).await;
    assert_eq!((status, results.as_array().unwrap().len()), (200, 100));
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    let request = plain.get(format!("{}/services/data/v62.0/sobjects", org.url())).bearer_auth(&client.token);
    let answer = request.header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let broken = client.call("POST", "sobjects/Account").header("content-encoding", "gzip").body("no gzip");
    assert_eq!(broken.send().await.unwrap().status(), 400);
    let long = format!("query?q={}", "x".repeat(16_384));
    assert_eq!(client.get(&long).await.0, 414);
    let many = client.call("GET", "limits").header("x-long", "y".repeat(16_384)).send().await.unwrap();
    assert_eq!(many.status(), 431);
    org.stop().await;
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_spoken() {
    let (org, client) = org().await;
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let request = http2.get(format!("{}/services/data/v62.0/limits", org.url())).bearer_auth(&client.token);
    let answer = request.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    org.stop().await;
}

#[tokio::test]
async fn control_shows_history_with_client_and_resets() {
    let (org, client) = org().await;
    let request =
        client.call("POST", "sobjects/Account").header("sforce-call-options", "client=mine, defaultNamespace=x");
    request.json(&json!({ "Name": "n" })).send().await.unwrap();
    let (_, page) = client.get("/_sim/history?after=0&limit=10").await;
    let entry = &page["entries"][0];
    assert_eq!(
        (page["last"].clone(), entry["client"].clone(), entry["api"].clone()),
        (json!(1), json!("mine"), json!("single"))
    );
    assert_eq!(entry["changes"]["Name"], json!({ "before": null, "after": "n" }));
    let (_, records) = client.get("/_sim/records/Account").await;
    assert_eq!((records["live"].clone(), records["records"][0]["Name"].clone()), (json!(1), json!("n")));
    assert_eq!(client.send("POST", "/_sim/reset", Value::Null).await.0, 200);
    assert_eq!((org.count("Account"), org.last_seq(), org.count("User")), (0, 0, 1));
    let (status, body) = client.send("POST", "/_sim/faults", json!({ "effect": { "kind": "nonsense" } })).await;
    assert_eq!((status, body["code"].clone()), (400, json!("PS7006")));
    assert_eq!(client.send("POST", "/_sim/sessions/revoke", Value::Null).await.1["revoked"], 1);
    assert_eq!(client.get("limits").await.0, 401);
    org.stop().await;
}

#[tokio::test]
async fn organization_is_one_row_with_the_orgs_own_id_that_nobody_changes() {
    let (org, client) = org().await;
    let body = client.query("SELECT Id, Name, IsSandbox, OrganizationType FROM Organization").await;
    assert_eq!((body["totalSize"].clone(), body["records"][0]["IsSandbox"].clone()), (json!(1), json!(false)));
    assert_eq!(body["records"][0]["OrganizationType"], "Enterprise Edition");
    let id = body["records"][0]["Id"].as_str().unwrap().to_owned();
    assert_eq!(client.get("/services/oauth2/userinfo").await.1["organization_id"], id);
    let path = format!("sobjects/Organization/{id}");
    for (method, path) in [("PATCH", path.as_str()), ("DELETE", path.as_str()), ("POST", "sobjects/Organization")] {
        let (status, body) = client.send(method, path, json!({ "Name": "x" })).await;
        assert_eq!((status, body[0]["errorCode"].as_str()), (403, Some("INSUFFICIENT_ACCESS_OR_READONLY")), "{method}");
    }
    client.send("POST", "/_sim/reset", Value::Null).await;
    assert_eq!(org.count("Organization"), 1);
    assert_eq!(org.last_seq(), 0, "the org's own rows stand in no history");
    org.stop().await;
}
