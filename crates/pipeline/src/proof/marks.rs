//! How each record of a route was settled: five bytes a record, in pages.

use model::Outcome;

/// Records of a page.
const PAGE: u64 = 1 << 16;

/// Bytes that a record of the stream costs for one route.
pub(super) const BYTES_PER_RECORD: u64 = 5;

/// How a record was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub outcome: Outcome,
    /// Its settlement's number, from the first that was read. A redriven record that was not applied keeps its first.
    pub settlement: u32,
    pub read_back: bool,
    pub repeated: bool,
    pub redriven: bool,
}

const OUTCOME: u8 = 0b0000_0111;
const READ_BACK: u8 = 0b0000_1000;
const REPEATED: u8 = 0b0001_0000;
const REDRIVEN: u8 = 0b0010_0000;

/// The marks of one route over a stretch of offsets.
#[derive(Debug)]
pub(super) struct Marks {
    from: u64,
    to: u64,
    pages: Vec<Option<Page>>,
    /// Settled again as it was.
    pub confirmed: u64,
    /// Settlements for offsets at or above `to`: beyond what was durable when the proof began.
    pub beyond: u64,
}

#[derive(Debug)]
struct Page {
    flags: Box<[u8]>,
    settlements: Box<[u32]>,
}

/// What one more settlement of a record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    First,
    Confirmed,
    Redriven,
    Repeated,
}

impl Marks {
    /// Makes marks for `[from, to)`, none of them set.
    pub(super) fn new(from: u64, to: u64) -> Self {
        let pages = (to.saturating_sub(from)).div_ceil(PAGE) as usize;
        Self { from, to, pages: (0..pages).map(|_| None).collect(), confirmed: 0, beyond: 0 }
    }

    /// Notes a settlement; offsets below the stretch are left out (trimmed, or before the route began).
    pub(super) fn settle(&mut self, offset: u64, outcome: Outcome, settlement: u32, read_back: bool) -> Again {
        if offset < self.from || offset >= self.to {
            self.beyond += u64::from(offset >= self.to);
            return Again::First;
        }
        let new = Mark { outcome, settlement, read_back, repeated: false, redriven: false };
        let (mark, again) = match self.get(offset) {
            None => (new, Again::First),
            Some(old) => again(old, new),
        };
        self.confirmed += u64::from(again == Again::Confirmed);
        self.put(offset, mark);
        again
    }

    /// A record's mark; none: never settled.
    pub(super) fn get(&self, offset: u64) -> Option<Mark> {
        let at = offset.checked_sub(self.from).filter(|_| offset < self.to)?;
        let page = self.pages[(at / PAGE) as usize].as_ref()?;
        let slot = (at % PAGE) as usize;
        let flags = page.flags[slot];
        let outcome = match flags & OUTCOME {
            1 => Outcome::Applied,
            2 => Outcome::Superseded,
            3 => Outcome::Filtered,
            4 => Outcome::DeadLettered,
            _ => return None,
        };
        Some(Mark {
            outcome,
            settlement: page.settlements[slot],
            read_back: flags & READ_BACK != 0,
            repeated: flags & REPEATED != 0,
            redriven: flags & REDRIVEN != 0,
        })
    }

    fn put(&mut self, offset: u64, mark: Mark) {
        let at = offset - self.from;
        let page = self.pages[(at / PAGE) as usize].get_or_insert_with(|| Page {
            flags: vec![0; PAGE as usize].into(),
            settlements: vec![0; PAGE as usize].into(),
        });
        let outcome = match mark.outcome {
            Outcome::Applied => 1,
            Outcome::Superseded => 2,
            Outcome::Filtered => 3,
            Outcome::DeadLettered => 4,
        };
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let slot = (at % PAGE) as usize;
        page.flags[slot] =
            outcome | flag(mark.read_back, READ_BACK) | flag(mark.repeated, REPEATED) | flag(mark.redriven, REDRIVEN);
        page.settlements[slot] = mark.settlement;
    }
}

/// Says what a second settlement makes of the first. (The near miss: a dead letter may be settled again in any way, since
/// `dlq retry` sends it anew; an applied row never, unless a read-back only confirms it.)
fn again(old: Mark, new: Mark) -> (Mark, Again) {
    match (old.outcome, new.outcome) {
        (Outcome::DeadLettered, outcome) => {
            let settlement = if outcome == Outcome::Applied { new.settlement } else { old.settlement };
            (Mark { settlement, redriven: true, repeated: old.repeated, ..new }, Again::Redriven)
        }
        (Outcome::Applied, Outcome::Applied) if new.read_back => (old, Again::Confirmed),
        (Outcome::Superseded, Outcome::Superseded) | (Outcome::Filtered, Outcome::Filtered) => (old, Again::Confirmed),
        // The newest place counts: an older value over a newer one shows as out of order as well.
        _ => (Mark { repeated: true, redriven: old.redriven, ..new }, Again::Repeated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_settled_again_is_confirmed_redriven_or_repeated() {
        let cases = [
            (Outcome::Applied, false, Outcome::Applied, true, Again::Confirmed),
            (Outcome::Applied, false, Outcome::Applied, false, Again::Repeated),
            (Outcome::Applied, true, Outcome::DeadLettered, false, Again::Repeated),
            (Outcome::Filtered, false, Outcome::Filtered, false, Again::Confirmed),
            (Outcome::Filtered, false, Outcome::Applied, false, Again::Repeated),
            (Outcome::Superseded, false, Outcome::Applied, false, Again::Repeated),
            (Outcome::DeadLettered, false, Outcome::Applied, false, Again::Redriven),
            (Outcome::DeadLettered, false, Outcome::Superseded, false, Again::Redriven),
        ];
        for (first, read_back, second, second_read_back, expected) in cases {
            let mut marks = Marks::new(100, 200_000);
            assert_eq!(marks.settle(70_000, first, 1, read_back), Again::First);
            assert_eq!(marks.settle(70_000, second, 2, second_read_back), expected, "{first:?} then {second:?}");
            assert_eq!(marks.get(70_000).map(|mark| mark.repeated), Some(expected == Again::Repeated));
        }
    }

    #[test]
    fn marks_outside_the_stretch_are_not_kept() {
        let mut marks = Marks::new(100, 200);
        marks.settle(99, Outcome::Applied, 0, false);
        marks.settle(200, Outcome::Applied, 0, false);
        assert_eq!((marks.get(99), marks.get(200), marks.beyond), (None, None, 1));
        assert_eq!(Marks::new(5, 5).get(5), None);
    }
}
