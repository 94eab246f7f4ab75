//! What tests of jobs share: a host, an org, faults by the job's calls.

use crate::org::{config, org_with};
use crate::stub::{accounts, row, sink, text};
use async_trait::async_trait;
use connector_salesforce::{SalesforceConfig, SalesforceSink};
use contract::{JobHost, OutBatch, OutOp, RowResult, SinkError, Spend};
use model::{Api as Way, BatchId, ErrorClass, ErrorCode};
use org_sim::{Api, BulkCall, Effect, FaultMatch, FaultRule, OrgConfig, RunningOrg};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// A host that keeps what it is told.
pub struct Host {
    pub noted: Mutex<Vec<(BatchId, String)>>,
    pub stop: watch::Sender<bool>,
    /// Asks for the stop as soon as a job is noted.
    pub stops_at_note: bool,
    pub refuses: bool,
    /// How often rows were said to be uploaded.
    pub uploads: AtomicUsize,
}

impl Host {
    pub fn new() -> Self {
        Self {
            noted: Mutex::default(),
            stop: watch::Sender::new(false),
            stops_at_note: false,
            refuses: false,
            uploads: AtomicUsize::new(0),
        }
    }

    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The job that was noted last.
    pub fn job(&self) -> Option<String> {
        self.noted.lock().unwrap().last().map(|(_, job)| job.clone())
    }

    pub fn jobs(&self) -> usize {
        self.noted.lock().unwrap().len()
    }
}

#[async_trait]
impl JobHost for Host {
    async fn note(&self, batch: BatchId, job: &str) -> Result<(), SinkError> {
        if self.stops_at_note {
            self.stop();
        }
        if self.refuses {
            return Err(SinkError {
                code: ErrorCode("PS3001"),
                class: ErrorClass::Transient,
                place: "note".into(),
                message: "the disk is full".into(),
                target_code: None,
                retry_after: None,
                spent: Spend::default(),
            });
        }
        self.noted.lock().unwrap().push((batch, job.to_owned()));
        Ok(())
    }

    fn uploaded(&self) {
        self.uploads.fetch_add(1, Ordering::Relaxed);
    }

    async fn stopping(&self) {
        let mut stop = self.stop.subscribe();
        let _never_dropped = stop.wait_for(|stop| *stop).await;
    }
}

/// A configuration whose jobs are looked at every few milliseconds.
pub fn quick(org: &RunningOrg) -> SalesforceConfig {
    let mut config = config(org);
    config.bulk.poll_min = Duration::from_millis(3);
    config.bulk.poll_max = Duration::from_millis(40);
    config
}

pub async fn start(change: impl FnOnce(&mut OrgConfig)) -> (RunningOrg, SalesforceSink) {
    let org = org_with(change).await;
    let sink = sink(&quick(&org));
    (org, sink)
}

/// Accounts `k0`, `k1`, … with a name.
pub fn many(op: OutOp, count: usize) -> OutBatch {
    let cells = |n: usize| if op == OutOp::Delete { vec![] } else { vec![text(&format!("name {n}"))] };
    OutBatch {
        api: Way::Bulk,
        rows: (0..count).map(|n| row(&format!("k{n}"), cells(n))).collect(),
        ..accounts(op, &["x"])
    }
}

/// A fault at one of a job's calls.
pub fn at(call: BulkCall, effect: Effect) -> FaultRule {
    let matches = FaultMatch { api: Some(Api::Bulk), bulk: Some(call), ..FaultMatch::default() };
    FaultRule::new(matches, effect).times(1)
}

/// A fault at a job's rows, work or results.
pub fn of_jobs(effect: Effect) -> FaultRule {
    FaultRule::new(FaultMatch { api: Some(Api::Bulk), ..FaultMatch::default() }, effect)
}

pub fn applied_rows(rows: &[RowResult]) -> usize {
    rows.iter().filter(|row| matches!(row, RowResult::Applied { .. })).count()
}

pub fn failed_rows(rows: &[RowResult], class: ErrorClass) -> usize {
    rows.iter().filter(|row| matches!(row, RowResult::Failed(error) if error.class == class)).count()
}

/// Waits until a rule has fired.
pub async fn fired(org: &RunningOrg, rule: u64) {
    while !org.faults().iter().any(|report| report.id == rule && report.fired > 0) {
        tokio::task::yield_now().await;
    }
}
