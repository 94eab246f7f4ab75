//! Large transactions.

use crate::bed::Bed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transaction_is_appended_as_it_comes_and_continued_after_a_crash() {
    const ROWS: i64 = 200_000;
    let bed = Bed::new("CREATE TABLE t (id int PRIMARY KEY, v text)", &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    bed.execute(&format!("INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, {ROWS}) g")).await;
    // Long before its end is read, its beginning is in the log.
    run.until(|status| status.changes > 20_000).await;
    run.crash().await;
    bed.slot_is_free().await;
    let partly = bed.records().await.len();
    assert!(partly > 0, "nothing was appended");
    let mut run = bed.start();
    bed.caught_up(&mut run).await;
    run.stop().await;
    let records = bed.records().await;
    let in_order = records.iter().zip(1..=ROWS).all(|(seen, id)| seen.key["id"] == id);
    assert!(records.len() as i64 == ROWS && in_order, "{} records", records.len());
    let largest = contract::Log::read(&*bed.log, &bed.to(), model::Offset(0), 256 << 20).await.expect("reads");
    let largest = largest.iter().map(|batch| batch.records.bytes().len()).max().unwrap_or_default();
    assert!(largest <= bed.config.batch_bytes_max + (64 << 10), "a batch of {largest} bytes");
}
