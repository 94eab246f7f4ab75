//! examples/transactions.yaml at work: what PostgreSQL committed together, the org applies together or not at all.

use super::world::{Made, World};
use org_sim::HistoryEntry;
use std::collections::{BTreeMap, BTreeSet};

const BILLING: Made<'_> = Made {
    pipeline: "transactions.yaml",
    objects: "transactions-org.yaml",
    tables: "transactions.sql",
    rows: "insert into billing.invoice values ('A-1', '2026-01-31', 30);
           insert into billing.invoice_line values (1, 'A-1', 'Chair', 10), (2, 'A-1', 'Table', 20)",
};

/// What the org did since this point of its history, call by call.
fn calls(world: &World, after: u64) -> Vec<BTreeSet<String>> {
    let mut calls: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for HistoryEntry { seq, request, external_id, .. } in world.org.history() {
        if seq > after {
            calls.entry(request).or_default().insert(external_id.unwrap_or_default());
        }
    }
    calls.into_values().collect()
}

/// What the org has of an invoice's total.
fn total(world: &World, number: &str) -> Option<f64> {
    let invoices = world.org.records("Invoice__c");
    invoices.iter().find(|invoice| invoice["Number__c"] == number)?["Total__c"].as_f64()
}

#[tokio::test]
async fn what_was_committed_together_is_applied_together_or_not_at_all() {
    let world = World::new(BILLING, |text| text).await;
    world.settle().await;
    assert_eq!((world.org.records("Invoice__c").len(), world.org.records("Invoice_Line__c").len()), (1, 2));

    // The org cannot take the second one: an item is longer than its field.
    let before = world.org.last_seq();
    world
        .sql(
            "begin;
              insert into billing.invoice values ('A-2', '2026-02-28', 7);
              insert into billing.invoice_line values (3, 'A-2', 'Lamp', 7);
              update billing.invoice set total = 37 where number = 'A-1';
              insert into billing.invoice_line values (4, 'A-1', 'Lamp', 7);
              commit",
        )
        .await;
    world
        .sql(
            "begin;
              insert into billing.invoice values ('B-1', '2026-02-28', 5);
              insert into billing.invoice_line values (5, 'B-1', repeat('x', 200), 5);
              commit",
        )
        .await;
    world.sql("insert into billing.invoice values ('C-1', '2026-02-28', 1)").await;
    world.settle().await;
    let done = calls(&world, before);
    let together = ["A-2", "3", "A-1", "4"].map(str::to_owned).into();
    assert!(done.contains(&together), "one call did the whole of the first transaction: {done:?}");
    assert!(done.iter().flatten().all(|key| key != "B-1" && key != "5"), "nothing of the second: {done:?}");
    assert_eq!([total(&world, "A-1"), total(&world, "B-1")], [Some(37.0), None]);
    assert_eq!(total(&world, "C-1"), Some(1.0), "others pass a refused one");
    let letters = world.done(&["dlq", "list", "--json"]).await;
    assert_eq!(letters["result"]["dead_letters"].as_array().map(Vec::len), Some(2), "{letters:#}");

    let proof = world.done(&["prove", "--json"]).await;
    assert_eq!(proof["ok"], true, "{proof:#}");
    world.org.stop().await;
}

#[tokio::test]
async fn a_transaction_beyond_the_orgs_limit_goes_row_by_row_and_says_so() {
    let world = World::new(BILLING, |text| {
        text.replace("ordering: transaction               #", "ordering: transaction\n    too_large: by_key    #")
    })
    .await;
    world.settle().await;
    world
        .sql(
            "begin;
              insert into billing.invoice values ('L-1', '2026-03-31', 600);
              insert into billing.invoice_line select 100 + n, 'L-1', 'Bolt', 1 from generate_series(1, 600) n;
              commit",
        )
        .await;
    world.settle().await;
    assert_eq!(world.org.records("Invoice_Line__c").len(), 602);
    let told = world.done(&["trace", "L-1", "--json"]).await;
    assert!(told.to_string().contains("PS5542"), "{told:#}");
    world.org.stop().await;
}
