//! Which rows go out now: critical first, each route in turn, as many as fit, at once when nothing is in flight.

use super::error::EngineError;
use super::group::{Event, Group};
use super::job::{Job, JobKind, JobRow, Upload};
use super::permits::{Pass, Wait};
use super::release::Release;
use super::route::OrgPlace;
use super::route_run::Paced;
use crate::recovery::Way;
use crate::router::Choice;
use crate::spec::{Coalesce, Operation};
use crate::window::{ParentKey, Taken};
use contract::Spend;
use governor::Ask;
use model::{Api, BatchId, Lane, Offset, OffsetRange, Outcome, SettledRows};
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
    /// Of this batch, which went by a job: the target is asked what became of them.
    Adopt(BatchId),
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
            let linger = run.linger[lane as usize].map(|since| since + run.linger_for[lane as usize]);
            let paced = run.paced[lane as usize].until;
            [linger, Some(run.pause.until), Some(self.lane_wait[lane as usize]), Some(paced)]
        });
        // A moment that has passed is not what is waited for.
        moments
            .flatten()
            .chain(self.redrives.next_try())
            .chain(self.next_unit())
            .chain([self.gate_until])
            .filter(|moment| *moment > now)
            .min()
    }

    /// Forms one batch of a route and lane; returns whether it is worth looking again.
    fn form(&mut self, index: usize, lane: Lane, now: Duration) -> Result<bool, EngineError> {
        let ready = self.window.counts(index as u16, lane).ready;
        let run = &mut self.routes[index];
        if ready == 0 {
            run.linger[lane as usize] = None;
            return Ok(false);
        }
        if self.lane_wait[lane as usize] > now || !run.is_open(now) {
            return Ok(false);
        }
        if self.parents.is_full(index) {
            return Ok(false);
        }
        let Some(choice) = self.choose(index, lane, ready, now) else {
            let api = self.routes[index].route.pinned_api();
            if let Err(held) = self.org.gate.may_send(api, now) {
                self.gate_until = held.until.unwrap_or_default();
            }
            return Ok(false);
        };
        if !self.is_due(index, lane, &choice, ready, now) {
            return Ok(false);
        }
        let cost = self.cost(index, &choice);
        let full = ready >= choice.rows;
        if self.routes[index].is_paced(lane, full, now) {
            return Ok(false);
        }
        let oldest = self.window.oldest_ready(index as u16, lane);
        let patience = self.patience(index, choice.api, choice.rows.min(ready), oldest);
        let leave = match self.ask(index, lane, (choice.api, cost), (full, patience), now) {
            Ok(leave) => leave,
            Err(wait) => {
                match wait {
                    Some(Wait { delay, reason, paced: true, .. }) => {
                        self.routes[index].paced[lane as usize] = Paced { until: now + delay, full, reason };
                        self.persist.touch();
                    }
                    Some(wait) => self.lane_waits(lane, wait, now),
                    None => {}
                }
                return Ok(false);
            }
        };
        self.routes[index].linger[lane as usize] = None;
        let mut taken = Vec::with_capacity(choice.rows.min(ready));
        self.window.take(index as u16, lane, choice.rows, &mut taken);
        let (class, rows, parents) = self.pick(index, lane, taken, now);
        if rows.is_empty() {
            leave.1.finish(Spend::default());
            return Ok(true);
        }
        self.send(index, lane, class, (rows, parents), (choice, leave), now)
    }

    /// Sends rows of one class the way that was chosen, or by calls where that way is not for their class.
    fn send(
        &mut self,
        index: usize,
        lane: Lane,
        class: Class,
        (mut rows, parents): (Vec<JobRow>, Vec<ParentKey>),
        (mut choice, mut leave): (Choice, (OrgPlace, Pass)),
        now: Duration,
    ) -> Result<bool, EngineError> {
        let kind = match class {
            Class::Plain | Class::Few(_) => JobKind::Send,
            Class::ReadBack => JobKind::ReadBack,
            Class::Adopt(_) => JobKind::Adopt,
        };
        let api = match class {
            Class::Plain => choice.api,
            // What failed before goes in small company, and a read-back is a query.
            Class::Few(_) | Class::ReadBack if choice.api == Api::Bulk => self.routes[index].route.single_api(),
            Class::Few(_) | Class::ReadBack => choice.api,
            Class::Adopt(_) => Api::Bulk,
        };
        if api != choice.api {
            leave.1.finish(Spend::default());
            drop(leave.0);
            let run = &self.routes[index];
            let fits = run.rows_wanted(api);
            let open = api == Api::Bulk || run.may_call(api, lane, self.shared.spec.batch_bytes_in_memory_max);
            for row in rows.split_off(rows.len().min(fits)) {
                self.give_back(row, None);
            }
            choice = Choice { api, rows: rows.len(), reason: String::new() };
            let cost = self.cost(index, &choice);
            // Their failure has cost them time: they do not wait for company.
            let hurry = (true, Duration::ZERO);
            let admitted = if open { self.admit(index, lane, (api, cost), hurry, now) } else { None };
            let Some(granted) = admitted else {
                rows.into_iter().for_each(|row| self.give_back(row, None));
                return Ok(false);
            };
            leave = granted;
        }
        self.parents.lock(self.next_job, parents, lane, choice.api == Api::Bulk);
        self.start(index, lane, (class, kind), rows, (choice, leave))?;
        Ok(true)
    }

    /// A place at the org and a permit, or neither: the lane waits then.
    pub(super) fn admit(
        &mut self,
        index: usize,
        lane: Lane,
        (api, cost): (Api, Spend),
        pacing: (bool, Duration),
        now: Duration,
    ) -> Option<(OrgPlace, Pass)> {
        match self.ask(index, lane, (api, cost), pacing, now) {
            Ok(leave) => Some(leave),
            Err(wait) => {
                self.lane_waits(lane, wait?, now);
                None
            }
        }
    }

    /// Lets a lane send nothing for a while.
    fn lane_waits(&mut self, lane: Lane, wait: Wait, now: Duration) {
        self.lane_wait[lane as usize] = now + wait.delay;
        self.wait_reason = wait.worth_telling.then_some(wait.reason);
        if wait.worth_telling {
            self.persist.touch();
        }
    }

    /// Asks for a place at the org and a permit. Whether the batch is full and how long it can wait decide what pacing says.
    ///
    /// # Errors
    /// When to ask again; none: when a batch that is in flight has ended, or the gate opens.
    pub(super) fn ask(
        &mut self,
        index: usize,
        lane: Lane,
        (api, cost): (Api, Spend),
        (full, patience): (bool, Duration),
        now: Duration,
    ) -> Result<(OrgPlace, Pass), Option<Wait>> {
        let job = api == Api::Bulk;
        let place = match self.org.gate.begin(api, now) {
            Ok(pass) => (if job { self.org.enter_job() } else { self.org.enter(lane) }).ok_or(None)?.with(pass),
            Err(held) => {
                self.gate_until = held.until.unwrap_or_default();
                self.persist.touch();
                return Err(None);
            }
        };
        let spec = &self.routes[index].route.spec;
        let creates = if spec.operation == Operation::Create { 1 } else { 0 };
        let ask = Ask::new(lane, &spec.id, cost, Some(patience));
        let pass = self.org.permits.ask_for(&Ask { background: job, creates, full, ..ask })?;
        Ok((place, pass))
    }

    /// Keeps of the taken rows those that may share a batch with the first; gives the others back.
    fn pick(
        &mut self,
        index: usize,
        lane: Lane,
        taken: Vec<Taken>,
        now: Duration,
    ) -> (Class, Vec<JobRow>, Vec<ParentKey>) {
        let (taken, parents) = self.keep_unlocked(index, lane, taken);
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
        (class, rows, parents)
    }

    /// Keeps of the taken rows those whose parents no other batch locks, with their parents; the others wait for them.
    fn keep_unlocked(&mut self, index: usize, lane: Lane, mut taken: Vec<Taken>) -> (Vec<Taken>, Vec<ParentKey>) {
        let mut all = Vec::new();
        if !self.routes[index].route.locks_parents() {
            return (taken, all);
        }
        let mut own = Vec::new();
        taken.retain(|row| {
            own.clear();
            self.window.parents(row.id, &mut own);
            match self.parents.locked(&own, lane) {
                Some(parent) => self.parents.wait(parent, index, row.id),
                None => all.extend_from_slice(&own),
            }
            self.parents.locked(&own, lane).is_none()
        });
        all.sort_unstable();
        all.dedup();
        (taken, all)
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
        match self.suspects.way(suspect.batch) {
            Way::Job(_) => return Some(Class::Adopt(suspect.batch)),
            // Nothing was uploaded: it is as if it had never been tried.
            Way::NoJob => {
                self.forget_suspect(index, taken.offset);
                return Some(Class::Plain);
            }
            Way::Call => {}
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
            Release { route: index, ids: vec![taken.id], highest: taken.offset, counts, ..Release::default() },
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
        (class, kind): (Class, JobKind),
        rows: Vec<JobRow>,
        (choice, (place, pass)): (Choice, (OrgPlace, Pass)),
    ) -> Result<(), EngineError> {
        let number = self.next_job;
        self.next_job += 1;
        let floor = self.shared.carrier.journal.end()?;
        let adopted = match class {
            Class::Adopt(batch) => match self.suspects.way(batch) {
                Way::Job(job) => Some(job),
                Way::Call | Way::NoJob => None,
            },
            _ => None,
        };
        let run = &mut self.routes[index];
        run.floors.insert(number, floor);
        let by_job = choice.api == Api::Bulk;
        if by_job {
            run.jobs += 1
        } else {
            run.in_flight[lane as usize] += 1
        }
        let upload = (by_job && kind == JobKind::Send).then(|| Upload::new(&run.uploading, &self.org));
        let (api, reason) = (choice.api, (!choice.reason.is_empty()).then_some(choice.reason));
        let job = Job { kind, api, reason, adopted, route: run.route.clone(), lane, rows, pass, place, upload };
        let carrier = self.shared.carrier.clone();
        self.jobs.spawn(async move {
            let done = carrier.carry(job).await;
            Event::Carried { route: index, lane, kind, by_job, number, done }
        });
        Ok(())
    }
}
