//! Large transactions.

use crate::bed::Bed;
use contract::Log;
use model::Offset;

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
    let partly = keys(&bed).await.len();
    assert!(partly > 0, "nothing was appended");
    let mut run = bed.start();
    bed.caught_up(&mut run).await;
    run.stop().await;
    let keys = keys(&bed).await;
    assert_eq!(keys.len() as i64, ROWS);
    assert!(keys.iter().zip(1..=ROWS).all(|(key, id)| *key == format!("{{\"id\":{id}}}")), "they stand in order");
}

/// The keys of all records, unparsed.
async fn keys(bed: &Bed) -> Vec<String> {
    let (mut at, mut keys) = (Offset(0), Vec::new());
    loop {
        let batches = bed.log.read(&bed.to(), at, 4 << 20).await.expect("reads");
        let Some(last) = batches.last() else { return keys };
        at = last.end();
        let records = batches.iter().flat_map(|batch| &batch.records);
        keys.extend(records.map(|record| String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned()));
    }
}
