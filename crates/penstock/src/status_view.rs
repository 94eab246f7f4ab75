//! A running pipeline's state as one JSON object, for `/api/v1/status`, `penstock status` and the progress line.
//!
//! ```text
//! {pipeline, pid, uptime_s,
//!  sources: [{name, connected, changes, received_lsn, confirmed_lsn, confirmed_position, lag_bytes, retained_bytes,
//!             newest_commit_ms, reconnects, last_error, tables: [{table, phase, rows_done, rows_estimated}]}],
//!  routes:  [{the engine's fields, lag_records}],
//!  quota:   {org: the governor's status},
//!  streams: [{stream, bytes, bytes_max, overflow, level, source_waits}]}  those with a limit
//! ```

use crate::http::Shown;
use contract::{Clock, Log, SourceStatus, TablePhase};
use model::{OrgId, PipelineId, SourceId};
use parking_lot::Mutex;
use pipeline::engine::EngineHandle;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long positions may stand still while there is work before the pipeline counts as not ready.
const STILL_MAX: Duration = Duration::from_secs(60);

/// Everything that a running pipeline can tell of itself.
pub struct StatusView {
    pub pipeline: PipelineId,
    pub clock: Arc<dyn Clock>,
    pub log: Arc<dyn Log>,
    pub sources: Vec<(SourceId, watch::Receiver<SourceStatus>)>,
    pub orgs: Vec<OrgId>,
    pub engine: EngineHandle,
    started: Duration,
    progress: Mutex<Progress>,
}

/// When positions last moved.
#[derive(Default)]
struct Progress {
    settled: u64,
    at: Duration,
}

impl StatusView {
    /// Makes a view of a pipeline that starts now.
    pub fn new(
        pipeline: PipelineId,
        clock: Arc<dyn Clock>,
        log: Arc<dyn Log>,
        sources: Vec<(SourceId, watch::Receiver<SourceStatus>)>,
        (orgs, engine): (Vec<OrgId>, EngineHandle),
    ) -> Self {
        let started = clock.monotonic();
        let progress = Mutex::new(Progress { settled: 0, at: started });
        Self { pipeline, clock, log, sources, orgs, engine, started, progress }
    }

    /// True when every source's tables are copied and confirmed up to `lsn`, and every route has settled all that is in its stream.
    pub fn is_settled(&self, reached: impl Fn(&SourceId, &SourceStatus) -> bool) -> bool {
        let sources = self.sources.iter().all(|(id, status)| {
            let status = status.borrow();
            status.connected
                && status.tables.iter().all(|(_, phase)| matches!(phase, TablePhase::Done { .. }))
                && reached(id, &status)
        });
        sources && self.lags().iter().all(|lag| *lag == 0)
    }

    /// Records between each route's lowest unsettled one and its stream's durable end.
    fn lags(&self) -> Vec<u64> {
        let status = self.engine.status();
        let lag = |route: &pipeline::engine::RouteStatus| {
            let end = self.log.bounds(&route.stream).map_or(route.end_offset, |bounds| bounds.durable);
            end.0.saturating_sub(route.settled_offset.0)
        };
        status.routes.iter().map(lag).collect()
    }

    /// The object described at the head of this module.
    pub fn to_json(&self) -> Value {
        let sources: Vec<Value> = self.sources.iter().map(|(id, status)| source_json(id, &status.borrow())).collect();
        let status = self.engine.status();
        let mut routes = serde_json::to_value(&status.routes).unwrap_or_default();
        for (route, lag) in routes.as_array_mut().into_iter().flatten().zip(self.lags()) {
            route["lag_records"] = json!(lag);
        }
        let quota: serde_json::Map<String, Value> =
            self.orgs.iter().map(|org| (org.to_string(), json!(self.engine.quota(org)))).collect();
        json!({
            "pipeline": self.pipeline.as_str(),
            "pid": std::process::id(),
            "uptime_s": (self.clock.monotonic() - self.started).as_secs(),
            "log_trouble": status.log_trouble,
            "sources": sources,
            "routes": routes,
            "quota": quota,
            "streams": self.engine.status().streams,
        })
    }

    /// The streams that are full, so that their sources wait.
    pub fn waiting_streams(&self) -> Vec<String> {
        let streams = self.engine.status().streams.into_iter().filter(|fill| fill.source_waits);
        streams.map(|fill| fill.stream.to_string()).collect()
    }

    fn standstill(&self) -> Option<String> {
        if let Some((id, status)) = self.sources.iter().find(|(_, status)| !status.borrow().connected) {
            let error = status.borrow().last_error.clone().unwrap_or_else(|| "no connection yet".into());
            return Some(format!("source {id} is not connected: {error}"));
        }
        let status = self.engine.status();
        let settled = status.routes.iter().map(|route| route.settled_offset.0).sum();
        let work = self.lags().iter().sum::<u64>();
        let now = self.clock.monotonic();
        let mut progress = self.progress.lock();
        if settled != progress.settled || work == 0 {
            *progress = Progress { settled, at: now };
        }
        let still = now.saturating_sub(progress.at);
        (still > STILL_MAX).then(|| {
            let why = status.routes.iter().find_map(|route| route.paused.clone().or_else(|| route.last_error.clone()));
            format!("{work} records wait and none was settled for {} s: {}", still.as_secs(), why.unwrap_or_default())
        })
    }
}

impl Shown for StatusView {
    fn status(&self) -> Value {
        self.to_json()
    }

    fn ready(&self) -> Result<(), String> {
        self.standstill().map_or(Ok(()), Err)
    }
}

fn source_json(id: &SourceId, status: &SourceStatus) -> Value {
    let tables: Vec<Value> = status
        .tables
        .iter()
        .map(|(table, phase)| match phase {
            TablePhase::Waiting => json!({"table": table.to_string(), "phase": "waiting"}),
            TablePhase::Copying { rows_done, rows_estimated } => json!({
                "table": table.to_string(), "phase": "copying", "rows_done": rows_done, "rows_estimated": rows_estimated,
            }),
            TablePhase::Done { rows } => json!({"table": table.to_string(), "phase": "done", "rows_done": rows}),
        })
        .collect();
    json!({
        "name": id.as_str(),
        "connected": status.connected,
        "changes": status.changes,
        "received_lsn": status.received_lsn.to_string(),
        "confirmed_lsn": status.confirmed_lsn.to_string(),
        "confirmed_position": status.confirmed_lsn.0,
        "lag_bytes": status.lag_bytes,
        "retained_bytes": status.retained_bytes,
        "newest_commit_ms": status.newest_commit_ms,
        "reconnects": status.reconnects,
        "last_error": status.last_error,
        "tables": tables,
    })
}
