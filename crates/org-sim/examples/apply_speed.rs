//! Measures how many records per second the org itself takes, without sockets: creates, then updates, by Collections.
//!
//! `cargo run --release -p org-sim --example apply_speed [folder]`; with a folder the org is kept there.

#![allow(clippy::print_stdout, reason = "the measurement is what this program prints")]
#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]

use http::{HeaderMap, Method};
use org_sim::{Org, OrgConfig, Request, parse_objects};
use serde_json::{Value, json};
use std::error::Error;
use std::time::Instant;

const BATCHES: usize = 250;
const NOW_MS: i64 = 1_800_000_000_000;

fn record(n: usize, round: usize) -> Value {
    json!({
        "Code__c": format!("K-{n}"), "Name": format!("Customer number {n}"), "Phone": "+44 20 7946 0000",
        "BillingStreet": format!("{n} Long Road"), "BillingCity": "London", "BillingCountry": "United Kingdom",
        "Score__c": n % 100 + round, "NumberOfEmployees": n % 1000, "Description": "d".repeat(100),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let fields = "Code__c: {type: text, length: 20, external_id: true, unique: true}, Score__c: {type: number}";
    let objects = parse_objects(&format!("objects: {{Account: {{fields: {{{fields}}}}}}}"), "example")?;
    let folder = std::env::args().nth(1).map(Into::into);
    let mut org = Org::new(OrgConfig { objects, folder, ..OrgConfig::default() }, "http://org", NOW_MS)?;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", org.log_in(NOW_MS).ok_or("no user")?).parse()?);
    for (round, name) in ["create", "update"].into_iter().enumerate() {
        let bodies: Vec<String> = (0..BATCHES)
            .map(|batch| {
                let records: Vec<Value> = (batch * 200..(batch + 1) * 200).map(|n| record(n, round)).collect();
                json!({ "allOrNone": false, "records": records }).to_string()
            })
            .collect();
        let start = Instant::now();
        for body in &bodies {
            let path = "/services/data/v62.0/composite/sobjects/Account/Code__c";
            let answer = org.apply(NOW_MS, &Request::new(&Method::PATCH, path, "", &headers, body.as_bytes()));
            if answer.status != 200 {
                return Err(String::from_utf8_lossy(&answer.body).into());
            }
        }
        println!("{name}: {:.0} records/s", (BATCHES * 200) as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}
