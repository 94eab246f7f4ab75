//! The table from a key to the newest phase of its queue.
//!
//! An open-addressed table of 6 bytes a place (a 16-bit tag and a 32-bit phase), cut into shards that grow by a quarter,
//! each at a different load, so that the whole never doubles at once: at two million keys a doubling table would hold
//! 30 MB for a moment, this one some 16 MB at any time. The home of a key in its shard follows from its tag alone, so that
//! growing and removing read nothing outside the shard.
//!
//! Invariants: (1) a tag of 0 is an empty place; (2) between a key's home and its place no place is empty.

/// A key's fingerprint, mixed, in 63 bits: the 64th bit of a word in the chunks tells writes from reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KeyHash(pub u64);

impl KeyHash {
    pub(super) fn of(fingerprint: model::Fingerprint) -> Self {
        // Fibonacci hashing: callers may pass constants or counters as fingerprints.
        let mixed = fingerprint.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((mixed ^ (mixed >> 32)) & (u64::MAX >> 1))
    }

    fn tag(self) -> u16 {
        (self.0 as u16).max(1)
    }
}

/// Where a key stands in the table; valid until the next insert or remove.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyPlace {
    shard: usize,
    index: usize,
}

const BYTES_PER_PLACE: usize = size_of::<u16>() + size_of::<u32>();
const SHARD_PLACES_MIN: usize = 32;

#[derive(Debug, Default)]
struct Shard {
    tags: Box<[u16]>,
    phases: Box<[u32]>,
    len: usize,
}

#[derive(Debug)]
pub(super) struct KeyTable {
    shards: Vec<Shard>,
    shard_bits: u32,
    bytes: usize,
    /// Places of the largest shard that there ever was: bounds what one insert may allocate.
    places_max: usize,
}

impl KeyTable {
    /// Makes a table cut so that a shard holds some two thousand keys when `bytes_max` is used up.
    pub(super) fn new(bytes_max: usize) -> Self {
        let shard_bits = (bytes_max / (32 * 2048)).clamp(16, 1 << 16).next_power_of_two().ilog2();
        let shards: Vec<Shard> = (0..1 << shard_bits).map(|_| Shard::default()).collect();
        let bytes = shards.capacity() * size_of::<Shard>();
        Self { shards, shard_bits, bytes, places_max: SHARD_PLACES_MIN * 5 / 4 }
    }

    /// Heap bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most that one insert may allocate, while the old shard is still there.
    pub(super) fn insert_bytes_max(&self) -> usize {
        (self.places_max + self.places_max / 4 + 8) * BYTES_PER_PLACE
    }

    /// Keys held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len).sum()
    }

    fn shard_of(&self, key: KeyHash) -> usize {
        (key.0 >> (63 - self.shard_bits)) as usize
    }

    /// Finds the place of a key; `is` tells whether a phase with an equal tag is the key's.
    pub(super) fn find(&self, key: KeyHash, is: impl Fn(u32) -> bool) -> Option<KeyPlace> {
        let shard_index = self.shard_of(key);
        let shard = &self.shards[shard_index];
        if shard.tags.is_empty() {
            return None;
        }
        let tag = key.tag();
        let mut index = home(tag, shard.tags.len());
        loop {
            match shard.tags[index] {
                0 => return None,
                found if found == tag && is(shard.phases[index]) => {
                    return Some(KeyPlace { shard: shard_index, index });
                }
                _ => index = next(index, shard.tags.len()),
            }
        }
    }

    pub(super) fn get(&self, place: KeyPlace) -> u32 {
        self.shards[place.shard].phases[place.index]
    }

    pub(super) fn set(&mut self, place: KeyPlace, phase: u32) {
        self.shards[place.shard].phases[place.index] = phase;
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, key: KeyHash, phase: u32) {
        let index = self.shard_of(key);
        let places = self.shards[index].tags.len();
        if (self.shards[index].len + 1) * 20 > places * 17 {
            let grown = match places {
                // Shards start at different sizes, and so never grow all at the same load.
                0 => SHARD_PLACES_MIN + (SHARD_PLACES_MIN / 4) * index / self.shards.len(),
                _ => places + places / 4,
            };
            self.resize(index, grown);
        }
        let shard = &mut self.shards[index];
        shard.place(key.tag(), phase);
        shard.len += 1;
    }

    /// Removes the key at a place.
    pub(super) fn remove(&mut self, place: KeyPlace) {
        let shard = &mut self.shards[place.shard];
        shard.take_out(place.index);
        shard.len -= 1;
        let (len, places) = (shard.len, shard.tags.len());
        if places > SHARD_PLACES_MIN * 2 && len * 4 < places {
            self.resize(place.shard, (len * 2).max(SHARD_PLACES_MIN));
        }
    }

    fn resize(&mut self, index: usize, places: usize) {
        self.places_max = self.places_max.max(places);
        let shard = &mut self.shards[index];
        let old = std::mem::replace(
            shard,
            Shard { tags: vec![0; places].into(), phases: vec![0; places].into(), len: shard.len },
        );
        self.bytes = self.bytes + places * BYTES_PER_PLACE - old.tags.len() * BYTES_PER_PLACE;
        for (tag, phase) in old.tags.iter().zip(&old.phases).filter(|(tag, _)| **tag != 0) {
            shard.place(*tag, *phase);
        }
    }
}

impl Shard {
    fn place(&mut self, tag: u16, phase: u32) {
        let mut index = home(tag, self.tags.len());
        while self.tags[index] != 0 {
            index = next(index, self.tags.len());
        }
        self.tags[index] = tag;
        self.phases[index] = phase;
    }

    /// Empties a place and moves back what was pushed past it, so that invariant 2 holds without tombstones.
    fn take_out(&mut self, index: usize) {
        let places = self.tags.len();
        let (mut hole, mut at) = (index, index);
        loop {
            at = next(at, places);
            if self.tags[at] == 0 {
                break;
            }
            let home = home(self.tags[at], places);
            // It may move to the hole when its home does not lie behind the hole on the way to where it stands.
            let from_home = (at + places - home) % places;
            let from_hole = (at + places - hole) % places;
            if from_home >= from_hole {
                self.tags[hole] = self.tags[at];
                self.phases[hole] = self.phases[at];
                hole = at;
            }
        }
        self.tags[hole] = 0;
    }
}

fn home(tag: u16, places: usize) -> usize {
    (tag as usize * places) >> 16
}

fn next(index: usize, places: usize) -> usize {
    if index + 1 == places { 0 } else { index + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn key_table_holds_what_a_map_holds(steps in prop::collection::vec((any::<bool>(), 0u64..400), 0..1500)) {
            let mut table = KeyTable::new(0);
            let mut model: HashMap<u64, u32> = HashMap::new();
            for (at, (put, n)) in steps.into_iter().enumerate() {
                let key = KeyHash::of(model::Fingerprint(n));
                // A phase names its key in these tests: phase = n << 16 | version.
                let place = table.find(key, |phase| u64::from(phase >> 16) == n);
                prop_assert_eq!(place.map(|p| table.get(p)), model.get(&n).copied());
                let phase = (n as u32) << 16 | (at as u32 & 0xffff);
                match (put, place) {
                    (true, Some(place)) => { table.set(place, phase); model.insert(n, phase); }
                    (true, None) => { table.insert(key, phase); model.insert(n, phase); }
                    (false, Some(place)) => { table.remove(place); model.remove(&n); }
                    (false, None) => {}
                }
                prop_assert_eq!(table.len(), model.len());
            }
            let held: usize = table.shards.iter().map(|s| s.tags.len() * 2 + s.phases.len() * 4).sum();
            prop_assert_eq!(table.bytes(), held + table.shards.capacity() * size_of::<Shard>());
        }
    }

    #[test]
    fn a_drained_table_gives_its_memory_back() {
        let mut table = KeyTable::new(64 << 20);
        let key = |n: u64| KeyHash::of(model::Fingerprint(n));
        let empty = table.bytes();
        for n in 0..300_000 {
            table.insert(key(n), n as u32);
        }
        let full = table.bytes();
        assert!(full < 300_000 * 10, "{full}");
        for n in 0..300_000 {
            let place = table.find(key(n), |phase| u64::from(phase) == n).expect("inserted");
            table.remove(place);
        }
        assert!(table.bytes() < empty + full / 4, "{}", table.bytes());
    }
}
