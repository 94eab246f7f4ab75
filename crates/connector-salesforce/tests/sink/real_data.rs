//! A day of New York's service requests through each API: afterwards the org holds what the file says.
//!
//! The file is not part of the repository: it lies beside it, or `PENSTOCK_311_CSV` names it.

use crate::jobs::{Host, applied_rows, quick};
use crate::org::{org_with, plain};
use crate::stub::{accounts, sink, text};
use contract::{OutBatch, OutColumn, OutOp, OutRow, Sink};
use model::{Api, Cell, FieldValue};
use org_sim::{RunningOrg, parse_objects};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file's columns, and its rows with empty values as none.
struct Requests {
    names: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

/// Reads the file; none, with a word about it, when it is not here.
fn requests() -> Option<Requests> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/nyc-311-service-requests.csv");
    let named = std::env::var_os("PENSTOCK_311_CSV").map(PathBuf::from).or(Some(beside));
    let Some(path) = named.filter(|path| path.exists()) else {
        println!("skipped: nyc-311-service-requests.csv is not here; name it with PENSTOCK_311_CSV");
        return None;
    };
    let mut reader = csv::Reader::from_path(path).unwrap();
    let names = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let value = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let rows = reader.records().map(|record| record.unwrap().iter().map(value).collect()).collect();
    Some(Requests { names, rows })
}

/// Columns that are numbers in the org; the others are texts.
fn is_number(name: &str) -> bool {
    matches!(name, "Latitude" | "Longitude")
}

fn field(at: usize) -> String {
    format!("C{at}__c")
}

fn objects(requests: &Requests, event: bool) -> String {
    let mut text = format!("objects:\n  Request__{}:\n    fields:\n", if event { "e" } else { "c" });
    for (at, name) in requests.names.iter().enumerate() {
        let kind = match at {
            0 if !event => "{type: text, length: 40, external_id: true, unique: true}",
            _ if is_number(name) => "{type: number, precision: 18, scale: 15}",
            _ => "{type: long_text_area, length: 32768}",
        };
        text.push_str(&format!("      {}: {kind}\n", field(at)));
    }
    text
}

fn batch(requests: &Requests, api: Api, from: usize, to: usize) -> OutBatch {
    let cell = |at: usize, value: &Option<String>| match value {
        None => Cell::Null,
        Some(value) if is_number(&requests.names[at]) => Cell::Value(FieldValue::Number(value.parse().unwrap())),
        Some(value) => text(value),
    };
    let event = matches!(api, Api::Event | Api::PubSub);
    let first = usize::from(!event);
    let columns: Vec<OutColumn> = (first..requests.names.len()).map(|at| plain(&field(at))).collect();
    let row = |values: &Vec<Option<String>>| {
        let cells = (first..values.len()).map(|at| cell(at, &values[at])).collect();
        let row = crate::stub::row(values[0].as_deref().unwrap(), cells);
        OutRow { key: if event { None } else { row.key }, ..row }
    };
    OutBatch {
        api,
        object: if event { "Request__e".into() } else { "Request__c".into() },
        external_id: (!event).then(|| field(0).into()),
        columns: columns.into(),
        rows: requests.rows[from..to].iter().map(row).collect(),
        ..accounts(if event { OutOp::Create } else { OutOp::Upsert }, &["x"])
    }
}

/// What is held, by key: each column's text.
type Content = BTreeMap<String, Vec<Option<String>>>;

fn told(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn content(requests: &Requests, records: impl Iterator<Item = serde_json::Map<String, Value>>) -> Content {
    let row = |record: serde_json::Map<String, Value>| -> Vec<Option<String>> {
        let value = |at: usize| {
            let told = told(record.get(&field(at)))?;
            // Numbers by value: zeros at the end do not count, and events carry doubles.
            Some(if is_number(&requests.names[at]) { format!("{:.12}", told.parse::<f64>().unwrap()) } else { told })
        };
        (0..requests.names.len()).map(value).collect()
    };
    records.map(row).map(|row| (row[0].clone().unwrap(), row)).collect()
}

fn expected(requests: &Requests) -> Content {
    let record = |row: &Vec<Option<String>>| -> serde_json::Map<String, Value> {
        row.iter()
            .enumerate()
            .map(|(at, value)| (field(at), value.clone().map_or(Value::Null, Value::String)))
            .collect()
    };
    content(requests, requests.rows.iter().map(record))
}

fn events(org: &RunningOrg) -> Vec<serde_json::Map<String, Value>> {
    let decoded = |entry: org_sim::EventEntry| {
        let schema = apache_avro::Schema::parse_str(&entry.schema).unwrap();
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
        match Value::try_from(reader.read_value(&mut &entry.payload[..]).unwrap()).unwrap() {
            Value::Object(event) => event,
            other => panic!("{other}"),
        }
    };
    org.events("/event/Request__e", 0).unwrap().into_iter().map(decoded).collect()
}

#[tokio::test]
async fn real_rows_are_the_same_in_the_org_whatever_api_carried_them() {
    let Some(requests) = requests() else { return };
    let expected = expected(&requests);
    assert_eq!(expected.len(), requests.rows.len());
    for api in Api::ALL {
        let event = matches!(api, Api::Event | Api::PubSub);
        let org = org_with(|config| config.objects = parse_objects(&objects(&requests, event), "test").unwrap()).await;
        let sink = sink(&quick(&org));
        let limit = sink.limits(api).unwrap().rows_max;
        for pass in 0..if event || api == Api::Rest { 1 } else { 2 } {
            for from in (0..requests.rows.len()).step_by(limit) {
                let batch = batch(&requests, api, from, requests.rows.len().min(from + limit));
                let count = batch.rows.len();
                let done = match api {
                    Api::Bulk => sink.apply_job(batch, &Host::new()).await.unwrap(),
                    _ => sink.apply(&batch).await.unwrap(),
                };
                assert_eq!(applied_rows(&done.rows), count, "{api}");
            }
            let held = if event { events(&org) } else { org.records("Request__c") };
            let held = content(&requests, held.into_iter());
            let differs = expected.iter().find(|(key, row)| held.get(*key) != Some(row));
            assert_eq!(differs.map(|(key, row)| (row, held.get(key))), None, "{api}: pass {pass}");
            assert_eq!(held.len(), expected.len(), "{api}: pass {pass}");
        }
        org.stop().await;
    }
}
