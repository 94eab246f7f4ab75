//! What a group keeps of one of its routes.

use super::route::Route;
use super::status::{Latencies, RouteStatus};
use crate::recovery::{RecoveredRoute, Way, rows_of};
use crate::settle::{Checkpoint, Ledger, Pace};
use model::{Api, Lane, Offset};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Weight of the newest batch in running means: 1/8.
const MEAN_SHIFT: u32 = 3;

/// Why a route sends nothing, and until when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    pub until: Duration,
    /// Failures in a row; while there are any, one batch at a time goes out as a probe.
    pub streak: u32,
    pub reason: Option<String>,
}

/// A batch that the allocation's pace lets wait.
#[derive(Clone, Debug, Default)]
pub struct Paced {
    pub until: Duration,
    /// It had all the records that it takes.
    pub full: bool,
    pub reason: String,
}

/// With each call a part of the slowest one's time is forgotten: half of it after some 700 calls.
const SLOWEST_FORGOTTEN: u64 = 1024;
/// Salesforce ends a request after ten minutes.
const GRACE_MAX: Duration = Duration::from_secs(600);
/// For a batch of a size of which no call was answered yet, the grace is this many times what is configured.
const GRACE_UNKNOWN: u32 = 10;

/// A route as its group drives it.
pub struct RouteRun {
    pub route: Arc<Route>,
    pub status: RouteStatus,
    pub latencies: Latencies,
    /// The same for `/metrics`.
    pub latency_metric: metrics::Histogram,
    pub ledger: Ledger,
    pub pause: Pause,
    /// The target's objects are being described anew.
    pub refreshing: bool,
    /// Batches that the target answered.
    pub successes: u64,
    /// Batches in flight, by lane; jobs are counted apart.
    pub in_flight: [usize; 3],
    /// Batches that go by a job.
    pub jobs: usize,
    /// Jobs whose rows are being uploaded.
    pub uploading: Arc<AtomicUsize>,
    /// Since when a batch that is not full waits for more, by lane.
    pub linger: [Option<Duration>; 3],
    /// How long it waits.
    pub linger_for: [Duration; 3],
    /// Until when no row waits for a job's company, since one did so in vain.
    pub alone_until: [Duration; 3],
    /// For each job under way: where its intents stand, at the lowest.
    pub floors: BTreeMap<u64, Offset>,
    /// The same for batches with suspects.
    pub suspect_floor: Option<Offset>,
    /// Records settled when the rate was taken last, and when.
    pub rate_from: (u64, Duration),
    /// The checkpoint that is stored.
    pub stored: Option<Checkpoint>,
    /// Set when a record stands behind which nothing is read.
    pub halted: Option<String>,
    /// What calls took; the slowest one is slowly forgotten.
    pace: Option<Pace>,
    /// Rows of the largest batch that had no answer.
    pub suspect_rows: u64,
    row_bytes_mean: usize,
    /// By lane, what pacing lets wait.
    pub paced: [Paced; 3],
}

impl RouteRun {
    /// Starts a route from what was recovered of it.
    pub fn new(route: Arc<Route>, recovered: &RecoveredRoute, now: Duration) -> Self {
        let spec = &route.spec;
        let mut status = RouteStatus::new(spec.id.clone(), spec.stream.clone(), spec.table.clone(), recovered.from);
        if route.may_go_by_job() {
            let jobs = route.limits(Api::Bulk).map_or(0, |limits| limits.rows_max * limits.in_flight_max);
            status.job_rows_max = jobs as u64;
        }
        let by_call = recovered.unanswered.iter().filter(|open| open.way == Way::Call);
        let mut ledger = Ledger::default();
        if recovered.highest > recovered.from {
            // What the earlier run wrote matters until the checkpoint has passed all of it.
            ledger.add(recovered.highest, recovered.settlements_from);
        }
        Self {
            status,
            ledger,
            latencies: Latencies::default(),
            latency_metric: metrics::histogram!(
                "penstock_route_commit_to_applied_seconds",
                "route" => spec.id.to_string()
            ),
            pause: Pause::default(),
            refreshing: false,
            successes: 0,
            in_flight: [0; 3],
            jobs: 0,
            uploading: Arc::default(),
            linger: [None; 3],
            linger_for: [Duration::ZERO; 3],
            alone_until: [Duration::ZERO; 3],
            floors: BTreeMap::new(),
            suspect_floor: (!recovered.unanswered.is_empty()).then_some(recovered.batches_from),
            rate_from: (0, now),
            stored: None,
            halted: None,
            pace: recovered.pace,
            suspect_rows: by_call.map(|open| rows_of(&open.rows)).max().unwrap_or_default(),
            row_bytes_mean: 512,
            paced: Default::default(),
            route,
        }
    }

    /// Rows of the next batch: as many as fit, judged by the rows before.
    pub fn rows_wanted(&self, api: Api) -> usize {
        let Some(limits) = self.route.limits(api) else { return 1 };
        limits.rows_max.min(limits.bytes_max / self.row_bytes_mean.max(1)).max(1)
    }

    /// Learns how large records are.
    pub fn read(&mut self, bytes: usize, records: usize) {
        if let Some(mean) = bytes.checked_div(records) {
            self.row_bytes_mean += mean >> MEAN_SHIFT;
            self.row_bytes_mean -= (self.row_bytes_mean >> MEAN_SHIFT).min(self.row_bytes_mean - 1);
        }
    }

    /// Learns how long the target takes over a call.
    pub fn took(&mut self, took: Duration, rows: usize) {
        let known = self.pace.unwrap_or_default();
        let slowest_ms = known.slowest_ms - known.slowest_ms / SLOWEST_FORGOTTEN;
        let seen = Pace { slowest_ms: took.as_millis() as u64, largest_rows: rows as u64 };
        self.pace = Some(Pace { slowest_ms, ..known }.and(seen));
    }

    /// What calls took.
    pub fn pace(&self) -> Option<Pace> {
        self.pace
    }

    /// How long a call of so many rows without an answer may still be under way in the target: twice what calls take, and
    /// `least` (as the configuration says) at least.
    pub fn grace(&self, least: Duration, rows: u64) -> Duration {
        let known = self.pace.unwrap_or_default();
        let least = if known.largest_rows.saturating_mul(2) >= rows { least } else { least * GRACE_UNKNOWN };
        let learned = Duration::from_millis(known.slowest_ms.saturating_mul(2));
        least.max(learned).min(least.max(GRACE_MAX))
    }

    /// The same for the largest of the batches that are suspects.
    pub fn suspect_grace(&self, least: Duration) -> Duration {
        self.grace(least, self.suspect_rows)
    }

    /// True when the lane's next batch waits for its pace; one that has become full since is worth asking for again.
    pub fn is_paced(&self, lane: Lane, full: bool, now: Duration) -> bool {
        let paced = &self.paced[lane as usize];
        paced.until > now && (paced.full || !full)
    }

    /// Why a lane's batch waits for its pace.
    pub fn paced(&self, now: Duration) -> Option<String> {
        self.paced.iter().find(|paced| paced.until > now).map(|paced| paced.reason.clone())
    }

    /// Batches in flight in all lanes.
    pub fn batches_in_flight(&self) -> usize {
        self.in_flight.iter().sum()
    }

    /// True when anything may go out, as far as the route itself is concerned.
    pub fn is_open(&self, now: Duration) -> bool {
        !self.refreshing
            && self.pause.until <= now
            && (self.pause.streak == 0 || self.batches_in_flight() + self.jobs == 0)
    }

    /// True when another call of the lane may go out. A lower lane leaves memory for a batch of each higher one.
    pub fn may_call(&self, api: Api, lane: Lane, bytes_in_memory_max: usize) -> bool {
        let (in_flight, limits) = (self.batches_in_flight(), self.route.limits(api));
        let batches = in_flight + 1 + lane as usize;
        self.in_flight[lane as usize] < self.route.spec.parallel.max(1)
            && limits.is_some_and(|limits| in_flight == 0 || batches * limits.bytes_max <= bytes_in_memory_max)
    }

    /// True when another job may be made: the rows of one are in memory at a time.
    pub fn may_start_job(&self) -> bool {
        self.uploading.load(Ordering::Relaxed) == 0
    }

    /// From where on a restart must read `_batches`; `now` is where the next intent will stand at the lowest.
    pub fn batches_from(&self, now: Offset) -> Offset {
        self.floors.values().copied().chain(self.suspect_floor).min().unwrap_or(now).min(now)
    }

    /// Something went through: the route may send freely again.
    pub fn succeeded(&mut self) {
        self.successes += 1;
        self.pause = Pause::default();
    }

    /// Sends nothing for a while.
    pub fn pause(&mut self, until: Duration, reason: Option<String>) {
        self.pause.streak = self.pause.streak.saturating_add(1);
        self.pause.until = self.pause.until.max(until);
        if reason.is_some() {
            let reason = reason.map(|reason| self.sayable(reason));
            self.pause.reason.clone_from(&reason);
            self.status.last_error = reason;
        }
    }

    /// Shows what went wrong, without what may quote a secret value.
    pub fn tell_error(&mut self, error: Option<String>) {
        self.status.last_error = error.map(|error| self.sayable(error));
    }

    /// What may be shown of what the target said: of a route with secret columns only the code.
    fn sayable(&self, error: String) -> String {
        if self.route.spec.secret.is_empty() {
            return error;
        }
        let code = error.split(':').next().unwrap_or_default();
        format!("{code}: (not shown: the route has secret columns)")
    }

    /// Why nothing is sent, while that is so.
    pub fn paused(&self, now: Duration) -> Option<String> {
        if let Some(reason) = &self.halted {
            return Some(reason.clone());
        }
        let waits = self.pause.until > now || self.pause.streak > 0;
        if waits { self.pause.reason.clone() } else { None }
    }

    /// Takes the rate since the last time.
    pub fn take_rate(&mut self, now: Duration) {
        let status = &self.status;
        let settled = status.applied + status.superseded + status.filtered + status.dead_lettered;
        let seconds = now.saturating_sub(self.rate_from.1).as_secs_f64();
        if seconds > 0.0 {
            self.status.settled_per_second = settled.saturating_sub(self.rate_from.0) as f64 / seconds;
        }
        self.rate_from = (settled, now);
    }
}
