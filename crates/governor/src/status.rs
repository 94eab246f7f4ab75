//! What `penstock quota` shows.

use crate::forecast::Forecast;
use crate::{Governor, Now};
use model::Lane;
use serde::Serialize;

/// A governor's whole state at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub allocations: Vec<AllocationStatus>,
    pub in_flight: usize,
    pub in_flight_max: usize,
    /// Calls in flight for 20 s or more.
    pub long_calls: usize,
    pub long_calls_max: usize,
    /// How long nothing is granted, because the org said so; 0 when it is not held.
    pub held_for_ms: i64,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllocationStatus {
    pub name: String,
    pub span_ms: i64,
    /// The org's maximum: what it told last, or what is assumed.
    pub max: u64,
    /// False while the maximum is assumed.
    pub max_is_told: bool,
    /// The pipeline's part of it.
    pub budget: u64,
    /// What this pipeline spent in the span, calls in flight included.
    pub spent: u64,
    /// What others spent, as the org's figures let us see.
    pub spent_by_others: u64,
    /// What this pipeline may still spend now.
    pub left: u64,
    /// When the newest reading was taken, Unix milliseconds.
    pub reading_at_ms: Option<i64>,
    pub lanes: Vec<LaneStatus>,
    pub forecast: Option<Forecast>,
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

impl Governor {
    /// Shows everything.
    pub fn status(&mut self, now: Now) -> Status {
        let now_ms = self.pass_time(now);
        let names: Vec<String> = self.rows.iter().map(|row| row.spec.name.to_string()).collect();
        let forecasts: Vec<_> = names.iter().map(|name| self.forecast(name, now)).collect();
        let allocations =
            forecasts.into_iter().enumerate().map(|(at, forecast)| self.row_status(at, forecast)).collect();
        Status {
            allocations,
            in_flight: self.outstanding.len(),
            in_flight_max: self.config.in_flight_max,
            long_calls: self.long_calls(),
            long_calls_max: self.config.long_calls_max,
            held_for_ms: self.held_until_ms.map_or(0, |until| (until - now_ms).max(0)),
        }
    }

    fn row_status(&self, at: usize, forecast: Option<Forecast>) -> AllocationStatus {
        let (row, busy, config) = (&self.rows[at], self.busy(), &self.config);
        let lane_status = |lane: Lane| LaneStatus {
            lane,
            reserved: config.reserved(lane).of(row.budget(config)),
            spent: row.ledger.spent(lane),
            owed: row.owed(lane, busy, config).min(row.room(config)),
            available: row.available(lane, busy, config),
            before_pacing: row.tokens(lane) as i64,
            has_work: busy[lane as usize],
        };
        AllocationStatus {
            name: row.spec.name.to_string(),
            span_ms: row.spec.span.as_millis() as i64,
            max: row.max,
            max_is_told: row.reading.is_some(),
            budget: row.budget(config),
            spent: row.ledger.total(),
            spent_by_others: row.foreign_spent(),
            left: row.room(config),
            reading_at_ms: row.reading.as_ref().map(|reading| reading.at_ms),
            lanes: Lane::ALL.map(lane_status).into(),
            forecast,
        }
    }
}
