//! Spending that may or may not have happened: what processes that are gone had reserved, or had in flight.
//!
//! It counts as spent until it is a span old, or until the org's own figure says otherwise: a reading that is surely newer than
//! the doubt, and shows less use than our certain spending and the doubt together, bounds what of it can be true.

use crate::ledger::{LANES, Ledger};
use model::Lane;

/// Of what is in doubt and older than `at_ms`, at most `amount` is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ceiling {
    at_ms: i64,
    amount: u64,
}

/// An amount that may have been spent at any time up to `at_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reserve {
    pub amount: u64,
    pub at_ms: i64,
}

/// Doubts of one process about one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    past: Ledger,
    /// The lease of another process as it stands.
    pub lease: Reserve,
    span_ms: i64,
}

impl Doubt {
    pub(crate) fn new(span_ms: i64, bucket_ms: i64) -> Self {
        let lease = Reserve { amount: 0, at_ms: i64::MIN };
        Self { past: Ledger::new(span_ms, bucket_ms), lease, span_ms }
    }

    /// Adds what may have been spent up to `at_ms`.
    pub(crate) fn add(&mut self, amount: u64, at_ms: i64) {
        if amount > 0 {
            self.past.spend(Lane::Standard, amount, at_ms);
        }
    }

    pub(crate) fn expire(&mut self, now_ms: i64) {
        self.past.expire(now_ms);
        if self.lease.at_ms.saturating_add(self.span_ms) <= now_ms {
            self.lease.amount = 0;
        }
    }

    /// What stands in doubt at or before `at_ms`, and later.
    fn split(&self, at_ms: i64) -> (u64, u64) {
        let (before, after) = self.past.split(at_ms);
        if self.lease.at_ms <= at_ms {
            (before + self.lease.amount, after)
        } else {
            (before, after + self.lease.amount)
        }
    }

    /// What may have been spent after `at_ms`.
    pub(crate) fn after(&self, at_ms: i64) -> u64 {
        self.split(at_ms).1
    }

    /// The buckets `(start, amount)`, ascending.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (i64, u64)> {
        self.past.buckets().map(|(start_ms, spent): (i64, [u64; LANES])| (start_ms, spent.iter().sum()))
    }
}

/// What of these doubts counts, together.
pub(crate) fn counted<'a>(doubts: impl Iterator<Item = &'a Doubt>, ceiling: Option<Ceiling>) -> u64 {
    let Ceiling { at_ms, amount } = ceiling.unwrap_or(Ceiling { at_ms: i64::MIN, amount: 0 });
    let (before, after) =
        doubts.map(|doubt| doubt.split(at_ms)).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    before.min(amount) + after
}

impl Ceiling {
    /// Takes a newer reading in: of what is in doubt and older than `at_ms`, at most `true_max` can be true.
    pub(crate) fn lower<'a>(
        before: Option<Self>,
        doubts: impl Iterator<Item = &'a Doubt> + Clone,
        (at_ms, true_max): (i64, u64),
    ) -> Option<Self> {
        match before {
            Some(known) if known.at_ms > at_ms => before,
            _ => {
                let all = counted(doubts.clone(), before);
                let later: u64 = doubts.map(|doubt| doubt.split(at_ms).1).sum();
                Some(Self { at_ms, amount: true_max.min(all.saturating_sub(later)) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_reading_bounds_older_doubts_only_and_never_raises_them() {
        let mut own = Doubt::new(100_000, 100);
        own.add(50, 1_000);
        own.add(30, 9_000);
        assert_eq!(counted([&own].into_iter(), None), 80);
        let ceiling = Ceiling::lower(None, [&own].into_iter(), (2_000, 20));
        assert_eq!(counted([&own].into_iter(), ceiling), 50, "20 of the first 50, and the 30 that came later");
        let same = Ceiling::lower(ceiling, [&own].into_iter(), (3_000, 45));
        assert_eq!(counted([&own].into_iter(), same), 50, "others' spending does not bring doubts back");
        let old = Ceiling::lower(same, [&own].into_iter(), (1_500, 0));
        assert_eq!(old, same, "an older reading says nothing new");
        let mut other = Doubt::new(100_000, 100);
        other.lease = Reserve { amount: 7, at_ms: 4_000 };
        assert_eq!(counted([&own, &other].into_iter(), same), 57);
        let all = Ceiling::lower(same, [&own, &other].into_iter(), (20_000, 0));
        assert_eq!(counted([&own, &other].into_iter(), all), 0);
        own.expire(200_000);
        assert_eq!(counted([&own].into_iter(), None), 0);
    }
}
