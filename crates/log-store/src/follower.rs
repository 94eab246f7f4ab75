//! One partition that another process writes: followed from the files, never changed.
//!
//! A follower shows whole frames with a right checksum. They are at most a moment ahead of what the writer calls durable;
//! should the writer withdraw them after a failed sync, the follower notices the cut file and starts the segment anew.

use crate::fault::{at_path, corrupt};
use crate::format::segment::segment_name;
use crate::fs::{Access, LogFile};
use crate::partition::{list_bases, shelve_sealed};
use crate::scan::{self, Scanned};
use crate::shelf::{Segment, Shelf};
use bytes::Bytes;
use contract::{Bounds, LogError};
use model::{Offset, ProducerId};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

/// A partition seen from outside.
pub(crate) struct Follower {
    pub(crate) shelf: Arc<Shelf>,
    tail: Mutex<Option<Tail>>,
}

/// The segment that is being written, as far as it was read.
struct Tail {
    segment: Arc<Segment>,
    found: Scanned,
}

impl Follower {
    /// Begins to follow; reads nothing yet.
    pub(crate) fn new(shelf: Arc<Shelf>) -> Self {
        Self { shelf, tail: Mutex::new(None) }
    }

    /// The bounds as of the last look.
    pub(crate) fn known_end(&self) -> u64 {
        self.tail.lock().as_ref().map_or(0, |tail| tail.found.index.end)
    }

    /// Looks at the files and returns the bounds; blocks on the disk.
    ///
    /// # Errors
    /// `Corrupt` when a sealed segment does not lead to the next one; `TooNew`; `Io`.
    pub(crate) fn look(&self) -> Result<Bounds, LogError> {
        let mut tries_left = 5;
        loop {
            match self.look_once() {
                // Retention took a file between listing and opening it.
                Err(LogError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound && tries_left > 0 => {
                    tries_left -= 1;
                }
                other => return other,
            }
        }
    }

    fn look_once(&self) -> Result<Bounds, LogError> {
        let mut slot = self.tail.lock();
        loop {
            // Names first: a segment that is followed by another one in this list is whole.
            let bases = list_bases(&self.shelf)?;
            let (first, last) = (bases[0], bases[bases.len() - 1]);
            for gone in self.shelf.list().iter().filter(|segment| segment.base < first) {
                self.shelf.take(gone.base);
            }
            let tail = match slot.take().filter(|tail| bases.contains(&tail.segment.base)) {
                Some(tail) => self.advance(tail)?,
                None => self.begin(&bases, last)?,
            };
            let next = bases.iter().copied().find(|base| *base > tail.segment.base);
            let (end, path, at) = (tail.found.index.end, tail.segment.path.clone(), tail.found.index.bytes);
            match next {
                Some(base) if base == end => *slot = Some(self.enter(base)?),
                Some(_) => return Err(corrupt(&path, at, format!("the records from offset {end} on are missing"))),
                None => {
                    *slot = Some(tail);
                    return Ok(Bounds {
                        start: Offset(first),
                        durable: Offset(end),
                        accepted: Offset(end),
                        withdrawals: 0,
                    });
                }
            }
        }
    }

    fn begin(&self, bases: &[u64], last: u64) -> Result<Tail, LogError> {
        for base in bases.iter().filter(|base| **base < last) {
            shelve_sealed(&self.shelf, *base)?;
        }
        self.enter(last)
    }

    fn open(&self, base: u64) -> Result<(Arc<dyn LogFile>, u32), LogError> {
        let path = self.shelf.dir.join(segment_name(base));
        let file = self.shelf.shared.files.open(&path, Access::Read).map_err(|e| at_path("opening", &path, e))?;
        let (_, seed) = scan::read_segment_header(&*file, &path, base)?;
        Ok((file, seed))
    }

    fn enter(&self, base: u64) -> Result<Tail, LogError> {
        let (file, seed) = self.open(base)?;
        let found = Scanned::new(base);
        self.shelf.shared.cache.forget(self.shelf.number, Offset(base), Offset(u64::MAX));
        let segment = self.shelf.add(base, seed, 0, Some(found.index.clone()));
        self.scan(Tail { segment, found }, &*file)
    }

    /// Reads what was added; begins the segment anew when it was cut or replaced.
    fn advance(&self, tail: Tail) -> Result<Tail, LogError> {
        let base = tail.segment.base;
        let (file, seed) = self.open(base)?;
        let length = file.len().map_err(|e| at_path("reading", &tail.segment.path, e))?;
        if seed != tail.segment.seed || length < tail.found.index.bytes {
            return self.enter(base);
        }
        self.scan(tail, &*file)
    }

    fn scan(&self, mut tail: Tail, file: &dyn LogFile) -> Result<Tail, LogError> {
        let io = |error| at_path("reading", &tail.segment.path, error);
        let (before, length) = (tail.found.index.bytes, file.len().map_err(io)?);
        // A broken place is the end for now: the writer may be in the middle of that frame.
        scan::scan_on(file, tail.segment.seed, length, &mut tail.found).map_err(io)?;
        if tail.found.index.bytes != before {
            tail.segment.set_index(tail.found.index.clone());
        }
        Ok(tail)
    }

    /// Returns a producer's last state.
    pub(crate) fn producer(&self, producer: &ProducerId) -> Result<Option<Bytes>, LogError> {
        self.look()?;
        Ok(self.tail.lock().as_ref().and_then(|tail| tail.found.producers.get(producer).cloned()))
    }
}
