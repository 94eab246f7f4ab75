//! Measures how many records per second the org takes by Collections; the client shares its core.
//!
//! `taskset -c 0 cargo run --release -p org-sim --example collections_speed`; one JSON object comes out.

#![allow(clippy::print_stdout, reason = "the measurement is what this program prints")]
#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]

use org_sim::{OrgConfig, OrgSim, parse_objects};
use serde_json::{Value, json};
use std::error::Error;
use std::time::Instant;

const BATCHES: usize = 500;
const IN_FLIGHT: usize = 4;

fn record(n: usize) -> Value {
    json!({
        "Code__c": format!("K-{n}"), "Name": format!("Customer number {n}"), "Phone": "+44 20 7946 0000",
        "BillingStreet": format!("{n} Long Road"), "BillingCity": "London", "BillingCountry": "United Kingdom",
        "Score__c": n % 100, "NumberOfEmployees": n % 1000, "Description": "d".repeat(100),
    })
}

fn body(batch: usize) -> Result<Vec<u8>, serde_json::Error> {
    let records: Vec<Value> = (batch * 200..(batch + 1) * 200).map(record).collect();
    serde_json::to_vec(&json!({ "allOrNone": false, "records": records }))
}

async fn drive(
    client: reqwest::Client,
    url: String,
    token: String,
    bodies: Vec<Vec<u8>>,
) -> Result<(), reqwest::Error> {
    for body in bodies {
        let request = client.patch(&url).bearer_auth(&token).header("content-type", "application/json").body(body);
        request.send().await?.error_for_status()?.bytes().await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // A second installation is refused and harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let fields = "Code__c: {type: text, length: 20, external_id: true, unique: true}, Score__c: {type: number}";
    let objects = parse_objects(&format!("objects: {{Account: {{fields: {{{fields}}}}}}}"), "example")?;
    let org = OrgSim::start(OrgConfig { objects, ..OrgConfig::default() }).await?;
    let client = reqwest::Client::new();
    let credentials = org.credentials();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &credentials.client_id),
        ("client_secret", &credentials.client_secret),
    ];
    let token: Value =
        client.post(format!("{}/services/oauth2/token", org.url())).form(&form).send().await?.json().await?;
    let token = token["access_token"].as_str().ok_or("no token")?.to_owned();
    let url = format!("{}/services/data/v62.0/composite/sobjects/Account/Code__c", org.url());
    let mut figures = serde_json::Map::new();
    for round in ["create", "update"] {
        let bodies = (0..BATCHES).map(body).collect::<Result<Vec<_>, _>>()?;
        let start = Instant::now();
        let parts = bodies.chunks(BATCHES / IN_FLIGHT);
        let tasks: Vec<_> =
            parts.map(|part| tokio::spawn(drive(client.clone(), url.clone(), token.clone(), part.to_vec()))).collect();
        for task in tasks {
            task.await??;
        }
        let rate = (BATCHES * 200) as f64 / start.elapsed().as_secs_f64();
        figures.insert(format!("{round}_records_per_s"), json!(rate.round()));
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kilobytes: f64 = peak.trim().trim_end_matches("kB").trim().parse()?;
    figures.insert("records".into(), json!(org.count("Account")));
    figures.insert("changes".into(), json!(org.last_seq()));
    figures.insert("peak_memory_mb".into(), json!((kilobytes / 102.4).round() / 10.0));
    println!("{}", Value::Object(figures));
    org.stop().await;
    Ok(())
}
