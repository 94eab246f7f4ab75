//! Several calls in one.

use crate::support::{config, org, org_with};
use org_sim::{Api, Effect, FaultMatch, FaultRule};
use serde_json::{Value, json};

const V: &str = "/services/data/v62.0";

fn part(method: &str, path: &str, reference: &str, body: Value) -> Value {
    json!({ "method": method, "url": format!("{V}/{path}"), "referenceId": reference, "body": body })
}

#[tokio::test]
async fn later_subrequests_use_what_earlier_ones_answered() {
    let (org, client) = org().await;
    let body = json!({ "compositeRequest": [
        part("POST", "sobjects/Account", "acc", json!({ "Name": "A & B", "Code__c": "c1" })),
        part("GET", "sobjects/Account/@{acc.id}?fields=Name,Code__c", "read", Value::Null),
        part("POST", "sobjects/Contact", "con", json!({ "LastName": "of @{read.Name}", "AccountId": "@{acc.id}" })),
        part("GET", "query?q=SELECT Name FROM Account WHERE Name = '@{read.Name}'", "rows", Value::Null),
        part("PATCH", "sobjects/Account/Code__c/@{rows.records[0].attributes.type}", "up", json!({ "Name": "n" })),
        part("DELETE", "sobjects/Contact/@{con.id}", "gone", Value::Null),
    ] });
    let (status, answer) = client.send("POST", "composite", body).await;
    let parts = answer["compositeResponse"].as_array().unwrap();
    let statuses: Vec<i64> = parts.iter().map(|part| part["httpStatusCode"].as_i64().unwrap()).collect();
    assert_eq!((status, statuses), (200, vec![201, 200, 201, 200, 201, 204]), "{answer}");
    let id = parts[0]["body"]["id"].as_str().unwrap();
    assert_eq!(parts[0]["httpHeaders"]["Location"], format!("{V}/sobjects/Account/{id}"));
    assert_eq!((parts[0]["referenceId"].as_str(), &parts[5]["body"]), (Some("acc"), &Value::Null));
    assert_eq!(parts[3]["body"]["records"][0]["Name"], "A & B");
    assert_eq!(org.records("Account")[1]["Code__c"], "Account");
    let history = org.history();
    assert_eq!(history[1].after("LastName").unwrap(), "of A & B");
    assert!(history.iter().all(|entry| entry.api == "single" && entry.request == history[0].request));
    assert_eq!(org.daily_requests_used(), 1, "the whole is one call");
    org.stop().await;
}

#[tokio::test]
async fn failed_part_halts_only_what_refers_to_it_unless_all_or_none() {
    let (org, client) = org().await;
    let parts = || {
        json!([
            part("POST", "sobjects/Account", "a", json!({ "Name": "kept" })),
            part("POST", "sobjects/Account", "b", json!({ "Phone": "no name" })),
            part("POST", "sobjects/Contact", "c", json!({ "LastName": "x", "AccountId": "@{b.id}" })),
            part("POST", "sobjects/Account", "d", json!({ "Name": "also kept" })),
        ])
    };
    let (_, answer) = client.send("POST", "composite", json!({ "compositeRequest": parts() })).await;
    let of = |answer: &Value, at: usize| {
        let part = &answer["compositeResponse"][at];
        (part["httpStatusCode"].as_i64().unwrap(), part["body"][0]["errorCode"].as_str().unwrap_or("").to_owned())
    };
    assert_eq!([0, 1, 2, 3].map(|at| of(&answer, at).0), [201, 400, 400, 201]);
    assert_eq!((of(&answer, 1).1, of(&answer, 2).1), ("REQUIRED_FIELD_MISSING".into(), "PROCESSING_HALTED".into()));
    assert_eq!((org.count("Account"), org.count("Contact")), (2, 0));
    let last = org.last_seq();
    let all = json!({ "allOrNone": true, "compositeRequest": parts() });
    let (status, answer) = client.send("POST", "composite", all).await;
    assert_eq!(status, 200);
    assert_eq!([0, 1, 2, 3].map(|at| of(&answer, at).0), [400; 4]);
    assert_eq!((of(&answer, 1).1, of(&answer, 3).1), ("REQUIRED_FIELD_MISSING".into(), "PROCESSING_HALTED".into()));
    assert_eq!((org.count("Account"), org.last_seq()), (2, last), "taken back, and no trace in the history");
    org.stop().await;
}

#[tokio::test]
async fn all_or_none_takes_back_collections_whose_body_still_says_success() {
    let (org, client) = org().await;
    let id = client.create(json!({ "attributes": { "type": "Account" }, "Name": "before" })).await["id"].clone();
    let rows = json!({ "records": [
        { "attributes": { "type": "Account" }, "Name": "one" }, { "attributes": { "type": "Account" } },
    ] });
    let body = json!({ "allOrNone": true, "compositeRequest": [
        part("PATCH", &format!("sobjects/Account/{}", id.as_str().unwrap()), "up", json!({ "Name": "after" })),
        part("POST", "composite/sobjects", "many", rows),
    ] });
    let (_, answer) = client.send("POST", "composite", body).await;
    let many = &answer["compositeResponse"][1];
    assert_eq!((many["httpStatusCode"].clone(), many["body"][0]["success"].clone()), (json!(200), json!(true)));
    assert_eq!(answer["compositeResponse"][0]["body"][0]["errorCode"], "PROCESSING_HALTED");
    let accounts = org.records("Account");
    assert_eq!((accounts.len(), accounts[0]["Name"].clone()), (1, json!("before")));
    org.stop().await;
}

#[tokio::test]
async fn limits_and_forms_of_composites_are_checked() {
    let (org, client) = org().await;
    let many = |count: usize, path: &str| {
        let parts = (0..count).map(|n| part("GET", path, &format!("r{n}"), Value::Null)).collect::<Vec<_>>();
        json!({ "compositeRequest": parts })
    };
    let query = "query?q=SELECT+Id+FROM+Account";
    for (path, body, status, code) in [
        ("composite", many(26, "limits"), 400, "LIMIT_EXCEEDED"),
        ("composite", many(6, query), 400, "LIMIT_EXCEEDED"),
        ("composite", json!({}), 400, "INVALID_INPUT"),
        ("composite", json!({ "compositeRequest": [part("GET", "limits", "", Value::Null)] }), 400, "INVALID_INPUT"),
        (
            "composite",
            json!({ "compositeRequest": [part("GET", "limits", "a", Value::Null), part("GET", "limits", "a", Value::Null)] }),
            400,
            "INVALID_INPUT",
        ),
        (
            "composite/batch",
            json!({ "batchRequests": vec![json!({ "method": "GET", "url": "v62.0/limits" }); 26] }),
            400,
            "LIMIT_EXCEEDED",
        ),
        (
            "composite/graph",
            json!({ "graphs": [{ "graphId": "g", "compositeRequest": [part("GET", query, "q", Value::Null)] }] }),
            400,
            "INVALID_INPUT",
        ),
        ("composite/nothing", json!({}), 404, "NOT_FOUND"),
    ] {
        let (found, answer) = client.send("POST", path, body).await;
        assert_eq!((found, answer[0]["errorCode"].as_str()), (status, Some(code)), "{path}: {answer}");
    }
    assert_eq!(client.send("POST", "composite", many(5, query)).await.1["compositeResponse"][4]["httpStatusCode"], 200);
    assert_eq!(client.send("POST", "composite", many(25, "limits")).await.0, 200);
    let nested = json!({ "compositeRequest": [part("POST", "composite", "n", many(1, "limits"))] });
    assert_eq!(client.send("POST", "composite", nested).await.1["compositeResponse"][0]["httpStatusCode"], 400);
    assert_eq!(client.get("composite").await.1["graph"], format!("{V}/composite/graph"));
    org.stop().await;
}

#[tokio::test]
async fn batch_is_independent_halts_on_request_and_counts_each_part() {
    let (org, client) = org().await;
    let batch = |halt: bool| {
        json!({ "haltOnError": halt, "batchRequests": [
            { "method": "POST", "url": "v62.0/sobjects/Account", "richInput": { "Name": "one" } },
            { "method": "GET", "url": "/services/data/v62.0/sobjects/Nothing/describe" },
            { "method": "POST", "url": "v62.0/sobjects/Account", "richInput": { "Name": "two" } },
        ] })
    };
    let used = org.daily_requests_used();
    let (status, answer) = client.send("POST", "composite/batch", batch(false)).await;
    let codes = |answer: &Value| [0, 1, 2].map(|at| answer["results"][at]["statusCode"].as_i64().unwrap());
    assert_eq!((status, answer["hasErrors"].clone(), codes(&answer)), (200, json!(true), [201, 404, 201]));
    assert_eq!(org.daily_requests_used(), used + 3);
    let (_, answer) = client.send("POST", "composite/batch", batch(true)).await;
    assert_eq!(codes(&answer), [201, 404, 412]);
    assert_eq!(answer["results"][2]["result"][0]["errorCode"], "BATCH_PROCESSING_HALTED");
    assert_eq!((org.count("Account"), org.daily_requests_used()), (3, used + 5));
    org.stop().await;
    let mut config = config();
    (config.daily_api_requests_max, config.unverified.batch_subrequests_count) = (Some(2), true);
    let (org, client) = org_with(config).await;
    let (_, answer) = client.send("POST", "composite/batch", batch(false)).await;
    assert_eq!(codes(&answer), [201, 404, 403], "the third part is one call too many");
    org.stop().await;
}

#[tokio::test]
async fn each_graph_stands_or_falls_alone_and_the_rest_stops_after_fourteen() {
    let (org, client) = org().await;
    let graph = |id: usize, good: bool| {
        let contact = if good { json!({ "LastName": "x", "AccountId": "@{a.id}" }) } else { json!({}) };
        json!({ "graphId": format!("g{id}"), "compositeRequest": [
            part("POST", "sobjects/Account", "a", json!({ "Name": format!("{id}") })),
            part("POST", "sobjects/Contact", "c", contact),
        ] })
    };
    let graphs: Vec<Value> = [true, false, true].into_iter().enumerate().map(|(id, good)| graph(id, good)).collect();
    let (status, answer) = client.send("POST", "composite/graph", json!({ "graphs": graphs })).await;
    let successes = [0, 1, 2].map(|at| answer["graphs"][at]["isSuccessful"].as_bool().unwrap());
    assert_eq!((status, successes), (200, [true, false, true]), "{answer}");
    let failed = &answer["graphs"][1]["graphResponse"]["compositeResponse"];
    assert_eq!(failed[0]["body"][0]["errorCode"], "PROCESSING_HALTED");
    assert_eq!(failed[1]["body"][0]["errorCode"], "REQUIRED_FIELD_MISSING");
    assert_eq!((org.count("Account"), org.count("Contact"), org.last_seq()), (2, 2, 4));
    let graphs: Vec<Value> = (0..16).map(|id| graph(id, id == 15)).collect();
    let (_, answer) = client.send("POST", "composite/graph", json!({ "graphs": graphs })).await;
    assert_eq!(answer["graphs"][15]["isSuccessful"], false, "not begun after fourteen failures");
    assert_eq!(org.count("Account"), 2);
    let too_many: Vec<Value> = (0..76).map(|id| graph(id, true)).collect();
    assert_eq!(client.send("POST", "composite/graph", json!({ "graphs": too_many })).await.0, 400);
    let chain = |length: usize| {
        let link = |n: usize| {
            let body = if n == 0 {
                json!({ "Name": "0" })
            } else {
                json!({ "Name": "n", "ParentId": format!("@{{r{}.id}}", n - 1) })
            };
            part("POST", "sobjects/Account", &format!("r{n}"), body)
        };
        json!({ "graphs": [{ "graphId": "g", "compositeRequest": (0..length).map(link).collect::<Vec<_>>() }] })
    };
    assert_eq!(client.send("POST", "composite/graph", chain(15)).await.1["graphs"][0]["isSuccessful"], true);
    assert_eq!(client.send("POST", "composite/graph", chain(16)).await.0, 400);
    org.stop().await;
}

#[tokio::test]
async fn tree_creates_children_below_their_parents_or_nothing() {
    let (org, client) = org().await;
    let tree = |email: &str| {
        json!({ "records": [{
            "attributes": { "type": "Account", "referenceId": "a" }, "Name": "root",
            "Contacts": { "records": [
                { "attributes": { "type": "Contact", "referenceId": "c1" }, "LastName": "one", "Email": email },
                { "attributes": { "type": "Contact", "referenceId": "c2" }, "LastName": "two" },
            ] },
            "Orders__r": { "records": [{
                "attributes": { "type": "Order__c", "referenceId": "o" }, "Key__c": 1, "Total__c": 5,
                "Lines__r": { "records": [{ "attributes": { "type": "Line__c", "referenceId": "l" }, "Text__c": "x" }] },
            }] },
        }] })
    };
    let (status, answer) = client.send("POST", "composite/tree/Account", tree("no address")).await;
    assert_eq!((status, answer["hasErrors"].clone()), (400, json!(true)));
    assert_eq!(answer["results"].as_array().unwrap().len(), 1);
    assert_eq!(answer["results"][0]["referenceId"], "c1");
    assert_eq!(answer["results"][0]["errors"][0]["statusCode"], "INVALID_EMAIL_ADDRESS");
    assert_eq!((org.count("Account"), org.last_seq()), (0, 0));
    let (status, answer) = client.send("POST", "composite/tree/Account", tree("a@b.example")).await;
    assert_eq!((status, answer["hasErrors"].clone()), (201, json!(false)), "{answer}");
    let ids: Vec<&str> = answer["results"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(answer["results"][4]["referenceId"], "l");
    assert!(org.records("Contact").iter().all(|contact| contact["AccountId"] == ids[0]));
    assert_eq!(org.records("Line__c")[0]["Order__c"], ids[3]);
    let flat = |count: usize| {
        let record = |n| json!({ "attributes": { "type": "Account", "referenceId": format!("r{n}") }, "Name": "n" });
        json!({ "records": (0..count).map(record).collect::<Vec<_>>() })
    };
    assert_eq!(client.send("POST", "composite/tree/Account", flat(200)).await.0, 201);
    assert_eq!(client.send("POST", "composite/tree/Account", flat(201)).await.0, 400);
    assert_eq!(org.count("Account"), 201);
    org.stop().await;
}

#[tokio::test]
async fn fault_rules_meet_the_parts_as_calls_of_their_own() {
    let (org, client) = org().await;
    let refuse = Effect::Http { status: 503, code: "SERVER_UNAVAILABLE".into(), message: String::new() };
    org.fault(FaultRule::new(
        FaultMatch { api: Some(Api::Single), object: Some("Contact".into()), ..FaultMatch::default() },
        refuse,
    ));
    let lock = FaultMatch { api: Some(Api::Composite), ..FaultMatch::default() };
    org.fault(FaultRule::new(lock, Effect::LockRows { row_fraction: 1.0 }));
    let body = json!({ "compositeRequest": [
        part("POST", "sobjects/Account", "a", json!({ "Name": "n" })),
        part("POST", "sobjects/Contact", "c", json!({ "LastName": "n" })),
    ] });
    let (_, answer) = client.send("POST", "composite", body).await;
    let codes = [0, 1].map(|at| answer["compositeResponse"][at]["httpStatusCode"].as_i64().unwrap());
    assert_eq!((codes, org.count("Account"), org.count("Contact")), ([201, 503], 1, 0));
    let record = json!({ "attributes": { "type": "Account", "referenceId": "r" }, "Name": "n" });
    let (status, answer) = client.send("POST", "composite/tree/Account", json!({ "records": [record] })).await;
    assert_eq!((status, answer["results"][0]["errors"][0]["statusCode"].as_str()), (400, Some("UNABLE_TO_LOCK_ROW")));
    org.stop().await;
}
