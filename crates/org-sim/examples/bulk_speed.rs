//! Measures how many rows per second the org takes by Bulk API 2.0 ingest without delays; the client shares its core.
//!
//! `taskset -c 0 cargo run --release -p org-sim --example bulk_speed`
//!
//! Prints one flat JSON object. The time runs from the first job's creation to the last job's completion; the rates by
//! processor time tell what an idle core would do while others keep this one busy.

#![allow(clippy::print_stdout, reason = "the measurement is what this program prints")]
#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]

use org_sim::{OrgConfig, OrgSim, parse_objects};
use serde_json::{Value, json};
use std::error::Error;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const JOBS: usize = 4;
const ROWS: usize = 100_000;

struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    async fn json(&self, method: reqwest::Method, path: &str, body: Value) -> Result<Value, reqwest::Error> {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token).json(&body);
        request.send().await?.error_for_status()?.json().await
    }

    /// Creates a job, uploads its rows and closes it; the job's path.
    async fn submit(&self, body: Value, csv: Vec<u8>) -> Result<String, Box<dyn Error>> {
        let job = self.json(reqwest::Method::POST, "/jobs/ingest", body).await?;
        let path = format!("/jobs/ingest/{}", job["id"].as_str().ok_or("no id")?);
        let put = self.http.put(format!("{}{path}/batches", self.base)).bearer_auth(&self.token);
        put.header("content-type", "text/csv").body(csv).send().await?.error_for_status()?;
        self.json(reqwest::Method::PATCH, &path, json!({ "state": "UploadComplete" })).await?;
        Ok(path)
    }

    async fn wait(&self, path: &str) -> Result<u64, Box<dyn Error>> {
        loop {
            let info = self.json(reqwest::Method::GET, path, Value::Null).await?;
            match info["state"].as_str() {
                Some("JobComplete") if info["numberRecordsFailed"] == 0 => {
                    return Ok(info["numberRecordsProcessed"].as_u64().unwrap_or_default());
                }
                Some("UploadComplete" | "InProgress") => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => return Err(info.to_string().into()),
            }
        }
    }
}

/// Processor time of this program so far, client included, in seconds.
fn cpu_s() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    // Linux gives these in hundredths of a second, whatever the kernel counts in.
    Ok(ticks / 100.0)
}

fn file(job: usize) -> Vec<u8> {
    let mut text =
        "Code__c,Name,Phone,BillingStreet,BillingCity,BillingCountry,Score__c,NumberOfEmployees,Description\n"
            .to_owned();
    for n in job * ROWS..(job + 1) * ROWS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "K-{n},Customer number {n},+44 20 7946 0000,\"{n} Long Road, East\",London,United Kingdom,{},{},{}",
            n % 100,
            n % 1000,
            "d".repeat(100)
        );
    }
    text.into_bytes()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // A second installation is refused and harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let fields = "Code__c: {type: text, length: 20, external_id: true, unique: true}, Score__c: {type: number}";
    let objects = parse_objects(&format!("objects: {{Account: {{fields: {{{fields}}}}}}}"), "example")?;
    let org = OrgSim::start(OrgConfig { objects, ..OrgConfig::default() }).await?;
    let credentials = org.credentials();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &credentials.client_id),
        ("client_secret", &credentials.client_secret),
    ];
    let http = reqwest::Client::new();
    let token: Value =
        http.post(format!("{}/services/oauth2/token", org.url())).form(&form).send().await?.json().await?;
    let token = token["access_token"].as_str().ok_or("no token")?.to_owned();
    let client = Client { http, base: format!("{}/services/data/v62.0", org.url()), token };
    let mut result = serde_json::Map::new();
    for (round, body) in [
        ("insert", json!({ "operation": "insert", "object": "Account" })),
        ("upsert", json!({ "operation": "upsert", "object": "Account", "externalIdFieldName": "Code__c" })),
    ] {
        let files: Vec<Vec<u8>> = (0..JOBS).map(file).collect();
        let (start, cpu) = (Instant::now(), cpu_s()?);
        let mut paths = Vec::new();
        for file in files {
            paths.push(client.submit(body.clone(), file).await?);
        }
        let mut rows = 0;
        for path in &paths {
            rows += client.wait(path).await?;
        }
        let rate = rows as f64 / start.elapsed().as_secs_f64();
        result.insert(format!("{round}_rows_per_s"), json!(rate.round()));
        result.insert(format!("{round}_rows_per_cpu_s"), json!((rows as f64 / (cpu_s()? - cpu)).round()));
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    result.insert("rows".into(), json!(2 * JOBS * ROWS));
    result.insert("records".into(), json!(org.count("Account")));
    result.insert("peak_memory_mb".into(), json!(peak / 1024));
    println!("{}", Value::Object(result));
    org.stop().await;
    Ok(())
}
