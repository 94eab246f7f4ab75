//! A scripted HTTP server, and batches to send to it.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use connector_salesforce::{Auth, SalesforceConfig, SalesforceSink, Secret};
use contract::{OutBatch, OutColumn, OutOp, OutRow, SystemClock};
use http::{HeaderMap, Method, StatusCode};
use model::{BatchId, Cell, FieldValue, Lane, Offset, Partition, Position};
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const SECRET: &str = "s3cr3t-consumer-secret";
pub const TOKEN: &str = "00Dxx0000001gER!AQ-token-";

/// What came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    /// Decompressed.
    pub body: Bytes,
}

impl Seen {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The query's text, decoded.
    pub fn soql(&self) -> String {
        let query = self.path.split_once("query?q=").unwrap().1.replace('+', " ");
        percent_encoding::percent_decode_str(&query).decode_utf8().unwrap().into_owned()
    }
}

/// What the script answers.
pub enum Act {
    Answer(Response),
    /// Closes the connection without an answer.
    Cut,
    /// Never answers.
    Hang,
}

type Script = dyn Fn(&Seen, usize) -> Act + Send + Sync;

struct Shared {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    logins: Mutex<usize>,
}

/// A running server: tokens by itself, everything else by script (which gets the request and its number, from 0).
pub struct Stub {
    pub url: String,
    shared: Arc<Shared>,
}

impl Stub {
    pub async fn start(script: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { script: Box::new(script), seen: Mutex::default(), logins: Mutex::default() });
        let state = (Arc::clone(&shared), url.clone());
        let router = Router::new().fallback(handle).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// Requests other than for tokens.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn logins(&self) -> usize {
        *self.shared.logins.lock().unwrap()
    }

    pub fn config(&self) -> SalesforceConfig {
        let auth = Auth::ClientCredentials { client_id: "id".into(), client_secret: Secret::new(SECRET) };
        let mut config = SalesforceConfig::new(&self.url, "62.0", auth);
        config.client_name = "penstock/test".into();
        config.request_timeout = Duration::from_secs(5);
        config.in_flight_max = 32;
        config
    }

    pub fn sink(&self) -> SalesforceSink {
        sink(&self.config())
    }
}

pub fn sink(config: &SalesforceConfig) -> SalesforceSink {
    SalesforceSink::new(config, Arc::new(SystemClock::new())).unwrap()
}

async fn handle(State((shared, url)): State<(Arc<Shared>, String)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body = match parts.headers.get("content-encoding").is_some_and(|v| v == "gzip") {
        false => bytes,
        true => {
            let mut out = Vec::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut out).unwrap();
            Bytes::from(out)
        }
    };
    let path = parts.uri.path_and_query().unwrap().to_string();
    let seen = Seen { method: parts.method, path, headers: parts.headers, body };
    if seen.path.starts_with("/services/oauth2/token") {
        let login = {
            let mut logins = shared.logins.lock().unwrap();
            *logins += 1;
            *logins
        };
        return json(
            200,
            &format!(r#"{{"access_token":"{TOKEN}{login}","instance_url":"{url}","token_type":"Bearer"}}"#),
        );
    }
    let number = {
        let mut all = shared.seen.lock().unwrap();
        all.push(seen.clone());
        all.len() - 1
    };
    match (shared.script)(&seen, number) {
        Act::Answer(response) => response,
        Act::Cut => panic!("cut on purpose"),
        Act::Hang => std::future::pending().await,
    }
}

pub fn json(status: u16, body: &str) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", "application/json")
        .header("sforce-limit-info", "api-usage=18/5000")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

pub fn answer(status: u16, body: &str) -> Act {
    Act::Answer(json(status, body))
}

/// One success for each record of a Collections request.
pub fn all_applied(seen: &Seen) -> Act {
    let count = seen.json()["records"].as_array().unwrap().len();
    let one = |n| format!(r#"{{"id":"001000000000{n:03}AAA","success":true,"errors":[],"created":true}}"#);
    answer(200, &format!("[{}]", (0..count).map(one).collect::<Vec<_>>().join(",")))
}

pub fn text(value: &str) -> Cell {
    Cell::Value(FieldValue::Text(value.into()))
}

pub fn row(key: &str, cells: Vec<Cell>) -> OutRow {
    let position = Position { partition: Partition(0), offset: Offset(5) };
    OutRow { position, key: Some(FieldValue::Text(key.into())), cells }
}

/// A batch of Accounts with Name, matched by Code__c.
pub fn accounts(op: OutOp, keys: &[&str]) -> OutBatch {
    let cells = |key: &str| if op == OutOp::Delete { vec![] } else { vec![text(&format!("name of {key}"))] };
    OutBatch {
        id: BatchId(1),
        api: model::Api::Collections,
        route: "accounts".into(),
        lane: Lane::Standard,
        object: "Account".into(),
        op,
        external_id: Some("Code__c".into()),
        position_field: None,
        columns: [OutColumn { field: "Name".into(), reference: None }].into(),
        rows: keys.iter().map(|key| row(key, cells(key))).collect(),
    }
}

/// A description of Account with Id, Name, Code__c (unique, not case-sensitive), Amount__c, ParentId, Position__c.
pub const ACCOUNT: &str = r#"{"name":"Account","createable":true,"updateable":true,"deletable":true,"queryable":true,"fields":[
  {"name":"Id","type":"id","length":18,"idLookup":true},
  {"name":"Name","type":"string","length":80,"createable":true,"updateable":true},
  {"name":"Code__c","type":"string","length":40,"externalId":true,"idLookup":true,"unique":true,"caseSensitive":false,"createable":true,"updateable":true},
  {"name":"Amount__c","type":"double","precision":18,"scale":2,"nillable":true,"createable":true,"updateable":true},
  {"name":"ParentId","type":"reference","referenceTo":["Account"],"relationshipName":"Parent","nillable":true,"createable":true,"updateable":true},
  {"name":"Position__c","type":"string","length":40,"createable":true,"updateable":true}]}"#;

pub fn is_describe(seen: &Seen) -> bool {
    seen.path.ends_with("/describe")
}

pub fn is_query(seen: &Seen) -> bool {
    seen.path.contains("/query?q=")
}

/// A query's answer.
pub fn records(records: &[serde_json::Value]) -> Act {
    let page = serde_json::json!({"totalSize": records.len(), "done": true, "records": records});
    answer(200, &page.to_string())
}
