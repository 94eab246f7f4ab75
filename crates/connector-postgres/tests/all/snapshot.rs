//! The copy beside the stream: nothing missing, nothing older over newer, resumable.

use crate::bed::{AdmitSome, Bed};
use contract::TablePhase;
use model::TableName;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// The table as it is now, as `Bed::replayed` gives it.
async fn table_now(bed: &Bed, query: &str) -> BTreeMap<String, Value> {
    let rows = bed.sql.query(query, &[]).await.expect("reads the table");
    rows.iter().map(|row| (json!({"id": row.get::<_, i32>(0)}).to_string(), json!(row.get::<_, i64>(1)))).collect()
}

async fn assert_replay_equals_table(bed: &Bed) {
    let replayed = bed.replayed("public.t").await;
    let replayed: BTreeMap<_, _> = replayed.into_iter().map(|(key, row)| (key, row["v"].clone())).collect();
    let table = table_now(bed, "SELECT id, v FROM t").await;
    let wrong: Vec<_> = table.iter().filter(|(key, v)| replayed.get(*key) != Some(v)).take(5).collect();
    assert!(
        wrong.is_empty() && replayed.len() == table.len(),
        "{} rows of {}; wrong: {wrong:?}",
        replayed.len(),
        table.len()
    );
}

/// Writes to a few hot keys until told to stop; each write of a key has a larger `v` than the one before.
async fn write_hot_keys(client: tokio_postgres::Client, seed: u64, halt: Arc<AtomicBool>) {
    let mut state = seed;
    while !halt.load(Ordering::Relaxed) {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let id = (state >> 33) % 60 * 97;
        let write = match (state >> 20) % 4 {
            0 => format!("DELETE FROM t WHERE id = {id}"),
            1 => format!("INSERT INTO t VALUES ({id}, nextval('s')) ON CONFLICT (id) DO UPDATE SET v = nextval('s')"),
            _ => format!("UPDATE t SET v = nextval('s') WHERE id = {id}"),
        };
        client
            .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({id}); {write}; COMMIT"))
            .await
            .expect("writes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_beside_writers_of_hot_keys_ends_equal_to_the_table_and_never_goes_back() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v bigint NOT NULL); CREATE SEQUENCE s; \
               INSERT INTO t SELECT g, nextval('s') FROM generate_series(0, 5999) g";
    let mut bed = Bed::new(ddl, &[("t", &["id"])]).await;
    bed.config.chunk_rows = 150;
    let halt = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for seed in 1..4 {
        let (client, connection) = tokio_postgres::connect(&bed.url, tokio_postgres::NoTls).await.expect("connects");
        tokio::spawn(connection);
        writers.push(tokio::spawn(write_hot_keys(client, seed, Arc::clone(&halt))));
    }
    let mut run = bed.start();
    run.copied().await;
    halt.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("writes to the end");
    }
    bed.caught_up(&mut run).await;
    run.stop().await;
    let mut newest: HashMap<String, i64> = HashMap::new();
    for seen in bed.records().await.iter().filter(|seen| seen.op != "d") {
        let v = seen.after()["v"].as_i64().expect("a number");
        let before = newest.insert(seen.key.to_string(), v).unwrap_or(0);
        assert!(v > before || (v == before && seen.op == "r"), "{seen:?} stands after {before}");
    }
    assert_replay_equals_table(&bed).await;
}

#[tokio::test]
async fn copy_that_was_interrupted_goes_on_at_its_chunk() {
    let ddl =
        "CREATE TABLE t (id int PRIMARY KEY, v bigint); INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g";
    let mut bed = Bed::new(ddl, &[("t", &["id"])]).await;
    bed.config.chunk_rows = 100;
    let mut run = bed.start_with(|ctx| ctx.admission = Arc::new(AdmitSome(Semaphore::new(4))));
    run.until(|status| {
        status.tables.iter().any(|(_, phase)| matches!(phase, TablePhase::Copying { rows_done: 400, .. }))
    })
    .await;
    run.crash().await;
    bed.slot_is_free().await;
    let bed = bed.reopened().await;
    let mut run = bed.start();
    run.copied().await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    let keys: Vec<i64> = bed.records().await.iter().map(|seen| seen.key["id"].as_i64().expect("a number")).collect();
    assert_eq!(keys, (1..=1000).collect::<Vec<i64>>(), "each row once, in key order");
}

#[tokio::test]
async fn live_changes_do_not_wait_for_a_copy_that_is_held_back() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v bigint); INSERT INTO t SELECT g, g FROM generate_series(1, 100) g";
    let bed = Bed::new(ddl, &[("t", &["id"])]).await;
    let mut run = bed.start_with(|ctx| ctx.admission = Arc::new(AdmitSome(Semaphore::new(0))));
    run.until(|status| status.connected).await;
    bed.execute("INSERT INTO t VALUES (500, 1)").await;
    bed.caught_up(&mut run).await;
    assert_eq!(bed.records().await.len(), 1);
    run.stop().await;
}

#[tokio::test]
async fn parents_are_copied_before_children_whatever_the_configured_order() {
    let ddl = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent); \
               INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1)";
    let bed = Bed::new(ddl, &[("child", &["id"]), ("parent", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    run.stop().await;
    let tables: Vec<_> = bed.records().await.into_iter().map(|seen| seen.table).collect();
    assert_eq!(tables, ["public.parent", "public.child"]);
}

#[tokio::test]
async fn table_added_to_the_configuration_is_copied_and_one_that_comes_back_is_copied_again() {
    let ddl = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)";
    let mut bed = Bed::new(ddl, &[("a", &["id"])]).await;
    let run_once = async |bed: &Bed| {
        let mut run = bed.start();
        run.copied().await;
        bed.caught_up(&mut run).await;
        run.stop().await;
        bed.records().await.into_iter().filter(|seen| seen.table == "public.b").count()
    };
    let b = TableName::parse("b").expect("a name");
    assert_eq!(run_once(&bed).await, 0);
    bed.config.tables.push(b.clone());
    bed.keys.insert(b.clone(), vec!["id".into()]);
    assert_eq!(run_once(&bed).await, 1);
    assert_eq!(run_once(&bed).await, 1, "once is enough");
    bed.config.tables.pop();
    bed.keys.remove(&b);
    bed.execute("INSERT INTO b VALUES (2)").await;
    run_once(&bed).await;
    bed.config.tables.push(b.clone());
    bed.keys.insert(b, vec!["id".into()]);
    assert_eq!(run_once(&bed).await, 3, "what changed meanwhile is in the second copy");
}

#[tokio::test]
async fn empty_table_is_done_and_wide_rows_are_cut_into_small_chunks() {
    let ddl = "CREATE TABLE e (id int PRIMARY KEY); CREATE TABLE w (id int PRIMARY KEY, v text); \
               ALTER TABLE w ALTER v SET STORAGE EXTERNAL; INSERT INTO w SELECT g, repeat('x', 300000) FROM generate_series(1, 50) g";
    let mut bed = Bed::new(ddl, &[("e", &["id"]), ("w", &["id"])]).await;
    bed.config.chunk_bytes_max = 500_000;
    let mut run = bed.start();
    run.copied().await;
    run.stop().await;
    let records = bed.records().await;
    assert_eq!(records.iter().map(|seen| seen.key.to_string()).collect::<HashSet<_>>().len(), 50);
    let chunks: HashSet<_> = records.iter().map(|seen| seen.chunk.clone().expect("a chunk")).collect();
    assert!(chunks.len() >= 10, "{chunks:?}");
}

#[tokio::test]
async fn truncate_between_the_watermarks_takes_the_chunk_out() {
    // A chunk is admitted only after the test has emptied the table behind the first one.
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v bigint); INSERT INTO t SELECT g, g FROM generate_series(1, 300) g";
    let mut bed = Bed::new(ddl, &[("t", &["id"])]).await;
    bed.config.chunk_rows = 100;
    let admission = Arc::new(AdmitSome(Semaphore::new(1)));
    let gate = Arc::clone(&admission);
    let mut run = bed.start_with(move |ctx| ctx.admission = gate);
    run.until(|status| {
        status.tables.iter().any(|(_, phase)| matches!(phase, TablePhase::Copying { rows_done: 100, .. }))
    })
    .await;
    bed.execute("BEGIN; TRUNCATE t; INSERT INTO t VALUES (7, 70), (250, 2500); COMMIT").await;
    admission.0.add_permits(100);
    run.copied().await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    assert_replay_equals_table(&bed).await;
}

#[tokio::test]
async fn table_that_is_altered_while_it_is_copied_is_described_again() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v bigint, gone text); INSERT INTO t SELECT g, g, 'x' FROM generate_series(1, 300) g";
    let mut bed = Bed::new(ddl, &[("t", &["id"])]).await;
    bed.config.chunk_rows = 100;
    let admission = Arc::new(AdmitSome(Semaphore::new(1)));
    let gate = Arc::clone(&admission);
    let mut run = bed.start_with(move |ctx| ctx.admission = gate);
    run.until(|status| {
        status.tables.iter().any(|(_, phase)| matches!(phase, TablePhase::Copying { rows_done: 100, .. }))
    })
    .await;
    bed.execute(
        "ALTER TABLE t DROP gone; ALTER TABLE t ADD new text DEFAULT 'd'; UPDATE t SET new = 'e' WHERE id = 250",
    )
    .await;
    admission.0.add_permits(100);
    run.copied().await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    let rows = bed.replayed("public.t").await;
    assert_eq!(rows.len(), 300);
    assert_eq!(rows[r#"{"id":50}"#], json!({"id": 50, "v": 50, "gone": "x"}));
    assert_eq!(rows[r#"{"id":150}"#], json!({"id": 150, "v": 150, "new": "d"}));
    assert_eq!(rows[r#"{"id":250}"#], json!({"id": 250, "v": 250, "new": "e"}));
}

#[tokio::test]
async fn row_that_came_whole_by_the_stream_is_not_copied_again() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v bigint, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; \
               INSERT INTO t SELECT g, g, repeat('x', 5000) FROM generate_series(1, 20) g";
    let mut bed = Bed::new(ddl, &[("t", &["id"])]).await;
    bed.config.chunk_rows = 100;
    let admission = Arc::new(AdmitSome(Semaphore::new(0)));
    let gate = Arc::clone(&admission);
    let mut run = bed.start_with(move |ctx| ctx.admission = gate);
    run.until(|status| status.connected).await;
    // The second leaves the large value out, so that its row must still be copied.
    bed.execute("INSERT INTO t VALUES (30, 30, 'y'); UPDATE t SET v = 0 WHERE id = 7").await;
    bed.caught_up(&mut run).await;
    admission.0.add_permits(100);
    run.copied().await;
    run.stop().await;
    let of = |records: &[crate::bed::Seen], id: i64| {
        records.iter().filter(|seen| seen.key["id"] == id).map(|seen| seen.op.clone()).collect::<Vec<_>>()
    };
    let records = bed.records().await;
    assert_eq!((of(&records, 30), of(&records, 7)), (vec!["c".into()], vec!["u".into(), "r".into()]));
    assert_eq!(bed.replayed("public.t").await[r#"{"id":7}"#]["big"].as_str().map(str::len), Some(5000));
}

#[tokio::test]
async fn chunk_waits_for_a_commit_that_the_stream_has_sent_and_no_snapshot_sees_yet() {
    let server = private_postgres::Server::start(crate::bed::options()).await.expect("a server");
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; \
               INSERT INTO t VALUES (1, 'old', repeat('x', 5000))";
    let bed = Bed::on(&server, ddl, &[("t", &["id"])]).await;
    let admission = Arc::new(AdmitSome(Semaphore::new(0)));
    let gate = Arc::clone(&admission);
    let mut run = bed.start_with(move |ctx| ctx.admission = gate);
    run.until(|status| status.connected).await;
    bed.execute("SET synchronous_commit = local").await;
    bed.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    bed.execute("SELECT pg_reload_conf()").await;
    // From now on a commit stands in the WAL, flushed, and its transaction counts as running until a standby has it.
    let writer = loop {
        let writer = server.connect(bed.url.rsplit('/').next().expect("a database")).await.expect("connects");
        let names = writer.query_one("SHOW synchronous_standby_names", &[]).await.expect("answers");
        if names.get::<_, String>(0) == "nobody" {
            break writer;
        }
    };
    let update = tokio::spawn(async move { writer.batch_execute("UPDATE t SET v = 'new' WHERE id = 1").await });
    run.until(|status| status.changes == 1).await;
    admission.0.add_permits(10);
    // Some rounds of the stream, each of which has room for another reading of the chunk.
    for _ in 0..20 {
        bed.caught_up(&mut run).await;
    }
    assert!(bed.records().await.iter().all(|seen| seen.op != "r"), "the old row was not copied");
    bed.execute("ALTER SYSTEM RESET synchronous_standby_names").await;
    bed.execute("SELECT pg_reload_conf()").await;
    update.await.expect("no panic").expect("the commit ends");
    run.copied().await;
    run.stop().await;
    let rows = bed.replayed("public.t").await;
    assert_eq!(rows[r#"{"id":1}"#]["v"], "new");
    assert_eq!(rows[r#"{"id":1}"#]["big"].as_str().map(str::len), Some(5000));
}
