//! What `penstock dlq` calls.

use super::index::{DlqEntry, DlqStatus, SPACE, decode, id_key, load};
use super::letter::{find, parse_letter};
use crate::engine::EngineError;
use crate::settle::{DEAD_LETTERS, internal};
use contract::{Log, LogError, StateError, StateOp, StateStore};
use model::{DeadLetter, ErrorCode, Offset, Retry, RouteId};
use serde::Serialize;

pub(crate) const COMMAND_SPACE: &str = "command";
pub(crate) const COMMAND_PREFIX: &str = "dlq/";

const PAGE: usize = 500;

/// Which dead letters to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DlqFilter {
    pub route: Option<RouteId>,
    pub status: Option<DlqStatus>,
    pub code: Option<String>,
    /// Only those behind this id.
    pub after: Option<Offset>,
}

impl DlqFilter {
    fn takes(&self, entry: &DlqEntry) -> bool {
        self.route.as_ref().is_none_or(|route| *route == entry.route)
            && self.status.is_none_or(|status| status == entry.status)
            && self.code.as_ref().is_none_or(|code| *code == entry.code)
    }
}

/// A dead letter with its original.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DlqShown {
    pub entry: DlqEntry,
    pub letter: DeadLetter,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// The original's headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Unix milliseconds.
    pub time_ms: i64,
}

/// Why a dead letter could not be shown, retried or dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DlqError {
    #[error("PS5801: there is no dead letter {id}; `penstock dlq list` shows those that there are")]
    None { id: Offset },
    #[error("PS5802: dead letter {id} is {status:?} already; only an open one can be retried or dropped")]
    Decided { id: Offset, status: DlqStatus },
    #[error("PS5803: dead letter {id} is no longer in the stream {DEAD_LETTERS}: {cause}")]
    Gone { id: Offset, cause: LogError },
    #[error("PS5804: dead letter {id} cannot be read: {cause}")]
    Unreadable { id: Offset, cause: String },
    #[error(transparent)]
    State(#[from] StateError),
}

impl DlqError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::None { .. } => ErrorCode("PS5801"),
            Self::Decided { .. } => ErrorCode("PS5802"),
            Self::Gone { .. } => ErrorCode("PS5803"),
            Self::Unreadable { .. } => ErrorCode("PS5804"),
            Self::State(error) => error.code(),
        }
    }

    /// What to do next.
    pub fn retry(&self) -> Retry {
        match self {
            Self::State(error) => error.retry(),
            _ => Retry::Never,
        }
    }
}

/// Lists dead letters in the order of their ids, at most `limit`.
///
/// # Errors
/// `State`.
pub async fn list(state: &dyn StateStore, filter: &DlqFilter, limit: usize) -> Result<Vec<DlqEntry>, DlqError> {
    let mut found = Vec::new();
    let mut after = filter.after.map(id_key);
    while found.len() < limit {
        let page = state.scan(SPACE, "", after.as_deref(), PAGE).await?;
        let last = page.len() < PAGE;
        after = page.last().map(|(key, _)| key.clone());
        for (key, bytes) in page {
            let entry = decode(&key, &bytes)?;
            if filter.takes(&entry) && found.len() < limit {
                found.push(entry);
            }
        }
        if last {
            break;
        }
    }
    Ok(found)
}

/// Shows a dead letter with its original bytes.
///
/// # Errors
/// `None`, `Gone` (trimmed by retention), `Unreadable`, `State`.
pub async fn show(log: &dyn Log, state: &dyn StateStore, id: Offset) -> Result<DlqShown, DlqError> {
    let (entry, _) = load(state, id).await?.ok_or(DlqError::None { id })?;
    let batches = log.read(&internal(DEAD_LETTERS), id, 1).await.map_err(|cause| DlqError::Gone { id, cause })?;
    let unreadable = |cause: String| DlqError::Unreadable { id, cause };
    let record = find(&batches, id).ok_or_else(|| unreadable("the log gave other records".into()))?;
    let letter = parse_letter(id, &record).map_err(|error: EngineError| unreadable(error.to_string()))?;
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let headers = record.headers().filter(|(name, _)| *name != DeadLetter::HEADER.as_bytes());
    Ok(DlqShown {
        entry,
        letter,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: headers.map(|(name, value)| (text(name), value.to_vec())).collect(),
        time_ms: record.time_ms,
    })
}

/// Asks that a dead letter be applied after all: a running engine takes it within a second, else the next run does. What
/// came of it stands in the entry's `status` and `result`.
///
/// # Errors
/// `None`, `Decided`, `State`.
pub async fn retry(state: &dyn StateStore, id: Offset) -> Result<(), DlqError> {
    decide(state, id, DlqStatus::Retried).await
}

/// Gives a dead letter up. Final; its bytes stay in the stream.
///
/// # Errors
/// `None`, `Decided`, `State`.
pub async fn drop(state: &dyn StateStore, id: Offset) -> Result<(), DlqError> {
    decide(state, id, DlqStatus::Dropped).await
}

async fn decide(state: &dyn StateStore, id: Offset, status: DlqStatus) -> Result<(), DlqError> {
    let (mut entry, bytes) = load(state, id).await?.ok_or(DlqError::None { id })?;
    if entry.status != DlqStatus::Open {
        return Err(DlqError::Decided { id, status: entry.status });
    }
    entry.status = status;
    let key = id_key(id);
    let mut ops = vec![
        StateOp::Expect { space: SPACE, key: key.clone(), value: Some(bytes) },
        StateOp::Put { space: SPACE, key: key.clone(), value: entry.encode() },
    ];
    if status == DlqStatus::Retried {
        // The attempts so far tell one retry from the next, for a run that saw neither come nor go.
        let value = entry.attempts.to_string().into_bytes();
        ops.push(StateOp::Put { space: COMMAND_SPACE, key: format!("{COMMAND_PREFIX}{key}"), value });
    }
    Ok(state.write(ops).await?)
}
