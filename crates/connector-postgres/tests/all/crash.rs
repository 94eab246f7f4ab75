//! Crashes between any two steps: no gap, no repeat.

use crate::bed::{Bed, PATIENCE};
use contract::{CrashPoint, CrashPoints};
use serde_json::Value;
use std::collections::HashMap;

/// Runs into the armed point while `churn` is written again and again.
async fn run_into(bed: &Bed, point: CrashPoint, nth: u64, churn: &str) {
    let run = bed.start_with(|ctx| {
        ctx.crash = CrashPoints::armed(point, nth, move || panic!("the test's crash at {} no. {nth}", point.name()));
    });
    let mut task = run.task;
    let crash = async {
        loop {
            tokio::select! {
                ended = &mut task => break ended,
                () = bed.execute(churn) => {}
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, crash).await.expect("it runs into the point");
    assert!(ended.is_err_and(|error| error.is_panic()), "{} no. {nth}", point.name());
    bed.slot_is_free().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_at_any_point_leaves_neither_gap_nor_repeat() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v bigint); INSERT INTO t SELECT g, 0 FROM generate_series(1, 800) g";
    let mut bed = Bed::new(ddl, &[("t", &["id"])]).await;
    bed.config.chunk_rows = 60;
    bed.config.batch_bytes_max = 4 << 10;
    let churn = "INSERT INTO t SELECT coalesce(max(id), 0) + g, 1 FROM t, generate_series(1, 5) g GROUP BY g;
                 UPDATE t SET v = v + 1 WHERE id % 71 = 0; DELETE FROM t WHERE id % 41 = 0";
    // The copy's point first, while there is something to copy: each run leaves chunks to the next.
    let points = [CrashPoint::InChunk, CrashPoint::AfterRead, CrashPoint::AfterAppend, CrashPoint::BeforeConfirm];
    for point in points {
        for nth in [1, 2, 5] {
            run_into(&bed, point, nth, churn).await;
            bed = bed.reopened().await;
        }
    }
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
    run_into(&bed, CrashPoint::AfterAppend, 20, "").await;
    bed = bed.reopened().await;
    let partly = bed.records().await.len();
    assert!(partly > 0 && partly < 5000, "{partly}");
    run_into(&bed, CrashPoint::AfterRead, 30, "").await;
    bed = bed.reopened().await;
    let mut run = bed.start();
    bed.caught_up(&mut run).await;
    run.stop().await;
    let keys: Vec<i64> = bed.records().await.iter().map(|seen| seen.key["id"].as_i64().expect("a number")).collect();
    assert_eq!(keys, (1..=5000).collect::<Vec<i64>>());
}
