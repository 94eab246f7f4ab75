//! Named places at which a test lets the process die.
//!
//! In production the points cost one branch. A chaos run arms one point with a count; the closure it gives (SIGKILL to
//! the own process) runs when the point is reached for that time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A place between two steps of the path from source to checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashPoint {
    /// A change was read from the source and is not yet in the log.
    AfterRead,
    /// Records were appended (accepted, perhaps not durable).
    AfterAppend,
    /// Records are durable and the source is about to be told.
    BeforeConfirm,
    /// A snapshot chunk was read and not yet appended.
    InChunk,
    /// The sink has answered and nothing was settled yet.
    AfterSend,
    /// A settlement was decided and is about to be written.
    BeforeSettle,
    /// A checkpoint is about to be written.
    InCheckpoint,
    /// A batch was journalled and is about to be sent.
    AfterJournal,
    /// A job was made and its name journalled; nothing is uploaded yet.
    AfterJobNoted,
    /// A job's rows are uploaded; the target works on them.
    AfterUpload,
}

impl CrashPoint {
    /// Every point.
    pub const ALL: [CrashPoint; 10] = [
        CrashPoint::AfterRead,
        CrashPoint::AfterAppend,
        CrashPoint::BeforeConfirm,
        CrashPoint::InChunk,
        CrashPoint::AfterSend,
        CrashPoint::BeforeSettle,
        CrashPoint::InCheckpoint,
        CrashPoint::AfterJournal,
        CrashPoint::AfterJobNoted,
        CrashPoint::AfterUpload,
    ];

    /// The name used by `cargo xtask chaos` and `PENSTOCK_CRASH_AT`.
    pub fn name(self) -> &'static str {
        match self {
            CrashPoint::AfterRead => "after_read",
            CrashPoint::AfterAppend => "after_append",
            CrashPoint::BeforeConfirm => "before_confirm",
            CrashPoint::InChunk => "in_chunk",
            CrashPoint::AfterSend => "after_send",
            CrashPoint::BeforeSettle => "before_settle",
            CrashPoint::InCheckpoint => "in_checkpoint",
            CrashPoint::AfterJournal => "after_journal",
            CrashPoint::AfterJobNoted => "after_job_noted",
            CrashPoint::AfterUpload => "after_upload",
        }
    }
}

struct Armed {
    point: CrashPoint,
    left: AtomicU64,
    die: Box<dyn Fn() + Send + Sync>,
}

/// The points of one process; unarmed unless a test says otherwise.
#[derive(Clone, Default)]
pub struct CrashPoints(Option<Arc<Armed>>);

impl CrashPoints {
    /// Arms `point`: `die` runs when it is reached for the `nth` time (from 1).
    pub fn armed(point: CrashPoint, nth: u64, die: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Armed { point, left: AtomicU64::new(nth.max(1)), die: Box::new(die) })))
    }

    /// Says that the code has come to `point`.
    #[inline]
    pub fn reach(&self, point: CrashPoint) {
        if let Some(armed) = &self.0
            && armed.point == point
            && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            (armed.die)();
        }
    }
}

impl fmt::Debug for CrashPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CrashPoints").field(&self.0.as_ref().map(|armed| armed.point)).finish()
    }
}
