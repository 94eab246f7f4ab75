use super::*;
use crate::column_type::{RelationDescription, RelationField, TypeCatalogue};
use crate::pgoutput::encode::{Encoder, PlainColumn, session};
use crate::pgoutput::{Decoder, Message};
use model::{RecordBatch, ReplicaIdentity};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_postgres::types::Type;

const META: EventMeta = EventMeta {
    commit_time_us: 1_714_979_289_123_456,
    now_ms: 1_714_979_290_000,
    xid: Some(761),
    lsn: Lsn(27_765_680),
    previous_end_lsn: Some(Lsn(27_765_600)),
    snapshot: Snapshot::No,
};

fn description(identity: ReplicaIdentity) -> RelationDescription {
    let full = identity == ReplicaIdentity::Full;
    let field = |name: &str, kind: &Type, identity, not_null| RelationField {
        name: name.into(),
        type_oid: kind.oid(),
        typmod: -1,
        identity: identity || full,
        not_null,
    };
    RelationDescription {
        relation_id: 7,
        table: TableName { schema: "city".into(), name: "Büro \"1\"".into() },
        replica_identity: identity,
        columns: vec![
            field("id", &Type::INT4, true, true),
            field("name", &Type::TEXT, false, true),
            field("big", &Type::TEXT, false, false),
            field("region", &Type::TEXT, true, true),
        ],
    }
}

fn plan_of(identity: ReplicaIdentity, key: &[&str], mode: ValueMode) -> RelationPlan {
    let source = EventSource { name: "city_db".into(), database: "city".into(), mode };
    let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
    RelationPlan::compile(&description(identity), &TypeCatalogue::default(), &key, &source).expect("plan")
}

fn plan(mode: ValueMode) -> RelationPlan {
    plan_of(ReplicaIdentity::Default, &["region", "id"], mode)
}

const NULL: PlainColumn = PlainColumn::Null;
const UNCHANGED: PlainColumn = PlainColumn::Unchanged;

fn row(id: &str, name: &str, big: PlainColumn, region: &str) -> Vec<PlainColumn> {
    vec![id.into(), name.into(), big, region.into()]
}

fn insert_bytes(columns: &[PlainColumn]) -> Vec<u8> {
    Encoder::kind(b'I').u32(7).tuple(b'N', columns).0
}

fn update_bytes(old: Option<(u8, &[PlainColumn])>, new: &[PlainColumn]) -> Vec<u8> {
    let start = Encoder::kind(b'U').u32(7);
    match old {
        Some((kind, old)) => start.tuple(kind, old).tuple(b'N', new).0,
        None => start.tuple(b'N', new).0,
    }
}

fn delete_bytes(kind: u8, old: &[PlainColumn]) -> Vec<u8> {
    Encoder::kind(b'D').u32(7).tuple(kind, old).0
}

fn write_into(
    out: &mut RecordBatchBuilder,
    plan: &RelationPlan,
    meta: &EventMeta,
    bytes: &[u8],
) -> Result<u32, EventError> {
    let mut writer = EventWriter::new();
    match Decoder::new().decode(bytes).expect("valid message") {
        Message::Insert(insert) => writer.insert(out, plan, meta, insert.new.into()),
        Message::Update(update) => writer.update(out, plan, meta, update.old, update.new),
        Message::Delete(delete) => writer.delete(out, plan, meta, delete.old),
        other => panic!("{other:?}"),
    }
}

fn write(plan: &RelationPlan, bytes: &[u8]) -> RecordBatch {
    let mut out = RecordBatchBuilder::default();
    let count = write_into(&mut out, plan, &META, bytes).expect("written");
    let batch = out.finish();
    assert_eq!(batch.count(), count);
    batch
}

/// Key, value and headers of a record.
type Parsed = (Value, Value, Vec<(String, String)>);

fn parsed(batch: &RecordBatch) -> Vec<Parsed> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let json = |bytes: Option<&[u8]>| bytes.map_or(Value::Null, |bytes| serde_json::from_slice(bytes).expect("JSON"));
    batch
        .iter()
        .map(|record| {
            let headers = record.headers().map(|(name, value)| (text(name), text(value))).collect();
            (json(record.key), json(record.value), headers)
        })
        .collect()
}

fn one(plan: &RelationPlan, bytes: &[u8]) -> Parsed {
    let mut records = parsed(&write(plan, bytes));
    assert_eq!(records.len(), 1);
    records.remove(0)
}

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const TABLE: (&str, &str) = ("table", "city.Büro \"1\"");

#[test]
fn readable_insert_has_key_in_key_order_and_a_short_source() {
    let batch = write(&plan(ValueMode::Readable), &insert_bytes(&row("1", "a\"b", NULL, "west")));
    let record = batch.iter().next().expect("one record");
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("there").to_vec()).expect("UTF-8");
    assert_eq!(text(record.key), r#"{"region":"west","id":1}"#);
    assert_eq!(record.time_ms, 1_714_979_289_123);
    assert_eq!(
        text(record.value),
        concat!(
            r#"{"before":null,"after":{"id":1,"name":"a\"b","big":null,"region":"west"},"#,
            r#""source":{"connector":"postgresql","name":"city_db","ts_ms":1714979289123,"snapshot":"false","db":"city","#,
            r#""schema":"city","table":"Büro \"1\"","txId":761,"lsn":27765680},"op":"c","ts_ms":1714979290000}"#
        )
    );
    assert_eq!(parsed(&batch)[0].2, headers(&[("op", "c"), TABLE]));
}

#[test]
fn debezium_insert_has_all_fields_in_debeziums_order() {
    let batch = write(&plan(ValueMode::Debezium), &insert_bytes(&row("1", "a", NULL, "west")));
    let value = batch.iter().next().and_then(|record| record.value).expect("value");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        String::from_utf8(value.to_vec()).expect("UTF-8"),
        format!(
            concat!(
                r#"{{"before":null,"after":{{"id":1,"name":"a","big":null,"region":"west"}},"#,
                r#""source":{{"version":"{}","connector":"postgresql","name":"city_db","ts_ms":1714979289123,"#,
                r#""snapshot":"false","db":"city","sequence":"[\"27765600\",\"27765680\"]","#,
                r#""ts_us":1714979289123456,"ts_ns":1714979289123456000,"schema":"city","table":"Büro \"1\"","#,
                r#""txId":761,"lsn":27765680,"xmin":null,"origin":null,"origin_lsn":null}},"transaction":null,"#,
                r#""op":"c","ts_ms":1714979290000,"ts_us":1714979290000000,"ts_ns":1714979290000000000}}"#
            ),
            version
        )
    );
}

#[test]
fn first_transaction_has_no_predecessor_in_its_sequence() {
    let mut out = RecordBatchBuilder::default();
    let meta = EventMeta { previous_end_lsn: None, xid: None, ..META };
    let bytes = insert_bytes(&row("1", "a", NULL, "w"));
    write_into(&mut out, &plan(ValueMode::Debezium), &meta, &bytes).expect("written");
    let value = &parsed(&out.finish())[0].1;
    assert_eq!(value["source"]["sequence"], json!("[null,\"27765680\"]"));
    assert_eq!(value["source"]["txId"], Value::Null);
}

#[test]
fn update_without_old_row_has_no_before_and_lists_unchanged_columns() {
    let (key, value, found) = one(&plan(ValueMode::Readable), &update_bytes(None, &row("1", "n", UNCHANGED, "w")));
    assert_eq!(key, json!({"region": "w", "id": 1}));
    assert_eq!(value["before"], Value::Null);
    assert_eq!(value["after"], json!({"id": 1, "name": "n", "region": "w"}));
    assert_eq!(value["op"], json!("u"));
    assert_eq!(found, headers(&[("op", "u"), TABLE, ("unchanged", "[\"big\"]")]));
}

#[test]
fn unchanged_columns_are_named_in_one_json_array_with_their_names_escaped() {
    let mut description = description(ReplicaIdentity::Default);
    description.columns[1].name = "na\"me".into();
    let source = EventSource { name: "s".into(), database: "d".into(), mode: ValueMode::Readable };
    let plan = RelationPlan::compile(&description, &TypeCatalogue::default(), &["id".into()], &source).expect("plan");
    let (_, value, found) = one(&plan, &update_bytes(None, &["1".into(), UNCHANGED, UNCHANGED, "w".into()]));
    assert_eq!(value["after"], json!({"id": 1, "region": "w"}));
    let names: Value = serde_json::from_str(&found[2].1).expect("JSON");
    assert_eq!((found[2].0.as_str(), names), ("unchanged", json!(["na\"me", "big"])));
}

#[test]
fn unchanged_column_is_taken_from_a_full_old_row() {
    let plan = plan_of(ReplicaIdentity::Full, &["id"], ValueMode::Readable);
    let old = row("1", "o", "long".into(), "w");
    let (_, value, found) = one(&plan, &update_bytes(Some((b'O', &old)), &row("1", "n", UNCHANGED, "w")));
    assert_eq!(value["before"]["big"], json!("long"));
    assert_eq!(value["after"]["big"], json!("long"));
    assert_eq!(found, headers(&[("op", "u"), TABLE]));
}

#[test]
fn unchanged_column_that_was_null_before_is_null_and_known() {
    let plan = plan_of(ReplicaIdentity::Full, &["id"], ValueMode::Readable);
    let (_, value, found) =
        one(&plan, &update_bytes(Some((b'O', &row("1", "o", NULL, "w"))), &row("1", "n", UNCHANGED, "w")));
    assert_eq!(value["after"]["big"], Value::Null);
    assert!(value["after"].as_object().expect("object").contains_key("big"));
    assert_eq!(found.len(), 2);
}

#[test]
fn unchanged_key_column_is_taken_from_the_old_row_or_refused() {
    let plan = plan_of(ReplicaIdentity::Full, &["name"], ValueMode::Readable);
    let new = ["1".into(), UNCHANGED, NULL, "w".into()];
    let (key, _, _) = one(&plan, &update_bytes(Some((b'O', &row("1", "o", NULL, "w"))), &new));
    assert_eq!(key, json!({"name": "o"}));
    let mut out = RecordBatchBuilder::default();
    let refused = write_into(&mut out, &plan, &META, &update_bytes(None, &new));
    assert!(matches!(refused, Err(EventError::KeyNotCarried { column, .. }) if column == "name"));
    assert!(out.is_empty());
}

#[test]
fn key_only_old_row_shows_identity_columns_in_readable_and_fillers_in_debezium() {
    let bytes = delete_bytes(b'K', &["1".into(), NULL, NULL, "w".into()]);
    let (key, value, found) = one(&plan(ValueMode::Readable), &bytes);
    assert_eq!(key, json!({"region": "w", "id": 1}));
    assert_eq!(value["before"], json!({"id": 1, "region": "w"}));
    assert_eq!(value["after"], Value::Null);
    assert_eq!(found, headers(&[("op", "d"), TABLE]));
    let (_, value, _) = one(&plan(ValueMode::Debezium), &bytes);
    assert_eq!(value["before"], json!({"id": 1, "name": "", "big": null, "region": "w"}));
}

#[test]
fn update_that_changes_the_key_is_a_delete_and_a_create_that_name_each_other() {
    let old = ["1".into(), NULL, NULL, "w".into()];
    let batch = write(&plan(ValueMode::Readable), &update_bytes(Some((b'K', &old)), &row("2", "n", UNCHANGED, "w")));
    let records = parsed(&batch);
    assert_eq!(records.len(), 2);
    let (key, value, found) = &records[0];
    assert_eq!(*key, json!({"region": "w", "id": 1}));
    assert_eq!((&value["op"], &value["before"]), (&json!("d"), &json!({"id": 1, "region": "w"})));
    assert_eq!(*found, headers(&[("op", "d"), TABLE, ("newkey", r#"{"region":"w","id":2}"#)]));
    let (key, value, found) = &records[1];
    assert_eq!(*key, json!({"region": "w", "id": 2}));
    assert_eq!((&value["op"], &value["before"]), (&json!("c"), &Value::Null));
    assert_eq!(value["after"], json!({"id": 2, "name": "n", "region": "w"}));
    let oldkey = ("oldkey", r#"{"region":"w","id":1}"#);
    assert_eq!(*found, headers(&[("op", "c"), TABLE, oldkey, ("unchanged", "[\"big\"]")]));
}

#[test]
fn update_with_old_row_and_the_same_key_stays_one_update() {
    let plan = plan_of(ReplicaIdentity::Full, &["id"], ValueMode::Readable);
    let (_, value, _) =
        one(&plan, &update_bytes(Some((b'O', &row("1", "o", NULL, "east"))), &row("1", "n", NULL, "west")));
    assert_eq!((&value["op"], &value["before"]["region"]), (&json!("u"), &json!("east")));
}

#[test]
fn key_whose_text_differs_but_not_its_json_stays_one_update() {
    let mut description = description(ReplicaIdentity::Full);
    description.columns[0].type_oid = Type::NUMERIC.oid();
    let source = EventSource { name: "s".into(), database: "d".into(), mode: ValueMode::Debezium };
    let plan = RelationPlan::compile(&description, &TypeCatalogue::default(), &["id".into()], &source).expect("plan");
    let update = update_bytes(Some((b'O', &row("1.0", "o", NULL, "w"))), &row("1.00", "n", NULL, "w"));
    assert_eq!(one(&plan, &update).1["op"], json!("u"));
}

#[test]
fn delete_whose_old_row_lacks_the_key_is_refused() {
    let plan = plan_of(ReplicaIdentity::Default, &["name"], ValueMode::Readable);
    assert!(!plan.key_is_carried());
    let mut out = RecordBatchBuilder::default();
    let refused = write_into(&mut out, &plan, &META, &delete_bytes(b'K', &["1".into(), NULL, NULL, "w".into()]));
    let error = refused.expect_err("refused");
    assert_eq!((error.code(), error.retry()), (ErrorCode("PS2004"), Retry::AfterOperator));
    assert!(out.is_empty());
}

#[test]
fn broken_value_leaves_the_batch_as_it_was() {
    let plan = plan(ValueMode::Readable);
    let mut out = RecordBatchBuilder::default();
    write_into(&mut out, &plan, &META, &insert_bytes(&row("1", "a", NULL, "w"))).expect("written");
    let bytes = out.len_bytes();
    let error = write_into(&mut out, &plan, &META, &insert_bytes(&row("one", "a", NULL, "w"))).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "PS2005: column \"id\" of table city.Büro \"1\": its value of 3 bytes is no integer as PostgreSQL prints it"
    );
    assert_eq!((out.len_bytes(), out.count()), (bytes, 1));
}

#[test]
fn row_of_another_shape_is_refused() {
    let plan = plan(ValueMode::Readable);
    let mut out = RecordBatchBuilder::default();
    for bytes in [insert_bytes(&["1".into()]), update_bytes(None, &[]), delete_bytes(b'O', &["1".into()])] {
        let refused = write_into(&mut out, &plan, &META, &bytes);
        assert!(matches!(refused, Err(EventError::ColumnCount { expected: 4, .. })));
    }
    assert!(out.is_empty());
}

#[test]
fn truncate_has_no_key_and_no_rows() {
    let mut out = RecordBatchBuilder::default();
    EventWriter::new().truncate(&mut out, &plan(ValueMode::Readable), &META).expect("written");
    let (key, value, found) = parsed(&out.finish()).remove(0);
    assert_eq!(
        (key, &value["op"], &value["before"], &value["after"]),
        (Value::Null, &json!("t"), &Value::Null, &Value::Null)
    );
    assert_eq!(found, headers(&[("op", "t"), TABLE]));
}

#[test]
fn table_without_key_gives_records_without_key() {
    let plan = plan_of(ReplicaIdentity::Full, &[], ValueMode::Readable);
    let batch = write(&plan, &delete_bytes(b'O', &row("1", "a", NULL, "w")));
    assert_eq!(batch.iter().next().expect("one").key, None);
    let old = row("1", "a", NULL, "w");
    assert_eq!(write(&plan, &update_bytes(Some((b'O', &old)), &row("2", "b", NULL, "x"))).count(), 1);
}

#[test]
fn snapshot_row_names_its_chunk_and_kind() {
    let columns = [ColumnText::Text(b"1"), ColumnText::Null, ColumnText::from_sql(None), ColumnText::Text(b"w")];
    let write = |mode, snapshot| {
        let mut out = RecordBatchBuilder::default();
        let meta = EventMeta { snapshot, ..META };
        EventWriter::new()
            .snapshot_row(&mut out, &plan(mode), &meta, "city.b/3", Row::Columns(&columns))
            .expect("written");
        parsed(&out.finish()).remove(0)
    };
    let (key, value, found) = write(ValueMode::Readable, Snapshot::Initial);
    assert_eq!(key, json!({"region": "w", "id": 1}));
    assert_eq!((&value["op"], &value["source"]["snapshot"]), (&json!("r"), &json!("true")));
    assert_eq!(value["after"], json!({"id": 1, "name": null, "big": null, "region": "w"}));
    assert_eq!(found, headers(&[("op", "r"), TABLE, ("chunk", "city.b/3")]));
    let (_, value, _) = write(ValueMode::Debezium, Snapshot::Incremental);
    assert_eq!((&value["source"]["snapshot"], &value["source"]["lsn"]), (&json!("incremental"), &Value::Null));
}

#[test]
fn key_of_gives_the_bytes_of_the_records_key() {
    let (plan, mut writer, mut key) = (plan(ValueMode::Readable), EventWriter::new(), b"left over".to_vec());
    let columns = [ColumnText::Text(b"1"), ColumnText::Null, ColumnText::Null, ColumnText::Text("wést".as_bytes())];
    writer.key_of(&mut key, &plan, Row::Columns(&columns)).expect("key");
    assert_eq!(key, r#"{"region":"wést","id":1}"#.as_bytes());
    assert!(!writer.key_of_old(&mut key, &plan, OldTuple::None).expect("none"));
    assert!(key.is_empty());
}

#[test]
fn key_column_that_the_table_lacks_is_refused() {
    let source = EventSource { name: "s".into(), database: "d".into(), mode: ValueMode::Readable };
    let description = description(ReplicaIdentity::Default);
    let refused = RelationPlan::compile(&description, &TypeCatalogue::default(), &["nope".into()], &source);
    assert_eq!(refused.expect_err("refused").column, "nope");
}

fn text_plan(columns: usize, mode: ValueMode) -> RelationPlan {
    let field = |index: usize| RelationField {
        name: format!("c{index}"),
        type_oid: Type::TEXT.oid(),
        typmod: -1,
        identity: true,
        not_null: false,
    };
    let description = RelationDescription {
        relation_id: 7,
        table: TableName { schema: "s".into(), name: "t".into() },
        replica_identity: ReplicaIdentity::Full,
        columns: (0..columns).map(field).collect(),
    };
    let key: Vec<String> = description.columns.iter().take(2).map(|column| column.name.clone()).collect();
    let source = EventSource { name: "s".into(), database: "d".into(), mode };
    RelationPlan::compile(&description, &TypeCatalogue::default(), &key, &source).expect("plan")
}

proptest! {
    #[test]
    fn any_change_of_texts_gives_records_that_parse_or_nothing(messages in session(), columns in 0usize..6, debezium: bool) {
        let mode = if debezium { ValueMode::Debezium } else { ValueMode::Readable };
        let plan = text_plan(columns, mode);
        let (mut decoder, mut writer) = (Decoder::new(), EventWriter::new());
        for bytes in &messages {
            let mut out = RecordBatchBuilder::default();
            let written = match decoder.decode(bytes).expect("valid") {
                Message::Insert(insert) => writer.insert(&mut out, &plan, &META, insert.new.into()),
                Message::Update(update) => writer.update(&mut out, &plan, &META, update.old, update.new),
                Message::Delete(delete) => writer.delete(&mut out, &plan, &META, delete.old),
                _ => continue,
            };
            let batch = out.finish();
            prop_assert_eq!(batch.count(), written.unwrap_or(0));
            for (_, value, _) in parsed(&batch) {
                prop_assert!(value.is_object());
            }
        }
    }
}
