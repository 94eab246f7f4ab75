//! Decoded frames in memory, bounded in bytes, shared by all partitions.
//!
//! An append puts its batch here, so a follower reads what was just written without decoding; a read puts here what it
//! decoded, so that the window's re-reads of single offsets cost a look-up. Least recently used go first.

use contract::LogBatch;
use model::Offset;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// What an entry costs beyond its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 160;
/// A batch larger than this part of the cache would push out everything else for one read.
const LARGEST_PART: usize = 4;

/// The cache; `(partition number, base offset)` → batch.
pub(crate) struct FrameCache {
    limit_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<(u64, u64), Entry>,
    /// Age → entry; the lowest was used longest ago.
    ages: BTreeMap<u64, (u64, u64)>,
    clock: u64,
    bytes: usize,
}

struct Entry {
    batch: LogBatch,
    age: u64,
}

fn cost(batch: &LogBatch) -> usize {
    batch.records.bytes().len() + ENTRY_OVERHEAD_BYTES
}

impl FrameCache {
    /// Makes a cache of at most `limit_bytes`.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, inner: Mutex::default() }
    }

    /// Returns the batch that holds `offset`.
    pub(crate) fn get(&self, partition: u64, offset: u64) -> Option<LogBatch> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let (key, entry) = inner.entries.range_mut((partition, 0)..=(partition, offset)).next_back()?;
        if entry.batch.end().0 <= offset {
            return None;
        }
        inner.ages.remove(&entry.age);
        inner.clock += 1;
        entry.age = inner.clock;
        inner.ages.insert(entry.age, *key);
        Some(entry.batch.clone())
    }

    /// Keeps a batch; one that was there under its offset is replaced.
    pub(crate) fn put(&self, partition: u64, batch: LogBatch) {
        let cost = cost(&batch);
        if batch.records.is_empty() || cost > self.limit_bytes / LARGEST_PART {
            return;
        }
        let key = (partition, batch.base.0);
        let mut inner = self.inner.lock();
        inner.remove(key);
        while inner.bytes + cost > self.limit_bytes {
            let Some((_, oldest)) = inner.ages.pop_first() else { break };
            inner.remove(oldest);
        }
        inner.clock += 1;
        let age = inner.clock;
        inner.bytes += cost;
        inner.ages.insert(age, key);
        inner.entries.insert(key, Entry { batch, age });
    }

    /// Forgets every batch of a partition that begins in `[from, to)`.
    pub(crate) fn forget(&self, partition: u64, from: Offset, to: Offset) {
        let mut inner = self.inner.lock();
        let gone: Vec<_> = inner.entries.range((partition, from.0)..(partition, to.0)).map(|(key, _)| *key).collect();
        for key in gone {
            inner.remove(key);
        }
    }
}

impl Inner {
    fn remove(&mut self, key: (u64, u64)) {
        if let Some(entry) = self.entries.remove(&key) {
            self.ages.remove(&entry.age);
            self.bytes -= cost(&entry.batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::RecordBatchBuilder;

    fn batch(base: u64, count: usize, bytes: usize) -> LogBatch {
        let mut builder = RecordBatchBuilder::default();
        for _ in 0..count {
            builder.push(0, None, Some(&vec![0; bytes]), &[]).unwrap();
        }
        LogBatch { base: Offset(base), records: builder.finish() }
    }

    #[test]
    fn batch_is_found_by_any_of_its_offsets_and_by_no_other() {
        let cache = FrameCache::new(1 << 20);
        cache.put(1, batch(10, 3, 5));
        let found: Vec<_> = (8..15).filter(|offset| cache.get(1, *offset).is_some()).collect();
        assert_eq!(found, [10, 11, 12]);
        assert!(cache.get(2, 10).is_none());
    }

    #[test]
    fn least_recently_used_goes_first_and_the_limit_holds() {
        let cache = FrameCache::new(10_000);
        for base in 0..9 {
            cache.put(1, batch(base, 1, 1000));
            cache.get(1, 0);
            assert!(cache.inner.lock().bytes <= 10_000);
        }
        assert!(cache.get(1, 0).is_some(), "it was used all the time");
        assert!(cache.get(1, 1).is_none());
        assert!(cache.get(1, 8).is_some());
    }

    #[test]
    fn forgotten_batches_give_their_bytes_back() {
        let cache = FrameCache::new(10_000);
        for base in 0..4 {
            cache.put(1, batch(base, 1, 100));
        }
        cache.forget(1, Offset(2), Offset(u64::MAX));
        assert!(cache.get(1, 1).is_some());
        assert!(cache.get(1, 2).is_none());
        cache.forget(1, Offset(0), Offset(2));
        assert_eq!(cache.inner.lock().bytes, 0);
        assert!(cache.inner.lock().ages.is_empty());
    }

    #[test]
    fn a_batch_too_large_for_the_cache_does_not_empty_it() {
        let cache = FrameCache::new(10_000);
        cache.put(1, batch(0, 1, 1000));
        cache.put(1, batch(1, 1, 9000));
        assert!(cache.get(1, 0).is_some());
        assert!(cache.get(1, 1).is_none());
    }
}
