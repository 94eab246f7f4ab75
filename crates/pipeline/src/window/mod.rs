//! The window (skeleton of its signatures).
mod api;
pub use api::{Counts, Entry, EntryId, PushError, Taken};
use model::{Lane, Offset, OffsetRange};
use std::time::Duration;

/// The unsettled records of one group of related routes.
#[derive(Debug)]
pub struct Window {}

#[allow(unused_variables, clippy::all)]
impl Window {
    /// Makes an empty window for `routes` routes that reads from `start` on and holds at most `bytes_max` bytes.
    pub fn new(routes: usize, bytes_max: usize, start: Offset) -> Self { unreachable!() }
    /// Takes a record in. Offsets ascend; strictly for one route. Moves the cursor to `entry.offset`.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<EntryId, PushError> { unreachable!() }
    /// Says that the record at `offset` is settled for `route` already (known from the journal, or filtered out).
    pub fn skip(&mut self, route: u16, offset: Offset) { unreachable!() }
    /// Says that every record below `end` was pushed, skipped, or is none of these routes'.
    pub fn advance_to(&mut self, end: Offset) { unreachable!() }
    /// The offset up to which (exclusive) the log was read.
    pub fn cursor(&self) -> Offset { unreachable!() }
    /// Hands out up to `n` ready entries of a route and lane in offset order: appends to `out`, returns how many. No two entries
    /// in flight ever conflict (so all of one take may share a batch).
    pub fn take(&mut self, route: u16, lane: Lane, n: usize, out: &mut Vec<Taken>) -> usize { unreachable!() }
    /// `coalesce: latest`: takes also the later waiting entries of the same route, whatever their lane, that write exactly `leader`'s one
    /// key and wait for nothing but their predecessor in this chain. Ascending. `leader` is in flight. Settle the leader first, then these in order (or
    /// `retry`/`hold` each, in any order).
    /// The caller compares the real keys: a fingerprint may collide.
    pub fn absorb(&mut self, leader: EntryId, n: usize, out: &mut Vec<Taken>) -> usize { unreachable!() }
    /// Settles an entry in flight, ready or held; frees who waited for it. Panics when it is unknown, settled or still waiting.
    pub fn settle(&mut self, id: EntryId) { unreachable!() }
    /// Gives an entry in flight back as ready; it keeps its keys. (An absorbed one goes back to waiting.)
    pub fn retry(&mut self, id: EntryId) { unreachable!() }
    /// Gives an entry in flight back, not ready before `until` (monotonic time); it keeps its keys.
    pub fn hold(&mut self, id: EntryId, until: Duration) { unreachable!() }
    /// Makes ready what was held until `now` or earlier; returns how many.
    pub fn wake(&mut self, now: Duration) -> usize { unreachable!() }
    /// When the next held entry becomes ready.
    pub fn next_wake(&self) -> Option<Duration> { unreachable!() }
    /// How many entries of a route and lane are in which state. O(1).
    pub fn counts(&self, route: u16, lane: Lane) -> Counts { unreachable!() }
    /// The offset of an unsettled entry.
    pub fn offset(&self, id: EntryId) -> Offset { unreachable!() }
    /// The lowest unsettled offset of a route; the cursor when it has none.
    pub fn checkpoint(&self, route: u16) -> Offset { unreachable!() }
    /// Ranges of `[checkpoint, cursor)` in which every record of this route is settled; offsets of other tables may lie inside. Ascending, disjoint.
    pub fn settled_above(&self, route: u16) -> Vec<OffsetRange> { unreachable!() }
    /// Unsettled entries of all routes.
    pub fn unsettled(&self) -> usize { unreachable!() }
    /// Heap bytes held, exactly as allocated.
    pub fn bytes(&self) -> usize { unreachable!() }
}
