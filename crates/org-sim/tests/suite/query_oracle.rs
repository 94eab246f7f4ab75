//! Queries against a plain reading of the same rows: conditions, order, groups and pages.

use crate::support::config;
use org_sim::{Org, OrgConfig, Request};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::BTreeMap;

const NOW_MS: i64 = 1_795_262_400_000;

/// A row as it was written: name, level, score in hundredths.
type Row = (u8, Option<&'static str>, Option<i32>);

#[derive(Clone, Debug)]
enum Condition {
    Score(&'static str, i32),
    NoScore(bool),
    Level(&'static str),
    LevelIn(bool, Vec<&'static str>),
    NameLike(u8),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

fn condition() -> impl Strategy<Value = Condition> {
    let level = prop::sample::select(vec!["Gold", "gold", "SILVER"]);
    let leaf = prop_oneof![
        (prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]), -300..300i32)
            .prop_map(|(op, score)| Condition::Score(op, score)),
        any::<bool>().prop_map(Condition::NoScore),
        level.clone().prop_map(Condition::Level),
        (any::<bool>(), prop::collection::vec(level, 1..3)).prop_map(|(not, levels)| Condition::LevelIn(not, levels)),
        (0u8..4).prop_map(Condition::NameLike),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            inner.prop_map(|one| Condition::Not(Box::new(one))),
            several.clone().prop_map(Condition::All),
            several.prop_map(Condition::Any),
        ]
    })
}

impl Condition {
    fn text(&self) -> String {
        let join = |all: &[Condition], word: &str| {
            let parts: Vec<String> = all.iter().map(|one| format!("({})", one.text())).collect();
            parts.join(word)
        };
        match self {
            Condition::Score(op, score) => format!("Score__c {op} {}", f64::from(*score) / 100.0),
            Condition::NoScore(true) => "Score__c = null".into(),
            Condition::NoScore(false) => "Score__c != NULL".into(),
            Condition::Level(level) => format!("Level__c = '{level}'"),
            Condition::LevelIn(not, levels) => {
                format!("Level__c {} ('{}')", if *not { "NOT IN" } else { "IN" }, levels.join("','"))
            }
            Condition::NameLike(digit) => format!("Name LIKE 'ROW _{digit}%'"),
            Condition::Not(one) => format!("NOT ({})", one.text()),
            Condition::All(all) => join(all, " AND "),
            Condition::Any(all) => join(all, " OR "),
        }
    }

    fn holds(&self, row: &Row) -> bool {
        let (name, level, score) = row;
        let is = |wanted: &str| level.is_some_and(|level| level.eq_ignore_ascii_case(wanted));
        match self {
            Condition::Score("=", wanted) => *score == Some(*wanted),
            Condition::Score("!=", wanted) => *score != Some(*wanted),
            Condition::Score(op, wanted) => score.is_some_and(|score| {
                matches!(
                    (*op, score.cmp(wanted)),
                    ("<" | "<=", Ordering::Less) | (">" | ">=", Ordering::Greater) | ("<=" | ">=", Ordering::Equal)
                )
            }),
            Condition::NoScore(none) => score.is_none() == *none,
            Condition::Level(wanted) => is(wanted),
            Condition::LevelIn(not, all) => all.iter().any(|wanted| is(wanted)) != *not,
            Condition::NameLike(digit) => format!("{name:02}").as_bytes()[1] == b'0' + digit,
            Condition::Not(one) => !one.holds(row),
            Condition::All(all) => all.iter().all(|one| one.holds(row)),
            Condition::Any(all) => all.iter().any(|one| one.holds(row)),
        }
    }
}

struct World {
    org: Org,
    headers: http::HeaderMap,
}

impl World {
    fn with(rows: &[Row]) -> Self {
        let mut org = Org::new(OrgConfig { ..config() }, "http://org", NOW_MS).unwrap();
        let token = org.log_in(NOW_MS).unwrap();
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        headers.insert("sforce-query-options", "batchSize=200".parse().unwrap());
        let record = |(name, level, score): &Row| {
            json!({
                "attributes": { "type": "Account" }, "Name": format!("Row {name:02}"), "Level__c": level,
                "Score__c": score.map(|score| f64::from(score) / 100.0),
            })
        };
        for rows in rows.chunks(200) {
            let body = json!({ "allOrNone": true, "records": rows.iter().map(record).collect::<Vec<_>>() }).to_string();
            let path = "/services/data/v62.0/composite/sobjects";
            let request = Request::new(&http::Method::POST, path, "", &headers, body.as_bytes());
            assert_eq!(org.apply(NOW_MS, &request).status, 200);
        }
        Self { org, headers }
    }

    /// Every record of a query, page after page.
    fn ask(&mut self, soql: &str) -> Vec<Value> {
        let encoded = percent_encoding::utf8_percent_encode(soql, percent_encoding::NON_ALPHANUMERIC);
        let (mut path, mut query) = ("/services/data/v62.0/query".to_owned(), format!("q={encoded}"));
        let mut records = Vec::new();
        loop {
            let request = Request::new(&http::Method::GET, &path, &query, &self.headers, &[]);
            let answer = self.org.apply(NOW_MS, &request);
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(answer.status, 200, "{soql}: {body}");
            records.extend(body["records"].as_array().unwrap().iter().cloned());
            match body.get("nextRecordsUrl") {
                Some(next) => (path, query) = (next.as_str().unwrap().to_owned(), String::new()),
                None => {
                    assert!(body["totalSize"] == records.len() && body["done"] == true, "{soql}: {body}");
                    return records;
                }
            }
        }
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let level = prop::sample::select(vec![None, Some("Gold"), Some("Silver")]);
    let score = prop_oneof![1 => Just(None), 4 => (-300..300i32).prop_map(Some)];
    prop::collection::vec((0u8..40, level, score), 0..450)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn conditions_order_and_pages_agree_with_a_plain_reading(
        rows in rows(), condition in condition(), descending: bool, last: bool, limit in 0usize..500, offset in 0usize..20,
    ) {
        let mut world = World::with(&rows);
        let mut expected: Vec<&Row> = rows.iter().filter(|row| condition.holds(row)).collect();
        // A stable order, as the org keeps the order of creation among equals.
        expected.sort_by(|a, b| match (a.2, b.2) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => if last { Ordering::Greater } else { Ordering::Less },
            (Some(_), None) => if last { Ordering::Less } else { Ordering::Greater },
            (Some(a), Some(b)) => if descending { b.cmp(&a) } else { a.cmp(&b) },
        });
        let expected: Vec<Value> = expected
            .into_iter()
            .skip(offset)
            .take(limit)
            .map(|(name, level, score)| json!([format!("Row {name:02}"), level, score.map(f64::from)]))
            .collect();
        let soql = format!(
            "SELECT Name, Level__c, Score__c FROM Account WHERE {} ORDER BY Score__c {} NULLS {} LIMIT {limit} OFFSET {offset}",
            condition.text(), if descending { "DESC" } else { "ASC" }, if last { "LAST" } else { "FIRST" },
        );
        let found: Vec<Value> = world
            .ask(&soql)
            .iter()
            .map(|record| json!([record["Name"], record["Level__c"], record["Score__c"].as_f64().map(|score| (score * 100.0).round())]))
            .collect();
        prop_assert_eq!(found, expected, "{}", soql);
    }

    #[test]
    fn groups_and_aggregates_agree_with_a_plain_reading(rows in rows(), condition in condition(), least in 0i64..12) {
        let mut world = World::with(&rows);
        let mut groups: BTreeMap<Option<&str>, Vec<&Row>> = BTreeMap::new();
        for row in rows.iter().filter(|row| condition.holds(row)) {
            groups.entry(row.1).or_default().push(row);
        }
        let hundredths = |value: &Value| value.as_f64().map(|number| (number * 100.0).round());
        let expected: Vec<Value> = groups
            .iter()
            .filter(|(_, rows)| rows.len() as i64 > least)
            .map(|(level, rows)| {
                let scores: Vec<i32> = rows.iter().filter_map(|row| row.2).collect();
                let names: std::collections::BTreeSet<u8> = rows.iter().map(|row| row.0).collect();
                let sum = (!scores.is_empty()).then(|| f64::from(scores.iter().sum::<i32>()));
                json!([
                    level, rows.len(), scores.len(), names.len(), sum,
                    scores.iter().min().map(|score| f64::from(*score)), scores.iter().max().map(|score| f64::from(*score)),
                ])
            })
            .collect();
        let soql = format!(
            "SELECT Level__c, COUNT(Id), COUNT(Score__c), COUNT_DISTINCT(Name), SUM(Score__c), MIN(Score__c), MAX(Score__c), AVG(Score__c) mean \
             FROM Account WHERE {} GROUP BY Level__c HAVING COUNT(Id) > {least} ORDER BY Level__c",
            condition.text(),
        );
        let found: Vec<Value> = world
            .ask(&soql)
            .iter()
            .map(|record| {
                json!([
                    record["Level__c"], record["expr0"], record["expr1"], record["expr2"], hundredths(&record["expr3"]),
                    hundredths(&record["expr4"]), hundredths(&record["expr5"]),
                ])
            })
            .collect();
        prop_assert_eq!(&found, &expected, "{}", soql);
        for record in world.ask(&soql) {
            // Means are no round numbers: sum and count tell them to the last digits.
            let mean = record["expr3"].as_f64().map(|sum| sum / record["expr1"].as_f64().unwrap());
            let near = match (mean, record["mean"].as_f64()) {
                (Some(mean), Some(found)) => (mean - found).abs() < 1e-9,
                (mean, found) => mean.is_none() && found.is_none(),
            };
            prop_assert!(near, "{soql}: {record}");
        }
    }
}
