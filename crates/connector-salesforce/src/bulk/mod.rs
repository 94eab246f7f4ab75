//! Bulk API 2.0 ingest: a batch becomes a file, a file becomes a job, a job's results become answers.
//!
//! ```text
//! rows ─▶ cells, file ─▶ create ─▶ noted by the host ─▶ upload ─▶ close ─▶ looks (pace) ─▶ results ─▶ outcomes ─▶ answers
//!                          │                             │         │                                       ▲
//!         crash: a leftover (leftovers)     aborted ◀────┴─────────┴── adopted by the next process ────────┘
//! ```
//!
//! Invariants:
//! 1. A file is uploaded only after the host has written down the job's id, and at most once.
//! 2. A job that was closed is never left before its end but on a stop, and then its rows are `Unknown`: whoever sent them
//!    again would race with it.
//! 3. A row has the answer that a result file has for it. A row in no file, or in two places, is `Unknown`.

mod adopt;
mod cells;
mod file;
mod job;
mod leftovers;
mod life;
mod outcomes;
mod pace;
mod records;
mod results;
mod settings;

pub use settings::BulkSettings;

use adopt::Adopting;
pub(crate) use cells::carries;
use pace::Speed;

/// Rows of one of the batches that the org counts.
const BATCH_ROWS: usize = 10_000;
/// Calls of a job whose end is found soon: create, upload, close, six looks, three files of results.
pub(crate) const CALLS_MAX: u32 = 12;

/// What a sink keeps for its jobs.
pub(crate) struct Bulk {
    pub settings: BulkSettings,
    speed: Speed,
    adopting: Adopting,
}

impl Bulk {
    /// Begins without jobs.
    pub fn new(settings: BulkSettings) -> Self {
        let adopting = Adopting::new(settings.adopted_bytes_max);
        Self { settings, speed: Speed::default(), adopting }
    }
}

/// The batches that the org counts for so many rows.
pub(crate) fn batches_of(rows: usize) -> u32 {
    u32::try_from(rows.div_ceil(BATCH_ROWS)).unwrap_or(u32::MAX)
}
