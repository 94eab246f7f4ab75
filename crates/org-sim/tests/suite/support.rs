//! A client and an org with objects for the tests.

use org_sim::{OrgConfig, OrgSim, RunningOrg, parse_objects};
use serde_json::{Value, json};

pub const OBJECTS: &str = "
objects:
  Account:
    fields:
      Code__c: {type: text, length: 20, external_id: true, unique: true}
      Loose__c: {type: text, length: 20, external_id: true}
      Exact__c: {type: text, length: 20, external_id: true, unique: true, case_sensitive: true}
      Level__c: {type: picklist, values: [Gold, Silver], restricted: true}
      Score__c: {type: number, precision: 6, scale: 2}
  Order__c:
    name: {auto_number: 'O-{0000}'}
    fields:
      Key__c: {type: number, precision: 18, external_id: true, unique: true}
      Account__c: {type: lookup, to: Account, on_delete: restrict}
      Total__c: {type: currency, required: true}
      Placed__c: {type: datetime}
      Paid__c: {type: checkbox, default: true}
  Line__c:
    fields:
      Order__c: {type: master_detail, to: Order__c}
      Text__c: {type: text}
";

pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    pub token: String,
}

pub fn config() -> OrgConfig {
    OrgConfig { objects: parse_objects(OBJECTS, "test").unwrap(), ..OrgConfig::default() }
}

pub async fn org() -> (RunningOrg, Client) {
    org_with(config()).await
}

pub async fn org_with(config: OrgConfig) -> (RunningOrg, Client) {
    let org = OrgSim::start(config).await.unwrap();
    let client = Client::log_in(&org).await;
    (org, client)
}

pub fn http() -> reqwest::Client {
    // Plain HTTP only, but the client asks for a provider all the same; a second installation is refused and harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::new()
}

impl Client {
    pub async fn log_in(org: &RunningOrg) -> Self {
        let http = http();
        let credentials = org.credentials();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &credentials.client_id),
            ("client_secret", &credentials.client_secret),
        ];
        let answer = http.post(format!("{}/services/oauth2/token", org.url())).form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let body: Value = answer.json().await.unwrap();
        Self { http, url: org.url(), token: body["access_token"].as_str().unwrap().to_owned() }
    }

    pub fn call(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/services/data/v62.0/{path}") };
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.call(method, path);
        if !body.is_null() {
            request = request.json(&body);
        }
        read(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, Value::Null).await
    }

    pub async fn query(&self, soql: &str) -> Value {
        let (status, body) = read(self.call("GET", "query").query(&[("q", soql)]).send().await.unwrap()).await;
        assert_eq!(status, 200, "{soql}: {body}");
        body
    }

    pub async fn upsert(&self, object: &str, key: &str, records: Vec<Value>) -> Vec<Value> {
        let body = json!({ "allOrNone": false, "records": records });
        let (status, results) = self.send("PATCH", &format!("composite/sobjects/{object}/{key}"), body).await;
        assert_eq!(status, 200, "{results}");
        results.as_array().unwrap().clone()
    }

    pub async fn create(&self, record: Value) -> Value {
        let (status, results) = self.send("POST", "composite/sobjects", json!({ "records": [record] })).await;
        assert_eq!(status, 200, "{results}");
        results[0].clone()
    }
}

pub async fn read(answer: reqwest::Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) })
}
