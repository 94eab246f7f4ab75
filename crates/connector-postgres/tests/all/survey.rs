//! What a plan is told of the tables.

use crate::bed::Bed;
use connector_postgres::Survey;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn rows_are_counted_and_changes_add_up_over_partitions() {
    let ddl = "CREATE TABLE plain (id int PRIMARY KEY, word text);
               INSERT INTO plain SELECT n, 'w' || n FROM generate_series(1, 321) n;
               CREATE TABLE \"Odd \"\"name\" (id int PRIMARY KEY);
               CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
               CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
               CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO (200);
               INSERT INTO parted SELECT generate_series(50, 149)";
    let tables: [(&str, &[&str]); 4] =
        [("plain", &["id"]), ("public.\"Odd \"\"name\"", &["id"]), ("parted", &["id"]), ("gone", &["id"])];
    let bed = Bed::new(ddl, &tables).await;
    let survey = Survey::connect(&bed.config, LIMIT).await.expect("connects");

    let volumes = survey.volumes(10_000).await.expect("looks");

    let rows: Vec<_> = volumes.iter().map(|volume| (&*volume.table.name, volume.rows, volume.counted)).collect();
    assert_eq!(rows, [("plain", 321, true), ("Odd \"name", 0, true), ("parted", 100, true)]);
    // A table that is not there is left out: the check says so.
    let all = survey.sample(&volumes[0], 1_000).await.expect("samples");
    assert_eq!(all.len(), 321);
    assert!(
        all.iter().all(|row| serde_json::from_str::<serde_json::Value>(row).is_ok_and(|row| row["word"].is_string()))
    );
    let some = survey.sample(&volumes[0], 50).await.expect("samples");
    assert!((10..=50).contains(&some.len()), "{}", some.len());
}

#[tokio::test]
async fn a_slow_count_is_given_up_and_the_statistics_are_told() {
    let ddl = "CREATE TABLE busy (id int PRIMARY KEY); INSERT INTO busy SELECT generate_series(1, 1000); ANALYZE busy";
    let bed = Bed::new(ddl, &[("busy", &["id"])]).await;
    let mut blocker = tokio_postgres::connect(&bed.url, tokio_postgres::NoTls).await.expect("connects");
    let driver = tokio::spawn(blocker.1);
    let transaction = blocker.0.transaction().await.expect("begins");
    transaction.batch_execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE").await.expect("locks");
    let survey = Survey::connect(&bed.config, Duration::from_millis(300)).await.expect("connects");

    let volumes = survey.volumes(10_000).await.expect("looks");

    assert_eq!((volumes[0].rows, volumes[0].counted), (1_000, false));
    assert!(survey.sample(&volumes[0], 10).await.expect("gives up").is_empty());
    transaction.rollback().await.expect("rolls back");
    driver.abort();
}
