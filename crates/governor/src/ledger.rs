//! What was spent in a rolling span, by lane, in buckets of time.
//!
//! A bucket is forgotten one whole span after its *end*, so the ledger never knows less than what was truly spent in the
//! last span; it may remember up to one bucket more. Time is the governor's own, in milliseconds, and never goes back.

use model::Lane;
use std::collections::VecDeque;

pub(crate) const LANES: usize = Lane::ALL.len();

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bucket {
    start_ms: i64,
    spent: [u64; LANES],
}

/// Spending in the last span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    span_ms: i64,
    bucket_ms: i64,
    /// Ascending by start; without the empty ones.
    buckets: VecDeque<Bucket>,
    sums: [u64; LANES],
}

impl Ledger {
    pub(crate) fn new(span_ms: i64, bucket_ms: i64) -> Self {
        assert!(bucket_ms > 0 && span_ms >= bucket_ms, "a span holds at least one bucket");
        Self { span_ms, bucket_ms, buckets: VecDeque::new(), sums: [0; LANES] }
    }

    /// Forgets what lies a span back.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        while let Some(first) = self.buckets.front()
            && self.gone_at(first.start_ms) <= now_ms
        {
            for (sum, spent) in self.sums.iter_mut().zip(first.spent) {
                *sum -= spent;
            }
            self.buckets.pop_front();
        }
    }

    fn gone_at(&self, start_ms: i64) -> i64 {
        start_ms.saturating_add(self.bucket_ms).saturating_add(self.span_ms)
    }

    /// Counts spending now; a time before the newest bucket counts in that one.
    pub(crate) fn spend(&mut self, lane: Lane, amount: u64, now_ms: i64) {
        let start_ms = now_ms - now_ms.rem_euclid(self.bucket_ms);
        match self.buckets.back_mut() {
            Some(last) if last.start_ms >= start_ms => last.spent[lane as usize] += amount,
            _ => {
                let mut spent = [0; LANES];
                spent[lane as usize] = amount;
                self.buckets.push_back(Bucket { start_ms, spent });
            }
        }
        self.sums[lane as usize] += amount;
    }

    /// Takes back what was counted at `then_ms` and not used. What is forgotten already stays forgotten.
    pub(crate) fn refund(&mut self, lane: Lane, amount: u64, then_ms: i64) {
        let start_ms = then_ms - then_ms.rem_euclid(self.bucket_ms);
        if let Ok(at) = self.buckets.binary_search_by_key(&start_ms, |bucket| bucket.start_ms) {
            let spent = &mut self.buckets[at].spent[lane as usize];
            let back = amount.min(*spent);
            *spent -= back;
            self.sums[lane as usize] -= back;
        }
    }

    pub(crate) fn spent(&self, lane: Lane) -> u64 {
        self.sums[lane as usize]
    }

    pub(crate) fn total(&self) -> u64 {
        self.sums.iter().sum()
    }

    /// When, after now, at least `amount` of what is spent will be forgotten; none when it never was spent.
    pub(crate) fn freed_at(&self, amount: u64) -> Option<i64> {
        let mut freed = 0;
        self.buckets.iter().find_map(|bucket| {
            freed += bucket.spent.iter().sum::<u64>();
            (freed >= amount).then(|| self.gone_at(bucket.start_ms))
        })
    }

    /// What was spent in buckets that begin at or after `from_ms` and end at or before `to_ms`.
    pub(crate) fn inside(&self, from_ms: i64, to_ms: i64) -> u64 {
        let whole = |bucket: &&Bucket| bucket.start_ms >= from_ms && bucket.start_ms + self.bucket_ms <= to_ms;
        self.buckets.iter().filter(whole).map(|bucket| bucket.spent.iter().sum::<u64>()).sum()
    }

    /// What was spent in buckets that end at or before `to_ms`, and what was spent later.
    pub(crate) fn split(&self, to_ms: i64) -> (u64, u64) {
        let before = self.inside(i64::MIN, to_ms);
        (before, self.total() - before)
    }

    /// The buckets `(start, spent by lane)`, ascending.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (i64, [u64; LANES])> {
        self.buckets.iter().map(|bucket| (bucket.start_ms, bucket.spent))
    }

    /// What is forgotten when: `(time, amount)`, ascending.
    pub(crate) fn forgotten(&self) -> impl Iterator<Item = (i64, u64)> {
        self.buckets.iter().map(|bucket| (self.gone_at(bucket.start_ms), bucket.spent.iter().sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spending_is_remembered_for_a_whole_span_and_at_most_a_bucket_longer() {
        let mut ledger = Ledger::new(1000, 100);
        ledger.spend(Lane::Bulk, 5, 199);
        ledger.expire(1199);
        assert_eq!(ledger.total(), 5, "199 to 1199 is exactly a span");
        assert_eq!(ledger.freed_at(5), Some(1200));
        assert_eq!(ledger.freed_at(6), None);
        ledger.expire(1200);
        assert_eq!(ledger.total(), 0);
    }

    #[test]
    fn refund_returns_to_the_bucket_it_came_from_and_never_below_zero() {
        let mut ledger = Ledger::new(1000, 100);
        ledger.spend(Lane::Bulk, 5, 50);
        ledger.spend(Lane::Bulk, 3, 150);
        ledger.refund(Lane::Bulk, 4, 50);
        assert_eq!(ledger.spent(Lane::Bulk), 4);
        ledger.refund(Lane::Bulk, 9, 150);
        assert_eq!(ledger.spent(Lane::Bulk), 1);
        ledger.expire(1100);
        ledger.refund(Lane::Bulk, 1, 50);
        assert_eq!(ledger.total(), 0);
    }
}
