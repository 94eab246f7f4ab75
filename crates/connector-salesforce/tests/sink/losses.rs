//! The ways in which connectors of today lose or corrupt rows, as far as they lie on this side of the log. Each passes
//! here: it fails when the sink does what they do.

use crate::jobs::{Host, applied_rows, at, failed_rows, fired, many, of_jobs, quick, start};
use crate::org::plain;
use crate::stub::{accounts, sink, text};
use contract::{AdoptedRow, JobHost, OutBatch, OutOp, RowResult, Sink, SinkError};
use model::{Api, BatchId, Cell, ErrorClass};
use org_sim::{BulkCall, Effect, FieldAccess, FieldSecurity, RunningOrg, When};
use std::sync::Arc;

fn field(org: &RunningOrg, key: &str, name: &str) -> Option<String> {
    let records = org.records("Account");
    let record = records.iter().find(|record| record["Code__c"] == key)?;
    record.get(name).and_then(|value| value.as_str()).map(str::to_owned)
}

#[tokio::test]
async fn success_is_not_reported_before_the_bulk_job_has_finished() {
    let (org, sink) = start(|_| {}).await;
    let stuck = org.fault(of_jobs(Effect::JobStuck { after_rows: 0, ms: Some(60) }).times(1));
    let sink = Arc::new(sink);
    let sending = tokio::spawn({
        let sink = Arc::clone(&sink);
        async move { sink.apply_job(many(OutOp::Upsert, 50), &Host::new()).await }
    });
    fired(&org, stuck).await;
    assert!(!sending.is_finished() && org.count("Account") == 0, "accepted is not applied");
    let done = sending.await.unwrap().unwrap();
    assert_eq!((applied_rows(&done.rows), org.count("Account")), (50, 50));
}

#[tokio::test]
async fn a_job_that_is_complete_has_not_applied_the_rows_that_failed_in_it() {
    let (org, sink) = start(|_| {}).await;
    let error = Effect::RowError {
        code: "FIELD_CUSTOM_VALIDATION_EXCEPTION".into(),
        message: "no".into(),
        fields: vec![],
        row_fraction: 0.5,
    };
    org.fault(of_jobs(error));
    let rows = sink.apply_job(many(OutOp::Upsert, 100), &Host::new()).await.unwrap().rows;
    let applied = applied_rows(&rows);
    assert_eq!(applied, org.count("Account"));
    assert!(applied > 0 && applied < 100);
    assert_eq!(failed_rows(&rows, ErrorClass::BusinessRule), 100 - applied);
}

/// A host that looks at the org when it is given a job's id, and dies with it.
struct Dying<'o>(&'o RunningOrg, std::sync::Mutex<Option<String>>);

#[async_trait::async_trait]
impl JobHost for Dying<'_> {
    async fn note(&self, _: BatchId, job: &str) -> Result<(), SinkError> {
        let uploads = self.0.faults().iter().map(|report| report.matched).sum::<u64>();
        assert_eq!((uploads, self.0.count("Account")), (0, 0), "written down before anything is uploaded");
        *self.1.lock().unwrap() = Some(job.to_owned());
        Ok(())
    }

    fn uploaded(&self) {}

    async fn stopping(&self) {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_job_id_outlives_a_crash_and_its_rows_are_settled_by_it() {
    let (org, victim) = start(|_| {}).await;
    let upload = org.fault(at(BulkCall::Upload, Effect::Hang { ms: 1, when: When::After }));
    let close = org.fault(at(BulkCall::Close, Effect::Hang { ms: 5, when: When::After }));
    let host = Dying(&org, std::sync::Mutex::default());
    let batch = many(OutOp::Upsert, 250);
    tokio::select! {
        done = victim.apply_job(batch.clone(), &host) => { done.unwrap(); }
        () = fired(&org, close) => {}
    }
    assert!(org.faults().iter().any(|report| report.id == upload && report.fired == 1));
    let job = host.1.lock().unwrap().clone().unwrap();
    let adopted = sink(&quick(&org)).adopt(&batch, &job).await.unwrap();
    assert!(adopted.rows.iter().all(|row| matches!(row, AdoptedRow::Answered(RowResult::Applied { .. }))));
    assert_eq!(org.history().len(), 250, "nothing lost, nothing twice");
}

#[tokio::test]
async fn failed_rows_of_a_collections_call_that_answers_200_are_not_acknowledged() {
    let (org, sink) = start(|_| {}).await;
    for api in [Api::Collections, Api::Graph] {
        let mut batch = OutBatch { api, ..accounts(OutOp::Upsert, &["a", "b", "c"]) };
        batch.rows[1].cells[0] = text(&"x".repeat(300));
        let rows = sink.apply(&batch).await.unwrap().rows;
        assert!(matches!(&rows[1], RowResult::Failed(error) if error.code == "STRING_TOO_LONG"), "{api} {rows:?}");
        assert_eq!((applied_rows(&rows), org.count("Account")), (2, 2), "{api}");
    }
}

#[tokio::test]
async fn a_column_that_the_first_row_lacks_arrives_and_null_is_not_empty() {
    for api in [Api::Collections, Api::Bulk, Api::Graph, Api::Rest] {
        let (org, sink) = start(|_| {}).await;
        let columns: Arc<[_]> = [plain("Name"), plain("Site"), plain("Phone")].into();
        let send = async |rows: Vec<(&str, [Cell; 3])>| {
            let rows = rows.into_iter().map(|(key, cells)| crate::stub::row(key, cells.to_vec())).collect();
            let batch = OutBatch { api, columns: Arc::clone(&columns), rows, ..accounts(OutOp::Upsert, &["x"]) };
            let rows = match api {
                Api::Bulk => sink.apply_job(batch, &Host::new()).await.unwrap().rows,
                Api::Rest => {
                    let mut all = Vec::new();
                    for row in &batch.rows {
                        let one = OutBatch { rows: vec![row.clone()], ..batch.clone() };
                        all.extend(sink.apply(&one).await.unwrap().rows);
                    }
                    all
                }
                _ => sink.apply(&batch).await.unwrap().rows,
            };
            assert_eq!(applied_rows(&rows), rows.len(), "{api} {rows:?}");
        };
        let name = || text("n");
        send(vec![
            ("a", [name(), Cell::Unchanged, Cell::Unchanged]),
            ("b", [name(), text("site"), text("1")]),
            ("c", [name(), text("site"), text("1")]),
        ])
        .await;
        assert_eq!(field(&org, "b", "Site").as_deref(), Some("site"), "{api}: the first row lacks the column");
        send(vec![
            ("b", [Cell::Unchanged, Cell::Null, Cell::Unchanged]),
            ("c", [Cell::Unchanged, Cell::Unchanged, text("2")]),
        ])
        .await;
        let held = |key| (field(&org, key, "Site"), field(&org, key, "Phone"));
        assert_eq!(held("b"), (None, Some("1".into())), "{api}: null clears, unchanged keeps");
        assert_eq!(held("c"), (Some("site".into()), Some("2".into())), "{api}");
    }
}

#[tokio::test]
async fn a_field_that_the_user_may_not_see_is_an_error_and_not_left_out() {
    let ways = [Api::Collections, Api::Bulk, Api::Graph, Api::Rest];
    for (api, access) in ways.into_iter().flat_map(|api| [(api, FieldAccess::Hidden), (api, FieldAccess::ReadOnly)]) {
        let (org, sink) = start(|config| {
            config.field_security =
                vec![FieldSecurity { user: None, object: "Account".into(), field: "Site".into(), access }];
        })
        .await;
        let mut batch = OutBatch { api, ..accounts(OutOp::Upsert, &["a"]) };
        batch.columns = [plain("Name"), plain("Site")].into();
        batch.rows[0].cells = vec![text("n"), text("s")];
        let done = match api {
            Api::Bulk => sink.apply_job(batch, &Host::new()).await,
            _ => sink.apply(&batch).await,
        };
        let told = match done {
            Ok(done) => match &done.rows[0] {
                RowResult::Failed(error) => (error.code.clone(), error.class),
                applied => panic!("{api}: {applied:?}"),
            },
            Err(error) => (error.target_code.unwrap_or_default(), error.class),
        };
        assert_eq!(told.1, ErrorClass::Permanent, "{api} {told:?}");
        assert!(["INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE"].contains(&&*told.0), "{api} {told:?}");
        assert_eq!(org.count("Account"), 0, "{api}: the row is not written without the field");
    }
}

#[tokio::test]
async fn an_object_that_is_not_there_is_never_passed_over() {
    for api in [Api::Collections, Api::Bulk, Api::Graph, Api::Rest] {
        let (_org, sink) = start(|_| {}).await;
        let batch = OutBatch { api, object: "Gone__c".into(), ..accounts(OutOp::Upsert, &["a"]) };
        let done = match api {
            Api::Bulk => sink.apply_job(batch, &Host::new()).await,
            _ => sink.apply(&batch).await,
        };
        let error = done.unwrap_err();
        assert_eq!((error.class, error.code.0), (ErrorClass::Auth, "PS4101"), "{api}");
    }
}

#[tokio::test]
async fn expired_results_are_not_taken_for_no_results() {
    let (org, sink) = start(|config| config.session_timeout_s = 1_000_000_000).await;
    let host = Host::new();
    let mut batch = many(OutOp::Upsert, 30);
    batch.rows[4].cells = vec![text(&"x".repeat(300))];
    sink.apply_job(batch.clone(), &host).await.unwrap();
    org.advance_ms(8 * 86_400_000);
    let rows = sink.adopt(&batch, &host.job().unwrap()).await.unwrap().rows;
    let applied = |row: &AdoptedRow| matches!(row, AdoptedRow::Answered(RowResult::Applied { .. }));
    assert_eq!(rows.iter().filter(|row| applied(row)).count(), 29);
    assert_eq!(rows[4], AdoptedRow::Missing, "read back, neither acknowledged nor forgotten");
}
