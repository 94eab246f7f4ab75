//! Dead letters on their way back.
//!
//! ```text
//!   store ─▶ in hand (≤ IN_HAND_MAX ids) ─▶ loaded (≤ 4 MiB) ─▶ window ─▶ a batch in flight ─▶ index
//! ```
//!
//! A retry stands in the window in a second place of its route, at the cursor: behind everything that was read of its keys, before
//! everything that will be. Those that are ready go together, one batch at a time for each route; however many were asked for, the
//! rest stay in the store.

use super::error::EngineError;
use super::group::{Event, Group};
use super::redrive_job::RedriveJob;
use super::redrive_load::load;
use crate::dlq::RetryOptions;
use crate::window::{Entry, EntryId, PushError, Taken};
use contract::{LogError, OutOp, Spend};
use hashbrown::{HashMap, HashSet};
use model::{Fingerprint, Lane, Offset, Outcome, RecordBatch, RouteId};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Retries of a batch, at most.
const BATCH_ROWS_MAX: usize = 200;
/// Retries of one route that the run has in hand: two batches.
pub(super) const IN_HAND_MAX: usize = 400;
/// Between two looks at a retry that finds no place.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A retry that an operator asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Command {
    /// The route's index in its group.
    pub route: usize,
    /// The dead letter's offset in `_dead_letters`.
    pub id: Offset,
    pub options: RetryOptions,
}

/// Which dead letters the run has in hand: the rest of the commands stays in the store. Shared by groups and the watcher.
#[derive(Clone, Debug, Default)]
pub struct InHand(Arc<Mutex<HashMap<RouteId, HashSet<Offset>>>>);

impl InHand {
    /// Takes a dead letter in hand; false when it is already, or when the route has as many as it takes.
    pub(super) fn take(&self, route: &RouteId, id: Offset) -> bool {
        let mut held = self.0.lock();
        let held = held.entry(route.clone()).or_default();
        held.len() < IN_HAND_MAX && held.insert(id)
    }

    fn done(&self, route: &RouteId, id: Offset) {
        if let Some(held) = self.0.lock().get_mut(route) {
            held.remove(&id);
        }
    }
}

/// A dead letter, read and understood.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub id: Offset,
    /// The one record of the dead letter, with an operator's edit laid over it.
    pub record: RecordBatch,
    /// Where the original stands.
    pub origin: Offset,
    pub options: RetryOptions,
    pub writes: Vec<Fingerprint>,
    pub reads: Vec<Fingerprint>,
}

/// A dead letter in the window.
#[derive(Clone, Debug)]
pub struct Letter {
    pub entry: EntryId,
    pub loaded: Arc<Loaded>,
    /// Everything below was read when it entered the window, and is settled now as far as it matters.
    pub until: Offset,
    pub failures: u32,
    /// The most others that it may travel with, and itself.
    pub company_max: usize,
}

/// How a letter's try ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LetterEnd {
    /// Settled, and the index knows.
    Settled(Outcome),
    /// A dead letter again, or decided otherwise meanwhile; the index knows.
    Over,
    /// Not yet.
    Later { delay: Duration, failed: bool, company_max: Option<usize> },
}

/// What a task tells of retries.
#[derive(Debug)]
pub(super) enum RedriveOutcome {
    /// In order. `over`: not to be retried, and the index says why; `left`: not read yet.
    Loaded {
        letters: Vec<Loaded>,
        over: Vec<Offset>,
        left: Vec<Command>,
    },
    Done {
        ends: Vec<(EntryId, LetterEnd)>,
        /// What the target said, if anything.
        error: Option<String>,
    },
    Broken(EngineError),
}

/// The retries of one route.
#[derive(Debug, Default)]
struct RouteRedrives {
    queue: VecDeque<Command>,
    loading: bool,
    loaded: VecDeque<Loaded>,
    /// In the window, in flight ones too.
    letters: HashMap<EntryId, Letter>,
    in_flight: bool,
    /// When the next batch may go at the rate that was asked for.
    not_before: Duration,
}

/// The retries of a group.
#[derive(Debug)]
pub(super) struct Redrives {
    routes: Vec<RouteRedrives>,
    in_hand: InHand,
    /// When to look again at retries that could not be started.
    retry_at: Option<Duration>,
}

impl Redrives {
    pub(super) fn new(routes: usize, in_hand: InHand) -> Self {
        Self { routes: (0..routes).map(|_| RouteRedrives::default()).collect(), in_hand, retry_at: None }
    }

    pub(super) fn take(&mut self, command: Command) {
        self.routes[command.route].queue.push_back(command);
    }

    pub(super) fn next_try(&self) -> Option<Duration> {
        self.retry_at
    }

    fn look_again(&mut self, at: Duration) {
        self.retry_at = Some(self.retry_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Group {
    /// Moves each route's retries on by what can be done now.
    pub(super) fn schedule_redrives(&mut self, now: Duration) -> Result<(), EngineError> {
        self.redrives.retry_at = None;
        for route in 0..self.routes.len() {
            self.load_next(route);
            self.enter(route, now)?;
            self.launch(route, now);
        }
        Ok(())
    }

    /// Loads the next batch while the one before is on its way.
    fn load_next(&mut self, route: usize) {
        let batch = self.batch_rows(route);
        let redrives = &mut self.redrives.routes[route];
        let room = batch.saturating_sub(redrives.letters.len().max(redrives.loaded.len()));
        if redrives.loading || !redrives.loaded.is_empty() || room == 0 || redrives.queue.is_empty() {
            return;
        }
        redrives.loading = true;
        let commands: Vec<Command> = redrives.queue.drain(..room.min(redrives.queue.len())).collect();
        let (shared, run) = (self.shared.clone(), self.routes[route].route.clone());
        self.jobs.spawn(async move { Event::Redriven { route, outcome: load(&shared, &run, commands).await } });
    }

    /// Puts what is loaded into the window, behind what was read. Only between two chunks: then the cursor is where reading goes on.
    fn enter(&mut self, route: usize, now: Duration) -> Result<(), EngineError> {
        let place = self.second_place(route);
        while let Some(loaded) = self.redrives.routes[route].loaded.front() {
            let until = self.window.cursor();
            let entry = Entry {
                offset: until,
                route: place,
                lane: loaded.options.lane,
                writes: &loaded.writes,
                reads: &loaded.reads,
            };
            let pushed = if self.pending.is_some() { None } else { Some(self.window.push_behind(&entry)) };
            let id = match pushed {
                Some(Ok(id)) => id,
                None | Some(Err(PushError::Full { .. })) => {
                    self.redrives.look_again(now + LOOK_AGAIN);
                    return Ok(());
                }
                Some(Err(error @ PushError::TooManyKeys { .. })) => {
                    let route = self.routes[route].route.spec.id.clone();
                    return Err(EngineError::Unreadable { route, cause: error.to_string() });
                }
            };
            let redrives = &mut self.redrives.routes[route];
            if let Some(loaded) = redrives.loaded.pop_front() {
                let letter =
                    Letter { entry: id, loaded: Arc::new(loaded), until, failures: 0, company_max: usize::MAX };
                redrives.letters.insert(id, letter);
            }
        }
        Ok(())
    }

    /// Sends those whose turn has come, in the highest lane that has any.
    fn launch(&mut self, route: usize, now: Duration) {
        let place = self.second_place(route);
        if self.redrives.routes[route].in_flight {
            return;
        }
        let Some(lane) = Lane::ALL.into_iter().find(|lane| self.window.counts(place, *lane).ready > 0) else { return };
        let not_before = self.redrives.routes[route].not_before;
        if not_before > now {
            self.redrives.look_again(not_before);
            return;
        }
        let run = &self.routes[route];
        let may = run.pause.until <= now && !run.refreshing && self.lane_wait[lane as usize] <= now;
        let api = run.route.single_api();
        let cost = self.org.sink.cost(api, OutOp::Upsert, self.batch_rows(route));
        // They have missed their deadline: the pace is theirs to keep.
        let patience = run.route.spec.deadline;
        let asked = may.then(|| self.ask(route, lane, (api, cost), (true, patience), now));
        let Some(Ok((org_place, pass))) = asked else {
            self.redrives.look_again(now + LOOK_AGAIN);
            return;
        };
        let letters = self.choose_letters(route, lane);
        let redrives = &mut self.redrives.routes[route];
        if let Some(rate) = letters.first().and_then(|letter| letter.loaded.options.rate) {
            redrives.not_before = now + Duration::from_secs_f64((letters.len() as f64 / rate).clamp(0.0, 86_400.0));
        }
        redrives.in_flight = true;
        let run = &self.routes[route];
        let job = RedriveJob {
            shared: self.shared.clone(),
            route: run.route.clone(),
            related: self.routes.iter().map(|run| run.route.clone()).collect(),
            grace: run.grace(self.shared.spec.recovery_grace, letters.len() as u64),
            letters,
            pass,
            _place: org_place,
            spent: Spend::default(),
        };
        self.jobs.spawn(async move { Event::Redriven { route, outcome: job.run().await } });
    }

    /// Takes ready letters that may go together: as many as a batch takes, and no more than their rate allows in a second.
    fn choose_letters(&mut self, route: usize, lane: Lane) -> Vec<Letter> {
        let rows_max = self.batch_rows(route);
        let mut taken: Vec<Taken> = Vec::new();
        self.window.take(self.second_place(route), lane, rows_max, &mut taken);
        let letters = &self.redrives.routes[route].letters;
        let (mut chosen, mut options, mut most) = (Vec::<Letter>::new(), None, rows_max);
        for taken in taken {
            let Some(letter) = letters.get(&taken.id) else { continue };
            let rate = letter.loaded.options.rate;
            let in_a_second = rate.map_or(usize::MAX, |rate| (rate as usize).max(1));
            let fits = chosen.len() < most.min(letter.company_max)
                && options.is_none_or(|options| options == letter.loaded.options);
            if fits {
                options = Some(letter.loaded.options);
                most = most.min(letter.company_max).min(in_a_second);
                chosen.push(letter.clone());
            } else {
                self.window.retry(taken.id);
            }
        }
        chosen
    }

    pub(super) fn redriven(&mut self, route: usize, outcome: RedriveOutcome) -> Result<(), EngineError> {
        self.persist.touch();
        let (now, id) = (self.shared.now(), self.routes[route].route.spec.id.clone());
        match outcome {
            RedriveOutcome::Broken(error) => return Err(error),
            RedriveOutcome::Loaded { letters, over, left } => {
                let redrives = &mut self.redrives.routes[route];
                redrives.loading = false;
                redrives.loaded.extend(letters);
                left.into_iter().rev().for_each(|command| redrives.queue.push_front(command));
                over.into_iter().for_each(|letter| self.redrives.in_hand.done(&id, letter));
            }
            RedriveOutcome::Done { ends, error } => {
                self.redrives.routes[route].in_flight = false;
                if error.is_some() {
                    self.routes[route].tell_error(error);
                }
                for (entry, end) in ends {
                    self.letter_ended(route, entry, end, now);
                }
            }
        }
        Ok(())
    }

    fn letter_ended(&mut self, route: usize, entry: EntryId, end: LetterEnd, now: Duration) {
        let redrives = &mut self.redrives.routes[route];
        if let LetterEnd::Later { delay, failed, company_max } = end {
            if let Some(letter) = redrives.letters.get_mut(&entry) {
                letter.failures += u32::from(failed);
                letter.company_max = company_max.map_or(letter.company_max, |max| max.min(letter.company_max));
            }
            if delay.is_zero() {
                self.window.retry(entry)
            } else {
                self.window.hold(entry, now + delay)
            }
            return;
        }
        if let Some(letter) = redrives.letters.remove(&entry) {
            self.redrives.in_hand.done(&self.routes[route].route.spec.id, letter.loaded.id);
        }
        if let LetterEnd::Settled(outcome) = end {
            self.routes[route].status.count(outcome, 1);
        }
        self.window.settle(entry);
    }

    /// Rows of one batch of retries.
    fn batch_rows(&self, route: usize) -> usize {
        let route = &self.routes[route].route;
        route.limits(route.single_api()).map_or(1, |limits| limits.rows_max.clamp(1, BATCH_ROWS_MAX))
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
