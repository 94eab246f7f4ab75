//! Putting the engine together, and running it.

use super::admission::{BACKLOG_MAX, EngineAdmission};
use super::dispatch::Carrier;
use super::error::EngineError;
use super::group::{Copying, Group, GroupStart, Shared, task_failed};
use super::leftovers::Leftovers;
use super::overflow::{Sheds, Watched, sheds, watch_sizes};
use super::permits::Permits;
use super::quota_ledger::QuotaLedger;
use super::reader::Reader;
use super::redrives::{Command, InHand};
use super::route::{Org, Route};
use super::route_run::RouteRun;
use super::status::{EngineStatus, RouteStatus};
use super::tasks::{CommandWays, keep_quota, read_allocations, retain, watch_commands};
use super::transactions::{Gather, Notes, ReadTransactions, UnitLimits};
use crate::breaker::BreakerConfig;
use crate::dlq::heal;
use crate::overflow::{BoundedLog, StreamLimit, Waiting};
use crate::recovery::{Recovered, Suspects, recover};
use crate::settle::{Journal, Settler, create_streams};
use crate::spec::{Ordering, PipelineSpec};
use crate::writes::{WriteLedger, WriteLedgerConfig};
use contract::{Clock, CrashPoints, Log, Sink, StateStore};
use governor::GovernorConfig;
use hashbrown::HashMap;
use model::{Api, Lane, Offset, OrgId, PipelineId};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// An org as the engine is given it.
pub struct OrgParts {
    pub sink: Arc<dyn Sink>,
    /// Without one nothing is counted and everything is granted.
    pub governor: Option<GovernorConfig>,
    pub breaker: BreakerConfig,
    /// The ledger that all who spend of the org's allocations share; none: the pipeline's own, in its state store.
    pub ledger: Option<QuotaLedger>,
}

/// What the engine works with.
pub struct EngineParts {
    pub log: Arc<dyn Log>,
    pub state: Arc<dyn StateStore>,
    pub orgs: std::collections::HashMap<OrgId, OrgParts>,
    pub clock: Arc<dyn Clock>,
    pub crash: CrashPoints,
    /// Seeds back-off jitter.
    pub seed: u64,
}

/// The engine before it runs.
pub struct Engine {
    spec: PipelineSpec,
    parts: EngineParts,
    status: Arc<watch::Sender<EngineStatus>>,
    permits: Arc<Mutex<HashMap<OrgId, Permits>>>,
    copying: Copying,
    waiting: Waiting,
    writes: WriteLedger,
}

/// Looks at a running engine. Cheap to clone; outlives it.
#[derive(Clone)]
pub struct EngineHandle {
    log: Arc<dyn Log>,
    status: watch::Receiver<EngineStatus>,
    permits: Arc<Mutex<HashMap<OrgId, Permits>>>,
    copying: Copying,
    clock: Arc<dyn Clock>,
    limits: Vec<StreamLimit>,
    waiting: Waiting,
    writes: WriteLedger,
}

impl EngineHandle {
    /// What was written to the orgs: tells the echo of our own write from somebody else's change.
    pub fn writes(&self) -> &WriteLedger {
        &self.writes
    }

    /// The newest state.
    pub fn status(&self) -> EngineStatus {
        self.status.borrow().clone()
    }

    /// The state, to wait on.
    pub fn watch(&self) -> watch::Receiver<EngineStatus> {
        self.status.clone()
    }

    /// An org's quota; none before the engine runs, or without a governor.
    pub fn quota(&self, org: &OrgId) -> Option<governor::Status> {
        self.permits.lock().get(org)?.status()
    }

    /// What a lane may spend of an org's allocations; none before the engine runs.
    pub fn outlook(&self, org: &OrgId, lane: Lane) -> Option<governor::Outlook> {
        Some(self.permits.lock().get(org)?.outlook(lane))
    }

    /// Says which tables' first copies are not done yet: a row waits for a parent from such a table without limit, since the
    /// copy will bring it.
    pub fn set_copying(&self, tables: impl IntoIterator<Item = model::TableName>) {
        *self.copying.write() = tables.into_iter().collect();
    }

    /// The log as a source may write to it: an append to a stream that is full and blocks waits until routes have made room, or
    /// until `stop`, which ends it with `Closed`.
    pub fn bounded_log(&self, stop: CancellationToken) -> Arc<dyn Log> {
        let status = self.status.clone();
        let drained = move |of: &model::StreamPartition, end: Offset| {
            let status = status.borrow();
            let mut of_stream = status.routes.iter().filter(|route| route.stream == *of).peekable();
            of_stream.peek().is_some() && of_stream.all(|route| route.checkpoint >= end)
        };
        let parts = (self.log.clone(), self.clock.clone());
        Arc::new(BoundedLog::new(parts, &self.limits, self.waiting.clone(), Box::new(drained), stop))
    }

    /// Admits snapshot chunks while less than `BACKLOG_MAX` records wait in log and window.
    pub fn admission(&self) -> EngineAdmission {
        EngineAdmission::new(self.log.clone(), self.status.clone(), BACKLOG_MAX)
    }
}

impl Engine {
    /// Makes an engine; nothing is read or called before `run`.
    pub fn new(spec: PipelineSpec, parts: EngineParts) -> Self {
        let routes = spec
            .routes
            .iter()
            .map(|route| RouteStatus::new(route.id.clone(), route.stream.clone(), route.table.clone(), Offset(0)));
        let status = EngineStatus { routes: routes.collect(), streams: Vec::new(), log_trouble: None };
        let writes = WriteLedger::new(&spec.routes, WriteLedgerConfig::default(), parts.clock.now_ms());
        Self {
            writes,
            spec,
            parts,
            status: Arc::new(watch::Sender::new(status)),
            permits: Arc::default(),
            copying: Copying::default(),
            waiting: Waiting::default(),
        }
    }

    /// A handle to look at it.
    pub fn handle(&self) -> EngineHandle {
        EngineHandle {
            log: self.parts.log.clone(),
            status: self.status.subscribe(),
            permits: self.permits.clone(),
            copying: self.copying.clone(),
            clock: self.parts.clock.clone(),
            limits: self.spec.stream_limits.clone(),
            waiting: self.waiting.clone(),
            writes: self.writes.clone(),
        }
    }

    /// Recovers what an earlier run left, then moves records until `stop` is cancelled; waits for what is in flight (at most
    /// `stop_wait_max`), settles it and writes a checkpoint. Dropping the future is a crash: safe, and without that last part.
    ///
    /// The routes' streams must exist.
    ///
    /// # Errors
    /// `EngineError`: it did not start, or going on is useless. What was settled is settled.
    pub async fn run(self, stop: CancellationToken) -> Result<(), EngineError> {
        let Self { spec, parts, status, permits, copying, waiting, writes } = self;
        let stop = stop.child_token();
        let log = parts.log.clone();
        create_streams(&*log).await?;
        heal(&*log, &*parts.state).await?;
        let recovered = recover(&*log, &*parts.state, &spec.routes).await?;
        let orgs = open_orgs(&spec.id, &parts, &permits).await?;
        let (settler, writing) = Settler::start(log.clone());
        let carrier = Carrier {
            log: log.clone(),
            journal: Journal::new(log.clone()),
            clock: parts.clock.clone(),
            crash: parts.crash.clone(),
            next_batch: Arc::new(AtomicU64::new(recovered.next_batch)),
            stop: stop.clone(),
            state: parts.state.clone(),
        };
        let in_hand = InHand::default();
        let groups = spec.relation_groups();
        let sheds = sheds(&spec.stream_limits);
        let watched = Watched {
            limits: spec.stream_limits.clone(),
            log: log.clone(),
            clock: parts.clock.clone(),
            status: status.clone(),
            waiting,
        };
        let shared = Arc::new(Shared {
            spec,
            carrier,
            settler,
            state: parts.state.clone(),
            status,
            copying,
            in_hand: in_hand.clone(),
            writes: writes.clone(),
        });
        let mut beside = JoinSet::new();
        for org in orgs.values() {
            beside.spawn(keep_quota(org.clone()));
            beside.spawn(read_allocations(org.clone(), parts.clock.clone()));
            let leftovers = Leftovers::of(org, &shared.spec.routes, &recovered.routes, &*parts.state).await?;
            if let Some(leftovers) = leftovers {
                org.allow_jobs(false);
                beside.spawn(leftovers.close(org.clone(), parts.state.clone()));
            }
        }
        let mut ready = Vec::new();
        for group in groups {
            ready.push(start_group(&shared, &recovered, &orgs, (&group, &sheds), parts.seed).await?);
        }
        let mut running = JoinSet::new();
        let mut ways = CommandWays::new();
        for (group, reader) in ready {
            let (send, commands) = mpsc::unbounded_channel::<Command>();
            for (index, run) in group.routes.iter().enumerate() {
                ways.insert(run.route.spec.id.clone(), (send.clone(), index));
            }
            group.set_floors();
            running.spawn(group.run(reader, commands, stop.clone()));
        }
        let stop_wait_max = shared.spec.stop_wait_max;
        // The settler ends when nobody can order any more.
        drop(shared);
        beside.spawn(watch_commands(parts.state.clone(), ways, in_hand));
        beside.spawn(remember_writes(writes, log.clone(), parts.clock.clone()));
        beside.spawn(retain(log, parts.clock.clone()));
        beside.spawn(watch_sizes(watched, sheds));
        let mut writer = JoinSet::new();
        writer.spawn(writing);
        let ended = run_groups(running, &mut writer, &stop, stop_wait_max).await;
        for org in orgs.values() {
            org.permits.close().await?;
        }
        ended
    }
}

/// Takes in what earlier runs wrote; without it the ledger says more often that it does not know.
async fn remember_writes(writes: WriteLedger, log: Arc<dyn Log>, clock: Arc<dyn Clock>) {
    if let Err(error) = writes.rebuild(&*log, clock.now_ms()).await {
        tracing::warn!(code = %error.code(), %error, "what earlier runs wrote is not remembered");
    }
}

async fn open_orgs(
    pipeline: &PipelineId,
    parts: &EngineParts,
    permits: &Mutex<HashMap<OrgId, Permits>>,
) -> Result<HashMap<OrgId, Arc<Org>>, EngineError> {
    let mut orgs = HashMap::new();
    for (id, org) in &parts.orgs {
        let own = || QuotaLedger {
            store: parts.state.clone(),
            org: id.as_str().to_owned(),
            member: pipeline.as_str().to_owned(),
        };
        let ledger = org.ledger.clone().unwrap_or_else(own);
        let opened = Permits::open(ledger, org.governor.clone(), parts.clock.clone()).await?;
        permits.lock().insert(id.clone(), opened.clone());
        let opened = Org::new(id.clone(), org.sink.clone(), opened, org.breaker);
        opened.take_figures();
        orgs.insert(id.clone(), Arc::new(opened));
    }
    Ok(orgs)
}

async fn start_group(
    shared: &Arc<Shared>,
    recovered: &Recovered,
    orgs: &HashMap<OrgId, Arc<Org>>,
    (indices, sheds): (&[usize], &Sheds),
    seed: u64,
) -> Result<(Group, Reader), EngineError> {
    let (mut routes, mut suspects, mut start) = (Vec::new(), Suspects::default(), Vec::new());
    let mut the_org = None;
    for (place, index) in indices.iter().enumerate() {
        let (spec, part) = (&shared.spec.routes[*index], &recovered.routes[*index]);
        let org =
            orgs.get(&spec.org).ok_or_else(|| EngineError::NoSink { route: spec.id.clone(), org: spec.org.clone() })?;
        the_org = Some(org.clone());
        let route = Arc::new(Route::compile(*index, spec, &shared.spec.router, org.clone()).await?);
        for open in &part.unanswered {
            for offset in open.rows.iter().flat_map(|range| range.offsets()) {
                if offset >= part.from && !contains(&part.settled, offset) {
                    suspects.add(place as u16, offset, open.batch, open.at_ms);
                }
            }
            suspects.went(open.batch, open.way.clone());
        }
        start.push((part.from, part.settled.clone()));
        routes.push(RouteRun::new(route, part, shared.now()));
    }
    let (Some(org), Some(first)) = (the_org, indices.first()) else { unreachable!("a relation group has a route") };
    let stream = shared.spec.routes[*first].stream.clone();
    let reader = Reader {
        log: shared.carrier.log.clone(),
        stream: stream.clone(),
        routes: routes.iter().map(|run| run.route.clone()).collect(),
        start,
        transactions: read_transactions(shared, &routes, &stream, &org).await?,
    };
    let lowest = reader.start.iter().map(|(from, _)| *from).min().unwrap_or_default();
    let shed = sheds.get(&stream).map(watch::Sender::subscribe);
    let group = Group::new(GroupStart {
        shared: shared.clone(),
        stream,
        org,
        routes,
        suspects,
        start: lowest,
        settlements_end: recovered.settlements_end,
        seed: seed.wrapping_add(*first as u64),
        shed,
    });
    Ok((group, reader))
}

/// What the reader of a group needs of which a route is ordered by transaction.
async fn read_transactions(
    shared: &Arc<Shared>,
    routes: &[RouteRun],
    stream: &model::StreamPartition,
    org: &Arc<Org>,
) -> Result<Option<ReadTransactions>, EngineError> {
    if routes.iter().all(|run| run.route.spec.ordering != Ordering::Transaction) {
        return Ok(None);
    }
    let limits = org.sink.limits(Api::Graph).or_else(|| org.sink.limits(Api::Collections));
    let memory = shared.spec.batch_bytes_in_memory_max;
    let limits = UnitLimits {
        rows_max: limits.map_or(1, |limits| limits.rows_max),
        bytes_max: limits.map_or(memory, |limits| limits.bytes_max.min(memory)),
    };
    let notes = Notes::of(stream, &org.id);
    let known = notes.load(&*shared.state).await?;
    let routes: Vec<Arc<Route>> = routes.iter().map(|run| run.route.clone()).collect();
    Ok(Some(ReadTransactions { gather: Gather::new(&routes, limits, known), notes, state: shared.state.clone() }))
}

fn contains(ranges: &[model::OffsetRange], offset: Offset) -> bool {
    let after = ranges.partition_point(|range| range.from <= offset);
    after.checked_sub(1).is_some_and(|at| offset < ranges[at].to)
}

/// Runs the groups to their end; the first that fails stops the others. Then lets the settler write what is left.
async fn run_groups(
    mut running: JoinSet<Result<(), EngineError>>,
    writer: &mut JoinSet<Result<(), contract::LogError>>,
    stop: &CancellationToken,
    stop_wait_max: Duration,
) -> Result<(), EngineError> {
    let mut first: Result<(), EngineError> = Ok(());
    loop {
        let ended = tokio::select! {
            joined = running.join_next() => match joined {
                Some(joined) => joined.map_err(task_failed).and_then(|result| result),
                None => break,
            },
            Some(joined) = writer.join_next() => joined.map_err(task_failed).and_then(|result| result.map_err(Into::into)),
        };
        if ended.is_err() {
            stop.cancel();
            if first.is_ok() {
                first = ended;
            }
        }
    }
    // A log that takes nothing more must not hold up the end: what is missing is found again by the next run.
    while let Ok(Some(joined)) = tokio::time::timeout(stop_wait_max / 4, writer.join_next()).await {
        let ended = joined.map_err(task_failed).and_then(|result| result.map_err(Into::into));
        first = first.and(ended);
    }
    first
}
