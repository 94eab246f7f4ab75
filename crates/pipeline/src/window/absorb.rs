//! `coalesce: latest`: waiting updates of one key merge into the newest.

use super::Window;
use super::api::{EntryId, EntryRef, Taken};
use super::chunk::{READ, WRITE_WORDS, state};
use super::conflicts::WordRef;
use super::phases::{NONE, READERS};
use model::Offset;

impl Window {
    /// Takes in flight, after `leader`, up to `n` later entries that may be merged with it, appended to `out` in offset
    /// order; returns how many.
    ///
    /// They form a chain: each writes exactly the leader's one key in the leader's route (whatever its lane), stands next behind the one before it on that
    /// key (no reader in between), and waits for nothing else. So all may be applied as one row at the leader's place: whatever
    /// conflicts with any of them is either settled already or waits for it. The caller merges column by column, applies once, and settles the leader first and
    /// then the others in order; on failure it gives each back by `retry` or `hold`, in any order. A part may be
    /// settled (from the leader on) and the rest given back.
    ///
    /// The caller compares the real keys before it merges, and gives back what differs: a fingerprint may collide.
    ///
    /// # Panics
    /// When `leader` is not in flight.
    pub fn absorb(&mut self, leader: EntryId, n: usize, out: &mut Vec<Taken>) -> usize {
        let (queue, old) = self.expect_unsettled(leader);
        assert!(old == state::IN_FLIGHT, "{leader:?} absorbs but is not in flight");
        let route = queue / super::LANES;
        let mut chain = leader.place;
        let mut absorbed = 0;
        while absorbed < n
            && let Some(next) = self.follower(chain, route)
        {
            let chunk = &mut self.chunks[next.chunk()];
            chunk.columns_mut().states[next.slot()] = state::ABSORBED;
            let counts = &mut self.queues[chunk.queue].counts;
            counts.waiting -= 1;
            counts.in_flight += 1;
            let id = EntryId { generation: chunk.generation, place: next };
            out.push(Taken { id, offset: Offset(chunk.offset(next.slot())) });
            chain = next;
            absorbed += 1;
        }
        absorbed
    }

    /// The entry of this route that stands next behind `place` on its one written key and waits for nothing else.
    fn follower(&self, place: EntryRef, route: usize) -> Option<EntryRef> {
        let next = self.only_write(place)?;
        if next == NONE || next & READERS != 0 {
            return None;
        }
        let word = WordRef(next);
        let chunk = &self.chunks[word.chunk()];
        let found = EntryRef::new(word.chunk() as u32, chunk.slot_of_word(word.word()));
        let waits_for_place_only = chunk.state(found.slot()) == state::WAITING + 1;
        (chunk.queue / super::LANES == route && waits_for_place_only && self.only_write(found).is_some())
            .then_some(found)
    }

    /// The phase that follows the entry's written key, if it writes exactly one.
    fn only_write(&self, place: EntryRef) -> Option<u32> {
        let chunk = &self.chunks[place.chunk()];
        let (start, end) = chunk.word_range(place.slot());
        let words = &chunk.columns().words[start..end];
        // Writes come before reads.
        let is_write = |at: usize| words.get(at).is_some_and(|word| word & READ == 0);
        (is_write(0) && !is_write(WRITE_WORDS)).then(|| words[2])
    }
}
