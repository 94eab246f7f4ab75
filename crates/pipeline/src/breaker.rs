//! A circuit breaker: stops calling a target that fails, and finds out carefully when it is well again.
//!
//! ```text
//!            failures ≥ open_at of the window            wait over
//!   closed ─────────────────────────────────▶ open ──────────────────▶ half-open
//!     ▲                                        ▲                          │  │
//!     │                                        └── failures > close_at ───┘  │
//!     └──────────────────── failures ≤ close_at of `probes` calls ───────────┘
//! ```
//!
//! Pure: time comes from outside as a monotonic `Duration`. It knows calls, not rows: what counts as a failed call is its owner's to
//! say. Each time that it opens again without having closed, it stays open for twice as long, up to a limit.

use std::collections::VecDeque;
use std::time::Duration;

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    /// False: it never opens.
    pub enabled: bool,
    /// Calls older than this are forgotten.
    pub window: Duration,
    /// Calls that are looked at, at most: bounds memory, and makes a busy org's breaker quick.
    pub calls_max: usize,
    /// Below so many calls in the window it stays closed.
    pub calls_min: usize,
    /// Opens at this part of failed calls, 0 (exclusive) to 1.
    pub open_at: f64,
    /// Closes when at most this part of the probes failed, 0 to below `open_at`.
    pub close_at: f64,
    /// Calls that are made half-open before it is decided.
    pub probes: usize,
    /// Probes that are under way at once.
    pub probes_at_once: usize,
    /// How long it stays open at first, and at most.
    pub wait_min: Duration,
    pub wait_max: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            window: Duration::from_secs(60),
            calls_max: 100,
            calls_min: 10,
            open_at: 0.5,
            close_at: 0.1,
            probes: 5,
            probes_at_once: 1,
            wait_min: Duration::from_secs(5),
            wait_max: Duration::from_secs(60),
        }
    }
}

impl BreakerConfig {
    /// Says what is wrong with it; none when it makes sense.
    pub fn nonsense(&self) -> Option<&'static str> {
        if self.window.is_zero() || self.wait_min.is_zero() {
            Some("window and wait must be longer than nothing")
        } else if self.calls_min == 0 || self.calls_min > self.calls_max || self.calls_max > 10_000 {
            Some("min_calls must be from 1 to max_calls, and max_calls at most 10000")
        } else if !(self.open_at > 0.0 && self.open_at <= 1.0) {
            Some("open_at must be above 0% and at most 100%")
        } else if !(self.close_at >= 0.0 && self.close_at < self.open_at) {
            Some("close_at must be below open_at: else it would open and close at once")
        } else if self.probes == 0 || self.probes > 10_000 || self.probes_at_once == 0 {
            Some("probes must be from 1 to 10000, and at least one at once")
        } else if self.wait_min > self.wait_max {
            Some("wait is longer than max_wait")
        } else {
            None
        }
    }
}

/// Whether calls go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Set at the start, and when the probes went well. Calls go through and are watched.
    #[default]
    Closed,
    /// Set when too many calls or probes failed. Nothing goes through before the wait is over.
    Open,
    /// Set by the first look after the wait. A few calls go through.
    HalfOpen,
}

impl BreakerState {
    /// In metrics: 0 closed, 1 half-open, 2 open.
    pub fn gauge(self) -> f64 {
        match self {
            Self::Closed => 0.0,
            Self::HalfOpen => 1.0,
            Self::Open => 2.0,
        }
    }
}

/// A breaker for one way into one target.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: BreakerState,
    /// When each call ended and whether it failed; newest last, at most `calls_max`.
    calls: VecDeque<(Duration, bool)>,
    failed: usize,
    /// Open: until when.
    until: Duration,
    /// How often it opened since it was closed last.
    opened: u32,
    /// Half-open: probes under way, answered, and failed.
    under_way: usize,
    answered: usize,
    probes_failed: usize,
}

impl Breaker {
    /// Makes a closed breaker.
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            state: BreakerState::Closed,
            calls: VecDeque::new(),
            failed: 0,
            until: Duration::ZERO,
            opened: 0,
            under_way: 0,
            answered: 0,
            probes_failed: 0,
        }
    }

    /// Whether calls go through; moves from open to half-open when the wait is over.
    pub fn state(&mut self, now: Duration) -> BreakerState {
        if self.state == BreakerState::Open && self.until <= now {
            self.state = BreakerState::HalfOpen;
            (self.under_way, self.answered, self.probes_failed) = (0, 0, 0);
        }
        self.state
    }

    /// Tells whether a call may be made now.
    ///
    /// # Errors
    /// When to ask again: the end of the wait, or none when the answer of a probe under way decides.
    pub fn may_send(&mut self, now: Duration) -> Result<(), Option<Duration>> {
        match self.state(now) {
            BreakerState::Closed => Ok(()),
            BreakerState::Open => Err(Some(self.until)),
            BreakerState::HalfOpen => {
                let begun = self.answered + self.under_way;
                let free = self.under_way < self.config.probes_at_once && begun < self.config.probes;
                if free { Ok(()) } else { Err(None) }
            }
        }
    }

    /// Says that a call begins; true when it is a probe, whose end `ended` must be told.
    pub fn begin(&mut self, now: Duration) -> bool {
        let probe = self.state(now) == BreakerState::HalfOpen;
        self.under_way += usize::from(probe);
        probe
    }

    /// Says that a probe's place is free again, whether it was answered or never sent.
    pub fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Says how a call ended. Returns the new state when that changes it.
    pub fn report(&mut self, now: Duration, failed: bool) -> Option<BreakerState> {
        if !self.config.enabled {
            return None;
        }
        match self.state(now) {
            // An answer from before it opened tells nothing new.
            BreakerState::Open => None,
            BreakerState::HalfOpen => self.probed(now, failed),
            BreakerState::Closed => {
                self.remember(now, failed);
                let enough = self.calls.len() >= self.config.calls_min;
                let share = self.failed as f64 / self.calls.len().max(1) as f64;
                (failed && enough && share >= self.config.open_at).then(|| self.open(now))
            }
        }
    }

    fn remember(&mut self, now: Duration, failed: bool) {
        self.calls.push_back((now, failed));
        self.failed += usize::from(failed);
        let from = now.saturating_sub(self.config.window);
        while let Some((at, failed)) = self.calls.front().copied()
            && (at < from || self.calls.len() > self.config.calls_max)
        {
            self.calls.pop_front();
            self.failed -= usize::from(failed);
        }
    }

    fn probed(&mut self, now: Duration, failed: bool) -> Option<BreakerState> {
        self.answered += 1;
        self.probes_failed += usize::from(failed);
        let allowed = self.config.close_at * self.config.probes as f64;
        if self.probes_failed as f64 > allowed {
            return Some(self.open(now));
        }
        if self.answered < self.config.probes {
            return None;
        }
        let config = self.config;
        *self = Self::new(config);
        Some(self.state)
    }

    fn open(&mut self, now: Duration) -> BreakerState {
        let wait = self.config.wait_min.saturating_mul(1 << self.opened.min(20)).min(self.config.wait_max);
        self.opened = self.opened.saturating_add(1);
        self.state = BreakerState::Open;
        self.until = now.saturating_add(wait);
        self.calls.clear();
        self.failed = 0;
        self.state
    }
}

#[cfg(test)]
mod tests;
