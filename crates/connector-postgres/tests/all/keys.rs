//! Keys and identities of every kind, names of every kind.

use crate::bed::Bed;
use serde_json::json;

/// Captures copy and live changes of one table; the replay must be what `rows` says: keys and values as JSON, by key.
async fn captured(bed: &Bed, changes: &str, table: &str, rows: &[(&str, serde_json::Value)]) {
    let mut run = bed.start();
    run.copied().await;
    bed.execute(changes).await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    let replayed = bed.replayed(table).await;
    let want: std::collections::BTreeMap<_, _> = rows.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    assert_eq!(replayed, want);
}

#[tokio::test]
async fn composite_and_text_keys_are_copied_in_ranges() {
    let ddl = r#"CREATE TABLE t (region text COLLATE "C", n numeric, v text, PRIMARY KEY (region, n));
        INSERT INTO t SELECT r, g / 2.0, r || g FROM unnest(ARRAY['é', 'a''b', 'Z', 'z\', '', 'ß']) r, generate_series(1, 40) g"#;
    let mut bed = Bed::new(ddl, &[("t", &["region", "n"])]).await;
    bed.config.chunk_rows = 7;
    let mut run = bed.start();
    run.copied().await;
    bed.execute("UPDATE t SET v = 'new' WHERE n = 3; DELETE FROM t WHERE region = 'Z'").await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    let records = bed.records().await;
    assert_eq!(records.iter().filter(|seen| seen.op == "r").count(), 240);
    let replayed = bed.replayed("public.t").await;
    assert_eq!(replayed.len(), 200);
    assert_eq!(replayed.values().filter(|row| row["v"] == "new").count(), 5);
}

#[tokio::test]
async fn text_key_under_a_language_collation_is_copied_whole() {
    let ddl = "CREATE COLLATION IF NOT EXISTS de (provider = icu, locale = 'de'); \
               CREATE TABLE t (name text COLLATE de PRIMARY KEY); \
               INSERT INTO t SELECT chr(65 + g % 26) || chr(97 + (g * 7) % 26) || chr(228 + g % 20) || g FROM generate_series(1, 500) g";
    let mut bed = Bed::new(ddl, &[("t", &["name"])]).await;
    bed.config.chunk_rows = 33;
    let mut run = bed.start();
    run.copied().await;
    run.stop().await;
    assert_eq!(bed.replayed("public.t").await.len(), 500);
    assert_eq!(bed.records().await.len(), 500);
}

#[tokio::test]
async fn quoted_and_unicode_names_are_captured() {
    let ddl = r#"CREATE SCHEMA "Große Stadt"; CREATE TABLE "Große Stadt"."Ämter.""x" ("Schlüssel Nr" int PRIMARY KEY, "select" text);
        INSERT INTO "Große Stadt"."Ämter.""x" VALUES (1, 'a')"#;
    let name = r#""Große Stadt"."Ämter.""x""#;
    let bed = Bed::new(ddl, &[(name, &["Schlüssel Nr"])]).await;
    captured(
        &bed,
        &format!("INSERT INTO {name} VALUES (2, 'b'); UPDATE {name} SET \"select\" = 'c' WHERE \"Schlüssel Nr\" = 1"),
        "Große Stadt.Ämter.\"x",
        &[
            (r#"{"Schlüssel Nr":1}"#, json!({"Schlüssel Nr": 1, "select": "c"})),
            (r#"{"Schlüssel Nr":2}"#, json!({"Schlüssel Nr": 2, "select": "b"})),
        ],
    )
    .await;
}

#[tokio::test]
async fn partitioned_table_is_captured_under_its_own_name() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); \
               CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100); \
               CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (200) PARTITION BY LIST (v); \
               CREATE TABLE t2x PARTITION OF t2 DEFAULT; ";
    // A nested partition key must be part of the primary key: partition by the id again.
    let ddl = ddl.replace("PARTITION BY LIST (v)", "PARTITION BY RANGE (id)");
    let bed = Bed::new(&ddl, &[("t", &["id"])]).await;
    bed.execute("INSERT INTO t VALUES (1, 'a'), (150, 'b')").await;
    captured(
        &bed,
        // The last one moves the row to another partition.
        "INSERT INTO t VALUES (2, 'c'); UPDATE t SET v = 'd' WHERE id = 150; UPDATE t SET id = 160 WHERE id = 1",
        "public.t",
        &[
            (r#"{"id":150}"#, json!({"id": 150, "v": "d"})),
            (r#"{"id":160}"#, json!({"id": 160, "v": "a"})),
            (r#"{"id":2}"#, json!({"id": 2, "v": "c"})),
        ],
    )
    .await;
    assert!(bed.records().await.iter().all(|seen| seen.table == "public.t"));
}

#[tokio::test]
async fn full_identity_allows_a_business_key_outside_the_primary_key() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, code text, v int); ALTER TABLE t REPLICA IDENTITY FULL; \
               INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 1)";
    let bed = Bed::new(ddl, &[("t", &["code"])]).await;
    captured(
        &bed,
        "UPDATE t SET v = 2 WHERE id = 1; DELETE FROM t WHERE id = 2",
        "public.t",
        &[(r#"{"code":"a"}"#, json!({"id": 1, "code": "a", "v": 2}))],
    )
    .await;
}

#[tokio::test]
async fn index_identity_keys_changes_and_copy() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL UNIQUE); \
               ALTER TABLE t REPLICA IDENTITY USING INDEX t_code_key; INSERT INTO t VALUES (1, 'a'), (2, 'b')";
    let bed = Bed::new(ddl, &[("t", &["code"])]).await;
    captured(
        &bed,
        "UPDATE t SET code = 'c' WHERE id = 1; DELETE FROM t WHERE id = 2",
        "public.t",
        &[(r#"{"code":"c"}"#, json!({"id": 1, "code": "c"}))],
    )
    .await;
}

#[tokio::test]
async fn tables_whose_deletes_cannot_be_keyed_are_refused_before_they_are_published() {
    let cases = [
        ("CREATE TABLE t (id int PRIMARY KEY, code text)", "code", "PS2132"),
        ("CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY NOTHING", "id", "PS2132"),
        ("CREATE TABLE t (id int)", "id", "PS2132"),
        ("CREATE TABLE t (id int); ALTER TABLE t REPLICA IDENTITY FULL", "id", "PS2134"),
        ("CREATE TABLE t (id int PRIMARY KEY)", "other", "PS2133"),
        ("CREATE VIEW t AS SELECT 1 AS id", "id", "PS2135"),
        ("CREATE UNLOGGED TABLE t (id int PRIMARY KEY)", "id", "PS2137"),
    ];
    for (ddl, key, code) in cases {
        let bed = Bed::new(ddl, &[("t", &[key])]).await;
        let error = bed.refused().await;
        assert_eq!(error.code().0, code, "{ddl}: {error}");
        let row = bed.sql.query_one("SELECT count(*) FROM pg_publication", &[]).await.expect("answers");
        assert_eq!(row.get::<_, i64>(0), 0, "{ddl}: nothing was published");
    }
}

#[tokio::test]
async fn append_only_table_without_identity_is_captured_where_only_inserts_are_published() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t REPLICA IDENTITY NOTHING; INSERT INTO t VALUES (1, 'a'); \
               CREATE PUBLICATION penstock FOR TABLE t WITH (publish = 'insert')";
    let bed = Bed::new(ddl, &[("t", &["id"])]).await;
    captured(
        &bed,
        "INSERT INTO t VALUES (2, 'b')",
        "public.t",
        &[(r#"{"id":1}"#, json!({"id": 1, "v": "a"})), (r#"{"id":2}"#, json!({"id": 2, "v": "b"}))],
    )
    .await;
}

#[tokio::test]
async fn table_without_a_unique_key_is_captured_live_where_the_copy_is_switched_off() {
    let mut bed = Bed::new("CREATE TABLE t (id int); ALTER TABLE t REPLICA IDENTITY FULL", &[("t", &["id"])]).await;
    bed.config.snapshot = false;
    let mut run = bed.start();
    run.until(|status| status.connected).await;
    bed.execute("INSERT INTO t VALUES (1); DELETE FROM t").await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    assert_eq!(bed.records().await.iter().map(|seen| seen.op.as_str()).collect::<Vec<_>>(), ["c", "d"]);
}
