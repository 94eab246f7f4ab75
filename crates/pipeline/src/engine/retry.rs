//! What is remembered of rows that were not settled at the first try.

use crate::spec::RetryPolicy;
use crate::window::EntryId;
use hashbrown::HashMap;
use model::ErrorClass;
use std::time::Duration;

/// A row's history. Rows that go through at once have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Times sent.
    pub sent: u32,
    /// Failures that count towards the policies' `attempts_max`: transient, lock, unknown.
    pub failures: [u32; 3],
    /// Failures in a row, of any kind: what the backoff grows with.
    pub streak: u32,
    /// The route's successes at the last failure: a failure of the target as a whole counts only when something went through
    /// since.
    pub successes: u64,
    /// Since when it waits for its parent, and since when it fails in other ways; monotonic.
    pub parent_since: Option<Duration>,
    pub failing_since: Option<Duration>,
    /// The most rows that it may travel with.
    pub company_max: Option<usize>,
    /// True when it goes without the later records of its key: merged, they were refused.
    pub unmerged: bool,
    /// True once the target's description was renewed for it.
    pub refreshed: bool,
}

impl History {
    /// The count of blamed failures of a class.
    pub fn failures_of(&mut self, class: ErrorClass) -> &mut u32 {
        match class {
            ErrorClass::Lock => &mut self.failures[1],
            ErrorClass::Unknown => &mut self.failures[2],
            _ => &mut self.failures[0],
        }
    }
}

/// Histories of a group's rows, dropped with the row's settlement.
#[derive(Debug, Default)]
pub struct Histories(HashMap<EntryId, History>);

impl Histories {
    /// A row's history so far.
    pub fn get(&self, id: EntryId) -> History {
        if self.0.is_empty() { History::default() } else { self.0.get(&id).copied().unwrap_or_default() }
    }

    /// A row's history, to be changed.
    pub fn of(&mut self, id: EntryId) -> &mut History {
        self.0.entry(id).or_default()
    }

    /// Forgets a row.
    pub fn forget(&mut self, id: EntryId) {
        if !self.0.is_empty() {
            self.0.remove(&id);
        }
    }

    /// True when no row has one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Numbers that only have to differ between runs and rows: SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom
/// Number Generators", 2014).
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The wait after the `streak`-th failure in a row (from 1), with a part of it left to chance: never longer than the
    /// policy's longest.
    pub fn backoff(&mut self, policy: &RetryPolicy, streak: u32) -> Duration {
        let whole = policy.delay(streak);
        let chance = (self.next() % 1024) as f64 / 1024.0;
        whole - whole.mul_f64(policy.jitter.clamp(0.0, 1.0) * chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RetrySpec;

    #[test]
    fn backoff_grows_to_its_limit_and_repeats_with_its_seed() {
        let policy = RetrySpec::default().transient;
        let (mut a, mut b) = (Jitter::new(7), Jitter::new(7));
        for streak in 1..40 {
            let wait = a.backoff(&policy, streak);
            assert_eq!(wait, b.backoff(&policy, streak));
            let whole = policy.delay_min.saturating_mul(1 << (streak - 1).min(20)).min(policy.delay_max);
            assert!(wait >= whole.mul_f64(0.9) && wait <= whole, "{streak}: {wait:?}");
        }
    }
}
