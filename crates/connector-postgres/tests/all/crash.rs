//! Crashes between any two steps: no gap, no repeat.

use crate::bed::Bed;
use contract::{CrashPoint, CrashPoints, TablePhase};
use serde_json::Value;
use std::collections::HashMap;

/// Runs into the armed point, or until all is captured; answers whether the point was reached.
async fn run_into(bed: &Bed, point: CrashPoint, nth: u64) -> bool {
    let mut run = bed.start_with(|ctx| {
        ctx.crash = CrashPoints::armed(point, nth, move || panic!("the test's crash at {} no. {nth}", point.name()));
    });
    let end = bed.wal_end().await;
    let mut status = run.status.clone();
    let reached = tokio::select! {
        ended = &mut run.task => ended.is_err_and(|error| error.is_panic()),
        Ok(_) = status.wait_for(|status| status.confirmed_lsn > end && status.tables.iter().all(|(_, phase)| matches!(phase, TablePhase::Done { .. }))) => false,
    };
    run.task.abort();
    if !run.task.is_finished() {
        let _aborted = run.task.await;
    }
    bed.slot_is_free().await;
    reached
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_at_any_point_leaves_neither_gap_nor_repeat() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v bigint); INSERT INTO t SELECT g, 0 FROM generate_series(1, 400) g";
    let mut bed = Bed::new(ddl, &[("t", &["id"])]).await;
    bed.config.chunk_rows = 60;
    bed.config.batch_bytes_max = 4 << 10;
    let mut reached = 0;
    for nth in [1, 2, 5] {
        for point in [CrashPoint::AfterRead, CrashPoint::AfterAppend, CrashPoint::BeforeConfirm, CrashPoint::InChunk] {
            bed.execute(&format!(
                "INSERT INTO t SELECT coalesce(max(id), 0) + g, {nth} FROM t, generate_series(1, 30) g GROUP BY g"
            ))
            .await;
            bed.execute("UPDATE t SET v = v + 1 WHERE id % 7 = 0; DELETE FROM t WHERE id % 41 = 0").await;
            reached += u32::from(run_into(&bed, point, nth).await);
            bed = bed.reopened().await;
        }
    }
    assert!(reached >= 6, "only {reached} crashes happened");
    let mut run = bed.start();
    run.copied().await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    assert_no_gap_no_repeat(&bed).await;
}

/// Every live change stands once, in order, and the replay is the table.
async fn assert_no_gap_no_repeat(bed: &Bed) {
    let mut newest: HashMap<String, (u64, u64)> = HashMap::new();
    let mut last = (0, 0);
    for seen in bed.records().await.iter().filter(|seen| seen.op != "r") {
        let number = |name: &str| seen.value["source"][name].as_u64().unwrap_or_default();
        let at = (number("lsn"), number("txId"));
        assert!(at.0 > 0, "{seen:?}");
        assert!(newest.insert(format!("{}{:?}", seen.key, at), at).is_none(), "{seen:?} stands twice");
        last = at;
    }
    assert!(last.0 > 0);
    let replayed = bed.replayed("public.t").await;
    let rows = bed.sql.query("SELECT id, v FROM t", &[]).await.expect("reads");
    assert_eq!(replayed.len(), rows.len());
    for row in rows {
        let key = serde_json::json!({"id": row.get::<_, i32>(0)}).to_string();
        assert_eq!(replayed.get(&key).map(|row| &row["v"]), Some(&Value::from(row.get::<_, i64>(1))), "{key}");
    }
}

#[tokio::test]
async fn crash_in_the_middle_of_a_transaction_goes_on_exactly_there() {
    let mut bed = Bed::new("CREATE TABLE t (id int PRIMARY KEY, v text)", &[("t", &["id"])]).await;
    bed.config.batch_bytes_max = 8 << 10;
    let mut run = bed.start();
    run.copied().await;
    run.stop().await;
    bed.execute("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 5000) g").await;
    let mut crashed = run_into(&bed, CrashPoint::AfterAppend, 20).await;
    bed = bed.reopened().await;
    let partly = bed.records().await.len();
    assert!(partly > 0 && partly < 5000, "{partly}");
    crashed &= run_into(&bed, CrashPoint::AfterRead, 30).await;
    assert!(crashed);
    bed = bed.reopened().await;
    let mut run = bed.start();
    bed.caught_up(&mut run).await;
    run.stop().await;
    let keys: Vec<i64> = bed.records().await.iter().map(|seen| seen.key["id"].as_i64().expect("a number")).collect();
    assert_eq!(keys, (1..=5000).collect::<Vec<i64>>());
}
