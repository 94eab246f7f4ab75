//! An org, a log and an engine between them.

use crate::bench::window::stage::{Running, Stage, route as bench_route};
use anyhow::{Context, Result};
use connector_salesforce::{Auth, SalesforceConfig, SalesforceSink, Secret};
use contract::{Clock, SystemClock};
use org_sim::{LatencyModel, OrgConfig, OrgSim, RunningOrg};
use pipeline::router::ApiSetting;
use pipeline::spec::{LaneSpec, RouteSpec};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Calls in flight: the same for every writer that is compared.
pub const CALLS: usize = 20;
/// Jobs at a time: the realistic profile works five internal batches of one job at once, and thirty in all.
pub const JOBS: usize = 10;

/// What one measurement works with.
pub struct Bench {
    pub org: RunningOrg,
    pub stage: Stage,
    /// Dropped last.
    _folder: tempfile::TempDir,
}

impl Bench {
    /// Starts an org with this profile and an empty log.
    pub async fn start(latency: LatencyModel) -> Result<Self> {
        let config = OrgConfig { seed: 1, latency, daily_api_requests_max: Some(1_000_000), ..OrgConfig::default() };
        let org = OrgSim::start(config).await?;
        org.add_objects(&org_sim::parse_objects(include_str!("order.yaml"), "order.yaml")?)?;
        let folder = tempfile::tempdir()?;
        let stage = Stage::open(folder.path()).await?;
        Ok(Self { org, stage, _folder: folder })
    }

    /// Appends records `[from, to)`, each of a key of its own.
    pub async fn append(&self, range: (u64, u64), lane: &str) -> Result<()> {
        self.stage.append(range, lane, |n| n).await.map(|_| ())
    }

    /// Starts the engine.
    pub fn engine(&self, route: RouteSpec) -> Result<Running> {
        let sink = sink(&self.org, Arc::new(SystemClock::new()))?;
        Ok(self.stage.start(route, Arc::new(sink)))
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.stage.clock.now_ms()
    }

    /// Milliseconds from each time of sending to the org's first effect, for the keys that are there.
    pub fn applied_after(&self, sent: &HashMap<String, i64>) -> Vec<f64> {
        let mut found: HashMap<&str, f64> = HashMap::new();
        let history = self.org.history();
        for entry in &history {
            if let Some((key, at_ms)) = entry.external_id.as_deref().and_then(|key| sent.get_key_value(key)) {
                found.entry(key).or_insert((entry.at - at_ms).max(0) as f64);
            }
        }
        found.into_values().collect()
    }

    /// Seconds by the stage's clock.
    pub fn now(&self) -> Duration {
        self.stage.clock.monotonic()
    }
}

/// A sink of the org.
pub fn sink(org: &RunningOrg, clock: Arc<dyn Clock>) -> Result<SalesforceSink> {
    let credentials = org.credentials();
    let auth = Auth::ClientCredentials {
        client_id: credentials.client_id,
        client_secret: Secret::new(credentials.client_secret),
    };
    let mut config = SalesforceConfig::new(org.url(), "62.0", auth);
    config.in_flight_max = CALLS + JOBS;
    config.bulk.jobs_max = JOBS;
    // On a clock that is moved, hours pass while nothing is under way.
    config.request_timeout = Duration::from_secs(600);
    SalesforceSink::new(&config, clock).context("the sink")
}

/// The route: lane by the record's own word.
pub fn route(api: ApiSetting, rows_max: usize) -> RouteSpec {
    let mut route = bench_route(LaneSpec::Cel("priority".into()));
    route.api = api;
    route.batch.rows_max = rows_max;
    route.parallel = CALLS;
    route.deadline = Duration::from_secs(300);
    route
}
