//! The suite that every implementer of `Sink` runs.
//!
//! An implementer says how a fresh target is made (`SinkUnderTest`) and calls `run_all` from a test; each case gets a
//! target of its own. Failures panic with the case's name.

use crate::{OutBatch, OutColumn, OutOp, OutRow, ReadBack, RowResult, Sink};
use async_trait::async_trait;
use model::{Api, BatchId, Cell, ErrorClass, FieldValue, Lane, ObjectName, Offset, Partition, Position};
use std::sync::Arc;

/// A sink with an empty target behind it.
#[async_trait]
pub trait SinkUnderTest: Send + Sync {
    /// The sink.
    fn sink(&self) -> Arc<dyn Sink>;

    /// An object with a unique text external id and two text fields of which the first is required.
    fn fixture(&self) -> SinkFixture;

    /// What the target holds under this key, seen otherwise than through the sink: the two fields, null as none.
    async fn held(&self, key: &str) -> Option<[Option<String>; 2]>;
}

/// Names in the target.
#[derive(Clone, Debug)]
pub struct SinkFixture {
    pub object: ObjectName,
    pub external_id: &'static str,
    /// Required on create.
    pub required: &'static str,
    pub optional: &'static str,
    /// A value that the target refuses in `optional`, for good.
    pub refused: String,
    /// An object that is not there.
    pub no_object: ObjectName,
}

/// Runs every case, each against a target made by `make`.
pub async fn run_all<T: SinkUnderTest, F: Future<Output = T>>(make: impl Fn() -> F) {
    a_sound_target_has_no_findings(&make().await).await;
    limits_and_allocations_are_told(&make().await).await;
    objects_are_described_and_missing_ones_refused_for_good(&make().await).await;
    an_upsert_inserts_then_updates_and_may_be_repeated(&make().await).await;
    unchanged_keeps_and_null_clears(&make().await).await;
    every_row_is_answered_in_order_though_one_fails(&make().await).await;
    an_update_never_inserts(&make().await).await;
    a_delete_may_be_repeated(&make().await).await;
    a_deleted_key_may_come_back(&make().await).await;
    a_read_back_tells_what_is_held(&make().await).await;
    a_full_batch_is_taken(&make().await).await;
}

type Cells = [Cell; 2];

fn text(value: &str) -> Cell {
    Cell::Value(FieldValue::Text(value.into()))
}

/// A batch of rows `(key, cells)`; for a delete the cells are left out.
fn batch(target: &impl SinkUnderTest, op: OutOp, rows: &[(&str, Cells)]) -> OutBatch {
    let fixture = target.fixture();
    let row = |(at, (key, cells)): (usize, &(&str, Cells))| OutRow {
        position: Position { partition: Partition(0), offset: Offset(at as u64) },
        key: Some(FieldValue::Text((*key).into())),
        cells: if op == OutOp::Delete { Vec::new() } else { cells.to_vec() },
    };
    OutBatch {
        id: BatchId(1),
        api: Api::Collections,
        route: "conformance".into(),
        lane: Lane::Standard,
        object: fixture.object,
        op,
        external_id: Some(fixture.external_id.into()),
        position_field: None,
        columns: [fixture.required, fixture.optional].map(|f| OutColumn { field: f.into(), reference: None }).into(),
        rows: rows.iter().enumerate().map(row).collect(),
    }
}

async fn apply(target: &impl SinkUnderTest, batch: &OutBatch) -> Vec<RowResult> {
    let applied =
        target.sink().apply(batch).await.unwrap_or_else(|error| panic!("{:?} was refused: {error}", batch.op));
    assert_eq!(applied.rows.len(), batch.rows.len(), "one answer for each row");
    assert!(!applied.spent.is_nothing(), "a call costs something");
    applied.rows
}

fn assert_applied(result: &RowResult) {
    assert!(matches!(result, RowResult::Applied { .. }), "{result:?}");
}

async fn assert_held(target: &impl SinkUnderTest, key: &str, wanted: Option<[Option<&str>; 2]>) {
    let wanted = wanted.map(|fields| fields.map(|field| field.map(str::to_owned)));
    assert_eq!(target.held(key).await, wanted, "under {key:?}");
}

/// `check` has nothing to say of a target that works.
pub async fn a_sound_target_has_no_findings(target: &impl SinkUnderTest) {
    let findings = target.sink().check().await;
    assert!(findings.is_empty(), "{findings:?}");
}

/// Limits are usable, and allocations are told with sane figures.
pub async fn limits_and_allocations_are_told(target: &impl SinkUnderTest) {
    let limits = target.sink().limits(Api::Collections).expect("every sink has Collections");
    assert!(limits.rows_max > 0 && limits.bytes_max > 0 && limits.in_flight_max > 0, "{limits:?}");
    let allocations = target.sink().allocations().await.expect("allocations");
    assert!(allocations.iter().all(|reading| !reading.allocation.is_empty()));
    target.sink().take_readings();
    assert!(target.sink().take_readings().is_empty(), "readings are given out once");
}

/// `describe` knows the fixture's fields, again after `forget`, and refuses an unknown object for good.
pub async fn objects_are_described_and_missing_ones_refused_for_good(target: &impl SinkUnderTest) {
    let fixture = target.fixture();
    let schema = target.sink().describe(&fixture.object).await.expect("description");
    for name in [fixture.external_id, fixture.required, fixture.optional] {
        assert!(schema.field(name).is_some(), "{name} is described");
    }
    target.sink().forget(&fixture.object);
    assert_eq!(target.sink().describe(&fixture.object).await.expect("description"), schema);
    let error = target.sink().describe(&fixture.no_object).await.expect_err("there is no such object");
    assert_eq!(error.class, ErrorClass::Permanent);
}

/// A repeated upsert changes nothing; `created` tells which one inserted.
pub async fn an_upsert_inserts_then_updates_and_may_be_repeated(target: &impl SinkUnderTest) {
    let first = batch(target, OutOp::Upsert, &[("k1", [text("one"), text("x")])]);
    assert!(matches!(apply(target, &first).await[0], RowResult::Applied { created: true, .. }));
    assert!(matches!(apply(target, &first).await[0], RowResult::Applied { created: false, .. }));
    assert_held(target, "k1", Some([Some("one"), Some("x")])).await;
    let second = batch(target, OutOp::Upsert, &[("k1", [text("two"), text("y")])]);
    assert!(matches!(apply(target, &second).await[0], RowResult::Applied { created: false, .. }));
    assert_held(target, "k1", Some([Some("two"), Some("y")])).await;
}

/// The three states of a cell.
pub async fn unchanged_keeps_and_null_clears(target: &impl SinkUnderTest) {
    apply(target, &batch(target, OutOp::Upsert, &[("k1", [text("one"), text("x")])])).await;
    assert_applied(&apply(target, &batch(target, OutOp::Upsert, &[("k1", [text("two"), Cell::Unchanged])])).await[0]);
    assert_held(target, "k1", Some([Some("two"), Some("x")])).await;
    assert_applied(&apply(target, &batch(target, OutOp::Upsert, &[("k1", [Cell::Unchanged, Cell::Null])])).await[0]);
    assert_held(target, "k1", Some([Some("two"), None])).await;
}

/// A row that is refused leaves its neighbours alone.
pub async fn every_row_is_answered_in_order_though_one_fails(target: &impl SinkUnderTest) {
    let refused = target.fixture().refused;
    let rows = [("k1", [text("a"), Cell::Null]), ("k2", [text("b"), text(&refused)]), ("k3", [text("c"), Cell::Null])];
    let results = apply(target, &batch(target, OutOp::Upsert, &rows)).await;
    assert_applied(&results[0]);
    let RowResult::Failed(error) = &results[1] else { panic!("the second row is refused") };
    assert!(matches!(error.class, ErrorClass::Permanent | ErrorClass::BusinessRule), "{error:?}");
    assert!(!error.code.is_empty() && !error.message.is_empty(), "{error:?}");
    assert_applied(&results[2]);
    assert_held(target, "k2", None).await;
    assert_held(target, "k3", Some([Some("c"), None])).await;
}

/// An update of what is not there fails; of what is there, applies.
pub async fn an_update_never_inserts(target: &impl SinkUnderTest) {
    apply(target, &batch(target, OutOp::Upsert, &[("k1", [text("one"), text("x")])])).await;
    let rows = [("k1", [text("two"), Cell::Unchanged]), ("k2", [text("two"), Cell::Unchanged])];
    let results = apply(target, &batch(target, OutOp::Update, &rows)).await;
    assert_applied(&results[0]);
    assert!(
        matches!(&results[1], RowResult::Failed(error) if error.class == ErrorClass::Permanent),
        "{:?}",
        results[1]
    );
    assert_held(target, "k1", Some([Some("two"), Some("x")])).await;
    assert_held(target, "k2", None).await;
}

/// Deleting twice, or what never was, counts as applied.
pub async fn a_delete_may_be_repeated(target: &impl SinkUnderTest) {
    apply(target, &batch(target, OutOp::Upsert, &[("k1", [text("one"), Cell::Null])])).await;
    let delete = batch(target, OutOp::Delete, &[("k1", [Cell::Null, Cell::Null]), ("k9", [Cell::Null, Cell::Null])]);
    for _ in 0..2 {
        apply(target, &delete).await.iter().for_each(assert_applied);
        assert_held(target, "k1", None).await;
    }
}

/// Insert, delete, insert again, delete again: no memory of the first record gets in the way.
pub async fn a_deleted_key_may_come_back(target: &impl SinkUnderTest) {
    for round in ["first", "second"] {
        apply(target, &batch(target, OutOp::Upsert, &[("k1", [text(round), Cell::Null])])).await;
        assert_held(target, "k1", Some([Some(round), None])).await;
        apply(target, &batch(target, OutOp::Delete, &[("k1", [Cell::Null, Cell::Null])])).await;
        assert_held(target, "k1", None).await;
    }
}

/// Missing before, applied after, missing again once the target holds another value; a delete the other way round.
pub async fn a_read_back_tells_what_is_held(target: &impl SinkUnderTest) {
    let sink = target.sink();
    let rows =
        [("k1", [text("one"), Cell::Null]), ("k2", [text("two"), text("x")]), ("k3", [text("three"), Cell::Unchanged])];
    let upsert = batch(target, OutOp::Upsert, &rows);
    let delete = batch(target, OutOp::Delete, &rows);
    let read = async |batch: &OutBatch| {
        let (found, _) = sink.read_back(batch).await.expect("read-back");
        found.iter().map(|found| matches!(found, ReadBack::Applied { .. })).collect::<Vec<_>>()
    };
    assert_eq!(read(&upsert).await, [false; 3]);
    assert_eq!(read(&delete).await, [true; 3]);
    apply(target, &upsert).await.iter().for_each(assert_applied);
    assert_eq!(read(&upsert).await, [true; 3]);
    assert_eq!(read(&delete).await, [false; 3]);
    apply(
        target,
        &batch(target, OutOp::Upsert, &[("k1", [text("one"), text("now set")]), ("k3", [Cell::Unchanged, text("y")])]),
    )
    .await;
    assert_eq!(
        read(&upsert).await,
        [false, true, true],
        "a null that is no null any more; an unchanged cell is not looked at"
    );
    apply(target, &batch(target, OutOp::Delete, &rows[1..2])).await;
    assert_eq!(read(&upsert).await, [false, false, true]);
    assert_eq!(read(&delete).await, [false, true, false]);
}

/// As many rows as the sink says it takes.
pub async fn a_full_batch_is_taken(target: &impl SinkUnderTest) {
    let keys: Vec<String> =
        (0..target.sink().limits(Api::Collections).expect("every sink has Collections").rows_max.min(1000))
            .map(|n| format!("key-{n:04}"))
            .collect();
    let rows: Vec<(&str, Cells)> = keys.iter().map(|key| (key.as_str(), [text(key), Cell::Null])).collect();
    let upsert = batch(target, OutOp::Upsert, &rows);
    apply(target, &upsert).await.iter().for_each(assert_applied);
    let (found, _) = target.sink().read_back(&upsert).await.expect("read-back");
    assert!(found.iter().all(|found| matches!(found, ReadBack::Applied { .. })));
    apply(target, &batch(target, OutOp::Delete, &rows)).await.iter().for_each(assert_applied);
    assert_held(target, &keys[0], None).await;
}
