//! Live changes: order, kinds, heartbeats.

use crate::bed::Bed;
use model::Lsn;
use serde_json::json;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text)";

#[tokio::test]
async fn changes_arrive_in_commit_order_once() {
    let bed = Bed::new(TABLE, &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    bed.execute(
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'); UPDATE t SET v = 'c' WHERE id = 1; DELETE FROM t WHERE id = 2",
    )
    .await;
    // The transaction that commits last stands last, whatever wrote first.
    bed.execute("BEGIN; INSERT INTO t VALUES (3, 'x'); UPDATE t SET id = 4 WHERE id = 3; COMMIT").await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    let seen: Vec<_> =
        bed.records().await.iter().map(|r| (r.op.clone(), r.key["id"].clone(), r.after()["v"].clone())).collect();
    let want = [
        ("c", 1, json!("a")),
        ("c", 2, json!("b")),
        ("u", 1, json!("c")),
        ("d", 2, json!(null)),
        ("c", 3, json!("x")),
        ("d", 3, json!(null)),
        ("c", 4, json!("x")),
    ];
    assert_eq!(seen, want.map(|(op, id, v)| (op.to_owned(), json!(id), v)));
}

#[tokio::test]
async fn stopped_source_has_confirmed_everything_and_goes_on_where_it_was() {
    let bed = Bed::new(TABLE, &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    bed.execute("INSERT INTO t SELECT g, 'a' FROM generate_series(1, 100) g").await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    bed.execute("UPDATE t SET v = 'b'").await;
    let bed = bed.reopened().await;
    let mut run = bed.start();
    bed.caught_up(&mut run).await;
    run.stop().await;
    let records = bed.records().await;
    let count = |op: &str| records.iter().filter(|seen| seen.op == op).count();
    assert_eq!((count("c"), count("u"), count("r")), (100, 100, 0));
}

#[tokio::test]
async fn heartbeats_advance_an_idle_slot() {
    let bed = Bed::new(TABLE, &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    let before = run.until(|status| status.confirmed_lsn > Lsn(0)).await.confirmed_lsn;
    // Somebody else writes WAL that the slot has no part in.
    bed.execute("CREATE TABLE other (id int); INSERT INTO other SELECT generate_series(1, 10000)").await;
    run.until(|status| status.confirmed_lsn.0 > before.0 + 500_000).await;
    run.stop().await;
    assert!(bed.slot_confirmed().await > before);
    assert!(bed.records().await.is_empty());
}

#[tokio::test]
async fn status_tells_lag_retained_wal_and_phases() {
    let bed = Bed::new(TABLE, &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    bed.execute("INSERT INTO t VALUES (1, 'a')").await;
    let status = run
        .until(|status| {
            status.changes == 1 && status.retained_bytes > 0 && status.newest_commit_ms > 0 && status.connected
        })
        .await;
    assert_eq!(status.appended.len(), 1);
    assert_eq!(status.tables.len(), 1);
    run.stop().await;
}

#[tokio::test]
async fn two_streams_of_one_source_each_take_their_tables() {
    use contract::{Log, StreamBinding, StreamSpec};
    use model::{Offset, StreamId, StreamPartition, TableName};
    let ddl = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)";
    let bed = Bed::new(ddl, &[("a", &["id"]), ("b", &["id"])]).await;
    bed.log.create_stream(&StreamId::new("second"), StreamSpec::default()).await.expect("makes it");
    let second = StreamPartition::first(StreamId::new("second"));
    let keys = |name: &str| [(TableName::parse(name).expect("a name"), vec!["id".to_owned()])].into();
    let streams = vec![
        StreamBinding { to: bed.to(), keys: keys("a"), transactions: false },
        StreamBinding { to: second.clone(), keys: keys("b"), transactions: false },
    ];
    for round in 2..4 {
        let mut run = bed.start_with(|ctx| ctx.streams.clone_from(&streams));
        run.copied().await;
        bed.execute(&format!("BEGIN; INSERT INTO a VALUES ({round}); INSERT INTO b VALUES ({round}); COMMIT")).await;
        bed.caught_up(&mut run).await;
        run.crash().await;
        bed.slot_is_free().await;
    }
    assert_eq!(bed.records().await.len(), 3);
    let batches = bed.log.read(&second, Offset(0), 1 << 20).await.expect("reads");
    assert_eq!(batches.iter().map(|batch| batch.records.count()).sum::<u32>(), 3);
}

#[tokio::test]
async fn ends_of_transactions_are_marked_once_where_a_stream_asks_for_it() {
    use contract::Log;
    use model::{Offset, header};
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE silent (id int)";
    let bed = Bed::new(ddl, &[("t", &["id"])]).await;
    for round in 0..3 {
        let mut run = bed.start_with(|ctx| ctx.streams[0].transactions = true);
        run.copied().await;
        let id = round * 10;
        bed.execute(&format!(
            "BEGIN; INSERT INTO t VALUES ({id}, 'a'), ({id} + 1, 'b'); UPDATE t SET id = id + 5 WHERE id = {id}; COMMIT"
        ))
        .await;
        bed.execute("INSERT INTO silent VALUES (1)").await;
        bed.execute(&format!("DELETE FROM t WHERE id = {id} + 1")).await;
        bed.caught_up(&mut run).await;
        // What a dead session had not confirmed comes again, and is not marked again.
        run.crash().await;
        bed.slot_is_free().await;
    }
    let mut run = bed.start_with(|ctx| ctx.streams[0].transactions = true);
    bed.caught_up(&mut run).await;
    run.stop().await;
    let batches = bed.log.read(&bed.to(), Offset(0), 1 << 20).await.expect("reads");
    let mut seen = Vec::new();
    for record in batches.iter().flat_map(|batch| batch.records.iter()) {
        let value: serde_json::Value = serde_json::from_slice(record.value.expect("a value")).expect("JSON");
        match record.header(header::TRANSACTION) {
            Some(_) => seen.push(format!("end {}", value["event_count"])),
            None => seen.push(value["op"].as_str().expect("an op").to_owned()),
        }
    }
    let round = ["c", "c", "d", "c", "end 3", "d", "end 1"];
    assert_eq!(seen, round.repeat(3));
}
