//! The keys that an entry reads: its parents, for whoever keeps batches apart that lock one.

use super::Window;
use super::api::EntryId;
use super::chunk::{READ, WRITE_WORDS};
use super::keys::KeyHash;

/// A key that entries read. Two parents may collide on one: they are kept apart where they need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParentKey(KeyHash);

impl Window {
    /// Appends the keys that an entry in flight reads to `out`.
    ///
    /// # Panics
    /// When the entry is settled.
    pub fn parents(&self, id: EntryId, out: &mut Vec<ParentKey>) {
        self.expect_unsettled(id);
        let chunk = &self.chunks[id.place.chunk()];
        let (mut at, end) = chunk.word_range(id.place.slot());
        while at < end {
            let word = chunk.columns().words[at];
            if word & READ == 0 {
                at += WRITE_WORDS;
                continue;
            }
            out.push(ParentKey(self.readers.get(word & !READ).key));
            at += 1;
        }
    }
}

#[cfg(test)]
impl ParentKey {
    pub(crate) fn for_tests(n: u64) -> Self {
        Self(KeyHash(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Entry;
    use model::{Fingerprint, Lane, Offset};

    #[test]
    fn entries_of_one_parent_name_the_same_key_whatever_else_they_touch() {
        let mut window = Window::new(1, 1 << 20, Offset(0));
        let rows: [(&[u64], &[u64]); 4] = [(&[1, 2], &[70, 71]), (&[3], &[70]), (&[4], &[]), (&[5], &[72])];
        for (offset, (writes, reads)) in rows.into_iter().enumerate() {
            let keys = |numbers: &[u64]| numbers.iter().map(|n| Fingerprint(*n)).collect::<Vec<_>>();
            let (writes, reads) = (keys(writes), keys(reads));
            let offset = Offset(offset as u64);
            window.push(&Entry { offset, route: 0, lane: Lane::Standard, writes: &writes, reads: &reads }).unwrap();
        }
        let mut taken = Vec::new();
        window.take(0, Lane::Standard, 9, &mut taken);
        let parents = |at: usize| {
            let mut found = Vec::new();
            window.parents(taken[at].id, &mut found);
            found
        };
        assert_eq!((parents(0).len(), parents(2).len()), (2, 0));
        assert_eq!(parents(0)[0], parents(1)[0]);
        assert_ne!(parents(1), parents(3));
    }
}
