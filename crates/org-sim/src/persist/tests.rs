//! An org that comes back from its folder is the org that was.

use super::{journal_path, snapshot_path};
use crate::answer::Request;
use crate::config::OrgConfig;
use crate::error::SimError;
use crate::org::Org;
use crate::schema::build::parse_yaml;
use http::{HeaderMap, Method};
use proptest::prelude::*;
use serde_json::{Value as J, json};
use std::path::Path;

const OBJECTS: &str = "
objects:
  Account: {fields: {Code__c: {external_id: true, unique: true}}}
  Order__c: {name: {auto_number: 'O-{0}'}, fields: {Account__c: {type: lookup, to: Account}}}
  Line__c: {fields: {Order__c: {type: master_detail, to: Order__c}}}
";

fn config(folder: &Path) -> OrgConfig {
    OrgConfig {
        objects: parse_yaml(OBJECTS, "test").unwrap(),
        folder: Some(folder.to_owned()),
        session_timeout_s: 1_000_000_000,
        ..OrgConfig::default()
    }
}

struct World {
    org: Org,
    headers: HeaderMap,
    now_ms: i64,
    /// After each call: the generation, where its journal ended, and the org's state.
    states: Vec<(u64, u64, String)>,
}

impl World {
    fn open(config: OrgConfig) -> Result<Self, SimError> {
        let mut org = Org::new(config, "http://org", 1_800_000_000_000)?;
        let now_ms = org.started_ms;
        let token = org.log_in(now_ms).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut world = Self { org, headers, now_ms, states: Vec::new() };
        world.note();
        Ok(world)
    }

    fn call(&mut self, method: Method, path: &str, body: &J) -> J {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = format!("/services/data/v62.0/{path}");
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::new(&method, &path, query, &self.headers, &body);
        let answer = self.org.apply(self.now_ms, &request);
        self.note();
        serde_json::from_slice(&answer.body).unwrap_or(J::Null)
    }

    fn recycle(&mut self, what: &str, body: &J) {
        let body = body.to_string().into_bytes();
        let request = Request::new(&Method::POST, "/_sim", "", &self.headers, &body);
        self.org.recycle(self.now_ms, what, &request).unwrap();
        self.note();
    }

    /// Remembers how the org is now; what the clock brings about is seen before a call, not with it.
    fn note(&mut self) {
        let saver = self.org.store.saver.as_ref().unwrap();
        let (generation, bytes) = (saver.generation, saver.journal.bytes());
        self.states.push((generation, bytes, self.state()));
    }

    fn wait(&mut self, days: u8) {
        self.now_ms += i64::from(days) * 86_400_000;
        self.org.tick(self.now_ms);
        self.note();
    }

    fn create(&mut self, object: &str, record: &J) -> String {
        let created = self.call(Method::POST, &format!("sobjects/{object}"), record);
        created["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Every row of every object with its times, deleted ones too, and the recycle bin.
    fn state(&self) -> String {
        let rows = self.org.store.tables().iter().map(|table| format!("{:?}", table.rows().collect::<Vec<_>>()));
        let bin = format!("{:?}", self.org.store.bin.entries().collect::<Vec<_>>());
        rows.chain([bin]).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn rows_bin_counters_objects_and_numbers_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(config(folder.path())).unwrap();
    let spec = "objects: {Late__c: {fields: {A__c: {}}}, Account: {fields: {Late__c: {type: time}}}}";
    world.org.add_objects(&parse_yaml(spec, "test").unwrap(), world.now_ms).unwrap();
    let account = world.create("Account", &json!({ "Name": "n", "Code__c": "k", "Late__c": "01:02:03" }));
    let order = world.create("Order__c", &json!({ "Account__c": account }));
    world.create("Line__c", &json!({ "Order__c": order }));
    world.create("Late__c", &json!({ "A__c": "é" }));
    world.now_ms += 86_400_000;
    world.call(Method::DELETE, &format!("sobjects/Order__c/{order}"), &J::Null);
    let (state, last, replay) = (world.state(), world.org.history.last_seq(), world.org.bus.last());
    drop(world);
    let mut world = World::open(config(folder.path())).unwrap();
    assert_eq!(world.state(), state);
    assert!(world.now_ms >= 1_800_086_400_000, "its time goes on");
    assert!(world.org.bus.last() > replay);
    world.recycle("undelete", &json!({ "ids": [order] }));
    let seqs: Vec<u64> = world.org.changes(0, 9).iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, [last + 1, last + 2]);
    assert_eq!((world.org.history.dropped(), world.org.records("Line__c").len()), (last, 1));
    let next = world.create("Order__c", &json!({}));
    let (_, _, row) = world.org.store.row_of(crate::ids::SfId::parse(&next).unwrap()).unwrap();
    let object = &world.org.store.table(world.org.store.find_table("Order__c").unwrap()).object;
    assert_eq!(row.cell(object.field("Name").unwrap()).text(), Some("O-2"));
    let twice = world.call(Method::POST, "sobjects/Account", &json!({ "Name": "n", "Code__c": "K" }));
    assert_eq!(twice[0]["errorCode"], "DUPLICATE_VALUE");
    assert_eq!(world.org.records("User").len(), 1, "the users are not made twice");
}

#[test]
fn full_journal_becomes_a_snapshot_and_the_older_files_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(config(folder.path())).unwrap();
    world.org.store.saver.as_mut().unwrap().journal_bytes_min = 2_000;
    for n in 0..200 {
        world.create("Account", &json!({ "Name": "name", "Code__c": n.to_string() }));
    }
    let state = world.state();
    let generation = world.org.store.saver.as_ref().unwrap().generation;
    assert!((3..20).contains(&generation), "{generation}: the journal may grow as long as the snapshot");
    drop(world);
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(World::open(config(folder.path())).unwrap().state(), state);
}

#[test]
fn transaction_too_large_for_a_frame_is_kept_by_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(config(folder.path())).unwrap();
    world.org.store.saver.as_mut().unwrap().frame_bytes_max = 500;
    let records: Vec<J> = (0..20).map(|n| json!({ "Name": "name", "Code__c": n.to_string() })).collect();
    world.call(Method::PATCH, "composite/sobjects/Account/Code__c", &json!({ "records": records }));
    assert_eq!(world.org.store.saver.as_ref().unwrap().generation, 2);
    let state = world.state();
    drop(world);
    let world = World::open(config(folder.path())).unwrap();
    assert_eq!((world.state(), world.org.records("Account").len()), (state, 20));
}

#[test]
fn unfinished_snapshot_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(config(folder.path())).unwrap();
    world.create("Account", &json!({ "Name": "n" }));
    let (state, generation) = (world.state(), world.org.store.saver.as_ref().unwrap().generation);
    drop(world);
    let whole = std::fs::read(snapshot_path(folder.path(), generation)).unwrap();
    std::fs::write(snapshot_path(folder.path(), generation + 1), &whole[..whole.len() - 1]).unwrap();
    std::fs::write(folder.path().join("snapshot.tmp"), b"x").unwrap();
    assert_eq!(World::open(config(folder.path())).unwrap().state(), state);
}

#[test]
fn reset_empties_the_folder_but_keeps_objects() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(config(folder.path())).unwrap();
    world.org.add_objects(&parse_yaml("objects: {Late__c: {}}", "test").unwrap(), world.now_ms).unwrap();
    world.create("Account", &json!({ "Name": "n" }));
    world.org.reset(world.now_ms).unwrap();
    let state = world.state();
    drop(world);
    let world = World::open(config(folder.path())).unwrap();
    assert_eq!((world.state(), world.org.history.last_seq()), (state, 0));
    assert!(world.org.store.find_table("Late__c").is_some());
}

#[test]
fn folder_in_use_or_with_undefined_objects_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(config(folder.path())).unwrap();
    world.create("Order__c", &json!({}));
    let text = |result: Result<World, SimError>| result.err().unwrap().to_string();
    assert!(text(World::open(config(folder.path()))).contains("another org"));
    drop(world);
    let other = OrgConfig { folder: Some(folder.path().to_owned()), ..OrgConfig::default() };
    let refused = text(World::open(other));
    assert!(refused.contains("PS7007") && refused.contains("Order__c"), "{refused}");
    // The prefixes of the folder win over those that the order of the definitions would give.
    let mut turned = config(folder.path());
    turned.objects.objects.0.insert(0, ("First__c".into(), crate::schema::spec::ObjectSpec::default()));
    let turned = World::open(turned).unwrap();
    assert_eq!(turned.org.records("Order__c").len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Accounts { keys: Vec<u8>, all_or_none: bool, bad: bool },
    Lines { order: u8 },
    Delete { object: &'static str, row: u8 },
    Undelete { row: u8 },
    Purge { row: u8 },
    Days(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (prop::collection::vec(0u8..6, 1..4), any::<bool>(), any::<bool>())
            .prop_map(|(keys, all_or_none, bad)| Step::Accounts { keys, all_or_none, bad }),
        (0u8..4).prop_map(|order| Step::Lines { order }),
        (prop::sample::select(vec!["Account", "Order__c"]), 0u8..6)
            .prop_map(|(object, row)| Step::Delete { object, row }),
        (0u8..6).prop_map(|row| Step::Undelete { row }),
        (0u8..6).prop_map(|row| Step::Purge { row }),
        (0u8..20).prop_map(Step::Days),
    ]
}

fn run(world: &mut World, step: &Step) {
    let id = |world: &World, object: &str, row: u8| {
        let table = world.org.store.table(world.org.store.find_table(object).unwrap());
        crate::ids::SfId::new(table.object.prefix, u64::from(row) + 1).to_string()
    };
    match step {
        Step::Accounts { keys, all_or_none, bad } => {
            let record = |key: &u8| json!({ "Code__c": key.to_string(), "Name": format!("n{key}") });
            let mut records: Vec<J> = keys.iter().map(record).collect();
            records.extend(bad.then(|| json!({ "Code__c": "bad" })));
            let body = json!({ "allOrNone": all_or_none, "records": records });
            world.call(Method::PATCH, "composite/sobjects/Account/Code__c", &body);
        }
        Step::Lines { order } => {
            let order = match world.create("Order__c", &json!({ "Account__c": id(world, "Account", *order) })) {
                made if made.is_empty() => id(world, "Order__c", *order),
                made => made,
            };
            world.create("Line__c", &json!({ "Order__c": order }));
        }
        Step::Delete { object, row } => {
            let path = format!("sobjects/{object}/{}", id(world, object, *row));
            world.call(Method::DELETE, &path, &J::Null);
        }
        Step::Undelete { row } => {
            let ids = [id(world, "Account", *row), id(world, "Order__c", *row)];
            world.recycle("undelete", &json!({ "ids": ids }));
        }
        Step::Purge { row } => {
            let ids = [id(world, "Order__c", *row)];
            world.recycle("purge", &json!({ "ids": ids, "hard": row % 2 == 0 }));
        }
        Step::Days(days) => world.wait(*days),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn journal_cut_anywhere_gives_the_org_as_it_was_after_some_call(
        steps in prop::collection::vec(step(), 1..25),
        cut in any::<prop::sample::Index>(),
        snapshots in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::open(config(folder.path())).unwrap();
        if snapshots {
            world.org.store.saver.as_mut().unwrap().journal_bytes_min = 1_000;
        }
        steps.iter().for_each(|step| run(&mut world, step));
        let mut states = std::mem::take(&mut world.states);
        drop(world);
        let (generation, longest, _) = states.last().unwrap().clone();
        states.retain(|(of, _, _)| *of == generation);
        let shortest = states[0].1;
        let length = shortest + cut.index((longest - shortest + 1) as usize) as u64;
        let journal = std::fs::File::options().write(true).open(journal_path(folder.path(), generation)).unwrap();
        journal.set_len(length).unwrap();
        let (_, _, expected) = states.iter().rfind(|(_, at, _)| *at <= length).unwrap();
        prop_assert_eq!(&World::open(config(folder.path())).unwrap().state(), expected);
    }
}
