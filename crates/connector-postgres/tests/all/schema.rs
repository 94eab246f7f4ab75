//! Shapes that change, values that are left out, tables that are emptied.

use crate::bed::Bed;
use serde_json::json;

#[tokio::test]
async fn columns_that_come_and_go_in_mid_stream_are_followed() {
    let bed = Bed::new("CREATE TABLE t (id int PRIMARY KEY, v text)", &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    bed.execute("INSERT INTO t VALUES (1, 'a')").await;
    bed.execute("BEGIN; INSERT INTO t VALUES (2, 'b'); ALTER TABLE t ADD n numeric(8, 2) DEFAULT 1.5; INSERT INTO t VALUES (3, 'c', 2.25); COMMIT")
        .await;
    // The catalogue is ahead of what is read by then.
    bed.execute("CREATE TYPE mood AS ENUM ('gut', 'schlecht'); ALTER TABLE t ADD m mood; INSERT INTO t VALUES (4, 'd', 1, 'gut')").await;
    bed.execute("ALTER TABLE t DROP v; INSERT INTO t VALUES (5, 3, 'schlecht'); ALTER TABLE t DROP m; DROP TYPE mood")
        .await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    let after: Vec<_> = bed.records().await.iter().map(|seen| seen.after().clone()).collect();
    assert_eq!(after[0], json!({"id": 1, "v": "a"}));
    assert_eq!(after[1], json!({"id": 2, "v": "b"}));
    assert_eq!(after[2], json!({"id": 3, "v": "c", "n": "2.25"}));
    assert_eq!(after[3], json!({"id": 4, "v": "d", "n": "1.00", "m": "gut"}));
    assert_eq!(after[4], json!({"id": 5, "n": "3.00", "m": "schlecht"}));
}

#[tokio::test]
async fn unchanged_large_value_is_absent_and_named_in_a_header() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, big text, v int); ALTER TABLE t ALTER big SET STORAGE EXTERNAL";
    let bed = Bed::new(ddl, &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    bed.execute("INSERT INTO t VALUES (1, repeat('x', 20000), 1); UPDATE t SET v = 2; UPDATE t SET big = NULL").await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    let records = bed.records().await;
    assert_eq!(records[1].after(), &json!({"id": 1, "v": 2}));
    assert_eq!(records[1].unchanged, Some(json!(["big"])));
    assert_eq!(records[2].after(), &json!({"id": 1, "big": null, "v": 2}));
}

#[tokio::test]
async fn truncate_is_a_record_of_each_table() {
    let ddl = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a)";
    let bed = Bed::new(ddl, &[("a", &["id"]), ("b", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    bed.execute("INSERT INTO a VALUES (1); TRUNCATE a CASCADE; INSERT INTO a VALUES (2)").await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    let records = bed.records().await;
    let mut truncated: Vec<_> = records.iter().filter(|seen| seen.op == "t").map(|seen| seen.table.clone()).collect();
    truncated.sort();
    assert_eq!(truncated, ["public.a", "public.b"]);
    assert_eq!(bed.replayed("public.a").await.len(), 1);
}

#[tokio::test]
async fn renamed_table_is_refused_and_captured_again_under_its_new_name() {
    let mut bed = Bed::new("CREATE TABLE t (id int PRIMARY KEY)", &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    bed.execute("ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (1)").await;
    let ended = tokio::time::timeout(crate::bed::PATIENCE, run.task).await.expect("it ends").expect("no panic");
    assert_eq!(ended.expect_err("it is refused").code().0, "PS2136");
    bed.slot_is_free().await;
    let u = model::TableName::parse("u").expect("a name");
    bed.config.tables = vec![u.clone()];
    bed.keys = [(u, vec!["id".to_owned()])].into();
    let mut run = bed.start();
    run.copied().await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    assert_eq!(bed.replayed("public.u").await.len(), 1);
}

#[tokio::test]
async fn generated_columns_and_row_filters_are_the_same_in_copy_and_stream() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED); INSERT INTO t VALUES (1, 1), (2, 20)";
    let bed = Bed::new(ddl, &[("t", &["id"])]).await;
    let version: i32 =
        bed.sql.query_one("SELECT current_setting('server_version_num')::int", &[]).await.expect("answers").get(0);
    if version >= 150_000 {
        bed.execute("CREATE PUBLICATION penstock FOR TABLE t WHERE (id < 100)").await;
        bed.execute("INSERT INTO t VALUES (101, 1)").await;
    }
    let mut run = bed.start();
    run.copied().await;
    bed.execute("INSERT INTO t VALUES (3, 1)").await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    let records = bed.records().await;
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|seen| seen.after().get("twice").is_none()), "{records:?}");
}
