//! Jobs of the scripted target: they outlive the process that made them.

use super::target::{Target, TargetSink, text};
use contract::{Adopted, AdoptedRow, AppliedBatch, JobHost, OutBatch, RowResult, SinkError, Spend};
use model::{ErrorClass, ErrorCode};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How far a job is.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    Open,
    Working,
    /// Results by key.
    Done(BTreeMap<String, RowResult>),
    Aborted,
}

/// The target's jobs.
pub struct Jobs {
    pub states: Mutex<BTreeMap<String, JobState>>,
    /// Rows of each job that was uploaded.
    pub uploads: Mutex<Vec<usize>>,
    changed: watch::Sender<u64>,
    /// How long a job takes.
    pub takes: Mutex<Duration>,
    /// The answer of the next creation is lost.
    pub lose_name: Mutex<bool>,
    /// What leftovers were asked for: how often.
    pub looked: Mutex<usize>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            states: Mutex::default(),
            uploads: Mutex::default(),
            changed: watch::Sender::new(0),
            takes: Mutex::new(Duration::from_secs(30)),
            lose_name: Mutex::default(),
            looked: Mutex::default(),
        }
    }
}

impl Jobs {
    pub fn in_state(&self, wanted: &JobState) -> usize {
        self.states.lock().values().filter(|state| *state == wanted).count()
    }

    fn set(&self, job: &str, state: JobState) {
        self.states.lock().insert(job.to_owned(), state);
        self.changed.send_modify(|turn| *turn += 1);
    }

    async fn results(&self, job: &str) -> BTreeMap<String, RowResult> {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(JobState::Done(results)) = self.states.lock().get(job) {
                return results.clone();
            }
            changed.changed().await.unwrap();
        }
    }
}

fn key_of(row: &contract::OutRow) -> String {
    row.key.as_ref().map(text).unwrap()
}

fn lost(class: ErrorClass) -> SinkError {
    SinkError {
        code: ErrorCode("PS4106"),
        class,
        place: "job".into(),
        message: "scripted".into(),
        target_code: None,
        retry_after: None,
        spent: Spend::calls(1),
    }
}

impl TargetSink {
    pub async fn carry_job(&self, batch: OutBatch, host: &dyn JobHost) -> Result<AppliedBatch, SinkError> {
        self.life.check().await;
        let jobs = &self.target.jobs;
        let job = format!("job-{}", jobs.states.lock().len());
        jobs.set(&job, JobState::Open);
        if std::mem::take(&mut *jobs.lose_name.lock()) {
            return Err(lost(ErrorClass::Unknown));
        }
        host.note(batch.id, &job).await?;
        self.life.check().await;
        jobs.uploads.lock().push(batch.rows.len());
        jobs.set(&job, JobState::Working);
        let keys: Vec<String> = batch.rows.iter().map(key_of).collect();
        // From here on it is the target's: it goes on whoever dies.
        tokio::spawn(work(self.target.clone(), job.clone(), batch));
        host.uploaded();
        self.life.check().await;
        let results = tokio::select! {
            results = jobs.results(&job) => results,
            () = host.stopping() => return Err(lost(ErrorClass::Unknown)),
        };
        self.life.check().await;
        let rows = keys.iter().map(|key| results[key].clone()).collect();
        Ok(AppliedBatch { rows, spent: Spend { calls: 8, bulk_batches: 1, events: 0 } })
    }

    pub async fn adopt_job(&self, batch: &OutBatch, job: &str) -> Result<Adopted, SinkError> {
        self.life.check().await;
        let jobs = &self.target.jobs;
        let open = matches!(jobs.states.lock().get(job), Some(JobState::Open | JobState::Aborted));
        let rows = if open {
            jobs.set(job, JobState::Aborted);
            vec![AdoptedRow::Missing; batch.rows.len()]
        } else {
            let results = jobs.results(job).await;
            batch.rows.iter().map(|row| AdoptedRow::Answered(results[&key_of(row)].clone())).collect()
        };
        self.life.check().await;
        Ok(Adopted { rows, spent: Spend::calls(3) })
    }
}

async fn work(target: Arc<Target>, job: String, batch: OutBatch) {
    let takes = *target.jobs.takes.lock();
    tokio::time::sleep(takes).await;
    let fault = target.run_script(&batch);
    let results = batch.rows.iter().map(|row| (key_of(row), target.answer(&batch, row, &fault))).collect();
    target.jobs.set(&job, JobState::Done(results));
    target.changed.send_modify(|turn| *turn += 1);
}
