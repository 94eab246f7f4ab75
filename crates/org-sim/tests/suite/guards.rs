//! Validation rules and field-level security.

use crate::support::{Client, config, http, org, org_with, read};
use org_sim::{FieldAccess, FieldSecurity, RunningOrg, SimError, UserConfig, parse_objects};
use serde_json::{Value, json};

async fn rule(client: &Client, object: &str, rule: Value) -> (u16, Value) {
    let body = json!({ "objects": { object: { "rules": { "Checked": rule } } } });
    client.send("POST", "/_sim/objects", body).await
}

fn error(result: &Value) -> (&str, &str, &Value) {
    let error = &result["errors"][0];
    (error["statusCode"].as_str().unwrap_or("none"), error["message"].as_str().unwrap_or(""), &error["fields"])
}

#[tokio::test]
async fn rule_refuses_with_its_message_and_field_until_it_is_replaced() {
    let (org, client) = org().await;
    let when = json!({ "when": "Score__c > 5.0 && Phone == null", "message": "Ring first", "field": "phone" });
    assert_eq!(rule(&client, "Account", when).await.0, 200);
    let record = |score: i32, phone: Value| json!({ "Code__c": "k", "Name": "n", "Score__c": score, "Phone": phone });
    let results = client.upsert("Account", "Code__c", vec![record(6, Value::Null)]).await;
    assert_eq!(error(&results[0]), ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Ring first", &json!(["Phone"])));
    assert_eq!((results[0].get("id"), org.count("Account"), org.last_seq()), (None, 0, 0));
    for record in [record(6, json!("1")), record(5, Value::Null)] {
        assert_eq!(client.upsert("Account", "Code__c", vec![record]).await[0]["success"], true);
    }
    let id = org.records("Account")[0]["Id"].as_str().unwrap().to_owned();
    let path = format!("sobjects/Account/{id}");
    let (status, body) = client.send("PATCH", &path, json!({ "Score__c": 9 })).await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("FIELD_CUSTOM_VALIDATION_EXCEPTION")));
    let (_, rules) = client.get("/_sim/rules").await;
    assert_eq!((&rules["rules"][0]["fired"], &rules["rules"][0]["name"]), (&json!(2), &json!("Checked")));
    let off = json!({ "when": "true", "message": "never", "active": false });
    assert_eq!(rule(&client, "Account", off).await.0, 200);
    assert_eq!(client.send("PATCH", &path, json!({ "Score__c": 9 })).await.0, 204);
    org.stop().await;
}

#[tokio::test]
async fn rules_see_old_values_new_records_times_and_lists() {
    let yaml = "
objects:
  Order__c:
    rules:
      Stays: {when: '!is_new && old.Key__c != Key__c', message: the key stays}
      Future: {when: 'Placed__c > now', message: not yet}
      Known: {when: \"!['A', 'B'].exists(v, v == Kind__c)\", message: A or B}
      Blank: {when: 'Rank__c > 3', message: too high}
    fields:
      Kind__c: {type: text}
      Rank__c: {type: int}
";
    let mut config = config();
    config.objects.objects.0.extend(parse_objects(yaml, "test").unwrap().objects.0);
    let (org, client) = org_with(config).await;
    let record = |more: Value| {
        let mut record = json!({ "attributes": { "type": "Order__c" }, "Total__c": 1, "Key__c": 1, "Kind__c": "A" });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record
    };
    for (more, message) in [
        (json!({ "Placed__c": "2100-01-01T00:00:00Z" }), "not yet"),
        (json!({ "Kind__c": "C" }), "A or B"),
        (json!({ "Rank__c": 4 }), "too high"),
    ] {
        let result = client.create(record(more)).await;
        assert_eq!(error(&result).1, message);
    }
    let id = client.create(record(json!({ "Placed__c": "2000-01-01T00:00:00Z" }))).await["id"].clone();
    let path = format!("sobjects/Order__c/{}", id.as_str().unwrap());
    assert_eq!(client.send("PATCH", &path, json!({ "Key__c": 2 })).await.1[0]["message"], "the key stays");
    assert_eq!(client.send("PATCH", &path, json!({ "Total__c": 2 })).await.0, 204);
    let (_, rules) = client.get("/_sim/rules").await;
    let blank = rules["rules"].as_array().unwrap().iter().find(|rule| rule["name"] == "Blank").unwrap();
    assert_eq!((&blank["fired"], &blank["failed"]), (&json!(1), &json!(2)), "null > 3 refuses nothing");
    org.stop().await;
}

#[tokio::test]
async fn rule_that_names_no_field_or_is_no_expression_is_refused_whole() {
    let (org, client) = org().await;
    for (when, place) in [("Nothing__c > 1", "Nothing__c"), ("Name ==", "line"), ("[1].all(x, y > 1)", "\"y\"")] {
        let (status, body) = rule(&client, "Account", json!({ "when": when, "message": "m" })).await;
        assert_eq!(status, 400);
        let message = body["error"].as_str().unwrap();
        assert!(message.contains("Account.rules.Checked") && message.contains(place), "{message}");
    }
    assert_eq!(client.get("/_sim/rules").await.1["rules"], json!([]));
    org.stop().await;
}

fn setting(user: Option<&str>, field: &str, access: FieldAccess) -> FieldSecurity {
    FieldSecurity { user: user.map(str::to_owned), object: "Account".into(), field: field.into(), access }
}

async fn clerk(org: &RunningOrg) -> Client {
    let credentials = org.credentials();
    let form = [
        ("grant_type", "password"),
        ("client_id", &credentials.client_id),
        ("client_secret", &credentials.client_secret),
        ("username", "clerk@x.example"),
        ("password", "word"),
    ];
    let http = http();
    let answer = http.post(format!("{}/services/oauth2/token", org.url())).form(&form).send().await.unwrap();
    let (_, body) = read(answer).await;
    Client { http, url: org.url(), token: body["access_token"].as_str().unwrap().to_owned() }
}

async fn guarded() -> (RunningOrg, Client, Client) {
    let mut config = config();
    config.users.push(UserConfig {
        username: "clerk@x.example".into(),
        password: Some("word".into()),
        ..UserConfig::default()
    });
    config.field_security = vec![
        setting(Some("Clerk@x.example"), "Score__c", FieldAccess::Hidden),
        setting(Some("clerk@x.example"), "Phone", FieldAccess::ReadOnly),
        setting(Some("clerk@x.example"), "ParentId", FieldAccess::Hidden),
    ];
    let (org, client) = org_with(config).await;
    let clerk = clerk(&org).await;
    (org, client, clerk)
}

#[tokio::test]
async fn hidden_fields_are_not_there_for_their_user_and_there_for_others() {
    let (org, admin, clerk) = guarded().await;
    let record = json!({ "Name": "n", "Score__c": 1, "Phone": "5", "Code__c": "k" });
    let (status, created) = admin.send("POST", "sobjects/Account", record).await;
    assert_eq!(status, 201);
    let path = format!("sobjects/Account/{}", created["id"].as_str().unwrap());
    let fields = async |client: &Client| {
        let (_, describe) = client.get("sobjects/Account/describe").await;
        describe["fields"].as_array().unwrap().clone()
    };
    let named = |fields: &[Value], name: &str| fields.iter().find(|field| field["name"] == name).cloned();
    let (seen, all) = (fields(&clerk).await, fields(&admin).await);
    assert!(named(&seen, "Score__c").is_none() && named(&all, "Score__c").is_some());
    let phone = named(&seen, "Phone").unwrap();
    assert_eq!((&phone["updateable"], &named(&all, "Phone").unwrap()["updateable"]), (&json!(false), &json!(true)));
    for query in
        ["SELECT Score__c FROM Account", "SELECT Id FROM Account WHERE Score__c = 1", "SELECT Parent.Name FROM Account"]
    {
        let get = |client: &Client| client.call("GET", "query").query(&[("q", query)]).send();
        let (status, body) = read(get(&clerk).await.unwrap()).await;
        assert_eq!((status, &body[0]["errorCode"]), (400, &json!("INVALID_FIELD")), "{query}");
        assert_eq!(read(get(&admin).await.unwrap()).await.0, 200, "{query}");
    }
    let (_, body) = clerk.get("query?q=SELECT+Score__c+FROM+Account").await;
    assert!(body[0]["message"].as_str().unwrap().contains("No such column 'Score__c'"), "{body}");
    let (_, read) = clerk.get(&path).await;
    assert_eq!((read.get("Score__c"), &read["Phone"]), (None, &json!("5")));
    assert_eq!(clerk.get(&format!("{path}?fields=Score__c")).await.0, 400);
    assert_eq!(admin.get(&path).await.1["Score__c"], 1);
    let path = format!("composite/sobjects/Account?ids={}&fields=Score__c", created["id"].as_str().unwrap());
    assert_eq!(clerk.get(&path).await.0, 400);
    org.stop().await;
}

#[tokio::test]
async fn writes_to_hidden_and_read_only_fields_are_refused_for_their_user_only() {
    let (org, admin, clerk) = guarded().await;
    for field in ["Score__c", "Phone", "ParentId"] {
        let record = json!({ "attributes": { "type": "Account" }, "Name": "n", field: null });
        let result = clerk.create(record.clone()).await;
        assert_eq!((error(&result).0, error(&result).2), ("INVALID_FIELD_FOR_INSERT_UPDATE", &json!([field])));
        assert_eq!(admin.create(record).await["success"], true, "{field}");
    }
    let body = json!({ "user": "clerk@x.example", "object": "Account", "field": "Phone", "access": "editable" });
    assert_eq!(admin.send("POST", "/_sim/field-security", body).await.0, 200);
    let record = json!({ "attributes": { "type": "Account" }, "Name": "n", "Phone": "1" });
    assert_eq!(clerk.create(record.clone()).await["success"], true);
    // A setting for everybody yields to one for a user.
    let body = json!([{ "object": "Account", "field": "Phone", "access": "read_only" }]);
    let (_, listed) = admin.send("POST", "/_sim/field-security", body).await;
    assert_eq!(listed["fields"].as_array().unwrap().len(), 4);
    assert_eq!(
        (clerk.create(record.clone()).await["success"].clone(), admin.create(record).await["success"].clone()),
        (json!(true), json!(false))
    );
    for (field, cause) in [("Name", "required"), ("Nothing", "no such field")] {
        let body = json!({ "object": "Account", "field": field, "access": "hidden" });
        let (status, body) = admin.send("POST", "/_sim/field-security", body).await;
        assert!(status == 400 && body["error"].as_str().unwrap().contains(cause), "{body}");
    }
    org.stop().await;
}

#[tokio::test]
async fn unknown_user_in_field_security_stops_the_start() {
    let mut config = config();
    config.field_security = vec![setting(Some("nobody"), "Phone", FieldAccess::Hidden)];
    let error = org_sim::OrgSim::start(config).await.err().unwrap();
    assert!(matches!(error, SimError::Definition { .. }), "{error}");
}
