//! How long an API takes, learned from what it took.

use model::Api;
use std::time::Duration;

/// With each call, this part of what was learned before is forgotten.
const FORGOTTEN: f64 = 0.05;

/// How long calls of one API take: a base and a part per row, by a weighted least-squares line over the newest calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Before anything was measured: milliseconds per call and per row.
    prior: (f64, f64),
    /// Weighted sums: 1, rows, time, rows², rows × time; in milliseconds.
    sums: [f64; 5],
}

impl Pace {
    /// Starts from what is assumed.
    pub fn assumed(base_ms: f64, per_row_ms: f64) -> Self {
        Self { prior: (base_ms, per_row_ms), sums: [0.0; 5] }
    }

    /// What real orgs are reported to take: Collections 350 records/s with ten calls in flight, Bulk some 180 records/s a job
    /// after a start of some seconds.
    pub fn typical(api: Api) -> Self {
        match api {
            Api::Collections => Self::assumed(120.0, 28.0),
            Api::Graph => Self::assumed(120.0, 50.0),
            Api::Bulk => Self::assumed(10_000.0, 5.6),
            Api::Event => Self::assumed(120.0, 5.0),
            Api::PubSub => Self::assumed(50.0, 5.0),
            Api::Rest => Self::assumed(150.0, 0.0),
        }
    }

    /// Learns what a call of `rows` rows took.
    pub fn learn(&mut self, rows: usize, took: Duration) {
        let (x, y) = (rows as f64, took.as_secs_f64() * 1000.0);
        for (sum, part) in self.sums.iter_mut().zip([1.0, x, y, x * x, x * y]) {
            *sum = *sum * (1.0 - FORGOTTEN) + part;
        }
    }

    /// True once something was measured.
    pub fn is_measured(&self) -> bool {
        self.sums[0] > 0.0
    }

    /// What a call of `rows` rows takes.
    pub fn of(&self, rows: usize) -> Duration {
        let (base, per_row) = self.line();
        Duration::from_secs_f64(((base + per_row * rows as f64) / 1000.0).clamp(0.0, 86_400.0))
    }

    fn line(&self) -> (f64, f64) {
        let [n, x, y, xx, xy] = self.sums;
        if n <= 0.0 {
            return self.prior;
        }
        let (base, per_row) = self.prior;
        let spread = xx / n - (x / n) * (x / n);
        // Calls of one size tell no line: what is assumed is scaled to what they took.
        if spread < 0.01 * (xx / n) {
            let assumed = base + per_row * x / n;
            let scale = if assumed > 0.0 { (y / n) / assumed } else { 0.0 };
            return (base * scale, per_row * scale);
        }
        let slope = ((xy / n - (x / n) * (y / n)) / spread).max(0.0);
        let start = y / n - slope * x / n;
        // A line through the origin, where the best one would start below it.
        if start >= 0.0 { (start, slope) } else { (0.0, xy / xx) }
    }
}

/// The paces of one org's APIs.
#[derive(Clone, Debug)]
pub struct Paces([Pace; Api::ALL.len()]);

impl Default for Paces {
    fn default() -> Self {
        Self(Api::ALL.map(Pace::typical))
    }
}

impl Paces {
    /// An API's pace.
    pub fn of(&self, api: Api) -> Pace {
        self.0[api as usize]
    }

    /// Learns from an answered call.
    pub fn learn(&mut self, api: Api, rows: usize, took: Duration) {
        self.0[api as usize].learn(rows, took);
    }
}
