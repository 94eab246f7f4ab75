//! A slot that is not the one that the log was filled from is refused, and each way out works.

use crate::bed::{Bed, options, shared_server};
use connector_postgres::OnSlotMismatch;
use contract::Source;
use private_postgres::Server;

/// A bed that has captured one row and stopped.
async fn used() -> Bed {
    used_on(shared_server().await).await
}

async fn used_on(server: &Server) -> Bed {
    let bed = Bed::on(server, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    bed.execute("INSERT INTO t VALUES (2)").await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    bed.slot_is_free().await;
    bed
}

async fn refused_with(bed: &Bed, code: &str) {
    let error = bed.refused().await;
    assert_eq!(error.code().0, code, "{error}");
    assert!(error.to_string().contains("resnapshot"), "it names the way out: {error}");
}

#[tokio::test]
async fn dropped_slot_is_refused_and_a_new_snapshot_is_the_way_out() {
    let mut bed = used().await;
    bed.execute(&format!("SELECT pg_drop_replication_slot('{}'); INSERT INTO t VALUES (3)", bed.slot)).await;
    refused_with(&bed, "PS2153").await;
    bed.config.on_slot_mismatch = OnSlotMismatch::Resnapshot;
    for _ in 0..2 {
        let mut run = bed.start();
        run.copied().await;
        bed.caught_up(&mut run).await;
        run.stop().await;
    }
    let again = bed.records().await.iter().filter(|seen| seen.op == "r").count();
    assert_eq!(again, 1 + 3, "every row is copied once more, and only once");
    assert_eq!(bed.replayed("public.t").await.len(), 3);
}

#[tokio::test]
async fn slot_that_was_made_anew_is_refused() {
    let bed = used().await;
    let slot = &bed.slot;
    bed.execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    bed.execute("INSERT INTO t VALUES (3)").await;
    bed.execute(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    refused_with(&bed, "PS2154").await;
}

#[tokio::test]
async fn slot_that_somebody_else_read_from_is_refused_and_can_be_accepted() {
    let mut bed = used().await;
    bed.execute("INSERT INTO t VALUES (3)").await;
    bed.execute(&format!("SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())", bed.slot)).await;
    refused_with(&bed, "PS2154").await;
    bed.config.on_slot_mismatch = OnSlotMismatch::Accept;
    let mut run = bed.start();
    bed.execute("INSERT INTO t VALUES (4)").await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    let keys: Vec<_> = bed.records().await.iter().map(|seen| seen.key["id"].clone()).collect();
    assert_eq!(keys, [1, 2, 4], "the change that was skipped is the operator's word");
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let mut bed = used().await;
    let other = Server::start(options()).await.expect("a second server");
    other.execute("postgres", "CREATE TABLE t (id int PRIMARY KEY)").await.expect("makes the table");
    bed.config.url = other.url("postgres");
    refused_with(&bed, "PS2156").await;
}

#[tokio::test]
async fn slot_whose_wal_was_removed_is_refused() {
    let server = Server::start(options().set("max_slot_wal_keep_size", "1MB")).await.expect("a server");
    let bed = used_on(&server).await;
    for _ in 0..4 {
        bed.execute("INSERT INTO t SELECT max(id) + 1 FROM t; SELECT pg_switch_wal()").await;
    }
    bed.execute("CHECKPOINT").await;
    refused_with(&bed, "PS2155").await;
    let findings = bed.source().check().await;
    assert!(findings.iter().any(|finding| finding.code.0 == "PS2155"), "{findings:?}");
}

#[tokio::test]
async fn log_that_was_emptied_is_refused() {
    let bed = used().await;
    let fresh = Bed::new("SELECT 1", &[]).await;
    let bed = Bed { log: fresh.log.clone(), ..bed };
    refused_with(&bed, "PS2159").await;
}

#[tokio::test]
async fn slot_of_another_kind_is_refused_and_left_alone() {
    let bed = Bed::new("CREATE TABLE t (id int PRIMARY KEY)", &[("t", &["id"])]).await;
    bed.execute(&format!("SELECT pg_create_physical_replication_slot('{}')", bed.slot)).await;
    let error = bed.refused().await;
    assert_eq!(error.code().0, "PS2151", "{error}");
    bed.execute(&format!("SELECT pg_drop_replication_slot('{}')", bed.slot)).await;
}

#[tokio::test]
async fn missing_slot_is_refused_where_making_one_is_switched_off() {
    let mut bed = Bed::new("CREATE TABLE t (id int PRIMARY KEY)", &[("t", &["id"])]).await;
    bed.config.create_slot = false;
    let error = bed.refused().await;
    assert_eq!(error.code().0, "PS2150");
    assert!(error.to_string().contains("pg_create_logical_replication_slot"), "{error}");
}

#[tokio::test]
async fn slot_that_another_run_still_holds_is_waited_for() {
    let bed = used().await;
    let mut first = bed.start();
    bed.caught_up(&mut first).await;
    let mut second = bed.start();
    second.until(|status| status.last_error.is_some()).await;
    first.crash().await;
    bed.execute("INSERT INTO t VALUES (9)").await;
    bed.caught_up(&mut second).await;
    second.stop().await;
    assert_eq!(bed.records().await.len(), 3);
}
