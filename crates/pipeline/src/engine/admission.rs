//! Lets snapshot chunks in only as fast as the routes take them.

use super::status::EngineStatus;
use async_trait::async_trait;
use contract::{Admission, Log};
use model::{StreamPartition, TableName};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Records of a table's routes that may be unread, ready or in flight before another chunk is admitted: some four
/// chunks, so that sending never pauses for want of records, and a live change of a row just copied has little in front of it.
/// Where rows may go by jobs, as many more as the jobs take.
pub const BACKLOG_MAX: u64 = 8_000;

/// Watches the routes' positions.
pub struct EngineAdmission {
    log: Arc<dyn Log>,
    status: watch::Receiver<EngineStatus>,
    backlog_max: u64,
    streams: BTreeMap<TableName, Vec<StreamPartition>>,
}

impl EngineAdmission {
    pub(super) fn new(log: Arc<dyn Log>, status: watch::Receiver<EngineStatus>, backlog_max: u64) -> Self {
        let mut streams: BTreeMap<TableName, Vec<StreamPartition>> = BTreeMap::new();
        for route in &status.borrow().routes {
            streams.entry(route.table.clone()).or_default().push(route.stream.clone());
        }
        Self { log, status, backlog_max, streams }
    }

    /// How far the largest backlog of the routes that read the table's streams (they all read past its records) is above what
    /// it may be.
    fn surplus(&self, table: &TableName, status: &EngineStatus) -> u64 {
        let Some(streams) = self.streams.get(table) else { return 0 };
        let routes = status.routes.iter().filter(|route| streams.contains(&route.stream));
        let backlogs = routes.map(|route| {
            let end = self.log.bounds(&route.stream).map_or(route.end_offset, |bounds| bounds.durable);
            // Rows that wait are left out: some wait for parents that only the copy brings, and must not hold it up.
            let on_its_way = route.lanes.iter().map(|lane| (lane.ready + lane.in_flight) as u64).sum::<u64>();
            let taken = self.backlog_max + route.job_rows_max;
            (end.0.saturating_sub(route.read_offset.0) + on_its_way + 1).saturating_sub(taken)
        });
        backlogs.max().unwrap_or(0)
    }
}

#[async_trait]
impl Admission for EngineAdmission {
    async fn admit(&self, table: &TableName, _rows: u64) {
        let mut status = self.status.clone();
        loop {
            let surplus = self.surplus(table, &status.borrow_and_update());
            // An engine that has ended admits: its source is being stopped as well, and must not hang.
            if surplus == 0 || status.changed().await.is_err() {
                return;
            }
        }
    }
}
