//! The values that go into a window and come out of it.

use model::{Fingerprint, Lane, Offset};
use std::fmt;

/// A record as the window sees it: where it stands, and which keys it touches.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Not below the window's cursor; the same offset may be pushed once for each route that takes the record.
    pub offset: Offset,
    /// The route's index in the window's group, from 0.
    pub route: u16,
    pub lane: Lane,
    /// Keys that the record changes. May repeat. Empty for `ordering: none`.
    pub writes: &'a [Fingerprint],
    /// Keys that must be there before the record is applied. May repeat; one that is also written counts as written.
    pub reads: &'a [Fingerprint],
}

/// Names an entry until it is settled. An id that was settled is never given out again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Which use of the chunk: tells a reused place from the old one.
    pub(super) generation: u32,
    pub(super) place: EntryRef,
}

#[cfg(test)]
impl EntryId {
    pub(crate) fn for_tests(n: u32) -> Self {
        Self { generation: n, place: EntryRef(0) }
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}.{}.{}", self.generation, self.place.chunk(), self.place.slot())
    }
}

/// A place in the chunks: the chunk's index and the entry's number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EntryRef(u32);

/// Bits of a reference that number the place inside its chunk; wide enough for `WORDS_MAX`.
pub(super) const SLOT_BITS: u32 = 14;

impl EntryRef {
    pub(super) fn new(chunk: u32, slot: usize) -> Self {
        Self(chunk << SLOT_BITS | slot as u32)
    }

    pub(super) fn chunk(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    pub(super) fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// A ready entry that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub id: EntryId,
    pub offset: Offset,
}

/// How many unsettled entries of a route and lane are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Behind an earlier entry that conflicts.
    pub waiting: usize,
    pub ready: usize,
    /// Handed out by `take` or `absorb`, not yet answered.
    pub in_flight: usize,
    /// Handed back with a time before which they are not to be tried again.
    pub held: usize,
}

impl Counts {
    /// Unsettled entries in any state.
    pub fn unsettled(self) -> usize {
        self.waiting + self.ready + self.in_flight + self.held
    }
}

/// Why an entry was not taken in; the window is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The memory limit is reached. Not an error of the record: push it again after something was settled. Never returned
    /// while nothing is unsettled.
    #[error("PS5601: the window holds {bytes} of at most {bytes_max} bytes; reading goes on when records are settled")]
    Full { bytes: usize, bytes_max: usize },
    /// The record touches more keys than an entry can count.
    #[error("PS5602: the record at offset {offset} touches {keys} keys, a window entry holds at most {max}")]
    TooManyKeys { offset: Offset, keys: usize, max: usize },
}

impl PushError {
    /// The stable code.
    pub fn code(&self) -> model::ErrorCode {
        model::ErrorCode(match self {
            Self::Full { .. } => "PS5601",
            Self::TooManyKeys { .. } => "PS5602",
        })
    }
}
