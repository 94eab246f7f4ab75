//! What the tasks of the engine share about a route and an org.

use super::error::{EngineError, Findings};
use super::gate::{CallEnd, Gate, GatePass};
use super::permits::Permits;
use crate::breaker::BreakerConfig;
use crate::event::KeyPlan;
use crate::mapping::Mapper;
use crate::spec::RouteSpec;
use contract::{Sink, SinkLimits};
use model::{Api, Lane, OrgId};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// An org: its sink, its governor, and how many batches it has in hand.
pub struct Org {
    pub id: OrgId,
    pub sink: Arc<dyn Sink>,
    pub permits: Permits,
    /// Refused credentials and breakers.
    pub gate: Arc<Gate>,
    in_flight: AtomicUsize,
    /// Changes when a batch that could not go before may be able to go now.
    freed: watch::Sender<u64>,
}

impl Org {
    /// Makes an org with nothing in flight.
    pub fn new(id: OrgId, sink: Arc<dyn Sink>, permits: Permits, breaker: BreakerConfig) -> Self {
        let gate = Gate::new(id.clone(), breaker);
        Self { id, sink, permits, gate, in_flight: AtomicUsize::new(0), freed: watch::Sender::new(0) }
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
            .then(|| OrgPlace { org: self.clone(), pass: None })
    }

    /// Takes in how a call ended, and wakes whoever waits when more may be sent now.
    pub fn report(&self, api: Api, end: CallEnd, now: Duration) {
        if self.gate.report(api, end, now) {
            self.wake();
        }
    }
}

/// A place among an org's batches in flight; free again when it is dropped.
pub struct OrgPlace {
    org: Arc<Org>,
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
        self.org.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.org.wake();
    }
}

/// What a way that a sink does not have takes.
const NO_WAY: SinkLimits = SinkLimits { rows_max: 1, bytes_max: 1, in_flight_max: 1 };

/// A route as its tasks see it.
pub struct Route {
    /// Its place in the pipeline's specification.
    pub index: usize,
    pub spec: RouteSpec,
    pub keys: KeyPlan,
    pub org: Arc<Org>,
    mapper: RwLock<Arc<Mapper>>,
}

impl Route {
    /// Describes the target's objects and compiles the route.
    ///
    /// # Errors
    /// `Plan` with every finding; `Sink` when an object cannot be described.
    pub async fn compile(index: usize, spec: &RouteSpec, org: Arc<Org>) -> Result<Self, EngineError> {
        let mapper = compile(spec, &*org.sink).await?;
        Ok(Self { index, spec: spec.clone(), keys: KeyPlan::compile(spec), org, mapper: RwLock::new(Arc::new(mapper)) })
    }

    /// The mapper as it is now.
    pub fn mapper(&self) -> Arc<Mapper> {
        self.mapper.read().clone()
    }

    /// Forgets what is known of the target's object and compiles anew.
    ///
    /// # Errors
    /// As `compile`; the old mapper stays.
    pub async fn recompile(&self) -> Result<(), EngineError> {
        self.org.sink.forget(&self.spec.object);
        let mapper = compile(&self.spec, &*self.org.sink).await?;
        *self.mapper.write() = Arc::new(mapper);
        Ok(())
    }

    /// Limits of one batch: the route's and the sink's.
    pub fn limits(&self) -> SinkLimits {
        let limits = self.org.sink.limits(Api::Collections).unwrap_or(NO_WAY);
        SinkLimits {
            rows_max: self.spec.batch.rows_max.min(limits.rows_max).max(1),
            bytes_max: self.spec.batch.bytes_max.min(limits.bytes_max).max(1),
            in_flight_max: limits.in_flight_max.max(1),
        }
    }
}

async fn compile(spec: &RouteSpec, sink: &dyn Sink) -> Result<Mapper, EngineError> {
    let object = sink.describe(&spec.object).await?;
    let mut parents = Vec::new();
    for reference in &spec.references {
        parents.push(sink.describe(&reference.object).await?);
    }
    Mapper::compile(spec, &object, &parents)
        .map_err(|findings| EngineError::Plan { route: spec.id.clone(), findings: Findings(findings) })
}
