//! Checkpoints, floors, and the published status.

use super::error::EngineError;
use super::group::{Event, Group};
use super::status::LaneStatus;
use crate::settle::{BATCHES, Checkpoint, SETTLEMENTS, Settler, internal};
use contract::{CrashPoint, CrashPoints, StateOp, StateStore};
use model::{Lane, Offset, Retry};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often the status is published while records move.
const PUBLISH_EVERY: Duration = Duration::from_millis(25);
/// How often gauges are set and rates taken.
const EXPORT_EVERY: Duration = Duration::from_secs(1);

/// When what was written down last.
#[derive(Debug)]
pub(super) struct Persist {
    /// Records settled since the last checkpoint was begun.
    pub settled: u64,
    /// Something moved since the last checkpoint was begun.
    moved: bool,
    /// Something moved since the status was published.
    unpublished: bool,
    running: bool,
    /// Orders of settlements that are not released: where each will stand, at the lowest. A checkpoint that is taken meanwhile must
    /// have them read again, also where later ones are released already.
    pub orders: BTreeMap<u64, Offset>,
    next_order: u64,
    checkpointed: Duration,
    published: Duration,
    exported: Duration,
}

impl Persist {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            settled: 0,
            moved: true,
            unpublished: true,
            running: false,
            orders: BTreeMap::new(),
            next_order: 0,
            checkpointed: now,
            published: Duration::ZERO,
            exported: now,
        }
    }

    /// Notes an order that will stand at `end` or behind it; gives its number, from 1.
    pub(super) fn ordered(&mut self, end: Offset) -> u64 {
        self.next_order += 1;
        self.orders.insert(self.next_order, end);
        self.next_order
    }

    /// Says that something moved.
    pub(super) fn touch(&mut self) {
        self.moved = true;
        self.unpublished = true;
    }
}

impl Group {
    pub(super) fn next_checkpoint(&self) -> Option<Duration> {
        (self.persist.moved && !self.persist.running)
            .then(|| self.persist.checkpointed + self.shared.spec.checkpoint_every)
    }

    pub(super) fn next_publish(&self) -> Option<Duration> {
        self.persist.unpublished.then(|| self.persist.published + PUBLISH_EVERY)
    }

    /// Begins a checkpoint when it is time for one.
    pub(super) fn checkpoint_if_due(&mut self, now: Duration) {
        let due = self.next_checkpoint().is_some_and(|due| due <= now);
        let many = self.persist.settled >= self.shared.spec.checkpoint_settlements_max;
        if due || (many && self.persist.moved && !self.persist.running) {
            self.persist.running = true;
            self.persist.checkpointed = now;
            match self.take_checkpoints() {
                Ok(checkpoints) => {
                    let stored = self.store(checkpoints);
                    self.answers.push(Box::pin(stored));
                }
                Err(error) => self.answers.push(Box::pin(async { Event::Checkpointed(Err(error)) })),
            }
        }
    }

    /// What a restart must know, as it is now.
    fn take_checkpoints(&mut self) -> Result<Vec<Checkpoint>, EngineError> {
        self.persist.moved = false;
        self.persist.settled = 0;
        // Before anything else is looked at: an intent that is written from now on stands at or behind it.
        let batches_end = self.shared.carrier.journal.end()?;
        let next_batch = self.shared.carrier.next_batch.load(Ordering::Relaxed);
        let at_ms = self.shared.now_ms();
        let lowest: Vec<Offset> = (0..self.routes.len()).map(|index| self.lowest(index)).collect();
        let ordered = self.persist.orders.values().copied().min().unwrap_or(self.settlements_end);
        let taken = self.routes.iter_mut().zip(lowest).map(|(run, lowest)| {
            let offset = lowest.max(run.status.checkpoint);
            let settlements_from = run.ledger.needed_from(offset).unwrap_or(self.settlements_end).min(ordered);
            Checkpoint::new(offset, settlements_from, run.batches_from(batches_end), next_batch, at_ms)
                .with_pace(run.pace())
        });
        Ok(taken.collect())
    }

    /// Stores checkpoints once everything that they rely on is durable.
    fn store(&mut self, checkpoints: Vec<Checkpoint>) -> impl Future<Output = Event> + Send + 'static {
        let routes = self.routes.iter().map(|run| (run.route.spec.id.clone(), run.route.spec.stream.partition));
        let puts =
            checkpoints.iter().zip(routes).map(|(checkpoint, (route, partition))| checkpoint.put(&route, partition));
        let mut puts: Vec<StateOp> = puts.collect();
        let lowest = checkpoints.iter().map(|checkpoint| checkpoint.offset).min().unwrap_or_default();
        puts.extend(self.units.pass(lowest).into_iter().map(|first| self.notes.forget(first)));
        let (settler, state) = (self.shared.settler.clone(), self.shared.state.clone());
        let crash = self.shared.carrier.crash.clone();
        async move { Event::Checkpointed(store(settler, state, crash, puts).await.map(|()| checkpoints)) }
    }

    pub(super) fn checkpointed(&mut self, result: Result<Vec<Checkpoint>, EngineError>) -> Result<(), EngineError> {
        self.persist.running = false;
        for (run, checkpoint) in self.routes.iter_mut().zip(result?) {
            run.status.checkpoint = checkpoint.offset;
            run.stored = Some(checkpoint);
        }
        self.set_floors();
        self.persist.unpublished = true;
        Ok(())
    }

    /// Tells the log what a restart needs.
    pub(super) fn set_floors(&self) {
        let log = &self.shared.carrier.log;
        for run in &self.routes {
            let reader = format!("route:{}", run.route.spec.id);
            log.set_floor(&self.stream, &reader, run.status.checkpoint);
            let (settlements, batches) = run
                .stored
                .as_ref()
                .map_or((Offset(0), Offset(0)), |stored| (stored.settlements_from, stored.batches_from));
            log.set_floor(&internal(SETTLEMENTS), &reader, settlements);
            log.set_floor(&internal(BATCHES), &reader, batches);
        }
    }

    /// Waits for a checkpoint under way, and writes the last one.
    pub(super) async fn finish(mut self) -> Result<(), EngineError> {
        use futures::StreamExt;
        let left = self.shared.spec.stop_wait_max / 4;
        let flush = async {
            while let Some(event) = self.answers.next().await {
                match event {
                    Event::Released { release, settled: Some(settled) } => self.release(release, settled),
                    Event::Checkpointed(result) => self.checkpointed(result)?,
                    _ => {}
                }
            }
            let checkpoints = self.take_checkpoints()?;
            if let Event::Checkpointed(result) = self.store(checkpoints).await {
                self.checkpointed(result)?;
            }
            Ok(())
        };
        // A log or state that takes nothing more must not hold up a stop for ever: a restart replays what is missing.
        let flushed = tokio::time::timeout(left, flush).await;
        self.publish();
        flushed.unwrap_or(Ok(()))
    }

    pub(super) fn publish_if_due(&mut self, now: Duration) {
        if self.next_publish().is_some_and(|due| due <= now) {
            self.publish();
        }
    }

    /// Publishes the status of this group's routes.
    pub(super) fn publish(&mut self) {
        let now = self.shared.now();
        let (now_ms, export) = (self.shared.now_ms(), now.saturating_sub(self.persist.exported) >= EXPORT_EVERY);
        self.persist.published = now;
        self.persist.unpublished = false;
        let end = self.shared.carrier.log.bounds(&self.stream).map(|bounds| bounds.durable).unwrap_or_default();
        let permit_wait = if self.lane_wait.iter().any(|until| *until > now) { self.wait_reason.clone() } else { None };
        let lowest: Vec<Offset> = (0..self.routes.len()).map(|index| self.lowest(index)).collect();
        self.ages.forget(lowest.iter().min().copied().unwrap_or_default());
        let units: Vec<u16> = (0..self.routes.len()).map(|index| self.unit_place(index)).collect();
        for (index, run) in self.routes.iter_mut().enumerate() {
            let suspects = self.suspects.of_route(index as u16);
            let grace = run.suspect_grace(self.shared.spec.recovery_grace);
            let suspected = (suspects > 0).then(|| suspected(suspects, self.suspects.in_jobs(), grace));
            let gate_closed = || run.route.closed(now).filter(|_| run.halted.is_none());
            let paused = gate_closed()
                .or_else(|| run.paused(now))
                .or_else(|| permit_wait.clone())
                .or_else(|| run.paced(now))
                .or(suspected);
            let status = &mut run.status;
            status.read_offset = self.window.cursor();
            status.settled_offset = lowest[index].max(status.checkpoint);
            status.end_offset = end;
            for lane in Lane::ALL {
                let (own, unit) = (self.window.counts(index as u16, lane), self.window.counts(units[index], lane));
                status.lanes[lane as usize] = LaneStatus {
                    ready: own.ready + unit.ready,
                    waiting: own.waiting + unit.waiting,
                    in_flight: own.in_flight + unit.in_flight,
                    held: own.held + unit.held,
                };
            }
            status.unsettled = status.lanes.iter().map(|l| l.ready + l.waiting + l.in_flight + l.held).sum();
            status.suspects = suspects;
            let oldest = (status.unsettled > 0).then(|| self.ages.time_of(status.settled_offset)).flatten();
            status.oldest_unsettled_age_ms = oldest.map(|time_ms| (now_ms - time_ms).max(0));
            run.latencies.turn(now);
            status.applied_p50_ms = run.latencies.quantile(0.5);
            status.applied_p99_ms = run.latencies.quantile(0.99);
            status.paused = paused;
            if export {
                run.take_rate(now);
                run.status.export();
            }
        }
        if export {
            self.persist.exported = now;
        }
        let trouble = self.shared.settler.state().borrow().trouble.clone();
        let routes = &self.routes;
        self.shared.status.send_modify(|status| {
            for run in routes {
                status.routes[run.route.index] = run.status.clone();
            }
            status.log_trouble = trouble;
        });
    }
}

async fn store(
    settler: Settler,
    state: Arc<dyn StateStore>,
    crash: CrashPoints,
    puts: Vec<StateOp>,
) -> Result<(), EngineError> {
    settler.order(Vec::new(), true).await.map_err(|_| EngineError::Log(contract::LogError::Closed))?;
    crash.reach(CrashPoint::InCheckpoint);
    loop {
        match state.write(puts.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => match error.retry() {
                Retry::After(delay) => {
                    tracing::warn!(code = %error.code(), %error, "a checkpoint waits for the state store");
                    tokio::time::sleep(delay).await;
                }
                Retry::AfterOperator | Retry::Never => return Err(error.into()),
            },
        }
    }
}

/// What an operator is told while rows wait for a read-back.
fn suspected(rows: usize, in_jobs: bool, grace: Duration) -> String {
    if in_jobs {
        return format!(
            "{rows} rows were sent without an answer; the org's jobs that hold them are asked what became of them"
        );
    }
    format!(
        "{rows} rows of batches without an answer are read back from the org {:.1} s after they were sent, when their calls \
         must have ended",
        grace.as_secs_f64()
    )
}
