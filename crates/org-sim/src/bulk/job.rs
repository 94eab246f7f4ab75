//! Jobs and their parts.
//!
//! ```text
//! ingest  Open ─ close ─▶ UploadComplete ─▶ InProgress ─▶ JobComplete | Failed
//! query                   UploadComplete ─▶ InProgress ─▶ JobComplete | Failed
//! either: any state that is not an end ─ abort ─▶ Aborted
//! 1.0     Open ─ close ─▶ Closed; its batches: Queued ─▶ InProgress ─▶ Completed | Failed, or NotProcessed
//! ```

use super::blob::Blob;
use super::csv::Dialect;
use super::run::Run;
use crate::faults::Effect;
use crate::ids::SfId;
use std::sync::Arc;

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
    /// Bulk API 1.0 only: nothing is added any more, though batches may still be worked on.
    Closed,
}

impl State {
    /// The word in a job.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::UploadComplete => "UploadComplete",
            Self::InProgress => "InProgress",
            Self::JobComplete => "JobComplete",
            Self::Failed => "Failed",
            Self::Aborted => "Aborted",
            Self::Closed => "Closed",
        }
    }

    /// The word in the sentence that refuses to leave the state.
    pub fn past(self) -> &'static str {
        match self {
            Self::JobComplete => "Completed",
            Self::UploadComplete => "Closed",
            other => other.word(),
        }
    }

    /// True when nothing more happens by itself.
    pub fn is_end(self) -> bool {
        matches!(self, Self::JobComplete | Self::Failed | Self::Aborted)
    }
}

/// Which API a job belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ingest,
    Query,
    /// Bulk API 1.0.
    Classic,
}

impl Kind {
    /// The word in a job.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ingest => "V2Ingest",
            Self::Query => "V2Query",
            Self::Classic => "Classic",
        }
    }
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Insert,
    Update,
    Upsert,
    Delete,
    HardDelete,
    Query,
    QueryAll,
}

impl Operation {
    /// Parses the word of a job.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "insert" => Self::Insert,
            "update" => Self::Update,
            "upsert" => Self::Upsert,
            "delete" => Self::Delete,
            "hardDelete" => Self::HardDelete,
            "query" => Self::Query,
            "queryAll" => Self::QueryAll,
            _ => return None,
        })
    }

    /// The word in a job.
    pub fn word(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
            Self::HardDelete => "hardDelete",
            Self::Query => "query",
            Self::QueryAll => "queryAll",
        }
    }

    /// True for reading.
    pub fn is_query(self) -> bool {
        matches!(self, Self::Query | Self::QueryAll)
    }

    /// The operation as fault rules know it.
    pub fn seen(self) -> crate::faults::Operation {
        use crate::faults::Operation as Seen;
        match self {
            Self::Insert => Seen::Create,
            Self::Update => Seen::Update,
            Self::Upsert => Seen::Upsert,
            Self::Delete | Self::HardDelete => Seen::Delete,
            Self::Query | Self::QueryAll => Seen::Read,
        }
    }
}

/// How uploads and results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
    Xml,
}

impl Format {
    /// The word in a job.
    pub fn word(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Xml => "XML",
        }
    }
}

/// How far a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartState {
    Queued,
    InProgress,
    Completed,
    Failed,
    NotProcessed,
}

impl PartState {
    /// The word in a batch of Bulk API 1.0.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::InProgress => "InProgress",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::NotProcessed => "NotProcessed",
        }
    }

    /// True when nothing more happens.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::NotProcessed)
    }
}

/// What was made of a part.
#[derive(Clone, Debug)]
pub enum Results {
    None,
    /// Bulk API 2.0: lines in an order of their own, without the header; what no file may show lies from `cut_off`.
    Split {
        columns: Vec<String>,
        success: Arc<Blob>,
        failed: Arc<Blob>,
        /// The internal batches that were worked off, by number.
        settled: Vec<bool>,
        /// The first row beyond the daily batches, which no result file shows.
        cut_off: Option<u64>,
    },
    /// Bulk API 1.0: a result per row in the upload's order.
    InOrder(Arc<Blob>),
    /// A query's rows, with the length of each line.
    Rows {
        header: Vec<u8>,
        lines: Arc<Blob>,
        lengths: Vec<u32>,
    },
}

/// The content of a job: the one upload or query of Bulk API 2.0, or a batch of 1.0.
#[derive(Debug)]
pub struct Part {
    /// Only batches of 1.0 show it.
    pub id: SfId,
    pub state: PartState,
    pub message: Option<String>,
    pub created_ms: i64,
    pub modified_ms: i64,
    pub upload: Option<Arc<Blob>>,
    /// The text of a query.
    pub query: Option<String>,
    pub processed: u64,
    pub failed: u64,
    /// The work's time, all workers added up.
    pub active_ms: i64,
    pub started_ms: i64,
    pub run: Option<Run>,
    pub results: Results,
}

impl Part {
    /// Makes one that waits for its turn.
    pub fn new(id: SfId, now_ms: i64) -> Self {
        Self {
            id,
            state: PartState::Queued,
            message: None,
            created_ms: now_ms,
            modified_ms: now_ms,
            upload: None,
            query: None,
            processed: 0,
            failed: 0,
            active_ms: 0,
            started_ms: now_ms,
            run: None,
            results: Results::None,
        }
    }
}

/// A job.
#[derive(Debug)]
pub struct Job {
    pub id: SfId,
    pub kind: Kind,
    pub version: u32,
    pub operation: Operation,
    pub object: String,
    pub external_id: Option<String>,
    pub format: Format,
    pub dialect: Dialect,
    pub assignment_rule: Option<String>,
    pub serial: bool,
    pub user: SfId,
    /// The name from `Sforce-Call-Options`.
    pub client: Option<String>,
    pub state: State,
    pub error: Option<String>,
    pub created_ms: i64,
    pub modified_ms: i64,
    /// When a job that was closed may start.
    pub due_ms: i64,
    pub retries: u32,
    pub parts: Vec<Part>,
    /// What fault rules do to the job's work.
    pub fate: Fate,
}

/// What fault rules do to a job's work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fate {
    /// Nothing is worked on after so many rows, for so many milliseconds or for ever.
    pub stuck_after: Option<(u64, Option<u64>)>,
    /// Nothing is worked on now, until the job's `due_ms`.
    pub stuck: bool,
    /// The job fails after so many rows, with this sentence.
    pub fail_after: Option<(u64, String)>,
}

impl Job {
    /// Rows worked off, failed ones included.
    pub fn processed(&self) -> u64 {
        self.parts.iter().map(|part| part.processed).sum()
    }

    /// Rows that failed.
    pub fn failed(&self) -> u64 {
        self.parts.iter().map(|part| part.failed).sum()
    }

    /// Moves to a state.
    pub fn enter(&mut self, state: State, now_ms: i64) {
        self.state = state;
        self.modified_ms = now_ms;
    }
}

impl Fate {
    /// What these effects do to a job.
    pub fn of(effects: &[Effect]) -> Self {
        let mut fate = Self::default();
        for effect in effects {
            match effect {
                Effect::JobStuck { after_rows, ms } => fate.stuck_after = Some((*after_rows, *ms)),
                Effect::JobFail { message, after_rows } => fate.fail_after = Some((*after_rows, message.clone())),
                _ => {}
            }
        }
        fate
    }
}
