//! Groups of readers: what stands between two writers of a key.
//!
//! A key's unsettled accesses form a queue of phases in offset order: a writer alone, or all readers between two writers.
//! Only the first phase is active: its entries are not blocked by this key. A writer's phase is its words in its chunk; a
//! readers' phase outlives the entry that opened it, and so stands here.

use super::keys::KeyHash;

/// No phase, no member.
pub(super) const NONE: u32 = u32::MAX;
/// Marks a phase reference as a readers' phase (else: the place of a writer's words).
pub(super) const READERS: u32 = 1 << 31;

const PAGE: usize = 1024;
/// An arena that runs empty keeps this many pages, so that light traffic does not allocate.
const PAGES_KEPT: usize = 4;

/// Readers of one key between two writers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readers {
    pub key: KeyHash,
    /// The phase that follows, or `NONE`.
    pub next: u32,
    /// Unsettled members.
    pub count: u32,
    /// While waiting: the newest member's word, which links to the one before.
    pub members: u32,
    pub active: bool,
    /// The next phase has begun already, since a member yielded: these readers block nobody any more.
    pub detached: bool,
}

/// All readers' phases, in pages so that growing copies nothing.
#[derive(Debug, Default)]
pub(super) struct ReadersArena {
    pages: Vec<Box<[Readers]>>,
    /// Head of the list of free places, linked through `next`.
    free: Option<u32>,
    used: usize,
}

impl ReadersArena {
    pub(super) fn bytes(&self) -> usize {
        self.pages.len() * PAGE * size_of::<Readers>() + self.pages.capacity() * size_of::<Box<[Readers]>>()
    }

    /// The most that one `alloc` may add.
    pub(super) fn alloc_bytes_max(&self) -> usize {
        PAGE * size_of::<Readers>() + (self.pages.capacity() + 4) * size_of::<Box<[Readers]>>()
    }

    pub(super) fn get(&self, id: u32) -> &Readers {
        &self.pages[id as usize / PAGE][id as usize % PAGE]
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut Readers {
        &mut self.pages[id as usize / PAGE][id as usize % PAGE]
    }

    pub(super) fn alloc(&mut self, readers: Readers) -> u32 {
        let id = match self.free {
            Some(id) => id,
            None => self.grow(),
        };
        let next = self.get(id).next;
        self.free = (next != NONE).then_some(next);
        self.used += 1;
        *self.get_mut(id) = readers;
        id
    }

    pub(super) fn release(&mut self, id: u32) {
        self.get_mut(id).next = self.free.unwrap_or(NONE);
        self.free = Some(id);
        self.used -= 1;
        if self.used == 0 && self.pages.len() > PAGES_KEPT {
            // Nothing refers to a place any more: give the pages back.
            *self = Self::default();
        }
    }

    /// Adds a page of free places; returns the first.
    fn grow(&mut self) -> u32 {
        let first = (self.pages.len() * PAGE) as u32;
        let page = (0..PAGE as u32)
            .map(|n| Readers {
                key: KeyHash(0),
                next: if n + 1 == PAGE as u32 { NONE } else { first + n + 1 },
                count: 0,
                members: NONE,
                active: false,
                detached: false,
            })
            .collect();
        self.pages.push(page);
        first
    }
}
