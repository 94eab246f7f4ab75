//! Carries one job: compose, journal, send, answer.

use super::compose::{Composed, compose};
use super::gate::CallEnd;
use super::host::Ticket;
use super::job::{Answer, Batch, Job, JobDone, JobKind, JobRow, Upload};
use super::leftovers::remember;
use super::permits::Pass;
use super::route::Route;
use crate::settle::Journal;
use contract::{Clock, CrashPoint, CrashPoints, Log, OutOp, RowResult, Spend, StateStore};
use model::{Api, BatchId, BatchIntent, ErrorClass, OffsetRange};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// What every job needs.
#[derive(Clone)]
pub struct Carrier {
    pub log: Arc<dyn Log>,
    pub journal: Journal,
    pub clock: Arc<dyn Clock>,
    pub crash: CrashPoints,
    /// The next batch id of the pipeline.
    pub next_batch: Arc<AtomicU64>,
    pub state: Arc<dyn StateStore>,
    /// Ends the engine.
    pub stop: CancellationToken,
}

/// A part of a job on its way: its rows, its permit, and for a job of the target leave to upload.
struct Parcel {
    part: Composed,
    pass: Pass,
    intent: BatchIntent,
}

impl Carrier {
    /// Gives out a batch id.
    pub fn next_id(&self) -> BatchId {
        BatchId(self.next_batch.fetch_add(1, Ordering::Relaxed))
    }

    /// Carries a job to its end. Never fails: what went wrong stands in the answer.
    pub async fn carry(&self, job: Job) -> JobDone {
        let mut done = JobDone::default();
        let Job { kind, api, reason, adopted, route, lane, rows, pass, place, upload } = job;
        let mut composed = compose(&*self.log, &route, (lane, api), rows, &|| self.next_id(), &mut done).await;
        if kind == JobKind::Send && api == Api::Bulk {
            composed.retain_mut(|part| keep_what_a_job_carries(&route, part, &mut done.elsewhere));
        }
        // One permit, one batch: the others go with permits of their own, or come back.
        let mut passes = vec![pass];
        while passes.len() < composed.len() {
            let part = &composed[passes.len()];
            let cost = route.org.sink.cost(api, part.out.op, part.rows.len());
            match route.org.permits.ask(lane, &route.spec.id, cost, None, api == Api::Bulk) {
                Ok(pass) => passes.push(pass),
                Err(wait) => {
                    done.wait = Some(wait.delay);
                    let kept = passes.len();
                    done.returned.extend(composed.drain(kept..).flat_map(|part| part.rows));
                }
            }
        }
        let at_ms = self.clock.now_ms();
        let intents = composed.iter().map(|part| intent(&route, part, reason.as_deref(), at_ms));
        let intents: Vec<BatchIntent> = intents.collect();
        if kind == JobKind::Send && !composed.is_empty() && !self.journal(&intents, &mut composed, &mut done).await {
            passes.into_iter().for_each(|pass| pass.finish(Spend::default()));
            return done;
        }
        let spare = passes.split_off(composed.len().min(passes.len()));
        spare.into_iter().for_each(|pass| pass.finish(Spend::default()));
        let parcels = composed.into_iter().zip(passes).zip(intents);
        let parcels = parcels.map(|((part, pass), intent)| Parcel { part, pass, intent });
        let upload = upload.map(Arc::new);
        let asked = parcels.map(|parcel| self.ask((kind, adopted.as_deref()), &route, parcel, upload.clone()));
        let asked: Vec<_> = asked.collect();
        drop(upload);
        done.batches = futures::future::join_all(asked).await;
        route.org.permits.note_created(done.batches.iter().map(created).sum());
        route.org.take_figures();
        drop(place);
        done
    }

    /// Writes the batches down; false when the log refused: their rows come back.
    async fn journal(&self, intents: &[BatchIntent], composed: &mut Vec<Composed>, done: &mut JobDone) -> bool {
        if let Err(error) = self.journal.write(intents).await {
            done.returned.extend(composed.drain(..).flat_map(|part| part.rows));
            done.log_failed = Some(error);
            return false;
        }
        self.crash.reach(CrashPoint::AfterJournal);
        true
    }

    async fn ask(
        &self,
        (kind, adopted): (JobKind, Option<&str>),
        route: &Route,
        parcel: Parcel,
        upload: Option<Arc<Upload>>,
    ) -> Batch {
        let Parcel { part: Composed { out, rows, times_ms }, pass, intent } = parcel;
        let (began, sink, id, api) = (self.clock.monotonic(), &*route.org.sink, out.id, out.api);
        let mut job = None;
        let (answer, spent) = match (kind, adopted) {
            (JobKind::Send, _) if api == Api::Bulk => {
                let ticket = Ticket::new(self, intent, upload);
                let answer = sink.apply_job(out, &ticket).await;
                route.org.report(api, CallEnd::of(&answer), self.clock.monotonic());
                self.crash.reach(CrashPoint::AfterSend);
                job = ticket.job();
                if job.is_none()
                    && answer
                        .as_ref()
                        .is_err_and(|error| matches!(error.class, ErrorClass::Unknown | ErrorClass::Transient))
                {
                    self.remember_leftover(route).await;
                }
                let spent = answer.as_ref().map_or_else(|error| error.spent, |applied| applied.spent);
                (Answer::Sent(answer), spent)
            }
            (JobKind::Send, _) => {
                let answer = sink.apply(&out).await;
                route.org.report(api, CallEnd::of(&answer), self.clock.monotonic());
                self.crash.reach(CrashPoint::AfterSend);
                let spent = answer.as_ref().map_or_else(|error| error.spent, |applied| applied.spent);
                (Answer::Sent(answer), spent)
            }
            (JobKind::Adopt, Some(job)) => {
                let answer = sink.adopt(&out, job).await;
                route.org.report(api, CallEnd::of_query(&answer), self.clock.monotonic());
                let spent = answer.as_ref().map_or_else(|error| error.spent, |adopted| adopted.spent);
                (Answer::Adopted(answer), spent)
            }
            (JobKind::ReadBack | JobKind::Adopt, _) => {
                let answer = sink.read_back(&out).await;
                route.org.report(api, CallEnd::of_query(&answer), self.clock.monotonic());
                let spent = answer.as_ref().map_or_else(|error| error.spent, |(_, calls)| Spend::calls(*calls));
                (Answer::ReadBack(answer), spent)
            }
        };
        pass.finish(spent);
        let took = self.clock.monotonic().saturating_sub(began);
        Batch { id, api, job, rows, times_ms, took, answer }
    }
}

impl Carrier {
    /// A job may have been made, and its name was lost.
    async fn remember_leftover(&self, route: &Route) {
        if let Err(error) = remember(&route.org.id, self.clock.now_ms(), &*self.state).await {
            tracing::warn!(code = %error.code(), %error, "a job may stay open in the org until it expires");
        }
    }
}

/// Leaves in a part what a job carries; false when that is nothing. The other rows go by another API.
fn keep_what_a_job_carries(route: &Route, part: &mut Composed, elsewhere: &mut Vec<JobRow>) -> bool {
    let sink = &route.org.sink;
    // Updates and deletes by a job need the target's own ids.
    let by_key = matches!(part.out.op, OutOp::Upsert | OutOp::Create);
    if by_key && part.out.rows.iter().all(|row| sink.carries(Api::Bulk, row)) {
        return true;
    }
    let rows = std::mem::take(&mut part.rows).into_iter().zip(std::mem::take(&mut part.out.rows));
    for ((row, out), time_ms) in rows.zip(std::mem::take(&mut part.times_ms)) {
        if by_key && sink.carries(Api::Bulk, &out) {
            part.rows.push(row);
            part.out.rows.push(out);
            part.times_ms.push(time_ms);
        } else {
            elsewhere.push(row);
        }
    }
    !part.rows.is_empty()
}

/// Records that the target made for a batch: they fill its storage.
fn created(batch: &Batch) -> u64 {
    let Answer::Sent(Ok(applied)) = &batch.answer else { return 0 };
    applied.rows.iter().filter(|row| matches!(row, RowResult::Applied { created: true, .. })).count() as u64
}

/// The journal's record of a batch.
fn intent(route: &Route, part: &Composed, reason: Option<&str>, at_ms: i64) -> BatchIntent {
    let mut offsets: Vec<_> = part.rows.iter().flat_map(JobRow::offsets).collect();
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
        reason: reason.map(str::to_owned),
    }
}
