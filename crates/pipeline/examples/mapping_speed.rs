//! Measures key plans and plain mapping on one core: `cargo run --release -p pipeline --example mapping_speed`.

use contract::{Clock, FieldKind, FieldSchema, ObjectSchema, SystemClock};
use model::{
    Column, ColumnType, RecordBatch, RecordBatchBuilder, ReplicaIdentity, StreamId, StreamPartition, TableName,
    TableSchema,
};
use pipeline::event::{ChangeView, KeyPlan, Keys};
use pipeline::mapping::Mapper;
use pipeline::spec::{LaneSpec, MapSource, ReferenceSpec, RouteSpec};
use std::hint::black_box;
use std::sync::Arc;

const RECORDS: u32 = 200_000;

fn route() -> RouteSpec {
    let column = |name: &str, kind| Column { name: name.into(), kind, nullable: true };
    let schema = TableSchema {
        table: TableName { schema: "shop".into(), name: "orders".into() },
        columns: vec![
            column("id", ColumnType::Int64),
            column("customer", ColumnType::Int64),
            column("status", ColumnType::Text { length: Some(20) }),
            column("total", ColumnType::Decimal { precision: Some(12), scale: Some(2) }),
            column("items", ColumnType::Json),
            column("placed", ColumnType::TimestampTz { precision: 6 }),
        ],
        primary_key: vec!["id".into()],
        replica_identity: ReplicaIdentity::Full,
        identity_columns: vec!["id".into()],
    };
    let stream = StreamPartition::first(StreamId::from("shop"));
    let mut route = RouteSpec::upsert("orders", stream, schema, ("main".into(), "Order__c".into()), "Key__c");
    let map = [
        ("Key__c", "id"),
        ("Status__c", "status"),
        ("Total__c", "total"),
        ("Items__c", "items"),
        ("Placed__c", "placed"),
    ];
    route.map = map.map(|(field, column)| (field.to_owned(), MapSource::Column(column.into()))).to_vec();
    route.references.push(ReferenceSpec {
        object: "Account".into(),
        external_id: "Key__c".into(),
        from: "customer".into(),
        table: TableName { schema: "shop".into(), name: "customers".into() },
        field: None,
        locks: None,
    });
    route
}

fn field(name: &str, kind: FieldKind) -> FieldSchema {
    FieldSchema {
        name: name.into(),
        kind,
        length: 255,
        precision: 18,
        scale: 2,
        nillable: true,
        defaulted_on_create: false,
        createable: true,
        updateable: true,
        external_id: name == "Key__c",
        id_lookup: false,
        unique: false,
        case_sensitive: false,
        calculated: false,
        reference_to: vec!["Account".into()],
        relationship_name: Some("Account__r".into()),
        picklist: vec![],
        picklist_restricted: false,
        master_detail: false,
    }
}

fn object(name: &str, fields: Vec<FieldSchema>) -> ObjectSchema {
    ObjectSchema { name: name.into(), createable: true, updateable: true, deletable: true, queryable: true, fields }
}

fn records(full: bool) -> RecordBatch {
    let mut builder = RecordBatchBuilder::with_capacity(200 << 20);
    for id in 0..RECORDS {
        let row = |status: &str| {
            format!(
                r#"{{"id":{id},"customer":{},"status":"{status}","total":"{}.50","items":"[{{\"sku\":\"A-{id}\",\"n\":2}}]","placed":"2024-05-06T07:08:09.123456Z"}}"#,
                id % 1_000,
                id % 500
            )
        };
        let before = if full { row("new") } else { "null".into() };
        let value = format!(
            r#"{{"before":{before},"after":{},"source":{{"version":"1","connector":"postgresql","name":"shop","ts_ms":1,"db":"shop","schema":"shop","table":"orders","txId":1,"lsn":{id}}},"op":"u","ts_ms":1}}"#,
            row("paid")
        );
        let key = format!(r#"{{"id":{id}}}"#);
        let headers: [(&str, &[u8]); 2] = [("op", b"u"), ("table", b"shop.orders")];
        builder.push(0, Some(key.as_bytes()), Some(value.as_bytes()), &headers).expect("small records fit");
    }
    builder.finish()
}

#[allow(clippy::print_stdout, reason = "the figures are what this program is for")]
fn measure(name: &str, batch: &RecordBatch, mut each: impl FnMut(&ChangeView<'_>)) {
    let clock = SystemClock::new();
    let start = clock.monotonic();
    for record in batch {
        each(&ChangeView::parse(&record).expect("the records are change events"));
    }
    let rate = f64::from(batch.count()) / (clock.monotonic() - start).as_secs_f64();
    println!("{name}: {rate:.0} records/s");
}

fn main() {
    let route = route();
    let parents = [Arc::new(object("Account", vec![field("Key__c", FieldKind::Text)]))];
    let target = object(
        "Order__c",
        vec![
            field("Key__c", FieldKind::Text),
            field("Status__c", FieldKind::Text),
            field("Total__c", FieldKind::Currency),
            field("Items__c", FieldKind::TextArea),
            field("Placed__c", FieldKind::Datetime),
            field("Account__c", FieldKind::Reference),
        ],
    );
    let mapper = Mapper::compile(&route, &target, &parents).expect("the route is right");
    let mut by_cel = route.clone();
    by_cel.lane = LaneSpec::Cel("status == 'paid' ? 'critical' : 'bulk'".into());
    let lanes = Mapper::compile(&by_cel, &target, &parents).expect("the route is right");
    let plan = KeyPlan::compile(&route);
    let mut keys = Keys::default();
    for (shape, batch) in [("after only", records(false)), ("before and after", records(true))] {
        measure(&format!("keys, {shape}"), &batch, |view| {
            if plan.takes(view.record()) {
                plan.keys(view, &mut keys);
            }
            black_box(&keys);
        });
        measure(&format!("mapping of 6 columns, {shape}"), &batch, |view| {
            black_box(mapper.map(view).expect("the rows fit"));
        });
        measure(&format!("lane by expression, {shape}"), &batch, |view| {
            black_box(lanes.lane(view).expect("the words are lanes"));
        });
    }
}
