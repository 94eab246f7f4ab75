//! What becomes of work: rows applied, results written, parts and jobs ended.

use super::apply;
use super::csv::{Dialect, write_line};
use super::job::{Fate, Format, Job, Kind, PartState, Results, State};
use super::run::Run;
use super::work::{Flight, Stage};
use crate::dml::Origin;
use crate::faults::{Api, draw, locked};
use crate::org::Org;
use crate::query::bulk;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;

/// Rows of a query's result that one step writes.
const QUERY_ROWS: usize = 2_000;

/// Ends a flight whose time, or patience, is over.
pub fn end_flight(org: &mut Org, at: usize, now_ms: i64) {
    if org.bulk.flights[at].chunk.is_none() {
        return write_query(org, at, now_ms);
    }
    let mut flight = org.bulk.flights.swap_remove(at);
    org.bulk.released = true;
    if matches!(flight.stage, Stage::Working(_)) {
        return apply_flight(org, flight, now_ms);
    }
    let blocked = org.locks.acquire(flight.request, &flight.locks);
    let attempts = flight.chunk.as_ref().map_or(0, |chunk| chunk.attempts);
    if !blocked.is_empty() && attempts < org.config.bulk.lock_retries {
        org.locks.release(flight.request);
        return retry(org, flight);
    }
    // The rows that have their locks are worked on as ever; the others are given up.
    flight.locks.retain(|(row, _)| !blocked.contains(row));
    flight.decided.rows.retain(|(row, _)| !blocked.contains(row));
    flight.decided.rows.extend(blocked.iter().map(|row| (*row, locked(""))));
    flight.decided.rows.sort_by_key(|(row, _)| *row);
    flight.stage = Stage::Working(org.bulk.time_ms + flight.duration_ms);
    org.bulk.flights.push(flight);
}

/// Puts a chunk back that got no lock in time.
fn retry(org: &mut Org, flight: Flight) {
    let Some(job) = org.bulk.jobs.get_mut(&flight.job) else { return };
    job.retries += 1;
    if let (Some(Run::Ingest(run)), Some(mut chunk)) = (&mut job.parts[flight.part].run, flight.chunk) {
        chunk.attempts += 1;
        run.in_flight -= 1;
        run.put_back(chunk);
    }
}

fn apply_flight(org: &mut Org, flight: Flight, now_ms: i64) {
    // Taken out while the whole org is written to.
    let Some(mut job) = org.bulk.jobs.remove(&flight.job) else { return org.locks.release(flight.request) };
    let (number, at) = (flight.job, flight.part);
    let written = apply_chunk(org, &mut job, flight, now_ms);
    org.bulk.jobs.insert(number, job);
    if let Err(error) = written {
        end_part(org, number, at, Err(format!("UnknownException : {error}")));
    }
}

fn apply_chunk(org: &mut Org, job: &mut Job, flight: Flight, now_ms: i64) -> io::Result<()> {
    let Flight { job: number, part: at, chunk, request, decided, duration_ms, .. } = flight;
    org.locks.release(request);
    let Some(chunk) = chunk else { return Ok(()) };
    let run = job.parts.get_mut(at).and_then(|part| part.run.take());
    let (Some(Run::Ingest(mut run)), Some(table)) = (run, org.store.find_table(&job.object)) else { return Ok(()) };
    let client = job.client.as_deref();
    let origin = Origin { now_ms, user: job.user, api: Api::Bulk.word(), request, version: job.version, client };
    let fault = |row: usize| {
        let found = decided.rows.binary_search_by_key(&row, |(row, _)| *row).ok();
        found.map(|at| decided.rows[at].1.clone())
    };
    let mut writer = org.writer_as(origin, false);
    let outcomes = apply::apply(&mut writer, table, job, &run, &chunk, fault);
    writer.commit();
    let failed = outcomes.iter().filter(|outcome| matches!(outcome, apply::Outcome::Failed { .. })).count();
    let turn = (draw(org.config.seed, number, chunk.number, 5) * 1e6) as u64;
    let written = apply::write_results(&mut run.output, job, &chunk, &outcomes, turn);
    run.settle(chunk.number);
    run.in_flight -= 1;
    let part = &mut job.parts[at];
    part.processed += outcomes.len() as u64;
    part.failed += failed as u64;
    part.active_ms += duration_ms;
    part.modified_ms = now_ms;
    part.run = Some(Run::Ingest(run));
    job.modified_ms = now_ms;
    written
}

/// Writes some more of a query's result, and ends the query with the last of it.
fn write_query(org: &mut Org, flight: usize, now_ms: i64) {
    let Org { bulk, store, .. } = org;
    let (number, at) = (bulk.flights[flight].job, bulk.flights[flight].part);
    let part = bulk.jobs.get_mut(&number).and_then(|job| {
        let dialect = job.dialect;
        job.parts.get_mut(at).map(|part| (part, dialect, job.format, job.version))
    });
    let Some((part, dialect, format, version)) = part else {
        bulk.flights.swap_remove(flight);
        return;
    };
    let Some(Run::Query(run)) = &mut part.run else {
        bulk.flights.swap_remove(flight);
        return;
    };
    let mut out = Vec::new();
    let end = (run.at + QUERY_ROWS).min(run.rows.len());
    for row in run.at..end {
        let before = out.len();
        let Some((id, values)) = run.rows.values(store, row) else { continue };
        match format {
            Format::Csv => {
                let texts: Vec<Cow<'_, str>> = values.iter().map(|value| Cow::Owned(bulk::text(value))).collect();
                write_line(&mut out, dialect, texts.iter().map(|text| &**text));
            }
            other => {
                let first = run.lengths.is_empty();
                super::v1::records::write(&mut out, other, version, &run.rows, first, (id, &values));
            }
        }
        run.lengths.push((out.len() - before) as u32);
    }
    run.at = end;
    let written = run.lines.write(&out);
    part.processed = run.lengths.len() as u64;
    part.modified_ms = now_ms;
    match written {
        Ok(()) if run.at < run.rows.len() => {}
        written => {
            let flight = bulk.flights.swap_remove(flight);
            part.active_ms += flight.duration_ms;
            end_part(org, number, at, written.map_err(|error| format!("UnknownException : {error}")));
        }
    }
}

/// Ends a part, and its job if it is one of Bulk API 2.0.
pub fn end_part(org: &mut Org, number: u64, at: usize, how: Result<(), String>) {
    release_flights(org, number, Some(at));
    let time = org.bulk.time_ms;
    let Some(job) = org.bulk.jobs.get_mut(&number) else { return };
    let dialect = job.dialect;
    let part = &mut job.parts[at];
    let (results, bytes) = match part.run.take().map(|run| finish(run, dialect)).transpose() {
        Ok(results) => results.unwrap_or((Results::None, 0)),
        Err(error) => {
            tracing::error!(%error, "a job's results cannot be written");
            (Results::None, 0)
        }
    };
    part.results = results;
    part.modified_ms = time;
    part.state = if how.is_ok() { PartState::Completed } else { PartState::Failed };
    part.message = how.as_ref().err().cloned();
    if job.kind != Kind::Classic {
        let state = if how.is_ok() { State::JobComplete } else { State::Failed };
        // Every row of a complete job is in its results.
        if how.is_ok() {
            part.upload = None;
        }
        job.error = how.err();
        job.enter(state, time);
        org.bulk.active.retain(|active| *active != number);
    } else {
        job.modified_ms = time;
    }
    org.limits.bulk.add_result(time, bytes);
}

/// The finished results and how many bytes of a query they are.
fn finish(run: Run, dialect: Dialect) -> io::Result<(Results, u64)> {
    match run {
        Run::Ingest(run) => Ok((run.results()?, 0)),
        Run::Query(run) => {
            let run = *run;
            let mut header = Vec::new();
            write_line(&mut header, dialect, run.rows.names());
            let bytes = run.lines.len() + header.len() as u64;
            let lines: Arc<_> = run.lines.finish()?;
            Ok((Results::Rows { header, lines, lengths: run.lengths }, bytes))
        }
    }
}

/// Takes the work on a job, or on one part of it, out of the workers' hands; its rows stay as they are.
pub fn release_flights(org: &mut Org, number: u64, part: Option<usize>) {
    let Org { bulk, locks, .. } = org;
    let ours = |flight: &Flight| flight.job == number && part.is_none_or(|part| flight.part == part);
    for flight in bulk.flights.extract_if(.., |flight| ours(flight)) {
        locks.release(flight.request);
        bulk.released = true;
    }
}

/// Ends a job that is aborted.
pub fn abort(org: &mut Org, number: u64, now_ms: i64) {
    release_flights(org, number, None);
    org.bulk.active.retain(|active| *active != number);
    org.bulk.time_ms = org.bulk.time_ms.max(now_ms);
    let Some(job) = org.bulk.jobs.get_mut(&number) else { return };
    for part in job.parts.iter_mut().filter(|part| !part.state.is_end()) {
        if let Some(Run::Ingest(run)) = part.run.take() {
            match run.results() {
                Ok(results) => part.results = results,
                Err(error) => tracing::error!(%error, "a job's results cannot be written"),
            }
        }
        part.state = PartState::NotProcessed;
        part.modified_ms = now_ms;
    }
    job.fate = Fate::default();
    job.enter(State::Aborted, now_ms);
}
