//! The log of one folder: its streams, its lock, and the answers to the contract.

use crate::cache::FrameCache;
use crate::fault::at_path;
use crate::follower::Follower;
use crate::fs::{DiskFiles, Files};
use crate::options::LogOptions;
use crate::partition::{OpenPartition, Partition, create_partition, open_partition};
use crate::shelf::{Shared, Shelf};
use crate::stream::{folder_name, read_description, write_description};
use async_trait::async_trait;
use contract::{AcceptedEnd, Appended, Bounds, Clock, Log, LogBatch, LogError, ProducerState, StreamSpec};
use model::{Offset, ProducerId, RecordBatch, StreamId, StreamPartition};
use parking_lot::{Mutex, RwLock};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a read-only log looks for new records while somebody waits for them.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const LOCK_FILE: &str = "LOCK";

/// The embedded log: a folder of streams.
///
/// One process writes; any number may read beside it (`open_read_only`). Dropping the store makes durable what is
/// accepted; `close` does the same and tells waiters.
pub struct LogStore {
    root: PathBuf,
    options: LogOptions,
    clock: Arc<dyn Clock>,
    shared: Shared,
    streams: RwLock<BTreeMap<StreamId, Stream>>,
    /// One creation at a time.
    creating: Arc<tokio::sync::Mutex<()>>,
    committers: Mutex<Vec<JoinHandle<()>>>,
    /// None in a read-only log.
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
    read_only: bool,
}

struct Stream {
    spec: StreamSpec,
    partitions: Vec<Part>,
}

/// A partition from this process's side.
#[derive(Clone)]
enum Part {
    Own(Arc<Partition>),
    Followed(Arc<Follower>),
}

impl LogStore {
    /// Opens a log to write and read, making its folder if needed, and recovers every stream.
    ///
    /// # Errors
    /// `Locked` when another process writes to it; `Corrupt` when something confirmed is damaged; `TooNew`; `Io`, `Full`.
    pub fn open(root: &Path, options: LogOptions, clock: Arc<dyn Clock>) -> Result<Self, LogError> {
        Self::open_on(Arc::new(DiskFiles), root, options, clock)
    }

    pub(crate) fn open_on(
        files: Arc<dyn Files>,
        root: &Path,
        options: LogOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LogError> {
        files.create_dir_all(root).map_err(|e| at_path("creating", root, e))?;
        let lock = root.join(LOCK_FILE);
        let lock = files.lock(&lock).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => LogError::Locked { path: lock.display().to_string() },
            _ => at_path("locking", &lock, error),
        })?;
        let store = Self::new(files, root, options, clock, Some(lock));
        store.find_streams()?;
        Ok(store)
    }

    /// Opens a log to read, beside a process that may be writing to it. Nothing is changed, cut or locked.
    ///
    /// Waiting for new records looks at the files a few dozen times a second.
    ///
    /// # Errors
    /// `Io` when the folder cannot be read; `Corrupt`, `TooNew` for a stream's description.
    pub fn open_read_only(root: &Path, options: LogOptions, clock: Arc<dyn Clock>) -> Result<Self, LogError> {
        Self::open_read_only_on(Arc::new(DiskFiles), root, options, clock)
    }

    pub(crate) fn open_read_only_on(
        files: Arc<dyn Files>,
        root: &Path,
        options: LogOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LogError> {
        let store = Self::new(files, root, options, clock, None);
        store.find_streams()?;
        Ok(store)
    }

    fn new(
        files: Arc<dyn Files>,
        root: &Path,
        options: LogOptions,
        clock: Arc<dyn Clock>,
        lock: Option<Box<dyn Any + Send + Sync>>,
    ) -> Self {
        let shared = Shared {
            files,
            cache: Arc::new(FrameCache::new(options.cache_bytes)),
            pool: Arc::default(),
            buffers: Arc::default(),
            next_number: Arc::new(AtomicU64::new(1)),
            writable: lock.is_some(),
        };
        Self {
            root: root.to_owned(),
            options,
            clock,
            shared,
            streams: RwLock::default(),
            creating: Arc::default(),
            committers: Mutex::default(),
            read_only: lock.is_none(),
            lock: Mutex::new(lock),
        }
    }

    /// Makes durable what is accepted, ends the threads and lets the lock go. Calls that wait answer `Closed`, later
    /// appends too; what is durable can still be read. Idempotent; blocks for as long as a sync takes.
    pub fn close(&self) {
        for stream in self.streams.read().values() {
            for part in &stream.partitions {
                if let Part::Own(partition) = part {
                    partition.begin_close();
                }
            }
        }
        for committer in std::mem::take(&mut *self.committers.lock()) {
            if committer.join().is_err() {
                tracing::error!(root = %self.root.display(), "a committer ended with a panic");
            }
        }
        *self.lock.lock() = None;
    }

    /// Opens the streams that are in the folder and not yet known.
    fn find_streams(&self) -> Result<(), LogError> {
        let names = self.shared.files.list(&self.root).map_err(|e| at_path("listing", &self.root, e))?;
        for name in names {
            let dir = self.root.join(&name);
            let Some((stream, spec)) = read_description(&*self.shared.files, &dir)? else { continue };
            if !self.streams.read().contains_key(&stream) {
                self.open_stream(stream, &dir, spec)?;
            }
        }
        Ok(())
    }

    fn open_stream(&self, stream: StreamId, dir: &Path, spec: StreamSpec) -> Result<(), LogError> {
        let mut partitions = Vec::new();
        for number in 0..spec.partitions {
            let of = StreamPartition { stream: stream.clone(), partition: model::Partition(number) };
            let shelf = Arc::new(Shelf::new(of, dir.join(number.to_string()), self.shared.clone()));
            if self.read_only {
                partitions.push(Part::Followed(Arc::new(Follower::new(shelf))));
                continue;
            }
            let open = OpenPartition {
                shelf,
                options: self.options,
                clock: Arc::clone(&self.clock),
                retention: spec.retention,
            };
            let partition = Arc::new(open_partition(open)?);
            self.start_committer(&partition)?;
            partitions.push(Part::Own(partition));
        }
        self.streams.write().insert(stream, Stream { spec, partitions });
        Ok(())
    }

    fn start_committer(&self, partition: &Arc<Partition>) -> Result<(), LogError> {
        let committed = Arc::clone(partition);
        let thread = std::thread::Builder::new()
            .name("log-committer".to_owned())
            .spawn(move || committed.commit_until_closed())
            .map_err(|e| at_path("starting a thread for", &partition.shelf.dir, e))?;
        self.committers.lock().push(thread);
        Ok(())
    }

    fn create(&self, stream: &StreamId, spec: StreamSpec) -> Result<(), LogError> {
        let dir = self.root.join(folder_name(stream));
        let known = self.streams.read().get(stream).map(|stream| stream.spec);
        if let Some(known) = known {
            return self.adopt(stream, &dir, known, spec);
        }
        let files = &*self.shared.files;
        for number in 0..spec.partitions {
            create_partition(&self.shared, &dir.join(number.to_string()), self.clock.now_ms())?;
        }
        files.create_dir_all(&dir).map_err(|e| at_path("creating", &dir, e))?;
        write_description(files, &dir, stream, spec)?;
        files.sync_dir(&self.root).map_err(|e| at_path("syncing", &self.root, e))?;
        self.open_stream(stream.clone(), &dir, spec)
    }

    /// Takes over another retention for a stream that exists.
    fn adopt(&self, stream: &StreamId, dir: &Path, known: StreamSpec, spec: StreamSpec) -> Result<(), LogError> {
        if known.partitions != spec.partitions {
            let (found, wanted) = (known.partitions, spec.partitions);
            return Err(LogError::Mismatch { stream: stream.clone(), found, wanted });
        }
        if known.retention != spec.retention {
            write_description(&*self.shared.files, dir, stream, spec)?;
            if let Some(open) = self.streams.write().get_mut(stream) {
                open.spec = spec;
                for part in &open.partitions {
                    if let Part::Own(partition) = part {
                        partition.set_retention(spec.retention);
                    }
                }
            }
        }
        Ok(())
    }

    fn part(&self, of: &StreamPartition) -> Result<Part, LogError> {
        if let Some(part) = self.known_part(of) {
            return Ok(part);
        }
        if self.read_only {
            self.find_streams()?;
        }
        self.known_part(of).ok_or_else(|| LogError::NoStream { of: of.clone() })
    }

    fn known_part(&self, of: &StreamPartition) -> Option<Part> {
        self.streams.read().get(&of.stream)?.partitions.get(of.partition.0 as usize).cloned()
    }

    fn own(&self, of: &StreamPartition) -> Result<Arc<Partition>, LogError> {
        match self.part(of)? {
            Part::Own(partition) => Ok(partition),
            Part::Followed(_) => Err(LogError::ReadOnly),
        }
    }
}

impl Part {
    fn shelf(&self) -> &Arc<Shelf> {
        match self {
            Part::Own(partition) => &partition.shelf,
            Part::Followed(follower) => &follower.shelf,
        }
    }

    /// Bounds that hold `offset` if anything does; a follower only looks at the files when it must.
    fn bounds(&self) -> Result<Bounds, LogError> {
        match self {
            Part::Own(partition) => Ok(partition.bounds()),
            Part::Followed(follower) => follower.look(),
        }
    }

    /// The bounds for a read from `from`.
    fn bounds_for(&self, from: u64) -> Result<Bounds, LogError> {
        match self {
            Part::Followed(follower) if from < follower.known_end() && from >= follower.shelf.start() => {
                let end = Offset(follower.known_end());
                Ok(Bounds { start: Offset(follower.shelf.start()), durable: end, accepted: end, withdrawals: 0 })
            }
            _ => self.bounds(),
        }
    }
}

/// Runs file work away from the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| LogError::Closed)?
}

async fn look_until(follower: Arc<Follower>, enough: impl Fn(&Bounds) -> bool) -> Result<Bounds, LogError> {
    loop {
        let looking = Arc::clone(&follower);
        let bounds = blocking(move || looking.look()).await?;
        if enough(&bounds) {
            return Ok(bounds);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[async_trait]
impl Log for LogStore {
    async fn create_stream(&self, stream: &StreamId, spec: StreamSpec) -> Result<(), LogError> {
        if self.read_only {
            return Err(LogError::ReadOnly);
        }
        let _one = self.creating.lock().await;
        if self.lock.lock().is_none() {
            return Err(LogError::Closed);
        }
        // Rare and short: a handful of small files when a pipeline starts for the first time.
        self.create(stream, spec)
    }

    fn streams(&self) -> Vec<(StreamId, u32)> {
        if self.read_only
            && let Err(error) = self.find_streams()
        {
            tracing::warn!(%error, "the list of streams may be old");
        }
        self.streams.read().iter().map(|(id, stream)| (id.clone(), stream.spec.partitions)).collect()
    }

    async fn append(
        &self,
        to: &StreamPartition,
        batch: RecordBatch,
        producer: Option<ProducerState>,
    ) -> Result<Appended, LogError> {
        let partition = self.own(to)?;
        let frame = partition.prepare(batch, producer)?;
        partition.append(frame).await
    }

    async fn until_durable(&self, of: &StreamPartition, end: AcceptedEnd) -> Result<(), LogError> {
        match self.part(of)? {
            Part::Own(partition) => partition.until_durable(end).await,
            Part::Followed(follower) => look_until(follower, |bounds| bounds.durable >= end.offset).await.map(|_| ()),
        }
    }

    fn bounds(&self, of: &StreamPartition) -> Result<Bounds, LogError> {
        self.part(of)?.bounds()
    }

    fn size_bytes(&self, of: &StreamPartition) -> Result<u64, LogError> {
        Ok(match self.part(of)? {
            Part::Own(partition) => partition.size_bytes(),
            Part::Followed(follower) => follower.shelf.size_bytes(),
        })
    }

    async fn until_past(&self, of: &StreamPartition, offset: Offset) -> Result<Bounds, LogError> {
        match self.part(of)? {
            Part::Own(partition) => partition.until_past(offset.0).await,
            Part::Followed(follower) => look_until(follower, |bounds| bounds.durable > offset).await,
        }
    }

    async fn read(&self, of: &StreamPartition, from: Offset, bytes_max: usize) -> Result<Vec<LogBatch>, LogError> {
        let part = self.part(of)?;
        let bounds = part.bounds_for(from.0)?;
        if from < bounds.start || from > bounds.durable {
            let (start, end) = (bounds.start, bounds.durable);
            return Err(LogError::OutOfRange { of: of.clone(), wanted: from, start, end });
        }
        let (durable, mut out) = (bounds.durable.0, Vec::new());
        let (next, left) = part.shelf().read_cached(from.0, durable, bytes_max, &mut out);
        if next >= durable || left == 0 {
            return Ok(out);
        }
        let shelf = Arc::clone(part.shelf());
        let read = blocking(move || shelf.read_files(next, durable, left, &mut out).map(|()| out)).await;
        if read.is_err() {
            // Retention may have been faster than this read.
            let Bounds { start, durable: end, .. } = part.bounds()?;
            if from < start {
                return Err(LogError::OutOfRange { of: of.clone(), wanted: from, start, end });
            }
        }
        read
    }

    async fn producer(&self, of: &StreamPartition, producer: &ProducerId) -> Result<Option<ProducerState>, LogError> {
        let position = match self.part(of)? {
            Part::Own(partition) => partition.producer(producer),
            Part::Followed(follower) => {
                let producer = producer.clone();
                blocking(move || follower.producer(&producer)).await?
            }
        };
        Ok(position.map(|position| ProducerState { producer: producer.clone(), position }))
    }

    async fn offset_at(&self, of: &StreamPartition, time_ms: i64) -> Result<Offset, LogError> {
        let part = self.part(of)?;
        blocking(move || {
            let durable = part.bounds()?.durable;
            part.shelf().offset_at(time_ms, durable.0).map(Offset)
        })
        .await
    }

    fn set_floor(&self, of: &StreamPartition, reader: &str, floor: Offset) {
        if let Some(Part::Own(partition)) = self.known_part(of) {
            partition.set_floor(reader, floor.0);
        }
    }

    async fn retain(&self, of: &StreamPartition, now_ms: i64) -> Result<Offset, LogError> {
        let partition = self.own(of)?;
        blocking(move || partition.retain(now_ms).map(Offset)).await
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("root", &self.root).field("read_only", &self.read_only).finish_non_exhaustive()
    }
}
