//! Any sequence of writes against the org's promises: the history rebuilds the tables, indexes agree with scans, and the
//! same calls give the same answers.

use crate::support::config;
use http::{HeaderMap, Method};
use org_sim::{HistoryEntry, HistoryOp, Org, OrgConfig, Request};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Accounts { keys: Vec<u8>, bad: bool, all_or_none: bool },
    Orders { rows: Vec<(u8, u8)>, all_or_none: bool },
    Update { object: &'static str, row: u8, text: Option<u8> },
    Delete { object: &'static str, rows: Vec<u8>, all_or_none: bool },
    Single { key: u8, text: u8 },
    Parent { row: u8, of: u8 },
    Undelete { object: &'static str, row: u8 },
    Purge { object: &'static str, row: u8, hard: bool },
    Merge { winner: u8, loser: u8 },
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let object = prop::sample::select(vec!["Account", "Order__c", "Line__c"]);
    prop_oneof![
        (prop::collection::vec(0u8..8, 1..5), any::<bool>(), any::<bool>())
            .prop_map(|(keys, bad, all_or_none)| Step::Accounts { keys, bad, all_or_none }),
        (prop::collection::vec((0u8..8, 0u8..10), 1..5), any::<bool>())
            .prop_map(|(rows, all_or_none)| Step::Orders { rows, all_or_none }),
        (object.clone(), 0u8..12, prop::option::of(any::<u8>())).prop_map(|(object, row, text)| Step::Update {
            object,
            row,
            text
        }),
        (object.clone(), prop::collection::vec(0u8..12, 1..4), any::<bool>())
            .prop_map(|(object, rows, all_or_none)| Step::Delete { object, rows, all_or_none }),
        (0u8..8, any::<u8>()).prop_map(|(key, text)| Step::Single { key, text }),
        (0u8..12, 0u8..12).prop_map(|(row, of)| Step::Parent { row, of }),
        (object.clone(), 0u8..12).prop_map(|(object, row)| Step::Undelete { object, row }),
        (object, 0u8..12, any::<bool>()).prop_map(|(object, row, hard)| Step::Purge { object, row, hard }),
        (0u8..12, 0u8..12).prop_map(|(winner, loser)| Step::Merge { winner, loser }),
        // Up to 46 days: longer than a row stays in the recycle bin.
        (0u32..4_000_000_000).prop_map(Step::Wait),
    ]
}

struct World {
    org: Org,
    headers: HeaderMap,
    now_ms: i64,
    answers: Vec<(u16, Vec<u8>)>,
}

impl World {
    fn new() -> Self {
        let now_ms = 1_800_000_000_000;
        let config = OrgConfig { session_timeout_s: 100_000_000, ..config() };
        let mut org = Org::new(config, "http://org", now_ms).unwrap();
        let mut headers = HeaderMap::new();
        let token = org.log_in(now_ms).unwrap();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        Self { org, headers, now_ms, answers: Vec::new() }
    }

    fn call(&mut self, method: Method, path: &str, body: &Value) -> Value {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = format!("/services/data/v62.0/{path}");
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::new(&method, &path, query, &self.headers, &body);
        let answer = self.org.apply(self.now_ms, &request);
        self.answers.push((answer.status, answer.body.clone()));
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    fn recycle(&mut self, what: &str, body: &Value) {
        let body = body.to_string().into_bytes();
        let request = Request::new(&Method::POST, "/_sim", "", &self.headers, &body);
        let answer = self.org.recycle(self.now_ms, what, &request).unwrap();
        self.answers.push((answer.status, answer.body));
    }

    fn id(&self, object: &str, row: u8) -> String {
        let prefix = match object {
            "Account" => *b"001",
            "Order__c" => *b"a00",
            _ => *b"a01",
        };
        org_sim::SfId::new(prefix, u64::from(row) + 1).to_string()
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Accounts { keys, bad, all_or_none } => {
                let mut records: Vec<Value> = keys
                    .iter()
                    .map(|key| json!({ "Code__c": format!("K{key}"), "Name": format!("n{key}"), "Score__c": key }))
                    .collect();
                if *bad {
                    records.push(json!({ "Code__c": "bad" }));
                }
                let body = json!({ "allOrNone": all_or_none, "records": records });
                self.call(Method::PATCH, "composite/sobjects/Account/Code__c", &body);
            }
            Step::Orders { rows, all_or_none } => {
                let record = |(key, parent): &(u8, u8)| json!({ "Key__c": key, "Total__c": parent, "Account__r": { "Code__c": format!("k{parent}") } });
                let records: Vec<Value> = rows.iter().map(record).collect();
                let body = json!({ "allOrNone": all_or_none, "records": records });
                self.call(Method::PATCH, "composite/sobjects/Order__c/Key__c", &body);
                let line = json!({ "Order__c": self.id("Order__c", rows[0].0), "Text__c": "t" });
                self.call(Method::POST, "sobjects/Line__c", &line);
            }
            Step::Update { object, row, text } => {
                let field = if *object == "Line__c" { "Text__c" } else { "Name" };
                let text = text.map(|text| text.to_string());
                let record = json!({ "attributes": { "type": object }, "id": self.id(object, *row), field: text });
                self.call(Method::PATCH, "composite/sobjects", &json!({ "records": [record] }));
            }
            Step::Delete { object, rows, all_or_none } => {
                let ids: Vec<String> = rows.iter().map(|row| self.id(object, *row)).collect();
                let path = format!("composite/sobjects?ids={}&allOrNone={all_or_none}", ids.join(","));
                self.call(Method::DELETE, &path, &Value::Null);
            }
            Step::Single { key, text } => {
                let body =
                    json!({ "Name": text.to_string(), "Phone": if text % 2 == 0 { Value::Null } else { json!("1") } });
                self.call(Method::PATCH, &format!("sobjects/Account/Code__c/K{key}"), &body);
            }
            Step::Parent { row, of } => {
                let (row, of) = (self.id("Account", *row), self.id("Account", *of));
                self.call(Method::PATCH, &format!("sobjects/Account/{row}"), &json!({ "ParentId": of }));
            }
            Step::Undelete { object, row } => {
                self.recycle("undelete", &json!({ "ids": [self.id(object, *row)] }));
            }
            Step::Purge { object, row, hard } => {
                self.recycle("purge", &json!({ "ids": [self.id(object, *row)], "hard": hard }));
            }
            Step::Merge { winner, loser } => {
                let (winner, loser) = (self.id("Account", *winner), self.id("Account", *loser));
                self.recycle("merge", &json!({ "winner": winner, "losers": [loser], "fields": { "Phone": "9" } }));
            }
            Step::Wait(ms) => self.now_ms += i64::from(*ms),
        }
    }

    fn count(&mut self, condition: &str) -> Value {
        let query =
            format!("SELECT Id FROM Account WHERE {condition} ORDER BY Id").replace('%', "%25").replace(' ', "+");
        self.call(Method::GET, &format!("query?q={query}"), &Value::Null)["records"].clone()
    }
}

type Tables = BTreeMap<(String, String), Map<String, Value>>;

fn replay(history: &[HistoryEntry]) -> Tables {
    let mut tables = Tables::new();
    for (at, entry) in history.iter().enumerate() {
        assert_eq!(entry.seq, at as u64 + 1);
        let key = (entry.object.clone(), entry.id.clone());
        if entry.op == HistoryOp::Create {
            assert!(!tables.contains_key(&key), "an id is used once");
            tables.insert(key.clone(), Map::from_iter([("Id".to_owned(), json!(entry.id))]));
        }
        let row = tables.get_mut(&key).expect("a change is of a row that is there");
        for (field, change) in &entry.changes {
            let before =
                row.get(field).cloned().unwrap_or(if field == "IsDeleted" { json!(false) } else { Value::Null });
            assert_eq!(before, change["before"], "{field} of change {}", entry.seq);
            match &change["after"] {
                Value::Null => row.remove(field),
                Value::Bool(false) if field == "IsDeleted" => row.remove(field),
                value => row.insert(field.clone(), value.clone()),
            };
        }
        if entry.op == HistoryOp::Purge {
            tables.remove(&key);
        }
    }
    tables
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn history_rebuilds_exactly_the_tables(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        let tables = replay(&world.org.changes(0, usize::MAX));
        for object in ["Account", "Order__c", "Line__c"] {
            let rows = tables.iter().filter(|((name, _), row)| name == object && !row.contains_key("IsDeleted"));
            let rebuilt: Vec<_> = rows.map(|(_, row)| row.clone()).collect();
            let mut records = world.org.records(object);
            records.sort_by_key(|record| record["Id"].as_str().unwrap().to_owned());
            prop_assert_eq!(rebuilt, records, "{}", object);
        }
        // No live row points to one that is gone.
        for (object, field, parent) in [
            ("Line__c", "Order__c", "Order__c"),
            ("Order__c", "Account__c", "Account"),
            ("Account", "ParentId", "Account"),
        ] {
            let live: Vec<Value> = world.org.records(parent).iter().map(|row| row["Id"].clone()).collect();
            for row in world.org.records(object) {
                prop_assert!(row.get(field).is_none_or(|id| live.contains(id)), "{}.{}", object, field);
            }
        }
    }

    #[test]
    fn index_and_scan_find_the_same_rows(steps in prop::collection::vec(step(), 1..30)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        for key in 0..8 {
            let (by_index, by_scan) = (world.count(&format!("Code__c = 'k{key}'")), world.count(&format!("Code__c LIKE 'k{key}'")));
            prop_assert_eq!(by_index, by_scan);
            let id = world.id("Account", key);
            let (by_index, by_scan) = (world.count(&format!("ParentId = '{id}'")), world.count(&format!("NOT ParentId != '{id}'")));
            prop_assert_eq!(by_index, by_scan);
        }
    }

    #[test]
    fn same_calls_give_the_same_answers(steps in prop::collection::vec(step(), 1..20)) {
        let run = || {
            let mut world = World::new();
            steps.iter().for_each(|step| world.run(step));
            world.answers
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn any_body_and_path_is_answered_without_panic(path in "(sobjects|composite|query|Account|Code__c|describe|001|/|%|\\?|=|é|q){0,8}", body in ".{0,40}", method in 0usize..5) {
        let mut world = World::new();
        let method = [Method::GET, Method::POST, Method::PATCH, Method::DELETE, Method::PUT][method].clone();
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let path = format!("/services/data/v62.0/{path}");
        let request = Request::new(&method, &path, query, &world.headers, body.as_bytes());
        let answer = world.org.apply(world.now_ms, &request);
        prop_assert!((200..500).contains(&answer.status));
    }
}
