//! The same with the real log and the real state store, and how fast it is.

use super::memory::Life;
use super::target::Target;
use super::target::TargetSink;
use super::world::*;
use contract::{Clock, CrashPoints, Log, StateStore, StreamSpec, SystemClock};
use log_store::{LogOptions, LogStore};
use model::{Offset, RecordBatchBuilder};
use pipeline::engine::{Engine, EngineParts, OrgParts};
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

async fn run(folder: &Path, target: &Arc<Target>, changes: &[Change]) -> Offset {
    let clock = Arc::new(SystemClock::new());
    let log = Arc::new(LogStore::open(&folder.join("log"), LogOptions::default(), clock.clone()).unwrap());
    let state = Arc::new(state_store::StateStore::open(&folder.join("state.db")).unwrap());
    log.create_stream(&"s".into(), StreamSpec::default()).await.unwrap();
    let mut end = log.bounds(&stream()).unwrap().durable;
    if !changes.is_empty() {
        let mut batch = RecordBatchBuilder::default();
        for change in changes {
            change.push(&mut batch, clock.now_ms());
        }
        let appended = log.append(&stream(), batch.finish(), None).await.unwrap();
        log.until_durable(&stream(), appended.accepted()).await.unwrap();
        end = appended.end;
    }
    let sink = Arc::new(TargetSink { target: target.clone(), life: Life::new() });
    let parts = EngineParts {
        log: log.clone() as Arc<dyn Log>,
        state: state.clone() as Arc<dyn StateStore>,
        orgs: [("org".into(), OrgParts { sink, governor: None, breaker: Default::default(), ledger: None })].into(),
        clock,
        crash: CrashPoints::default(),
        seed: 1,
    };
    let engine = Engine::new(spec(vec![item()]), parts);
    let (handle, stop) = (engine.handle(), CancellationToken::new());
    let running = tokio::spawn(engine.run(stop.clone()));
    let mut watch = handle.watch();
    watch.wait_for(|status| status.routes[0].settled_offset >= end).await.unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
    log.close();
    state.close();
    end
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_from_the_real_log_to_the_target_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::new();
    let mut all = Vec::new();
    for round in 0..3 {
        let changes: Vec<_> = (0..500).map(|id| write(id % 50, round * 500 + id)).collect();
        run(folder.path(), &target, &changes).await;
        all.extend(changes);
    }
    run(folder.path(), &target, &[]).await;
    assert_in_order(&target, "Item__c", &all);
}
