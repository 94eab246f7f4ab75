//! Which transactions are too large to be applied as one: stored before anything of them is settled.
//!
//! Such a transaction is settled record by record, so a checkpoint may fall into the middle of it. The rest, read after a restart,
//! must not pass for a small transaction. A note goes with the checkpoint that has passed its transaction.

use crate::engine::EngineError;
use crate::spec::TooLarge;
use contract::{StateError, StateOp, StateStore};
use model::{Offset, OrgId, Retry, StreamPartition};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The state store's space: `stream/partition/org/first offset`, 20 digits, → `Stored` in JSON.
const SPACE: &str = "transaction";
/// Notes of one scan.
const PAGE: usize = 256;

/// A transaction that is too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where its first record of ours stands.
    pub first: Offset,
    pub tx: Arc<str>,
    /// Whether it goes record by record; otherwise it is refused.
    pub by_key: bool,
    /// A sentence for operators.
    pub why: Arc<str>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    tx: String,
    by_key: bool,
    why: String,
}

impl Note {
    /// What was decided about it.
    pub fn policy(&self) -> TooLarge {
        if self.by_key { TooLarge::ByKey } else { TooLarge::Refuse }
    }
}

/// The notes of one group.
#[derive(Clone)]
pub struct Notes {
    prefix: String,
}

impl Notes {
    /// Those of a stream's transactions in one org.
    pub fn of(stream: &StreamPartition, org: &OrgId) -> Self {
        Self { prefix: format!("{}/{}/{org}/", stream.stream, stream.partition.0) }
    }

    fn key(&self, first: Offset) -> String {
        format!("{}{:020}", self.prefix, first.0)
    }

    /// Reads all of them, ascending.
    ///
    /// # Errors
    /// `StateError`.
    pub async fn load(&self, state: &dyn StateStore) -> Result<Vec<Note>, EngineError> {
        let mut notes = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = state.scan(SPACE, &self.prefix, after.as_deref(), PAGE).await?;
            for (key, value) in &page {
                let malformed =
                    |cause: String| StateError::Malformed { space: SPACE.to_owned(), key: key.clone(), cause };
                let first =
                    key[self.prefix.len()..].parse().map_err(|_| malformed("its key ends with no offset".into()))?;
                let stored: Stored = serde_json::from_slice(value).map_err(|error| malformed(error.to_string()))?;
                let Stored { tx, by_key, why } = stored;
                notes.push(Note { first: Offset(first), tx: tx.into(), by_key, why: why.into() });
            }
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => return Ok(notes),
            }
        }
    }

    /// Writes one down; durable when it answers.
    ///
    /// # Errors
    /// `StateError` that no retry mends.
    pub async fn store(&self, note: &Note, state: &dyn StateStore) -> Result<(), EngineError> {
        let stored = Stored { tx: note.tx.to_string(), by_key: note.by_key, why: note.why.to_string() };
        let value = serde_json::to_vec(&stored).expect("a note holds strings and a flag");
        loop {
            let put = StateOp::Put { space: SPACE, key: self.key(note.first), value: value.clone() };
            match state.write(vec![put]).await {
                Ok(()) => return Ok(()),
                Err(error) => match error.retry() {
                    Retry::After(delay) => tokio::time::sleep(delay).await,
                    Retry::AfterOperator | Retry::Never => return Err(error.into()),
                },
            }
        }
    }

    /// Removes one.
    pub fn forget(&self, first: Offset) -> StateOp {
        StateOp::Delete { space: SPACE, key: self.key(first) }
    }
}
