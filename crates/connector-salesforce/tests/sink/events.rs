//! Platform events, by REST and by the Pub/Sub API.

use crate::jobs::{applied_rows, failed_rows};
use crate::org::{config, number, org_with, plain};
use crate::stub::{accounts, row, sink, text};
use connector_salesforce::SalesforceSink;
use contract::{OutBatch, OutOp, OutRow, ReadBack, RowResult, Sink, Spend};
use model::{Api, Cell, ErrorClass, FieldValue, Offset};
use org_sim::{
    Api as Wire, Effect, EventEntry, FaultMatch, FaultRule, Operation, OrgConfig, RunningOrg, When, parse_objects,
};
use serde_json::Value;

const TOPIC: &str = "/event/Moved__e";
const OBJECTS: &str = "
objects:
  Moved__e:
    fields:
      What__c: {type: text, length: 20}
      Total__c: {type: number, precision: 10, scale: 2}
      Done__c: {type: checkbox}
      At__c: {type: datetime}
      Where__c: {type: text, length: 40}
";

async fn start(change: impl FnOnce(&mut OrgConfig)) -> (RunningOrg, SalesforceSink) {
    let org = org_with(|config| {
        config.objects = parse_objects(OBJECTS, "test").unwrap();
        change(config);
    })
    .await;
    let sink = sink(&config(&org));
    (org, sink)
}

fn events(api: Api, rows: Vec<Vec<Cell>>) -> OutBatch {
    let rows = rows.into_iter().enumerate().map(|(n, cells)| {
        let row = row("", cells);
        OutRow { key: None, position: model::Position { offset: Offset(n as u64), ..row.position }, ..row }
    });
    OutBatch {
        api,
        object: "Moved__e".into(),
        external_id: None,
        position_field: Some("Where__c".into()),
        columns: ["What__c", "Total__c", "Done__c", "At__c"].map(plain).into(),
        rows: rows.collect(),
        ..accounts(OutOp::Create, &["x"])
    }
}

fn cells(what: &str) -> Vec<Cell> {
    let done = Cell::Value(FieldValue::Bool(true));
    vec![text(what), number("12.50"), done, text("2024-02-29T10:00:00.250Z")]
}

/// What another reader finds in an event.
fn decoded(entry: &EventEntry) -> Value {
    let schema = apache_avro::Schema::parse_str(&entry.schema).unwrap();
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
    Value::try_from(reader.read_value(&mut &entry.payload[..]).unwrap()).unwrap()
}

fn published(org: &RunningOrg) -> Vec<EventEntry> {
    org.events(TOPIC, 0).unwrap()
}

#[tokio::test]
async fn both_ways_publish_the_same_events_in_order_at_the_announced_price() {
    let mut seen = Vec::new();
    for api in [Api::Event, Api::PubSub] {
        let (org, sink) = start(|_| {}).await;
        sink.allocations().await.unwrap();
        let calls = org.daily_requests_used();
        let batch = events(api, (0..200).map(|n| cells(&format!("e{n}"))).collect());
        let done = sink.apply(&batch).await.unwrap();
        assert_eq!(applied_rows(&done.rows), 200, "{:?}", done.rows[0]);
        assert_eq!(done.spent, sink.cost(api, OutOp::Create, 200));
        assert_eq!(done.spent.events, 200);
        assert_eq!(org.daily_requests_used() - calls, u64::from(done.spent.calls));
        let events = published(&org);
        let told: Vec<Value> = events
            .iter()
            .map(|entry| {
                let mut event = decoded(entry);
                event.as_object_mut().unwrap().remove("CreatedDate");
                event
            })
            .collect();
        assert_eq!(told[7]["What__c"], "e7");
        assert_eq!(told[7]["Where__c"], "0:7", "consumers can tell a repetition by the position");
        assert_eq!(told[7]["Total__c"], 12.5);
        seen.push(told);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn an_event_that_is_published_again_has_the_same_id() {
    let (org, sink) = start(|_| {}).await;
    let batch = events(Api::PubSub, vec![cells("a"), cells("b")]);
    let first = sink.apply(&batch).await.unwrap().rows;
    let again = sink.apply(&batch).await.unwrap().rows;
    assert_ne!(first, again, "each publication has its replay id");
    let ids: Vec<String> = published(&org).iter().map(|entry| entry.id.to_string()).collect();
    assert_eq!((ids.len(), &ids[..2]), (4, &ids[2..]));
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 36));
    let other = OutBatch { route: "other".into(), ..batch };
    sink.apply(&other).await.unwrap();
    assert!(!ids.contains(&published(&org)[4].id.to_string()), "another route's events are others");
}

#[tokio::test]
async fn each_event_has_its_own_result() {
    for api in [Api::Event, Api::PubSub] {
        let (org, sink) = start(|_| {}).await;
        let mut rows: Vec<_> = (0..5).map(|n| cells(&format!("e{n}"))).collect();
        rows[1][0] = text(&"x".repeat(21));
        rows[3] = vec![Cell::Null, Cell::Unchanged, Cell::Value(FieldValue::Bool(false)), Cell::Null];
        let rows = sink.apply(&events(api, rows)).await.unwrap().rows;
        assert_eq!((applied_rows(&rows), published(&org).len()), (4, 4), "{rows:?}");
        assert!(matches!(&rows[1], RowResult::Failed(error) if error.class == ErrorClass::Permanent), "{rows:?}");
        assert_eq!(decoded(&published(&org)[2])["What__c"], Value::Null);
    }
}

#[tokio::test]
async fn a_value_or_column_that_the_event_cannot_hold_is_told_and_never_dropped() {
    let (org, sink) = start(|_| {}).await;
    let mut batch = events(Api::PubSub, vec![cells("a"), cells("b")]);
    batch.rows[0].cells[1] = text("many");
    let rows = sink.apply(&batch).await.unwrap().rows;
    assert!(matches!(&rows[0], RowResult::Failed(error) if error.fields == ["Total__c"]), "{rows:?}");
    assert_eq!((applied_rows(&rows), published(&org).len()), (1, 1));
    batch.columns = ["What__c", "Total__c", "Done__c", "Gone__c"].map(plain).into();
    let rows = sink.apply(&batch).await.unwrap().rows;
    assert_eq!(failed_rows(&rows, ErrorClass::Permanent), 2);
    assert!(
        matches!(&rows[1], RowResult::Failed(error) if error.code == "INVALID_FIELD" && error.fields == ["Gone__c"])
    );
    assert_eq!(published(&org).len(), 1);
}

#[tokio::test]
async fn the_hours_allocation_is_a_matter_of_quota() {
    for api in [Api::Event, Api::PubSub] {
        let (org, sink) = start(|config| config.events.published_max = Some(3)).await;
        let done = sink.apply(&events(api, (0..5).map(|n| cells(&format!("e{n}"))).collect())).await.unwrap();
        assert_eq!((applied_rows(&done.rows), failed_rows(&done.rows, ErrorClass::Quota)), (3, 2), "{:?}", done.rows);
        assert_eq!((done.spent.events, published(&org).len()), (3, 3));
    }
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_cannot_be_read_back() {
    for (api, wire) in [(Api::Event, Wire::Collections), (Api::PubSub, Wire::Pubsub)] {
        let (org, sink) = start(|_| {}).await;
        sink.apply(&events(api, vec![cells("a")])).await.unwrap();
        let matches = FaultMatch { api: Some(wire), operation: Some(Operation::Create), ..FaultMatch::default() };
        org.fault(FaultRule::new(matches, Effect::Cut { when: When::After }).times(1));
        let batch = events(api, vec![cells("b")]);
        let error = sink.apply(&batch).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Unknown, "{error}");
        assert_eq!(error.spent.events, 1, "it may have been published");
        assert_eq!(sink.read_back(&batch).await.unwrap(), (vec![ReadBack::Unknown], 0));
        assert_eq!(applied_rows(&sink.apply(&batch).await.unwrap().rows), 1, "the next one goes");
    }
}

#[tokio::test]
async fn a_stream_that_the_org_closes_for_idleness_is_replaced_and_nothing_is_published_twice() {
    // So short that the end of a stream meets the next request at every moment of its life.
    let (org, sink) = start(|config| config.events.publish_idle_ms = 1).await;
    for n in 0..300_u32 {
        let done = sink.apply(&events(Api::PubSub, vec![cells(&format!("e{n}"))])).await.unwrap();
        assert_eq!(applied_rows(&done.rows), 1, "{:?}", done.rows);
        for _ in 0..n % 40 {
            tokio::task::yield_now().await;
        }
    }
    let told: Vec<_> = published(&org).iter().map(|entry| decoded(entry)["What__c"].clone()).collect();
    assert_eq!(told, (0..300).map(|n| Value::from(format!("e{n}"))).collect::<Vec<_>>());
}

#[tokio::test]
async fn many_requests_at_once_get_their_own_answers() {
    let (org, sink) = start(|_| {}).await;
    let batches: Vec<_> = (0..40).map(|n| events(Api::PubSub, vec![cells(&format!("e{n}")); 1 + n % 5])).collect();
    for _ in 0..3 {
        let done = futures::future::join_all(batches.iter().map(|batch| sink.apply(batch))).await;
        for (batch, done) in batches.iter().zip(done) {
            assert_eq!(applied_rows(&done.unwrap().rows), batch.rows.len());
        }
    }
    assert_eq!(published(&org).len(), 3 * batches.iter().map(|batch| batch.rows.len()).sum::<usize>());
}

#[tokio::test]
async fn sessions_refusals_and_topics_over_grpc_have_their_class() {
    let (org, sink) = start(|_| {}).await;
    let batch = events(Api::PubSub, vec![cells("a")]);
    sink.apply(&batch).await.unwrap();
    assert_eq!(org.revoke_sessions(), 1);
    assert_eq!(applied_rows(&sink.apply(&batch).await.unwrap().rows), 1, "the session is renewed");
    let matches = FaultMatch { api: Some(Wire::Pubsub), operation: Some(Operation::Create), ..FaultMatch::default() };
    let ended = Effect::Grpc { code: "service.auth.error".into(), status: None, message: String::new() };
    org.fault(FaultRule::new(matches, ended).times(1));
    assert_eq!(applied_rows(&sink.apply(&batch).await.unwrap().rows), 1, "also in the middle of a stream");
    for (code, class) in [
        ("service.unavailable", ErrorClass::Transient),
        ("service.protection.triggered", ErrorClass::Transient),
        ("service.tenant.license", ErrorClass::Auth),
        ("schema.api.unavailable", ErrorClass::Transient),
    ] {
        let matches = FaultMatch { api: Some(Wire::Pubsub), ..FaultMatch::default() };
        let effect = Effect::Grpc { code: code.into(), status: None, message: String::new() };
        org.fault(FaultRule::new(matches, effect).times(1));
        let error = sink.apply(&batch).await.unwrap_err();
        assert_eq!((error.class, error.spent), (class, Spend::default()), "{error}");
        assert_eq!(applied_rows(&sink.apply(&batch).await.unwrap().rows), 1);
    }
    let gone = OutBatch { object: "Gone__e".into(), ..batch.clone() };
    let error = sink.apply(&gone).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Auth, "PS4101"));
    let update = OutBatch { op: OutOp::Upsert, external_id: Some("What__c".into()), ..batch };
    let update = OutBatch {
        rows: update.rows.into_iter().map(|row| OutRow { key: Some(FieldValue::Bool(true)), ..row }).collect(),
        ..update
    };
    assert_eq!(sink.apply(&update).await.unwrap_err().code.0, "PS4109");
}

#[tokio::test]
async fn an_event_over_a_megabyte_fails_alone_and_large_batches_are_cut() {
    let (org, sink) = start(|config| {
        let objects = "{objects: {Moved__e: {fields: {What__c: {type: long_text_area, length: 131072}, Total__c: {type: number, precision: 10, scale: 2}, Done__c: {type: checkbox}, At__c: {type: datetime}, Where__c: {type: text, length: 40}}}}}";
        config.objects = parse_objects(objects, "test").unwrap();
        config.events.event_bytes_max = 100_000;
    })
    .await;
    let mut rows: Vec<_> = (0..60).map(|_| cells(&"x".repeat(90_000))).collect();
    rows[5] = cells(&"y".repeat(110_000));
    let done = sink.apply(&events(Api::PubSub, rows)).await.unwrap();
    assert_eq!((applied_rows(&done.rows), published(&org).len()), (59, 59));
    assert!(matches!(&done.rows[5], RowResult::Failed(error) if error.class == ErrorClass::Permanent));
}
