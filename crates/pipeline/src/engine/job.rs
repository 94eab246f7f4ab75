//! What a group hands to a task that carries a batch, and what comes back.

use super::permits::Pass;
use super::route::{Org, OrgPlace, Route};
use crate::mapping::RowRefusal;
use crate::window::{EntryId, Taken};
use contract::{Adopted, AppliedBatch, LogError, ReadBack, SinkError};
use model::{Api, BatchId, Lane, Offset};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A row of a batch: one record, or a chain of one key's records that go as one.
#[derive(Clone, Debug)]
pub struct JobRow {
    pub id: EntryId,
    pub offset: Offset,
    /// Later records of the same key that are merged into it, ascending.
    pub merged: Vec<Taken>,
    /// How often it was sent before.
    pub sent: u32,
}

impl JobRow {
    /// Every offset that the row stands for, ascending.
    pub fn offsets(&self) -> impl Iterator<Item = Offset> {
        std::iter::once(self.offset).chain(self.merged.iter().map(|taken| taken.offset))
    }

    /// The newest record: the one whose effect the target holds afterwards.
    pub fn newest(&self) -> Offset {
        self.merged.last().map_or(self.offset, |taken| taken.offset)
    }
}

/// What is done with the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Journal and send.
    Send,
    /// Ask the target which of them it holds.
    ReadBack,
    /// Ask the target what became of them in a job that was made before.
    Adopt,
}

impl JobKind {
    /// True when rows are asked for and not sent.
    pub fn asks(self) -> bool {
        self != JobKind::Send
    }
}

/// Leave to hold a job's rows in memory while they are uploaded; given back when it is dropped.
pub struct Upload {
    uploading: Arc<AtomicUsize>,
    org: Arc<Org>,
}

impl Upload {
    /// Takes leave; `uploading` counts those that have it.
    pub fn new(uploading: &Arc<AtomicUsize>, org: &Arc<Org>) -> Self {
        uploading.fetch_add(1, Ordering::Relaxed);
        Self { uploading: uploading.clone(), org: org.clone() }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.uploading.fetch_sub(1, Ordering::Relaxed);
        self.org.wake();
    }
}

/// Rows on their way.
pub struct Job {
    pub kind: JobKind,
    pub api: Api,
    /// Why that API; none where it says itself.
    pub reason: Option<String>,
    /// For `Adopt`: the target's name for the job.
    pub adopted: Option<Arc<str>>,
    pub route: Arc<Route>,
    pub lane: Lane,
    /// Ascending by offset.
    pub rows: Vec<JobRow>,
    pub pass: Pass,
    pub place: OrgPlace,
    /// Held until the rows are uploaded, where they go by a job.
    pub upload: Option<Upload>,
}

/// What became of a job's rows: every row is in exactly one of the lists.
#[derive(Default)]
pub struct JobDone {
    pub batches: Vec<Batch>,
    pub refused: Vec<(JobRow, RowRefusal)>,
    /// Rows that did not fit; nothing was done with them.
    pub returned: Vec<JobRow>,
    /// Rows that this API does not carry; nothing was done with them.
    pub elsewhere: Vec<JobRow>,
    /// Members of chains that do not belong to them; nothing was done with them.
    pub returned_members: Vec<Taken>,
    /// Set when the log failed before anything was sent; the rows are in `returned`.
    pub log_failed: Option<LogError>,
    /// Set when a permit for a further batch was refused; the rows are in `returned`.
    pub wait: Option<Duration>,
    /// Bytes of the records that were read, and their number.
    pub read_bytes: usize,
    pub read_records: usize,
}

/// Rows that went together, and the target's answer.
pub struct Batch {
    pub id: BatchId,
    pub api: Api,
    /// The target's name for the job that carries them, once it was journalled.
    pub job: Option<Arc<str>>,
    pub rows: Vec<JobRow>,
    /// Event times of the rows' newest records, Unix milliseconds.
    pub times_ms: Vec<i64>,
    /// From the call to the answer.
    pub took: Duration,
    pub answer: Answer,
}

/// The target's answer.
pub enum Answer {
    Sent(Result<AppliedBatch, SinkError>),
    ReadBack(Result<(Vec<ReadBack>, u32), SinkError>),
    Adopted(Result<Adopted, SinkError>),
}
