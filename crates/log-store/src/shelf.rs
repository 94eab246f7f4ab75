//! A partition's segments and how to read from them. Readers take no lock that an append holds over a file operation.

use crate::buffers::Buffers;
use crate::cache::FrameCache;
use crate::fault::{at_path, corrupt};
use crate::format::compress::decompress;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::index::SegmentIndex;
use crate::format::segment::{SEGMENT_HEADER_BYTES, index_name, segment_name};
use crate::fs::{Access, Files, LogFile};
use crate::pool::FilePool;
use crate::scan;
use bytes::Bytes;
use contract::{LogBatch, LogError};
use model::{Offset, RecordBatch, StreamPartition};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Read at a time while walking over headers: many small frames in one call, little wasted before a large one.
const WINDOW_BYTES: usize = 32 << 10;
/// Places where recent reads ended, for as many readers that go on from there.
const HINTS: usize = 16;

/// One segment file.
pub(crate) struct Segment {
    /// Unlike the first offset never used twice: names the open file and the place of a hint.
    pub(crate) number: u64,
    pub(crate) base: u64,
    pub(crate) path: PathBuf,
    pub(crate) seed: u32,
    /// Durable bytes: the file's length once it is sealed.
    bytes: AtomicU64,
    /// None until it is needed (sealed segments only).
    index: Mutex<Option<SegmentIndex>>,
}

impl Segment {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Replaces what is known of the durable part.
    pub(crate) fn set_index(&self, index: SegmentIndex) {
        let mut slot = self.index.lock();
        self.bytes.store(index.bytes, Ordering::Release);
        *slot = Some(index);
    }

    /// Adds a frame that became durable.
    pub(crate) fn push(&self, header: &FrameHeader) {
        if let Some(index) = self.index.lock().as_mut() {
            index.push(header);
            self.bytes.store(index.bytes, Ordering::Release);
        }
    }

    /// Hands out a copy of the index, if it is in memory.
    pub(crate) fn index(&self) -> Option<SegmentIndex> {
        self.index.lock().clone()
    }
}

/// What partitions of one log share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) cache: Arc<FrameCache>,
    pub(crate) pool: Arc<FilePool>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) next_number: Arc<AtomicU64>,
    /// False beside another process that writes: then nothing on the disk is touched.
    pub(crate) writable: bool,
}

impl Shared {
    /// Gives out a number that was never used in this process.
    pub(crate) fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }
}

/// The segments of one partition.
pub(crate) struct Shelf {
    /// Names the partition in the cache.
    pub(crate) number: u64,
    pub(crate) of: StreamPartition,
    pub(crate) dir: PathBuf,
    pub(crate) shared: Shared,
    segments: RwLock<BTreeMap<u64, Arc<Segment>>>,
    hints: Mutex<Hints>,
}

#[derive(Default)]
struct Hints {
    slots: [Hint; HINTS],
    next: usize,
}

/// `offset` begins (or what follows it begins) at byte `at` of the segment.
#[derive(Clone, Copy, Default)]
struct Hint {
    offset: u64,
    segment: u64,
    at: u64,
}

impl Shelf {
    /// Makes an empty shelf.
    pub(crate) fn new(of: StreamPartition, dir: PathBuf, shared: Shared) -> Self {
        let number = shared.number();
        Self { number, of, dir, shared, segments: RwLock::default(), hints: Mutex::default() }
    }

    /// Puts a segment in its place; one with the same first offset is replaced.
    ///
    /// `bytes` is the file's length if sealed; an index is given for the one being written.
    pub(crate) fn add(&self, base: u64, seed: u32, bytes: u64, index: Option<SegmentIndex>) -> Arc<Segment> {
        let segment = Arc::new(Segment {
            number: self.shared.number(),
            base,
            path: self.dir.join(segment_name(base)),
            seed,
            bytes: AtomicU64::new(index.as_ref().map_or(bytes, |index| index.bytes)),
            index: Mutex::new(index),
        });
        if let Some(old) = self.segments.write().insert(base, Arc::clone(&segment)) {
            self.shared.pool.forget(old.number);
        }
        segment
    }

    /// Takes a segment away; its file is the caller's.
    pub(crate) fn take(&self, base: u64) {
        if let Some(segment) = self.segments.write().remove(&base) {
            self.shared.pool.forget(segment.number);
        }
    }

    /// The segments, by first offset.
    pub(crate) fn list(&self) -> Vec<Arc<Segment>> {
        self.segments.read().values().cloned().collect()
    }

    /// Bytes of all segments.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.segments.read().values().map(|segment| segment.bytes()).sum()
    }

    /// The first offset that is still there.
    pub(crate) fn start(&self) -> u64 {
        self.segments.read().keys().next().copied().unwrap_or(0)
    }

    fn segment_at(&self, offset: u64) -> Option<Arc<Segment>> {
        self.segments.read().range(..=offset).next_back().map(|(_, segment)| Arc::clone(segment))
    }

    fn segment_after(&self, base: u64) -> Option<Arc<Segment>> {
        let after = (Bound::Excluded(base), Bound::Unbounded);
        self.segments.read().range(after).next().map(|(_, segment)| Arc::clone(segment))
    }

    /// Opens a segment for reading, or takes the open one.
    pub(crate) fn open(&self, segment: &Segment) -> Result<Arc<dyn LogFile>, LogError> {
        self.shared
            .pool
            .get(segment.number, || self.shared.files.open(&segment.path, Access::Read))
            .map_err(|e| at_path("opening", &segment.path, e))
    }

    /// Runs `look` on a segment's index, which is read from its file or made by a scan when it is not in memory.
    ///
    /// # Errors
    /// `Corrupt` when a sealed segment does not scan to its end; `Io`.
    pub(crate) fn with_index<T>(
        &self,
        segment: &Segment,
        look: impl FnOnce(&SegmentIndex) -> T,
    ) -> Result<T, LogError> {
        let mut slot = segment.index.lock();
        let index = match &mut *slot {
            Some(index) => index,
            empty => empty.insert(self.load_index(segment)?),
        };
        Ok(look(index))
    }

    fn load_index(&self, segment: &Segment) -> Result<SegmentIndex, LogError> {
        if let Some(index) = self.read_index_file(segment.base)
            && index.base == segment.base
            && index.bytes == segment.bytes()
        {
            return Ok(index);
        }
        let file = self.open(segment)?;
        let mut found = scan::Scanned::new(segment.base);
        let broken = scan::scan_on(&*file, segment.seed, segment.bytes(), &mut found)
            .map_err(|e| at_path("reading", &segment.path, e))?;
        match broken {
            Some(broken) => Err(corrupt(&segment.path, broken.at, broken.why)),
            None => {
                self.write_index_file(&found.index);
                Ok(found.index)
            }
        }
    }

    /// Writes the index file of a segment; a failure costs a scan later, so it is only noted.
    pub(crate) fn write_index_file(&self, index: &SegmentIndex) {
        if !self.shared.writable {
            return;
        }
        let path = self.dir.join(index_name(index.base));
        let temporary = path.with_extension("index.tmp");
        let files = &self.shared.files;
        let written = files
            .create(&temporary)
            .and_then(|file| file.write_at(0, &[&index.encode()]))
            .and_then(|()| files.rename(&temporary, &path));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "the index was not written; it will be made again by a scan");
        }
    }

    /// Reads the index file beside a segment; none when it is missing or of no use.
    pub(crate) fn read_index_file(&self, base: u64) -> Option<SegmentIndex> {
        let file = self.shared.files.open(&self.dir.join(index_name(base)), Access::Read).ok()?;
        let length = usize::try_from(file.len().ok()?).ok()?;
        let mut bytes = Vec::with_capacity(length);
        file.read_at(0, length, &mut bytes).ok()?;
        SegmentIndex::decode(&bytes)
    }

    /// Reads from the cache alone, up to `durable` or to the batch that reaches `bytes_max`; returns the next offset
    /// and the bytes that are still wanted.
    pub(crate) fn read_cached(
        &self,
        mut from: u64,
        durable: u64,
        bytes_max: usize,
        out: &mut Vec<LogBatch>,
    ) -> (u64, usize) {
        let mut left = bytes_max.max(1);
        while from < durable && left > 0 {
            let Some(batch) = self.shared.cache.get(self.number, from) else { break };
            // A follower may be shown less than stands in the cache of a writer; here both are one process.
            if batch.end().0 > durable {
                break;
            }
            from = batch.end().0;
            left = left.saturating_sub(batch.records.bytes().len());
            out.push(batch);
        }
        (from, left)
    }

    /// Reads from the files, as `read_cached`; blocks on the disk. `left` must not be 0.
    ///
    /// # Errors
    /// `Corrupt` with the place, `Io`.
    pub(crate) fn read_files(
        &self,
        from: u64,
        durable: u64,
        mut left: usize,
        out: &mut Vec<LogBatch>,
    ) -> Result<(), LogError> {
        let mut walk = self.walk_from(from)?;
        while walk.offset < durable && left > 0 {
            let header = self.next_header(&mut walk)?;
            if header.end() > from && header.count > 0 {
                let batch = walk.decode(&header, &self.shared.buffers)?;
                left = left.saturating_sub(batch.records.bytes().len());
                self.shared.cache.put(self.number, batch.clone());
                out.push(batch);
            }
            walk.pass(&header);
        }
        let mut hints = self.hints.lock();
        let slot = hints.next;
        hints.slots[slot] = Hint { offset: walk.offset, segment: walk.segment.number, at: walk.at };
        hints.next = (slot + 1) % HINTS;
        Ok(())
    }

    /// Finds the first frame below `durable` with an event time at or after `time_ms`; `durable` when there is none.
    pub(crate) fn offset_at(&self, time_ms: i64, durable: u64) -> Result<u64, LogError> {
        for segment in self.list() {
            let Some(entry) = self.with_index(&segment, |index| index.seek_time(time_ms))? else { continue };
            let mut walk = Walk::new(self.open(&segment)?, segment, entry.base, entry.at);
            while walk.offset < durable {
                let header = self.next_header(&mut walk)?;
                if header.count > 0 && header.time_max_ms >= time_ms {
                    return Ok(header.base);
                }
                walk.pass(&header);
            }
        }
        Ok(durable)
    }

    fn walk_from(&self, from: u64) -> Result<Walk, LogError> {
        let segment = self.segment_at(from).ok_or_else(|| corrupt(&self.dir, 0, "no segment holds the offset"))?;
        let file = self.open(&segment)?;
        let hint = self.hints.lock().slots.iter().find(|h| h.offset == from && h.segment == segment.number).copied();
        if let Some(hint) = hint {
            return Ok(Walk::new(file, segment, hint.offset, hint.at));
        }
        let entry = self.with_index(&segment, |index| index.seek(from))?;
        let (offset, at) = entry.map_or((segment.base, SEGMENT_HEADER_BYTES as u64), |entry| (entry.base, entry.at));
        Ok(Walk::new(file, segment, offset, at))
    }

    /// Reads the header at the walk's place, going on to the next segment at the end of one.
    fn next_header(&self, walk: &mut Walk) -> Result<FrameHeader, LogError> {
        while walk.at >= walk.segment.bytes() {
            let next =
                self.segment_after(walk.segment.base).filter(|next| next.base == walk.offset).ok_or_else(|| {
                    corrupt(
                        &walk.segment.path,
                        walk.at,
                        format!("the records from offset {} on are missing", walk.offset),
                    )
                })?;
            *walk = Walk::new(self.open(&next)?, next, walk.offset, SEGMENT_HEADER_BYTES as u64);
        }
        let header = walk.header()?;
        if header.base != walk.offset {
            return Err(corrupt(&walk.segment.path, walk.at, "its base offset does not follow the frame before it"));
        }
        Ok(header)
    }
}

/// A reader's place in a segment: the frame at byte `at` begins at `offset`.
struct Walk {
    file: Arc<dyn LogFile>,
    segment: Arc<Segment>,
    offset: u64,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Walk {
    fn new(file: Arc<dyn LogFile>, segment: Arc<Segment>, offset: u64, at: u64) -> Self {
        Self { file, segment, offset, at, window: Vec::new(), window_at: at }
    }

    fn pass(&mut self, header: &FrameHeader) {
        self.at += header.frame_bytes();
        self.offset = header.end();
    }

    /// The part of the window from `at` on; empty when the window is elsewhere.
    fn seen(&self, at: u64) -> &[u8] {
        let skip = at.checked_sub(self.window_at).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.window.get(skip..)).unwrap_or(&[])
    }

    fn header(&mut self) -> Result<FrameHeader, LogError> {
        if self.seen(self.at).len() < FRAME_HEADER_BYTES {
            self.window.clear();
            self.window_at = self.at;
            let read = self.file.read_at(self.at, WINDOW_BYTES, &mut self.window);
            read.map_err(|e| at_path("reading", &self.segment.path, e))?;
        }
        FrameHeader::decode(self.seen(self.at), self.segment.seed)
            .map_err(|why| corrupt(&self.segment.path, self.at, why))
    }

    fn decode(&self, header: &FrameHeader, buffers: &Arc<Buffers>) -> Result<LogBatch, LogError> {
        let at = self.at + FRAME_HEADER_BYTES as u64;
        let length = header.body_bytes();
        if at + length as u64 > self.segment.bytes() {
            return Err(corrupt(&self.segment.path, self.at, "the frame is longer than the file"));
        }
        let seen = self.seen(at);
        let seen = &seen[..seen.len().min(length)];
        let mut buffer = buffers.take(length);
        let body = &mut buffer.bytes;
        body.clear();
        body.extend_from_slice(seen);
        if body.len() < length {
            let rest = length - body.len();
            let read = self.file.read_at(at + seen.len() as u64, rest, body);
            read.map_err(|e| at_path("reading", &self.segment.path, e))?;
        }
        let refuse = |why| corrupt(&self.segment.path, self.at, why);
        if !header.body_matches(body) {
            return Err(refuse("the frame's checksum is wrong"));
        }
        let stored = Bytes::from_owner(buffer).split_off(usize::from(header.producer_bytes));
        let raw = decompress(header.stored_as, stored, header.raw_bytes as usize, buffers).map_err(refuse)?;
        let times = (header.time_min_ms, header.time_max_ms);
        Ok(LogBatch { base: Offset(header.base), records: RecordBatch::from_verified(raw, header.count, times) })
    }
}
