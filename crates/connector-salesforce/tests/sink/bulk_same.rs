//! The property of the file: CSV and JSON of any row mean the same to the org.

use crate::jobs::{Host, quick};
use crate::org::{org_with, parent, plain};
use crate::stub::{accounts, row, sink, text};
use contract::{OutBatch, OutOp, OutRow, RowResult, Sink};
use model::{Api, Cell, FieldValue};
use org_sim::parse_objects;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value};

const FIELDS: &str = "
    fields:
      Key__c: {type: text, length: 40, external_id: true, unique: true, case_sensitive: true}
      Text__c: {type: text, length: 255}
      Long__c: {type: long_text_area, length: 131072}
      Flag__c: {type: checkbox}
      Amount__c: {type: number, precision: 18, scale: 4}
      Day__c: {type: date}
      Moment__c: {type: datetime}
      Choices__c: {type: multi_picklist, values: [a, b, c]}
      Account__c: {type: lookup, to: Account}
";

fn number(text: &str) -> Cell {
    Cell::Value(FieldValue::Number(text.parse().unwrap()))
}

/// A cell of a field, or null, or nothing.
fn cell(values: impl Strategy<Value = Cell> + 'static) -> BoxedStrategy<Cell> {
    prop_oneof![3 => values, 1 => Just(Cell::Null), 1 => Just(Cell::Unchanged)].boxed()
}

fn texts(pattern: &'static str) -> impl Strategy<Value = Cell> {
    pattern.prop_map(|value| text(&value))
}

fn cells() -> impl Strategy<Value = Vec<Cell>> {
    let awkward = prop::sample::select(vec![
        "",
        "\"",
        "\"\"",
        ",",
        "\n",
        "\r\n",
        "a\nb",
        "a\r\nb",
        "#N/A",
        "#n/a",
        " ",
        "x ",
        " x",
        "é日本🦀",
        "=1+1",
        "'",
        "\\",
        "a,b\"c\"\nd",
        "NULL",
        "\u{feff}",
        "sf__Id",
    ]);
    let awkward = awkward.prop_map(text).boxed();
    let any_text = prop_oneof![awkward.clone(), texts("[^\0]{0,40}").boxed()];
    (
        cell(any_text.clone()),
        cell(any_text),
        // A checkbox has no null.
        prop_oneof![any::<bool>().prop_map(|flag| Cell::Value(FieldValue::Bool(flag))), Just(Cell::Unchanged)],
        cell((-99_999_999i64..99_999_999, 0u32..9999).prop_map(|(whole, part)| number(&format!("{whole}.{part:04}")))),
        cell((1970..2100i32, 1..13u8, 1..28u8).prop_map(|(y, m, d)| text(&format!("{y}-{m:02}-{d:02}")))),
        cell((0..24u8, 0..60u8).prop_map(|(h, m)| text(&format!("2024-02-29T{h:02}:{m:02}:07.250Z")))),
        cell(texts("[abc](;[abc]){0,2}")),
        cell(texts("p[0-2]")),
    )
        .prop_map(|(a, b, c, d, e, f, g, h)| vec![a, b, c, d, e, f, g, h])
}

fn batch(object: &str, api: Api, rows: Vec<OutRow>) -> OutBatch {
    let names = ["Text__c", "Long__c", "Flag__c", "Amount__c", "Day__c", "Moment__c", "Choices__c"];
    OutBatch {
        api,
        object: object.into(),
        external_id: Some("Key__c".into()),
        columns: names.into_iter().map(plain).chain([parent()]).collect(),
        rows,
        ..accounts(OutOp::Upsert, &["x"])
    }
}

/// Records by key, without what the org gives by itself.
fn content(org: &org_sim::RunningOrg, object: &str) -> Vec<Map<String, Value>> {
    let mut records = org.records(object);
    for record in &mut records {
        record.retain(|name, _| name == "Account__c" || name != "OwnerId" && name.ends_with("__c"));
    }
    records.sort_by_key(|record| record["Key__c"].to_string());
    records
}

/// Codes and fields of refusals; what was applied is told by the content.
fn refusals(rows: &[RowResult]) -> Vec<Option<(String, Vec<String>)>> {
    let told = |row: &RowResult| match row {
        RowResult::Applied { .. } => None,
        RowResult::Failed(error) => Some((error.code.clone(), error.fields.clone())),
    };
    rows.iter().map(told).collect()
}

/// Applies the same rounds of rows by Collections and by jobs, and compares answers and content after each.
async fn compare(rounds: Vec<Vec<(u8, Vec<Cell>)>>) -> Result<(), TestCaseError> {
    let objects = format!(
        "objects:\n  Account:\n    fields:\n      Code__c: {{type: text, length: 40, external_id: true, unique: true}}\n  Left__c:{0}  Right__c:{0}",
        FIELDS
    );
    let org = org_with(|config| config.objects = parse_objects(&objects, "test").unwrap()).await;
    let sink = sink(&quick(&org));
    sink.apply(&accounts(OutOp::Upsert, &["p0", "p1"])).await.unwrap();
    for round in rounds {
        let mut rows: Vec<OutRow> = round.into_iter().map(|(key, cells)| row(&format!("k{key}"), cells)).collect();
        let mut seen = std::collections::HashSet::new();
        rows.retain(|row| seen.insert(format!("{:?}", row.key)));
        let left = sink.apply(&batch("Left__c", Api::Collections, rows.clone())).await.unwrap().rows;
        let right = sink.apply_job(batch("Right__c", Api::Bulk, rows), &Host::new()).await.unwrap().rows;
        prop_assert_eq!(refusals(&left), refusals(&right));
        prop_assert_eq!(content(&org, "Left__c"), content(&org, "Right__c"));
    }
    org.stop().await;
    Ok(())
}

#[test]
fn csv_and_json_of_any_row_mean_the_same_to_the_org() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rounds = prop::collection::vec(prop::collection::vec((0u8..12, cells()), 1..12), 1..4);
    let mut runner = TestRunner::new(Config { cases: 48, max_shrink_iters: 200, ..Config::default() });
    runner.run(&rounds, |rounds| runtime.block_on(compare(rounds))).unwrap();
}

#[tokio::test]
async fn the_longest_values_mean_the_same() {
    let long = |unit: &str, count: usize| text(&unit.repeat(count));
    let rows = [("é", 131_072), ("\"", 131_072), ("é", 131_073), ("a\n", 65_536)];
    let cells = |(unit, count): (&str, usize)| {
        let mut cells = vec![Cell::Unchanged; 8];
        cells[1] = long(unit, count);
        cells
    };
    let round = rows.into_iter().enumerate().map(|(n, row)| (n as u8, cells(row))).collect();
    compare(vec![round]).await.unwrap();
}
