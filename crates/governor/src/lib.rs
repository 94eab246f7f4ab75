//! Budgets to permits: pure arithmetic over an injected clock.
//!
//! A governor keeps one table of an org's allocations for one pipeline. Nothing is sent without a permit; a refusal is typed
//! and says when to come back.
//!
//! ```text
//!   org's maximum  ├──────────── others ───────────┤▒▒▒ free ▒▒▒├── ours ──┤
//!   our budget     share × maximum, in any rolling span:
//!                  ├ critical 20 % ┤├──── standard 50 % ────┤├── bulk 30 % ──┤   reserved parts
//!                                     an idle lane lends its part, and keeps a quarter of it to wake with
//! ```
//!
//! Invariants (the property tests check them after every step):
//! 1. In any rolling span the pipeline never grants more than share × maximum, over clock steps and restarts; a permit that is
//!    outstanding at a crash counts as spent (with `GovernorConfig::ahead`; see `Snapshot`).
//! 2. Ours and others' spending together never pass the maximum, as far as the org has told of others'.
//! 3. A lower lane never takes what is owed to a higher lane that has work.
//! 4. What an idle lane lends comes back to it: while it has work, what others borrowed is not granted to them again.
//! 5. A reading never lowers the count of our own spending.
//!
//! What it refuses to know: HTTP, records, files, the machine's clock.

mod config;
mod decision;
mod forecast;
mod ledger;
mod rate;
mod row;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;

pub use config::{AllocationSpec, ConfigError, GovernorConfig, Permille};
pub use contract::AllocationReading;
pub use decision::{Ask, Decision, Now, Permit, Refusal, RefusalReason};
pub use forecast::{Forecast, RunsOut};
pub use snapshot::{Snapshot, SnapshotBucket, SnapshotError, SnapshotRow};
pub use status::{AllocationStatus, LaneStatus, Status};

use model::{Lane, RouteId};
use rate::Rate;
use row::{Busy, Row};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How soon to ask again when only a finished call can help.
const SOON: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    lane: Lane,
    calls: u64,
    at_ms: i64,
}

/// The permits of one pipeline for one org.
#[derive(Debug)]
pub struct Governor {
    config: GovernorConfig,
    rows: Vec<Row>,
    /// The governor's time: Unix milliseconds at the start, then the monotonic clock.
    now_ms: i64,
    monotonic: Duration,
    /// By permit id, so by age.
    outstanding: BTreeMap<u64, Outstanding>,
    outstanding_calls: u64,
    outstanding_by_lane: [usize; 3],
    next_permit: u64,
    asked_ms: [Option<i64>; 3],
    held_until_ms: Option<i64>,
    routes: HashMap<RouteId, Rate>,
    granted_since_snapshot: u64,
}

impl Governor {
    /// Makes a governor that has spent nothing.
    ///
    /// # Errors
    /// `ConfigError`; an operator must change the configuration.
    pub fn new(config: GovernorConfig, now: Now) -> Result<Self, ConfigError> {
        let config = config.checked()?;
        let rows = config.allocations.iter().map(|spec| Row::new(spec.clone(), &config, now.unix_ms)).collect();
        Ok(Self {
            config,
            rows,
            now_ms: now.unix_ms,
            monotonic: now.monotonic,
            outstanding: BTreeMap::new(),
            outstanding_calls: 0,
            outstanding_by_lane: [0; 3],
            next_permit: 0,
            asked_ms: [None; 3],
            held_until_ms: None,
            routes: HashMap::new(),
            granted_since_snapshot: 0,
        })
    }

    /// Asks for leave to spend calls. A grant counts as spent at once.
    pub fn request(&mut self, ask: &Ask<'_>, now: Now) -> Decision {
        self.asked_ms[ask.lane as usize] = Some(self.pass_time(now));
        match self.admit(ask) {
            Ok(()) => Decision::Granted(self.grant(ask)),
            Err((reason, at_ms)) => {
                let wait_ms = (at_ms - self.now_ms).max(1) as u64;
                Decision::Refused(Refusal { reason, retry_after: Duration::from_millis(wait_ms) })
            }
        }
    }

    fn admit(&self, ask: &Ask<'_>) -> Result<(), row::RowRefusal> {
        let soon = self.now_ms + SOON.as_millis() as i64;
        if let Some(until) = self.held_until_ms.filter(|until| *until > self.now_ms) {
            return Err((RefusalReason::Held, until));
        }
        let kept_free = if ask.lane == Lane::Critical { 0 } else { self.config.in_flight_critical };
        if self.outstanding.len() + kept_free >= self.config.in_flight_max {
            return Err((RefusalReason::InFlight, soon));
        }
        if self.long_calls() >= self.config.long_calls_max {
            return Err((RefusalReason::LongCalls, self.now_ms + 1000));
        }
        if self.config.ahead > 0 && self.granted_since_snapshot + u64::from(ask.calls) > self.config.ahead {
            return Err((RefusalReason::SnapshotDue, soon));
        }
        let Some(row) = self.rows.first() else { return Ok(()) };
        row.admit((ask.lane, u64::from(ask.calls)), ask.time_left, self.busy(), self.now_ms, &self.config)
    }

    fn grant(&mut self, ask: &Ask<'_>) -> Permit {
        let (id, calls) = (self.next_permit, u64::from(ask.calls));
        self.next_permit += 1;
        if let Some(row) = self.rows.first_mut() {
            row.spend(ask.lane, calls, self.now_ms, &self.config);
        }
        match self.routes.get_mut(ask.route) {
            Some(rate) => rate.add(calls, self.now_ms),
            None => {
                let mut rate = Rate::new(self.now_ms);
                rate.add(calls, self.now_ms);
                self.routes.insert(ask.route.clone(), rate);
            }
        }
        self.granted_since_snapshot += calls;
        self.outstanding.insert(id, Outstanding { lane: ask.lane, calls, at_ms: self.now_ms });
        self.outstanding_calls += calls;
        self.outstanding_by_lane[ask.lane as usize] += 1;
        Permit { id, lane: ask.lane, calls: ask.calls }
    }

    /// Gives a permit back with what the calls really cost. Less is refunded; more is counted all the same (a session that was
    /// renewed in between), and the next requests pay for it.
    pub fn finish(&mut self, permit: Permit, actual_calls: u32, now: Now) {
        self.pass_time(now);
        let Some(outstanding) = self.outstanding.remove(&permit.id) else { return };
        self.outstanding_calls -= outstanding.calls;
        self.outstanding_by_lane[outstanding.lane as usize] -= 1;
        let actual = u64::from(actual_calls);
        let Some(row) = self.rows.first_mut() else { return };
        if actual < outstanding.calls {
            row.refund(outstanding.lane, outstanding.calls - actual, outstanding.at_ms);
        } else if actual > outstanding.calls {
            row.spend(outstanding.lane, actual - outstanding.calls, self.now_ms, &self.config);
        }
    }

    /// Counts calls that were made without a permit: at start (log in, describe, `/limits`), or found in the journal after
    /// a crash.
    pub fn note_spent(&mut self, lane: Lane, calls: u32, now: Now) {
        self.pass_time(now);
        if let Some(row) = self.rows.first_mut() {
            row.spend(lane, u64::from(calls), self.now_ms, &self.config);
        }
    }

    /// Takes in what the org said of an allocation; returns whether it was newer than what was known, and about a row here.
    /// Its maximum wins over the assumed one; its use tells what others spend.
    pub fn observe(&mut self, reading: &AllocationReading, now: Now) -> bool {
        self.pass_time(now);
        let in_flight = self.outstanding_calls;
        let row = self.rows.iter_mut().find(|row| row.spec.name == reading.allocation);
        row.is_some_and(|row| row.observe(reading, in_flight, self.now_ms, &self.config))
    }

    /// Grants nothing for a while: the org said `REQUEST_LIMIT_EXCEEDED`. A longer hold stays.
    pub fn hold(&mut self, duration: Duration, now: Now) {
        let until = self.pass_time(now).saturating_add(duration.as_millis().min(i64::MAX as u128 / 4) as i64);
        self.held_until_ms = self.held_until_ms.max(Some(until));
    }

    /// Permits that are out.
    pub fn in_flight(&self) -> usize {
        self.outstanding.len()
    }

    /// The configuration.
    pub fn config(&self) -> &GovernorConfig {
        &self.config
    }

    /// True when a snapshot should be stored: half of what may be granted without one is granted.
    pub fn wants_snapshot(&self) -> bool {
        self.config.ahead > 0 && self.granted_since_snapshot * 2 >= self.config.ahead
    }

    fn long_calls(&self) -> usize {
        let long_ms = self.config.long_call.as_millis() as i64;
        self.outstanding.values().take_while(|call| self.now_ms - call.at_ms >= long_ms).count()
    }

    fn busy(&self) -> Busy {
        let idle_after_ms = self.config.idle_after.as_millis() as i64;
        Lane::ALL.map(|lane| {
            let asked = self.asked_ms[lane as usize].is_some_and(|at_ms| self.now_ms - at_ms < idle_after_ms);
            asked || self.outstanding_by_lane[lane as usize] > 0
        })
    }

    /// Moves the governor's time on; a clock that went back stands still.
    fn pass_time(&mut self, now: Now) -> i64 {
        if let Some(elapsed) = now.monotonic.checked_sub(self.monotonic) {
            let elapsed_ms = elapsed.as_millis() as i64;
            // What is below a millisecond stays for the next time.
            self.monotonic += Duration::from_millis(elapsed_ms as u64);
            self.now_ms += elapsed_ms;
            if elapsed_ms > 0 {
                let busy = self.busy();
                self.rows.iter_mut().for_each(|row| row.advance(busy, self.now_ms, &self.config));
            }
        }
        self.now_ms
    }
}
