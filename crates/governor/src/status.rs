//! What `penstock quota` shows.

use crate::allocation::Counts;
use crate::decision::RefusalReason;
use crate::doubt::counted;
use crate::forecast::Forecast;
use crate::level::Level;
use crate::row::Row;
use crate::{Governor, Now};
use model::{ErrorCode, Lane, RouteId};
use serde::Serialize;

/// A governor's whole state at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub allocations: Vec<AllocationStatus>,
    pub levels: Vec<LevelStatus>,
    /// Permits that are out, background work included.
    pub in_flight: usize,
    /// Of these, Bulk jobs and the like.
    pub background: usize,
    pub in_flight_max: usize,
    /// Calls in flight for 20 s or more.
    pub long_calls: usize,
    /// What this process may have of them: the org's, divided among the processes that share the ledger.
    pub long_calls_max: usize,
    /// How long nothing is granted, because the org said so; 0 when it is not held.
    pub held_for_ms: i64,
    /// The same for calls that are waited for: too many took long.
    pub long_calls_held_for_ms: i64,
    /// Who waits for a permit, longest first.
    pub waiting: Vec<WaitStatus>,
}

/// A route and lane that waits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WaitStatus {
    pub route: RouteId,
    pub lane: Lane,
    pub code: ErrorCode,
    pub reason: RefusalReason,
    /// The reason for people.
    pub sentence: String,
    /// Which allocation stands in the way; none for places in flight and the like.
    pub allocation: Option<String>,
    pub for_ms: i64,
    /// When it makes sense to ask again.
    pub free_in_ms: i64,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllocationStatus {
    pub name: String,
    /// What one of it is, for people.
    pub words: &'static str,
    pub counts: Counts,
    pub span_ms: i64,
    /// The org's maximum: what it told last, or what is assumed.
    pub max: u64,
    /// False while the maximum is assumed.
    pub max_is_told: bool,
    /// The pipeline's part of it.
    pub budget: u64,
    /// What this pipeline spent in the span, what is in flight and what is in doubt included.
    pub spent: u64,
    /// Of this, what processes that are gone may have spent: given back when the org's figure says so, or a span later.
    pub in_doubt: u64,
    /// What other pipelines of this machine spent or have reserved.
    pub siblings: Vec<SiblingStatus>,
    /// What others spent, as the org's figures let us see.
    pub spent_by_others: u64,
    /// What this pipeline may still spend now.
    pub left: u64,
    /// What it may grant before the ledger is stored again.
    pub lease_left: u64,
    /// How long nothing is granted of it, because the org said so; 0 when it is not held.
    pub held_for_ms: i64,
    /// When the oldest of our spending is forgotten; none when nothing is spent.
    pub frees_in_ms: Option<i64>,
    /// When the newest reading was taken, Unix milliseconds.
    pub reading_at_ms: Option<i64>,
    pub lanes: Vec<LaneStatus>,
    pub forecast: Option<Forecast>,
}

/// Another pipeline of this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiblingStatus {
    pub member: String,
    pub spent: u64,
    pub reserved: u64,
}

/// One lane of a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaneStatus {
    pub lane: Lane,
    pub reserved: u64,
    pub spent: u64,
    /// What is kept for it out of what is left.
    pub owed: u64,
    /// What it may spend now, borrowed parts included.
    pub available: u64,
    /// What it may spend before pacing makes it wait for its deadline; negative: it is ahead of its pace.
    pub before_pacing: i64,
    /// False: it lends its reserved part.
    pub has_work: bool,
}

/// An allocation that is a level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelStatus {
    pub name: String,
    pub words: &'static str,
    /// As the org told last; none: it never did.
    pub used: Option<u64>,
    pub max: Option<u64>,
    /// Records created that the reading may not show.
    pub created_since: u64,
    /// Creates are refused.
    pub full: bool,
    pub held_for_ms: i64,
    pub reading_at_ms: Option<i64>,
}

impl Governor {
    /// Shows everything.
    pub fn status(&mut self, now: Now) -> Status {
        let now_ms = self.pass_time(now);
        let held_for = |until: Option<i64>| until.map_or(0, |until| (until - now_ms).max(0));
        Status {
            allocations: self.rows.iter().map(|row| self.row_status(row, now)).collect(),
            levels: self.levels.iter().map(|level| level_status(level, held_for(level.held_until_ms))).collect(),
            in_flight: self.outstanding.len(),
            background: self.outstanding.len() - self.foreground,
            in_flight_max: self.config.in_flight_max,
            long_calls: self.long_calls(),
            long_calls_max: self.long_calls_max(),
            held_for_ms: held_for(self.held_until_ms),
            long_calls_held_for_ms: held_for(self.long_calls_held_until_ms),
            waiting: self.waiting.status(now_ms),
        }
    }

    fn row_status(&self, row: &Row, now: Now) -> AllocationStatus {
        let (busy, config) = (self.busy(), &self.config);
        let lane_status = |lane: Lane| LaneStatus {
            lane,
            reserved: config.reserved(lane).of(row.budget(config)),
            spent: row.ledger.spent(lane),
            owed: row.owed(lane, busy, config).min(row.room(config)),
            available: row.available(lane, busy, config),
            before_pacing: row.tokens[lane as usize] as i64,
            has_work: busy[lane as usize],
        };
        let siblings = self.member_names().zip(&row.siblings).map(|(name, sibling)| SiblingStatus {
            member: name.to_owned(),
            spent: sibling.ledger.total(),
            reserved: counted(std::iter::once(&sibling.doubt), row.ceiling),
        });
        AllocationStatus {
            name: row.spec.name.to_string(),
            words: row.spec.words,
            counts: row.spec.counts,
            span_ms: row.spec.span.as_millis() as i64,
            max: row.max,
            max_is_told: row.reading.is_some(),
            budget: row.budget(config),
            spent: row.own(),
            in_doubt: row.in_doubt(),
            siblings: siblings.collect(),
            spent_by_others: row.foreign_spent(),
            left: row.room(config),
            lease_left: if config.ahead == 0 { row.room(config) } else { row.lease.left() },
            held_for_ms: row.held_until_ms.max(self.held_until_ms).map_or(0, |until| (until - self.now_ms).max(0)),
            frees_in_ms: (row.own() > 0).then(|| row.freed_at(1, self.now_ms) - self.now_ms),
            reading_at_ms: row.reading.as_ref().map(|reading| reading.at_ms),
            lanes: Lane::ALL.map(lane_status).into(),
            forecast: Some(self.forecast_row(row, now)),
        }
    }
}

fn level_status(level: &Level, held_for_ms: i64) -> LevelStatus {
    let reading = level.reading.as_ref();
    LevelStatus {
        name: level.spec.name.to_string(),
        words: level.spec.words,
        used: reading.map(|reading| reading.used),
        max: reading.map(|reading| reading.max),
        created_since: if level.spec.record_kb > 0 { level.unseen() } else { 0 },
        full: !level.has_room(1),
        held_for_ms,
        reading_at_ms: reading.map(|reading| reading.at_ms),
    }
}
