//! A rate that follows the last quarter of an hour.

/// How far back a rate looks: what happened this long ago counts for 37 %.
const HORIZON_MS: f64 = 15.0 * 60.0 * 1000.0;
/// A younger rate says nothing yet: it is taken as if it had lasted this long.
const AGE_MIN_MS: f64 = 60.0 * 1000.0;

/// A decaying count.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Rate {
    count: f64,
    at_ms: i64,
    since_ms: i64,
}

impl Rate {
    pub(crate) fn new(now_ms: i64) -> Self {
        Self { count: 0.0, at_ms: now_ms, since_ms: now_ms }
    }

    /// True when it tells of nothing any more.
    pub(crate) fn is_idle(&self, now_ms: i64) -> bool {
        self.per_hour(now_ms) < 0.05
    }

    pub(crate) fn add(&mut self, amount: u64, now_ms: i64) {
        self.count = self.decayed(now_ms) + amount as f64;
        self.at_ms = now_ms;
    }

    fn decayed(&self, now_ms: i64) -> f64 {
        let age_ms = (now_ms - self.at_ms).max(0) as f64;
        if age_ms == 0.0 { self.count } else { self.count * (-age_ms / HORIZON_MS).exp() }
    }

    /// Per millisecond.
    pub(crate) fn per_ms(&self, now_ms: i64) -> f64 {
        let lived = ((now_ms - self.since_ms) as f64).max(AGE_MIN_MS);
        // A count that only lives for a while has not yet reached rate × horizon.
        self.decayed(now_ms) / (HORIZON_MS * (1.0 - (-lived / HORIZON_MS).exp()))
    }

    pub(crate) fn per_hour(&self, now_ms: i64) -> f64 {
        self.per_ms(now_ms) * 3_600_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_told_from_its_first_minutes_on() {
        let mut rate = Rate::new(0);
        for minute in 1..=5 {
            rate.add(10, minute * 60_000);
        }
        let per_hour = rate.per_hour(5 * 60_000);
        assert!((550.0..700.0).contains(&per_hour), "{per_hour}");
        assert!(rate.per_hour(10 * 3_600_000) < 1.0);
    }
}
