//! Segment files that are open for reading: a few, however many segments there are.

use crate::fs::LogFile;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

/// Enough for the readers of one machine, far below the usual limit of 1,024 descriptors.
const OPEN_MAX: usize = 48;

/// Open files by segment number, most recently used last.
#[derive(Default)]
pub(crate) struct FilePool(Mutex<Vec<(u64, Arc<dyn LogFile>)>>);

impl FilePool {
    /// Returns the open file of a segment, opening it if needed.
    pub(crate) fn get(
        &self,
        segment: u64,
        open: impl FnOnce() -> io::Result<Arc<dyn LogFile>>,
    ) -> io::Result<Arc<dyn LogFile>> {
        if let Some(file) = self.used(segment) {
            return Ok(file);
        }
        let file = open()?;
        let mut open = self.0.lock();
        if open.len() >= OPEN_MAX {
            open.remove(0);
        }
        open.push((segment, Arc::clone(&file)));
        Ok(file)
    }

    fn used(&self, segment: u64) -> Option<Arc<dyn LogFile>> {
        let mut open = self.0.lock();
        let at = open.iter().position(|(number, _)| *number == segment)?;
        let entry = open.remove(at);
        let file = Arc::clone(&entry.1);
        open.push(entry);
        Some(file)
    }

    /// Closes a segment's file once its readers are done.
    pub(crate) fn forget(&self, segment: u64) {
        self.0.lock().retain(|(number, _)| *number != segment);
    }
}
