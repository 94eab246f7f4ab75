//! Jobs whose maker is gone.
//!
//! | the job is | its rows |
//! |---|---|
//! | open | it is aborted; the org works off nothing that was not closed: `Missing` |
//! | being worked on | it is waited for |
//! | at its end | by its results; a row that was not reached: `Missing` |
//! | not there any more, or without results | read back by external id |

use super::cells;
use super::job::{Jobs, State, is_wrong_state};
use super::life::sub_batch;
use super::outcomes::{Hit, Match, Outcome};
use super::results::Results;
use crate::faults;
use crate::read::Found;
use crate::sink::SalesforceSink;
use contract::{AdoptedRow, OutBatch, OutOp, ReadBack, RowResult, SinkError};
use model::ErrorClass;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// The job is gone, or what its results were read to be.
type Ended = Option<Results>;
/// One caller at a time reads a job's results; the others find them read.
type Entry = Arc<tokio::sync::Mutex<Option<Ended>>>;

/// Results of jobs whose rows are asked for in pieces, in bounded memory: the oldest go first, and are read again.
pub(crate) struct Adopting {
    bytes_max: usize,
    jobs: Mutex<VecDeque<(String, Entry)>>,
}

/// Jobs that are kept, whatever their size.
const JOBS_MAX: usize = 64;

/// Refusals on account of a quota after which a job that is adopted is left for later.
const REFUSALS_MAX: u32 = 3;

impl Adopting {
    /// Begins empty.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, jobs: Mutex::default() }
    }

    fn entry(&self, job: &str) -> Entry {
        let mut jobs = self.jobs.lock();
        if let Some((_, entry)) = jobs.iter().find(|(id, _)| id == job) {
            return Arc::clone(entry);
        }
        let entry = Entry::default();
        jobs.push_back((job.to_owned(), Arc::clone(&entry)));
        if jobs.len() > JOBS_MAX {
            jobs.pop_front();
        }
        entry
    }

    /// Drops the oldest results until the others fit; those that are being read are not looked at.
    fn trim(&self) {
        let mut jobs = self.jobs.lock();
        let bytes = |entry: &Entry| entry.try_lock().map_or(0, |kept| kept.iter().flatten().map(Results::bytes).sum());
        let mut all: usize = jobs.iter().map(|(_, entry)| bytes(entry)).sum();
        while all > self.bytes_max
            && let Some((_, oldest)) = jobs.pop_front()
        {
            all -= bytes(&oldest).min(all);
        }
    }
}

impl SalesforceSink {
    /// Tells what became of rows of a job whose maker is gone (`Sink::adopt`).
    ///
    /// # Errors
    /// As `Sink::adopt`.
    pub(crate) async fn adopted(
        &self,
        batch: &OutBatch,
        job: &str,
        calls: &mut u32,
    ) -> Result<Vec<AdoptedRow>, SinkError> {
        let jobs = self.jobs();
        let entry = self.bulk.adopting.entry(job);
        let mut kept = entry.lock().await;
        let ended = match &mut *kept {
            Some(ended) => ended,
            none => none.insert(self.ended(&jobs, batch, job, calls).await?),
        };
        let rows = match ended {
            None => self.read_back_rows(batch, (0..batch.rows.len()).collect(), calls).await?,
            Some(results) => match self.told_by_results(&jobs, batch, results, calls).await {
                Err(error) if error.code.0 == faults::JOB_GONE => {
                    *ended = None;
                    self.read_back_rows(batch, (0..batch.rows.len()).collect(), calls).await?
                }
                rows => rows?,
            },
        };
        drop(kept);
        self.bulk.adopting.trim();
        let mut rows = rows;
        rows.sort_unstable_by_key(|(at, _)| *at);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    /// Waits for the end of a job, aborting one that is open; none when it is not there any more.
    async fn ended(&self, jobs: &Jobs<'_>, batch: &OutBatch, id: &str, calls: &mut u32) -> Result<Ended, SinkError> {
        let mut refused = 0;
        loop {
            let looked = match jobs.look(id, calls).await {
                // The day's requests are spent, or so the org says: the job goes on by itself, and a hold of everything for
                // its sake can wait until the org has said so several times.
                Err(error) if error.class == ErrorClass::Quota && refused < REFUSALS_MAX => {
                    refused += 1;
                    tracing::warn!(job = id, error = %error, "the job cannot be looked at; it is waited for all the same");
                    tokio::time::sleep(self.bulk.settings.poll_min * 2_u32.pow(refused)).await;
                    continue;
                }
                looked => looked?,
            };
            let Some(job) = looked else { return Ok(None) };
            match job.state {
                State::Open => match jobs.abort(id, calls).await {
                    // Closed or ended a moment ago, by whoever; or the answer was lost: the next look tells.
                    Err(error) if !is_wrong_state(&error) => return Err(error),
                    _ => {}
                },
                state if state.is_end() => return Ok(Some(Results::new(job, Match::of(batch)))),
                _ => match self.wait_for_end(jobs, id, batch.rows.len(), None, calls).await {
                    Ok(job) => return Ok(Some(Results::new(job, Match::of(batch)))),
                    Err(error) if error.code.0 == faults::JOB_GONE => return Ok(None),
                    Err(error) => return Err(error),
                },
            }
        }
    }

    async fn told_by_results(
        &self,
        jobs: &Jobs<'_>,
        batch: &OutBatch,
        results: &mut Results,
        calls: &mut u32,
    ) -> Result<Vec<(usize, AdoptedRow)>, SinkError> {
        let columns = cells::columns(batch);
        let by = Match::of(batch);
        let mut rows = Vec::with_capacity(batch.rows.len());
        let mut asked = Vec::with_capacity(batch.rows.len());
        if matches!(batch.op, OutOp::Upsert | OutOp::Create) {
            asked.extend(batch.rows.iter().enumerate().map(|(at, row)| (at, by.print(batch, &columns, row, None))));
        } else {
            let schema = self.descriptions.get(&self.transport, &batch.object, calls).await?;
            let target = self.target(&schema, batch)?;
            let all: Vec<usize> = (0..batch.rows.len()).collect();
            for (at, found) in target.resolve(batch, &all, false, calls).await?.into_iter().enumerate() {
                match found {
                    Found::One { id, .. } => asked.push((at, by.print(batch, &columns, &batch.rows[at], Some(&id)))),
                    Found::Absent if batch.op == OutOp::Delete => {
                        rows.push((at, AdoptedRow::Answered(RowResult::Applied { id: None, created: false })));
                    }
                    _ => rows.push((at, AdoptedRow::Missing)),
                }
            }
        }
        let prints: Vec<u128> = asked.iter().map(|(_, print)| *print).collect();
        self.read_results(jobs, results, &prints, None, calls).await?;
        let mut unsure = Vec::new();
        for (at, print) in asked {
            match results.find(print) {
                // A record under the key of a row that was deleted is another one, made since.
                Hit::One(Outcome::Applied { .. }) if batch.op == OutOp::Delete => unsure.push(at),
                Hit::One(Outcome::Applied { id, created }) => {
                    let id = (!id.is_empty()).then_some(id);
                    rows.push((at, AdoptedRow::Answered(RowResult::Applied { id, created })));
                }
                Hit::One(Outcome::Failed(error)) => rows.push((at, AdoptedRow::Answered(RowResult::Failed(error)))),
                Hit::One(Outcome::Unprocessed) => rows.push((at, AdoptedRow::Missing)),
                Hit::Nothing if results.came_to_nothing() => rows.push((at, AdoptedRow::Missing)),
                Hit::Nothing | Hit::Several => unsure.push(at),
            }
        }
        if !unsure.is_empty() {
            rows.extend(self.read_back_rows(batch, unsure, calls).await?);
        }
        Ok(rows)
    }

    /// Reads back the rows of which no result tells.
    async fn read_back_rows(
        &self,
        batch: &OutBatch,
        rows: Vec<usize>,
        calls: &mut u32,
    ) -> Result<Vec<(usize, AdoptedRow)>, SinkError> {
        let found = self.held(&sub_batch(batch, &rows, batch.api), calls).await?;
        let told = found.into_iter().map(|found| match found {
            ReadBack::Applied { id } => AdoptedRow::Answered(RowResult::Applied { id, created: false }),
            ReadBack::Missing => AdoptedRow::Missing,
            ReadBack::Unknown => AdoptedRow::Unknown,
        });
        Ok(rows.into_iter().zip(told).collect())
    }
}
