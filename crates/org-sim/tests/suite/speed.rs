//! How fast the org is; run with `cargo test --release -p org-sim --test suite -- --ignored --nocapture speed`.

use crate::support::{Client, org};
use serde_json::{Value, json};
use std::sync::Arc;

fn record(n: usize) -> Value {
    json!({
        "Code__c": format!("K-{n}"), "Name": format!("Customer number {n}"), "Phone": "+44 20 7946 0000",
        "BillingStreet": format!("{n} Long Road"), "BillingCity": "London", "BillingCountry": "United Kingdom",
        "Level__c": "Gold", "Score__c": n % 100, "NumberOfEmployees": n % 1000, "Description": "d".repeat(100),
    })
}

async fn drive(client: Arc<Client>, bodies: Vec<Vec<u8>>) {
    for body in bodies {
        let request =
            client.call("PATCH", "composite/sobjects/Account/Code__c").header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "a measurement, not a check"]
#[allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
async fn speed_of_collections_on_one_core() {
    let (org, client) = org().await;
    let client = Arc::new(client);
    let body = |batch: usize| {
        let records: Vec<Value> = (batch * 200..(batch + 1) * 200).map(record).collect();
        serde_json::to_vec(&json!({ "allOrNone": false, "records": records })).unwrap()
    };
    for (name, batches) in [("create", 0..250), ("update", 0..250)] {
        let bodies: Vec<Vec<u8>> = batches.map(body).collect();
        let rows = bodies.len() * 200;
        let start = std::time::Instant::now();
        let halves = bodies.chunks(bodies.len() / 4 + 1).map(|part| tokio::spawn(drive(client.clone(), part.to_vec())));
        for half in halves.collect::<Vec<_>>() {
            half.await.unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{name}: {:.0} records/s, client and org on one core", rows as f64 / seconds);
    }
    println!("{} records", org.count("Account"));
    org.stop().await;
}
