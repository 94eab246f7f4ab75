//! One allocation: what may be spent of it, by whom.

use crate::allocation::AllocationSpec;
use crate::config::GovernorConfig;
use crate::decision::{Ask, RefusalReason};
use crate::doubt::{Ceiling, Doubt, counted};
use crate::lease::Lease;
use crate::ledger::{LANES, Ledger};
use crate::rate::Rate;
use contract::AllocationReading;
use hashbrown::HashMap;
use model::{Lane, RouteId};

/// A part of the budget that a process reserves at most where no rate asks for more: one in so many.
const LEASE_PART: u64 = 128;
/// A lease lasts so long at the present rate, so that the store is written about half as often.
const LEASE_LASTS_MS: f64 = 4_000.0;
/// An org may forget the oldest spending of a span earlier than we do, and so may a wall clock that was set back between two
/// processes: what is so near the end, one part in so many, is not certain.
const FORGETS_EARLY: i64 = 24;

/// What others spent, as the highest estimate of the last one to two lags of a reading.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Foreign {
    current: u64,
    previous: u64,
    turned_ms: i64,
}

impl Foreign {
    pub(crate) fn known(spent: u64, now_ms: i64) -> Self {
        Self { current: spent, previous: 0, turned_ms: now_ms }
    }

    fn observe(&mut self, estimate: u64, lag_ms: i64, now_ms: i64) {
        if now_ms - self.turned_ms >= lag_ms {
            (self.previous, self.current, self.turned_ms) = (self.current, estimate, now_ms);
        }
        self.current = self.current.max(estimate);
    }

    fn spent(self) -> u64 {
        self.current.max(self.previous)
    }
}

/// What another process of this machine spent of the allocation, by its stored entry.
#[derive(Clone, Debug)]
pub(crate) struct SiblingRow {
    pub ledger: Ledger,
    pub doubt: Doubt,
}

/// A row of the governor's table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub spec: AllocationSpec,
    /// What this process, and those before it, certainly spent or have in flight.
    pub ledger: Ledger,
    /// What those before it may have spent besides.
    pub doubt: Doubt,
    /// What of `ledger` is not sure to have reached the org: it was in flight when a process ended, or given up.
    pub unsent: Ledger,
    pub ceiling: Option<Ceiling>,
    /// What is older is not relied on when a reading is taken: the wall clock went back between two processes.
    pub certain_from_ms: i64,
    pub siblings: Vec<SiblingRow>,
    pub lease: Lease,
    /// How old a reading may be when it is told.
    lag_ms: i64,
    pub max: u64,
    /// The newest reading.
    pub reading: Option<AllocationReading>,
    pub foreign: Foreign,
    pub rates: [Rate; LANES],
    pub routes: HashMap<RouteId, Rate>,
    /// Granted and not finished.
    pub outstanding: u64,
    pub held_until_ms: Option<i64>,
    /// Pacing: what each lane may spend before it must wait for its deadline's sake only. May be negative.
    pub(crate) tokens: [f64; LANES],
    pub(crate) refilled_ms: i64,
}

/// A refusal by a row: why, and when it may be otherwise, in the governor's time.
pub(crate) type RowRefusal = (RefusalReason, i64);

/// Which lanes have work.
pub(crate) type Busy = [bool; LANES];

impl Row {
    pub(crate) fn new(spec: AllocationSpec, config: &GovernorConfig, now_ms: i64) -> Self {
        let (span_ms, bucket_ms) = (spec.span.as_millis() as i64, spec.bucket.as_millis() as i64);
        let mut row = Self {
            max: spec.assumed_max,
            ledger: Ledger::new(span_ms, bucket_ms),
            doubt: Doubt::new(span_ms, bucket_ms),
            unsent: Ledger::new(span_ms, bucket_ms),
            ceiling: None,
            certain_from_ms: i64::MIN,
            siblings: Vec::new(),
            lease: Lease::default(),
            lag_ms: config.reading_lag_ms(),
            spec,
            reading: None,
            foreign: Foreign::known(0, now_ms),
            rates: [Rate::new(now_ms); LANES],
            routes: HashMap::new(),
            outstanding: 0,
            held_until_ms: None,
            tokens: [0.0; LANES],
            refilled_ms: now_ms,
        };
        row.tokens = Lane::ALL.map(|lane| row.burst(lane, config));
        row
    }

    /// What the pipeline may spend in a span.
    pub(crate) fn budget(&self, config: &GovernorConfig) -> u64 {
        self.spec.share.unwrap_or(config.share).of(self.max)
    }

    pub(crate) fn foreign_spent(&self) -> u64 {
        self.foreign.spent()
    }

    /// What counts as spent by this pipeline: certain, or in doubt.
    pub(crate) fn own(&self) -> u64 {
        self.ledger.total() + self.in_doubt()
    }

    pub(crate) fn in_doubt(&self) -> u64 {
        counted(std::iter::once(&self.doubt), self.ceiling)
    }

    fn doubts(&self) -> impl Iterator<Item = &Doubt> + Clone {
        std::iter::once(&self.doubt).chain(self.siblings.iter().map(|sibling| &sibling.doubt))
    }

    /// What other pipelines of this machine spent or have reserved.
    pub(crate) fn siblings_spent(&self) -> u64 {
        self.all_known() - self.own()
    }

    /// What counts as spent by everybody who shares the ledger.
    fn all_known(&self) -> u64 {
        let sure: u64 = self.siblings.iter().map(|sibling| sibling.ledger.total()).sum();
        // A ceiling on all doubts together may bite deeper than the one on ours alone: ours still count for our share.
        (self.ledger.total() + sure + counted(self.doubts(), self.ceiling)).max(self.own())
    }

    /// What is left for the pipeline now: of its share, and of the org.
    pub(crate) fn room(&self, config: &GovernorConfig) -> u64 {
        let of_share = self.budget(config).saturating_sub(self.own());
        of_share.min(self.max.saturating_sub(self.foreign_spent()).saturating_sub(self.all_known()))
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

    /// Says whether a wish may spend `amount`; changes nothing.
    pub(crate) fn admit(
        &self,
        ask: &Ask<'_>,
        amount: u64,
        busy: Busy,
        now_ms: i64,
        config: &GovernorConfig,
    ) -> Result<(), RowRefusal> {
        if let Some(until) = self.held_until_ms.filter(|until| *until > now_ms) {
            return Err((RefusalReason::Held, until));
        }
        let (own, budget) = (self.own(), self.budget(config));
        let span_ms = self.spec.span.as_millis() as i64;
        if amount > budget {
            return Err((RefusalReason::LargerThanBudget, now_ms + span_ms));
        }
        if own + amount > budget {
            return Err((RefusalReason::ShareSpent, self.freed_at(own + amount - budget, now_ms)));
        }
        let all = self.all_known() + self.foreign_spent();
        if all + amount > self.max {
            // Others' spending may be forgotten at any time: the next reading, or their next entry, tells.
            let freed = self.freed_at(all + amount - self.max, now_ms);
            return Err((RefusalReason::OrgSpent, freed.min(now_ms + self.lag_ms)));
        }
        let available = self.available(ask.lane, busy, config);
        if amount > available {
            let idle = now_ms + config.idle_after.as_millis() as i64;
            return Err((RefusalReason::OwedToOtherLanes, self.freed_at(amount - available, now_ms).min(idle)));
        }
        self.pace(ask, amount, busy, config).map_err(|wait_ms| (RefusalReason::Paced, now_ms + wait_ms))
    }

    /// When so much of our own spending will be forgotten; doubts may go earlier, by a reading.
    pub(crate) fn freed_at(&self, missing: u64, now_ms: i64) -> i64 {
        let sure = self.ledger.freed_at(missing).unwrap_or(now_ms + self.spec.span.as_millis() as i64);
        if self.in_doubt() == 0 { sure } else { sure.min(now_ms + self.lag_ms) }
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, busy: Busy, now_ms: i64, config: &GovernorConfig) {
        self.ledger.expire(now_ms);
        self.doubt.expire(now_ms);
        self.unsent.expire(now_ms);
        for sibling in &mut self.siblings {
            sibling.ledger.expire(now_ms);
            sibling.doubt.expire(now_ms);
        }
        self.refill(busy, now_ms, config);
    }

    pub(crate) fn spend(&mut self, lane: Lane, amount: u64, now_ms: i64, config: &GovernorConfig) {
        if amount == 0 {
            return;
        }
        self.ledger.spend(lane, amount, now_ms);
        self.rates[lane as usize].add(amount, now_ms);
        self.lease.take(amount);
        self.pay(lane, amount, config);
    }

    /// Counts spending for a route's part in the forecast.
    pub(crate) fn blame(&mut self, route: &RouteId, amount: u64, now_ms: i64) {
        if amount == 0 {
            return;
        }
        match self.routes.get_mut(route) {
            Some(rate) => rate.add(amount, now_ms),
            None => self.routes.entry(route.clone()).or_insert_with(|| Rate::new(now_ms)).add(amount, now_ms),
        }
    }

    pub(crate) fn refund(&mut self, lane: Lane, amount: u64, then_ms: i64) {
        self.ledger.refund(lane, amount, then_ms);
        self.tokens[lane as usize] += amount as f64;
    }

    /// What an entry that is stored now should reserve.
    pub(crate) fn lease_wanted(&self, now_ms: i64, config: &GovernorConfig) -> u64 {
        if config.ahead == 0 || self.spec.counts == crate::Counts::Noted {
            return 0;
        }
        let rate: f64 = self.rates.iter().map(|rate| rate.per_ms(now_ms)).sum();
        // Calls must go at once; jobs and events are few or many: the first one waits for an entry, or their rate tells.
        let calls = self.spec.counts == crate::Counts::Calls;
        let base = if calls { config.ahead.min((self.budget(config) / LEASE_PART).max(1)) } else { 0 };
        base.max((rate * LEASE_LASTS_MS) as u64).max(self.lease.wanted).min(self.room(config))
    }

    /// Takes in what the org said, at `at_ms` of the governor's time. Outstanding spending may not be in it yet.
    pub(crate) fn observe(
        &mut self,
        reading: &AllocationReading,
        (at_ms, now_ms): (i64, i64),
        unix_ms: i64,
        config: &GovernorConfig,
    ) -> bool {
        // One from the future was taken before the wall clock was set back: whatever comes now is newer.
        let newer = |newest: &AllocationReading| newest.at_ms <= unix_ms && reading.at_ms < newest.at_ms;
        if self.reading.as_ref().is_some_and(newer) {
            return false;
        }
        let before = Lane::ALL.map(|lane| self.burst(lane, config));
        self.max = reading.max;
        for lane in Lane::ALL {
            // A raised maximum raises the burst at once, a lowered one takes it back.
            let change = self.burst(lane, config) - before[lane as usize];
            self.tokens[lane as usize] += change;
        }
        self.doubt_less(reading.used, at_ms.min(now_ms) - self.lag_ms);
        let siblings: u64 = self.siblings.iter().map(|sibling| sibling.ledger.total()).sum();
        let known = self.ledger.total().saturating_sub(self.outstanding) + siblings + self.old_doubts(at_ms);
        self.foreign.observe(reading.used.saturating_sub(known), self.lag_ms, now_ms);
        self.reading = Some(reading.clone());
        true
    }

    /// Doubts that the reading would show if they were true.
    fn old_doubts(&self, at_ms: i64) -> u64 {
        let later: u64 = self.doubts().map(|doubt| doubt.after(at_ms - self.lag_ms)).sum();
        counted(self.doubts(), self.ceiling).saturating_sub(later)
    }

    /// Lets go of doubts that the org's figure refutes: it shows everything that was spent up to `to_ms`.
    fn doubt_less(&mut self, used: u64, to_ms: i64) {
        let span_ms = self.spec.span.as_millis() as i64;
        let from_ms = to_ms + self.lag_ms - span_ms + span_ms / FORGETS_EARLY;
        let from_ms = from_ms.max(self.certain_from_ms);
        let sent = self.ledger.inside(from_ms, to_ms).saturating_sub(self.outstanding + self.unsent.total());
        self.ceiling = Ceiling::lower(self.ceiling, self.doubts(), (to_ms, used.saturating_sub(sent)));
    }
}
