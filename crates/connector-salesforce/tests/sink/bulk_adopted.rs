//! Jobs whose maker died.

use crate::jobs::{Host, at, fired, many, of_jobs, quick, start};
use crate::stub::{sink, text};
use connector_salesforce::SalesforceSink;
use contract::{AdoptedRow, OutBatch, OutOp, RowResult, Sink};
use model::ErrorClass;
use org_sim::{BulkCall, Effect, RunningOrg, When};

/// Sends a batch with a sink that dies when a call of its job hangs; the job, if it was written down.
async fn dies(org: &RunningOrg, batch: &OutBatch, call: BulkCall, when: When) -> Option<String> {
    let victim = sink(&quick(org));
    let rule = org.fault(at(call, Effect::Hang { ms: 5, when }));
    let host = Host::new();
    tokio::select! {
        done = victim.apply_job(batch.clone(), &host) => { done.unwrap(); }
        () = fired(org, rule) => {}
    }
    host.job()
}

fn answered(rows: &[AdoptedRow]) -> usize {
    rows.iter().filter(|row| matches!(row, AdoptedRow::Answered(RowResult::Applied { .. }))).count()
}

fn missing(rows: &[AdoptedRow]) -> usize {
    rows.iter().filter(|row| **row == AdoptedRow::Missing).count()
}

/// Adopts the job, sends what is missing, and checks that each row is there once.
async fn settle(org: &RunningOrg, batch: &OutBatch, job: &str, place: &str) {
    let successor: SalesforceSink = sink(&quick(org));
    let adopted = successor.adopt(batch, job).await.unwrap();
    let (done, missing) = (answered(&adopted.rows), missing(&adopted.rows));
    assert_eq!(done + missing, batch.rows.len(), "{place}: every row is told");
    assert_eq!(org.history().len(), done, "{place}: what is told is what is there");
    if missing > 0 {
        let rows = batch.rows.iter().zip(&adopted.rows).filter(|(_, told)| **told == AdoptedRow::Missing);
        let rest = OutBatch { rows: rows.map(|(row, _)| row.clone()).collect(), ..batch.clone() };
        successor.apply_job(rest.clone(), &Host::new()).await.unwrap();
    }
    assert_eq!(org.history().len(), batch.rows.len(), "{place}: each row once");
}

#[tokio::test]
async fn a_death_at_any_call_ends_with_each_row_applied_once() {
    for call in [BulkCall::Create, BulkCall::Upload, BulkCall::Close, BulkCall::Info, BulkCall::Results] {
        for when in [When::Before, When::After] {
            let (org, _) = start(|_| {}).await;
            let batch = many(OutOp::Upsert, 450);
            let place = format!("{call:?} {when:?}");
            match dies(&org, &batch, call, when).await {
                Some(job) => settle(&org, &batch, &job, &place).await,
                None => {
                    assert_eq!((call, org.history().len()), (BulkCall::Create, 0));
                    let successor = sink(&quick(&org));
                    // The org works a call off whose caller has gone: the job may come a moment later.
                    while when == When::After
                        && successor.close_leftovers(&["Account".into()], 0, &[]).await.unwrap() == 0
                    {
                    }
                    successor.apply_job(batch.clone(), &Host::new()).await.unwrap();
                    assert_eq!(org.history().len(), 450);
                }
            }
        }
    }
}

#[tokio::test]
async fn requests_that_run_out_while_a_job_is_adopted_are_waited_for_a_few_times_and_then_told() {
    let (org, _) = start(|_| {}).await;
    let batch = many(OutOp::Upsert, 450);
    let job = dies(&org, &batch, BulkCall::Results, When::Before).await.unwrap();
    let spent = || {
        let (code, message) = ("REQUEST_LIMIT_EXCEEDED".to_owned(), "TotalRequests Limit exceeded.".to_owned());
        at(BulkCall::Info, Effect::Http { status: 403, code, message })
    };
    org.fault(spent().times(4));
    let told = sink(&quick(&org)).adopt(&batch, &job).await.unwrap_err();
    assert_eq!((told.class, told.target_code.as_deref()), (ErrorClass::Quota, Some("REQUEST_LIMIT_EXCEEDED")));
    org.fault(spent().times(3));
    settle(&org, &batch, &job, "requests run out").await;
}

#[tokio::test]
async fn a_creates_job_is_adopted_without_a_second_record() {
    for (call, when) in
        [(BulkCall::Upload, When::After), (BulkCall::Close, When::After), (BulkCall::Info, When::Before)]
    {
        let (org, _) = start(|_| {}).await;
        let mut batch = many(OutOp::Create, 300);
        batch.external_id = None;
        batch.rows.iter_mut().for_each(|row| row.key = None);
        batch.rows[7].cells = vec![text("name 8")];
        let job = dies(&org, &batch, call, when).await.unwrap();
        settle(&org, &batch, &job, &format!("create {call:?} {when:?}")).await;
        assert_eq!(org.count("Account"), 300);
    }
}

#[tokio::test]
async fn deletes_and_updates_are_adopted() {
    for op in [OutOp::Update, OutOp::Delete] {
        let (org, sink) = start(|_| {}).await;
        sink.apply_job(many(OutOp::Upsert, 30), &Host::new()).await.unwrap();
        let job = dies(&org, &many(op, 30), BulkCall::Info, When::Before).await.unwrap();
        let adopted = sink.adopt(&many(op, 30), &job).await.unwrap();
        assert_eq!(answered(&adopted.rows), 30, "{op:?} {:?}", adopted.rows[0]);
        let job = dies(&org, &many(op, 30), BulkCall::Close, When::Before).await;
        if let (OutOp::Update, Some(job)) = (op, job) {
            let adopted = sink.adopt(&many(op, 30), &job).await.unwrap();
            assert!(missing(&adopted.rows) == 30 || answered(&adopted.rows) == 30);
        }
    }
}

#[tokio::test]
async fn rows_asked_for_in_pieces_cost_the_results_once() {
    let (org, _) = start(|_| {}).await;
    let mut batch = many(OutOp::Upsert, 1_000);
    batch.rows[3].cells = vec![text(&"x".repeat(300))];
    let job = dies(&org, &batch, BulkCall::Results, When::Before).await.unwrap();
    let successor = sink(&quick(&org));
    let mut calls = 0;
    for (piece, rows) in batch.rows.chunks(130).enumerate() {
        let piece_of = OutBatch { rows: rows.iter().rev().cloned().collect(), ..batch.clone() };
        let adopted = successor.adopt(&piece_of, &job).await.unwrap();
        assert_eq!(answered(&adopted.rows), rows.len() - usize::from(piece == 0));
        calls += adopted.spent.calls;
    }
    assert_eq!(calls, 3, "one look, two files");
}

#[tokio::test]
async fn a_job_whose_results_have_expired_is_read_back() {
    let (org, sink) = start(|config| config.session_timeout_s = 1_000_000_000).await;
    let host = Host::new();
    sink.apply_job(many(OutOp::Upsert, 40), &host).await.unwrap();
    org.advance_ms(8 * 86_400_000);
    let batch = many(OutOp::Upsert, 41);
    let adopted = sink.adopt(&batch, &host.job().unwrap()).await.unwrap();
    assert_eq!((answered(&adopted.rows), missing(&adopted.rows)), (40, 1));
    let mut blind = many(OutOp::Create, 2);
    blind.external_id = None;
    blind.rows.iter_mut().for_each(|row| row.key = None);
    let adopted = sink.adopt(&blind, &host.job().unwrap()).await.unwrap();
    assert_eq!(adopted.rows, [AdoptedRow::Unknown, AdoptedRow::Unknown]);
    let adopted = sink.adopt(&batch, "no job at all").await.unwrap();
    assert_eq!((answered(&adopted.rows), missing(&adopted.rows)), (40, 1));
}

#[tokio::test]
async fn a_job_that_failed_without_us_tells_what_is_missing() {
    let (org, sink) = start(|config| config.bulk.workers_per_job = 1).await;
    let message = "InternalServerError : x".to_owned();
    org.fault(of_jobs(Effect::JobFail { message, after_rows: 200 }).times(1));
    let batch = many(OutOp::Upsert, 600);
    let job = dies(&org, &batch, BulkCall::Info, When::Before).await.unwrap();
    let adopted = sink.adopt(&batch, &job).await.unwrap();
    assert_eq!(answered(&adopted.rows), org.count("Account"));
    assert_eq!(missing(&adopted.rows), 600 - org.count("Account"));
}

#[tokio::test]
async fn only_open_jobs_of_ours_for_these_objects_and_this_time_are_leftovers() {
    let (org, sink) = start(|_| {}).await;
    // A job that is open and noted, one that is open and lost.
    let noted = dies(&org, &many(OutOp::Upsert, 2), BulkCall::Upload, When::Before).await.unwrap();
    let host = Host { refuses: true, ..Host::new() };
    org.fault(at(BulkCall::Abort, Effect::Html503));
    sink.apply_job(many(OutOp::Upsert, 2), &host).await.unwrap_err();
    let known = [noted[..15].to_owned()];
    assert_eq!(sink.close_leftovers(&["Case".into()], 0, &known).await.unwrap(), 0);
    assert_eq!(sink.close_leftovers(&["Account".into()], i64::MAX, &known).await.unwrap(), 0);
    assert_eq!(sink.close_leftovers(&["account".into()], 0, &known).await.unwrap(), 1);
    assert_eq!(sink.close_leftovers(&["Account".into()], 0, &known).await.unwrap(), 0);
    assert_eq!(sink.close_leftovers(&["Account".into()], 0, &[]).await.unwrap(), 1);
}
