//! Faults, waiting and locks.

use crate::support::{Client, config, org, org_with};
use org_sim::{Api, Effect, FaultMatch, FaultRule, LatencyModel, Operation, ServiceTime, When};
use serde_json::{Value, json};

fn on(api: Api) -> FaultMatch {
    FaultMatch { api: Some(api), ..FaultMatch::default() }
}

fn row(code: &str) -> Value {
    json!({ "Code__c": code, "Name": "n" })
}

fn send(client: &Client, records: &[Value]) -> reqwest::RequestBuilder {
    client.call("PATCH", "composite/sobjects/Account/Code__c").json(&json!({ "records": records }))
}

#[tokio::test]
async fn answer_lost_after_applying_leaves_the_record_and_before_does_not() {
    let (org, client) = org().await;
    for (when, count) in [(When::Before, 0), (When::After, 1)] {
        org.fault(FaultRule::new(on(Api::Collections), Effect::Cut { when }).times(1));
        assert!(send(&client, &[row("a")]).send().await.is_err());
        assert_eq!(org.count("Account"), count);
    }
    org.fault(FaultRule::new(on(Api::Collections), Effect::CutBody).times(1));
    let answer = send(&client, &[row("b")]).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
    assert_eq!(org.count("Account"), 2);
    assert_eq!(client.upsert("Account", "Code__c", vec![row("b")]).await[0]["created"], false);
    org.stop().await;
}

#[tokio::test]
async fn refusals_answer_without_applying_and_row_errors_hit_only_their_rows() {
    let (org, client) = org().await;
    org.fault(FaultRule::new(on(Api::Collections), Effect::Html503).times(1));
    let answer = send(&client, &[row("a")]).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
        (503, "text/html;charset=UTF-8")
    );
    let limit = Effect::Http {
        status: 403,
        code: "REQUEST_LIMIT_EXCEEDED".into(),
        message: "ConcurrentRequest Limit exceeded.".into(),
    };
    org.fault(FaultRule::new(on(Api::Collections), limit).times(1));
    assert_eq!(send(&client, &[row("a")]).send().await.unwrap().status(), 403);
    assert_eq!(org.count("Account"), 0);
    let matches =
        FaultMatch { external_id: vec!["b".into()], operation: Some(Operation::Upsert), ..FaultMatch::default() };
    org.fault(FaultRule::new(matches, Effect::LockRows { row_fraction: 1.0 }));
    let results = client.upsert("Account", "Code__c", vec![row("a"), row("b"), row("c")]).await;
    assert_eq!(results[1]["errors"][0]["statusCode"], "UNABLE_TO_LOCK_ROW");
    assert_eq!((results[0]["success"].clone(), results[2]["success"].clone()), (json!(true), json!(true)));
    org.clear_faults();
    org.fault(FaultRule::new(on(Api::Query), Effect::RevokeSession).times(1));
    assert_eq!(client.get("query?q=SELECT+Id+FROM+Account").await.0, 401);
    org.stop().await;
}

#[tokio::test]
async fn token_endpoint_can_be_down() {
    let (org, client) = org().await;
    org.fault(FaultRule::new(on(Api::Oauth), Effect::Html503).times(1));
    let request = || {
        client.http.post(format!("{}/services/oauth2/token", client.url)).form(&[("grant_type", "client_credentials")])
    };
    assert_eq!(request().send().await.unwrap().status(), 503);
    org.fault(FaultRule::new(on(Api::Oauth), Effect::Cut { when: When::Before }).times(1));
    assert!(request().send().await.is_err());
    org.stop().await;
}

#[tokio::test]
async fn two_slow_writes_to_children_of_one_parent_contend_for_its_lock() {
    let mut config = config();
    config.row_locks.wait_ms = 50;
    config.latency =
        LatencyModel { collections: ServiceTime { base_ms: 400.0, per_record_ms: 0.0 }, ..LatencyModel::none() };
    let (org, client) = org_with(config).await;
    client.upsert("Account", "Code__c", vec![row("p"), row("q")]).await;
    let order = |key: u64, parent: &str| {
        let records = json!([{ "Key__c": key, "Total__c": 1, "Account__r": { "Code__c": parent } }]);
        client.call("PATCH", "composite/sobjects/Order__c/Key__c").json(&json!({ "records": records })).send()
    };
    let (one, two, other) = tokio::join!(order(1, "p"), order(2, "P"), order(3, "q"));
    let mut codes = Vec::new();
    for answer in [one, two, other] {
        let body: Value = answer.unwrap().json().await.unwrap();
        codes.push(body[0]["errors"][0]["statusCode"].as_str().unwrap_or("ok").to_owned());
    }
    codes[..2].sort();
    assert_eq!(codes, ["UNABLE_TO_LOCK_ROW", "ok", "ok"]);
    assert_eq!(org.count("Order__c"), 2);
    org.stop().await;
}

#[tokio::test]
async fn write_that_waits_for_a_lock_goes_on_when_it_is_released() {
    let mut config = config();
    config.latency =
        LatencyModel { collections: ServiceTime { base_ms: 60.0, per_record_ms: 0.0 }, ..LatencyModel::none() };
    let (org, client) = org_with(config).await;
    let records = [row("same")];
    let (one, two) = tokio::join!(send(&client, &records).send(), send(&client, &records).send());
    for answer in [one, two] {
        let body: Value = answer.unwrap().json().await.unwrap();
        assert_eq!(body[0]["success"], true);
    }
    assert_eq!((org.count("Account"), org.last_seq()), (1, 2));
    org.stop().await;
}

#[tokio::test]
async fn request_of_a_caller_that_went_away_is_applied_all_the_same() {
    let mut config = config();
    config.latency =
        LatencyModel { collections: ServiceTime { base_ms: 100.0, per_record_ms: 0.0 }, ..LatencyModel::none() };
    let (org, client) = org_with(config).await;
    let gone = send(&client, &[row("a")]).timeout(std::time::Duration::from_millis(30)).send().await;
    assert!(gone.is_err());
    while org.last_seq() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(org.count("Account"), 1);
    org.stop().await;
}
