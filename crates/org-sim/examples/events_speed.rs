//! Measures how many change events per second one subscriber gets; client and org share a core.
//!
//! `taskset -c 0 cargo run --release -p org-sim --example events_speed`
//!
//! `replay`: the events of 100,000 creates are on the bus and are read from the earliest on. `live`: the subscriber
//! follows while 100,000 updates are written by Collections, which takes part of the core.

#![allow(clippy::print_stdout, reason = "the measurement is what this program prints")]
#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]

use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use org_sim::pubsub::proto::pub_sub_client::PubSubClient;
use org_sim::pubsub::proto::{FetchRequest, ReplayPreset};
use org_sim::{EventsConfig, OrgConfig, OrgSim, RunningOrg, parse_objects};
use serde_json::{Value, json};
use std::error::Error;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const BATCHES: usize = 500;
const EVENTS: usize = BATCHES * 200;

type Failure = Box<dyn Error + Send + Sync>;

fn body(batch: usize, round: &str) -> Result<Vec<u8>, serde_json::Error> {
    let record = |n: usize| {
        json!({
            "Code__c": format!("K-{n}"), "Name": format!("Customer {round} {n}"), "Phone": "+44 20 7946 0000",
            "BillingStreet": format!("{n} Long Road"), "BillingCity": "London", "BillingCountry": "United Kingdom",
            "NumberOfEmployees": n % 1000, "Description": "d".repeat(100),
        })
    };
    let records: Vec<Value> = (batch * 200..(batch + 1) * 200).map(record).collect();
    serde_json::to_vec(&json!({ "allOrNone": false, "records": records }))
}

async fn write(url: String, token: String, round: &'static str) -> Result<(), Failure> {
    let client = reqwest::Client::new();
    for batch in 0..BATCHES {
        let request = client.patch(&url).bearer_auth(&token).header("content-type", "application/json");
        request.body(body(batch, round)?).send().await?.error_for_status()?.bytes().await?;
    }
    Ok(())
}

/// Reads `EVENTS` events and returns events and bytes of payload per second.
async fn read(
    org: &RunningOrg,
    token: &str,
    tenant: &str,
    preset: ReplayPreset,
    begun: mpsc::Sender<()>,
) -> Result<(f64, f64), Failure> {
    let mut connector = HttpConnector::new();
    // A small request must not wait for the answer to the one before it.
    connector.set_nodelay(true);
    let http: Client<HttpConnector, tonic::body::Body> =
        Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
    let mut client = PubSubClient::with_origin(http, org.url().parse()?);
    let (ask, asked) = mpsc::channel(4);
    let first = FetchRequest {
        topic_name: "/data/AccountChangeEvent".into(),
        replay_preset: preset as i32,
        num_requested: 100,
        ..FetchRequest::default()
    };
    ask.send(first).await?;
    let mut request = tonic::Request::new(ReceiverStream::new(asked));
    for (name, value) in [("accesstoken", token), ("instanceurl", &org.url()), ("tenantid", tenant)] {
        request.metadata_mut().insert(name, value.parse()?);
    }
    let mut answers = client.subscribe(request).await?.into_inner();
    begun.send(()).await?;
    let start = Instant::now();
    let (mut events, mut bytes) = (0, 0);
    while events < EVENTS {
        let answer = answers.message().await?.ok_or("the stream ended")?;
        events += answer.events.len();
        bytes += answer
            .events
            .iter()
            .filter_map(|event| event.event.as_ref())
            .map(|event| event.payload.len())
            .sum::<usize>();
        if !answer.events.is_empty() {
            ask.send(FetchRequest { num_requested: answer.events.len() as i32, ..FetchRequest::default() }).await?;
        }
    }
    let time = start.elapsed().as_secs_f64();
    Ok((events as f64 / time, bytes as f64 / time))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    // A second installation is refused and harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let fields = "Code__c: {type: text, length: 20, external_id: true, unique: true}";
    let text = format!(
        "{{objects: {{Account: {{fields: {{{fields}}}}}}}, channels: {{ChangeEvents: {{members: [Account]}}}}}}"
    );
    let events = EventsConfig { delivered_max: Some(10_000_000), ..EventsConfig::default() };
    let org =
        OrgSim::start(OrgConfig { objects: parse_objects(&text, "example")?, events, ..OrgConfig::default() }).await?;
    let credentials = org.credentials();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &credentials.client_id),
        ("client_secret", &credentials.client_secret),
    ];
    let answer = reqwest::Client::new().post(format!("{}/services/oauth2/token", org.url())).form(&form).send().await?;
    let answer: Value = answer.json().await?;
    let token = answer["access_token"].as_str().ok_or("no token")?.to_owned();
    let tenant = answer["id"].as_str().and_then(|id| id.rsplit('/').nth(1)).ok_or("no tenant")?.to_owned();
    let url = format!("{}/services/data/v62.0/composite/sobjects/Account/Code__c", org.url());
    write(url.clone(), token.clone(), "created").await?;
    let (begun, mut has_begun) = mpsc::channel(1);
    let (replay, replay_bytes) = read(&org, &token, &tenant, ReplayPreset::Earliest, begun.clone()).await?;
    has_begun.recv().await;
    let follower = read(&org, &token, &tenant, ReplayPreset::Latest, begun);
    let writer = async {
        has_begun.recv().await;
        write(url, token.clone(), "updated").await
    };
    let (live, written) = tokio::join!(follower, writer);
    written?;
    let figures = json!({
        "events": EVENTS,
        "replay_events_per_s": replay.round(),
        "replay_bytes_per_s": replay_bytes.round(),
        "live_events_per_s": live?.0.round(),
    });
    println!("{figures}");
    org.stop().await;
    Ok(())
}
