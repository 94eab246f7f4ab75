//! Retries of dead letters whose turn has come: from the look at what is newer to the entries in the index.

use super::answers::{Verdict, judge, judge_read_back};
use super::compose::map_record;
use super::error::EngineError;
use super::gate::CallEnd;
use super::group::Shared;
use super::permits::Pass;
use super::redrive_end::{Ending, Settles, end_failed, end_settled};
use super::redrive_newer::{Sought, newer, target_key};
use super::redrives::{Letter, LetterEnd, RedriveOutcome};
use super::retry::Jitter;
use super::route::{OrgPlace, Route};
use crate::dlq::{DlqEntry, DlqStatus, delete_command, load as load_entry, put_entry, remaining};
use crate::event::ChangeView;
use crate::mapping::{MappedRow, RowRefusal};
use contract::{OutBatch, OutRow, RowError, Spend};
use hashbrown::HashSet;
use model::{BatchIntent, ErrorClass, OffsetRange, Outcome, Position, Retry};
use std::sync::Arc;
use std::time::Duration;

/// Sends of one retry where the policy has no limit of its own: a parent that is missing now may be missing for ever, and the
/// retries behind this one wait.
const RETRY_ATTEMPTS_MAX: u32 = 10;

/// Retries that go together.
pub(super) struct RedriveJob {
    pub shared: Arc<Shared>,
    pub route: Arc<Route>,
    /// The routes of the group, this one included.
    pub related: Vec<Arc<Route>>,
    /// None in conflict with another.
    pub letters: Vec<Letter>,
    /// How long a call without an answer may still be under way in the target.
    pub grace: Duration,
    pub pass: Pass,
    /// Held until it ends.
    pub _place: OrgPlace,
    /// What was spent so far.
    pub spent: Spend,
}

/// A letter whose row is ready for the target.
struct Ready {
    /// Its index in the job.
    at: usize,
    entry: DlqEntry,
    row: MappedRow,
}

/// How each letter of a job ended so far; what is none comes back as it is.
type Ends = Vec<Option<LetterEnd>>;

impl RedriveJob {
    /// Carries the retries as far as they go.
    pub(super) async fn run(mut self) -> RedriveOutcome {
        let letters = std::mem::take(&mut self.letters);
        let mut ends: Ends = letters.iter().map(|_| None).collect();
        let mut said = None;
        let tried = self.attempt(&letters, &mut ends, &mut said).await;
        self.pass.finish(self.spent);
        let delay = match tried {
            Ok(()) => Duration::ZERO,
            Err(error) => match error.retry() {
                Retry::After(delay) => {
                    said = Some(error.to_string());
                    delay
                }
                Retry::AfterOperator | Retry::Never => return RedriveOutcome::Broken(error),
            },
        };
        let later = || LetterEnd::Later { delay, failed: false, company_max: None };
        let ends = letters.into_iter().zip(ends).map(|(letter, end)| (letter.entry, end.unwrap_or_else(later)));
        RedriveOutcome::Done { ends: ends.collect(), error: said }
    }

    async fn attempt(
        &mut self,
        letters: &[Letter],
        ends: &mut Ends,
        said: &mut Option<String>,
    ) -> Result<(), EngineError> {
        let ready = self.rows(letters, ends).await?;
        let ready = self.without_newer(letters, ready, ends).await?;
        // One operation for each call; the others come back at once.
        let Some(op) = ready.first().map(|ready| ready.row.op) else { return Ok(()) };
        let mut keys = HashSet::new();
        let (mut sent_before, mut fresh) = (Vec::new(), Vec::new());
        for ready in ready.into_iter().filter(|ready| ready.row.op == op) {
            // Routes without order may hold two letters of one row: they go one after the other.
            if target_key(&self.route, &ready.row).is_some_and(|key| !keys.insert(key)) {
                continue;
            }
            if ready.entry.sent_at_ms.is_some() { sent_before.push(ready) } else { fresh.push(ready) }
        }
        fresh.extend(self.read_back(letters, sent_before, ends, said).await?);
        if fresh.is_empty() { Ok(()) } else { self.send(letters, fresh, ends, said).await }
    }

    /// Each letter as a row; those that are decided otherwise, refused or filtered now end here.
    async fn rows(&self, letters: &[Letter], ends: &mut Ends) -> Result<Vec<Ready>, EngineError> {
        let mapper = self.route.mapper();
        let (mut ready, mut failed, mut errors, mut filtered) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at, letter) in letters.iter().enumerate() {
            let entry = match load_entry(&*self.shared.state, letter.loaded.id).await? {
                Some((entry, _)) if entry.status == DlqStatus::Retried => entry,
                _ => {
                    self.shared.state.write(vec![delete_command(&self.route.spec.id, letter.loaded.id)]).await?;
                    ends[at] = Some(LetterEnd::Over);
                    continue;
                }
            };
            let record = letter.loaded.record.iter().next().expect("a loaded dead letter holds one record");
            let passes = ChangeView::parse(&record).ok().and_then(|view| mapper.passes(&view).ok());
            if passes == Some(false) {
                filtered.push((at, ending(letter, entry)));
                continue;
            }
            match map_record(&mapper, &record) {
                Ok(row) => ready.push(Ready { at, entry, row }),
                Err(refusal) => {
                    failed.push((at, ending(letter, entry)));
                    errors.push(refused(refusal));
                }
            }
        }
        self.settle(filtered.into_iter().map(|(at, ending)| (at, ending, Outcome::Filtered, None)), None, false, ends)
            .await?;
        self.fail(failed, errors, ends).await?;
        Ok(ready)
    }

    /// Leaves out what newer records carried; letters of which nothing remains are superseded.
    async fn without_newer(
        &self,
        letters: &[Letter],
        ready: Vec<Ready>,
        ends: &mut Ends,
    ) -> Result<Vec<Ready>, EngineError> {
        let sought: Vec<Sought<'_>> =
            ready.iter().map(|ready| Sought { letter: &letters[ready.at], row: &ready.row }).collect();
        let found = newer(&self.shared, &self.route, &self.related, &sought).await?;
        let columns = self.route.mapper().columns();
        let (mut kept, mut superseded, mut failed, mut errors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (Ready { at, entry, row }, found) in ready.into_iter().zip(found) {
            match found.map(|newer| remaining(row, &columns, &newer)) {
                Ok(Some(row)) => kept.push(Ready { at, entry, row }),
                Ok(None) => superseded.push((at, ending(&letters[at], entry), Outcome::Superseded, None)),
                Err(error) => {
                    failed.push((at, ending(&letters[at], entry)));
                    errors.push(error);
                }
            }
        }
        self.settle(superseded, None, false, ends).await?;
        self.fail(failed, errors, ends).await?;
        Ok(kept)
    }

    /// Asks which of those that went out without an answer the target holds; returns those that it does not.
    async fn read_back(
        &mut self,
        letters: &[Letter],
        ready: Vec<Ready>,
        ends: &mut Ends,
        said: &mut Option<String>,
    ) -> Result<Vec<Ready>, EngineError> {
        let (now_ms, grace_ms) = (self.shared.now_ms(), self.grace.as_millis() as i64);
        let mut due = Vec::new();
        for ready in ready {
            // The request of a process that died may still be under way in the target.
            let left_ms = (ready.entry.sent_at_ms.unwrap_or(now_ms) + grace_ms - now_ms).clamp(0, grace_ms);
            if left_ms > 0 {
                let delay = Duration::from_millis(left_ms as u64);
                ends[ready.at] = Some(LetterEnd::Later { delay, failed: false, company_max: None });
            } else {
                due.push(ready);
            }
        }
        if due.is_empty() {
            return Ok(due);
        }
        let batch = self.batch(letters, &due);
        let answer = self.route.org.sink.read_back(&batch).await;
        self.route.org.report(batch.api, CallEnd::of_query(&answer), self.shared.now());
        self.spent += answer.as_ref().map_or_else(|error| error.spent, |(_, calls)| Spend::calls(*calls));
        let (verdicts, _) = judge_read_back(due.len(), &answer);
        *said = answer.err().map(|error| error.to_string());
        let (mut missing, mut applied, mut failed, mut errors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (ready, verdict) in due.into_iter().zip(verdicts) {
            let letter = &letters[ready.at];
            match verdict {
                Verdict::Applied { id } => {
                    applied.push((ready.at, ending(letter, ready.entry), Outcome::Applied, id));
                }
                Verdict::Missing => missing.push(ready),
                Verdict::Dead(error) => {
                    failed.push((ready.at, ending(letter, ready.entry)));
                    errors.push(error);
                }
                _ => ends[ready.at] = Some(self.later(letter, None, false, None)),
            }
        }
        self.settle(applied, Some(&batch), true, ends).await?;
        self.fail(failed, errors, ends).await?;
        Ok(missing)
    }

    fn batch(&self, letters: &[Letter], ready: &[Ready]) -> OutBatch {
        let spec = &self.route.spec;
        let rows = ready.iter().map(|Ready { at, row, .. }| {
            let position = Position { partition: spec.stream.partition, offset: letters[*at].loaded.origin };
            OutRow { position, key: row.key.clone(), cells: row.cells.clone() }
        });
        let columns = self.route.mapper().columns();
        OutBatch {
            id: self.shared.carrier.next_id(),
            api: self.route.single_api(),
            route: spec.id.clone(),
            lane: letters.first().map_or_else(Default::default, |letter| letter.loaded.options.lane),
            object: spec.object.clone(),
            op: ready[0].row.op,
            external_id: spec.external_id.as_deref().map(Arc::from),
            position_field: spec.position_field.as_deref().map(Arc::from),
            columns: if ready[0].row.cells.is_empty() { Arc::from([]) } else { columns },
            rows: rows.collect(),
        }
    }

    async fn send(
        &mut self,
        letters: &[Letter],
        mut ready: Vec<Ready>,
        ends: &mut Ends,
        said: &mut Option<String>,
    ) -> Result<(), EngineError> {
        let shared = self.shared.clone();
        let carrier = &shared.carrier;
        ready.sort_by_key(|ready| letters[ready.at].loaded.origin);
        let batch = self.batch(letters, &ready);
        // From here on a crash leaves it open whether the target has them: the next run reads back.
        let now_ms = shared.now_ms();
        ready.iter_mut().for_each(|ready| ready.entry.sent_at_ms = Some(now_ms));
        shared.state.write(ready.iter().flat_map(|ready| put_entry(&ready.entry)).collect()).await?;
        let spec = &self.route.spec;
        let intent = BatchIntent {
            batch: batch.id,
            route: spec.id.clone(),
            stream: spec.stream.stream.clone(),
            partition: spec.stream.partition,
            object: spec.object.clone(),
            api: batch.api.as_str().to_owned(),
            offsets: OffsetRange::pack(ready.iter().map(|ready| letters[ready.at].loaded.origin)),
            attempt: ready.iter().map(|ready| ready.entry.attempts + 1).max().unwrap_or(1),
            at_ms: now_ms,
            job: None,
            reason: Some("redrive".to_owned()),
        };
        carrier.journal.write(&[intent]).await?;
        carrier.crash.reach(contract::CrashPoint::AfterJournal);
        let answer = self.route.org.sink.apply(&batch).await;
        self.route.org.report(batch.api, CallEnd::of(&answer), shared.now());
        self.spent += answer.as_ref().map_or_else(|error| error.spent, |applied| applied.spent);
        carrier.crash.reach(contract::CrashPoint::AfterSend);
        self.route.org.take_figures();
        let (verdicts, route_verdict) = judge(ready.len(), &answer);
        if let Some(quota) = route_verdict.quota {
            let of_events = self.route.is_event();
            let limit = governor::Limit::spoken_of(&quota.code, &quota.message, of_events, false);
            self.route.org.permits.hold(limit, quota.wait.unwrap_or(super::outcome::QUOTA_WAIT));
        }
        *said = route_verdict.error;
        let company = ready.len();
        let (mut applied, mut failed, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (ready, verdict) in ready.into_iter().zip(verdicts) {
            let (at, letter) = (ready.at, &letters[ready.at]);
            match verdict {
                Verdict::Applied { id } => applied.push((at, ending(letter, ready.entry), Outcome::Applied, id)),
                verdict => match self.next_try(letter, verdict, company) {
                    Ok(end) => ends[at] = Some(end),
                    Err(error) => {
                        failed.push((at, ending(letter, ready.entry)));
                        errors.push(error);
                    }
                },
            }
        }
        self.settle(applied, Some(&batch), false, ends).await?;
        self.fail(failed, errors, ends).await
    }

    /// When a row that was not applied is tried again.
    ///
    /// # Errors
    /// Why it is not.
    fn next_try(&self, letter: &Letter, verdict: Verdict, company: usize) -> Result<LetterEnd, RowError> {
        let half = Some((company / 2).max(1));
        match verdict {
            Verdict::Dead(error) | Verdict::Refresh(error) => Err(error),
            Verdict::Again { error, counts } => {
                // What failed as a whole says nothing against one of several.
                let blamed = counts || company == 1;
                let retry = &self.route.spec.retry;
                let policy = retry.policy(error.class).unwrap_or(&retry.transient);
                let spent = letter.failures + 1 >= policy.attempts_max.min(RETRY_ATTEMPTS_MAX);
                if blamed && spent {
                    return Err(error);
                }
                Ok(self.later(letter, Some(error.class), blamed, half.filter(|_| !counts)))
            }
            Verdict::Parent(error) => {
                if letter.failures + 1 >= RETRY_ATTEMPTS_MAX {
                    return Err(error);
                }
                Ok(self.later(letter, Some(error.class), true, None))
            }
            Verdict::Suspect => Ok(LetterEnd::Later { delay: self.grace, failed: company == 1, company_max: half }),
            Verdict::Halve => Ok(LetterEnd::Later { delay: Duration::ZERO, failed: false, company_max: half }),
            Verdict::Return | Verdict::Missing | Verdict::Applied { .. } => Ok(self.later(letter, None, false, None)),
        }
    }

    fn later(&self, letter: &Letter, class: Option<ErrorClass>, failed: bool, company_max: Option<usize>) -> LetterEnd {
        let retry = &self.route.spec.retry;
        let policy = class.and_then(|class| retry.policy(class)).unwrap_or(&retry.transient);
        let mut jitter = Jitter::new(letter.loaded.id.0 ^ u64::from(letter.failures));
        LetterEnd::Later { delay: jitter.backoff(policy, letter.failures + 1), failed, company_max }
    }

    async fn settle(
        &self,
        settled: impl IntoIterator<Item = (usize, Ending, Outcome, Option<Arc<str>>)>,
        batch: Option<&OutBatch>,
        read_back: bool,
        ends: &mut Ends,
    ) -> Result<(), EngineError> {
        let (mut endings, mut places) = (Vec::new(), Vec::new());
        for (at, ending, outcome, id) in settled {
            places.push((at, outcome));
            endings.push((ending, outcome, id));
        }
        let settles = Settles { batch: batch.map(|batch| batch.id), read_back, calls: self.spent.calls };
        end_settled(&self.shared, &self.route, endings, settles).await?;
        places.into_iter().for_each(|(at, outcome)| ends[at] = Some(LetterEnd::Settled(outcome)));
        Ok(())
    }

    async fn fail(
        &self,
        failed: Vec<(usize, Ending)>,
        errors: Vec<RowError>,
        ends: &mut Ends,
    ) -> Result<(), EngineError> {
        let (places, endings): (Vec<usize>, Vec<Ending>) = failed.into_iter().unzip();
        end_failed(&self.shared, endings, errors, &self.route.spec.secret).await?;
        places.into_iter().for_each(|at| ends[at] = Some(LetterEnd::Over));
        Ok(())
    }
}

fn ending(letter: &Letter, entry: DlqEntry) -> Ending {
    Ending { entry, record: Some(letter.loaded.record.clone()), attempts: letter.failures + 1 }
}

fn refused(refusal: RowRefusal) -> RowError {
    let fields = refusal.field.iter().map(|field| field.to_string()).collect();
    RowError { class: ErrorClass::Permanent, code: refusal.code.0.to_owned(), message: refusal.message, fields }
}
