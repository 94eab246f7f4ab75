//! Removing old segments.

use super::Partition;
use crate::fault::at_path;
use crate::format::segment::index_name;
use crate::shelf::Segment;
use contract::LogError;
use std::sync::Arc;

impl Partition {
    /// Removes sealed segments, oldest first, while retention allows it; returns the new start.
    pub(crate) fn retain(&self, now_ms: i64) -> Result<u64, LogError> {
        let retention = *self.retention.lock();
        let durable = self.progress.borrow().durable;
        let needed = self.floors.lock().values().copied().min().unwrap_or(u64::MAX).min(durable);
        let segments = self.shelf.list();
        let mut kept_bytes: u64 = segments.iter().map(|segment| segment.bytes()).sum();
        for pair in segments.windows(2) {
            let [oldest, next] = pair else { break };
            if next.base > needed {
                break;
            }
            let too_many = retention.bytes.is_some_and(|limit| kept_bytes > limit);
            let too_old = match retention.age {
                Some(age) if !too_many => {
                    self.newest_ms(oldest)? < now_ms.saturating_sub_unsigned(age.as_millis() as u64)
                }
                _ => false,
            };
            if !too_many && !too_old {
                break;
            }
            kept_bytes -= oldest.bytes();
            self.remove(oldest, next.base)?;
        }
        Ok(self.shelf.start())
    }

    /// Bytes of all segments.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.shelf.size_bytes()
    }

    /// The latest event time in a segment; one without records is as old as can be.
    fn newest_ms(&self, segment: &Segment) -> Result<i64, LogError> {
        self.shelf.with_index(segment, |index| index.time_max_ms)
    }

    /// Removes one segment. Readers that have it open still finish.
    fn remove(&self, segment: &Arc<Segment>, end: u64) -> Result<(), LogError> {
        let files = &self.shelf.shared.files;
        let index = self.shelf.dir.join(index_name(segment.base));
        for path in [&index, &segment.path] {
            match files.remove(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(at_path("removing", path, error));
                }
                _ => {}
            }
        }
        self.shelf.take(segment.base);
        files.sync_dir(self.dir()).map_err(|e| at_path("syncing the folder of", &segment.path, e))?;
        let (from, to) = (model::Offset(segment.base), model::Offset(end));
        self.shelf.shared.cache.forget(self.shelf.number, from, to);
        tracing::info!(of = %self.shelf.of, start = end, "removed a segment that nobody needs any more");
        Ok(())
    }
}
