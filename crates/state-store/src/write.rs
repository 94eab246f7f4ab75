//! The writer thread: what waits together is committed together.

use crate::answer::failed;
use crate::read::select;
use contract::{StateError, StateOp};
use rusqlite::{Connection, Savepoint, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Writes in one transaction at most: bounds how long the file is held against other processes.
const GROUP_MAX: usize = 512;

/// A write that waits for its turn.
pub(crate) struct Request {
    pub(crate) ops: Vec<StateOp>,
    pub(crate) answer: oneshot::Sender<Result<(), StateError>>,
    /// Its share of the queue's bytes, given back when it is answered.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// The writing end.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    pub(crate) commits: Arc<AtomicU64>,
}

impl Writer {
    /// Commits what comes until the queue is closed.
    pub(crate) fn run(mut self, queue: &Receiver<Request>) {
        while let Ok(first) = queue.recv() {
            let mut group = vec![first];
            group.extend(queue.try_iter().take(GROUP_MAX - 1));
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Request>) {
        let outcomes = self.carry_out(&group);
        self.commits.fetch_add(1, Ordering::Relaxed);
        for (at, request) in group.into_iter().enumerate() {
            let outcome = match &outcomes {
                Ok(outcomes) => outcomes.get(at).map_or(Ok(()), Refusal::to_result),
                Err(error) => Err(failed(&self.path, error)),
            };
            // The caller may have given up waiting; its write stands all the same.
            let _ = request.answer.send(outcome);
        }
    }

    /// Writes a group in one transaction; an error means that nothing of it was written.
    fn carry_out(&mut self, group: &[Request]) -> rusqlite::Result<Vec<Refusal>> {
        let mut transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        for request in group {
            let savepoint = transaction.savepoint()?;
            outcomes.push(apply(savepoint, &request.ops)?);
        }
        transaction.commit()?;
        Ok(outcomes)
    }
}

/// What became of one write of a group.
struct Refusal(Option<(String, String)>);

impl Refusal {
    fn to_result(&self) -> Result<(), StateError> {
        match &self.0 {
            None => Ok(()),
            Some((space, key)) => Err(StateError::Conflict { space: space.clone(), key: key.clone() }),
        }
    }
}

/// Carries out one write; rolls it back when an expectation does not hold.
fn apply(savepoint: Savepoint<'_>, ops: &[StateOp]) -> rusqlite::Result<Refusal> {
    for op in ops {
        match op {
            StateOp::Put { space, key, value } => {
                savepoint
                    .prepare_cached(
                        "INSERT INTO entry (space, key, value) VALUES (?1, ?2, ?3)
                         ON CONFLICT (space, key) DO UPDATE SET value = excluded.value",
                    )?
                    .execute(params![space, key, value])?;
            }
            StateOp::Delete { space, key } => {
                savepoint
                    .prepare_cached("DELETE FROM entry WHERE space = ?1 AND key = ?2")?
                    .execute(params![space, key])?;
            }
            StateOp::Expect { space, key, value } => {
                if select(&savepoint, space, key)? != *value {
                    // Dropped without commit: rolled back to where it began.
                    return Ok(Refusal(Some(((*space).to_owned(), key.clone()))));
                }
            }
        }
    }
    savepoint.commit()?;
    Ok(Refusal(None))
}

/// The bytes that a write keeps in memory while it waits.
pub(crate) fn size(ops: &[StateOp]) -> usize {
    let size_of = |op: &StateOp| match op {
        StateOp::Put { key, value, .. } => key.len() + value.len(),
        StateOp::Delete { key, .. } => key.len(),
        StateOp::Expect { key, value, .. } => key.len() + value.as_ref().map_or(0, Vec::len),
    };
    ops.iter().map(|op| size_of(op) + std::mem::size_of::<StateOp>()).sum()
}

/// Folds the WAL back into the file when the last user leaves, so that a copied file is whole. Waits for nobody: it would
/// keep others from writing meanwhile.
pub(crate) fn tidy_up(connection: &Connection, path: &Path) {
    let folded = connection.busy_timeout(Duration::ZERO);
    if let Err(error) = folded.and_then(|()| connection.pragma_update(None, "wal_checkpoint", "TRUNCATE")) {
        tracing::debug!(path = %path.display(), %error, "the write-ahead log stays; another process uses it");
    }
}
