//! All jobs of an org.

use super::blob::{Blob, Spool};
use super::config::{BulkConfig, OpenJobEnd};
use super::job::{Job, Kind, PartState, State};
use super::work::Flight;
use crate::ids::SfId;
use crate::locks::Locks;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

const HOUR_MS: i64 = 3_600_000;

/// Jobs and the work on them.
pub struct Bulk {
    pub(super) jobs: BTreeMap<u64, Job>,
    next_job: u64,
    next_batch: u64,
    /// Jobs with work to do, the one whose turn is next in front.
    pub(super) active: VecDeque<u64>,
    pub(super) flights: Vec<Flight>,
    /// How far the work has come; never ahead of the clock.
    pub(super) time_ms: i64,
    /// Whether the last step gave locks back.
    pub(super) released: bool,
    pub(super) spool: Arc<Spool>,
    pub(super) empty: Arc<Blob>,
    tidied_ms: i64,
}

impl Bulk {
    /// Makes an org without jobs.
    pub fn new(config: &BulkConfig) -> Self {
        let spool = Spool::new(config.memory_bytes_max);
        Self {
            jobs: BTreeMap::new(),
            next_job: 0,
            next_batch: 0,
            active: VecDeque::new(),
            flights: Vec::new(),
            time_ms: i64::MIN,
            released: false,
            empty: Arc::new(Blob::new(&spool)),
            spool,
            tidied_ms: i64::MIN,
        }
    }

    /// Removes every job and gives back what the work on them holds.
    pub fn clear(&mut self, locks: &mut Locks) {
        self.flights.iter().for_each(|flight| locks.release(flight.request));
        self.jobs.clear();
        self.active.clear();
        self.flights.clear();
    }

    /// What `GET /_sim` tells of jobs: how many there are in each state, and the memory of their files.
    pub fn status(&self) -> serde_json::Value {
        let mut states = serde_json::Map::new();
        for job in self.jobs.values() {
            let count = states.get(job.state.word()).and_then(serde_json::Value::as_u64).unwrap_or(0);
            states.insert(job.state.word().to_owned(), (count + 1).into());
        }
        serde_json::json!({ "jobs": states, "at_work": self.flights.len(), "memory_bytes": self.spool.used() })
    }

    /// The memory that blobs share.
    pub fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// The id of a new job.
    pub(super) fn job_id(&mut self) -> (u64, SfId) {
        self.next_job += 1;
        (self.next_job, SfId::new(*b"750", self.next_job))
    }

    /// The id of a new batch of Bulk API 1.0.
    pub(super) fn batch_id(&mut self) -> SfId {
        self.next_batch += 1;
        SfId::new(*b"751", self.next_batch)
    }

    /// A job's number by its id.
    pub(super) fn find(&self, id: &str) -> Option<u64> {
        let id = SfId::parse(id).filter(|id| id.prefix() == *b"750")?;
        id.number().filter(|number| self.jobs.contains_key(number))
    }

    /// Puts a job where the work finds it.
    pub(super) fn activate(&mut self, number: u64) {
        if !self.active.contains(&number) {
            self.active.push_back(number);
        }
    }

    /// Ends jobs that stayed open for too long and forgets those that are too old; at most once a minute.
    pub(super) fn tidy(&mut self, config: &BulkConfig, now_ms: i64) {
        if now_ms - 60_000 < self.tidied_ms {
            return;
        }
        self.tidied_ms = now_ms;
        let kept_ms = config.retention_days * 24 * HOUR_MS;
        for job in self.jobs.values_mut() {
            let open = job.state == State::Open && job.kind != Kind::Query;
            if open && now_ms - job.created_ms >= config.open_hours_max * HOUR_MS {
                let end = match config.open_job_becomes {
                    OpenJobEnd::Aborted => State::Aborted,
                    OpenJobEnd::Failed => State::Failed,
                };
                job.enter(end, job.created_ms + config.open_hours_max * HOUR_MS);
                for part in job.parts.iter_mut().filter(|part| part.state == PartState::Queued) {
                    part.state = PartState::NotProcessed;
                }
            }
        }
        let too_old = |job: &Job| now_ms - job.modified_ms >= kept_ms;
        let gone: Vec<u64> = self.jobs.iter().filter(|(_, job)| too_old(job)).map(|(number, _)| *number).collect();
        for number in gone {
            self.remove(number);
        }
    }

    /// Forgets a job.
    pub(super) fn remove(&mut self, number: u64) {
        self.jobs.remove(&number);
        self.active.retain(|active| *active != number);
    }
}
