//! What a record costs in memory beyond its data. A program of its own, for nothing else may allocate meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that meets what it did not expect fails there")]

use http::{HeaderMap, Method};
use org_sim::{Org, OrgConfig, Request, parse_objects};
use serde_json::{Value, json};

const RECORDS: usize = 40_000;

/// Bytes beyond a record's data: the row, its cells, two indexes, a lookup, and its line in the history.
const BYTES_MAX: usize = 1024;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn record(n: usize) -> Value {
    json!({
        "Code__c": format!("K-{n}"), "Name": format!("Customer number {n}"), "Phone": "+44 20 7946 0000",
        "BillingStreet": format!("{n} Long Road"), "BillingCity": "London", "BillingCountry": "United Kingdom",
        "Score__c": n % 100, "NumberOfEmployees": n % 1000, "Description": "d".repeat(100),
        "ParentId": (n > 0).then(|| org_sim::SfId::new(*b"001", (n / 10) as u64 + 1).to_string()),
    })
}

fn data_bytes(record: &Value) -> usize {
    let of = |value: &Value| value.as_str().map_or(8, str::len);
    record.as_object().unwrap().values().map(of).sum()
}

#[test]
fn record_takes_less_than_a_kilobyte_beyond_its_data() {
    let fields = "Code__c: {type: text, length: 20, external_id: true, unique: true}, Score__c: {type: number}";
    let objects = parse_objects(&format!("objects: {{Account: {{fields: {{{fields}}}}}}}"), "test").unwrap();
    let mut org = Org::new(OrgConfig { objects, ..OrgConfig::default() }, "http://org", 1_800_000_000_000).unwrap();
    let mut headers = HeaderMap::new();
    let token = org.log_in(1_800_000_000_000).unwrap();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let mut call = |from: usize| {
        let records: Vec<Value> = (from..from + 200).map(record).collect();
        let data: usize = records.iter().map(data_bytes).sum();
        let body = json!({ "records": records }).to_string();
        let path = "/services/data/v62.0/composite/sobjects/Account/Code__c";
        let request = Request::new(&Method::PATCH, path, "", &headers, body.as_bytes());
        let answer = org.apply(1_800_000_000_000, &request);
        assert!(!String::from_utf8(answer.body).unwrap().contains("\"success\":false"));
        data
    };
    // The first calls make what is made once.
    for batch in 0..5 {
        call(batch * 200);
    }
    let before = resident_bytes();
    let data: usize = (5..RECORDS / 200).map(|batch| call(batch * 200)).sum();
    let records = RECORDS - 1000;
    let beyond = (resident_bytes() - before).saturating_sub(data) / records;
    println!("{beyond} bytes beyond {} bytes of data per record", data / records);
    assert!(beyond <= BYTES_MAX, "{beyond} bytes");
}
