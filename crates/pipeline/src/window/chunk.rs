//! Entries, 2,048 to a chunk, column by column.
//!
//! ```text
//!             offsets  u32   offset - base           \
//! per entry   starts   u16   its first word           > 7 bytes
//!             states   u8    see `state`             /
//!
//! words       write:  0 | 31 high bits of the key    next word: 32 low bits    next word: following phase or NONE
//!             read:   1 | readers' phase             (while that phase waits: the member before it, or END)
//! ```
//!
//! One written and one read key cost 23 bytes. A chunk belongs to one route and lane, so that a critical entry is freed
//! apart from the bulk entries around it. It is freed as a whole when its last entry is settled.

use super::keys::KeyHash;

pub(super) const ENTRIES: usize = 2048;
/// Words are numbered in `SLOT_BITS` bits.
pub(super) const WORDS_MAX: usize = 1 << super::api::SLOT_BITS;
/// Word columns grow by this many, so that a chunk wastes at most 4 KiB.
const WORDS_STEP: usize = 1024;
/// Words of a write.
pub(super) const WRITE_WORDS: usize = 3;
/// Marks a word as a read.
pub(super) const READ: u32 = 1 << 31;
/// Ends the list of a waiting readers' phase.
pub(super) const END: u32 = READ - 1;

/// States of an entry, one byte.
pub(super) mod state {
    /// Settled, or a place that was never used.
    pub const SETTLED: u8 = 0;
    pub const READY: u8 = 1;
    pub const IN_FLIGHT: u8 = 2;
    /// Not to be tried before a time that the window's timer knows.
    pub const HELD: u8 = 3;
    /// In flight with the entry before it on its key, which is not settled yet.
    pub const ABSORBED: u8 = 4;
    /// Waiting for `n` keys is `WAITING + n`, n ≥ 1.
    pub const WAITING: u8 = 4;
    /// The most keys that one entry may wait for.
    pub const KEYS_MAX: usize = (u8::MAX - WAITING) as usize;
}

/// The columns of a chunk: what is allocated, and kept as a spare.
#[derive(Debug)]
pub(super) struct Columns {
    pub offsets: Box<[u32]>,
    pub starts: Box<[u16]>,
    pub states: Box<[u8]>,
    pub words: Vec<u32>,
}

impl Columns {
    pub(super) fn new() -> Self {
        Self {
            offsets: vec![0; ENTRIES].into(),
            starts: vec![0; ENTRIES].into(),
            states: vec![state::SETTLED; ENTRIES].into(),
            words: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        ENTRIES * (size_of::<u32>() + size_of::<u16>() + size_of::<u8>()) + self.words.capacity() * size_of::<u32>()
    }

    /// The most that taking in one entry of `words` words may add, a new chunk included.
    pub(super) fn push_bytes_max(words: usize) -> usize {
        ENTRIES * 7 + (words + WORDS_STEP) * size_of::<u32>()
    }
}

/// What is known of a chunk besides its columns.
#[derive(Debug)]
pub(super) struct Chunk {
    /// How often this index was used before.
    pub generation: u32,
    /// The route's and lane's queue.
    pub queue: usize,
    /// The chunk's number in its queue.
    pub seq: u64,
    /// The first entry's offset.
    pub base: u64,
    pub len: usize,
    /// Entries not settled.
    pub live: usize,
    pub ready: usize,
    /// No entry below is ready.
    pub ready_from: usize,
    /// No entry below is unsettled.
    pub live_from: usize,
    /// None while the chunk is free.
    pub columns: Option<Columns>,
}

impl Chunk {
    pub(super) fn columns(&self) -> &Columns {
        self.columns.as_ref().expect("a chunk that is referred to holds unsettled entries, so it has columns")
    }

    pub(super) fn columns_mut(&mut self) -> &mut Columns {
        self.columns.as_mut().expect("a chunk that is referred to holds unsettled entries, so it has columns")
    }

    /// True when another entry fits.
    pub(super) fn takes(&self, offset: u64, words: usize) -> bool {
        self.len < ENTRIES
            && self.columns().words.len() + words <= WORDS_MAX
            && offset - self.base <= u64::from(u32::MAX)
    }

    /// Adds an entry without words; returns its slot.
    pub(super) fn add(&mut self, offset: u64, state: u8) -> usize {
        let (slot, delta) = (self.len, (offset - self.base) as u32);
        let columns = self.columns_mut();
        columns.offsets[slot] = delta;
        columns.starts[slot] = columns.words.len() as u16;
        columns.states[slot] = state;
        self.len += 1;
        slot
    }

    /// Makes room for the words of an entry, so that pushing them allocates at most one step.
    pub(super) fn reserve(&mut self, words: usize) {
        let column = &mut self.columns_mut().words;
        if column.capacity() - column.len() < words {
            column.reserve_exact(words.next_multiple_of(WORDS_STEP));
        }
    }

    pub(super) fn offset(&self, slot: usize) -> u64 {
        self.base + u64::from(self.columns().offsets[slot])
    }

    pub(super) fn last_offset(&self) -> u64 {
        self.offset(self.len - 1)
    }

    pub(super) fn state(&self, slot: usize) -> u8 {
        self.columns().states[slot]
    }

    /// The entry's words: `[start, end)`.
    pub(super) fn word_range(&self, slot: usize) -> (usize, usize) {
        let columns = self.columns();
        let end = if slot + 1 < self.len { columns.starts[slot + 1] as usize } else { columns.words.len() };
        (columns.starts[slot] as usize, end)
    }

    /// The entry that a word belongs to.
    pub(super) fn slot_of_word(&self, word: usize) -> usize {
        // Entries without words share their start with the next one, which is the owner and the last of them.
        self.columns().starts[..self.len].partition_point(|start| *start as usize <= word) - 1
    }

    /// The key of the write whose first word stands at `word`.
    pub(super) fn key_at(&self, word: usize) -> KeyHash {
        let words = &self.columns().words;
        KeyHash(u64::from(words[word]) << 32 | u64::from(words[word + 1]))
    }

    /// The first entry at or after `live_from` that is not settled.
    pub(super) fn first_live(&mut self) -> Option<usize> {
        let (from, len) = (self.live_from, self.len);
        let found = self.columns().states[from..len].iter().position(|s| *s != state::SETTLED).map(|n| from + n);
        self.live_from = found.unwrap_or(len);
        found
    }
}
