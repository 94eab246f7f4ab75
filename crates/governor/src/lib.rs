//! Budgets to permits: pure arithmetic over an injected clock.
//!
//! A governor keeps one table of an org's allocations for one pipeline. Nothing is sent without a permit, which pays for all
//! that a call or a job costs, or for nothing; a refusal is typed and says when to come back.
//!
//! ```text
//!   org's maximum  ├─ others ─┤─ siblings ─┤▒▒▒ free ▒▒▒├── ours ──┤      siblings: pipelines of this machine, by the shared ledger
//!   our budget     share × maximum, in any rolling span:
//!                  ├ critical 20 % ┤├──── standard 50 % ────┤├── bulk 30 % ──┤   reserved parts
//!                                     an idle lane lends its part, and keeps a quarter of it to wake with
//! ```
//!
//! Invariants (the property tests and the model check them after every step), for each allocation:
//! 1. In any rolling span the pipeline never grants more than share × maximum, over clock steps and restarts; a permit that is
//!    outstanding at a crash counts as spent (with `GovernorConfig::ahead`; see `Snapshot`).
//! 2. Ours, our siblings' and others' spending together never pass the maximum, as far as the org has told of others'.
//! 3. A lower lane never takes what is owed to a higher lane that has work.
//! 4. What an idle lane lends comes back to it: while it has work, what others borrowed is not granted to them again.
//! 5. A reading never lowers the count of our certain spending; it may only refute what a process that is gone had reserved.
//! 6. Nothing is granted beyond the lease of every stored entry that may stand.
//!
//! What it refuses to know: HTTP, records, files, the machine's clock.

mod allocation;
mod config;
mod decision;
mod doubt;
mod edition;
mod entry;
mod forecast;
mod hold;
mod lease;
mod ledger;
mod level;
mod outlook;
mod pace;
mod rate;
mod row;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod waiting;

pub use allocation::{
    API_REQUESTS, AllocationSpec, BULK_BATCHES, Counts, DATA_STORAGE, EVENTS_DELIVERED, EVENTS_ENTITLED,
    EVENTS_PUBLISHED, LevelSpec, QUERY_JOBS, QUERY_MEGABYTES, STANDARD_EVENTS_PUBLISHED,
};
pub use config::{ConfigError, GovernorConfig, Permille};
pub use contract::{AllocationReading, Spend};
pub use decision::{Ask, Decision, Now, Permit, Refusal, RefusalReason};
pub use edition::{Edition, Entitlement};
pub use entry::{LEASE_VALID, Peer, Stored};
pub use forecast::{Forecast, RunsOut};
pub use hold::Limit;
pub use outlook::{Left, Outlook};
pub use rate::Rate;
pub use snapshot::{Snapshot, SnapshotBucket, SnapshotError, SnapshotRow};
pub use status::{AllocationStatus, LaneStatus, LevelStatus, SiblingStatus, Status, WaitStatus};

use entry::Member;
use level::Level;
use model::Lane;
use row::{Busy, Row};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use waiting::Waiting;

/// How soon to ask again when only a finished call can help.
const SOON: Duration = Duration::from_millis(20);

/// What a permit that is out was granted.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    lane: Lane,
    cost: Spend,
    background: bool,
    at_ms: i64,
}

/// The permits of one pipeline for one org.
#[derive(Clone, Debug)]
pub struct Governor {
    config: GovernorConfig,
    rows: Vec<Row>,
    levels: Vec<Level>,
    /// The governor's time: Unix milliseconds at the start, then the monotonic clock.
    now_ms: i64,
    monotonic: Duration,
    /// By permit id, so by age.
    outstanding: BTreeMap<u64, Outstanding>,
    /// Of these, the ones that are waited for.
    foreground: usize,
    outstanding_by_lane: [usize; 3],
    next_permit: u64,
    asked_ms: [Option<i64>; 3],
    held_until_ms: Option<i64>,
    long_calls_held_until_ms: Option<i64>,
    /// Until when the lease of the entry that is known to stand may be used. One that may stand too was written later.
    lease_until_ms: i64,
    pending_until_ms: i64,
    store_wanted: bool,
    closing: bool,
    members: Vec<Member>,
    waiting: Waiting,
}

/// Why not, on account of which allocation, and when it may be otherwise, in the governor's time.
type Why = (RefusalReason, Option<Arc<str>>, i64);

impl Governor {
    /// Makes a governor that has spent nothing.
    ///
    /// # Errors
    /// `ConfigError`; an operator must change the configuration.
    pub fn new(config: GovernorConfig, now: Now) -> Result<Self, ConfigError> {
        let config = config.checked()?;
        let rows = config.allocations.iter().map(|spec| Row::new(spec.clone(), &config, now.unix_ms)).collect();
        let lag_ms = config.reading_lag_ms();
        let levels = config.levels.iter().map(|spec| Level::new(spec.clone(), lag_ms, now.unix_ms)).collect();
        Ok(Self {
            config,
            rows,
            levels,
            now_ms: now.unix_ms,
            monotonic: now.monotonic,
            outstanding: BTreeMap::new(),
            foreground: 0,
            outstanding_by_lane: [0; 3],
            next_permit: 0,
            asked_ms: [None; 3],
            held_until_ms: None,
            long_calls_held_until_ms: None,
            lease_until_ms: i64::MIN,
            pending_until_ms: i64::MIN,
            store_wanted: false,
            closing: false,
            members: Vec::new(),
            waiting: Waiting::default(),
        })
    }

    /// Asks for leave to spend; all of the cost is granted or nothing. A grant counts as spent at once.
    pub fn request(&mut self, ask: &Ask<'_>, now: Now) -> Decision {
        self.asked_ms[ask.lane as usize] = Some(self.pass_time(now));
        match self.admit(ask) {
            Ok(()) => {
                self.waiting.go(ask);
                Decision::Granted(self.grant(ask))
            }
            Err((reason, allocation, at_ms)) => {
                self.waiting.stop(ask, (reason, &allocation, at_ms), self.now_ms);
                let wait_ms = (at_ms - self.now_ms).max(1) as u64;
                Decision::Refused(Refusal { reason, allocation, retry_after: Duration::from_millis(wait_ms) })
            }
        }
    }

    fn admit(&mut self, ask: &Ask<'_>) -> Result<(), Why> {
        if let Some(until) = self.held_until_ms.filter(|until| *until > self.now_ms) {
            return Err((RefusalReason::Held, None, until));
        }
        if !ask.background {
            self.admit_call(ask.lane)?;
        }
        let busy = self.busy();
        let mut worst: Option<Why> = None;
        for row in &self.rows {
            let amount = row.spec.counts.of(ask.cost);
            if amount == 0 {
                continue;
            }
            let answer = row.admit(ask, amount, busy, self.now_ms, &self.config);
            if let Err((reason, at_ms)) = answer
                && worst.as_ref().is_none_or(|(_, _, latest)| at_ms > *latest)
            {
                worst = Some((reason, Some(row.spec.name.clone()), at_ms));
            }
        }
        worst.map_or(Ok(()), Err)?;
        self.admit_creates(ask)?;
        self.admit_by_lease(ask.cost)
    }

    fn admit_call(&self, lane: Lane) -> Result<(), Why> {
        let soon = self.now_ms + SOON.as_millis() as i64;
        if let Some(until) = self.long_calls_held_until_ms.filter(|until| *until > self.now_ms) {
            return Err((RefusalReason::Held, None, until));
        }
        let kept_free = if lane == Lane::Critical { 0 } else { self.config.in_flight_critical };
        if self.foreground + kept_free >= self.config.in_flight_max {
            return Err((RefusalReason::InFlight, None, soon));
        }
        if self.long_calls() >= self.long_calls_max() {
            return Err((RefusalReason::LongCalls, None, self.now_ms + 1000));
        }
        Ok(())
    }

    fn admit_creates(&self, ask: &Ask<'_>) -> Result<(), Why> {
        if ask.creates == 0 {
            return Ok(());
        }
        for level in &self.levels {
            let name = || Some(level.spec.name.clone());
            if let Some(until) = level.held_until_ms.filter(|until| *until > self.now_ms) {
                return Err((RefusalReason::Held, name(), until));
            }
            if !level.has_room(u64::from(ask.creates)) {
                // Only the org can tell when somebody deleted something.
                return Err((RefusalReason::StorageFull, name(), self.now_ms + self.config.reading_lag_ms()));
            }
        }
        Ok(())
    }

    /// The last word: the stored entry must cover it. A wish that it does not cover makes the next entry larger.
    fn admit_by_lease(&mut self, cost: Spend) -> Result<(), Why> {
        if self.config.ahead == 0 {
            return Ok(());
        }
        let valid = self.lease_until_ms > self.now_ms;
        let mut due = None;
        for row in &mut self.rows {
            let amount = row.spec.counts.of(cost);
            if amount == 0 {
                continue;
            }
            let left = if valid { row.lease.left() } else { 0 };
            if left < amount {
                row.lease.wanted = row.lease.wanted.max(amount);
                due = Some(row.spec.name.clone());
            }
            if (left - amount.min(left)) * 2 < row.lease_wanted(self.now_ms, &self.config) {
                self.store_wanted = true;
            }
        }
        match due {
            Some(name) => Err((RefusalReason::SnapshotDue, Some(name), self.now_ms + SOON.as_millis() as i64)),
            None => Ok(()),
        }
    }

    fn grant(&mut self, ask: &Ask<'_>) -> Permit {
        let id = self.next_permit;
        self.next_permit += 1;
        for row in &mut self.rows {
            let amount = row.spec.counts.of(ask.cost);
            row.spend(ask.lane, amount, self.now_ms, &self.config);
            row.blame(ask.route, amount, self.now_ms);
            row.outstanding += amount;
        }
        self.levels.iter_mut().for_each(|level| level.create(u64::from(ask.creates)));
        let Ask { lane, cost, background, .. } = *ask;
        self.outstanding.insert(id, Outstanding { lane, cost, background, at_ms: self.now_ms });
        self.foreground += usize::from(!background);
        self.outstanding_by_lane[lane as usize] += 1;
        Permit { id, lane, cost }
    }

    /// Gives a permit back with what it really cost. Less is refunded; more is counted all the same (a session that was
    /// renewed in between), and the next requests pay for it.
    pub fn finish(&mut self, permit: Permit, spent: Spend, now: Now) {
        self.pass_time(now);
        let Some(granted) = self.close(&permit) else { return };
        for row in &mut self.rows {
            let (asked, actual) = (row.spec.counts.of(granted.cost), row.spec.counts.of(spent));
            if actual < asked {
                row.refund(granted.lane, asked - actual, granted.at_ms);
            } else {
                row.spend(granted.lane, actual - asked, self.now_ms, &self.config);
            }
        }
    }

    /// Gives a permit back without knowing what became of it: all of it stays spent, and is not relied on when the org's figure
    /// is read.
    pub fn lose(&mut self, permit: Permit, now: Now) {
        self.pass_time(now);
        let Some(granted) = self.close(&permit) else { return };
        for row in &mut self.rows {
            row.unsent.spend(granted.lane, row.spec.counts.of(granted.cost), self.now_ms);
        }
    }

    fn close(&mut self, permit: &Permit) -> Option<Outstanding> {
        let granted = self.outstanding.remove(&permit.id)?;
        self.foreground -= usize::from(!granted.background);
        self.outstanding_by_lane[granted.lane as usize] -= 1;
        for row in &mut self.rows {
            row.outstanding -= row.spec.counts.of(granted.cost);
        }
        Some(granted)
    }

    /// Counts what was spent without a permit: at start (log in, describe, `/limits`), or found in the journal after a crash.
    pub fn note_spent(&mut self, lane: Lane, spent: Spend, now: Now) {
        self.pass_time(now);
        for row in &mut self.rows {
            row.spend(lane, row.spec.counts.of(spent), self.now_ms, &self.config);
        }
    }

    /// Counts what was used of an allocation that no permit pays for: events delivered, query jobs, megabytes of results.
    /// Returns whether there is such a row.
    pub fn note(&mut self, allocation: &str, lane: Lane, amount: u64, now: Now) -> bool {
        self.pass_time(now);
        let row = self.rows.iter_mut().find(|row| row.spec.is_named(allocation));
        row.map(|row| row.spend(lane, amount, self.now_ms, &self.config)).is_some()
    }

    /// Counts records that upserts turned out to create.
    pub fn note_created(&mut self, records: u64) {
        self.levels.iter_mut().for_each(|level| level.create(records));
    }

    /// Takes in what the org said of an allocation; returns whether it was newer than what was known, and about a row here.
    /// Its maximum wins over the assumed one; its use tells what others spend.
    pub fn observe(&mut self, reading: &AllocationReading, now: Now) -> bool {
        let now_ms = self.pass_time(now);
        if let Some(level) = self.levels.iter_mut().find(|level| level.spec.is_named(&reading.allocation)) {
            return level.observe(reading, now_ms);
        }
        let at_ms = now_ms.saturating_sub(now.unix_ms.saturating_sub(reading.at_ms).max(0));
        let row = self.rows.iter_mut().find(|row| row.spec.is_named(&reading.allocation));
        row.is_some_and(|row| row.observe(reading, (at_ms, now_ms), now.unix_ms, &self.config))
    }

    /// Grants nothing that the org's limit forbids for a while: it refused a call for it. A longer hold stays.
    pub fn hold(&mut self, limit: Limit<'_>, duration: Duration, now: Now) {
        let until = self.pass_time(now).saturating_add(duration.as_millis().min(i64::MAX as u128 / 4) as i64);
        let held = match limit {
            Limit::LongCalls => &mut self.long_calls_held_until_ms,
            Limit::Everything => &mut self.held_until_ms,
            Limit::Allocation(name) => {
                let row = self.rows.iter_mut().find(|row| row.spec.is_named(name)).map(|row| &mut row.held_until_ms);
                let level = self.levels.iter_mut().find(|level| level.spec.is_named(name));
                match row.or(level.map(|level| &mut level.held_until_ms)) {
                    Some(held) => held,
                    None => &mut self.held_until_ms,
                }
            }
        };
        *held = (*held).max(Some(until));
    }

    /// Permits that are out, background work included.
    pub fn in_flight(&self) -> usize {
        self.outstanding.len()
    }

    /// The configuration.
    pub fn config(&self) -> &GovernorConfig {
        &self.config
    }

    fn long_calls(&self) -> usize {
        let long_ms = self.config.long_call.as_millis() as i64;
        let old = self.outstanding.values().take_while(|call| self.now_ms - call.at_ms >= long_ms);
        old.filter(|call| !call.background).count()
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
