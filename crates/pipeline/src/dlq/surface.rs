//! What `penstock dlq` calls.

use super::index::{DlqEntry, DlqStatus, SPACE, decode, id_key, load};
use super::letter::{find, parse_letter};
use super::secret::{REDACTED, redact_value};
use crate::engine::EngineError;
use crate::proof::KeyQuery;
use crate::settle::{DEAD_LETTERS, internal};
use contract::{Log, LogError, StateError, StateStore};
use model::{DeadLetter, ErrorClass, ErrorCode, Offset, Retry, RouteId};
use serde::Serialize;
use serde_json::value::to_raw_value;

const PAGE: usize = 500;

/// Which dead letters to list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DlqFilter {
    pub route: Option<RouteId>,
    pub status: Option<DlqStatus>,
    /// The target's code or ours; case does not matter.
    pub code: Option<String>,
    pub class: Option<ErrorClass>,
    /// `schema.table`.
    pub table: Option<String>,
    pub key: Option<KeyQuery>,
    /// Buried at or after, and before; Unix milliseconds.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
    /// Only those behind this id.
    pub after: Option<Offset>,
}

impl DlqFilter {
    fn takes(&self, entry: &DlqEntry) -> bool {
        self.route.as_ref().is_none_or(|route| *route == entry.route)
            && self.status.is_none_or(|status| status == entry.status)
            && self.code.as_ref().is_none_or(|code| code.eq_ignore_ascii_case(&entry.code))
            && self.class.is_none_or(|class| class == entry.class)
            && self.table.as_ref().is_none_or(|table| Some(table) == entry.table.as_ref())
            && self.key.as_ref().is_none_or(|key| key.matches(entry.key.as_bytes()))
            && self.since_ms.is_none_or(|since| entry.at_ms >= since)
            && self.until_ms.is_none_or(|until| entry.at_ms < until)
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
    #[error("PS5806: dead letter {id} cannot be edited like this: {cause}")]
    BadEdit { id: Offset, cause: String },
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
            Self::BadEdit { .. } => ErrorCode("PS5806"),
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

/// Shows a dead letter with its original bytes; values of `secret` columns are left out, of the original and of an edit.
///
/// # Errors
/// `None`, `Gone` (trimmed by retention), `Unreadable`, `State`.
pub async fn show(log: &dyn Log, state: &dyn StateStore, id: Offset, secret: &[String]) -> Result<DlqShown, DlqError> {
    let (mut entry, _) = load(state, id).await?.ok_or(DlqError::None { id })?;
    let batches = log.read(&internal(DEAD_LETTERS), id, 1).await.map_err(|cause| DlqError::Gone { id, cause })?;
    let unreadable = |cause: String| DlqError::Unreadable { id, cause };
    let record = find(&batches, id).ok_or_else(|| unreadable("the log gave other records".into()))?;
    let letter = parse_letter(id, &record).map_err(|error: EngineError| unreadable(error.to_string()))?;
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let headers = record.headers().filter(|(name, _)| *name != DeadLetter::HEADER.as_bytes());
    if let Some(edit) = &mut entry.edit {
        for (_, value) in edit.columns.iter_mut().filter(|(name, _)| secret.contains(name)) {
            *value = to_raw_value(REDACTED).map_err(|error| unreadable(error.to_string()))?;
        }
    }
    let value = record.value.map(|value| redact_value(value, secret).unwrap_or_else(|| REDACTED.as_bytes().to_vec()));
    Ok(DlqShown {
        entry,
        letter,
        key: record.key.map(<[u8]>::to_vec),
        value,
        headers: headers.map(|(name, value)| (text(name), value.to_vec())).collect(),
        time_ms: record.time_ms,
    })
}
