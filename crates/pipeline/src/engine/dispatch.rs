//! Carries one job: compose, journal, send, answer.

use super::compose::{Composed, compose};
use super::gate::CallEnd;
use super::job::{Answer, Batch, Job, JobDone, JobKind};
use super::route::{Org, Route};
use crate::settle::Journal;
use contract::{Clock, CrashPoint, CrashPoints, Log};
use model::{BatchId, BatchIntent, OffsetRange};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What every job needs.
#[derive(Clone)]
pub struct Carrier {
    pub log: Arc<dyn Log>,
    pub journal: Journal,
    pub clock: Arc<dyn Clock>,
    pub crash: CrashPoints,
    /// The next batch id of the pipeline.
    pub next_batch: Arc<AtomicU64>,
}

impl Carrier {
    /// Gives out a batch id.
    pub fn next_id(&self) -> BatchId {
        BatchId(self.next_batch.fetch_add(1, Ordering::Relaxed))
    }

    /// Carries a job to its end. Never fails: what went wrong stands in the answer.
    pub async fn carry(&self, job: Job) -> JobDone {
        let mut done = JobDone::default();
        let Job { kind, route, lane, rows, pass, place } = job;
        let mut composed = compose(&*self.log, &route, lane, rows, &|| self.next_id(), &mut done).await;
        // One permit, one batch: the others go with permits of their own, or come back.
        let mut passes = vec![pass];
        while passes.len() < composed.len() {
            match route.org.permits.ask(lane, &route.spec.id, 1, None) {
                Ok(pass) => passes.push(pass),
                Err(wait) => {
                    done.wait = Some(wait.delay);
                    let kept = passes.len();
                    done.returned.extend(composed.drain(kept..).flat_map(|part| part.rows));
                }
            }
        }
        if kind == JobKind::Send && !composed.is_empty() && !self.journal(&route, &mut composed, &mut done).await {
            passes.into_iter().for_each(|pass| pass.finish(0));
            return done;
        }
        let spare = passes.split_off(composed.len().min(passes.len()));
        spare.into_iter().for_each(|pass| pass.finish(0));
        let asked = composed.into_iter().zip(passes).map(|(part, pass)| self.ask(kind, &route.org, part, pass));
        done.batches = futures::future::join_all(asked).await;
        route.org.permits.observe(route.org.sink.take_readings());
        drop(place);
        done
    }

    /// Writes the batches down; false when the log refused: their rows come back.
    async fn journal(&self, route: &Route, composed: &mut Vec<Composed>, done: &mut JobDone) -> bool {
        let at_ms = self.clock.now_ms();
        let intents: Vec<BatchIntent> = composed.iter().map(|part| intent(route, part, at_ms)).collect();
        if let Err(error) = self.journal.write(&intents).await {
            done.returned.extend(composed.drain(..).flat_map(|part| part.rows));
            done.log_failed = Some(error);
            return false;
        }
        self.crash.reach(CrashPoint::AfterJournal);
        true
    }

    async fn ask(&self, kind: JobKind, org: &Org, part: Composed, pass: super::permits::Pass) -> Batch {
        let Composed { out, rows, times_ms } = part;
        let began = self.clock.monotonic();
        let (answer, calls) = match kind {
            JobKind::Send => {
                let answer = org.sink.apply(&out).await;
                org.report(out.api, CallEnd::of(&answer), self.clock.monotonic());
                self.crash.reach(CrashPoint::AfterSend);
                let calls = answer.as_ref().map_or_else(|error| error.spent.calls, |applied| applied.spent.calls);
                (Answer::Sent(answer), calls)
            }
            JobKind::ReadBack => {
                let answer = org.sink.read_back(&out).await;
                org.report(out.api, CallEnd::of_query(&answer), self.clock.monotonic());
                let calls = answer.as_ref().map_or_else(|error| error.spent.calls, |(_, calls)| *calls);
                (Answer::ReadBack(answer), calls)
            }
        };
        pass.finish(calls);
        let took = self.clock.monotonic().saturating_sub(began);
        Batch { id: out.id, rows, times_ms, took, answer }
    }
}

/// The journal's record of a batch.
fn intent(route: &Route, part: &Composed, at_ms: i64) -> BatchIntent {
    let mut offsets: Vec<_> = part.rows.iter().flat_map(super::job::JobRow::offsets).collect();
    offsets.sort_unstable();
    BatchIntent {
        batch: part.out.id,
        route: route.spec.id.clone(),
        stream: route.spec.stream.stream.clone(),
        partition: route.spec.stream.partition,
        object: route.spec.object.clone(),
        api: part.out.api.as_str().to_owned(),
        offsets: OffsetRange::pack(offsets),
        attempt: part.rows.iter().map(|row| row.sent + 1).max().unwrap_or(1),
        at_ms,
        job: None,
        reason: None,
    }
}
