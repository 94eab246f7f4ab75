use super::*;
use crate::spec::ReferenceSpec;
use model::{Column, RecordBatchBuilder, StreamId, StreamPartition, TableName, TableSchema};
use proptest::prelude::*;

fn route(columns: &[(&str, ColumnType)], key: &[&str], map: &[(&str, &str)]) -> RouteSpec {
    let schema = TableSchema {
        table: TableName { schema: "s".into(), name: "t".into() },
        columns: columns
            .iter()
            .map(|(name, kind)| Column { name: (*name).into(), kind: kind.clone(), nullable: true })
            .collect(),
        primary_key: key.iter().map(|k| (*k).to_owned()).collect(),
        replica_identity: ReplicaIdentity::Default,
        identity_columns: key.iter().map(|k| (*k).to_owned()).collect(),
    };
    let stream = StreamPartition::first(StreamId::from("s"));
    let mut route = RouteSpec::upsert("r", stream, schema, ("main".into(), "Child__c".into()), "Key__c");
    route.map = map.iter().map(|(f, c)| ((*f).to_owned(), MapSource::Column((*c).to_owned()))).collect();
    route
}

fn refer(route: &mut RouteSpec, object: &str, from: &str) {
    route.references.push(ReferenceSpec {
        object: object.into(),
        external_id: "Key__c".into(),
        from: from.into(),
        table: TableName { schema: "s".into(), name: "p".into() },
        field: None,
        locks: None,
    });
}

fn keys(route: &RouteSpec, op: &str, key: &str, value: &str, headers: &[(&str, &str)]) -> (Vec<u64>, Vec<u64>) {
    let mut all: Vec<(&str, &[u8])> = vec![("op", op.as_bytes()), ("table", b"s.t")];
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
    let mut builder = RecordBatchBuilder::default();
    builder.push(0, Some(key.as_bytes()), Some(value.as_bytes()), &all).unwrap();
    let batch = builder.finish();
    let plan = KeyPlan::compile(route);
    let record = batch.iter().next().unwrap();
    assert!(plan.takes(&record));
    let mut keys = Keys::default();
    plan.keys(&ChangeView::parse(&record).unwrap(), &mut keys);
    let sorted = |list: &[Fingerprint]| {
        let mut list: Vec<u64> = list.iter().map(|f| f.0).collect();
        list.sort_unstable();
        list
    };
    (sorted(&keys.written), sorted(&keys.read))
}

const TEXT: ColumnType = ColumnType::Text { length: None };

fn plain() -> RouteSpec {
    let mut route = route(&[("id", ColumnType::Int64), ("parent", TEXT), ("v", TEXT)], &["id"], &[("Key__c", "id")]);
    refer(&mut route, "Parent__c", "parent");
    route
}

#[test]
fn one_column_that_is_key_and_external_id_writes_one_fingerprint() {
    let route = plain();
    let (written, read) = keys(&route, "c", r#"{"id":7}"#, r#"{"before":null,"after":{"id":7,"parent":"A"}}"#, &[]);
    let object = Fingerprint::of("object:child__c", [b"7".as_slice()]).0;
    assert_eq!(written, [object]);
    assert_eq!(read, [Fingerprint::of("object:parent__c", [b"a".as_slice()]).0]);
    assert_eq!(KeyPlan::compile(&route).fingerprint_of_target("7.0").0, object);
}

#[test]
fn create_update_and_delete_of_a_row_share_a_written_key() {
    for route in [
        plain(),
        route(&[("id", ColumnType::Int64), ("ext", TEXT)], &["id"], &[("Key__c", "ext")]),
        route(&[("id", ColumnType::Int64), ("ext", TEXT)], &["id"], &[]),
    ] {
        let row = r#"{"id":7,"ext":"e","parent":"A"}"#;
        let (created, _) = keys(&route, "c", r#"{"id":7}"#, &format!(r#"{{"before":null,"after":{row}}}"#), &[]);
        let (updated, _) = keys(&route, "u", r#"{"id":7}"#, &format!(r#"{{"before":null,"after":{row}}}"#), &[]);
        let (deleted, _) =
            keys(&route, "d", r#"{"id":7}"#, r#"{"before":{"id":7,"ext":null,"parent":null},"after":null}"#, &[]);
        assert_eq!(created, updated);
        assert!(deleted.iter().any(|key| created.contains(key)), "{created:?} {deleted:?}");
    }
}

#[test]
fn update_that_moves_to_another_parent_reads_both() {
    let mut route = plain();
    route.schema.replica_identity = ReplicaIdentity::Full;
    let value = r#"{"before":{"id":7,"parent":"A"},"after":{"id":7,"parent":"B"}}"#;
    let (_, read) = keys(&route, "u", r#"{"id":7}"#, value, &[]);
    assert_eq!(read.len(), 2);
    route.schema.replica_identity = ReplicaIdentity::Default;
    assert_eq!(keys(&route, "u", r#"{"id":7}"#, value, &[]).1.len(), 1);
}

#[test]
fn halves_of_a_key_change_carry_both_keys() {
    for route in [plain(), route(&[("id", ColumnType::Int64), ("ext", TEXT)], &["id"], &[("Key__c", "ext")])] {
        let old = r#"{"before":{"id":7},"after":null}"#;
        let (old, _) = keys(&route, "d", r#"{"id":7}"#, old, &[("newkey", r#"{"id":8}"#)]);
        let new = r#"{"before":null,"after":{"id":8,"ext":"e"}}"#;
        let (new, _) = keys(&route, "c", r#"{"id":8}"#, new, &[("oldkey", r#"{"id":7}"#)]);
        assert!(old.iter().all(|key| new.contains(key)), "{old:?} {new:?}");
        assert!(old.len() >= 2);
    }
}

#[test]
fn unchanged_key_column_is_taken_from_the_key() {
    let route = plain();
    let (whole, _) = keys(&route, "u", r#"{"id":7}"#, r#"{"before":null,"after":{"id":7}}"#, &[]);
    let (toasted, _) = keys(&route, "u", r#"{"id":7}"#, r#"{"before":null,"after":{}}"#, &[("unchanged", r#"["id"]"#)]);
    assert_eq!(whole, toasted);
}

#[test]
fn rows_without_a_key_share_one_and_a_truncate_has_none() {
    let route = route(&[("id", ColumnType::Int64), ("ext", TEXT)], &["ext"], &[("Key__c", "ext")]);
    let (a, _) = keys(&route, "c", "{}", r#"{"before":null,"after":{"id":7,"ext":null}}"#, &[]);
    let (b, _) = keys(&route, "c", "{}", r#"{"before":null,"after":{"id":8}}"#, &[]);
    let (c, _) = keys(&route, "c", "{}", "broken", &[]);
    assert!(a.len() == 1 && a == b && b == c);
    assert_eq!(keys(&route, "t", "{}", r#"{"before":null,"after":null}"#, &[]), (vec![], vec![]));
}

#[test]
fn parent_that_is_the_row_itself_is_not_read() {
    let mut route = plain();
    route.object = "Parent__c".into();
    let (written, read) =
        keys(&route, "c", r#"{"id":7}"#, r#"{"before":null,"after":{"id":7,"parent":" 7.00 "}}"#, &[]);
    assert_eq!((written.len(), read.len()), (1, 0));
}

#[test]
fn expression_as_external_id_writes_the_key_of_its_result() {
    let mut route = plain();
    route.map = vec![("Key__c".into(), MapSource::Cel("'K-' + string(id)".into()))];
    let (written, _) = keys(&route, "c", r#"{"id":7}"#, r#"{"before":null,"after":{"id":7}}"#, &[]);
    assert!(written.contains(&KeyPlan::compile(&route).fingerprint_of_target("k-7").0));
    assert_eq!(written.len(), 2);
}

#[test]
fn debezium_decimals_have_the_key_of_their_digits() {
    let kind = ColumnType::Decimal { precision: Some(10), scale: Some(2) };
    let mut route = route(&[("id", kind)], &["id"], &[("Key__c", "id")]);
    let (readable, _) = keys(&route, "c", "{}", r#"{"before":null,"after":{"id":"12.30"}}"#, &[]);
    route.value_mode = ValueMode::Debezium;
    let (debezium, _) = keys(&route, "c", "{}", r#"{"before":null,"after":{"id":"BM4="}}"#, &[]);
    assert_eq!(readable, debezium);
    assert_eq!(readable, [Fingerprint::of("object:child__c", [b"12.3".as_slice()]).0]);
}

proptest! {
    #[test]
    fn text_of_any_case_and_padding_is_one_key(text in "[a-zA-ZéÉ ]{1,12}") {
        prop_assert_eq!(canonical_text(&format!(" {} ", text.to_uppercase())), canonical_text(&text.to_uppercase().to_lowercase()));
    }

    #[test]
    fn any_record_has_keys_without_a_panic(key in ".{0,20}", value in ".{0,60}", op in "[cudrt]") {
        let (written, _) = keys(&plain(), &op, &key, &value, &[("newkey", &key)]);
        prop_assert_eq!(written.is_empty(), op == "t");
    }
}
