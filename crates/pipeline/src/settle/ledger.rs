//! From which offset of `_settlements` a restart must read.

use model::Offset;
use std::collections::VecDeque;

/// Entries above which neighbours are folded: a route whose lowest record waits long for its parent goes on settling.
const ENTRIES_MAX: usize = 8192;

/// Remembers, for one route, which settlements still matter: those that hold a record at or above the checkpoint, or that
/// close a batch which does.
#[derive(Debug, Default)]
pub struct Ledger {
    /// `(highest record settled there, where the settlement stands)`; standing places ascend.
    entries: VecDeque<(Offset, Offset)>,
}

impl Ledger {
    /// Says that a settlement stands at `at` and that its batch or rows reach up to `highest`.
    pub fn add(&mut self, highest: Offset, at: Offset) {
        // One that is released only when it is durable may come after a later one that was released at once.
        let place = self.entries.partition_point(|(_, earlier)| *earlier <= at);
        self.entries.insert(place, (highest, at));
        if self.entries.len() > ENTRIES_MAX {
            self.fold();
        }
    }

    /// Where a restart from `checkpoint` must begin to read; `None`: nothing written so far matters.
    pub fn needed_from(&mut self, checkpoint: Offset) -> Option<Offset> {
        while let Some((highest, _)) = self.entries.front()
            && *highest < checkpoint
        {
            self.entries.pop_front();
        }
        self.entries.front().map(|(_, at)| *at)
    }

    /// Joins pairs: the older place with the higher record. Reads more at a restart, never less.
    fn fold(&mut self) {
        let mut folded = VecDeque::with_capacity(self.entries.len() / 2 + 1);
        while let Some((highest, at)) = self.entries.pop_front() {
            let next = self.entries.pop_front().map_or(highest, |(next, _)| next);
            folded.push_back((highest.max(next), at));
        }
        self.entries = folded;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn settlement_that_is_released_late_is_read_again_all_the_same() {
        let mut ledger = Ledger::default();
        ledger.add(Offset(0), Offset(101));
        ledger.add(Offset(8), Offset(100));
        assert_eq!(ledger.needed_from(Offset(0)), Some(Offset(100)));
    }

    #[test]
    fn settlements_below_the_checkpoint_are_forgotten() {
        let mut ledger = Ledger::default();
        ledger.add(Offset(5), Offset(100));
        ledger.add(Offset(3), Offset(101));
        ledger.add(Offset(9), Offset(102));
        assert_eq!(ledger.needed_from(Offset(4)), Some(Offset(100)));
        assert_eq!(ledger.needed_from(Offset(6)), Some(Offset(102)));
        assert_eq!(ledger.needed_from(Offset(10)), None);
    }

    proptest! {
        #[test]
        fn folding_never_forgets_what_matters(highest in prop::collection::vec(0..100_000_u64, 1..20_000), checkpoint in 0..100_000_u64) {
            let mut ledger = Ledger::default();
            for (at, highest) in highest.iter().enumerate() {
                ledger.add(Offset(*highest), Offset(at as u64));
            }
            prop_assert!(ledger.entries.len() <= ENTRIES_MAX);
            let first = highest.iter().position(|highest| *highest >= checkpoint);
            let from = ledger.needed_from(Offset(checkpoint));
            if let Some(first) = first {
                prop_assert!(from.is_some_and(|from| from.0 <= first as u64));
            }
        }
    }
}
