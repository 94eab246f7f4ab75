//! The chunks of one route and lane, in offset order.

use super::api::Counts;
use std::collections::VecDeque;

/// A place in a queue of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The chunk's index.
    Chunk(u32),
    /// A chunk stood here whose entries, at offsets from `first` to `last`, are all settled.
    Settled { first: u64, last: u64 },
}

/// The chunks of one route and lane.
#[derive(Debug, Default)]
pub(super) struct LaneQueue {
    pub links: VecDeque<Link>,
    /// The `seq` of the first link.
    pub first_seq: u64,
    /// No chunk with a lower `seq` has a ready entry.
    pub ready_from: u64,
    pub counts: Counts,
}

impl LaneQueue {
    pub(super) fn bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
    }

    /// The `seq` after the last link.
    pub(super) fn end_seq(&self) -> u64 {
        self.first_seq + self.links.len() as u64
    }

    pub(super) fn link(&self, seq: u64) -> Option<Link> {
        self.links.get(seq.checked_sub(self.first_seq)? as usize).copied()
    }

    /// The chunk that takes new entries.
    pub(super) fn tail(&self) -> Option<u32> {
        match self.links.back() {
            Some(Link::Chunk(chunk)) => Some(*chunk),
            _ => None,
        }
    }

    /// Marks the chunk at `seq` as settled.
    pub(super) fn retire(&mut self, seq: u64, first: u64, last: u64) {
        let index = (seq - self.first_seq) as usize;
        self.links[index] = Link::Settled { first, last };
    }

    /// Drops what lies settled at the front, below the route's checkpoint.
    pub(super) fn trim(&mut self, checkpoint: u64) {
        while let Some(Link::Settled { last, .. }) = self.links.front()
            && *last < checkpoint
        {
            self.links.pop_front();
            self.first_seq += 1;
        }
        self.ready_from = self.ready_from.max(self.first_seq);
        if self.links.is_empty() {
            self.links.shrink_to(64);
        }
    }
}
