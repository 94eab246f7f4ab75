//! Which way a batch goes and what it costs: asked of the parts that decide it in a run.

use super::facts::{AllocationKind, OrgFacts, RouteFacts};
use super::report::Work;
use crate::engine::BACKLOG_MAX;
use crate::router::{ApiSetting, Choice, Left, Paces, Question, RouterSpec, Way, choose};
use crate::spec::{Operation, Ordering};
use contract::{OutOp, Sink, SinkLimits, Spend};
use model::{Api, Lane};
use std::time::Duration;

/// The ways of one route, as the engine would offer them to the router.
pub struct Ways<'a> {
    route: &'a RouteFacts,
    org: Option<&'a OrgFacts>,
    sink: Option<&'a dyn Sink>,
    router: &'a RouterSpec,
    paces: Paces,
}

/// A way that was chosen.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub api: Api,
    /// Rows of a full batch or job.
    pub rows: u64,
    pub reason: String,
}

impl<'a> Ways<'a> {
    /// The ways of a route to an org; without a sink there is none.
    pub fn new(
        route: &'a RouteFacts,
        org: Option<&'a OrgFacts>,
        sink: Option<&'a dyn Sink>,
        router: &'a RouterSpec,
    ) -> Self {
        Self { route, org, sink, router, paces: Paces::default() }
    }

    /// The router's choice when so many rows are ready; none: nothing takes them.
    pub(super) fn choose(&self, op: OutOp, lane: Lane, ready: u64) -> Option<Chosen> {
        let ways: Vec<Way> = Api::ALL.into_iter().filter_map(|api| self.way(api, op)).collect();
        let rows = usize::try_from(ready).unwrap_or(usize::MAX);
        let Choice { api, reason, .. } = choose(&Question {
            setting: self.route.setting,
            rules: &self.router.rules,
            bulk_from: self.router.bulk_from,
            table: &self.route.table,
            operation: operation(op),
            events: self.is_event(),
            lane,
            rows,
            time_left: self.route.deadline,
            ways: &ways,
            left: self.left(),
        })?;
        let rows = ways.iter().find(|way| way.api == api)?.rows_max as u64;
        let rows = if self.route.ordering == Ordering::Fifo { 1 } else { rows };
        Some(Chosen { api, rows, reason })
    }

    /// As the engine offers it (`engine::routing`).
    fn way(&self, api: Api, op: OutOp) -> Option<Way> {
        if api == Api::Bulk && !self.may_go_by_job() {
            return None;
        }
        let limits = self.limits(api)?;
        let by_bytes = limits.bytes_max / usize::try_from(self.route.record_bytes).unwrap_or(usize::MAX).max(1);
        let rows_max = limits.rows_max.min(by_bytes).max(1);
        let parallel = if api == Api::Bulk { limits.in_flight_max } else { self.route.parallel.max(1) };
        let cost = self.sink?.cost(api, op, rows_max);
        Some(Way { api, rows_max, parallel: parallel.min(limits.in_flight_max), pace: self.paces.of(api), cost })
    }

    fn limits(&self, api: Api) -> Option<SinkLimits> {
        let limits = self.sink?.limits(api)?;
        let (rows_max, bytes_max) = match api {
            Api::Bulk => (self.router.bulk_rows_max, self.router.bulk_bytes_max),
            _ => (self.route.batch.rows_max, self.route.batch.bytes_max),
        };
        Some(SinkLimits {
            rows_max: rows_max.min(limits.rows_max).max(1),
            bytes_max: bytes_max.min(limits.bytes_max).max(1),
            in_flight_max: limits.in_flight_max.max(1),
        })
    }

    /// What may be spent at the start: the lanes' parts are the same of each allocation, so they do not matter to a comparison.
    fn left(&self) -> Left {
        let room = |kind| self.org.and_then(|org| org.allocation(kind)).map_or(u64::MAX, |row| row.room());
        Left {
            calls: room(AllocationKind::ApiRequests),
            bulk_batches: room(AllocationKind::BulkBatches),
            events: room(AllocationKind::EventsPublished),
        }
    }

    fn may_go_by_job(&self) -> bool {
        match self.route.setting {
            ApiSetting::Only(api) => api == Api::Bulk,
            ApiSetting::Auto => self.route.ordering != Ordering::Fifo,
        }
    }

    fn is_event(&self) -> bool {
        self.route.object.as_str().to_ascii_lowercase().ends_with("__e")
    }

    /// What a batch costs when nothing goes wrong.
    pub(super) fn spend(&self, api: Api, op: OutOp, rows: usize) -> Spend {
        self.sink.map_or_else(Spend::default, |sink| sink.typical_cost(api, op, rows))
    }

    /// What batches cost that are all alike; each event counts once, however the rows fall.
    pub(super) fn work(&self, records: f64, batches: f64, spend: Spend) -> Work {
        let work = Work::of(records, batches, spend);
        Work { events: if spend.events > 0 { records } else { 0.0 }, ..work }
    }

    /// Seconds of a call, and of each of its rows.
    pub(super) fn speed(&self, api: Api) -> (f64, f64) {
        const ROWS: usize = 1_000;
        let pace = self.paces.of(api);
        let base = pace.of(0).as_secs_f64();
        (base, ((pace.of(ROWS).as_secs_f64() - base) / ROWS as f64).max(0.0))
    }

    /// How long a batch takes.
    pub(super) fn time(&self, api: Api, rows: f64) -> Duration {
        let (base, per_row) = self.speed(api);
        Duration::from_secs_f64((base + per_row * rows.max(0.0)).min(1e9))
    }

    /// Batches in flight at once.
    pub(super) fn in_flight(&self, api: Api) -> f64 {
        let jobs = self.limits(api).map_or(1, |limits| limits.in_flight_max);
        if api == Api::Bulk {
            return jobs as f64;
        }
        let of_org = self.org.map_or(usize::MAX, |org| org.in_flight_max);
        self.route.parallel.min(of_org).min(jobs).max(1) as f64
    }

    /// Rows of a copy that are ready at once before more are let in (`engine::admission`).
    pub(super) fn waiting_max(&self) -> u64 {
        let jobs = match self.limits(Api::Bulk) {
            Some(limits) if self.may_go_by_job() => (limits.rows_max * limits.in_flight_max) as u64,
            _ => 0,
        };
        BACKLOG_MAX + jobs
    }
}

fn operation(op: OutOp) -> Operation {
    match op {
        OutOp::Create => Operation::Create,
        OutOp::Update => Operation::Update,
        OutOp::Upsert | OutOp::Delete => Operation::Upsert,
    }
}
