//! What becomes of a job's rows.

use super::answers::{NEVER_ANSWERED, RouteVerdict, Verdict, judge, judge_adopted, judge_read_back};
use super::error::EngineError;
use super::group::{Event, Group};
use super::job::{Answer, Batch, JobDone, JobKind, JobRow};
use super::release::Release;
use crate::recovery::Way;
use crate::settle::delay_of;
use crate::window::EntryId;
use contract::{LogError, RowError, Spend};
use model::{Api, BatchId, ErrorClass, Lane, Offset, OffsetRange, Outcome, SettledRows};
use std::sync::Arc;
use std::time::Duration;

/// How long an org's routes wait when it says that an allocation is spent and not for how long.
pub(super) const QUOTA_WAIT: Duration = Duration::from_secs(60);
/// Before a route whose objects could not be described is tried again.
const DESCRIBE_WAIT: Duration = Duration::from_secs(60);
/// Failures of whole batches after which a row travels with fewer others: one of them may be what breaks the target.
const FAILURES_TOGETHER_MAX: u32 = 2;

/// Rows that a job does not carry go by calls of at most so many.
const ELSEWHERE_ROWS: usize = 200;

/// The batch that a row went in.
#[derive(Clone, Copy)]
struct Company {
    batch: BatchId,
    rows: usize,
    by_job: bool,
}

/// What a batch's rows come to.
#[derive(Default)]
pub(super) struct Sorted {
    /// Newest offset and target id of each row that the target holds.
    applied: Vec<(Offset, Option<Arc<str>>)>,
    /// Merged rows: the newest offset, and the older ones.
    superseded: Vec<(Offset, Vec<Offset>)>,
    /// In the order in which the window settles them.
    ids: Vec<EntryId>,
    dead: Vec<(JobRow, RowError)>,
    closed: Vec<BatchId>,
    attempts: u32,
    /// The batch's highest offset.
    highest: Offset,
}

impl Sorted {
    /// Why the newest row that is to be a dead letter is one.
    pub(super) fn into_dead(mut self) -> Option<RowError> {
        self.dead.pop().map(|(_, error)| error)
    }
}

impl Group {
    pub(super) fn carried(
        &mut self,
        index: usize,
        (lane, by_job): (Lane, bool),
        kind: JobKind,
        number: u64,
        done: JobDone,
    ) -> Result<(), EngineError> {
        let now = self.shared.now();
        let run = &mut self.routes[index];
        if by_job {
            run.jobs -= 1
        } else {
            run.in_flight[lane as usize] -= 1
        }
        let floor = run.floors.remove(&number).unwrap_or_default();
        run.read(done.read_bytes, done.read_records);
        for id in self.parents.free(number) {
            self.window.retry(id);
        }
        self.persist.touch();
        if let Some(wait) = done.wait {
            self.lane_wait[lane as usize] = now + wait;
        }
        if let Some(error) = done.log_failed {
            self.log_failed(index, error, now)?;
        }
        for row in done.returned {
            self.give_back(row, None);
        }
        for row in done.elsewhere {
            self.histories.of(row.id).company_max = Some(ELSEWHERE_ROWS);
            self.give_back(row, None);
        }
        for member in done.returned_members {
            self.window.retry(member.id);
        }
        let refused = done.refused.into_iter().map(|(row, refusal)| {
            // Whatever the target holds of it, nothing can be compared: the dead letter tells an operator.
            for offset in row.offsets() {
                self.forget_suspect(index, offset);
            }
            let fields = refusal.field.iter().map(|field| field.to_string()).collect();
            let error = RowError {
                class: ErrorClass::Permanent,
                code: refusal.code.0.to_owned(),
                message: refusal.message,
                fields,
            };
            (row, error)
        });
        let refused: Vec<_> = refused.collect();
        self.bury_rows(index, refused);
        for batch in done.batches {
            self.answered(index, kind, batch, floor, now);
        }
        Ok(())
    }

    /// The log could not be read or the journal not be written: nothing was sent.
    pub(super) fn log_failed(&mut self, index: usize, error: LogError, now: Duration) -> Result<(), EngineError> {
        let (delay, trouble) = delay_of(error)?;
        self.routes[index].pause(now + delay, Some(trouble));
        Ok(())
    }

    fn answered(&mut self, index: usize, kind: JobKind, batch: Batch, floor: Offset, now: Duration) {
        let (ok, spent) = match &batch.answer {
            Answer::Sent(Ok(applied)) => (true, applied.spent),
            Answer::ReadBack(Ok((_, calls))) => (true, Spend::calls(*calls)),
            Answer::Adopted(Ok(adopted)) => (true, adopted.spent),
            Answer::Sent(Err(error)) | Answer::ReadBack(Err(error)) | Answer::Adopted(Err(error)) => {
                (false, error.spent)
            }
        };
        let (verdicts, route_verdict) = match &batch.answer {
            Answer::Sent(answer) => judge(batch.rows.len(), answer),
            Answer::ReadBack(answer) => judge_read_back(batch.rows.len(), answer),
            Answer::Adopted(answer) => judge_adopted(batch.rows.len(), answer),
        };
        assert_eq!(verdicts.len(), batch.rows.len(), "a sink answers every row once");
        let now_ms = self.shared.now_ms();
        let run = &mut self.routes[index];
        run.status.count_batch(kind.asks(), batch.api, batch.rows.len(), spent);
        if ok && kind == JobKind::Send {
            self.org.paces.lock().learn(batch.api, batch.rows.len(), batch.took);
            if batch.api != Api::Bulk {
                run.took(batch.took, batch.rows.len());
            }
        }
        // A read-back that finds nothing does not say that the target takes writes.
        let took = kind == JobKind::Send || verdicts.iter().any(|verdict| matches!(verdict, Verdict::Applied { .. }));
        if ok && took && route_verdict.quota.is_none() && !route_verdict.auth {
            run.succeeded();
        }
        self.judge_route(index, batch.api, route_verdict, now);
        let highest = match kind {
            JobKind::Send => batch.rows.iter().map(JobRow::newest).max().unwrap_or_default(),
            // Batches that are closed by a read-back may have had any rows.
            JobKind::ReadBack | JobKind::Adopt => self.window.cursor(),
        };
        let mut sorted = Sorted { highest, ..Sorted::default() };
        let rows_in_batch = batch.rows.len();
        for ((row, verdict), time_ms) in batch.rows.into_iter().zip(verdicts).zip(&batch.times_ms) {
            if kind.asks() && verdict != Verdict::Suspect {
                sorted.closed.extend(row.offsets().filter_map(|offset| self.forget_suspect(index, offset)));
            }
            if let Verdict::Applied { .. } = verdict {
                let run = &mut self.routes[index];
                run.status.adopted += u64::from(kind == JobKind::Adopt);
                run.latencies.add(now_ms - time_ms);
                run.latency_metric.record((now_ms - time_ms).max(0) as f64 / 1000.0);
            }
            let company = Company { batch: batch.id, rows: rows_in_batch, by_job: batch.api == Api::Bulk };
            self.decide(index, kind, row, verdict, (company, floor, now), &mut sorted);
        }
        if kind == JobKind::Send && batch.api == Api::Bulk {
            self.suspects.went(batch.id, batch.job.map_or(Way::NoJob, Way::Job));
        }
        self.settle_sorted(index, kind, batch.id, sorted, spent.calls);
    }

    /// What the answer means for the route as a whole.
    pub(super) fn judge_route(&mut self, index: usize, api: Api, verdict: RouteVerdict, now: Duration) {
        let run = &mut self.routes[index];
        if verdict.error.is_some() {
            run.tell_error(verdict.error.clone());
        }
        if let Some(wait) = verdict.back_off {
            let own = self.jitter.backoff(&run.route.spec.retry.transient, run.pause.streak + 1);
            run.pause(now + own.max(wait.unwrap_or_default()), verdict.error.clone());
        }
        if let Some(said) = verdict.quota {
            let wait = said.wait.unwrap_or(QUOTA_WAIT);
            let of_events = matches!(api, Api::Event | Api::PubSub) || run.route.is_event();
            let limit = governor::Limit::spoken_of(&said.code, &said.message, of_events, api == Api::Bulk);
            // What only some ways need is held by the permits: the route may go on by another way.
            if !self.org.permits.hold(limit, wait) || limit.stops_upserts() {
                run.pause(now + wait, verdict.error);
            }
        }
    }

    /// Carries out a row's verdict, but for the settlement.
    fn decide(
        &mut self,
        index: usize,
        kind: JobKind,
        row: JobRow,
        verdict: Verdict,
        (company, floor, now): (Company, Offset, Duration),
        sorted: &mut Sorted,
    ) {
        if kind == JobKind::Send {
            sorted.attempts = sorted.attempts.max(row.sent + 1);
            if !matches!(verdict, Verdict::Applied { .. }) {
                self.histories.of(row.id).sent = row.sent + 1;
            }
        }
        match verdict {
            Verdict::Applied { id } => {
                sorted.ids.push(row.id);
                sorted.ids.extend(row.merged.iter().map(|taken| taken.id));
                sorted.applied.push((row.newest(), id));
                if !row.merged.is_empty() {
                    let older = row.offsets().take(row.merged.len()).collect();
                    sorted.superseded.push((row.newest(), older));
                }
            }
            Verdict::Return => self.give_back(row, None),
            Verdict::Suspect => self.suspect(index, kind, row, (company, floor, now)),
            Verdict::Missing => self.missing(index, row, (company.rows, now), sorted),
            Verdict::Again { error, counts } => self.again(index, row, error, (counts, company.rows, now), sorted),
            Verdict::Parent(error) => self.parent_missing(index, row, error, now, sorted),
            Verdict::Dead(error) if kind.asks() => {
                let members = row.merged.into_iter();
                let members = members.map(|taken| JobRow {
                    id: taken.id,
                    offset: taken.offset,
                    merged: Vec::new(),
                    sent: row.sent,
                });
                sorted.dead.extend(members.map(|member| (member, error.clone())));
                sorted.dead.push((JobRow { merged: Vec::new(), ..row }, error));
            }
            Verdict::Dead(_) if !row.merged.is_empty() => {
                // Which of the merged records is to blame shows when they go one by one.
                self.histories.of(row.id).unmerged = true;
                for taken in &row.merged {
                    self.histories.of(taken.id).unmerged = true;
                }
                self.give_back(row, None);
            }
            Verdict::Dead(error) => sorted.dead.push((row, error)),
            Verdict::Halve => {
                self.histories.of(row.id).company_max = Some((company.rows / 2).max(1));
                self.give_back(row, None);
            }
            Verdict::Refresh(error) => self.refresh(index, row, error, company.rows, sorted),
        }
    }

    /// Its parent is not there: waits for it, as long as the route's patience lasts.
    pub(super) fn parent_missing(
        &mut self,
        index: usize,
        row: JobRow,
        error: RowError,
        now: Duration,
        sorted: &mut Sorted,
    ) {
        let policy = self.routes[index].route.spec.retry.parent_missing;
        let copying = self.copying_parents(index);
        let history = self.histories.of(row.id);
        history.streak += 1;
        if copying {
            // The first copy has still to bring the parents: the wait is counted from its end.
            history.parent_since = Some(now);
        }
        let (streak, since) = (history.streak, *history.parent_since.get_or_insert(now));
        if !copying && (now.saturating_sub(since) >= policy.patience || streak >= policy.attempts_max) {
            sorted.dead.push((row, gave_up(error, format!("its parent did not come in {:?}", now - since))));
            return;
        }
        let wait = self.jitter.backoff(&policy, streak);
        for id in std::iter::once(row.id).chain(row.merged.iter().map(|taken| taken.id)) {
            self.window.yield_reads(id);
        }
        self.give_back(row, Some(now + wait));
    }

    /// The target does not know a field: describes it again, once for each row; then alone, and then no more.
    pub(super) fn refresh(&mut self, index: usize, row: JobRow, error: RowError, company: usize, sorted: &mut Sorted) {
        let history = self.histories.of(row.id);
        let first = !std::mem::replace(&mut history.refreshed, true);
        if !first && company == 1 {
            sorted.dead.push((row, error));
            return;
        }
        if !first {
            history.company_max = Some(company / 2);
        }
        self.give_back(row, None);
        if first {
            self.recompile(index);
        }
    }

    /// True while the source still copies a table that a parent of this route's rows comes from.
    fn copying_parents(&self, index: usize) -> bool {
        let copying = self.shared.copying.read();
        let references = &self.routes[index].route.spec.references;
        !copying.is_empty() && references.iter().any(|reference| copying.contains(&reference.table))
    }

    /// It failed, and may not fail the next time.
    pub(super) fn again(
        &mut self,
        index: usize,
        row: JobRow,
        error: RowError,
        (counts, company, now): (bool, usize, Duration),
        sorted: &mut Sorted,
    ) {
        let run = &mut self.routes[index];
        if error.class == ErrorClass::Lock {
            run.route.learn_lock();
        }
        run.status.retried += 1;
        let (retry, successes) = (run.route.spec.retry, run.successes);
        let policy = retry.policy(error.class).unwrap_or(&retry.transient);
        let history = self.histories.of(row.id);
        // A target that answers nobody says nothing against this row.
        let blamed = counts || (history.streak > 0 && successes > history.successes);
        history.streak += 1;
        history.successes = successes;
        if blamed {
            history.failing_since.get_or_insert(now);
        }
        let (streak, since) = (history.streak, history.failing_since.unwrap_or(now));
        let of_class = history.failures_of(error.class);
        *of_class += u32::from(blamed);
        let failures = *of_class;
        // How many it travelled with: a read-back gathers other rows than were sent together.
        let company = history.company_max.map_or(company, |max| max.min(company));
        if !counts && failures >= FAILURES_TOGETHER_MAX {
            history.company_max = Some((company / 2).max(1));
        }
        // What failed as a whole is a row's own fault only when it went alone.
        let alone = counts || company == 1;
        let spent = failures >= policy.attempts_max || now.saturating_sub(since) >= policy.patience;
        if blamed && alone && spent {
            sorted.dead.push((row, gave_up(error, format!("{failures} attempts failed in {:?}", now - since))));
        } else {
            // Also when the target as a whole failed: so the next probe carries other rows, and one that breaks the target
            // is told from an outage.
            let wait = self.jitter.backoff(policy, streak);
            let from = self.open_from(index, now);
            self.give_back(row, Some(from + wait));
        }
    }

    /// From when rows of the route that go alone find their way open.
    fn open_from(&self, index: usize, now: Duration) -> Duration {
        self.org.gate.open_until(self.routes[index].route.single_api(), now)
    }

    /// It was sent without an answer, and is not there. Once, that was the way's fault; a row to which it happens again while
    /// others go through may be what breaks the target.
    pub(super) fn missing(
        &mut self,
        index: usize,
        row: JobRow,
        (company, now): (usize, Duration),
        sorted: &mut Sorted,
    ) {
        let successes = self.routes[index].successes;
        let history = self.histories.of(row.id);
        if history.streak == 0 {
            (history.streak, history.successes) = (1, successes);
            let from = self.open_from(index, now);
            self.give_back(row, Some(from));
            return;
        }
        let error = RowError {
            class: ErrorClass::Unknown,
            code: NEVER_ANSWERED.to_owned(),
            message: "the target gave no clear answer when it was sent, and does not hold it".to_owned(),
            fields: Vec::new(),
        };
        self.again(index, row, error, (false, company, now), sorted);
    }

    /// Remembers that the target may hold the row, and comes back to it after a grace.
    fn suspect(
        &mut self,
        index: usize,
        kind: JobKind,
        row: JobRow,
        (company, floor, now): (Company, Offset, Duration),
    ) {
        let (mut until, now_ms) = (now, self.shared.now_ms());
        if kind == JobKind::Send {
            for offset in row.offsets() {
                self.suspects.add(index as u16, offset, company.batch, now_ms);
            }
            let run = &mut self.routes[index];
            run.suspect_floor = Some(run.suspect_floor.map_or(floor, |earlier| earlier.min(floor)));
            // A job tells by itself when it has ended.
            if !company.by_job {
                run.suspect_rows = run.suspect_rows.max(company.rows as u64);
                until += run.suspect_grace(self.shared.spec.recovery_grace);
            }
        }
        self.give_back(row, Some(until));
    }

    /// Gives a row and what was merged into it back to the window.
    pub(super) fn give_back(&mut self, row: JobRow, until: Option<Duration>) {
        match until {
            Some(until) => self.window.hold(row.id, until),
            None => self.window.retry(row.id),
        }
        for taken in row.merged {
            self.window.retry(taken.id);
        }
    }

    /// Orders the settlement of what the target holds, and the burial of what it never will.
    fn settle_sorted(&mut self, index: usize, kind: JobKind, batch: BatchId, mut sorted: Sorted, calls: u32) {
        // A settlement that names a batch says that it is answered: only when none of its rows is a suspect.
        let name = match kind {
            JobKind::Send => (!self.suspects.holds(batch)).then_some(batch),
            JobKind::ReadBack | JobKind::Adopt => sorted.closed.pop(),
        };
        let mut counts = vec![(Outcome::Applied, sorted.applied.len() as u64)];
        let mut rows = settled_rows(sorted.applied, sorted.superseded, &mut counts);
        self.units.mark(&mut rows);
        let mut settlement = self.settlement(index, name, rows);
        settlement.attempts = sorted.attempts;
        settlement.read_back = kind.asks();
        settlement.calls = calls;
        let mut settlements = Vec::new();
        if name.is_some() || !settlement.rows.is_empty() {
            settlements.push(settlement);
        }
        settlements.extend(sorted.closed.into_iter().map(|batch| self.settlement(index, Some(batch), Vec::new())));
        if !settlements.is_empty() {
            self.shared.carrier.crash.reach(contract::CrashPoint::BeforeSettle);
            self.order(
                Release { route: index, ids: sorted.ids, highest: sorted.highest, counts, ..Release::default() },
                settlements,
                false,
            );
        }
        self.bury_rows(index, sorted.dead);
    }

    /// Describes the target's objects anew and compiles the route; nothing is sent meanwhile.
    fn recompile(&mut self, index: usize) {
        let run = &mut self.routes[index];
        if run.refreshing {
            return;
        }
        run.refreshing = true;
        let route = run.route.clone();
        self.jobs.spawn(async move {
            let result = route.recompile().await;
            Event::Recompiled { route: index, result }
        });
    }

    pub(super) fn recompiled(&mut self, index: usize, result: Result<(), EngineError>) {
        let run = &mut self.routes[index];
        run.refreshing = false;
        if let Err(error) = result {
            // Every row would be refused for what an operator can mend: the route waits instead.
            run.pause(self.shared.now() + DESCRIBE_WAIT, Some(error.to_string()));
        }
        self.persist.touch();
    }
}

fn gave_up(error: RowError, why: String) -> RowError {
    RowError { message: format!("{} ({why})", error.message), ..error }
}

/// The rows of a settlement, with ascending offsets; ids are given for all or none.
fn settled_rows(
    mut applied: Vec<(Offset, Option<Arc<str>>)>,
    superseded: Vec<(Offset, Vec<Offset>)>,
    counts: &mut Vec<(Outcome, u64)>,
) -> Vec<SettledRows> {
    let mut rows = Vec::new();
    applied.sort_by_key(|(offset, _)| *offset);
    if !applied.is_empty() {
        let ids: Option<Vec<String>> = applied.iter().map(|(_, id)| id.as_deref().map(str::to_owned)).collect();
        rows.push(SettledRows {
            outcome: Outcome::Applied,
            offsets: OffsetRange::pack(applied.iter().map(|(offset, _)| *offset)),
            target_ids: ids.unwrap_or_default(),
            by: None,
            code: None,
        });
    }
    for (by, offsets) in superseded {
        counts.push((Outcome::Superseded, offsets.len() as u64));
        rows.push(SettledRows {
            outcome: Outcome::Superseded,
            offsets: OffsetRange::pack(offsets),
            target_ids: Vec::new(),
            by: Some(by),
            code: None,
        });
    }
    rows
}
