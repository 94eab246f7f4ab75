//! A world with an org and a clock of its own, worked on step by step.

use crate::support::config;
use http::{HeaderMap, Method};
use org_sim::{Org, OrgConfig, Request, Work};
use serde_json::{Value, json};

pub const START: i64 = 1_800_000_000_000;

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value.as_str())
    }

    pub fn code(&self) -> String {
        self.json()[0]["errorCode"].as_str().unwrap_or_default().to_owned()
    }
}

pub struct World {
    pub org: Org,
    pub now_ms: i64,
    pub version: u32,
    token: String,
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: OrgConfig) -> Self {
        let config = OrgConfig { session_timeout_s: 1_000_000_000, ..config };
        let mut org = Org::new(config, "http://org", START).unwrap();
        let token = org.log_in(START).unwrap();
        Self { org, now_ms: START, version: 62, token }
    }

    /// Sends a request; a path without a leading slash is below the version.
    pub fn call(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let headers = self.headers(content_type);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path =
            if path.starts_with('/') { path.to_owned() } else { format!("/services/data/v{}.0/{path}", self.version) };
        let method: Method = method.parse().unwrap();
        let answer = self.org.apply(self.now_ms, &Request::new(&method, &path, query, &headers, body));
        let (status, headers) = (answer.status, answer.headers.clone());
        Answer { status, headers, body: String::from_utf8(answer.into_bytes().unwrap()).unwrap() }
    }

    pub fn headers(&self, content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        headers.insert("x-sfdc-session", self.token.parse().unwrap());
        headers.insert("content-type", content_type.parse().unwrap());
        headers
    }

    pub fn json(&mut self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.call(method, path, "application/json", &body)
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.json("GET", path, Value::Null)
    }

    /// Creates a job and returns its path.
    pub fn create(&mut self, body: Value) -> String {
        let kind = if body.get("query").is_some() { "query" } else { "ingest" };
        let answer = self.json("POST", &format!("jobs/{kind}"), body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        format!("jobs/{kind}/{}", answer.json()["id"].as_str().unwrap())
    }

    pub fn upload(&mut self, job: &str, csv: &str) -> Answer {
        self.call("PUT", &format!("{job}/batches"), "text/csv", csv.as_bytes())
    }

    pub fn set(&mut self, job: &str, state: &str) -> Answer {
        self.json("PATCH", job, json!({ "state": state }))
    }

    /// Creates a job, uploads, closes, and works until nothing is left to do now.
    pub fn ingest(&mut self, body: Value, csv: &str) -> String {
        let job = self.create(body);
        assert_eq!(self.upload(&job, csv).status, 201);
        assert_eq!(self.set(&job, "UploadComplete").status, 200);
        self.work();
        job
    }

    /// Works until nothing is left to do now; when there will be more.
    pub fn work(&mut self) -> Work {
        loop {
            let work = self.org.work(self.now_ms);
            if work != Work::Now {
                return work;
            }
        }
    }

    /// Moves the clock from event to event until nothing is left to do.
    pub fn work_out(&mut self) {
        while let Work::At(ms) = self.work() {
            assert!(ms > self.now_ms);
            self.now_ms = ms;
        }
    }

    pub fn state(&mut self, job: &str) -> String {
        self.get(job).json()["state"].as_str().unwrap_or_default().to_owned()
    }

    /// The three result files of a job: successful, failed, unprocessed; rows without their first line.
    pub fn files(&mut self, job: &str) -> [Vec<Vec<String>>; 3] {
        ["successfulResults", "failedResults", "unprocessedrecords"].map(|file| {
            let answer = self.get(&format!("{job}/{file}/"));
            assert_eq!(answer.status, 200, "{}", answer.body);
            rows(&answer.body)
        })
    }
}

/// The rows of a file in commas, read by a reader of others.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

pub fn insert(object: &str) -> Value {
    json!({ "operation": "insert", "object": object })
}

pub fn upsert() -> Value {
    json!({ "operation": "upsert", "object": "Account", "externalIdFieldName": "Code__c", "contentType": "CSV" })
}
