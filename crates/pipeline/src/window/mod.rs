//! The window: order with parallelism.
//!
//! A window holds one small entry for each unsettled record of one *relation group*: the routes of one stream partition that
//! write the same object or refer to each other's objects. They share one window and one reading cursor; so a record
//! never passes a related route's earlier record, whichever route reads it. Unrelated routes have windows of their own.
//!
//! ```text
//!                          checkpoint(route)                               cursor
//!   ─── settled ──────────────┬───────────────── the window ─────────────────┬─── not read ──▶  offsets
//!                             │  ● settled   ○ ready   ◐ in flight   · waiting
//!
//!   push ─▶ waiting ─▶ ready ─take▶ in flight ─settle▶ settled
//!                        ▲             │ │
//!                        ├────retry────┘ hold
//!                        └──wake──  held ◀┘
//! ```
//!
//! **Conflicts.** A record declares the keys that it writes and those that it reads. Two records conflict when one writes
//! what the other writes or reads. A record is ready when every earlier record that conflicts with it is settled.
//! Each key's unsettled accesses stand in a queue of phases (a writer, or all readers between two writers); an entry counts
//! for how many keys its phase is not the first. All steps are O(keys of the record).
//!
//! **Memory.** Entries, not records: 23 bytes for one written and one read key, and 6 to 9 bytes for each distinct
//! key, in chunks that are never copied to grow. `push` refuses (`Full`) before `bytes_max` is passed.
//!
//! Invariants (as predicates in `invariants`, which the property tests check after every step):
//! 1. No two entries in flight conflict, apart from a chain that was absorbed into its leader.
//! 2. The lowest unsettled entry never waits, so whoever holds a full window can always make room.
//! 3. An entry waits exactly while an earlier unsettled entry conflicts with it.
//! 4. A route's checkpoint is its lowest unsettled offset, or the cursor.
//! 5. A fingerprint collision delays, it never reorders.
//!
//! What it refuses to know: records' bytes, batches, time (it is handed in), the log.

mod absorb;
mod api;
mod chunk;
mod conflicts;
#[cfg(test)]
mod invariants;
mod keys;
mod parents;
mod phases;
mod positions;
mod queue;
#[cfg(test)]
mod tests;

pub use api::{Counts, Entry, EntryId, PushError, Taken};
pub use parents::ParentKey;

use api::EntryRef;
use chunk::{Chunk, Columns, state};
use keys::{KeyHash, KeyTable};
use model::{Lane, Offset};
use phases::ReadersArena;
use queue::{LaneQueue, Link};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

const LANES: usize = Lane::ALL.len();
/// Freed columns that are kept for the next chunks: light traffic then allocates nothing.
const SPARES_MAX: usize = 4;
/// Chunk indices that a reference can hold, the all-ones one excepted.
const CHUNKS_MAX: usize = (1 << (31 - api::SLOT_BITS)) - 1;

/// The unsettled records of one group of related routes.
#[derive(Debug)]
pub struct Window {
    routes: usize,
    bytes_max: usize,
    cursor: u64,
    /// By route × lane.
    queues: Vec<LaneQueue>,
    chunks: Vec<Chunk>,
    free_chunks: Vec<u32>,
    spares: Vec<Columns>,
    keys: KeyTable,
    readers: ReadersArena,
    held: BinaryHeap<Reverse<(Duration, EntryId)>>,
    unsettled: usize,
    /// The same by route.
    route_unsettled: Vec<usize>,
    /// Bytes of all columns, spares included.
    column_bytes: usize,
    /// The keys of the entry being pushed; true: written. Kept to save an allocation.
    scratch: Vec<(KeyHash, bool)>,
}

impl Window {
    /// Makes an empty window for `routes` routes that reads from `start` on and holds at most `bytes_max` bytes.
    pub fn new(routes: usize, bytes_max: usize, start: Offset) -> Self {
        assert!(routes <= usize::from(u16::MAX) + 1, "a route's index is a u16");
        Self {
            routes,
            bytes_max,
            cursor: start.0,
            queues: (0..routes * LANES).map(|_| LaneQueue::default()).collect(),
            chunks: Vec::new(),
            free_chunks: Vec::new(),
            spares: Vec::new(),
            keys: KeyTable::new(bytes_max),
            readers: ReadersArena::default(),
            held: BinaryHeap::new(),
            unsettled: 0,
            route_unsettled: vec![0; routes],
            column_bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// Takes a record in and moves the cursor to its offset.
    ///
    /// **Order.** Offsets ascend; for one route strictly, while it has anything unsettled. Entries of one offset (several
    /// routes', or a redriven record that stands behind everything read) count as earlier in the order in which they are pushed.
    ///
    /// # Errors
    /// `Full` when the memory limit would be passed: nothing was changed, push again after something was settled; never
    /// while nothing is unsettled. `TooManyKeys`: this record can never be pushed.
    ///
    /// # Panics
    /// When an offset goes back or a route is unknown: a broken promise of the caller.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<EntryId, PushError> {
        self.assert_new(entry);
        self.push_behind(entry)
    }

    /// Adds an entry that is no record of the log at its offset, but stands behind everything that was read: several of one route
    /// may have one offset. Otherwise as `push`.
    ///
    /// # Errors
    /// As `push`.
    ///
    /// # Panics
    /// As `push`.
    pub fn push_behind(&mut self, entry: &Entry<'_>) -> Result<EntryId, PushError> {
        self.push_checked(entry, true)
    }

    /// As `push`, without a look at the memory limit: for the rest of what must be taken in as a whole once its first entry was.
    /// The caller bounds how much that is.
    ///
    /// # Errors
    /// `TooManyKeys`.
    ///
    /// # Panics
    /// As `push`.
    pub fn push_beyond(&mut self, entry: &Entry<'_>) -> Result<EntryId, PushError> {
        self.assert_new(entry);
        self.push_checked(entry, false)
    }

    fn assert_new(&self, entry: &Entry<'_>) {
        let tail = self.queues[self.queue_index(entry.route, entry.lane)].tail();
        if let Some(chunk) = tail.map(|index| &self.chunks[index as usize])
            && chunk.len > 0
            && chunk.columns.is_some()
        {
            let last = chunk.last_offset();
            assert!(entry.offset.0 > last, "offset {} is pushed again for a route that has {last}", entry.offset);
        }
    }

    fn push_checked(&mut self, entry: &Entry<'_>, bounded: bool) -> Result<EntryId, PushError> {
        let offset = entry.offset.0;
        assert!(offset >= self.cursor, "offset {offset} is pushed behind the cursor {}", self.cursor);
        self.collect_keys(entry);
        if self.scratch.len() > state::KEYS_MAX {
            return Err(PushError::TooManyKeys {
                offset: entry.offset,
                keys: self.scratch.len(),
                max: state::KEYS_MAX,
            });
        }
        let words = self.scratch.iter().map(|(_, write)| if *write { chunk::WRITE_WORDS } else { 1 }).sum();
        if bounded {
            self.make_room(words)?;
        }
        let queue = self.queue_index(entry.route, entry.lane);
        let place = self.add_entry(queue, offset, words, state::READY);
        let blocked = self.link_keys(place);
        self.cursor = offset;
        self.unsettled += 1;
        self.route_unsettled[usize::from(entry.route)] += 1;
        let chunk = &mut self.chunks[place.chunk()];
        chunk.live += 1;
        if blocked == 0 {
            chunk.ready += 1;
            self.queues[queue].counts.ready += 1;
        } else {
            chunk.columns_mut().states[place.slot()] = state::WAITING + blocked as u8;
            self.queues[queue].counts.waiting += 1;
        }
        Ok(EntryId { generation: self.chunks[place.chunk()].generation, place })
    }

    /// Says that the record at `offset` is settled for `route` already (known from the journal, or filtered out); moves the
    /// cursor to it. Never refuses: it costs 7 bytes until the entries around it are settled, nothing when there are none.
    ///
    /// # Panics
    /// As `push`.
    pub fn skip(&mut self, route: u16, offset: Offset) {
        assert!(offset.0 >= self.cursor, "offset {offset} is skipped behind the cursor {}", self.cursor);
        self.cursor = offset.0;
        // It stands with the lane that has something unsettled; where there is none, nothing needs to be remembered.
        let lanes = Lane::ALL.map(|lane| self.queue_index(route, lane));
        if let Some(queue) = lanes.into_iter().find(|queue| self.queues[*queue].counts.unsettled() > 0) {
            self.add_entry(queue, offset.0, 0, state::SETTLED);
        }
    }

    /// Says that every record below `end` was pushed or skipped, or is none of these routes'.
    pub fn advance_to(&mut self, end: Offset) {
        self.cursor = self.cursor.max(end.0);
    }

    /// The offset up to which, exclusive, the log was read; while records of one offset are pushed: that offset.
    pub fn cursor(&self) -> Offset {
        Offset(self.cursor)
    }

    /// Hands out up to `n` ready entries of a route and lane in offset order, appended to `out`; returns how many.
    ///
    /// No two entries in flight conflict, so all of one take may share a batch.
    pub fn take(&mut self, route: u16, lane: Lane, n: usize, out: &mut Vec<Taken>) -> usize {
        let queue = self.queue_index(route, lane);
        let wanted = n.min(self.queues[queue].counts.ready);
        let mut left = wanted;
        while left > 0 {
            let seq = self.queues[queue].ready_from;
            let link = self.queues[queue].link(seq).expect("ready entries are counted, so a chunk holds them");
            if let Link::Chunk(index) = link {
                left -= self.take_from_chunk(index as usize, left, out);
            }
            if left > 0 {
                self.queues[queue].ready_from = seq + 1;
            }
        }
        let counts = &mut self.queues[queue].counts;
        counts.ready -= wanted;
        counts.in_flight += wanted;
        wanted
    }

    fn take_from_chunk(&mut self, index: usize, n: usize, out: &mut Vec<Taken>) -> usize {
        let chunk = &mut self.chunks[index];
        let taken = n.min(chunk.ready);
        for _ in 0..taken {
            let (from, len) = (chunk.ready_from, chunk.len);
            let found = memchr::memchr(state::READY, &chunk.columns().states[from..len]);
            let slot = from + found.expect("the chunk counts its ready entries");
            chunk.columns_mut().states[slot] = state::IN_FLIGHT;
            chunk.ready_from = slot + 1;
            let id = EntryId { generation: chunk.generation, place: EntryRef::new(index as u32, slot) };
            out.push(Taken { id, offset: Offset(chunk.offset(slot)) });
        }
        chunk.ready -= taken;
        taken
    }

    /// Settles an entry that is in flight, ready or held, and frees who waited for it.
    ///
    /// # Panics
    /// When the entry is settled already, or waits: it may not end before what it waits for.
    pub fn settle(&mut self, id: EntryId) {
        let (queue, old) = self.expect_unsettled(id);
        let counts = &mut self.queues[queue].counts;
        match old {
            state::READY => counts.ready -= 1,
            state::IN_FLIGHT => counts.in_flight -= 1,
            state::HELD => counts.held -= 1,
            _ => panic!("{id:?} is settled before an earlier entry that it conflicts with"),
        }
        let chunk = &mut self.chunks[id.place.chunk()];
        chunk.ready -= usize::from(old == state::READY);
        chunk.live -= 1;
        chunk.columns_mut().states[id.place.slot()] = state::SETTLED;
        self.unsettled -= 1;
        self.route_unsettled[queue / LANES] -= 1;
        self.unlink_keys(id.place);
        let chunk = &self.chunks[id.place.chunk()];
        if chunk.live == 0 && self.queues[queue].tail() != Some(id.place.chunk() as u32) {
            self.retire(id.place.chunk());
            self.checkpoint((queue / LANES) as u16);
        }
        if self.route_unsettled[queue / LANES] == 0 {
            self.forget_settled(queue / LANES);
        }
    }

    /// Gives an entry in flight back as ready. It keeps its keys. One that was absorbed and whose predecessor is unsettled goes
    /// back to waiting.
    ///
    /// # Panics
    /// When the entry is not in flight.
    pub fn retry(&mut self, id: EntryId) {
        let (queue, old) = self.expect_unsettled(id);
        self.queues[queue].counts.in_flight -= 1;
        match old {
            state::IN_FLIGHT => self.make_ready(id.place),
            state::ABSORBED => {
                self.chunks[id.place.chunk()].columns_mut().states[id.place.slot()] = state::WAITING + 1;
                self.queues[queue].counts.waiting += 1;
            }
            _ => panic!("{id:?} is given back but is not in flight"),
        }
    }

    /// Lets the next writers of the keys that an entry in flight *reads* go before it: its parent is not there yet, and may
    /// come behind it in the stream (a live change of a child whose parent the first copy has still to bring). Without this
    /// the parent would wait for the child that waits for the parent.
    ///
    /// The other readers that stand before that writer let it go as well: they wait for the same parent, perhaps behind this
    /// entry's own key. What they write they keep, so the order of every written key stands. Repeating it changes nothing.
    ///
    /// # Panics
    /// When the entry is not in flight.
    pub fn yield_reads(&mut self, id: EntryId) {
        let (_, old) = self.expect_unsettled(id);
        assert!(matches!(old, state::IN_FLIGHT | state::ABSORBED), "{id:?} yields but is not in flight");
        self.detach_reads(id.place);
    }

    /// Gives an entry in flight back, not ready before `until` (monotonic time). It keeps its keys. For an absorbed entry
    /// whose predecessor is unsettled this is `retry`: it comes after its predecessor anyway.
    ///
    /// # Panics
    /// When the entry is not in flight.
    pub fn hold(&mut self, id: EntryId, until: Duration) {
        let (queue, old) = self.expect_unsettled(id);
        if old != state::IN_FLIGHT {
            return self.retry(id);
        }
        self.chunks[id.place.chunk()].columns_mut().states[id.place.slot()] = state::HELD;
        self.queues[queue].counts.in_flight -= 1;
        self.queues[queue].counts.held += 1;
        self.held.push(Reverse((until, id)));
    }

    /// Makes ready what was held until `now` or earlier; returns how many.
    pub fn wake(&mut self, now: Duration) -> usize {
        let mut woken = 0;
        while let Some(Reverse((until, id))) = self.held.peek().copied()
            && (until <= now || !self.is_held(id))
        {
            self.held.pop();
            if self.is_held(id) {
                self.queues[self.chunks[id.place.chunk()].queue].counts.held -= 1;
                self.make_ready(id.place);
                woken += 1;
            }
        }
        if self.held.is_empty() {
            self.held.shrink_to(1024);
        }
        woken
    }

    /// When the next held entry becomes ready; may be too early when that one was settled while it was held.
    pub fn next_wake(&self) -> Option<Duration> {
        self.held.peek().map(|Reverse((until, _))| *until)
    }

    /// The offset of the oldest ready entry of a route and lane.
    pub fn oldest_ready(&mut self, route: u16, lane: Lane) -> Option<Offset> {
        let queue = self.queue_index(route, lane);
        if self.queues[queue].counts.ready == 0 {
            return None;
        }
        loop {
            let seq = self.queues[queue].ready_from;
            let link = self.queues[queue].link(seq).expect("ready entries are counted, so a chunk holds them");
            if let Link::Chunk(index) = link
                && self.chunks[index as usize].ready > 0
            {
                let chunk = &self.chunks[index as usize];
                let found = memchr::memchr(state::READY, &chunk.columns().states[chunk.ready_from..chunk.len]);
                return found.map(|slot| Offset(chunk.offset(chunk.ready_from + slot)));
            }
            self.queues[queue].ready_from = seq + 1;
        }
    }

    /// How many entries of a route and lane are in which state.
    pub fn counts(&self, route: u16, lane: Lane) -> Counts {
        self.queues[self.queue_index(route, lane)].counts
    }

    /// Unsettled entries of all routes.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Heap bytes held, as allocated.
    pub fn bytes(&self) -> usize {
        self.column_bytes
            + self.keys.bytes()
            + self.readers.bytes()
            + self.queues.iter().map(LaneQueue::bytes).sum::<usize>()
            + self.queues.capacity() * size_of::<LaneQueue>()
            + self.route_unsettled.capacity() * size_of::<usize>()
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.free_chunks.capacity() * size_of::<u32>()
            + self.spares.capacity() * size_of::<Columns>()
            + self.held.capacity() * size_of::<Reverse<(Duration, EntryId)>>()
            + self.scratch.capacity() * size_of::<(KeyHash, bool)>()
    }

    fn queue_index(&self, route: u16, lane: Lane) -> usize {
        assert!(usize::from(route) < self.routes, "route {route} is not of this window");
        usize::from(route) * LANES + lane as usize
    }

    /// Checks that an id names an unsettled entry; returns its queue and state.
    fn expect_unsettled(&self, id: EntryId) -> (usize, u8) {
        let chunk = &self.chunks[id.place.chunk()];
        let old = match &chunk.columns {
            Some(columns) if chunk.generation == id.generation => columns.states[id.place.slot()],
            _ => state::SETTLED,
        };
        assert!(old != state::SETTLED, "{id:?} is settled already");
        (chunk.queue, old)
    }

    fn is_held(&self, id: EntryId) -> bool {
        let chunk = &self.chunks[id.place.chunk()];
        chunk.generation == id.generation && chunk.columns.is_some() && chunk.state(id.place.slot()) == state::HELD
    }

    /// Makes an entry ready whose old state is already out of the counts.
    fn make_ready(&mut self, place: EntryRef) {
        let chunk = &mut self.chunks[place.chunk()];
        chunk.columns_mut().states[place.slot()] = state::READY;
        chunk.ready += 1;
        chunk.ready_from = chunk.ready_from.min(place.slot());
        let queue = &mut self.queues[chunk.queue];
        queue.ready_from = queue.ready_from.min(chunk.seq);
        queue.counts.ready += 1;
    }

    /// Refuses when taking in an entry of `words` words might pass the limit.
    fn make_room(&mut self, words: usize) -> Result<(), PushError> {
        let most = Columns::push_bytes_max(words)
            + self.scratch.len() * (self.keys.insert_bytes_max() + size_of::<phases::Readers>())
            + self.readers.alloc_bytes_max()
            // The lists of chunks double, at one place of theirs for 2,048 entries.
            + self.chunks.capacity() * size_of::<Chunk>()
            + 1024;
        if self.unsettled == 0 {
            return Ok(());
        }
        let chunks_left = !self.free_chunks.is_empty() || self.chunks.len() < CHUNKS_MAX;
        if chunks_left && self.bytes() + most <= self.bytes_max {
            return Ok(());
        }
        self.drop_spares();
        let bytes = self.bytes();
        if chunks_left && bytes + most <= self.bytes_max {
            return Ok(());
        }
        Err(PushError::Full { bytes, bytes_max: self.bytes_max })
    }

    fn drop_spares(&mut self) {
        self.column_bytes -= self.spares.drain(..).map(|columns| columns.bytes()).sum::<usize>();
    }

    /// Adds an entry at the end of a queue.
    fn add_entry(&mut self, queue: usize, offset: u64, words: usize, state: u8) -> EntryRef {
        let tail = self.queues[queue].tail().map(|index| index as usize);
        let index = match tail {
            Some(index) if self.chunks[index].takes(offset, words) => {
                let last = self.chunks[index].last_offset();
                assert!(offset >= last, "offset {offset} is pushed behind {last} of its route");
                index
            }
            _ => self.open_chunk(queue, offset),
        };
        let chunk = &mut self.chunks[index];
        let before = chunk.columns().words.capacity();
        chunk.reserve(words);
        self.column_bytes += (chunk.columns().words.capacity() - before) * size_of::<u32>();
        EntryRef::new(index as u32, chunk.add(offset, state))
    }

    fn open_chunk(&mut self, queue: usize, offset: u64) -> usize {
        let columns = self.spares.pop().unwrap_or_else(|| {
            let columns = Columns::new();
            self.column_bytes += columns.bytes();
            columns
        });
        let seq = self.queues[queue].end_seq();
        let index = self.free_chunks.pop().unwrap_or(self.chunks.len() as u32);
        let generation = self.chunks.get(index as usize).map_or(0, |old| old.generation.wrapping_add(1));
        let chunk = Chunk {
            generation,
            queue,
            seq,
            base: offset,
            len: 0,
            live: 0,
            ready: 0,
            ready_from: 0,
            live_from: 0,
            columns: Some(columns),
        };
        match self.chunks.get_mut(index as usize) {
            Some(old) => *old = chunk,
            None => self.chunks.push(chunk),
        }
        self.queues[queue].links.push_back(Link::Chunk(index));
        // The old tail takes no more entries: if all it holds is settled, it goes now.
        if seq > self.queues[queue].first_seq
            && let Some(Link::Chunk(before)) = self.queues[queue].link(seq - 1)
            && self.chunks[before as usize].live == 0
        {
            self.retire(before as usize);
        }
        index as usize
    }

    /// Frees the tail chunks of a route of which nothing is unsettled. Until then a tail takes more entries, and remembers
    /// which offsets above the checkpoint are settled.
    fn forget_settled(&mut self, route: usize) {
        for queue in route * LANES..(route + 1) * LANES {
            if let Some(tail) = self.queues[queue].tail() {
                self.retire(tail as usize);
            }
            self.queues[queue].trim(u64::MAX);
        }
    }

    /// Frees a chunk whose entries are all settled.
    fn retire(&mut self, index: usize) {
        let chunk = &mut self.chunks[index];
        let (first, last) = (chunk.base, chunk.last_offset());
        self.queues[chunk.queue].retire(chunk.seq, first, last);
        if let Some(mut columns) = chunk.columns.take() {
            if self.spares.len() < SPARES_MAX {
                columns.words.clear();
                self.spares.push(columns);
            } else {
                self.column_bytes -= columns.bytes();
            }
        }
        self.free_chunks.push(index as u32);
    }
}
