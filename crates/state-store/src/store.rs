//! The store: a queue to the writer, a pool of readers.

use crate::answer::refused;
use crate::format::{Mode, connect};
use crate::read::Readers;
use crate::write::{Request, Writer, size, tidy_up};
use async_trait::async_trait;
use contract::{StateError, StateOp};
use parking_lot::Mutex;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot};

/// Bytes of writes that wait in memory; a writer beyond it waits. A larger write goes alone.
const QUEUE_BYTES: u32 = 8 << 20;

/// Penstock's state in one SQLite file.
///
/// Dropping the store, or `close`, carries out what is in the queue. Several processes may have the same file open.
pub struct StateStore {
    path: PathBuf,
    readers: Arc<Readers>,
    room: Arc<Semaphore>,
    /// None when closed or opened for reading only.
    queue: Mutex<Option<Sender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Transactions so far.
    commits: Arc<AtomicU64>,
    read_only: bool,
}

impl StateStore {
    /// Opens a state file to read and write, making it if needed; blocks for a few file operations.
    ///
    /// # Errors
    /// `TooNew` for a newer format; `Store` when it is no state file or cannot be opened; `Busy`.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let connection = connect(path, Mode::Write)?;
        let store = Self::new(path, false);
        let (queue, requests) = channel();
        let writer = Writer { connection, path: path.to_owned(), commits: Arc::clone(&store.commits) };
        let thread = std::thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || writer.run(&requests))
            .map_err(|error| refused(path, error.to_string()))?;
        *store.queue.lock() = Some(queue);
        *store.writer.lock() = Some(thread);
        Ok(store)
    }

    /// Opens an existing state file to read, beside a process that may be writing to it.
    ///
    /// # Errors
    /// As `open`; also `Store` when the file is not there.
    pub fn open_read_only(path: &Path) -> Result<Self, StateError> {
        drop(connect(path, Mode::Read)?);
        Ok(Self::new(path, true))
    }

    fn new(path: &Path, read_only: bool) -> Self {
        Self {
            path: path.to_owned(),
            readers: Arc::new(Readers::new(path.to_owned())),
            room: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
            queue: Mutex::new(None),
            writer: Mutex::new(None),
            commits: Arc::default(),
            read_only,
        }
    }

    /// Carries out what is in the queue and ends the writer; later writes answer `Closed`, reads go on. Idempotent.
    pub fn close(&self) {
        drop(self.queue.lock().take());
        if let Some(writer) = self.writer.lock().take() {
            if writer.join().is_err() {
                tracing::error!(path = %self.path.display(), "the state's writer ended with a panic");
            }
            if let Ok(connection) = connect(&self.path, Mode::Write) {
                tidy_up(&connection, &self.path);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(std::sync::atomic::Ordering::Relaxed)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StateError::Closed)?
}

#[async_trait]
impl contract::StateStore for StateStore {
    async fn get(&self, space: &str, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let (readers, space, key) = (Arc::clone(&self.readers), space.to_owned(), key.to_owned());
        blocking(move || readers.get(&space, &key)).await
    }

    async fn scan(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let (readers, space, prefix) = (Arc::clone(&self.readers), space.to_owned(), prefix.to_owned());
        let after = after.map(str::to_owned);
        blocking(move || readers.scan(&space, &prefix, after.as_deref(), limit)).await
    }

    async fn write(&self, ops: Vec<StateOp>) -> Result<(), StateError> {
        if self.read_only {
            return Err(refused(&self.path, "it was opened for reading only"));
        }
        let share = u32::try_from(size(&ops)).unwrap_or(QUEUE_BYTES).clamp(1, QUEUE_BYTES);
        let room = Arc::clone(&self.room).acquire_many_owned(share).await.map_err(|_| StateError::Closed)?;
        let (answer, answered) = oneshot::channel();
        {
            let queue = self.queue.lock();
            let queue = queue.as_ref().ok_or(StateError::Closed)?;
            queue.send(Request { ops, answer, _room: room }).map_err(|_| StateError::Closed)?;
        }
        answered.await.map_err(|_| StateError::Closed)?
    }
}

impl Drop for StateStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for StateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateStore")
            .field("path", &self.path)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
