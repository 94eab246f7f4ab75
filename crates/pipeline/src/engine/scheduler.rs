//! Which rows go out now: critical first, each route in turn, as many as fit, at once when nothing is in flight.

use super::error::EngineError;
use super::group::{Event, Group};
use super::job::{Job, JobKind, JobRow};
use super::permits::Pass;
use super::release::Release;
use super::route::OrgPlace;
use crate::spec::Coalesce;
use crate::window::Taken;
use model::{Api, Lane, Offset, OffsetRange, Outcome, SettledRows};
use std::time::Duration;

/// Records of one key that are merged into one row at most: bounds what one row may cost to read.
const CHAIN_MAX: usize = 256;

/// Rows that may share a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Plain,
    /// With at most so many others: a batch of theirs failed whole.
    Few(usize),
    ReadBack,
}

impl Group {
    /// Sends whatever may be sent now.
    pub(super) fn schedule(&mut self, now: Duration) -> Result<(), EngineError> {
        if self.shared.settler.state().borrow().trouble.is_some() {
            return Ok(());
        }
        let routes = self.routes.len();
        self.turn = (self.turn + 1) % routes;
        for lane in Lane::ALL {
            for step in 0..routes {
                let route = (self.turn + step) % routes;
                while self.form(route, lane, now)? {}
            }
        }
        Ok(())
    }

    /// When a batch that waits now may go.
    pub(super) fn next_send(&self, now: Duration) -> Option<Duration> {
        let lanes = Lane::ALL.into_iter().flat_map(|lane| (0..self.routes.len()).map(move |route| (route, lane)));
        let waiting = lanes.filter(|(route, lane)| self.window.counts(*route as u16, *lane).ready > 0);
        let moments = waiting.flat_map(|(route, lane)| {
            let run = &self.routes[route];
            let linger = run.linger[lane as usize].map(|since| since + run.route.spec.batch.linger);
            [linger, Some(run.pause.until), Some(self.lane_wait[lane as usize])]
        });
        // A moment that has passed is not what is waited for.
        moments.flatten().chain(self.redrives.next_try()).chain([self.gate_until]).filter(|moment| *moment > now).min()
    }

    /// Forms one batch of a route and lane; returns whether it is worth looking again.
    fn form(&mut self, index: usize, lane: Lane, now: Duration) -> Result<bool, EngineError> {
        let ready = self.window.counts(index as u16, lane).ready;
        let run = &mut self.routes[index];
        let slot = lane as usize;
        if ready == 0 {
            run.linger[slot] = None;
            return Ok(false);
        }
        if self.lane_wait[slot] > now || !run.may_send(lane, now, self.shared.spec.batch_bytes_in_memory_max) {
            return Ok(false);
        }
        let wanted = run.rows_wanted();
        if run.in_flight[slot] > 0 && ready < wanted {
            let since = *run.linger[slot].get_or_insert(now);
            if now < since + run.route.spec.batch.linger {
                return Ok(false);
            }
        }
        let Some((place, pass)) = self.admit(index, lane, now) else { return Ok(false) };
        self.routes[index].linger[slot] = None;
        let mut taken = Vec::with_capacity(wanted.min(ready));
        self.window.take(index as u16, lane, wanted, &mut taken);
        let (kind, rows) = self.pick(index, taken, now);
        if rows.is_empty() {
            pass.finish(0);
            return Ok(true);
        }
        self.start(index, lane, kind, rows, (place, pass))?;
        Ok(true)
    }

    /// A place at the org and a permit, or neither.
    pub(super) fn admit(&mut self, index: usize, lane: Lane, now: Duration) -> Option<(OrgPlace, Pass)> {
        let place = match self.org.gate.begin(Api::Collections, now) {
            Ok(pass) => self.org.enter(lane)?.with(pass),
            Err(held) => {
                self.gate_until = held.until.unwrap_or_default();
                self.persist.touch();
                return None;
            }
        };
        let run = &mut self.routes[index];
        match self.org.permits.ask(lane, &run.route.spec.id, 1, Some(run.time_left())) {
            Ok(pass) => Some((place, pass)),
            Err(wait) => {
                self.lane_wait[lane as usize] = now + wait.delay;
                self.wait_reason = wait.worth_telling.then_some(wait.reason);
                if wait.worth_telling {
                    self.persist.touch();
                }
                None
            }
        }
    }

    /// Keeps of the taken rows those that may share a batch with the first; gives the others back.
    fn pick(&mut self, index: usize, taken: Vec<Taken>, now: Duration) -> (JobKind, Vec<JobRow>) {
        let mut class = Class::Plain;
        let mut rows: Vec<JobRow> = Vec::with_capacity(taken.len());
        if self.suspects.is_empty() && self.histories.is_empty() {
            rows.extend(taken.into_iter().map(|taken| self.row(taken)));
        } else {
            for taken in taken {
                let Some(found) = self.class_of(index, taken, now) else { continue };
                if rows.is_empty() {
                    class = found;
                }
                let fits = !matches!(class, Class::Few(max) if rows.len() >= max);
                if found == class && fits {
                    rows.push(self.row(taken));
                } else {
                    self.window.retry(taken.id);
                }
            }
        }
        if self.routes[index].route.spec.coalesce == Coalesce::Latest {
            self.merge(index, &mut rows);
        }
        (if class == Class::ReadBack { JobKind::ReadBack } else { JobKind::Send }, rows)
    }

    fn row(&self, taken: Taken) -> JobRow {
        JobRow { id: taken.id, offset: taken.offset, merged: Vec::new(), sent: self.histories.get(taken.id).sent }
    }

    /// Which rows it may travel with; none when it does not travel now.
    fn class_of(&mut self, index: usize, taken: Taken, now: Duration) -> Option<Class> {
        let Some(suspect) = self.suspects.get(index as u16, taken.offset) else {
            return Some(self.histories.get(taken.id).company_max.map_or(Class::Plain, Class::Few));
        };
        if suspect.implied {
            self.settle_implied(index, taken);
            return None;
        }
        let grace = self.routes[index].suspect_grace(self.shared.spec.recovery_grace);
        let grace_ms = grace.as_millis() as i64;
        let left_ms = (suspect.at_ms + grace_ms - self.shared.now_ms()).clamp(0, grace_ms);
        if left_ms > 0 {
            self.window.hold(taken.id, now + Duration::from_millis(left_ms as u64));
            return None;
        }
        Some(Class::ReadBack)
    }

    /// A later batch of its key was journalled, so it was settled as applied before (see `recovery`).
    fn settle_implied(&mut self, index: usize, taken: Taken) {
        let closed = self.forget_suspect(index, taken.offset);
        let rows = SettledRows {
            outcome: Outcome::Applied,
            offsets: OffsetRange::pack([taken.offset]),
            target_ids: Vec::new(),
            by: None,
            code: None,
        };
        let mut settlement = self.settlement(index, closed, vec![rows]);
        settlement.read_back = true;
        let counts = vec![(Outcome::Applied, 1)];
        self.order(
            Release { route: index, ids: vec![taken.id], highest: taken.offset, counts },
            vec![settlement],
            false,
        );
    }

    /// Clears a suspect; gives its batch when that is answered now.
    pub(super) fn forget_suspect(&mut self, index: usize, offset: Offset) -> Option<model::BatchId> {
        if self.suspects.is_empty() {
            return None;
        }
        let closed = self.suspects.clear(index as u16, offset);
        if self.suspects.of_route(index as u16) == 0 {
            self.routes[index].suspect_floor = None;
            self.routes[index].suspect_rows = 0;
        }
        closed
    }

    /// Lets each row take the waiting later records of its key along.
    fn merge(&mut self, index: usize, rows: &mut [JobRow]) {
        for row in rows {
            if self.histories.get(row.id).unmerged {
                continue;
            }
            let mut chain = Vec::new();
            self.window.absorb(row.id, CHAIN_MAX, &mut chain);
            // What is read back must be what was sent: the records of one batch. What is sent holds nothing of which it is not
            // known whether it was.
            let batch = |offset| self.suspects.get(index as u16, offset).map(|suspect| suspect.batch);
            let own = batch(row.offset);
            let kept = chain.iter().take_while(|taken| batch(taken.offset) == own).count();
            for taken in chain.split_off(kept) {
                self.window.retry(taken.id);
            }
            row.merged = chain;
        }
    }

    fn start(
        &mut self,
        index: usize,
        lane: Lane,
        kind: JobKind,
        rows: Vec<JobRow>,
        (place, pass): (OrgPlace, Pass),
    ) -> Result<(), EngineError> {
        let number = self.next_job;
        self.next_job += 1;
        let floor = self.shared.carrier.journal.end()?;
        let run = &mut self.routes[index];
        run.floors.insert(number, floor);
        run.in_flight[lane as usize] += 1;
        let job = Job { kind, route: run.route.clone(), lane, rows, pass, place };
        let carrier = self.shared.carrier.clone();
        self.jobs.spawn(async move {
            let done = carrier.carry(job).await;
            Event::Carried { route: index, lane, kind, number, done }
        });
        Ok(())
    }
}
