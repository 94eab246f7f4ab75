//! Record ids that were found by external id, in bounded memory.
//!
//! Two generations: when the young one has used half of the bytes it becomes the old one, and the old one is dropped.
//! So an entry lives for at least half of the bound's worth of newer ones, and dropping costs nothing per entry.
//!
//! An entry also ends after `LIFE`: another program may give the external id to another record, and a delete by a stale
//! id would take the wrong one.

use model::ObjectName;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const LIFE: Duration = Duration::from_secs(300);
/// Of an entry beyond its key: the id, two reference counts, the map's slot.
const ENTRY_BYTES: usize = 128;

/// The cache of one sink.
pub(crate) struct IdCache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Only objects whose ids were ever looked up are kept: pure upserts cost nothing.
    objects: HashMap<ObjectName, Generations>,
    young_bytes: usize,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Box<str>, Entry>,
    old: HashMap<Box<str>, Entry>,
}

#[derive(Clone)]
struct Entry {
    id: Arc<str>,
    /// `Clock::monotonic` when it was seen.
    at: Duration,
}

impl IdCache {
    /// Makes a cache of at most about `bytes_max` bytes; 0 keeps nothing.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::new(Inner::default()) }
    }

    /// Returns the id last seen under a key.
    pub fn get(&self, object: &ObjectName, key: &str, now: Duration) -> Option<Arc<str>> {
        let inner = self.inner.lock();
        let object = inner.objects.get(object)?;
        let entry = object.young.get(key).or_else(|| object.old.get(key))?;
        (now.saturating_sub(entry.at) < LIFE).then(|| Arc::clone(&entry.id))
    }

    /// True when ids of this object are kept.
    pub fn keeps(&self, object: &ObjectName) -> bool {
        self.bytes_max > 0 && self.inner.lock().objects.contains_key(object)
    }

    /// Keeps an id.
    pub fn put(&self, object: &ObjectName, key: &str, id: &Arc<str>, now: Duration) {
        let cost = key.len() + ENTRY_BYTES;
        if cost > self.bytes_max / 2 {
            return;
        }
        let mut inner = self.inner.lock();
        if inner.young_bytes + cost > self.bytes_max / 2 {
            for generations in inner.objects.values_mut() {
                generations.old = std::mem::take(&mut generations.young);
            }
            inner.young_bytes = 0;
        }
        let generations = inner.objects.entry(object.clone()).or_default();
        if generations.young.insert(key.into(), Entry { id: Arc::clone(id), at: now }).is_none() {
            inner.young_bytes += cost;
        }
    }

    /// Drops an id that led nowhere, or whose record was deleted.
    pub fn remove(&self, object: &ObjectName, key: &str) {
        let mut inner = self.inner.lock();
        let Some(generations) = inner.objects.get_mut(object) else { return };
        generations.old.remove(key);
        if generations.young.remove(key).is_some() {
            inner.young_bytes -= key.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &IdCache, key: &str) {
        cache.put(&"A".into(), key, &Arc::from("001000000000001AAA"), Duration::ZERO);
    }

    #[test]
    fn memory_stays_bounded_and_the_newest_stay() {
        let cache = IdCache::new(10_000);
        (0..10_000).for_each(|n| put(&cache, &n.to_string()));
        let inner = cache.inner.lock();
        let kept: usize = inner.objects.values().map(|g| g.young.len() + g.old.len()).sum();
        assert!(kept * ENTRY_BYTES <= 10_000, "{kept}");
        drop(inner);
        assert!(cache.get(&"A".into(), "9999", Duration::ZERO).is_some());
        assert!(cache.get(&"A".into(), "0", Duration::ZERO).is_none());
    }

    #[test]
    fn entries_end_and_are_removed() {
        let cache = IdCache::new(10_000);
        put(&cache, "a");
        put(&cache, "b");
        cache.remove(&"A".into(), "a");
        assert!(cache.get(&"A".into(), "a", Duration::ZERO).is_none());
        assert!(cache.get(&"A".into(), "b", LIFE).is_none());
        assert!(!cache.keeps(&"B".into()) && cache.keeps(&"A".into()));
        let off = IdCache::new(0);
        put(&off, "a");
        assert!(off.get(&"A".into(), "a", Duration::ZERO).is_none());
    }
}
