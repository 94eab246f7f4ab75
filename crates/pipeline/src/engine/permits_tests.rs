//! Several processes, each with a connection of its own to one SQLite file, spend of one org until nothing is left.

use super::permits::Permits;
use super::quota_ledger::QuotaLedger;
use contract::{Spend, SystemClock};
use governor::{AllocationSpec, GovernorConfig, Permille};
use model::{Lane, RouteId};
use state_store::StateStore;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MAX: u64 = 600;

fn config() -> GovernorConfig {
    let mut allocations = AllocationSpec::all();
    allocations.truncate(2);
    allocations.iter_mut().for_each(|row| row.assumed_max = MAX);
    GovernorConfig { allocations, share: Permille(1000), burst: Permille(1000), ahead: 20, ..GovernorConfig::default() }
}

/// Opens as a new process would: with a connection of its own.
async fn open(path: &Path, member: usize) -> Permits {
    let store = Arc::new(StateStore::open(path).expect("the file opens"));
    let ledger = QuotaLedger { store, org: "acme.my.salesforce.com".into(), member: member.to_string() };
    Permits::open(ledger, Some(config()), Arc::new(SystemClock::new())).await.expect("the ledger opens")
}

/// Spends until it is refused for good; returns what it was granted of both allocations. Dies and starts anew every so often.
async fn spend(path: &Path, member: usize, dies_after: Option<u64>) -> [u64; 2] {
    let route = RouteId::new("requests");
    let (mut permits, mut granted, mut since) = (open(path, member).await, [0, 0], 0);
    loop {
        let calls = 1 + (granted[0] % 5) as u32;
        let cost = Spend { calls, bulk_batches: u32::from(member == 0), events: 0 };
        match permits.ask(Lane::Critical, &route, cost, Some(Duration::ZERO), false) {
            Ok(pass) => {
                pass.finish(cost);
                granted[0] += u64::from(cost.calls);
                granted[1] += u64::from(cost.bulk_batches);
                since += 1;
                if dies_after == Some(since) {
                    since = 0;
                    permits = open(path, member).await;
                }
            }
            Err(wait) if !wait.worth_telling => permits.store().await.expect("stored"),
            Err(_) if permits.status().expect("governed").allocations[0].left >= u64::from(calls) => {}
            Err(_) => return granted,
        }
    }
}

fn race(processes: usize, dies_after: Option<u64>) -> ([u64; 2], u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("quota.db");
    let (calls, batches) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for member in 0..processes {
            let (path, calls, batches) = (&path, &calls, &batches);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let [granted, of_batches] = runtime.block_on(spend(path, member, dies_after));
                calls.fetch_add(granted, Ordering::Relaxed);
                batches.fetch_add(of_batches, Ordering::Relaxed);
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Who looks later sees everything that was spent.
    let seen = runtime.block_on(async {
        let row = open(&path, processes).await.status().expect("governed").allocations[0].clone();
        row.spent + row.siblings.iter().map(|sibling| sibling.spent + sibling.reserved).sum::<u64>()
    });
    ([calls.into_inner(), batches.into_inner()], seen)
}

#[test]
fn processes_on_one_file_never_overspend_together_and_waste_little() {
    let ([calls, batches], seen) = race(4, None);
    assert!(calls <= MAX && batches <= MAX, "{calls} calls and {batches} batches of {MAX}");
    assert!(calls >= MAX * 9 / 10, "{calls} of {MAX}: leases must not lock away what others need");
    assert!(seen >= calls, "{seen} are known of {calls}");
}

#[test]
fn processes_that_die_on_one_file_never_overspend_together() {
    let ([calls, batches], seen) = race(3, Some(17));
    assert!(calls <= MAX && batches <= MAX, "{calls} calls and {batches} batches of {MAX}");
    assert!(calls >= MAX / 2, "{calls} of {MAX}");
    assert!(seen >= calls, "{seen} are known of {calls}");
}
