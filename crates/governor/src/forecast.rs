//! When does an allocation run out, and why.

use crate::ledger::LANES;
use crate::row::Row;
use crate::{Governor, Now};
use model::{Lane, RouteId};
use serde::Serialize;

/// What will become of an allocation at the present rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// None: what is forgotten at the far end of the span keeps up with what is spent.
    pub runs_out: Option<RunsOut>,
    /// Our spending per hour, by lane (critical, standard, bulk), over the last quarter of an hour.
    pub per_hour_by_lane: [f64; LANES],
    /// The routes that spend, most first.
    pub per_hour_by_route: Vec<(RouteId, f64)>,
}

/// When an allocation runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RunsOut {
    pub in_ms: i64,
    /// True: the pipeline's share runs out; false: the org's whole allocation does.
    pub of_share: bool,
}

impl Governor {
    /// Forecasts an allocation; none when there is no such row.
    pub fn forecast(&mut self, allocation: &str, now: Now) -> Option<Forecast> {
        self.pass_time(now);
        let row = self.rows.iter().find(|row| *row.spec.name == *allocation)?;
        let mut routes: Vec<(RouteId, f64)> =
            self.routes.iter().map(|(id, rate)| (id.clone(), rate.per_hour(self.now_ms))).collect();
        routes.retain(|(_, rate)| *rate >= 0.05);
        routes.sort_by(|(a, rate_a), (b, rate_b)| rate_b.total_cmp(rate_a).then_with(|| a.cmp(b)));
        Some(Forecast {
            runs_out: runs_out(row, row.budget(&self.config), self.now_ms),
            per_hour_by_lane: Lane::ALL.map(|lane| row.rates[lane as usize].per_hour(self.now_ms)),
            per_hour_by_route: routes,
        })
    }
}

/// Walks along the times at which old spending is forgotten and looks where new spending first meets the limit. Others'
/// spending is taken as it stands.
fn runs_out(row: &Row, budget: u64, now_ms: i64) -> Option<RunsOut> {
    let of_org = row.max.saturating_sub(row.foreign_spent());
    let (limit, of_share) = if budget <= of_org { (budget, true) } else { (of_org, false) };
    let per_ms: f64 = row.rates.iter().map(|rate| rate.per_ms(now_ms)).sum();
    let mut room = limit as f64 - row.ledger.total() as f64;
    if room <= 0.0 {
        return Some(RunsOut { in_ms: 0, of_share });
    }
    if per_ms <= 0.0 {
        return None;
    }
    let end_ms = now_ms + row.spec.span.as_millis() as i64;
    let mut at_ms = now_ms;
    for (next_ms, freed) in row.ledger.forgotten().chain([(end_ms, 0)]) {
        let next_ms = next_ms.clamp(at_ms, end_ms);
        let lasts_ms = room / per_ms;
        if lasts_ms < (next_ms - at_ms) as f64 {
            return Some(RunsOut { in_ms: at_ms - now_ms + lasts_ms as i64, of_share });
        }
        room += freed as f64 - per_ms * (next_ms - at_ms) as f64;
        at_ms = next_ms;
    }
    None
}
