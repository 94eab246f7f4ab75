//! One job from the first call to the last answer.

use super::job::{Job, Jobs, State, is_wrong_state};
use super::outcomes::Match;
use super::pace::Looks;
use super::results::Results;
use super::{batches_of, cells, file};
use crate::faults::{self, fault};
use crate::read::Found;
use crate::sink::SalesforceSink;
use crate::write;
use bytes::Bytes;
use contract::{JobHost, OutBatch, OutOp, RowError, RowResult, SinkError, Spend};
use model::{Api, ErrorClass};
use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Ends when the process is asked to stop.
type Stop<'s> = Pin<&'s mut (dyn Future<Output = ()> + Send)>;

/// A row's place in the batch, and its record id where the operation needs one.
type Sent = (usize, Option<Arc<str>>);

/// A file on its way, and what its rows' answers are found by.
struct Upload {
    file: Bytes,
    /// Places in the batch, each with its print.
    rows: Vec<usize>,
    prints: Vec<u128>,
    by: Match,
}

/// Tries at reading results before their rows are left to be adopted.
const RESULT_TRIES: u32 = 5;

impl SalesforceSink {
    /// Applies a batch by a job of its own (`Sink::apply_job`).
    ///
    /// Rows that CSV cannot carry go by Collections once the job has ended.
    ///
    /// # Errors
    /// As `Sink::apply_job`.
    pub(crate) async fn by_job(
        &self,
        batch: OutBatch,
        host: &dyn JobHost,
        spent: &mut Spend,
    ) -> Result<Vec<RowResult>, SinkError> {
        let mut slots: Vec<Option<RowResult>> = vec![None; batch.rows.len()];
        let upload = self.prepared(&batch, &mut slots, &mut spent.calls).await?;
        let in_file: HashSet<usize> = upload.iter().flat_map(|upload| &upload.rows).copied().collect();
        let beside: Vec<usize> =
            (0..slots.len()).filter(|row| slots[*row].is_none() && !in_file.contains(row)).collect();
        let beside_rows = sub_batch(&batch, &beside, Api::Collections);
        if let Some(upload) = upload {
            self.carry(batch, upload, &mut slots, host, spent).await?;
        }
        self.beside(&beside, beside_rows, &mut slots, &mut spent.calls).await;
        Ok(slots.into_iter().map(|slot| slot.expect("each row was in the file, refused, or sent beside it")).collect())
    }

    /// Sends the rows that are not in the file, by Collections. Those in the file have their answers: a failure from here on
    /// belongs to these rows alone.
    async fn beside(&self, places: &[usize], rows: OutBatch, slots: &mut [Option<RowResult>], calls: &mut u32) {
        for at in (0..places.len()).step_by(write::ROWS_MAX) {
            let part: Vec<usize> = (at..places.len().min(at + write::ROWS_MAX)).collect();
            let answers = match self.applied(&sub_batch(&rows, &part, Api::Collections), calls).await {
                Ok(answers) => answers,
                Err(error) => vec![write::failed_with(&error); part.len()],
            };
            part.iter().zip(answers).for_each(|(row, answer)| slots[places[*row]] = Some(answer));
        }
    }

    /// Writes the file; none when no row goes into one. Answers the rows that need no sending.
    async fn prepared(
        &self,
        batch: &OutBatch,
        slots: &mut [Option<RowResult>],
        calls: &mut u32,
    ) -> Result<Option<Upload>, SinkError> {
        let sent = self.rows_for_file(batch, slots, calls).await?;
        let columns = cells::columns(batch);
        let rows: Vec<(usize, Option<&str>)> = sent.iter().map(|(row, id)| (*row, id.as_deref())).collect();
        // A header that is too long: the rows stay without an answer, and go by Collections.
        let Some(written) = file::write(batch, &columns, &rows, self.bulk.settings.file_bytes_max) else {
            return Ok(None);
        };
        let left_out: HashSet<usize> = written.left_out.into_iter().collect();
        for row in &left_out {
            slots[*row] = Some(unprocessed(ErrorClass::Collateral, "the file of the job was full"));
        }
        let by = Match::of(batch);
        let in_file = sent.iter().filter(|(row, _)| !left_out.contains(row));
        let prints: Vec<u128> =
            in_file.clone().map(|(row, id)| by.print(batch, &columns, &batch.rows[*row], id.as_deref())).collect();
        let rows: Vec<usize> = in_file.map(|(row, _)| *row).collect();
        Ok((!rows.is_empty()).then(|| Upload { file: written.bytes.into(), rows, prints, by }))
    }

    /// Finds out which rows go into the file. Answers those that lead to no record; rows that the file cannot carry stay
    /// without an answer.
    async fn rows_for_file(
        &self,
        batch: &OutBatch,
        slots: &mut [Option<RowResult>],
        calls: &mut u32,
    ) -> Result<Vec<Sent>, SinkError> {
        let fits = |row: &usize| batch.op == OutOp::Delete || cells::carries(&batch.rows[*row]);
        let fits = |row: &usize| fits(row) && !cells::names_no_parent(batch, &batch.rows[*row]);
        let rows: Vec<usize> = (0..batch.rows.len()).filter(fits).collect();
        if matches!(batch.op, OutOp::Upsert | OutOp::Create) {
            return Ok(rows.into_iter().map(|row| (row, None)).collect());
        }
        let schema = self.descriptions.get(&self.transport, &batch.object, calls).await?;
        let target = self.target(&schema, batch)?;
        let found = target.resolve(batch, &rows, true, calls).await?;
        let (mut sent, mut taken) = (Vec::with_capacity(rows.len()), HashSet::new());
        for (row, found) in rows.into_iter().zip(found) {
            match found {
                Found::One { id, .. } if taken.insert(Arc::clone(&id)) => sent.push((row, Some(id))),
                // Two keys that the org takes for one: results by record id could not tell the rows apart.
                Found::One { .. } => {}
                other => slots[row] = Some(write::without_a_call(&batch.object, &target.field.name, batch.op, &other)),
            }
        }
        Ok(sent)
    }

    /// Carries a file through its job. The rows are dropped as soon as the org has them: what their answers are found by is
    /// kept (`Upload::prints`).
    async fn carry(
        &self,
        batch: OutBatch,
        upload: Upload,
        slots: &mut [Option<RowResult>],
        host: &dyn JobHost,
        spent: &mut Spend,
    ) -> Result<(), SinkError> {
        let Upload { file, rows, prints, by } = upload;
        let jobs = self.jobs();
        let mut stop = std::pin::pin!(host.stopping());
        let id = self.hand_over(&jobs, &batch, host, file, stop.as_mut(), &mut spent.calls).await?;
        if batch.op == OutOp::Delete {
            self.forget_ids(&batch, &rows).await;
        }
        drop(batch);
        host.uploaded();
        let batches = batches_of(rows.len());
        spent.bulk_batches += batches;
        let started = self.transport.clock.monotonic();
        let job = self.wait_for_end(&jobs, &id, rows.len(), Some(stop.as_mut()), &mut spent.calls).await?;
        if job.state == State::JobComplete {
            let age = self.transport.clock.monotonic().saturating_sub(started);
            let worked = Duration::from_millis(job.total_processing_time);
            self.bulk.speed.learn(rows.len(), if worked.is_zero() { age } else { worked.min(age) });
        } else {
            // The org counts a batch when it begins with it.
            spent.bulk_batches -= batches - batches_of(job.processed as usize).min(batches);
        }
        let mut results = Results::new(job, by);
        self.read_results(&jobs, &mut results, &prints, Some(stop), &mut spent.calls).await?;
        rows.into_iter().zip(prints).for_each(|(row, print)| slots[row] = Some(results.answer(print)));
        Ok(())
    }

    /// Makes the job, has it written down, uploads and closes.
    ///
    /// # Errors
    /// `SinkError`; nothing of the file is worked off then. Never class `Unknown`: a job without a file, or one that was not
    /// closed, changes nothing.
    async fn hand_over(
        &self,
        jobs: &Jobs<'_>,
        batch: &OutBatch,
        host: &dyn JobHost,
        file: Bytes,
        stop: Stop<'_>,
        calls: &mut u32,
    ) -> Result<String, SinkError> {
        let id = jobs.create(batch, calls).await.map_err(|error| not_begun(no_such_place(error)))?.id;
        let feeding = async {
            host.note(batch.id, &id).await?;
            jobs.upload(&id, file, calls).await
        };
        // The stop must not break into the closing: whether a job that was aborted then had begun could not be told.
        let fed = tokio::select! {
            biased;
            fed = feeding => fed,
            () = stop => {
                let place = format!("job {id}");
                Err(fault(faults::JOB_STOPPED, ErrorClass::Transient, &place, "stopped before it was handed over"))
            }
        };
        let fed_whole = fed.is_ok();
        let closed = match fed {
            Ok(()) => jobs.close(&id, calls).await,
            // A lost answer to the upload: the file may be there, and is not sent twice.
            Err(error) => Err(error),
        };
        match closed {
            Ok(()) => Ok(id),
            // Closed for all that, or not: `wait_for_end` sees, and closes it if it is not.
            Err(error) if fed_whole && may_be_closed(&error) => Ok(id),
            Err(error) => {
                // Without it the org ends the job after a day; it works off nothing that was not closed.
                if let Err(error) = jobs.abort(&id, calls).await {
                    tracing::warn!(job = id, error = %error, "a job that was not handed over could not be aborted");
                }
                Err(not_begun(error))
            }
        }
    }

    /// Waits until the job has ended; closes one that turns out to be open. However long it takes and whatever the looks
    /// meet: whoever went away would leave a job that writes into what is sent later.
    ///
    /// # Errors
    /// `PS4113`, class `Unknown`, after a stop; `PS4114`, class `Unknown`, when the job is gone.
    pub(super) async fn wait_for_end(
        &self,
        jobs: &Jobs<'_>,
        id: &str,
        rows: usize,
        mut stop: Option<Stop<'_>>,
        calls: &mut u32,
    ) -> Result<Job, SinkError> {
        let clock = &self.transport.clock;
        let settings = &self.bulk.settings;
        let mut looks = Looks::new(rows, clock.monotonic());
        loop {
            let wait = looks.next_wait(&self.bulk.speed, settings, clock.monotonic());
            tracing::debug!(job = id, rows, ?wait, "the job is looked at after a wait");
            let wait = tokio::time::sleep(wait);
            if !until(stop.as_mut(), wait).await {
                return Err(left(id, "the process stops"));
            }
            match jobs.look(id, calls).await {
                Ok(Some(job)) if job.state.is_end() => return Ok(job),
                Ok(Some(job)) => {
                    looks.seen(job.processed, clock.monotonic());
                    if job.state == State::Open {
                        let _seen_at_the_next_look = jobs.close(id, calls).await;
                    } else if looks.is_stuck(clock.monotonic(), settings.stuck_after) {
                        tracing::warn!(job = id, processed = job.processed, "the job makes no progress; it is aborted");
                        let _seen_at_the_next_look = jobs.abort(id, calls).await;
                    }
                }
                Ok(None) => return Err(super::job::gone(id, "wait for the job")),
                Err(error) => {
                    tracing::warn!(job = id, error = %error, "the job cannot be looked at; it is waited for all the same");
                    looks.failed();
                }
            }
        }
    }

    /// Reads as many of the result files as the rows need.
    ///
    /// # Errors
    /// `PS4113` or `PS4114`, class `Unknown`: the rows are to be adopted, or read back.
    pub(super) async fn read_results(
        &self,
        jobs: &Jobs<'_>,
        results: &mut Results,
        prints: &[u128],
        mut stop: Option<Stop<'_>>,
        calls: &mut u32,
    ) -> Result<(), SinkError> {
        let mut looks = Looks::new(0, self.transport.clock.monotonic());
        let mut tries = 0;
        loop {
            let reading = results.read_for(jobs, prints, calls);
            let error = match reading.await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            tries += 1;
            if error.class == ErrorClass::Unknown {
                return Err(error);
            }
            if tries == RESULT_TRIES {
                return Err(left(&results.job.id, &format!("its results cannot be read: {}", error.message)));
            }
            looks.failed();
            let now = self.transport.clock.monotonic();
            let wait = tokio::time::sleep(looks.next_wait(&self.bulk.speed, &self.bulk.settings, now));
            if !until(stop.as_mut(), wait).await {
                return Err(left(&results.job.id, "the process stops"));
            }
        }
    }

    pub(super) fn jobs(&self) -> Jobs<'_> {
        Jobs { transport: &self.transport, settings: &self.bulk.settings }
    }

    /// Forgets the record ids of rows that are about to be deleted.
    async fn forget_ids(&self, batch: &OutBatch, rows: &[usize]) {
        if let Ok(schema) = self.descriptions.get(&self.transport, &batch.object, &mut 0).await
            && let Ok(target) = self.target(&schema, batch)
        {
            rows.iter().for_each(|row| target.drop_id(batch, *row));
        }
    }
}

/// Waits; false when the stop came first.
async fn until(stop: Option<&mut Stop<'_>>, wait: impl Future<Output = ()>) -> bool {
    match stop {
        None => {
            wait.await;
            true
        }
        Some(stop) => tokio::select! {
            () = stop.as_mut() => false,
            () = wait => true,
        },
    }
}

/// Some rows of a batch as a batch of their own.
pub(super) fn sub_batch(batch: &OutBatch, rows: &[usize], api: Api) -> OutBatch {
    let head = OutBatch { rows: Vec::new(), columns: Arc::clone(&batch.columns), ..without_rows(batch) };
    OutBatch { api, rows: rows.iter().map(|row| batch.rows[*row].clone()).collect(), ..head }
}

fn without_rows(batch: &OutBatch) -> OutBatch {
    OutBatch {
        id: batch.id,
        api: batch.api,
        route: batch.route.clone(),
        lane: batch.lane,
        object: batch.object.clone(),
        op: batch.op,
        external_id: batch.external_id.clone(),
        position_field: batch.position_field.clone(),
        columns: Arc::clone(&batch.columns),
        rows: Vec::new(),
    }
}

/// A failure before the file was handed over: whatever became of the call, no row was applied.
fn not_begun(error: SinkError) -> SinkError {
    match error.class {
        ErrorClass::Unknown => SinkError { class: ErrorClass::Transient, ..error },
        _ => error,
    }
}

/// True for the answers to a close after which the job may be closed.
fn may_be_closed(error: &SinkError) -> bool {
    matches!(error.class, ErrorClass::Unknown | ErrorClass::Transient) || is_wrong_state(error)
}

/// An object or external id field that is gone is no row's fault: the route stops, and its rows stay until somebody acts.
fn no_such_place(error: SinkError) -> SinkError {
    match error.target_code.as_deref() {
        Some("INVALIDENTITY" | "INVALIDJOB") => {
            SinkError { class: ErrorClass::Auth, code: model::ErrorCode(faults::NO_OBJECT), ..error }
        }
        _ => error,
    }
}

/// A job that goes on without us.
fn left(id: &str, why: &str) -> SinkError {
    fault(faults::JOB_LEFT, ErrorClass::Unknown, &format!("job {id}"), format!("the job is left with the org: {why}"))
}

/// The answer of a row that the job did not come to.
pub(super) fn unprocessed(class: ErrorClass, message: &str) -> RowResult {
    let code = faults::ROW_UNPROCESSED.to_owned();
    RowResult::Failed(RowError { class, code, message: message.to_owned(), fields: Vec::new() })
}
