//! The sink against the simulated org.

use crate::stub::{accounts, row, sink, text};
use async_trait::async_trait;
use connector_salesforce::{Auth, SalesforceConfig, SalesforceSink, Secret};
use contract::conformance::sink::{SinkFixture, SinkUnderTest, run_all};
use contract::{ColumnReference, FieldKind, OutBatch, OutColumn, OutOp, ReadBack, RowResult, Sink};
use model::{Cell, ErrorClass, FieldValue, Number};
use org_sim::{
    Api, AppConfig, Effect, FaultMatch, FaultRule, Operation, OrgConfig, OrgSim, RunningOrg, When, parse_objects,
};
use std::sync::Arc;
use std::time::Duration;

const OBJECTS: &str = "
objects:
  Account:
    fields:
      Code__c: {type: text, length: 40, external_id: true, unique: true}
      Position__c: {type: text, length: 40}
  Thing__c:
    fields:
      Number_Key__c: {type: number, precision: 18, scale: 2, external_id: true, unique: true}
      Exact_Key__c: {type: text, length: 40, external_id: true, unique: true, case_sensitive: true}
      Flag__c: {type: checkbox}
      Amount__c: {type: number, precision: 18, scale: 2}
      Price__c: {type: currency}
      Day__c: {type: date}
      Moment__c: {type: datetime}
      Clock__c: {type: time}
      Long__c: {type: long_text_area, length: 5000}
      Choices__c: {type: multi_picklist, values: [a, b, c]}
      Mail__c: {type: email}
      Account__c: {type: lookup, to: Account}
";

pub async fn org_with(change: impl FnOnce(&mut OrgConfig)) -> RunningOrg {
    let mut config = OrgConfig { objects: parse_objects(OBJECTS, "test").unwrap(), ..OrgConfig::default() };
    change(&mut config);
    OrgSim::start(config).await.unwrap()
}

pub async fn org() -> RunningOrg {
    org_with(|_| {}).await
}

pub fn config(org: &RunningOrg) -> SalesforceConfig {
    let credentials = org.credentials();
    let client_secret = Secret::new(&credentials.client_secret);
    let auth = Auth::ClientCredentials { client_id: credentials.client_id, client_secret };
    let mut config = SalesforceConfig::new(org.url(), "62.0", auth);
    config.client_name = "penstock/test".into();
    config.request_timeout = Duration::from_secs(10);
    config.in_flight_max = 32;
    config
}

pub fn connect(org: &RunningOrg) -> SalesforceSink {
    sink(&config(org))
}

struct Target {
    org: RunningOrg,
    sink: Arc<SalesforceSink>,
}

#[async_trait]
impl SinkUnderTest for Target {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.sink) as Arc<dyn Sink>
    }

    fn fixture(&self) -> SinkFixture {
        SinkFixture {
            object: "Account".into(),
            external_id: "Code__c",
            required: "Name",
            optional: "Site",
            refused: "x".repeat(81),
            no_object: "Nothing__c".into(),
        }
    }

    async fn held(&self, key: &str) -> Option<[Option<String>; 2]> {
        let records = self.org.records("Account");
        let record = records.iter().find(|record| record.get("Code__c").and_then(|v| v.as_str()) == Some(key))?;
        Some(["Name", "Site"].map(|field| record.get(field).and_then(|v| v.as_str()).map(str::to_owned)))
    }
}

#[tokio::test]
async fn the_sink_keeps_the_contract() {
    run_all(|| async {
        let org = org().await;
        let sink = Arc::new(connect(&org));
        Target { org, sink }
    })
    .await;
}

fn fault(operation: Operation, effect: Effect) -> FaultRule {
    let matches = FaultMatch { api: Some(Api::Collections), operation: Some(operation), ..FaultMatch::default() };
    FaultRule::new(matches, effect).times(1)
}

pub fn applied(found: &[ReadBack]) -> Vec<bool> {
    found.iter().map(|found| matches!(found, ReadBack::Applied { .. })).collect()
}

#[tokio::test]
async fn twenty_calls_after_a_revoked_session_renew_it_once() {
    let org = org().await;
    let sink = Arc::new(connect(&org));
    sink.apply(&accounts(OutOp::Upsert, &["first"])).await.unwrap();
    assert_eq!(org.revoke_sessions(), 1);
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move { sink.apply(&accounts(OutOp::Upsert, &[&n.to_string()])).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(org.revoke_sessions(), 1, "one session for all");
    assert_eq!(org.count("Account"), 21);
}

#[tokio::test]
async fn an_answer_lost_after_the_work_is_read_back_as_applied() {
    for effect in [Effect::Cut { when: When::After }, Effect::CutBody] {
        let org = org().await;
        let sink = connect(&org);
        org.fault(fault(Operation::Upsert, effect));
        let batch = accounts(OutOp::Upsert, &["a", "b"]);
        let error = sink.apply(&batch).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Unknown);
        assert_eq!(applied(&sink.read_back(&batch).await.unwrap().0), [true, true]);
        assert_eq!(org.history().len(), 2);
    }
}

#[tokio::test]
async fn a_call_cut_before_the_work_is_read_back_as_missing() {
    let org = org().await;
    let sink = connect(&org);
    org.fault(fault(Operation::Upsert, Effect::Cut { when: When::Before }));
    let batch = accounts(OutOp::Upsert, &["a"]);
    assert_eq!(sink.apply(&batch).await.unwrap_err().class, ErrorClass::Unknown);
    assert_eq!(applied(&sink.read_back(&batch).await.unwrap().0), [false]);
}

#[tokio::test]
async fn a_lost_delete_is_read_back_as_applied() {
    let org = org().await;
    let sink = connect(&org);
    sink.apply(&accounts(OutOp::Upsert, &["a", "b"])).await.unwrap();
    org.fault(fault(Operation::Delete, Effect::Cut { when: When::After }));
    let batch = accounts(OutOp::Delete, &["a"]);
    assert_eq!(sink.apply(&batch).await.unwrap_err().class, ErrorClass::Unknown);
    assert_eq!(applied(&sink.read_back(&batch).await.unwrap().0), [true]);
    assert_eq!(applied(&sink.read_back(&accounts(OutOp::Delete, &["b"])).await.unwrap().0), [false]);
}

#[tokio::test]
async fn a_hanging_org_times_out_and_is_found_applied_or_missing() {
    for (when, held) in [(When::After, true), (When::Before, false)] {
        let org = org().await;
        let mut config = config(&org);
        config.request_timeout = Duration::from_millis(400);
        let sink = sink(&config);
        org.fault(fault(Operation::Upsert, Effect::Hang { ms: 60_000, when }));
        let batch = accounts(OutOp::Upsert, &["a"]);
        let error = sink.apply(&batch).await.unwrap_err();
        assert_eq!((error.class, error.code.0), (ErrorClass::Unknown, "PS4105"));
        assert_eq!(applied(&sink.read_back(&batch).await.unwrap().0), [held], "{when:?}");
    }
}

#[tokio::test]
async fn locks_pages_and_quotas_have_their_class() {
    let org = org().await;
    let sink = connect(&org);
    org.fault(fault(Operation::Upsert, Effect::LockRows { row_fraction: 1.0 }));
    let rows = sink.apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap().rows;
    assert!(matches!(&rows[0], RowResult::Failed(error) if error.class == ErrorClass::Lock), "{rows:?}");
    org.fault(fault(Operation::Upsert, Effect::Html503));
    let error = sink.apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    org.set_daily_requests(Some(10), Some(10));
    let error = sink.apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Quota, "PS4103"));
    assert_eq!(org.count("Account"), 0);
}

pub fn things(columns: Vec<OutColumn>, key: &str, rows: Vec<contract::OutRow>) -> OutBatch {
    OutBatch {
        object: "Thing__c".into(),
        external_id: Some(key.into()),
        columns: columns.into(),
        rows,
        ..accounts(OutOp::Upsert, &["x"])
    }
}

pub fn plain(field: &str) -> OutColumn {
    OutColumn { field: field.into(), reference: None }
}

pub fn parent() -> OutColumn {
    let reference = ColumnReference {
        relationship: "Account__r".into(),
        object: "Account".into(),
        external_id: "Code__c".into(),
        polymorphic: false,
    };
    OutColumn { field: "Account__c".into(), reference: Some(reference) }
}

#[tokio::test]
async fn a_missing_parent_is_told_and_the_row_applies_once_it_is_there() {
    for code in ["INVALID_FIELD", "INVALID_CROSS_REFERENCE_KEY"] {
        let org = org_with(|config| config.unverified.unknown_foreign_key_code = code.into()).await;
        let sink = connect(&org);
        let child = things(vec![parent()], "Exact_Key__c", vec![row("t", vec![text("p")])]);
        let rows = sink.apply(&child).await.unwrap().rows;
        assert!(matches!(&rows[0], RowResult::Failed(error) if error.class == ErrorClass::ParentMissing), "{rows:?}");
        sink.apply(&accounts(OutOp::Upsert, &["p"])).await.unwrap();
        let rows = sink.apply(&child).await.unwrap().rows;
        assert!(matches!(&rows[0], RowResult::Applied { created: true, .. }), "{rows:?}");
        assert_eq!(applied(&sink.read_back(&child).await.unwrap().0), [true]);
        let cleared = things(vec![parent()], "Exact_Key__c", vec![row("t", vec![Cell::Null])]);
        assert_eq!(applied(&sink.read_back(&cleared).await.unwrap().0), [false]);
        sink.apply(&cleared).await.unwrap();
        assert_eq!(applied(&sink.read_back(&cleared).await.unwrap().0), [true]);
        assert_eq!(applied(&sink.read_back(&child).await.unwrap().0), [false]);
    }
}

pub fn number(digits: &str) -> Cell {
    Cell::Value(FieldValue::Number(digits.parse::<Number>().unwrap()))
}

/// For each field: a cell, and cells that differ from it.
fn samples() -> Vec<(&'static str, Cell, Vec<Cell>)> {
    vec![
        ("Flag__c", Cell::Value(FieldValue::Bool(true)), vec![Cell::Value(FieldValue::Bool(false))]),
        ("Amount__c", number("1234567890123456.78"), vec![number("1234567890123456.77"), Cell::Null, number("0")]),
        ("Price__c", number("10.50"), vec![number("10.51"), Cell::Null]),
        ("Day__c", text("2024-02-29"), vec![text("2024-02-28"), Cell::Null]),
        ("Moment__c", text("2024-02-29T23:59:59.123456Z"), vec![text("2024-02-29T23:59:59.124Z"), Cell::Null]),
        ("Clock__c", text("10:15:30.5"), vec![text("10:15:31"), Cell::Null]),
        ("Long__c", text("first\nsecond é 日本 'quoted'"), vec![text("first second"), text(""), Cell::Null]),
        ("Choices__c", text("a;c"), vec![text("a"), Cell::Null]),
        ("Mail__c", text("a@example.com"), vec![text("b@example.com"), Cell::Null]),
    ]
}

#[tokio::test]
async fn every_kind_of_field_is_read_back_by_value() {
    let org = org().await;
    let sink = connect(&org);
    let samples = samples();
    let columns = || samples.iter().map(|(field, ..)| plain(field)).collect::<Vec<_>>();
    let cells: Vec<Cell> = samples.iter().map(|(_, cell, _)| cell.clone()).collect();
    let sent = things(columns(), "Exact_Key__c", vec![row("k", cells.clone())]);
    let rows = sink.apply(&sent).await.unwrap().rows;
    assert!(matches!(rows[0], RowResult::Applied { .. }), "{rows:?}");
    assert_eq!(applied(&sink.read_back(&sent).await.unwrap().0), [true]);
    for (at, (field, _, others)) in samples.iter().enumerate() {
        for other in others {
            let mut cells = cells.clone();
            cells[at] = other.clone();
            let different = things(columns(), "Exact_Key__c", vec![row("k", cells)]);
            assert_eq!(applied(&sink.read_back(&different).await.unwrap().0), [false], "{field}: {other:?}");
        }
    }
    let nulls = things(columns()[1..].to_vec(), "Exact_Key__c", vec![row("k", vec![Cell::Null; samples.len() - 1])]);
    sink.apply(&nulls).await.unwrap();
    assert_eq!(applied(&sink.read_back(&nulls).await.unwrap().0), [true]);
}

#[tokio::test]
async fn keys_that_differ_by_case_alone_are_kept_apart_where_the_field_says_so() {
    let org = org().await;
    let sink = connect(&org);
    let rows = || vec![row("k", vec![text("lower")]), row("K", vec![text("upper")])];
    let both = things(vec![plain("Long__c")], "Exact_Key__c", rows());
    sink.apply(&both).await.unwrap();
    assert_eq!(org.count("Thing__c"), 2);
    assert_eq!(applied(&sink.read_back(&both).await.unwrap().0), [true, true]);
    let mut delete = things(vec![], "Exact_Key__c", vec![row("K", vec![])]);
    delete.op = OutOp::Delete;
    sink.apply(&delete).await.unwrap();
    assert_eq!(applied(&sink.read_back(&both).await.unwrap().0), [true, false]);
}

#[tokio::test]
async fn number_keys_match_by_value() {
    let org = org().await;
    let sink = connect(&org);
    let rows = |digits: &str| {
        let mut row = row("", vec![text("x")]);
        row.key = Some(FieldValue::Number(digits.parse().unwrap()));
        vec![row]
    };
    sink.apply(&things(vec![plain("Long__c")], "Number_Key__c", rows("7.50"))).await.unwrap();
    for digits in ["7.5", "7.50", "75e-1"] {
        let batch = things(vec![plain("Long__c")], "Number_Key__c", rows(digits));
        assert_eq!(applied(&sink.read_back(&batch).await.unwrap().0), [true], "{digits}");
        let update = OutBatch { op: OutOp::Update, ..batch };
        assert!(matches!(sink.apply(&update).await.unwrap().rows[0], RowResult::Applied { .. }), "{digits}");
    }
}

#[tokio::test]
async fn hostile_keys_go_through_lookups_and_paths() {
    let org = org().await;
    let sink = connect(&org);
    let keys = ["it's", "back\\slash", "a,b&c=d?#%+", "') OR Name != ('", "ünï ☃", "line\nbreak", "\"q\"", "a/b"];
    let rows = sink.apply(&accounts(OutOp::Upsert, &keys)).await.unwrap().rows;
    assert!(rows.iter().all(|row| matches!(row, RowResult::Applied { created: true, .. })), "{rows:?}");
    let batch = accounts(OutOp::Upsert, &keys);
    assert_eq!(applied(&sink.read_back(&batch).await.unwrap().0), [true; 8]);
    let rows = sink.apply(&accounts(OutOp::Update, &keys)).await.unwrap().rows;
    assert!(rows.iter().all(|row| matches!(row, RowResult::Applied { .. })), "{rows:?}");
    sink.apply(&accounts(OutOp::Delete, &keys[3..4])).await.unwrap();
    assert_eq!(org.count("Account"), 7, "the injected condition deleted one record");
    sink.apply(&accounts(OutOp::Delete, &keys)).await.unwrap();
    assert_eq!(org.count("Account"), 0);
}

#[tokio::test]
async fn the_position_is_written_and_tells_newer_from_older() {
    let org = org().await;
    let sink = connect(&org);
    let at = |offset: u64| {
        let mut batch = accounts(OutOp::Upsert, &["a"]);
        batch.position_field = Some("Position__c".into());
        batch.rows[0].position.offset = model::Offset(offset);
        batch
    };
    sink.apply(&at(10)).await.unwrap();
    assert_eq!(org.records("Account")[0]["Position__c"], "0:10");
    for (offset, held) in [(9, true), (10, true), (11, false), (100, false)] {
        assert_eq!(applied(&sink.read_back(&at(offset)).await.unwrap().0), [held], "{offset}");
    }
}

#[tokio::test]
async fn calls_are_counted_as_the_org_counts_them() {
    let org = org().await;
    let sink = connect(&org);
    let before = org.daily_requests_used();
    let mut calls = 0;
    for op in [OutOp::Upsert, OutOp::Update, OutOp::Upsert, OutOp::Delete] {
        calls += sink.apply(&accounts(op, &["a", "b"])).await.unwrap().spent.calls;
    }
    calls += sink.read_back(&accounts(OutOp::Upsert, &["a"])).await.unwrap().1;
    assert_eq!(u64::from(calls), org.daily_requests_used() - before);
    let readings = sink.take_readings();
    assert_eq!(readings.last().map(|reading| reading.used), Some(org.daily_requests_used()));
    let limits = sink.allocations().await.unwrap();
    let daily = limits.iter().find(|reading| &*reading.allocation == "DailyApiRequests").unwrap();
    assert!(daily.max > 0 && daily.used > 0);
}

#[tokio::test]
async fn compressed_batches_and_our_client_name_reach_the_org() {
    let org = org().await;
    let mut config = config(&org);
    config.compress_over_bytes = Some(0);
    let keys: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let applied = sink(&config).apply(&accounts(OutOp::Upsert, &keys)).await.unwrap();
    assert!(applied.rows.iter().all(|row| matches!(row, RowResult::Applied { .. })));
    let history = org.history();
    assert_eq!(history.len(), 200);
    assert!(history.iter().all(|entry| entry.client.as_deref() == Some("penstock/test")));
}

#[tokio::test]
async fn a_whole_refusal_is_permanent_and_changes_nothing() {
    let org = org_with(|config| config.unverified.collections_refuse_whole_call = true).await;
    let sink = connect(&org);
    let mut batch = accounts(OutOp::Upsert, &["a", "b"]);
    batch.columns = [plain("Nope__c")].into();
    let error = sink.apply(&batch).await.unwrap_err();
    assert_eq!((error.class, error.target_code.as_deref()), (ErrorClass::Permanent, Some("INVALID_FIELD")));
    assert_eq!(org.count("Account"), 0);
}

#[tokio::test]
async fn the_org_is_described_with_its_kinds() {
    let org = org().await;
    let sink = connect(&org);
    let thing = sink.describe(&"Thing__c".into()).await.unwrap();
    let kind = |name: &str| thing.field(name).unwrap().kind;
    assert_eq!(kind("Moment__c"), FieldKind::Datetime);
    assert_eq!(kind("Account__c"), FieldKind::Reference);
    assert_eq!(kind("Choices__c"), FieldKind::MultiPicklist);
    let exact = thing.field("Exact_Key__c").unwrap();
    assert!(exact.external_id && exact.unique && exact.case_sensitive);
    assert_eq!(thing.field("Account__c").unwrap().relationship_name.as_deref(), Some("Account__r"));
    assert_eq!(thing.field("Amount__c").map(|f| (f.precision, f.scale)), Some((18, 2)));
}

#[tokio::test]
async fn a_jwt_signs_in_and_a_foreign_key_does_not() {
    let public = include_str!("../keys/jwt-test.pub.pem");
    let app = AppConfig { certificate: Some(public.into()), run_as: None, ..AppConfig::default() };
    let org = org_with(|config| config.apps = vec![app]).await;
    let mut config = config(&org);
    let auth = |username: &str| Auth::JwtBearer {
        client_id: org.credentials().client_id,
        username: username.into(),
        private_key_pem: Secret::new(include_str!("../keys/jwt-test.pem")),
        audience: None,
    };
    config.auth = auth("integration@org-sim.example");
    assert_eq!(sink(&config).check().await, []);
    config.auth = auth("stranger@org-sim.example");
    let findings = sink(&config).check().await;
    assert_eq!(findings[0].code.0, "PS4002", "{findings:?}");
}

#[tokio::test]
async fn wrong_credentials_and_a_retired_version_are_found() {
    let org = org().await;
    let mut config = config(&org);
    config.api_version = "20.0".into();
    assert_eq!(sink(&config).check().await[0].code.0, "PS4005");
    config.auth =
        Auth::ClientCredentials { client_id: org.credentials().client_id, client_secret: Secret::new("wrong-secret") };
    let findings = sink(&config).check().await;
    assert_eq!(findings[0].code.0, "PS4002");
    assert!(!format!("{findings:?}").contains("wrong-secret"));
}

#[tokio::test]
async fn calls_that_nobody_asked_leave_for_are_told_once() {
    let org = org().await;
    let sink = connect(&org);
    assert!(sink.check().await.is_empty());
    sink.describe(&"Account".into()).await.unwrap();
    sink.describe(&"Account".into()).await.unwrap();
    let told = sink.take_unpaid();
    assert_eq!(u64::from(told.calls), org.daily_requests_used());
    assert!(told.calls >= 2, "{told:?}");
    assert_eq!(sink.take_unpaid().calls, 0);
}
