//! The work on jobs, step by step, in the org's time.
//!
//! ```text
//! job due ─▶ InProgress ─▶ scan ─▶ chunk ─▶ flight ─┬─ Waiting (a lock is held) ─ too long ─▶ put back, or its rows fail
//!                                    ▲              └─ Working ─ time over ─▶ applied ─▶ results
//!                                    └──────────── while there are more ◀────────┘
//! ```
//!
//! Time is that of the events: when the clock jumps, everything in between happens one after the other. A step does one
//! event and so little of it that a request need not wait long for the org.

use super::apply;
use super::job::{Fate, Job, Kind, PartState, State};
use super::ledger::NO_BATCHES;
use super::run::{CHUNK_ROWS, CHUNKS_PER_BATCH, Chunk, IngestRun, QueryRun, Run, members};
use super::settle::{end_flight, end_part};
use crate::faults::{Api, Decided, Part as FaultPart, Seen, draw};
use crate::locks::LockKey;
use crate::org::Org;
use crate::query::bulk;

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// More at once.
    Now,
    /// Nothing before this time, in Unix milliseconds of the org's clock.
    At(i64),
    /// Nothing until a job comes.
    Nothing,
}

/// Work that a worker holds.
#[derive(Debug)]
pub struct Flight {
    pub(super) job: u64,
    pub(super) part: usize,
    /// None for a query.
    pub(super) chunk: Option<Chunk>,
    pub(super) request: u64,
    pub(super) decided: Decided,
    pub(super) locks: Vec<(usize, LockKey)>,
    pub(super) duration_ms: i64,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// For a lock, until this time at most.
    Waiting(i64),
    /// Until this time.
    Working(i64),
}

impl Stage {
    fn until(self) -> i64 {
        match self {
            Stage::Waiting(until) | Stage::Working(until) => until,
        }
    }
}

/// Does one step.
pub fn step(org: &mut Org, now_ms: i64) -> Work {
    org.bulk.tidy(&org.config.bulk, now_ms);
    if org.bulk.active.is_empty() && org.bulk.flights.is_empty() {
        return Work::Nothing;
    }
    take_free_locks(org, now_ms);
    if begin_one(org) {
        return Work::Now;
    }
    let job_due = |number: &u64| org.bulk.jobs.get(number).filter(|job| waits(job)).map(|job| (job.due_ms, *number));
    let due = org.bulk.active.iter().filter_map(job_due).min();
    let flights = org.bulk.flights.iter().enumerate().map(|(at, flight)| (flight.stage.until(), at));
    let flight = flights.min();
    let (time, starts) = match (due, flight) {
        (None, None) => return Work::Nothing,
        (Some((due, _)), Some((ends, _))) if due <= ends => (due, true),
        (_, Some((ends, _))) => (ends, false),
        (Some((due, _)), None) => (due, true),
    };
    if time > now_ms {
        return Work::At(time);
    }
    org.bulk.time_ms = org.bulk.time_ms.max(time);
    match (starts, due, flight) {
        (true, Some((_, number)), _) => start_job(org, number, now_ms),
        (_, _, Some((_, at))) => end_flight(org, at, now_ms),
        _ => {}
    }
    Work::Now
}

fn waits(job: &Job) -> bool {
    job.state == State::UploadComplete || (job.fate.stuck && !job.state.is_end())
}

/// Lets flights begin whose locks have become free.
fn take_free_locks(org: &mut Org, now_ms: i64) {
    let Org { bulk, locks, .. } = org;
    // What a job released came free at the time of that event; what a request released comes free now.
    let by_work = std::mem::take(&mut bulk.released);
    for flight in &mut bulk.flights {
        if matches!(flight.stage, Stage::Waiting(_)) && locks.acquire(flight.request, &flight.locks).is_empty() {
            let now = if by_work { bulk.time_ms } else { now_ms.min(flight.stage.until()) };
            let start = bulk.time_ms.max(now);
            flight.stage = Stage::Working(start + flight.duration_ms);
        }
    }
}

/// Gives a free worker the next piece of work; false when there is none to give.
fn begin_one(org: &mut Org) -> bool {
    if org.bulk.flights.len() >= org.config.bulk.workers.max(1) {
        return false;
    }
    for _ in 0..org.bulk.active.len() {
        let Some(number) = org.bulk.active.pop_front() else { return false };
        let Some(job) = org.bulk.jobs.get(&number) else { continue };
        let began = match job.kind {
            Kind::Classic => begin_batch(org, number),
            _ if job.state == State::InProgress => begin_part(org, number, 0),
            _ => Began::Nothing,
        };
        match began {
            Began::Ended => return true,
            Began::Something => {
                org.bulk.active.push_back(number);
                return true;
            }
            Began::Nothing => org.bulk.active.push_back(number),
        }
    }
    false
}

#[derive(PartialEq, Eq)]
enum Began {
    Something,
    Nothing,
    /// The job has no work any more.
    Ended,
}

/// Finds a batch of Bulk API 1.0 to work on.
fn begin_batch(org: &mut Org, number: u64) -> Began {
    let Some(job) = org.bulk.jobs.get(&number) else { return Began::Ended };
    if job.parts.iter().all(|part| part.state.is_end()) {
        // A batch that is added later puts the job back among the active ones.
        return Began::Ended;
    }
    let parts: Vec<(usize, PartState)> = job.parts.iter().map(|part| part.state).enumerate().collect();
    let serial = job.serial;
    for (part, _) in parts.iter().filter(|(_, state)| *state == PartState::InProgress) {
        if begin_part(org, number, *part) != Began::Nothing {
            return Began::Something;
        }
    }
    let running = parts.iter().filter(|(_, state)| *state == PartState::InProgress).count();
    let room = if serial { 1 } else { org.config.bulk.workers_per_job.max(1) };
    let next = parts.iter().find(|(_, state)| *state == PartState::Queued);
    match next {
        Some((part, _)) if running < room => {
            start_part(org, number, *part);
            Began::Something
        }
        _ => Began::Nothing,
    }
}

/// Takes a job from `UploadComplete` to `InProgress`, or on from where a fault held it.
fn start_job(org: &mut Org, number: u64, now_ms: i64) {
    let Some(job) = org.bulk.jobs.get_mut(&number) else { return };
    if std::mem::take(&mut job.fate.stuck) {
        return;
    }
    job.enter(State::InProgress, now_ms);
    start_part(org, number, 0);
}

/// Reads the first line of a part, or finds its rows if it is a query.
fn start_part(org: &mut Org, number: u64, at: usize) {
    let Org { bulk, store, faults, .. } = org;
    let Some(job) = bulk.jobs.get_mut(&number) else { return };
    bulk.time_ms = bulk.time_ms.max(job.parts[at].created_ms);
    let time = bulk.time_ms;
    store.access.act_as(job.user);
    if at == 0 && !faults.is_empty() {
        job.fate = Fate::of(&faults.effects(&seen(job, &[], 0), FaultPart::Job));
    }
    let part = &job.parts[at];
    let run = match (&part.query, &part.upload) {
        (Some(query), _) => {
            let deleted = job.operation == super::job::Operation::QueryAll;
            let classic = job.kind == Kind::Classic;
            let rows = bulk::select(store, query, deleted, time).map_err(|refused| {
                let text = format!("{}: {}", refused.code, refused.message);
                if classic { format!("InvalidBatch : Failed to process query: {text}") } else { text }
            });
            rows.map(|rows| {
                let lines = super::blob::Blob::new(&bulk.spool);
                let in_flight = false;
                Run::Query(Box::new(QueryRun { rows, at: 0, lines, lengths: Vec::new(), in_flight }))
            })
        }
        (None, upload) => match store.find_table(&job.object) {
            Some(table) => {
                let upload = upload.clone().unwrap_or_else(|| bulk.empty.clone());
                let run = IngestRun::new(job, upload, store, table, &bulk.spool);
                run.map(|run| Run::Ingest(Box::new(run)))
            }
            None => Err(format!("InvalidBatch : Unable to find object: {}", job.object)),
        },
    };
    let part = &mut job.parts[at];
    (part.state, part.started_ms, part.modified_ms) = (PartState::InProgress, time, time);
    match run {
        Ok(run) => part.run = Some(run),
        Err(message) => end_part(org, number, at, Err(message)),
    }
}

fn seen<'a>(job: &'a Job, keys: &'a [String], rows: usize) -> Seen<'a> {
    Seen {
        api: Api::Bulk,
        object: Some(&job.object),
        operation: job.operation.seen(),
        client: job.client.as_deref(),
        keys,
        rows,
    }
}

/// Gives a worker a piece of a part that is in progress.
fn begin_part(org: &mut Org, number: u64, at: usize) -> Began {
    let Some(job) = org.bulk.jobs.get_mut(&number) else { return Began::Ended };
    let in_flight = match &job.parts[at].run {
        Some(Run::Ingest(run)) => run.in_flight,
        _ => 0,
    };
    let handed_out = job.processed() + (in_flight * CHUNK_ROWS) as u64;
    if let Some((_, message)) = job.fate.fail_after.clone().filter(|(after, _)| handed_out >= *after) {
        if in_flight > 0 {
            return Began::Nothing;
        }
        end_part(org, number, at, Err(message));
        return Began::Something;
    }
    if let Some((_, ms)) = job.fate.stuck_after.filter(|(after, _)| handed_out >= *after) {
        job.fate.stuck_after = None;
        job.fate.stuck = true;
        job.due_ms = ms.map_or(i64::MAX, |ms| org.bulk.time_ms.saturating_add(ms as i64));
    }
    if job.fate.stuck {
        return Began::Nothing;
    }
    match &mut job.parts[at].run {
        Some(Run::Query(run)) if !run.in_flight => {
            run.in_flight = true;
            let rows = run.rows.len();
            take_off(org, number, at, None, rows)
        }
        Some(Run::Ingest(_)) => begin_chunk(org, number, at),
        _ => Began::Nothing,
    }
}

fn begin_chunk(org: &mut Org, number: u64, at: usize) -> Began {
    let time = org.bulk.time_ms;
    let Org { bulk, limits, config, .. } = org;
    let Some(job) = bulk.jobs.get_mut(&number) else { return Began::Ended };
    let classic = job.kind == Kind::Classic;
    let room = if classic || job.serial { 1 } else { config.bulk.workers_per_job.max(1) };
    let Some(Run::Ingest(run)) = &mut job.parts[at].run else { return Began::Nothing };
    match run.scan() {
        Ok(true) => return Began::Something,
        Ok(false) => {}
        Err(message) => {
            end_part(org, number, at, Err(message));
            return Began::Something;
        }
    }
    if run.in_flight >= room {
        return Began::Nothing;
    }
    let pick = (!classic && room > 1).then(|| (draw(config.seed, number, run.settled.len() as u64, 3) * 1e6) as u64);
    let chunk = match run.next(pick) {
        Ok(Some(chunk)) => chunk,
        Ok(None) if run.is_done() => {
            end_part(org, number, at, Ok(()));
            return Began::Something;
        }
        Ok(None) => return Began::Nothing,
        Err(message) => {
            end_part(org, number, at, Err(message));
            return Began::Something;
        }
    };
    if !classic && chunk.number / CHUNKS_PER_BATCH >= run.batches {
        if !limits.bulk.take_batch(time) {
            run.cut_off = Some(run.batches * CHUNKS_PER_BATCH * CHUNK_ROWS as u64);
            run.put_back(chunk);
            end_part(org, number, at, Err(format!("ExceededQuota : {NO_BATCHES}")));
            return Began::Something;
        }
        run.batches += 1;
    }
    run.in_flight += 1;
    let rows = chunk.rows.len();
    take_off(org, number, at, Some(chunk), rows)
}

/// Puts work into a worker's hands: how long it takes, what it must hold, what faults do to its rows.
fn take_off(org: &mut Org, number: u64, at: usize, chunk: Option<Chunk>, rows: usize) -> Began {
    org.requests += 1;
    let request = org.requests;
    let time = org.bulk.time_ms;
    let Org { bulk, store, config, faults, locks, latency, .. } = org;
    let Some(job) = bulk.jobs.get(&number) else { return Began::Ended };
    let of = if chunk.is_some() { latency.bulk } else { latency.bulk_query };
    let duration = latency.time(of, rows, draw(config.seed, 0, request, 0));
    let table = store.find_table(&job.object);
    let mut decided = Decided::default();
    let mut keys = Vec::new();
    if let (Some(chunk), Some(table), Some(Run::Ingest(run))) = (&chunk, table, &job.parts[at].run) {
        if !faults.is_empty() {
            let names =
                if faults.wants_keys() { apply::keys(&store.table(table).object, job, run, chunk) } else { Vec::new() };
            decided = faults.decide_part(&seen(job, &names, rows), Some(FaultPart::Rows));
        }
        if !duration.is_zero() && config.row_locks.enabled {
            let lookups = config.row_locks.lookups;
            for (row, input) in chunk.rows.iter().enumerate() {
                let Ok(members) = members(&run.columns, input) else { continue };
                let key_field = job.external_id.as_deref();
                let wanted = crate::locks::of_record(store, table, key_field, &members, lookups);
                keys.extend(wanted.into_iter().map(|key| (row, key)));
            }
        }
    }
    let duration_ms = duration.as_secs_f64().mul_add(1000.0, 0.5) as i64;
    let stage = if keys.is_empty() || locks.acquire(request, &keys).is_empty() {
        Stage::Working(time + duration_ms)
    } else {
        Stage::Waiting(time.saturating_add(config.row_locks.wait_ms as i64))
    };
    bulk.flights.push(Flight { job: number, part: at, chunk, request, decided, locks: keys, duration_ms, stage });
    Began::Something
}
