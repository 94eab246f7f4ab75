//! Whether a chunk's database snapshot sees every transaction that the stream has sent before the chunk.
//!
//! A transaction's commit record is written to the WAL before the transaction leaves the server's list of running ones.
//! In between, the stream may have sent it while a new snapshot does not see it. The stretch is as long as a flush, or, where
//! commits wait for a synchronous standby, as long as that takes.

use std::collections::HashSet;

/// Transactions remembered at most (some 20 MB); beyond, a new baseline is asked for.
const SEEN_MAX: usize = 500_000;

/// `pg_current_snapshot()`, its 64-bit ids cut to the 32 bits that the stream knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VisibleSnapshot {
    xmax: u32,
    running: HashSet<u32>,
}

impl VisibleSnapshot {
    /// Reads `xmin:xmax:xip,xip,…`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let _xmin: u64 = parts.next()?.parse().ok()?;
        let xmax: u64 = parts.next()?.parse().ok()?;
        let running = parts.next()?.split(',').filter(|xid| !xid.is_empty());
        let running = running.map(|xid| xid.parse::<u64>().map(|xid| xid as u32)).collect::<Result<_, _>>().ok()?;
        Some(Self { xmax: xmax as u32, running })
    }

    /// True when the snapshot does not see what this transaction did, whether it has ended since or not.
    pub(crate) fn hides(&self, xid: u32) -> bool {
        // Transaction ids wrap around; half of the circle lies behind, half ahead.
        xid.wrapping_sub(self.xmax) as i32 >= 0 || self.running.contains(&xid)
    }
}

/// The transactions that the stream has sent and a snapshot might not see yet.
#[derive(Debug, Default)]
pub(crate) struct Horizon {
    /// Sent in this session, before the low watermark of the chunk at hand.
    seen: HashSet<u32>,
    /// Sent since that low watermark.
    since_low: HashSet<u32>,
    /// Running when the session began: what of them had committed by then was sent (or skipped) before this session.
    baseline: HashSet<u32>,
    /// False once they can only be ordinary long transactions.
    baseline_counts: bool,
    overflown: bool,
    off: bool,
}

impl Horizon {
    /// Takes a snapshot that was made before the session's stream was started, or after `overflown`.
    ///
    /// It must be made after a transaction of our own has ended, so that every running transaction that began before lies
    /// below its `xmax` and so in its list.
    pub(crate) fn set_baseline(&mut self, snapshot: &VisibleSnapshot) {
        self.baseline.clone_from(&snapshot.running);
        self.baseline_counts = true;
        self.overflown = false;
    }

    /// Says that a transaction of the baseline that still runs has not reached its commit.
    pub(crate) fn release_baseline(&mut self) {
        self.baseline_counts = false;
    }

    /// Remembers a transaction that the stream sends now.
    pub(crate) fn saw(&mut self, xid: u32) {
        if self.off {
            return;
        }
        if self.seen.len() + self.since_low.len() >= SEEN_MAX {
            self.seen.clear();
            self.since_low.clear();
            self.overflown = true;
        }
        self.since_low.insert(xid);
    }

    /// A chunk's low watermark was read from the stream.
    pub(crate) fn low(&mut self) {
        let since = std::mem::take(&mut self.since_low);
        if self.seen.is_empty() {
            self.seen = since;
        } else {
            self.seen.extend(since);
        }
    }

    /// True when too much was seen to be remembered: a new baseline is needed before a chunk can be judged.
    pub(crate) fn overflown(&self) -> bool {
        self.overflown
    }

    /// Returns a transaction that stands before the chunk in the stream and that its snapshot does not see, if there is one;
    /// forgets those that every later snapshot sees.
    pub(crate) fn hidden(&mut self, snapshot: &VisibleSnapshot) -> Option<u32> {
        self.seen.retain(|xid| snapshot.hides(*xid));
        self.baseline.retain(|xid| snapshot.hides(*xid));
        let suspect = self.baseline.iter().find(|_| self.baseline_counts);
        self.seen.iter().next().or(suspect).copied()
    }

    /// Nothing is copied any more: remembers nothing from now on.
    pub(crate) fn switch_off(&mut self) {
        *self = Self { off: true, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(text: &str) -> VisibleSnapshot {
        VisibleSnapshot::parse(text).expect("is a snapshot")
    }

    #[test]
    fn snapshot_hides_running_and_future_transactions() {
        let snapshot = snapshot("10:20:12,15");
        let hidden: Vec<u32> = (8..24).filter(|xid| snapshot.hides(*xid)).collect();
        assert_eq!(hidden, [12, 15, 20, 21, 22, 23]);
    }

    #[test]
    fn snapshot_after_a_wraparound_is_read_by_its_low_bits() {
        let xmax = (3u64 << 32) + 5;
        let snapshot = snapshot(&format!("{}:{xmax}:{}", xmax - 10, xmax - 7));
        assert!(snapshot.hides(u32::MAX - 1), "runs");
        assert!(snapshot.hides(5) && snapshot.hides(100), "ahead");
        assert!(!snapshot.hides(4) && !snapshot.hides(u32::MAX), "behind, also across zero");
    }

    #[test]
    fn transaction_sent_before_low_and_invisible_holds_the_chunk_back_until_it_is_seen() {
        let mut horizon = Horizon::default();
        horizon.saw(12);
        horizon.low();
        horizon.saw(15);
        assert_eq!(horizon.hidden(&snapshot("10:20:12,15")), Some(12));
        horizon.low();
        assert_eq!(horizon.hidden(&snapshot("15:20:15")), Some(15), "the next chunk's low lies behind 15");
        assert_eq!(horizon.hidden(&snapshot("20:20:")), None);
    }

    #[test]
    fn transaction_sent_after_low_may_be_invisible() {
        let mut horizon = Horizon::default();
        horizon.low();
        horizon.saw(12);
        assert_eq!(horizon.hidden(&snapshot("10:20:12")), None);
    }

    #[test]
    fn transaction_beyond_xmax_that_was_sent_before_low_holds_the_chunk_back() {
        let mut horizon = Horizon::default();
        horizon.saw(25);
        horizon.low();
        assert_eq!(horizon.hidden(&snapshot("10:20:")), Some(25));
    }

    #[test]
    fn transaction_of_the_baseline_holds_back_until_it_ends_or_is_released() {
        let mut horizon = Horizon::default();
        horizon.set_baseline(&snapshot("10:20:12,13"));
        horizon.low();
        assert!(horizon.hidden(&snapshot("10:30:12,13")).is_some());
        assert_eq!(horizon.hidden(&snapshot("13:30:13")), Some(13));
        horizon.release_baseline();
        assert_eq!(horizon.hidden(&snapshot("13:30:13")), None);
    }

    #[test]
    fn too_many_transactions_ask_for_a_new_baseline() {
        let mut horizon = Horizon::default();
        (0..=SEEN_MAX as u32).for_each(|xid| horizon.saw(xid));
        assert!(horizon.overflown());
        horizon.set_baseline(&snapshot("1:2:"));
        assert!(!horizon.overflown());
    }

    proptest! {
        /// A serial model: transactions commit in the WAL first and become visible later; a chunk that is let through sees
        /// every transaction that was sent before its low watermark.
        #[test]
        fn a_chunk_that_passes_sees_all_that_was_sent_before(
            steps in prop::collection::vec((0u32..12, 0u8..3), 1..80),
        ) {
            let (mut committed, mut visible) = (HashSet::new(), HashSet::new());
            let mut horizon = Horizon::default();
            for (xid, step) in steps {
                match step {
                    0 if committed.insert(xid) => horizon.saw(xid),
                    1 if committed.contains(&xid) => { visible.insert(xid); }
                    2 => {
                        horizon.low();
                        // As the server has it: xmax is one past the newest that ended.
                        let xmax = visible.iter().max().map_or(0, |xid| xid + 1);
                        let running = (0..xmax).filter(|xid| !visible.contains(xid)).collect();
                        let snapshot = VisibleSnapshot { xmax, running };
                        let passes = horizon.hidden(&snapshot).is_none();
                        prop_assert_eq!(passes, committed.is_subset(&visible));
                    }
                    _ => {}
                }
            }
        }

        #[test]
        fn any_text_is_parsed_without_panic(text: String) {
            let _snapshot = VisibleSnapshot::parse(&text);
        }
    }
}
