//! Who waits for whom: linking an entry behind its keys, and freeing those behind it.

use super::Window;
use super::api::{Entry, EntryRef, SLOT_BITS};
use super::chunk::{Chunk, END, READ, state};
use super::keys::KeyHash;
use super::phases::{NONE, READERS, Readers, ReadersArena};

/// The place of a word: chunk and index.
#[derive(Clone, Copy)]
pub(super) struct WordRef(pub u32);

impl WordRef {
    fn new(chunk: usize, word: usize) -> Self {
        Self((chunk as u32) << SLOT_BITS | word as u32)
    }

    pub(super) fn chunk(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    pub(super) fn word(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// The key that a phase belongs to.
fn key_of(phase: u32, chunks: &[Chunk], readers: &ReadersArena) -> KeyHash {
    if phase & READERS != 0 {
        readers.get(phase & !READERS).key
    } else {
        let word = WordRef(phase);
        chunks[word.chunk()].key_at(word.word())
    }
}

impl Window {
    /// Gathers the entry's distinct keys in `scratch`; a key that is read and written counts as written.
    pub(super) fn collect_keys(&mut self, entry: &Entry<'_>) {
        self.scratch.clear();
        let writes = entry.writes.iter().map(|key| (key, true));
        for (fingerprint, write) in writes.chain(entry.reads.iter().map(|key| (key, false))) {
            let key = KeyHash::of(*fingerprint);
            // Quadratic, over at most some 250 keys, and mostly over two; whoever has more is refused.
            if self.scratch.len() > state::KEYS_MAX || !self.scratch.iter().any(|(known, _)| *known == key) {
                self.scratch.push((key, write));
            }
        }
    }

    /// Links the newest entry of a chunk behind its keys (`scratch`); returns for how many it must wait.
    pub(super) fn link_keys(&mut self, place: EntryRef) -> usize {
        let mut blocked = 0;
        for at in 0..self.scratch.len() {
            let (key, write) = self.scratch[at];
            blocked += usize::from(if write { self.link_write(place, key) } else { self.link_read(place, key) });
        }
        blocked
    }

    /// Returns whether the write must wait.
    fn link_write(&mut self, place: EntryRef, key: KeyHash) -> bool {
        let words = &mut self.chunks[place.chunk()].columns_mut().words;
        let me = WordRef::new(place.chunk(), words.len());
        words.extend([(key.0 >> 32) as u32, key.0 as u32, NONE]);
        let (chunks, readers) = (&self.chunks, &self.readers);
        match self.keys.find(key, |phase| key_of(phase, chunks, readers) == key) {
            None => {
                self.keys.insert(key, me.0);
                false
            }
            Some(tail) => {
                self.set_next(self.keys.get(tail), me.0);
                self.keys.set(tail, me.0);
                true
            }
        }
    }

    /// Returns whether the read must wait.
    fn link_read(&mut self, place: EntryRef, key: KeyHash) -> bool {
        let me = WordRef::new(place.chunk(), self.chunks[place.chunk()].columns().words.len());
        let (chunks, readers) = (&self.chunks, &self.readers);
        let tail = self.keys.find(key, |phase| key_of(phase, chunks, readers) == key);
        let (word, blocked) = match tail.map(|tail| (tail, self.keys.get(tail))) {
            None => {
                let id = self.readers.alloc(Readers {
                    key,
                    next: NONE,
                    count: 1,
                    members: END,
                    active: true,
                    detached: false,
                });
                self.keys.insert(key, READERS | id);
                (READ | id, false)
            }
            Some((_, phase)) if phase & READERS != 0 => {
                let id = phase & !READERS;
                let readers = self.readers.get_mut(id);
                readers.count += 1;
                if readers.active {
                    (READ | id, false)
                } else {
                    (READ | std::mem::replace(&mut readers.members, me.0), true)
                }
            }
            Some((tail, writer)) => {
                let id = self.readers.alloc(Readers {
                    key,
                    next: NONE,
                    count: 1,
                    members: me.0,
                    active: false,
                    detached: false,
                });
                self.set_next(writer, READERS | id);
                self.keys.set(tail, READERS | id);
                (READ | END, true)
            }
        };
        self.chunks[place.chunk()].columns_mut().words.push(word);
        blocked
    }

    fn set_next(&mut self, phase: u32, next: u32) {
        if phase & READERS != 0 {
            self.readers.get_mut(phase & !READERS).next = next;
        } else {
            let word = WordRef(phase);
            self.chunks[word.chunk()].columns_mut().words[word.word() + 2] = next;
        }
    }

    /// Takes a settled entry out of its keys' queues, and lets those move up who stood behind it.
    pub(super) fn unlink_keys(&mut self, place: EntryRef) {
        let (mut at, end) = self.chunks[place.chunk()].word_range(place.slot());
        while at < end {
            let words = &self.chunks[place.chunk()].columns().words;
            if words[at] & READ != 0 {
                let id = words[at] & !READ;
                self.leave_readers(id);
                at += 1;
            } else {
                let (key, next) = (self.chunks[place.chunk()].key_at(at), words[at + 2]);
                self.end_phase(key, WordRef::new(place.chunk(), at).0, next);
                at += super::chunk::WRITE_WORDS;
            }
        }
    }

    /// Lets the next writers of the keys that an entry in flight reads go: the readers that stand with it keep their places for
    /// nothing else than to be counted out.
    pub(super) fn detach_reads(&mut self, place: EntryRef) {
        let (mut at, end) = self.chunks[place.chunk()].word_range(place.slot());
        while at < end {
            let word = self.chunks[place.chunk()].columns().words[at];
            if word & READ == 0 {
                at += super::chunk::WRITE_WORDS;
                continue;
            }
            let id = word & !READ;
            let readers = self.readers.get_mut(id);
            if !std::mem::replace(&mut readers.detached, true) {
                let (key, next) = (readers.key, readers.next);
                self.end_phase(key, READERS | id, next);
            }
            at += 1;
        }
    }

    fn leave_readers(&mut self, id: u32) {
        let readers = self.readers.get_mut(id);
        readers.count -= 1;
        if readers.count == 0 {
            let (key, next, detached) = (readers.key, readers.next, readers.detached);
            if !detached {
                self.end_phase(key, READERS | id, next);
            }
            self.readers.release(id);
        }
    }

    /// The first phase of a key is over: the next one becomes active, or the key is forgotten.
    fn end_phase(&mut self, key: KeyHash, phase: u32, next: u32) {
        if next == NONE {
            let place = self.keys.find(key, |tail| tail == phase).expect("a phase without follower is its key's tail");
            self.keys.remove(place);
        } else if next & READERS != 0 {
            let id = next & !READERS;
            let readers = self.readers.get_mut(id);
            readers.active = true;
            let mut member = std::mem::replace(&mut readers.members, END);
            while member != END {
                let word = WordRef(member);
                let words = &mut self.chunks[word.chunk()].columns_mut().words;
                member = std::mem::replace(&mut words[word.word()], READ | id) & !READ;
                self.unblock(word);
            }
        } else {
            self.unblock(WordRef(next));
        }
    }

    /// The entry that this word belongs to waits for one key less.
    fn unblock(&mut self, word: WordRef) {
        let chunk = &mut self.chunks[word.chunk()];
        let slot = chunk.slot_of_word(word.word());
        let state = &mut chunk.columns_mut().states[slot];
        match *state {
            state::ABSORBED => *state = state::IN_FLIGHT,
            waiting if waiting == state::WAITING + 1 => {
                let queue = chunk.queue;
                self.queues[queue].counts.waiting -= 1;
                self.make_ready(EntryRef::new(word.chunk() as u32, slot));
            }
            waiting => {
                assert!(waiting > state::WAITING, "only a waiting entry moves up");
                *state = waiting - 1;
            }
        }
    }
}
