//! Jobs in an org where things go wrong.

use crate::jobs::{Host, applied_rows, at, failed_rows, fired, many, of_jobs, quick, start};
use crate::stub::sink;
use contract::{OutOp, RowResult, Sink};
use model::ErrorClass;
use org_sim::{BulkCall, Effect, When};
use std::time::Duration;

#[tokio::test]
async fn a_lost_answer_at_any_call_loses_and_repeats_nothing() {
    for (call, arrives) in [
        (BulkCall::Create, false),
        (BulkCall::Upload, false),
        (BulkCall::Close, true),
        (BulkCall::Info, true),
        (BulkCall::Results, true),
    ] {
        for when in [When::Before, When::After] {
            let (org, sink) = start(|_| {}).await;
            org.fault(at(call, Effect::Cut { when }));
            let host = Host::new();
            match sink.apply_job(many(OutOp::Upsert, 300), &host).await {
                Ok(done) => {
                    assert!(arrives, "{call:?} {when:?}");
                    assert_eq!(applied_rows(&done.rows), 300);
                    assert_eq!(org.history().len(), 300, "each row once");
                }
                Err(error) => {
                    assert!(!arrives, "{call:?} {when:?}: {error}");
                    assert_eq!(error.class, ErrorClass::Transient, "nothing was applied, and that is known");
                    assert_eq!(org.history().len(), 0);
                }
            }
            assert!(host.jobs() <= 1);
        }
    }
}

#[tokio::test]
async fn refusals_and_pages_at_any_call_are_waited_out_or_told() {
    for call in [BulkCall::Create, BulkCall::Upload, BulkCall::Close, BulkCall::Info, BulkCall::Results] {
        let (org, sink) = start(|_| {}).await;
        org.fault(at(call, Effect::Html503));
        let done = sink.apply_job(many(OutOp::Upsert, 20), &Host::new()).await;
        match call {
            BulkCall::Create | BulkCall::Upload => {
                assert_eq!(done.unwrap_err().class, ErrorClass::Transient);
                assert_eq!(org.count("Account"), 0);
            }
            _ => assert_eq!(applied_rows(&done.unwrap().rows), 20, "{call:?}"),
        }
        let calls = org.daily_requests_used();
        org.fault(at(call, Effect::RevokeSession));
        let done = sink.apply_job(many(OutOp::Upsert, 20), &Host::new()).await.unwrap();
        assert_eq!(applied_rows(&done.rows), 20, "a session that ended is renewed at {call:?}");
        assert!(org.daily_requests_used() - calls <= u64::from(done.spent.calls));
    }
}

#[tokio::test]
async fn a_job_is_not_uploaded_to_before_it_is_written_down() {
    let (org, sink) = start(|_| {}).await;
    let host = Host { refuses: true, ..Host::new() };
    let error = sink.apply_job(many(OutOp::Upsert, 20), &host).await.unwrap_err();
    assert_eq!(error.code.0, "PS3001");
    let uploads = org.fault(at(BulkCall::Upload, Effect::Html503));
    assert_eq!(org.faults().iter().find(|report| report.id == uploads).unwrap().matched, 0);
    assert_eq!(sink.close_leftovers(&["Account".into()], 0, &[]).await.unwrap(), 0, "the job is closed already");
}

#[tokio::test]
async fn a_job_that_fails_half_way_answers_each_row_by_its_results() {
    let (org, sink) = start(|config| config.bulk.workers_per_job = 1).await;
    let message = "InternalServerError : the server failed".to_owned();
    org.fault(of_jobs(Effect::JobFail { message, after_rows: 400 }).times(1));
    let batch = many(OutOp::Upsert, 1_000);
    let rows = sink.apply_job(batch.clone(), &Host::new()).await.unwrap().rows;
    let applied = applied_rows(&rows);
    assert_eq!(applied, org.count("Account"));
    assert!((400..1_000).contains(&applied));
    assert_eq!(failed_rows(&rows, ErrorClass::Transient), 1_000 - applied, "{:?}", rows.last());
}

#[tokio::test]
async fn a_job_that_fails_at_once_has_applied_nothing() {
    for (message, class) in [
        ("InternalServerError : the server failed", ErrorClass::Transient),
        ("InvalidBatch : something about the file", ErrorClass::Permanent),
        ("ApiBatchItems Limit exceeded.", ErrorClass::Quota),
    ] {
        let (org, sink) = start(|_| {}).await;
        org.fault(of_jobs(Effect::JobFail { message: message.into(), after_rows: 0 }).times(1));
        let done = sink.apply_job(many(OutOp::Upsert, 50), &Host::new()).await.unwrap();
        assert_eq!(failed_rows(&done.rows, class), 50, "{:?}", done.rows[0]);
        assert_eq!((org.count("Account"), done.spent.bulk_batches), (0, 0));
    }
}

#[tokio::test]
async fn a_stuck_job_is_aborted_and_settled_by_its_results() {
    let (org, _) = start(|config| config.bulk.workers_per_job = 1).await;
    let mut config = quick(&org);
    config.bulk.stuck_after = Duration::from_millis(150);
    org.fault(of_jobs(Effect::JobStuck { after_rows: 200, ms: None }).times(1));
    let rows = sink(&config).apply_job(many(OutOp::Upsert, 600), &Host::new()).await.unwrap().rows;
    let applied = applied_rows(&rows);
    assert_eq!(applied, org.count("Account"));
    assert!((200..600).contains(&applied));
    assert_eq!(failed_rows(&rows, ErrorClass::Transient), 600 - applied);
}

#[tokio::test]
async fn results_that_break_off_are_read_again_and_what_stays_away_is_unknown() {
    for (times, known) in [(1, true), (100, false)] {
        let (org, sink) = start(|_| {}).await;
        org.fault(of_jobs(Effect::TruncateResults { fraction: 0.5 }).times(times));
        let rows = sink.apply_job(many(OutOp::Upsert, 400), &Host::new()).await.unwrap().rows;
        assert_eq!(org.count("Account"), 400);
        let applied = applied_rows(&rows);
        assert_eq!(applied == 400, known);
        assert_eq!(failed_rows(&rows, ErrorClass::Unknown), 400 - applied, "never a failure, never a success");
    }
}

#[tokio::test]
async fn nul_bytes_in_results_do_not_hide_a_row() {
    let (org, sink) = start(|_| {}).await;
    org.fault(of_jobs(Effect::NulByte));
    let rows = sink.apply_job(many(OutOp::Upsert, 5), &Host::new()).await.unwrap().rows;
    assert_eq!(applied_rows(&rows), 5);
}

#[tokio::test]
async fn locks_and_errors_of_rows_keep_their_class() {
    let (org, sink) = start(|config| config.bulk.lock_retries = 0).await;
    org.fault(of_jobs(Effect::LockRows { row_fraction: 0.3 }));
    let rows = sink.apply_job(many(OutOp::Upsert, 200), &Host::new()).await.unwrap().rows;
    assert_eq!(failed_rows(&rows, ErrorClass::Lock), 200 - applied_rows(&rows));
    assert!(failed_rows(&rows, ErrorClass::Lock) > 10);
    assert_eq!(applied_rows(&rows), org.count("Account"));
}

#[tokio::test]
async fn a_stop_before_the_hand_over_aborts_and_one_after_it_leaves_the_job_to_be_adopted() {
    let (org, sink) = start(|_| {}).await;
    org.fault(at(BulkCall::Upload, Effect::Hang { ms: 600_000, when: When::Before }));
    let host = Host { stops_at_note: true, ..Host::new() };
    let error = sink.apply_job(many(OutOp::Upsert, 20), &host).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Transient, "PS4112"));
    assert_eq!((org.count("Account"), sink.close_leftovers(&["Account".into()], 0, &[]).await.unwrap()), (0, 0));
    org.clear_faults();

    let stuck = org.fault(of_jobs(Effect::JobStuck { after_rows: 0, ms: Some(80) }).times(1));
    let host = Host::new();
    let batch = many(OutOp::Upsert, 20);
    let stopped = async {
        fired(&org, stuck).await;
        host.stop();
    };
    let (done, ()) = tokio::join!(sink.apply_job(batch.clone(), &host), stopped);
    let error = done.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Unknown, "PS4113"));
    let adopted = sink.adopt(&batch, &host.job().unwrap()).await.unwrap();
    let answered =
        |row: &contract::AdoptedRow| matches!(row, contract::AdoptedRow::Answered(RowResult::Applied { .. }));
    assert!(adopted.rows.iter().all(answered), "{:?}", adopted.rows[0]);
    assert_eq!(org.history().len(), 20);
}
