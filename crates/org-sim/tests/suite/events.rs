//! Change events against the promise that counts: whoever follows them has the table.

use crate::support::{Client, org_with};
use apache_avro::types::Value as Avro;
use http::{HeaderMap, Method};
use org_sim::{EventEntry, EventsConfig, FaultRule, Org, OrgConfig, Request, apply_diff, parse_objects, read_bitmap};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

const OBJECTS: &str = "
objects:
  Account: {fields: {Tier__c: {type: text, length: 20}, Open__c: {type: checkbox}, Day__c: {type: date}}}
  Shipped__e: {fields: {Order__c: {type: text, length: 10, required: true}, Total__c: {type: number, precision: 10, scale: 2}}}
  Later__e: {publish: after_commit, fields: {Order__c: {}}}
channels:
  ChangeEvents: {members: [Account, Contact]}
  Rich__chn: {members: [{entity: Account, enrich: [Name, BillingAddress, Site]}, Contact]}
  Energy__chn: {members: [{entity: Account, filter: \"Industry = 'Energy' AND BillingAddress.City LIKE 'O%'\"}]}
";

pub fn config() -> OrgConfig {
    OrgConfig { objects: parse_objects(OBJECTS, "test").unwrap(), ..OrgConfig::default() }
}

/// An event, decoded by a reader that is not the org's.
pub struct Seen {
    pub change: String,
    pub ids: Vec<String>,
    pub header: Value,
    /// Every field but the header; compounds as objects.
    pub body: Map<String, Value>,
    pub changed: Vec<String>,
    pub nulled: Vec<String>,
    pub diffs: Vec<String>,
}

pub fn decode(schema: &str, payload: &[u8]) -> Value {
    let parsed = apache_avro::Schema::parse_str(schema).unwrap();
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&parsed).build().unwrap();
    let mut rest = payload;
    let value = reader.read_value(&mut rest).unwrap();
    assert!(rest.is_empty());
    to_json(value)
}

fn to_json(value: Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(value) => json!(value),
        Avro::Int(value) => json!(value),
        Avro::Long(value) => json!(value),
        Avro::Double(value) => json!(value),
        Avro::String(text) | Avro::Enum(_, text) => json!(text),
        Avro::Union(_, value) => to_json(*value),
        Avro::Array(items) => items.into_iter().map(to_json).collect(),
        Avro::Record(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, to_json(value))).collect())
        }
        other => panic!("{other:?}"),
    }
}

pub fn see(event: &EventEntry) -> Seen {
    let Value::Object(mut body) = decode(&event.schema, &event.payload) else { panic!("an event is a record") };
    let header = body.remove("ChangeEventHeader").unwrap();
    let schema: Value = serde_json::from_str(&event.schema).unwrap();
    let names = |list: &str| {
        let entries: Vec<Box<str>> =
            header[list].as_array().unwrap().iter().map(|e| e.as_str().unwrap().into()).collect();
        read_bitmap(&entries).unwrap().into_iter().map(|place| name_of(&schema, place)).collect::<Vec<_>>()
    };
    Seen {
        change: header["changeType"].as_str().unwrap().to_owned(),
        ids: header["recordIds"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect(),
        changed: names("changedFields"),
        nulled: names("nulledFields"),
        diffs: names("diffFields"),
        body,
        header,
    }
}

/// The name of a place; a record that is used twice is defined where it is used first.
fn name_of(schema: &Value, (top, inner): (u16, Option<u16>)) -> String {
    fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
        match value {
            Value::Object(members)
                if members.get("name").is_some_and(|n| n == name) && members.contains_key("fields") =>
            {
                Some(value)
            }
            Value::Object(members) => members.values().find_map(|value| find(value, name)),
            Value::Array(items) => items.iter().find_map(|value| find(value, name)),
            _ => None,
        }
    }
    let field = &schema["fields"][usize::from(top)];
    let name = field["name"].as_str().unwrap();
    let Some(inner) = inner else { return name.to_owned() };
    let branch = &field["type"][1];
    let record = branch.as_str().map_or(Some(branch), |name| find(schema, name)).unwrap();
    format!("{name}.{}", record["fields"][usize::from(inner)]["name"].as_str().unwrap())
}

#[derive(Clone, Debug)]
enum Step {
    Create { rows: Vec<Row>, all_or_none: bool },
    Update { rows: Vec<(u8, Row)>, all_or_none: bool },
    SameUpdate { rows: Vec<u8>, row: Row },
    Delete(Vec<u8>),
    Undelete(u8),
    Merge(u8, u8),
    Parent(u8, u8),
    Wait(u16),
}

type Row = Vec<(&'static str, Value)>;

fn row() -> impl Strategy<Value = Row> {
    let text =
        |values: &'static [&'static str]| prop::option::of(prop::sample::select(values)).prop_map(|value| json!(value));
    let field = prop_oneof![
        text(&["a", "b"]).prop_map(|value| ("Name", if value.is_null() { json!("n") } else { value })),
        text(&["1", "2"]).prop_map(|value| ("Phone", value)),
        text(&["Oslo", "Rome"]).prop_map(|value| ("BillingCity", value)),
        text(&["x", "y"]).prop_map(|value| ("BillingStreet", value)),
        text(&["Norway"]).prop_map(|value| ("ShippingCountry", value)),
        text(&["Energy", "Banking"]).prop_map(|value| ("Industry", value)),
        prop::option::of(0u32..5).prop_map(|value| ("AnnualRevenue", json!(value))),
        prop::option::of(0u32..5).prop_map(|value| ("NumberOfEmployees", json!(value))),
        any::<bool>().prop_map(|value| ("Open__c", json!(value))),
        text(&["2026-02-28", "1969-12-31"]).prop_map(|value| ("Day__c", value)),
        prop::option::of((0usize..40, 0u8..3)).prop_map(|change| {
            let lines = change.map(|(at, letter)| {
                let mut lines: Vec<String> =
                    (0..40).map(|line| format!("line {line} of a text that is long")).collect();
                lines[at] = letter.to_string();
                lines.join("\n")
            });
            ("Description", json!(lines))
        }),
    ];
    prop::collection::vec(field, 0..5)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (prop::collection::vec(row(), 1..4), any::<bool>()).prop_map(|(rows, all_or_none)| Step::Create { rows, all_or_none }),
        5 => (prop::collection::vec((0u8..8, row()), 1..4), any::<bool>()).prop_map(|(rows, all_or_none)| Step::Update { rows, all_or_none }),
        1 => (prop::collection::vec(0u8..8, 1..5), row()).prop_map(|(rows, row)| Step::SameUpdate { rows, row }),
        2 => prop::collection::vec(0u8..8, 1..3).prop_map(Step::Delete),
        1 => (0u8..8).prop_map(Step::Undelete),
        1 => (0u8..8, 0u8..8).prop_map(|(winner, loser)| Step::Merge(winner, loser)),
        1 => (0u8..8, 0u8..8).prop_map(|(row, of)| Step::Parent(row, of)),
        1 => any::<u16>().prop_map(Step::Wait),
    ]
}

struct World {
    org: Org,
    headers: HeaderMap,
    now_ms: i64,
}

impl World {
    fn new(config: OrgConfig) -> Self {
        let now_ms = 1_800_000_000_000;
        let mut org = Org::new(config, "http://org", now_ms).unwrap();
        let token = org.log_in(now_ms).unwrap();
        let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
        Self { org, headers, now_ms }
    }

    fn call(&mut self, method: Method, path: &str, body: &Value) -> Value {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/services/data/v62.0/{path}") };
        let body = body.to_string().into_bytes();
        let request = Request::new(&method, &path, query, &self.headers, &body);
        let answer = match path.strip_prefix("/_sim/") {
            Some(what) => self.org.recycle(self.now_ms, what, &request).unwrap(),
            None => self.org.apply(self.now_ms, &request),
        };
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    fn write(&mut self, method: Method, rows: Vec<Value>, all_or_none: bool) {
        self.call(method, "composite/sobjects", &json!({ "allOrNone": all_or_none, "records": rows }));
    }

    fn run(&mut self, step: &Step) {
        let record = |row: &Row| {
            let mut record = Map::from_iter(row.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            record.insert("attributes".into(), json!({ "type": "Account" }));
            record
        };
        let update = |at: u8, row: &Row| {
            let mut record = record(row);
            record.insert("id".into(), json!(id(at)));
            Value::Object(record)
        };
        match step {
            Step::Create { rows, all_or_none } => {
                // Every other row has a name at least; one without fails.
                let named = |(at, row): (usize, &Row)| {
                    let mut record = record(row);
                    if at % 2 == 0 && !record.contains_key("Name") {
                        record.insert("Name".into(), json!("n"));
                    }
                    Value::Object(record)
                };
                self.write(Method::POST, rows.iter().enumerate().map(named).collect(), *all_or_none);
            }
            Step::Update { rows, all_or_none } => {
                self.write(Method::PATCH, rows.iter().map(|(at, row)| update(*at, row)).collect(), *all_or_none);
            }
            Step::SameUpdate { rows, row } => {
                self.write(Method::PATCH, rows.iter().map(|at| update(*at, row)).collect(), false);
            }
            Step::Delete(rows) => {
                let ids: Vec<String> = rows.iter().map(|at| id(*at)).collect();
                self.call(Method::DELETE, &format!("composite/sobjects?ids={}", ids.join(",")), &Value::Null);
            }
            Step::Undelete(at) => {
                self.call(Method::POST, "/_sim/undelete", &json!({ "ids": [id(*at)] }));
            }
            Step::Merge(winner, loser) => {
                self.call(Method::POST, "/_sim/merge", &json!({ "winner": id(*winner), "losers": [id(*loser)] }));
            }
            Step::Parent(at, of) => {
                self.write(Method::PATCH, vec![update(*at, &vec![("ParentId", json!(id(*of)))])], false)
            }
            Step::Wait(ms) => self.now_ms += i64::from(*ms),
        }
    }

    fn events(&mut self, topic: &str, after: u64) -> Vec<EventEntry> {
        self.org.events(self.now_ms, topic, after, usize::MAX).unwrap()
    }
}

fn id(at: u8) -> String {
    org_sim::SfId::new(*b"001", u64::from(at) + 1).to_string()
}

/// A follower's table: values by id and by the name that REST knows them under.
#[derive(Default)]
struct Replica {
    rows: BTreeMap<String, Map<String, Value>>,
}

impl Replica {
    fn apply(&mut self, org: &Org, event: &EventEntry) {
        let seen = see(event);
        for id in &seen.ids {
            match seen.change.as_str() {
                "CREATE" | "UNDELETE" => {
                    let mut row = Map::new();
                    for (name, value) in &seen.body {
                        match value {
                            Value::Object(parts) => parts
                                .iter()
                                .for_each(|(part, value)| set(&mut row, &rest_name(&format!("{name}.{part}")), value)),
                            value => set(&mut row, name, value),
                        }
                    }
                    self.rows.insert(id.clone(), row);
                }
                "UPDATE" => self.update(org, id, &seen),
                "DELETE" => {
                    self.rows.remove(id);
                }
                _ => self.heal(org, id),
            }
        }
    }

    fn update(&mut self, org: &Org, id: &str, seen: &Seen) {
        let Some(row) = self.rows.get_mut(id) else { return self.heal(org, id) };
        for name in &seen.changed {
            let value = match name.split_once('.') {
                Some((top, part)) => seen.body[top].get(part).cloned().unwrap_or(Value::Null),
                None => seen.body[name].clone(),
            };
            assert_eq!(value.is_null(), seen.nulled.contains(name), "{name}: null is told, and nothing else is null");
            if seen.diffs.contains(name) {
                let old = row.get(name).and_then(Value::as_str).unwrap_or_default();
                match apply_diff(old, value.as_str().unwrap()) {
                    Some(new) => set(row, name, &json!(new)),
                    None => return self.heal(org, id),
                }
            } else {
                set(row, &rest_name(name), &value);
            }
        }
    }

    /// Reads the record, as a follower does after a gap.
    fn heal(&mut self, org: &Org, id: &str) {
        match org.records("Account").into_iter().find(|row| row["Id"] == *id) {
            Some(row) => self.rows.insert(id.to_owned(), of_record(row)),
            None => self.rows.remove(id),
        };
    }
}

fn set(row: &mut Map<String, Value>, name: &str, value: &Value) {
    match value {
        Value::Null => row.remove(name),
        Value::Number(number) => row.insert(name.to_owned(), json!(number.as_f64())),
        value => row.insert(name.to_owned(), value.clone()),
    };
}

/// `BillingAddress.City` → `BillingCity`.
fn rest_name(name: &str) -> String {
    name.replace("Address.", "")
}

/// A record with its values as events have them.
fn of_record(record: Map<String, Value>) -> Map<String, Value> {
    let mut row = Map::new();
    for (name, value) in record {
        match name.as_str() {
            "Id" => {}
            "Day__c" => {
                let days = if value == "2026-02-28" { 20_512.0 } else { -1.0 };
                row.insert(name, json!(days * 86_400_000.0));
            }
            _ => set(&mut row, &name, &value),
        }
    }
    row
}

fn audit(name: &str) -> bool {
    ["CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById"].contains(&name)
}

fn check(world: &mut World) {
    let mut replica = Replica::default();
    for event in world.events("/data/AccountChangeEvent", 0) {
        replica.apply(&world.org, &event);
    }
    let records: BTreeMap<String, Map<String, Value>> = world
        .org
        .records("Account")
        .into_iter()
        .map(|row| (row["Id"].as_str().unwrap().to_owned(), of_record(row)))
        .collect();
    let rows: BTreeMap<_, Map<String, Value>> = replica
        .rows
        .into_iter()
        .map(|(id, row)| (id, row.into_iter().filter(|(name, _)| !audit(name)).collect()))
        .collect();
    assert_eq!(rows, records);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn follower_of_change_events_has_exactly_the_table(steps in prop::collection::vec(step(), 1..40), merge in any::<bool>(), diffs in any::<bool>()) {
        let events = EventsConfig { merge, diffs, ..EventsConfig::default() };
        let mut world = World::new(OrgConfig { events, ..config() });
        for step in &steps {
            world.run(step);
        }
        check(&mut world);
    }

    #[test]
    fn follower_heals_gaps_and_passes_over_duplicates(steps in prop::collection::vec(step(), 1..40), seed in any::<u64>()) {
        let mut world = World::new(OrgConfig { seed, ..config() });
        for kind in ["gap_event", "duplicate_event"] {
            let rule = json!({ "match": { "api": "events" }, "effect": { "kind": kind }, "fraction": 0.2 });
            world.org.add_fault(serde_json::from_value::<FaultRule>(rule).unwrap());
        }
        for step in &steps {
            world.run(step);
        }
        check(&mut world);
    }

    #[test]
    fn replay_from_any_event_gives_the_same_tail(steps in prop::collection::vec(step(), 1..20)) {
        let mut world = World::new(config());
        for step in &steps {
            world.run(step);
        }
        for topic in ["/data/ChangeEvents", "/data/AccountChangeEvent", "/data/Rich__chn"] {
            let all = world.events(topic, 0);
            for event in &all {
                let tail: Vec<_> = all.iter().filter(|other| other.replay > event.replay).cloned().collect();
                prop_assert_eq!(world.events(topic, event.replay), tail);
            }
        }
        let ids: Vec<u64> = world.events("/data/ChangeEvents", 0).iter().map(|event| event.replay).collect();
        prop_assert!(ids.is_sorted_by(|a, b| a < b));
    }
}

async fn create(client: &Client, fields: Value) -> String {
    let (status, body) = client.send("POST", "sobjects/Account", fields).await;
    assert_eq!(status, 201, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn transaction_over_its_limit_tells_one_overflow_for_each_object() {
    let events = EventsConfig { overflow_changes: 2, ..EventsConfig::default() };
    let (org, client) = org_with(OrgConfig { events, ..config() }).await;
    let record = |kind: &str, name: &str| json!({ "attributes": { "type": kind }, "Name": name, "LastName": name });
    let mut records: Vec<Value> = (0..4).map(|at| record("Account", &at.to_string())).collect();
    records.iter_mut().for_each(|record| drop(record.as_object_mut().unwrap().remove("LastName")));
    let mut contact = record("Contact", "c");
    contact.as_object_mut().unwrap().remove("Name");
    records.push(contact);
    client.send("POST", "composite/sobjects", json!({ "records": records })).await;
    let seen: Vec<Seen> = org.events("/data/ChangeEvents", 0).unwrap().iter().map(see).collect();
    let told: Vec<_> =
        seen.iter().map(|event| (&*event.change, event.header["entityName"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [("CREATE", "Account"), ("CREATE", "Account"), ("GAP_OVERFLOW", "Account"), ("GAP_OVERFLOW", "Contact")]
    );
    assert_eq!(seen[2].ids, ["000000000000000AAA"]);
    org.stop().await;
}

#[tokio::test]
async fn event_that_is_too_large_is_told_as_a_gap() {
    let events = EventsConfig { event_bytes_max: 1000, ..EventsConfig::default() };
    let (org, client) = org_with(OrgConfig { events, ..config() }).await;
    let id = create(&client, json!({ "Name": "a", "Description": "d".repeat(2000) })).await;
    let events = org.events("/data/AccountChangeEvent", 0).unwrap();
    let seen = see(&events[0]);
    assert_eq!((&*seen.change, seen.ids), ("GAP_CREATE", vec![id]));
    assert!(seen.body.values().all(Value::is_null));
    org.stop().await;
}

#[tokio::test]
async fn rolled_back_and_unselected_writes_tell_nothing_and_the_sequence_counts_them() {
    let (org, client) = org_with(config()).await;
    let account = json!({ "attributes": { "type": "Account" }, "Name": "a" });
    let case = json!({ "attributes": { "type": "Case" }, "Subject": "a" });
    let bad = json!({ "attributes": { "type": "Account" } });
    client.send("POST", "composite/sobjects", json!({ "allOrNone": true, "records": [account, bad] })).await;
    assert_eq!(org.events("/data/ChangeEvents", 0).unwrap(), []);
    client.send("POST", "composite/sobjects", json!({ "records": [case, account] })).await;
    let events = org.events("/data/ChangeEvents", 0).unwrap();
    assert_eq!(events.len(), 1);
    let header = see(&events[0]).header;
    assert_eq!(header["sequenceNumber"], 2);
    assert_eq!(header["changeOrigin"], "com/salesforce/api/rest/62.0");
    org.stop().await;
}

#[tokio::test]
async fn composite_that_fails_as_a_whole_tells_nothing_and_one_that_succeeds_is_one_transaction() {
    let (org, client) = org_with(config()).await;
    let part = |name: &str, body: Value| json!({ "method": "POST", "url": "/services/data/v62.0/sobjects/Account", "referenceId": name, "body": body });
    let good = [part("a", json!({ "Name": "a" })), part("b", json!({ "Name": "b" }))];
    let bad = [part("a", json!({ "Name": "a" })), part("b", json!({}))];
    client.send("POST", "composite", json!({ "allOrNone": true, "compositeRequest": bad })).await;
    assert_eq!(org.events("/data/ChangeEvents", 0).unwrap(), []);
    client.send("POST", "composite", json!({ "allOrNone": true, "compositeRequest": good })).await;
    let events: Vec<Seen> = org.events("/data/ChangeEvents", 0).unwrap().iter().map(see).collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].header["transactionKey"], events[1].header["transactionKey"]);
    assert_eq!(events[1].header["sequenceNumber"], 2);
    org.stop().await;
}

#[tokio::test]
async fn merged_event_is_cut_into_one_for_each_record_on_an_enriched_channel() {
    let (org, client) = org_with(config()).await;
    let ids = [
        create(&client, json!({ "Name": "a", "BillingCity": "Oslo" })).await,
        create(&client, json!({ "Name": "b" })).await,
    ];
    let record = |id: &String| json!({ "attributes": { "type": "Account" }, "id": id, "Phone": "9" });
    client.send("PATCH", "composite/sobjects", json!({ "records": ids.iter().map(record).collect::<Vec<_>>() })).await;
    let plain = org.events("/data/AccountChangeEvent", 0).unwrap();
    assert_eq!(see(&plain[2]).ids, ids);
    let rich = org.events("/data/Rich__chn", plain[1].replay).unwrap();
    assert_eq!(rich.iter().map(|event| event.replay).collect::<Vec<_>>(), [plain[2].replay; 2]);
    let seen: Vec<Seen> = rich.iter().map(see).collect();
    assert_eq!((&seen[0].ids, &seen[0].body["Name"]), (&vec![ids[0].clone()], &json!("a")));
    assert_eq!(seen[0].body["BillingAddress"]["City"], "Oslo");
    assert_eq!((&seen[1].body["Name"], &seen[1].body["Phone"]), (&json!("b"), &json!("9")));
    assert!(!seen[0].changed.contains(&"Name".to_owned()), "an enriched field did not change");
    org.stop().await;
}

#[tokio::test]
async fn enriched_field_that_was_set_to_null_stays_null_although_it_has_a_value_by_now() {
    let (org, client) = org_with(config()).await;
    let id = create(&client, json!({ "Name": "a", "Site": "x" })).await;
    let path = format!("sobjects/Account/{id}");
    client.send("PATCH", &path, json!({ "Site": null })).await;
    client.send("PATCH", &path, json!({ "Site": "y", "Name": "b" })).await;
    client.send("DELETE", &path, Value::Null).await;
    let seen: Vec<Seen> = org.events("/data/Rich__chn", 0).unwrap().iter().map(see).collect();
    let told: Vec<_> = seen.iter().map(|event| (&*event.change, &event.body["Site"], &event.body["Name"])).collect();
    let (x, y, a, b, null) = (json!("x"), json!("y"), json!("a"), json!("b"), Value::Null);
    // The name did not change with the first update: it is the one that the record has when the event is delivered.
    assert_eq!(told, [("CREATE", &x, &a), ("UPDATE", &null, &b), ("UPDATE", &y, &b), ("DELETE", &y, &b)]);
    org.stop().await;
}

#[tokio::test]
async fn filtered_channel_carries_only_what_meets_its_condition() {
    let (org, client) = org_with(config()).await;
    let id = create(&client, json!({ "Name": "a", "Industry": "Energy", "BillingCity": "Rome" })).await;
    create(&client, json!({ "Name": "b", "Industry": "Energy", "BillingCity": "Oslo" })).await;
    client.send("PATCH", &format!("sobjects/Account/{id}"), json!({ "BillingCity": "Olso" })).await;
    let events: Vec<Seen> = org.events("/data/Energy__chn", 0).unwrap().iter().map(see).collect();
    let told: Vec<_> = events.iter().map(|event| &*event.change).collect();
    assert_eq!(told, ["CREATE", "UPDATE"]);
    // The field of the condition comes with the update although it did not change.
    assert_eq!(events[1].body["Industry"], "Energy");
    org.stop().await;
}

#[tokio::test]
async fn new_field_gives_a_new_schema_and_old_events_keep_theirs() {
    let (org, client) = org_with(config()).await;
    create(&client, json!({ "Name": "a" })).await;
    let more = json!({ "objects": { "Account": { "fields": { "Later__c": { "type": "text" } } } } });
    assert_eq!(client.send("POST", "/_sim/objects", more).await.0, 200);
    create(&client, json!({ "Name": "b", "Later__c": "x" })).await;
    let events = org.events("/data/AccountChangeEvent", 0).unwrap();
    assert_ne!(events[0].schema_id, events[1].schema_id);
    assert!(!see(&events[0]).body.contains_key("Later__c"));
    assert_eq!(see(&events[1]).body["Later__c"], "x");
    org.stop().await;
}

#[tokio::test]
async fn platform_event_of_any_call_is_a_success_with_an_error_that_says_enqueued() {
    let (org, client) = org_with(config()).await;
    let (status, single) =
        client.send("POST", "sobjects/Shipped__e", json!({ "Order__c": "A", "Total__c": 1.5 })).await;
    assert_eq!((status, &single["success"]), (201, &json!(true)));
    let records = [
        json!({ "attributes": { "type": "Shipped__e" }, "Order__c": "B" }),
        json!({ "attributes": { "type": "Shipped__e" } }),
    ];
    let (_, many) = client.send("POST", "composite/sobjects", json!({ "records": records })).await;
    assert_eq!(many[1]["errors"][0]["statusCode"], "REQUIRED_FIELD_MISSING");
    let events = org.events("/event/Shipped__e", 0).unwrap();
    let uuids: HashMap<_, _> = events
        .iter()
        .map(|event| (decode(&event.schema, &event.payload)["Order__c"].clone(), event.id.clone()))
        .collect();
    for (order, answer) in [("A", &single), ("B", &many[0])] {
        let error = &answer["errors"][0];
        assert_eq!(error["statusCode"], "OPERATION_ENQUEUED");
        assert_eq!(error["message"], uuids[&json!(order)]);
    }
    assert_eq!(events.len(), 2);
    org.stop().await;
}

#[tokio::test]
async fn event_after_commit_goes_with_its_transaction_and_one_published_at_once_does_not() {
    let (org, client) = org_with(config()).await;
    let record = |kind: &str| json!({ "attributes": { "type": kind }, "Order__c": "A" });
    let bad = json!({ "attributes": { "type": "Account" } });
    let body = json!({ "allOrNone": true, "records": [record("Shipped__e"), record("Later__e"), bad] });
    client.send("POST", "composite/sobjects", body).await;
    assert_eq!(org.events("/event/Shipped__e", 0).unwrap().len(), 1);
    assert_eq!(org.events("/event/Later__e", 0).unwrap().len(), 0);
    client.send("POST", "composite/sobjects", json!({ "records": [record("Later__e")] })).await;
    assert_eq!(org.events("/event/Later__e", 0).unwrap().len(), 1);
    org.stop().await;
}

#[test]
fn ids_of_events_do_not_come_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut world = World::new(OrgConfig { folder: Some(folder.path().to_owned()), ..config() });
        for _ in 0..2 {
            world.call(Method::POST, "sobjects/Shipped__e", &json!({ "Order__c": "A" }));
            world.call(Method::POST, "sobjects/Account", &json!({ "Name": "a" }));
        }
        for topic in ["/event/Shipped__e", "/data/ChangeEvents"] {
            ids.extend(world.events(topic, 0).into_iter().map(|event| (event.id, event.replay)));
        }
    }
    let distinct =
        |of: &dyn Fn(&(String, u64)) -> String| ids.iter().map(of).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((ids.len(), distinct(&|id| id.0.clone()), distinct(&|id| id.1.to_string())), (12, 12, 12));
}

#[tokio::test]
async fn hour_of_publications_ends_at_its_limit_and_comes_back() {
    let events = EventsConfig { published_max: Some(2), ..EventsConfig::default() };
    let (org, client) = org_with(OrgConfig { events, ..config() }).await;
    for expected in [201, 201, 400] {
        let (status, body) = client.send("POST", "sobjects/Shipped__e", json!({ "Order__c": "A" })).await;
        assert_eq!(status, expected, "{body}");
        if expected == 400 {
            assert_eq!(body[0]["errorCode"], "LIMIT_EXCEEDED");
        }
    }
    org.advance_ms(3_700_000);
    for _ in 0..2 {
        assert_eq!(client.send("POST", "sobjects/Shipped__e", json!({ "Order__c": "A" })).await.0, 201);
    }
    org.reset().unwrap();
    assert_eq!(org.events("/event/Shipped__e", 0).unwrap(), []);
    assert_eq!(client.send("POST", "sobjects/Shipped__e", json!({ "Order__c": "A" })).await.0, 201);
    org.stop().await;
}

#[tokio::test]
async fn events_are_kept_for_72_hours_of_the_orgs_clock_and_lost_ones_are_counted() {
    let (org, client) = org_with(config()).await;
    create(&client, json!({ "Name": "a" })).await;
    org.advance_ms(71 * 3_600_000);
    assert_eq!(org.events("/data/ChangeEvents", 0).unwrap().len(), 1);
    org.advance_ms(2 * 3_600_000);
    assert_eq!(org.events("/data/ChangeEvents", 0).unwrap().len(), 0);
    let client = Client::log_in(&org).await;
    let rule =
        json!({ "match": { "api": "events", "object": "Account" }, "effect": { "kind": "lose_event" }, "count": 1 });
    org.fault(serde_json::from_value(rule).unwrap());
    for name in ["lost", "kept"] {
        create(&client, json!({ "Name": name })).await;
    }
    let seen: Vec<Seen> = org.events("/data/ChangeEvents", 0).unwrap().iter().map(see).collect();
    assert_eq!(seen.iter().map(|event| event.body["Name"].clone()).collect::<Vec<_>>(), ["kept"]);
    let (_, status) = client.get("/_sim/events").await;
    assert_eq!(status["lost"], 1);
    org.stop().await;
}

#[tokio::test]
async fn late_event_comes_after_those_of_later_commits() {
    let (org, client) = org_with(config()).await;
    let rule = json!({ "match": { "api": "events" }, "effect": { "kind": "late_event", "ms": 5000 }, "count": 1 });
    org.fault(serde_json::from_value(rule).unwrap());
    for name in ["first", "second"] {
        create(&client, json!({ "Name": name })).await;
    }
    let names = || {
        org.events("/data/ChangeEvents", 0)
            .unwrap()
            .iter()
            .map(|event| see(event).body["Name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["second"]);
    org.advance_ms(5000);
    assert_eq!(names(), ["second", "first"]);
    org.stop().await;
}

#[tokio::test]
async fn bulk_rows_tell_their_changes_by_chunks_and_may_be_platform_events() {
    let (org, client) = org_with(config()).await;
    for (object, csv) in
        [("Account", "Name\nfrom bulk 1\nfrom bulk 2\n"), ("Shipped__e", "Order__c,Total__c\nB-1,2.5\n")]
    {
        let spec = json!({ "object": object, "operation": "insert", "lineEnding": "LF" });
        let (_, job) = client.send("POST", "jobs/ingest", spec).await;
        let path = format!("jobs/ingest/{}", job["id"].as_str().unwrap());
        let upload = client.call("PUT", &format!("{path}/batches")).header("content-type", "text/csv").body(csv);
        assert_eq!(upload.send().await.unwrap().status(), 201);
        client.send("PATCH", &path, json!({ "state": "UploadComplete" })).await;
        loop {
            let (_, job) = client.get(&path).await;
            assert_ne!(job["state"], "Failed", "{job}");
            if job["state"] == "JobComplete" {
                assert_eq!(job["numberRecordsFailed"], 0, "{job}");
                break;
            }
            org.advance_ms(1000);
        }
    }
    let seen: Vec<Seen> = org.events("/data/ChangeEvents", 0).unwrap().iter().map(see).collect();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header["changeOrigin"], "com/salesforce/api/bulkapi/62.0");
    assert_eq!(seen[0].header["transactionKey"], seen[1].header["transactionKey"]);
    let shipped = org.events("/event/Shipped__e", 0).unwrap();
    assert_eq!(decode(&shipped[0].schema, &shipped[0].payload)["Order__c"], "B-1");
    org.stop().await;
}

#[tokio::test]
async fn limits_count_publications_and_deliveries() {
    let (org, client) = org_with(config()).await;
    client.send("POST", "sobjects/Shipped__e", json!({ "Order__c": "A" })).await;
    let (_, limits) = client.get("limits").await;
    assert_eq!(limits["HourlyPublishedPlatformEvents"], json!({ "Max": 250_000, "Remaining": 249_999 }));
    assert_eq!(limits["DailyDeliveredPlatformEvents"], json!({ "Max": 25_000, "Remaining": 25_000 }));
    org.stop().await;
}

#[tokio::test]
async fn hard_deletes_and_cleared_lookups_are_told_as_the_settings_say() {
    for told in [false, true] {
        let events = EventsConfig { tell_hard_deletes: told, tell_cleared_lookups: told, ..EventsConfig::default() };
        let (org, client) = org_with(OrgConfig { events, ..config() }).await;
        let parent = create(&client, json!({ "Name": "parent" })).await;
        let child = create(&client, json!({ "Name": "child", "ParentId": parent })).await;
        let after = org.events("/data/ChangeEvents", 0).unwrap()[1].replay;
        client.send("DELETE", &format!("sobjects/Account/{parent}"), Value::Null).await;
        client.send("POST", "/_sim/purge", json!({ "ids": [parent] })).await;
        client.send("POST", "/_sim/purge", json!({ "ids": [child], "hard": true })).await;
        let seen = org.events("/data/ChangeEvents", after).unwrap();
        let seen: Vec<_> = seen.iter().map(see).map(|event| (event.change, event.ids[0] == child)).collect();
        let all =
            [("UPDATE", true), ("DELETE", false), ("DELETE", true)].map(|(change, child)| (change.to_owned(), child));
        assert_eq!(seen, if told { &all[..] } else { &all[1..2] });
        org.stop().await;
    }
}
