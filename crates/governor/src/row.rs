//! One allocation: what may be spent of it, by whom, and how fast.

use crate::config::{AllocationSpec, GovernorConfig};
use crate::decision::RefusalReason;
use crate::ledger::{LANES, Ledger};
use crate::rate::Rate;
use contract::AllocationReading;
use model::Lane;
use std::time::Duration;

/// `/limits` is accurate to some five minutes (reference, section 2.5): a lower figure of others' spending is believed
/// only after this long.
const READING_LAG_MS: i64 = 5 * 60 * 1000;

/// What others spent, as the highest estimate of the last five to ten minutes.
#[derive(Clone, Copy, Debug, Default)]
struct Foreign {
    current: u64,
    previous: u64,
    turned_ms: i64,
}

impl Foreign {
    fn observe(&mut self, estimate: u64, now_ms: i64) {
        if now_ms - self.turned_ms >= READING_LAG_MS {
            (self.previous, self.current, self.turned_ms) = (self.current, estimate, now_ms);
        }
        self.current = self.current.max(estimate);
    }

    fn spent(self) -> u64 {
        self.current.max(self.previous)
    }
}

/// A row of the governor's table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub spec: AllocationSpec,
    pub ledger: Ledger,
    pub max: u64,
    /// The newest reading.
    pub reading: Option<AllocationReading>,
    foreign: Foreign,
    pub rates: [Rate; LANES],
    /// Pacing: what each lane may spend before it must wait for its deadline's sake only. May be negative.
    tokens: [f64; LANES],
    refilled_ms: i64,
}

/// A refusal by a row: why, and when it may be otherwise, in the governor's time.
pub(crate) type RowRefusal = (RefusalReason, i64);

/// Which lanes have work.
pub(crate) type Busy = [bool; LANES];

impl Row {
    pub(crate) fn new(spec: AllocationSpec, config: &GovernorConfig, now_ms: i64) -> Self {
        let max = spec.assumed_max;
        let ledger = Ledger::new(spec.span.as_millis() as i64, spec.bucket.as_millis() as i64);
        let mut row = Self {
            spec,
            ledger,
            max,
            reading: None,
            foreign: Foreign { turned_ms: now_ms, ..Foreign::default() },
            rates: [Rate::new(now_ms); LANES],
            tokens: [0.0; LANES],
            refilled_ms: now_ms,
        };
        row.tokens = Lane::ALL.map(|lane| row.burst(lane, config));
        row
    }

    /// What the pipeline may spend in a span.
    pub(crate) fn budget(&self, config: &GovernorConfig) -> u64 {
        config.share.of(self.max)
    }

    pub(crate) fn foreign_spent(&self) -> u64 {
        self.foreign.spent()
    }

    /// What is left for the pipeline now: of its share, and of the org.
    pub(crate) fn room(&self, config: &GovernorConfig) -> u64 {
        let own = self.ledger.total();
        let of_share = self.budget(config).saturating_sub(own);
        of_share.min(self.max.saturating_sub(self.foreign_spent()).saturating_sub(own))
    }

    /// The part of a lane's reserve that it has not spent and does not lend.
    pub(crate) fn owed(&self, lane: Lane, busy: Busy, config: &GovernorConfig) -> u64 {
        let reserved = config.reserved(lane).of(self.budget(config));
        let unspent = reserved.saturating_sub(self.ledger.spent(lane));
        if busy[lane as usize] { unspent } else { config.kept_when_idle.of(unspent) }
    }

    /// What a lane may take of the room: what is owed to it, and what is owed to nobody. Where the room is too small for all
    /// that is owed, higher lanes come first. Critical goes first and takes from everybody.
    pub(crate) fn available(&self, lane: Lane, busy: Busy, config: &GovernorConfig) -> u64 {
        let room = self.room(config);
        if lane == Lane::Critical {
            return room;
        }
        let mut left = room;
        let mut claim = 0;
        for other in Lane::ALL {
            let owed = if other == lane {
                // Its own reserve is its own whether or not it had work a moment ago.
                config.reserved(lane).of(self.budget(config)).saturating_sub(self.ledger.spent(lane))
            } else {
                self.owed(other, busy, config)
            };
            let granted = owed.min(left);
            left -= granted;
            if other == lane {
                claim = granted;
            }
        }
        claim + left
    }

    /// Says whether `lane` may spend `amount`; changes nothing.
    pub(crate) fn admit(
        &self,
        (lane, amount): (Lane, u64),
        time_left: Option<Duration>,
        busy: Busy,
        now_ms: i64,
        config: &GovernorConfig,
    ) -> Result<(), RowRefusal> {
        let (own, budget) = (self.ledger.total(), self.budget(config));
        let span_ms = self.spec.span.as_millis() as i64;
        if amount > budget {
            return Err((RefusalReason::LargerThanBudget, now_ms + span_ms));
        }
        let when_freed = |missing: u64| self.ledger.freed_at(missing).unwrap_or(now_ms + span_ms);
        if own + amount > budget {
            return Err((RefusalReason::ShareSpent, when_freed(own + amount - budget)));
        }
        if own + amount + self.foreign_spent() > self.max {
            // Others' spending may be forgotten at any time: the next reading tells.
            let freed = when_freed(own + amount + self.foreign_spent() - self.max);
            return Err((RefusalReason::OrgSpent, freed.min(now_ms + READING_LAG_MS)));
        }
        let available = self.available(lane, busy, config);
        if amount > available {
            let idle = now_ms + config.idle_after.as_millis() as i64;
            return Err((RefusalReason::OwedToOtherLanes, when_freed(amount - available).min(idle)));
        }
        self.pace(lane, amount, time_left, busy, config).map_err(|wait_ms| (RefusalReason::Paced, now_ms + wait_ms))
    }

    /// Says how many milliseconds the lane must wait, if its deadline allows it.
    fn pace(
        &self,
        lane: Lane,
        amount: u64,
        time_left: Option<Duration>,
        busy: Busy,
        config: &GovernorConfig,
    ) -> Result<(), i64> {
        let missing = amount as f64 - self.tokens[lane as usize];
        if missing <= 0.0 {
            return Ok(());
        }
        let per_ms = self.refill_per_ms(lane, busy, config);
        let span_ms = self.spec.span.as_millis() as f64;
        let wait_ms = if per_ms > 0.0 { (missing / per_ms).ceil().clamp(1.0, span_ms) } else { span_ms };
        match time_left {
            Some(left) if wait_ms > left.as_millis() as f64 => Ok(()),
            _ => Err(wait_ms as i64),
        }
    }

    fn burst(&self, lane: Lane, config: &GovernorConfig) -> f64 {
        config.reserved(lane).of(config.burst.of(self.budget(config))).max(1) as f64
    }

    /// A lane's speed when the budget is spread evenly over the span: its reserved part, and what idle lanes lend, and what is
    /// reserved to none, shared out among the busy ones by their parts.
    fn refill_per_ms(&self, lane: Lane, busy: Busy, config: &GovernorConfig) -> f64 {
        let part = |lane: Lane| f64::from(config.reserved(lane).0) / 1000.0;
        let is_busy = |other: Lane| other == lane || busy[other as usize];
        let kept = |other: Lane| if is_busy(other) { 1.0 } else { f64::from(config.kept_when_idle.0) / 1000.0 };
        let bound: f64 = Lane::ALL.into_iter().map(|other| part(other) * kept(other)).sum();
        let parts_busy: f64 = Lane::ALL.into_iter().filter(|other| is_busy(*other)).map(part).sum();
        let of_lent = if parts_busy > 0.0 { part(lane) / parts_busy } else { 1.0 };
        let whole = self.budget(config) as f64 / self.spec.span.as_millis() as f64;
        whole * (part(lane) + (1.0 - bound).max(0.0) * of_lent)
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, busy: Busy, now_ms: i64, config: &GovernorConfig) {
        self.ledger.expire(now_ms);
        let elapsed_ms = now_ms - self.refilled_ms;
        if elapsed_ms > 0 {
            for lane in Lane::ALL {
                let full = self.burst(lane, config);
                let refill = self.refill_per_ms(lane, busy, config) * elapsed_ms as f64;
                let tokens = &mut self.tokens[lane as usize];
                *tokens = (*tokens + refill).min(full);
            }
            self.refilled_ms = now_ms;
        }
    }

    pub(crate) fn spend(&mut self, lane: Lane, amount: u64, now_ms: i64, config: &GovernorConfig) {
        self.ledger.spend(lane, amount, now_ms);
        self.rates[lane as usize].add(amount, now_ms);
        // A lane whose deadlines keep it ahead of its pace owes at most one burst.
        let floor = -self.burst(lane, config);
        let tokens = &mut self.tokens[lane as usize];
        *tokens = (*tokens - amount as f64).max(floor);
    }

    pub(crate) fn refund(&mut self, lane: Lane, amount: u64, then_ms: i64) {
        self.ledger.refund(lane, amount, then_ms);
        self.tokens[lane as usize] += amount as f64;
    }

    /// Takes in what the org said. `in_flight` of our own spending may not be in it yet.
    pub(crate) fn observe(
        &mut self,
        reading: &AllocationReading,
        in_flight: u64,
        now_ms: i64,
        config: &GovernorConfig,
    ) -> bool {
        if self.reading.as_ref().is_some_and(|newest| reading.at_ms < newest.at_ms) {
            return false;
        }
        let before = Lane::ALL.map(|lane| self.burst(lane, config));
        self.max = reading.max;
        for lane in Lane::ALL {
            // A raised maximum raises the burst at once, a lowered one takes it back.
            let change = self.burst(lane, config) - before[lane as usize];
            self.tokens[lane as usize] += change;
        }
        let known = self.ledger.total().saturating_sub(in_flight);
        self.foreign.observe(reading.used.saturating_sub(known), now_ms);
        self.reading = Some(reading.clone());
        true
    }

    pub(crate) fn tokens(&self, lane: Lane) -> f64 {
        self.tokens[lane as usize]
    }
}
