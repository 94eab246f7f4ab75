//! Dead letters on their way back: one at a time for each route.
//!
//! A retry stands in the window in a second place of its route, at the cursor: behind everything that was read of its keys, before
//! everything that will be.

use super::error::EngineError;
use super::group::{Event, Group};
use super::redrive_job::{RedriveJob, load};
use crate::window::{Entry, EntryId, PushError};
use contract::{LogError, OutOp, Spend};
use model::{Fingerprint, Lane, Offset, Outcome, RecordBatch};
use std::collections::VecDeque;
use std::time::Duration;

/// A retry that an operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// The route's index in its group.
    pub route: usize,
    /// The dead letter's offset in `_dead_letters`.
    pub id: Offset,
}

/// A dead letter, read and understood.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub id: Offset,
    /// The one record of the dead letter.
    pub record: RecordBatch,
    /// Where the original stands.
    pub origin: Offset,
    pub lane: Lane,
    pub writes: Vec<Fingerprint>,
    pub reads: Vec<Fingerprint>,
}

/// What a task tells of a retry.
#[derive(Debug)]
pub(super) enum RedriveOutcome {
    Loaded(Box<Loaded>),
    /// It cannot be retried, and the index says why; or it was decided otherwise meanwhile.
    Refused,
    /// Settled, and the index knows.
    Settled(Outcome),
    /// Failed for good: a dead letter again, and the index knows.
    Failed,
    /// Not yet; what the target said, if anything.
    Later {
        delay: Duration,
        failed: bool,
        error: Option<String>,
    },
    Broken(EngineError),
}

/// How far a route's retry has come.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Loading,
    Loaded(Box<Loaded>),
    Waiting {
        loaded: Box<Loaded>,
        entry: EntryId,
        until: Offset,
        failures: u32,
    },
    Running {
        loaded: Box<Loaded>,
        entry: EntryId,
        until: Offset,
        failures: u32,
    },
}

/// The retries of a group.
#[derive(Debug)]
pub(super) struct Redrives {
    queues: Vec<VecDeque<Offset>>,
    stages: Vec<Stage>,
    /// When to look again at retries that could not be started.
    retry_at: Option<Duration>,
}

impl Redrives {
    pub(super) fn new(routes: usize) -> Self {
        Self {
            queues: vec![VecDeque::new(); routes],
            stages: (0..routes).map(|_| Stage::default()).collect(),
            retry_at: None,
        }
    }

    pub(super) fn take(&mut self, command: Command) {
        self.queues[command.route].push_back(command.id);
    }

    pub(super) fn next_try(&self) -> Option<Duration> {
        self.retry_at
    }
}

/// Between two looks at a retry that finds no place.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Group {
    /// Moves each route's retry on by what can be done now.
    pub(super) fn schedule_redrives(&mut self, now: Duration) -> Result<(), EngineError> {
        self.redrives.retry_at = None;
        for route in 0..self.routes.len() {
            let stage = std::mem::take(&mut self.redrives.stages[route]);
            self.redrives.stages[route] = match stage {
                Stage::Idle => self.load_next(route),
                Stage::Loaded(loaded) => self.enter(route, loaded, now)?,
                Stage::Waiting { loaded, entry, until, failures } => {
                    self.launch(route, (loaded, entry, until, failures), now)?
                }
                stage @ (Stage::Loading | Stage::Running { .. }) => stage,
            };
        }
        Ok(())
    }

    fn load_next(&mut self, route: usize) -> Stage {
        let Some(id) = self.redrives.queues[route].pop_front() else { return Stage::Idle };
        let (shared, run) = (self.shared.clone(), self.routes[route].route.clone());
        self.jobs.spawn(async move { Event::Redriven { route, outcome: load(&shared, &run, id).await } });
        Stage::Loading
    }

    /// Puts it into the window, behind what was read. Only between two chunks: then the cursor is where reading goes on.
    fn enter(&mut self, route: usize, loaded: Box<Loaded>, now: Duration) -> Result<Stage, EngineError> {
        let until = self.window.cursor();
        let pushed = match &self.pending {
            Some(_) => None,
            None => {
                let entry = Entry {
                    offset: until,
                    route: self.second_place(route),
                    lane: loaded.lane,
                    writes: &loaded.writes,
                    reads: &loaded.reads,
                };
                match self.window.push(&entry) {
                    Ok(id) => Some(id),
                    Err(PushError::Full { .. }) => None,
                    Err(error @ PushError::TooManyKeys { .. }) => {
                        let route = self.routes[route].route.spec.id.clone();
                        return Err(EngineError::Unreadable { route, cause: error.to_string() });
                    }
                }
            }
        };
        Ok(match pushed {
            Some(entry) => self.launch(route, (loaded, entry, until, 0), now)?,
            None => {
                self.redrives.retry_at = Some(now + LOOK_AGAIN);
                Stage::Loaded(loaded)
            }
        })
    }

    /// Starts it when its turn has come.
    fn launch(
        &mut self,
        route: usize,
        (loaded, entry, until, failures): (Box<Loaded>, EntryId, Offset, u32),
        now: Duration,
    ) -> Result<Stage, EngineError> {
        let (lane, place) = (loaded.lane, self.second_place(route));
        if self.window.counts(place, lane).ready == 0 {
            return Ok(Stage::Waiting { loaded, entry, until, failures });
        }
        let run = &self.routes[route];
        let may = run.pause.until <= now && !run.refreshing && self.lane_wait[lane as usize] <= now;
        let api = run.route.single_api();
        let cost = self.org.sink.cost(api, OutOp::Upsert, 1);
        let Some((org_place, pass)) = (if may { self.admit(route, lane, (api, cost), now) } else { None }) else {
            self.redrives.retry_at = Some(now + LOOK_AGAIN);
            return Ok(Stage::Waiting { loaded, entry, until, failures });
        };
        let mut taken = Vec::new();
        self.window.take(place, lane, 1, &mut taken);
        let job = RedriveJob {
            shared: self.shared.clone(),
            route: self.routes[route].route.clone(),
            related: self.routes.iter().map(|run| run.route.clone()).collect(),
            loaded: (*loaded).clone(),
            until,
            failures,
            grace: self.routes[route].grace(self.shared.spec.recovery_grace, 1),
            pass,
            _place: org_place,
            spent: Spend::default(),
        };
        self.jobs.spawn(async move { Event::Redriven { route, outcome: job.run().await } });
        Ok(Stage::Running { loaded, entry, until, failures })
    }

    pub(super) fn redriven(&mut self, route: usize, outcome: RedriveOutcome) -> Result<(), EngineError> {
        self.persist.touch();
        let stage = std::mem::take(&mut self.redrives.stages[route]);
        let entry = match &stage {
            Stage::Running { entry, .. } => Some(*entry),
            _ => None,
        };
        match outcome {
            RedriveOutcome::Loaded(loaded) => {
                self.redrives.stages[route] = Stage::Loaded(loaded);
                return Ok(());
            }
            RedriveOutcome::Later { delay, failed, error } => {
                if let Stage::Running { loaded, entry, until, failures } = stage {
                    self.window.hold(entry, self.shared.now() + delay);
                    let failures = failures + u32::from(failed);
                    self.redrives.stages[route] = Stage::Waiting { loaded, entry, until, failures };
                }
                if error.is_some() {
                    self.routes[route].status.last_error = error;
                }
                return Ok(());
            }
            RedriveOutcome::Broken(error) => return Err(error),
            RedriveOutcome::Settled(outcome) => self.routes[route].status.count(outcome, 1),
            RedriveOutcome::Failed | RedriveOutcome::Refused => {}
        }
        if let Some(entry) = entry {
            self.window.settle(entry);
        }
        Ok(())
    }

    /// The window's index for a route's retries.
    fn second_place(&self, route: usize) -> u16 {
        (self.routes.len() + route) as u16
    }
}

/// A closed settler ends the engine.
pub(super) fn settler_gone() -> EngineError {
    EngineError::Log(LogError::Closed)
}
