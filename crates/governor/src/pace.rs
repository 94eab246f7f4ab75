//! Pacing: a row's budget is spread over its span, lane by lane, unless a deadline needs it sooner.

use crate::config::GovernorConfig;
use crate::decision::Ask;
use crate::row::{Busy, Row};
use model::Lane;

impl Row {
    /// Says how many milliseconds a wish must wait, if its deadline allows it. The critical lane is never held for the pace.
    pub(crate) fn pace(&self, ask: &Ask<'_>, amount: u64, busy: Busy, config: &GovernorConfig) -> Result<(), i64> {
        let lane = ask.lane;
        if lane == Lane::Critical {
            return Ok(());
        }
        // A wish larger than the burst goes once the burst is full, and is paid for afterwards.
        let missing = (amount as f64).min(self.burst(lane, config)) - self.tokens[lane as usize];
        if missing <= 0.0 {
            return Ok(());
        }
        let per_ms = self.refill_per_ms(lane, busy, config);
        let span_ms = self.spec.span.as_millis() as f64;
        let wait_ms = if per_ms > 0.0 { (missing / per_ms).ceil().clamp(1.0, span_ms) } else { span_ms };
        match ask.time_left.map(|left| left.as_millis() as f64) {
            Some(left_ms) if left_ms < 1.0 || (ask.full && wait_ms > left_ms) => Ok(()),
            Some(left_ms) => Err(wait_ms.min(left_ms) as i64),
            None => Err(wait_ms as i64),
        }
    }

    pub(crate) fn burst(&self, lane: Lane, config: &GovernorConfig) -> f64 {
        config.reserved(lane).of(config.burst.of(self.budget(config))).max(1) as f64
    }

    /// Takes what is spent out of the lane's tokens. A lane whose deadlines keep it ahead of its pace owes at most one burst,
    /// or the one wish that was larger.
    pub(crate) fn pay(&mut self, lane: Lane, amount: u64, config: &GovernorConfig) {
        let floor = -self.burst(lane, config).max(amount as f64);
        let tokens = &mut self.tokens[lane as usize];
        *tokens = (*tokens - amount as f64).max(floor.min(*tokens));
    }

    /// A lane's speed when the budget is spread evenly over the span: its reserved part, and what idle lanes lend, and what is
    /// reserved to none, shared out among the busy ones by their parts.
    pub(crate) fn refill_per_ms(&self, lane: Lane, busy: Busy, config: &GovernorConfig) -> f64 {
        let part = |lane: Lane| f64::from(config.reserved(lane).0) / 1000.0;
        let is_busy = |other: Lane| other == lane || busy[other as usize];
        let kept = |other: Lane| if is_busy(other) { 1.0 } else { f64::from(config.kept_when_idle.0) / 1000.0 };
        let bound: f64 = Lane::ALL.into_iter().map(|other| part(other) * kept(other)).sum();
        let parts_busy: f64 = Lane::ALL.into_iter().filter(|other| is_busy(*other)).map(part).sum();
        let of_lent = if parts_busy > 0.0 { part(lane) / parts_busy } else { 1.0 };
        let whole = self.budget(config) as f64 / self.spec.span.as_millis() as f64;
        whole * (part(lane) + (1.0 - bound).max(0.0) * of_lent)
    }

    pub(crate) fn refill(&mut self, busy: Busy, now_ms: i64, config: &GovernorConfig) {
        let elapsed_ms = now_ms - self.refilled_ms;
        if elapsed_ms <= 0 {
            return;
        }
        for lane in Lane::ALL {
            let full = self.burst(lane, config);
            let refill = self.refill_per_ms(lane, busy, config) * elapsed_ms as f64;
            let tokens = &mut self.tokens[lane as usize];
            *tokens = (*tokens + refill).min(full);
        }
        self.refilled_ms = now_ms;
    }
}
