//! Start-time checks and mapping over one route: service requests to Case with agencies as parents.

use crate::event::ChangeView;
use crate::mapping::{MappedRow, Mapper, RowRefusal};
use crate::spec::{ChangePart, DeletePolicy, LaneSpec, MapSource, Operation, ReferenceSpec, RouteSpec, TruncatePolicy};
use contract::{FieldKind, FieldSchema, ObjectSchema, OutOp};
use model::{
    Cell, Column, ColumnType, FieldValue, Lane, RecordBatchBuilder, ReplicaIdentity, Severity, StreamId,
    StreamPartition, TableName, TableSchema, ValueMode,
};
use proptest::prelude::*;
use std::sync::Arc;

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
        external_id: false,
        id_lookup: false,
        unique: false,
        case_sensitive: false,
        calculated: false,
        reference_to: vec![],
        relationship_name: None,
        picklist: vec![],
        picklist_restricted: false,
        master_detail: false,
    }
}

fn object(name: &str, fields: Vec<FieldSchema>) -> ObjectSchema {
    let yes = true;
    ObjectSchema { name: name.into(), createable: yes, updateable: yes, deletable: yes, queryable: yes, fields }
}

fn case() -> ObjectSchema {
    let lookup = |name: &str, to: &str, relationship: &str| FieldSchema {
        reference_to: vec![to.into()],
        relationship_name: Some(relationship.into()),
        ..field(name, FieldKind::Reference)
    };
    object(
        "Case",
        vec![
            FieldSchema { external_id: true, ..field("Request_Key__c", FieldKind::Text) },
            field("Subject", FieldKind::Text),
            FieldSchema {
                picklist: vec!["New".into(), "Closed".into()],
                picklist_restricted: true,
                master_detail: false,
                ..field("Status", FieldKind::Picklist)
            },
            field("Opened__c", FieldKind::Datetime),
            field("Cost__c", FieldKind::Currency),
            FieldSchema { nillable: false, ..field("Urgent__c", FieldKind::Boolean) },
            FieldSchema {
                createable: false,
                updateable: false,
                calculated: true,
                ..field("CaseNumber", FieldKind::Text)
            },
            lookup("AccountId", "Account", "Account"),
            lookup("First__c", "Contact", "First__r"),
            lookup("Second__c", "Contact", "Second__r"),
            FieldSchema { length: 40, ..field("Position__c", FieldKind::Text) },
        ],
    )
}

fn parents() -> Vec<Arc<ObjectSchema>> {
    let key = |name: &str| FieldSchema { external_id: true, ..field(name, FieldKind::Text) };
    vec![
        Arc::new(object("Account", vec![key("Agency_Code__c"), field("Name", FieldKind::Text)])),
        Arc::new(object("Contact", vec![key("Email_Key__c")])),
    ]
}

fn route() -> RouteSpec {
    let column = |name: &str, kind| Column { name: name.into(), kind, nullable: name != "urgent" };
    let schema = TableSchema {
        table: TableName { schema: "city".into(), name: "request".into() },
        columns: vec![
            column("id", ColumnType::Int64),
            column("title", ColumnType::Text { length: Some(100) }),
            column("status", ColumnType::Text { length: None }),
            column("opened", ColumnType::Timestamp { precision: 6 }),
            column("cost", ColumnType::Decimal { precision: Some(12), scale: Some(2) }),
            column("urgent", ColumnType::Bool),
            column("agency", ColumnType::Text { length: Some(10) }),
        ],
        primary_key: vec!["id".into()],
        replica_identity: ReplicaIdentity::Default,
        identity_columns: vec!["id".into()],
    };
    let stream = StreamPartition::first(StreamId::from("city"));
    let mut route = RouteSpec::upsert("requests", stream, schema, ("main".into(), "Case".into()), "Request_Key__c");
    let columns = [
        ("Request_Key__c", "id"),
        ("Subject", "title"),
        ("Opened__c", "opened"),
        ("Cost__c", "cost"),
        ("Urgent__c", "urgent"),
    ];
    route.map = columns.map(|(f, c)| (f.to_owned(), MapSource::Column(c.into()))).to_vec();
    route.map.push(("Status".into(), MapSource::Cel("status == 'done' ? 'Closed' : 'New'".into())));
    route.references.push(ReferenceSpec {
        object: "Account".into(),
        external_id: "Agency_Code__c".into(),
        from: "agency".into(),
        table: TableName { schema: "city".into(), name: "agency".into() },
        field: None,
        locks: None,
    });
    route
}

fn compile(route: &RouteSpec) -> Mapper {
    Mapper::compile(route, &case(), &parents()).unwrap()
}

/// Codes and places of the findings that a change of the route brings.
fn findings(change: impl FnOnce(&mut RouteSpec)) -> Vec<(&'static str, String, Severity)> {
    let mut route = route();
    change(&mut route);
    let found = match Mapper::compile(&route, &case(), &parents()) {
        Ok(mapper) => mapper.warnings().to_vec(),
        Err(findings) => findings,
    };
    assert!(found.iter().all(|f| !f.cause.is_empty() && !f.fix.is_empty()));
    found.into_iter().map(|f| (f.code.0, f.place.replace("routes.requests.", ""), f.severity)).collect()
}

fn error(code: &'static str, place: &str) -> Vec<(&'static str, String, Severity)> {
    vec![(code, place.to_owned(), Severity::Error)]
}

fn put(route: &mut RouteSpec, field: &str, source: MapSource) {
    route.map.retain(|(name, _)| name != field);
    route.map.push((field.into(), source));
}

fn cel(text: &str) -> MapSource {
    MapSource::Cel(text.into())
}

#[test]
fn a_good_route_has_no_findings() {
    assert_eq!(findings(|_| {}), []);
}

#[test]
fn mistakes_in_columns_and_expressions_are_found() {
    assert_eq!(findings(|r| put(r, "Subject", MapSource::Column("titel".into()))), error("PS5101", "map.Subject"));
    assert_eq!(findings(|r| r.references[0].from = "agenci".into()), error("PS5101", "references.Account"));
    assert_eq!(findings(|r| r.filter = Some("status ==".into())), error("PS5105", "filter"));
    assert_eq!(findings(|r| r.filter = Some("state == 'x'".into())), error("PS5106", "filter"));
    assert_eq!(findings(|r| r.filter = Some("foo(status)".into())), error("PS5107", "filter"));
    assert_eq!(findings(|r| r.filter = Some("status".into())), error("PS5108", "filter"));
    let lane = "urgent ? 'critical' : 'normal'";
    assert_eq!(findings(|r| r.lane = LaneSpec::Cel(lane.into())), error("PS5108", "lane"));
    assert_eq!(findings(|r| put(r, "Status", cel("urgent ? 'Gone' : 'New'"))), error("PS5108", "map.Status"));
    assert_eq!(findings(|r| put(r, "Urgent__c", cel("status"))), error("PS5108", "map.Urgent__c"));
    assert_eq!(findings(|r| r.map.retain(|(name, _)| name != "Request_Key__c")), error("PS5103", "map.Request_Key__c"));
    assert_eq!(findings(|r| put(r, "Request_Key__c", MapSource::Column("title".into()))), error("PS5102", "deletes"));
    assert_eq!(findings(|r| r.key.clear()), error("PS5104", "key"));
}

#[test]
fn mistakes_in_fields_are_found() {
    let title = || MapSource::Column("title".into());
    assert_eq!(findings(|r| put(r, "Subjet", title())), error("PS5201", "map.Subjet"));
    assert_eq!(findings(|r| put(r, "CaseNumber", title())), error("PS5202", "map.CaseNumber"));
    assert_eq!(findings(|r| put(r, "Opened__c", title())), error("PS5204", "map.Opened__c"));
    assert_eq!(findings(|r| put(r, "Cost__c", MapSource::Column("urgent".into()))), error("PS5204", "map.Cost__c"));
    let constant = |value: serde_json::Value| MapSource::Constant(value);
    assert_eq!(findings(|r| put(r, "Status", constant("Gone".into()))), error("PS5214", "map.Status"));
    assert_eq!(findings(|r| r.map.push(("subject".into(), title()))), error("PS5211", "map.subject"));
    assert_eq!(findings(|r| r.position_field = Some("Cost__c".into()))[0].0, "PS5215");
    assert_eq!(findings(|r| r.position_field = Some("Position__c".into())), []);
    let set = |value: &str| DeletePolicy::Set { field: "Status".into(), value: value.into() };
    assert_eq!(findings(|r| r.deletes = set("Gone")), error("PS5214", "deletes.set"));
    assert_eq!(findings(|r| r.deletes = set("Closed")), []);
}

#[test]
fn mistakes_about_the_external_id_and_the_parents_are_found() {
    assert_eq!(findings(|r| r.external_id = Some("Request_Kex__c".into()))[0].0, "PS5203");
    assert_eq!(findings(|r| r.external_id = Some("Subject".into()))[0].0, "PS5203");
    assert_eq!(findings(|r| r.external_id = None)[0].0, "PS5103");
    assert_eq!(findings(|r| r.references[0].object = "Asset".into())[0].0, "PS5208");
    assert_eq!(findings(|r| r.references[0].field = Some("First__c".into())), error("PS5208", "references.Account"));
    assert_eq!(findings(|r| r.references[0].external_id = "Name".into()), error("PS5210", "references.Account"));
    assert_eq!(findings(|r| r.references[0].external_id = "Nme".into()), error("PS5210", "references.Account"));
    let contact = |r: &mut RouteSpec| {
        r.references[0].object = "Contact".into();
        r.references[0].external_id = "Email_Key__c".into();
    };
    assert_eq!(findings(contact), error("PS5209", "references.Contact"));
    assert_eq!(
        findings(|r| {
            contact(r);
            r.references[0].field = Some("second__c".into());
        }),
        []
    );
}

#[test]
fn what_may_not_fit_is_warned_about() {
    let warning = |code, place: &str| vec![(code, place.to_owned(), Severity::Warning)];
    let column = |r: &mut RouteSpec, index: usize, kind| r.schema.columns[index].kind = kind;
    let long = ColumnType::Text { length: Some(256) };
    assert_eq!(findings(|r| column(r, 1, long)), warning("PS5205", "map.Subject"));
    let wide = ColumnType::Decimal { precision: Some(20), scale: Some(3) };
    assert_eq!(findings(|r| column(r, 4, wide)), warning("PS5216", "map.Cost__c"));
    assert_eq!(findings(|r| r.schema.columns[5].nullable = true), warning("PS5213", "map.Urgent__c"));
    let labels = ColumnType::Enum { labels: vec!["new".into(), "gone".into()] };
    let enumerated = |r: &mut RouteSpec| {
        r.schema.columns[2].kind = labels;
        put(r, "Status", MapSource::Column("status".into()));
    };
    assert_eq!(findings(enumerated), warning("PS5207", "map.Status"));
}

#[test]
fn object_without_rights_and_required_fields_are_found() {
    let mut object = case();
    object.createable = false;
    object.fields[1].nillable = false;
    let mut route = route();
    route.map.retain(|(name, _)| name != "Subject");
    let codes: Vec<&str> = Mapper::compile(&route, &object, &parents()).unwrap_err().iter().map(|f| f.code.0).collect();
    assert_eq!(codes, ["PS5212", "PS5206"]);
    route.operation = Operation::Update;
    assert!(Mapper::compile(&route, &object, &parents()).is_ok());
    // What the pipeline itself fills is filled.
    (route.operation, object.createable) = (Operation::Upsert, true);
    object.fields[1].nillable = true;
    for field in object.fields.iter_mut().filter(|field| &*field.name == "Position__c") {
        field.nillable = false;
    }
    assert!(Mapper::compile(&route, &object, &parents()).is_err());
    route.position_field = Some("Position__c".into());
    assert!(Mapper::compile(&route, &object, &parents()).is_ok());
}

/// Looks at one record through a mapper.
fn look<T>(op: &str, value: &str, headers: &[(&str, &str)], look: impl FnOnce(&ChangeView<'_>) -> T) -> T {
    let mut all: Vec<(&str, &[u8])> = vec![("op", op.as_bytes()), ("table", b"city.request")];
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
    let mut builder = RecordBatchBuilder::default();
    builder.push(0, Some(br#"{"id":7}"#), Some(value.as_bytes()), &all).unwrap();
    let batch = builder.finish();
    look(&ChangeView::parse(&batch.iter().next().unwrap()).unwrap())
}

const ROW: &str = r#"{"id":7,"title":"Pothole","status":"done","opened":"2024-01-02T03:04:05.678901","cost":"12.30","urgent":true,"agency":"DOT"}"#;

fn created(row: &str) -> String {
    format!(r#"{{"before":null,"after":{row},"source":{{}},"op":"c"}}"#)
}

fn json(row: &MappedRow) -> Vec<String> {
    row.cells
        .iter()
        .map(|cell| match cell {
            Cell::Value(value) => serde_json::to_string(value).unwrap(),
            other => format!("{other:?}"),
        })
        .collect()
}

fn map(route: &RouteSpec, op: &str, value: &str, headers: &[(&str, &str)]) -> Result<MappedRow, RowRefusal> {
    look(op, value, headers, |view| compile(route).map(view))
}

#[test]
fn created_row_is_mapped_field_by_field() {
    let mapper = compile(&route());
    let names: Vec<String> = mapper.columns().iter().map(|c| c.field.to_string()).collect();
    assert_eq!(names, ["Subject", "Opened__c", "Cost__c", "Urgent__c", "Status", "AccountId"]);
    let reference = mapper.columns()[5].reference.clone().unwrap();
    assert_eq!((&*reference.relationship, &*reference.external_id), ("Account", "Agency_Code__c"));
    let row = map(&route(), "c", &created(ROW), &[]).unwrap();
    assert_eq!((row.op, row.key.clone()), (OutOp::Upsert, Some(FieldValue::Text("7".into()))));
    assert_eq!(json(&row), ["\"Pothole\"", "\"2024-01-02T03:04:05.678Z\"", "12.30", "true", "\"Closed\"", "\"DOT\""]);
}

#[test]
fn columns_in_another_order_map_the_same() {
    let other = r#"{"agency":"DOT","urgent":true,"x":{"id":1},"cost":"12.30","opened":"2024-01-02T03:04:05.678901","status":"done","title":"Pothole","id":7}"#;
    assert_eq!(map(&route(), "c", &created(other), &[]), map(&route(), "c", &created(ROW), &[]));
}

#[test]
fn unchanged_columns_give_unchanged_cells_and_never_null() {
    let value = r#"{"before":null,"after":{"id":7,"opened":null,"cost":null,"urgent":false,"agency":null}}"#;
    let unchanged = [("unchanged", r#"["title","status"]"#)];
    let row = map(&route(), "u", value, &unchanged).unwrap();
    assert_eq!(json(&row), ["Unchanged", "Null", "Null", "false", "Unchanged", "Null"]);
    let refusal = map(&route(), "u", value, &[]).unwrap_err();
    assert_eq!((refusal.code.0, refusal.field.as_deref()), ("PS5311", Some("Subject")));
}

#[test]
fn unchanged_column_of_an_expression_is_read_from_a_full_before() {
    let mut route = route();
    route.schema.replica_identity = ReplicaIdentity::Full;
    let value = format!(r#"{{"before":{ROW},"after":{}}}"#, ROW.replace(r#""status":"done","#, ""));
    let row = map(&route, "u", &value, &[("unchanged", r#"["status"]"#)]).unwrap();
    assert_eq!(json(&row)[4], "\"Closed\"");
}

#[test]
fn deletes_follow_the_policy() {
    let value = r#"{"before":{"id":7,"title":null,"status":null},"after":null}"#;
    let mut route = route();
    let row = map(&route, "d", value, &[]).unwrap();
    assert_eq!((row.op, row.key, row.cells.len()), (OutOp::Delete, Some(FieldValue::Text("7".into())), 0));
    route.deletes = DeletePolicy::Set { field: "Position__c".into(), value: "gone".into() };
    let row = map(&route, "d", value, &[]).unwrap();
    assert_eq!((row.op, row.cells.len()), (OutOp::Update, 7));
    assert_eq!(json(&row)[6], "\"gone\"");
    assert_eq!(json(&map(&route, "c", &created(ROW), &[]).unwrap())[6], "Unchanged");
    route.deletes = DeletePolicy::Ignore;
    assert_eq!(look("d", value, &[], |view| compile(&route).passes(view)), Ok(false));
}

/// A route that tells changes as events.
fn event_route() -> RouteSpec {
    let mut route = route();
    (route.operation, route.external_id, route.deletes) = (Operation::Create, None, DeletePolicy::Create);
    route.references.clear();
    let change = |part| MapSource::Change(part);
    route.map = vec![
        ("Subject".into(), change(ChangePart::Op)),
        ("Opened__c".into(), change(ChangePart::Time)),
        ("Request_Key__c".into(), change(ChangePart::Key)),
        ("Position__c".into(), change(ChangePart::Table)),
        ("Status".into(), cel("status == 'done' ? 'Closed' : 'New'")),
        ("Cost__c".into(), MapSource::Column("cost".into())),
        ("Urgent__c".into(), MapSource::Constant(true.into())),
    ];
    route
}

#[test]
fn a_change_tells_its_op_key_table_row_and_time() {
    let table = [("table", "city.request")];
    let row = map(&event_route(), "c", &created(ROW), &table).unwrap();
    assert_eq!((row.op, row.key.clone()), (OutOp::Create, None));
    let cells = json(&row);
    assert_eq!((&*cells[0], &*cells[3]), ("\"c\"", "\"city.request\""));
    assert!(cells[1].starts_with("\"") && cells[1].ends_with("Z\""), "{cells:?}");
    let mut whole = event_route();
    put(&mut whole, "Subject", MapSource::Change(ChangePart::Row));
    let row = map(&whole, "c", &created(ROW), &table).unwrap();
    let at = whole.map.iter().position(|(name, _)| name == "Subject").unwrap();
    let Cell::Value(FieldValue::Text(text)) = &row.cells[at] else { panic!("{row:?}") };
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(text).unwrap(),
        serde_json::from_str::<serde_json::Value>(ROW).unwrap(),
        "the row and nothing behind it"
    );
}

#[test]
fn a_delete_creates_a_row_of_what_is_known_where_it_is_told_to() {
    let value = r#"{"before":{"id":7,"title":null,"status":null,"cost":null},"after":null}"#;
    let row = map(&event_route(), "d", value, &[]).unwrap();
    let cells = json(&row);
    assert_eq!((row.op, &*cells[0]), (OutOp::Create, "\"d\""));
    // The identity holds only the key: a null of another column says nothing of it.
    assert_eq!((&*cells[4], &*cells[5], &*cells[6]), ("Unchanged", "Unchanged", "true"));
    let mut full = event_route();
    full.schema.replica_identity = ReplicaIdentity::Full;
    let value = format!(r#"{{"before":{ROW},"after":null}}"#);
    assert_eq!(json(&map(&full, "d", &value, &[]).unwrap())[4], "\"Closed\"");
}

#[test]
fn mistakes_in_changes_are_found() {
    assert_eq!(findings(|r| put(r, "Cost__c", MapSource::Change(ChangePart::Op))), error("PS5204", "map.Cost__c"));
    assert_eq!(findings(|r| r.deletes = DeletePolicy::Create), error("PS5102", "deletes"));
    assert_eq!(
        findings(|r| {
            put(r, "Request_Key__c", MapSource::Change(ChangePart::Op));
        }),
        error("PS5103", "map")
    );
}

#[test]
fn truncates_pass_only_to_be_refused() {
    let mut route = route();
    let value = r#"{"before":null,"after":null}"#;
    assert_eq!(look("t", value, &[], |view| compile(&route).passes(view)), Ok(true));
    assert_eq!(map(&route, "t", value, &[]).unwrap_err().code.0, "PS5310");
    route.truncate = TruncatePolicy::Ignore;
    assert_eq!(look("t", value, &[], |view| compile(&route).passes(view)), Ok(false));
}

#[test]
fn filter_tests_rows_and_lets_deletes_without_columns_pass() {
    let mut route = route();
    route.filter = Some("status != 'done'".into());
    let mapper = compile(&route);
    assert_eq!(look("c", &created(ROW), &[], |view| mapper.passes(view)), Ok(false));
    assert_eq!(look("c", &created(&ROW.replace("done", "x")), &[], |view| mapper.passes(view)), Ok(true));
    let deleted = r#"{"before":{"id":7,"status":null},"after":null}"#;
    assert_eq!(look("d", deleted, &[], |view| mapper.passes(view)), Ok(true));
    let toasted = r#"{"before":null,"after":{"id":7}}"#;
    let refusal = look("u", toasted, &[("unchanged", r#"["status"]"#)], |view| mapper.passes(view)).unwrap_err();
    assert_eq!(refusal.code.0, "PS5314");
}

#[test]
fn rows_of_the_first_copy_go_in_bulk_where_the_lane_is_a_word() {
    let mut route = route();
    route.lane = LaneSpec::Constant(Lane::Critical);
    let lane = |route: &RouteSpec, op| look(op, &created(ROW), &[], |view| compile(route).lane(view));
    assert_eq!((lane(&route, "c"), lane(&route, "r")), (Ok(Lane::Critical), Ok(Lane::Bulk)));
    route.lane = LaneSpec::Cel("'standard'".into());
    assert_eq!(lane(&route, "r"), Ok(Lane::Standard));
}

#[test]
fn lane_is_told_by_the_expression() {
    let mut route = route();
    route.lane = LaneSpec::Cel("agency == 'FDNY' ? 'critical' : 'bulk'".into());
    let mapper = compile(&route);
    assert_eq!(look("c", &created(ROW), &[], |view| mapper.lane(view)), Ok(Lane::Bulk));
    assert_eq!(look("c", &created(&ROW.replace("DOT", "FDNY")), &[], |view| mapper.lane(view)), Ok(Lane::Critical));
    let deleted = r#"{"before":{"id":7},"after":null}"#;
    assert_eq!(look("d", deleted, &[], |view| mapper.lane(view)), Ok(Lane::Standard));
    route.lane = LaneSpec::Cel("agency".into());
    assert_eq!(look("c", &created(ROW), &[], |view| compile(&route).lane(view)).unwrap_err().code.0, "PS5312");
}

#[test]
fn rows_that_cannot_be_sent_are_refused_with_field_and_code() {
    let refused = |row: String| map(&route(), "c", &created(&row), &[]).unwrap_err();
    let long = refused(ROW.replace("Pothole", &"x".repeat(256)));
    assert_eq!((long.code.0, long.field.as_deref()), ("PS5302", Some("Subject")));
    assert_eq!(refused(ROW.replace("\"id\":7", "\"id\":null")).code.0, "PS5308");
    assert_eq!(refused(ROW.replace("true", "null")).code.0, "PS5313");
    assert_eq!(refused(ROW.replace("\"12.30\"", "12.30x")).code.0, "PS5301");
    assert_eq!(map(&route(), "c", "{\"after\":", &[]).unwrap_err().code.0, "PS5001");
    assert_eq!(map(&route(), "c", r#"{"after":{"id":7"#, &[]).unwrap_err().code.0, "PS5001");
}

proptest! {
    #[test]
    fn any_record_is_mapped_or_refused_without_a_panic(value in ".{0,120}", op in "[cudrt]", cut in 0_usize..200) {
        let mut route = route();
        route.filter = Some("status != 'x'".into());
        route.lane = LaneSpec::Cel("urgent ? 'critical' : 'bulk'".into());
        let mapper = compile(&route);
        let whole = created(ROW);
        let cut: String = whole.chars().take(cut).collect();
        for value in [value, cut] {
            look(&op, &value, &[("unchanged", &value)], |view| {
                let _ = (mapper.passes(view), mapper.lane(view), mapper.map(view));
            });
        }
    }

    #[test]
    fn both_value_modes_give_the_same_row(
        id: i64,
        title in "[a-zA-Zé\"\\\\ ]{0,20}",
        cents in -10_000_000_000_i64..10_000_000_000,
        us in -8_000_000_000_000_000_i64..60_000_000_000_000_000,
        urgent: bool,
    ) {
        use base64::Engine;
        let mut route = route();
        let digits = crate::event::decimal::from_twos_complement(&cents.to_be_bytes(), 2).unwrap();
        let at = crate::event::calendar::Moment::from_epoch_us(us);
        let (year, month, day) = at.day.civil();
        let (s, f) = (at.us / 1_000_000, at.us % 1_000_000);
        let iso = format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{f:06}", s / 3600, s / 60 % 60, s % 60);
        let row = |opened: serde_json::Value, cost: String| created(&serde_json::json!({
            "id": id, "title": title, "status": "x", "opened": opened, "cost": cost, "urgent": urgent, "agency": null,
        }).to_string());
        let readable = map(&route, "c", &row(iso.into(), digits.clone()), &[]);
        route.value_mode = ValueMode::Debezium;
        let cost = base64::engine::general_purpose::STANDARD.encode(cents.to_be_bytes());
        let debezium = map(&route, "c", &row(us.into(), cost), &[]);
        prop_assert_eq!(&readable, &debezium);
        prop_assert_eq!(json(&readable.unwrap())[2].clone(), digits);
    }
}
