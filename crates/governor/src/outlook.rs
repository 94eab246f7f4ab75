//! What a lane may spend, for who has to choose between ways of different cost.

use crate::allocation::Counts;
use crate::row::Row;
use crate::{Governor, Now};
use contract::Spend;
use model::Lane;

/// What a lane may spend of one allocation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Left {
    /// At once, if a deadline needs it: borrowed parts included, pacing left aside.
    pub now: u64,
    /// At once, without being ahead of its pace.
    pub paced: u64,
    /// Over the next span, at the pace that spreads the budget evenly: what there is to share out.
    pub in_span: f64,
    /// Nothing may be spent before, in milliseconds from now, because the org said so; 0 when it is not held.
    pub held_for_ms: i64,
}

impl Left {
    /// An allocation that nobody keeps a row of.
    const UNBOUNDED: Self = Self { now: u64::MAX, paced: u64::MAX, in_span: f64::MAX, held_for_ms: 0 };

    /// Which part of what is left an amount takes: 0 for nothing, above 1 for more than there is. What counts is the shorter
    /// of the two: what is left now, and what the span brings.
    fn part(&self, amount: u32) -> f64 {
        if amount == 0 {
            return 0.0;
        }
        if self.now == 0 || self.held_for_ms > 0 {
            return f64::INFINITY;
        }
        f64::from(amount) / (self.now as f64).min(self.in_span.max(1.0))
    }
}

/// What a lane may spend of everything that permits pay for. Pure figures of one moment: they reserve nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    pub calls: Left,
    pub bulk_batches: Left,
    pub events: Left,
}

impl Outlook {
    /// The outlook where nothing is counted.
    pub const UNBOUNDED: Self = Self { calls: Left::UNBOUNDED, bulk_batches: Left::UNBOUNDED, events: Left::UNBOUNDED };

    /// True when the lane may spend it now, if a deadline needs it.
    pub fn affords(&self, cost: Spend) -> bool {
        self.burden(cost) <= 1.0
    }

    /// How much of what is left a cost takes, by the scarcest of its allocations: the measure to compare ways by. 0 for
    /// nothing, above 1 when it is not to be had now, infinite when an allocation is spent or held.
    pub fn burden(&self, cost: Spend) -> f64 {
        let parts =
            [self.calls.part(cost.calls), self.bulk_batches.part(cost.bulk_batches), self.events.part(cost.events)];
        parts.into_iter().fold(0.0, f64::max)
    }
}

impl Governor {
    /// What a lane may spend now and over the next span.
    pub fn outlook(&mut self, lane: Lane, now: Now) -> Outlook {
        self.pass_time(now);
        let left = |counts| self.rows.iter().find(|row| row.spec.counts == counts).map(|row| self.left(row, lane));
        let of = |counts| left(counts).unwrap_or(Left::UNBOUNDED);
        Outlook { calls: of(Counts::Calls), bulk_batches: of(Counts::BulkBatches), events: of(Counts::Events) }
    }

    fn left(&self, row: &Row, lane: Lane) -> Left {
        let (busy, config) = (self.busy(), &self.config);
        let now = row.available(lane, busy, config);
        let held = row.held_until_ms.max(self.held_until_ms);
        Left {
            now,
            paced: (row.tokens[lane as usize].max(0.0) as u64).min(now),
            in_span: row.refill_per_ms(lane, busy, config) * row.spec.span.as_millis() as f64,
            held_for_ms: held.map_or(0, |until| (until - self.now_ms).max(0)),
        }
    }
}
