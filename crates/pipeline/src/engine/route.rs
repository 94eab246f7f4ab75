//! What the tasks of the engine share about a route and an org.

use super::error::{EngineError, Findings};
use super::gate::{CallEnd, Gate, GatePass};
use super::permits::Permits;
use crate::breaker::BreakerConfig;
use crate::event::KeyPlan;
use crate::mapping::Mapper;
use crate::router::{ApiSetting, Paces, RouterSpec};
use crate::spec::RouteSpec;
use contract::{Sink, SinkLimits};
use model::{Api, Finding, Lane, OrgId};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// An org: its sink, its governor, and how many batches it has in hand.
pub struct Org {
    pub id: OrgId,
    pub sink: Arc<dyn Sink>,
    pub permits: Permits,
    /// Refused credentials and breakers.
    pub gate: Arc<Gate>,
    /// How long its APIs take.
    pub paces: Mutex<Paces>,
    in_flight: AtomicUsize,
    jobs: AtomicUsize,
    /// False while leftovers of an earlier process are looked for.
    jobs_allowed: AtomicBool,
    /// Changes when a batch that could not go before may be able to go now.
    freed: watch::Sender<u64>,
}

impl Org {
    /// Makes an org with nothing in flight.
    pub fn new(id: OrgId, sink: Arc<dyn Sink>, permits: Permits, breaker: BreakerConfig) -> Self {
        let gate = Gate::new(id.clone(), breaker);
        Self {
            id,
            sink,
            permits,
            gate,
            paces: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            jobs: AtomicUsize::new(0),
            jobs_allowed: AtomicBool::new(true),
            freed: watch::Sender::new(0),
        }
    }

    /// Takes in what came along with answers, and what the sink spent without leave.
    pub fn take_figures(&self) {
        self.permits.note_spent(self.sink.take_unpaid());
        self.permits.observe(self.sink.take_readings());
    }

    /// Changes when a place or a permit may be had again.
    pub fn freed(&self) -> watch::Receiver<u64> {
        self.freed.subscribe()
    }

    /// Says that whoever waits may try again.
    pub fn wake(&self) {
        self.freed.send_modify(|turn| *turn = turn.wrapping_add(1));
    }

    /// Takes a place for a batch; `None` when the org has as many in hand as it takes of this lane.
    ///
    /// A lower lane leaves a place for each higher one, so that a critical batch never queues behind bulk ones; with fewer than
    /// three places all share what there is.
    pub fn enter(self: &Arc<Self>, lane: Lane) -> Option<OrgPlace> {
        let places = self.sink.limits(Api::Collections).map_or(1, |limits| limits.in_flight_max.max(1));
        let places = if places < Lane::ALL.len() { places } else { places - lane as usize };
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now < places).then_some(now + 1))
            .is_ok()
            .then(|| OrgPlace { org: self.clone(), job: false, pass: None })
    }

    /// Says whether jobs may be made.
    pub fn allow_jobs(&self, allowed: bool) {
        self.jobs_allowed.store(allowed, Ordering::Release);
        self.wake();
    }

    /// Takes a place for a job, which is no call in flight while the target works on it.
    pub fn enter_job(self: &Arc<Self>) -> Option<OrgPlace> {
        let allowed = self.jobs_allowed.load(Ordering::Acquire);
        let places = if allowed { self.sink.limits(Api::Bulk)?.in_flight_max.max(1) } else { 0 };
        self.jobs
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now < places).then_some(now + 1))
            .is_ok()
            .then(|| OrgPlace { org: self.clone(), job: true, pass: None })
    }

    /// Takes in how a call ended, and wakes whoever waits when more may be sent now.
    pub fn report(&self, api: Api, end: CallEnd, now: Duration) {
        if self.gate.report(api, end, now) {
            self.wake();
        }
    }
}

/// A place among an org's batches in flight, or its jobs; free again when it is dropped.
pub struct OrgPlace {
    org: Arc<Org>,
    job: bool,
    /// The gate's leave, while there is one: its place is free before the org's waiters are woken.
    pass: Option<GatePass>,
}

impl OrgPlace {
    /// Keeps the gate's leave for as long as the place.
    pub fn with(mut self, pass: GatePass) -> Self {
        self.pass = Some(pass);
        self
    }
}

impl Drop for OrgPlace {
    fn drop(&mut self) {
        self.pass = None;
        let places = if self.job { &self.org.jobs } else { &self.org.in_flight };
        places.fetch_sub(1, Ordering::AcqRel);
        self.org.wake();
    }
}

/// A route as its tasks see it.
pub struct Route {
    /// Its place in the pipeline's specification.
    pub index: usize,
    pub spec: RouteSpec,
    pub keys: KeyPlan,
    pub org: Arc<Org>,
    pub router: RouterSpec,
    mapper: RwLock<Arc<Mapper>>,
    /// True once writes of its rows are known to lock their parents.
    locks: AtomicBool,
}

impl Route {
    /// Describes the target's objects and compiles the route.
    ///
    /// # Errors
    /// `Plan` with every finding; `Sink` when an object cannot be described.
    pub async fn compile(
        index: usize,
        spec: &RouteSpec,
        router: &RouterSpec,
        org: Arc<Org>,
    ) -> Result<Self, EngineError> {
        let (mapper, described) = compile(spec, &*org.sink).await?;
        has_way(spec, &*org.sink)?;
        let said = |locks| spec.references.iter().any(|reference| reference.locks == Some(locks));
        let locks = AtomicBool::new(said(true) || (described && !said(false)));
        let mapper = RwLock::new(Arc::new(mapper));
        let (spec, router) = (spec.clone(), router.clone());
        Ok(Self { index, keys: KeyPlan::compile(&spec), spec, org, router, mapper, locks })
    }

    /// The mapper as it is now.
    pub fn mapper(&self) -> Arc<Mapper> {
        self.mapper.read().clone()
    }

    /// True when no two batches may share a parent.
    pub fn locks_parents(&self) -> bool {
        self.locks.load(Ordering::Relaxed)
    }

    /// A row met a lock: from now on no two batches share a parent, unless the configuration says that they may.
    pub fn learn_lock(&self) {
        let may = !self.spec.references.is_empty()
            && self.spec.references.iter().all(|reference| reference.locks != Some(false));
        if may && !self.locks.swap(true, Ordering::Relaxed) {
            tracing::info!(route = %self.spec.id, "its writes lock their parents: rows of one parent go one batch after the other");
        }
    }

    /// Forgets what is known of the target's object and compiles anew.
    ///
    /// # Errors
    /// As `compile`; the old mapper stays.
    pub async fn recompile(&self) -> Result<(), EngineError> {
        self.org.sink.forget(&self.spec.object);
        let (mapper, _) = compile(&self.spec, &*self.org.sink).await?;
        *self.mapper.write() = Arc::new(mapper);
        Ok(())
    }

    /// Limits of one batch: the route's and the sink's; none when the sink does not have this way.
    pub fn limits(&self, api: Api) -> Option<SinkLimits> {
        let limits = self.org.sink.limits(api)?;
        let (rows_max, bytes_max) = match api {
            Api::Bulk => (self.router.bulk_rows_max, self.router.bulk_bytes_max),
            _ => (self.spec.batch.rows_max, self.spec.batch.bytes_max),
        };
        Some(SinkLimits {
            rows_max: rows_max.min(limits.rows_max).max(1),
            bytes_max: bytes_max.min(limits.bytes_max).max(1),
            in_flight_max: limits.in_flight_max.max(1),
        })
    }

    /// True when the target is a platform event.
    pub fn is_event(&self) -> bool {
        self.spec.object.as_str().to_ascii_lowercase().ends_with("__e")
    }

    /// The API that the route says, else the one that takes rows of any kind.
    pub fn pinned_api(&self) -> Api {
        match self.spec.api {
            ApiSetting::Only(api) => api,
            ApiSetting::Auto => self.single_api(),
        }
    }

    /// The API of rows that go alone, or in small company.
    pub fn single_api(&self) -> Api {
        match self.spec.api {
            ApiSetting::Only(api) if api != Api::Bulk => api,
            _ if self.is_event() => Api::Event,
            _ => Api::Collections,
        }
    }

    /// Why the way of the route's rows is closed, when it is: the one that it says, else that of rows of any kind.
    pub fn closed(&self, now: Duration) -> Option<String> {
        let (api, gate) = (self.pinned_api(), &self.org.gate);
        let reason = gate.reason(api, now)?;
        let other_way =
            api == Api::Event && self.limits(Api::PubSub).is_some() && gate.reason(Api::PubSub, now).is_none();
        (!other_way).then_some(reason)
    }

    /// True when the router may choose a job for the route's rows.
    pub fn may_go_by_job(&self) -> bool {
        let may = match self.spec.api {
            ApiSetting::Only(api) => api == Api::Bulk,
            ApiSetting::Auto => self.spec.ordering != crate::spec::Ordering::Fifo,
        };
        may && self.org.sink.limits(Api::Bulk).is_some()
    }
}

/// Refuses a route whose `api` the target does not have: it would wait for ever.
fn has_way(spec: &RouteSpec, sink: &dyn Sink) -> Result<(), EngineError> {
    let ApiSetting::Only(api) = spec.api else { return Ok(()) };
    let ways = if api == Api::Event { vec![Api::Event, Api::PubSub] } else { vec![api] };
    if ways.iter().any(|api| sink.limits(*api).is_some()) {
        return Ok(());
    }
    let cause = format!("the org does not take rows by {api}");
    let finding = Finding::error("PS5220", format!("route {}: api", spec.id), cause, "write api: auto, or another one");
    Err(EngineError::Plan { route: spec.id.clone(), findings: Findings(vec![finding]) })
}

/// The mapper, and whether the target says that the rows' parents are locked with them.
async fn compile(spec: &RouteSpec, sink: &dyn Sink) -> Result<(Mapper, bool), EngineError> {
    let object = sink.describe(&spec.object).await?;
    let mut parents = Vec::new();
    for reference in &spec.references {
        parents.push(sink.describe(&reference.object).await?);
    }
    let mapper = Mapper::compile(spec, &object, &parents)
        .map_err(|findings| EngineError::Plan { route: spec.id.clone(), findings: Findings(findings) })?;
    let owned = |name: &str| object.field(name).is_some_and(|field| field.master_detail);
    let locks = mapper.columns().iter().any(|column| column.reference.is_some() && owned(&column.field));
    Ok((mapper, locks))
}
