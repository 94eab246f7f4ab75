//! One group of related routes: a window, and the loop that moves its records.
//!
//! ```text
//!   reader ─▶ absorb ─▶ window ─▶ schedule ─▶ jobs ─▶ outcome ─▶ settle ─▶ release
//!                          ▲                             │                     │
//!                          └───────── give back ─────────┴──── checkpoint ◀────┘
//! ```
//!
//! The loop only decides; bytes are read, mapped, journalled and sent by jobs, settlements are written by the settler. Nothing
//! ticks: the loop sleeps until a job ends, a chunk is read, a settlement is accepted, or the next known moment comes.
//!
//! Each step stands in a file of its own: `absorb`, `scheduler`, `outcome`, `release`, `persist`, `redrives`.

use super::dispatch::Carrier;
use super::error::EngineError;
use super::job::{JobDone, JobKind};
use super::overflow::Shed;
use super::parents::ParentLocks;
use super::reader::{Chunk, Reader};
use super::redrives::{Command, InHand, RedriveOutcome, Redrives};
use super::release::Release;
use super::retry::{Histories, Jitter};
use super::route::Org;
use super::route_run::RouteRun;
use super::status::{Ages, EngineStatus};
use super::transactions::{BuriedUnit, Notes, UnitDone, Units};
use crate::dlq::Buried;
use crate::recovery::Suspects;
use crate::settle::{Settled, Settler};
use crate::spec::PipelineSpec;
use crate::window::{EntryId, Window};
use crate::writes::WriteLedger;
use contract::{LogError, StateStore};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use model::{Lane, Offset, StreamPartition};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the groups of an engine share.
pub struct Shared {
    pub spec: PipelineSpec,
    pub carrier: Carrier,
    pub settler: Settler,
    pub state: Arc<dyn StateStore>,
    pub status: Arc<watch::Sender<EngineStatus>>,
    pub copying: Copying,
    /// Retries of dead letters that are on their way.
    pub in_hand: InHand,
    pub writes: WriteLedger,
}

/// Tables whose first copy is not done yet, as the program says.
pub(super) type Copying = Arc<parking_lot::RwLock<std::collections::BTreeSet<model::TableName>>>;

impl Shared {
    /// Monotonic time.
    pub fn now(&self) -> Duration {
        self.carrier.clock.monotonic()
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.carrier.clock.now_ms()
    }
}

/// Something that a task or the settler tells the loop.
pub(super) enum Event {
    Carried { route: usize, lane: Lane, kind: JobKind, by_job: bool, number: u64, done: JobDone },
    Buried { route: usize, rows: Vec<(EntryId, u32)>, buried: Result<Vec<Buried>, EngineError>, stored: Release },
    Released { release: Release, settled: Option<Settled> },
    Checkpointed(Result<Vec<crate::settle::Checkpoint>, EngineError>),
    Recompiled { route: usize, result: Result<(), EngineError> },
    UnitCarried { unit: u64, kind: JobKind, number: u64, done: UnitDone },
    UnitBuried(BuriedUnit),
    Redriven { route: usize, outcome: RedriveOutcome },
}

/// A chunk that is being pushed into the window.
pub(super) struct Pending {
    pub chunk: Chunk,
    pub entry: usize,
    pub key: usize,
    /// The chunk's next transaction, and whether a part of it is in the window.
    pub unit: usize,
    pub begun: bool,
}

/// A group and everything that it decides with.
pub struct Group {
    pub(super) shared: Arc<Shared>,
    pub(super) stream: StreamPartition,
    pub(super) org: Arc<Org>,
    pub(super) routes: Vec<RouteRun>,
    pub(super) window: Window,
    pub(super) pending: Option<Pending>,
    pub(super) jobs: JoinSet<Event>,
    pub(super) answers: FuturesUnordered<BoxFuture<'static, Event>>,
    pub(super) suspects: Suspects,
    pub(super) parents: ParentLocks,
    pub(super) histories: Histories,
    pub(super) jitter: Jitter,
    pub(super) ages: Ages,
    pub(super) redrives: Redrives,
    /// What the stream cannot hold.
    pub(super) shed: Option<watch::Receiver<Shed>>,
    pub(super) units: Units,
    /// What is known of transactions that are too large, in the state store.
    pub(super) notes: Notes,
    /// Until when no permit can be had, by lane.
    pub(super) lane_wait: [Duration; 3],
    /// Until when the org's gate is closed; beyond that the org's waiters are woken.
    pub(super) gate_until: Duration,
    /// What the governor said last, where it is worth telling.
    pub(super) wait_reason: Option<String>,
    pub(super) next_job: u64,
    /// The end of what is known to stand in `_settlements`.
    pub(super) settlements_end: Offset,
    pub(super) persist: super::persist::Persist,
    pub(super) stopping: bool,
    /// The next route to be served first, so that none starves.
    pub(super) turn: usize,
}

/// What a group is started with.
pub struct GroupStart {
    pub shared: Arc<Shared>,
    pub stream: StreamPartition,
    pub org: Arc<Org>,
    pub routes: Vec<RouteRun>,
    pub suspects: Suspects,
    pub start: Offset,
    pub settlements_end: Offset,
    pub seed: u64,
    pub shed: Option<watch::Receiver<Shed>>,
}

impl Group {
    /// Makes a group that has read nothing.
    pub fn new(start: GroupStart) -> Self {
        let GroupStart { shared, stream, org, routes, suspects, start, settlements_end, seed, shed } = start;
        // Each route has a second place, for its dead letters' retries, and a third, for parts of transactions.
        let window = Window::new(routes.len() * 3, shared.spec.window_bytes_max, start);
        let now = shared.now();
        Self {
            window,
            pending: None,
            jobs: JoinSet::new(),
            answers: FuturesUnordered::new(),
            parents: ParentLocks::default(),
            histories: Histories::default(),
            jitter: Jitter::new(seed),
            ages: Ages::default(),
            redrives: Redrives::new(routes.len(), shared.in_hand.clone()),
            units: Units::default(),
            notes: Notes::of(&stream, &org.id),
            lane_wait: [Duration::ZERO; 3],
            gate_until: Duration::ZERO,
            wait_reason: None,
            next_job: 0,
            persist: super::persist::Persist::new(now),
            stopping: false,
            turn: 0,
            shed,
            shared,
            stream,
            org,
            routes,
            suspects,
            settlements_end,
        }
    }

    /// Moves records until `stop`; then waits for what is in flight, settles it and writes a last checkpoint.
    ///
    /// # Errors
    /// `EngineError` when going on is useless; what was settled is settled.
    pub async fn run(
        mut self,
        reader: Reader,
        mut commands: mpsc::UnboundedReceiver<Command>,
        stop: CancellationToken,
    ) -> Result<(), EngineError> {
        let (send, mut chunks) = Reader::channel();
        let mut reading = JoinSet::new();
        reading.spawn(reader.run(send));
        let mut freed = self.org.freed();
        let mut shed = self.shed.clone();
        let mut settler = self.shared.settler.state();
        let mut deadline = None;
        self.set_floors();
        loop {
            let now = self.shared.now();
            if stop.is_cancelled() && !self.stopping {
                self.stopping = true;
                deadline = Some(now + self.shared.spec.stop_wait_max);
                reading.abort_all();
            }
            self.step(now)?;
            if self.stopping && (self.is_quiet() || deadline.is_some_and(|deadline| now >= deadline)) {
                break;
            }
            let wake = self.next_moment(now, deadline);
            tokio::select! {
                biased;
                Some(joined) = self.jobs.join_next() => self.handle(joined.map_err(task_failed)?)?,
                Some(event) = self.answers.next() => self.handle(event)?,
                chunk = chunks.recv(), if self.pending.is_none() && !self.stopping && !reading.is_empty() => match chunk {
                    Some(chunk) => {
                        self.ages.add(chunk.end, chunk.times_ms);
                        self.pending = Some(Pending { chunk, entry: 0, key: 0, unit: 0, begun: false });
                    }
                    None => ended(reading.join_next().await)?,
                },
                Some(command) = commands.recv(), if !self.stopping => self.redrives.take(command),
                Ok(()) = freed.changed() => self.freed(),
                () = told(&mut shed) => {}
                Ok(()) = settler.changed() => {}
                () = stop.cancelled(), if !self.stopping => {}
                () = sleep(wake, now), if wake.is_some() => {}
            }
        }
        self.finish().await
    }

    /// Everything that can be done without waiting.
    fn step(&mut self, now: Duration) -> Result<(), EngineError> {
        self.window.wake(now);
        self.absorb()?;
        if !self.stopping {
            self.shed();
            // In turns, so that neither keeps a parent that both lock.
            if self.units.go_first() {
                self.schedule_units(now)?;
                self.schedule(now)?;
            } else {
                self.schedule(now)?;
                self.schedule_units(now)?;
            }
            self.schedule_redrives(now)?;
        }
        self.checkpoint_if_due(now);
        self.publish_if_due(now);
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), EngineError> {
        match event {
            Event::Carried { route, lane, kind, by_job, number, done } => {
                self.carried(route, (lane, by_job), kind, number, done)
            }
            Event::Buried { route, rows, buried, stored } => self.buried(route, rows, buried, stored),
            Event::Released { release, settled } => {
                let settled = settled.ok_or(EngineError::Log(LogError::Closed))?;
                self.release(release, settled);
                Ok(())
            }
            Event::Checkpointed(result) => self.checkpointed(result),
            Event::Recompiled { route, result } => {
                self.recompiled(route, result);
                Ok(())
            }
            Event::UnitCarried { unit, kind, number, done } => self.unit_carried(unit, kind, number, done),
            Event::UnitBuried(unit) => self.unit_buried(unit),
            Event::Redriven { route, outcome } => self.redriven(route, outcome),
        }
    }

    /// A permit that was refused only because of what was under way may be had now.
    fn freed(&mut self) {
        if self.wait_reason.is_none() {
            self.lane_wait = [Duration::ZERO; 3];
        }
    }

    /// True when nothing is under way.
    fn is_quiet(&self) -> bool {
        self.jobs.is_empty() && self.answers.is_empty()
    }

    /// When there is something to do although nothing happened.
    fn next_moment(&self, now: Duration, deadline: Option<Duration>) -> Option<Duration> {
        let sending =
            if self.stopping { None } else { self.window.next_wake().into_iter().chain(self.next_send(now)).min() };
        [sending, deadline, self.next_checkpoint(), self.next_publish()].into_iter().flatten().min()
    }
}

/// Ends when there is something new to give up; never for a group that gives nothing up.
async fn told(shed: &mut Option<watch::Receiver<Shed>>) {
    let changed = match shed {
        Some(shed) => shed.changed().await,
        None => std::future::pending().await,
    };
    // Nobody watches the size any more: the engine is ending.
    if changed.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn sleep(until: Option<Duration>, now: Duration) {
    // Below a millisecond tokio's timer would round up or spin; one is short enough.
    let wait = until.unwrap_or(now).saturating_sub(now).max(Duration::from_millis(1));
    tokio::time::sleep(wait).await;
}

/// The reader has ended: with an error, or since a record halts the group. The loop then goes on without one.
fn ended(joined: Option<Result<Result<(), EngineError>, tokio::task::JoinError>>) -> Result<(), EngineError> {
    match joined {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(task_failed(error)),
        None => Ok(()),
    }
}

/// A task that panicked, as an error.
pub(super) fn task_failed(error: tokio::task::JoinError) -> EngineError {
    EngineError::Task { cause: error.to_string() }
}
