//! When does an allocation run out, and why.

use crate::ledger::LANES;
use crate::row::Row;
use crate::{Governor, Now};
use model::{Lane, RouteId};
use serde::{Deserialize, Serialize};

/// What will become of an allocation at the present rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// None: what is forgotten at the far end of the span keeps up with what is spent.
    pub runs_out: Option<RunsOut>,
    /// Our spending per hour, over the last quarter of an hour.
    pub per_hour: f64,
    /// The same by lane (critical, standard, bulk).
    pub per_hour_by_lane: [f64; LANES],
    /// The routes that spend, most first.
    pub per_hour_by_route: Vec<(RouteId, f64)>,
}

/// When an allocation runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsOut {
    pub in_ms: i64,
    /// The same moment, Unix milliseconds.
    pub at_unix_ms: i64,
    /// True: the pipeline's share runs out; false: the org's whole allocation does.
    pub of_share: bool,
}

impl Forecast {
    /// Which part of the spending is the first route's: `(route, percent)`. None when nothing is spent.
    pub fn reason(&self) -> Option<(&RouteId, u32)> {
        let (route, rate) = self.per_hour_by_route.first()?;
        (self.per_hour > 0.0).then(|| (route, (rate / self.per_hour * 100.0).round().min(100.0) as u32))
    }

    /// One sentence: `API requests end at 16:40 at this rate: 62 % by route requests`. `words`: what is counted;
    /// `clock`: writes a moment, Unix milliseconds, for people.
    pub fn sentence(&self, words: &str, clock: &dyn Fn(i64) -> String) -> String {
        let by = self.reason().map(|(route, percent)| format!(": {percent} % by route {route}")).unwrap_or_default();
        match self.runs_out {
            Some(RunsOut { in_ms: 0, of_share: true, .. }) => format!("the share of {words} is spent{by}"),
            Some(RunsOut { in_ms: 0, of_share: false, .. }) => format!("the org's {words} are spent{by}"),
            Some(RunsOut { at_unix_ms, of_share: true, .. }) => {
                format!("{words} end at {} at this rate{by}", clock(at_unix_ms))
            }
            Some(RunsOut { at_unix_ms, of_share: false, .. }) => {
                format!("the org's {words} end at {} at this rate{by}", clock(at_unix_ms))
            }
            None if self.per_hour < 0.05 => format!("{words}: nothing is being spent"),
            None => format!("{words} last at this rate{by}"),
        }
    }
}

impl Governor {
    /// Forecasts an allocation; none when there is no such row.
    pub fn forecast(&mut self, allocation: &str, now: Now) -> Option<Forecast> {
        self.pass_time(now);
        let row = self.rows.iter().find(|row| row.spec.is_named(allocation))?;
        Some(self.forecast_row(row, now))
    }

    pub(crate) fn forecast_row(&self, row: &Row, now: Now) -> Forecast {
        let mut routes: Vec<(RouteId, f64)> =
            row.routes.iter().map(|(id, rate)| (id.clone(), rate.per_hour(self.now_ms))).collect();
        routes.retain(|(_, rate)| *rate >= 0.05);
        routes.sort_by(|(a, rate_a), (b, rate_b)| rate_b.total_cmp(rate_a).then_with(|| a.cmp(b)));
        let per_hour_by_lane = Lane::ALL.map(|lane| row.rates[lane as usize].per_hour(self.now_ms));
        let runs_out = runs_out(row, row.budget(&self.config), self.now_ms);
        Forecast {
            runs_out: runs_out.map(|out| RunsOut { at_unix_ms: now.unix_ms.saturating_add(out.in_ms), ..out }),
            per_hour: per_hour_by_lane.iter().sum(),
            per_hour_by_lane,
            per_hour_by_route: routes,
        }
    }
}

/// Walks along the times at which old spending is forgotten and looks where new spending first meets the limit. Others'
/// spending is taken as it stands.
fn runs_out(row: &Row, budget: u64, now_ms: i64) -> Option<RunsOut> {
    let of_org = row.max.saturating_sub(row.foreign_spent()).saturating_sub(row.siblings_spent());
    let (limit, of_share) = if budget <= of_org { (budget, true) } else { (of_org, false) };
    let out = |in_ms| RunsOut { in_ms, at_unix_ms: 0, of_share };
    let per_ms: f64 = row.rates.iter().map(|rate| rate.per_ms(now_ms)).sum();
    let mut room = limit as f64 - row.own() as f64;
    if room <= 0.0 && (per_ms > 0.0 || row.own() > 0) {
        return Some(out(0));
    }
    if per_ms * 3_600_000.0 < 0.05 {
        return None;
    }
    let end_ms = now_ms + row.spec.span.as_millis() as i64;
    let mut at_ms = now_ms;
    for (next_ms, freed) in row.ledger.forgotten().chain([(end_ms, 0)]) {
        let next_ms = next_ms.clamp(at_ms, end_ms);
        let lasts_ms = room / per_ms;
        if lasts_ms < (next_ms - at_ms) as f64 {
            return Some(out(at_ms - now_ms + lasts_ms as i64));
        }
        room += freed as f64 - per_ms * (next_ms - at_ms) as f64;
        at_ms = next_ms;
    }
    None
}
