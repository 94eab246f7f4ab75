//! How far each route has come: for `penstock status`, `/metrics`, and whoever waits on a position.

use crate::overflow::StreamFill;
use contract::Spend;
use model::{Api, Lane, Offset, Outcome, RouteId, StreamPartition, TableName};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The engine's state at one moment. Kept up to date within some tens of milliseconds while records move.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EngineStatus {
    /// In configuration order.
    pub routes: Vec<RouteStatus>,
    /// Streams with a size limit, at the last look.
    pub streams: Vec<StreamFill>,
    /// Set while settlements cannot be written: what the log said.
    pub log_trouble: Option<String>,
}

impl EngineStatus {
    /// Finds a route.
    pub fn route(&self, id: &RouteId) -> Option<&RouteStatus> {
        self.routes.iter().find(|route| route.id == *id)
    }
}

/// One route's state. Counts are of this process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteStatus {
    pub id: RouteId,
    pub stream: StreamPartition,
    pub table: TableName,
    /// The next offset to be read into the window.
    pub read_offset: Offset,
    /// The lowest unsettled offset: everything below is settled.
    pub settled_offset: Offset,
    /// The last stored checkpoint.
    pub checkpoint: Offset,
    /// The stream's durable end.
    pub end_offset: Offset,
    /// Records of the route that are read and not settled.
    pub unsettled: usize,
    /// By lane: critical, standard, bulk.
    pub lanes: [LaneStatus; 3],
    pub applied: u64,
    pub superseded: u64,
    pub filtered: u64,
    pub dead_lettered: u64,
    /// Batches sent, and API calls spent, read-backs included.
    pub batches: u64,
    pub calls: u64,
    /// The same by API, for the ways that were used.
    pub by_api: BTreeMap<Api, ApiStatus>,
    /// Rows that a job of an earlier process had applied.
    pub adopted: u64,
    /// Rows that may go by jobs at once; 0 where none may.
    pub job_rows_max: u64,
    /// Rows that were sent again after a failure.
    pub retried: u64,
    /// Rows of which it is not known whether the target holds them.
    pub suspects: usize,
    /// Records settled per second, over the last seconds.
    pub settled_per_second: f64,
    /// How long ago the lowest unsettled record was committed in the source; none when there is none.
    pub oldest_unsettled_age_ms: Option<i64>,
    /// From commit in the source to applied, over the last seconds; none while nothing was applied.
    pub applied_p50_ms: Option<f64>,
    pub applied_p99_ms: Option<f64>,
    /// The newest failure, without secrets.
    pub last_error: Option<String>,
    /// Why nothing is sent, while that is so.
    pub paused: Option<String>,
}

/// What a route sent by one API, and what that cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ApiStatus {
    pub batches: u64,
    pub rows: u64,
    pub calls: u64,
    pub bulk_batches: u64,
    pub events: u64,
}

/// One lane of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    pub ready: usize,
    pub waiting: usize,
    pub in_flight: usize,
    pub held: usize,
}

impl RouteStatus {
    /// Makes a route's state before anything was read.
    pub fn new(id: RouteId, stream: StreamPartition, table: TableName, from: Offset) -> Self {
        Self {
            id,
            stream,
            table,
            read_offset: from,
            settled_offset: from,
            checkpoint: from,
            end_offset: from,
            unsettled: 0,
            lanes: [LaneStatus::default(); 3],
            applied: 0,
            superseded: 0,
            filtered: 0,
            dead_lettered: 0,
            batches: 0,
            calls: 0,
            by_api: BTreeMap::new(),
            adopted: 0,
            job_rows_max: 0,
            retried: 0,
            suspects: 0,
            settled_per_second: 0.0,
            oldest_unsettled_age_ms: None,
            applied_p50_ms: None,
            applied_p99_ms: None,
            last_error: None,
            paused: None,
        }
    }

    /// Records between the lowest unsettled one and the stream's end, other tables' included.
    pub fn lag_records(&self) -> u64 {
        self.end_offset.0.saturating_sub(self.settled_offset.0)
    }

    /// Counts settled records.
    pub fn count(&mut self, outcome: Outcome, records: u64) {
        match outcome {
            Outcome::Applied => self.applied += records,
            Outcome::Superseded => self.superseded += records,
            Outcome::Filtered => self.filtered += records,
            Outcome::DeadLettered => self.dead_lettered += records,
        }
        metrics::counter!("penstock_route_settled_records_total", "route" => self.id.to_string(), "outcome" => word(outcome))
            .increment(records);
    }

    /// Counts a batch that was answered.
    pub fn count_batch(&mut self, read_back: bool, api: Api, rows: usize, spent: Spend) {
        let calls = spent.calls;
        self.batches += 1;
        self.calls += u64::from(calls);
        if !read_back {
            let of = self.by_api.entry(api).or_default();
            of.batches += 1;
            of.rows += rows as u64;
            of.calls += u64::from(calls);
            of.bulk_batches += u64::from(spent.bulk_batches);
            of.events += u64::from(spent.events);
        }
        let (route, kind) = (self.id.to_string(), if read_back { "read_back" } else { "send" });
        metrics::counter!("penstock_route_batches_total", "route" => route.clone(), "kind" => kind).increment(1);
        metrics::counter!("penstock_route_calls_total", "route" => route, "kind" => kind).increment(u64::from(calls));
    }

    /// Sets the gauges.
    pub fn export(&self) {
        let route = self.id.to_string();
        metrics::gauge!("penstock_route_lag_records", "route" => route.clone()).set(self.lag_records() as f64);
        metrics::gauge!("penstock_route_unsettled_records", "route" => route.clone()).set(self.unsettled as f64);
        metrics::gauge!("penstock_route_oldest_unsettled_age_seconds", "route" => route.clone())
            .set(self.oldest_unsettled_age_ms.unwrap_or(0) as f64 / 1000.0);
        metrics::gauge!("penstock_route_paused", "route" => route.clone())
            .set(f64::from(u8::from(self.paused.is_some())));
        metrics::gauge!("penstock_route_suspect_records", "route" => route.clone()).set(self.suspects as f64);
        for lane in Lane::ALL {
            metrics::gauge!("penstock_route_ready_records", "route" => route.clone(), "lane" => lane.as_str())
                .set(self.lanes[lane as usize].ready as f64);
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Superseded => "superseded",
        Outcome::Filtered => "filtered",
        Outcome::DeadLettered => "dead_lettered",
    }
}

/// Buckets per doubling.
const STEPS: u64 = 8;
const BUCKETS: usize = 200;

/// Latencies of the last seconds: two histograms that take turns. Buckets grow by an eighth of a doubling, so that a figure is
/// at most 9 % off.
#[derive(Clone, Debug)]
pub struct Latencies {
    now: [u32; BUCKETS],
    before: [u32; BUCKETS],
    turned: Duration,
}

/// How long a histogram takes values in.
const TURN: Duration = Duration::from_secs(10);

impl Default for Latencies {
    fn default() -> Self {
        Self { now: [0; BUCKETS], before: [0; BUCKETS], turned: Duration::ZERO }
    }
}

impl Latencies {
    /// Adds a latency.
    pub fn add(&mut self, ms: i64) {
        self.now[bucket(ms.max(0) as u64)] += 1;
    }

    /// Lets old values go.
    pub fn turn(&mut self, now: Duration) {
        if now.saturating_sub(self.turned) >= TURN {
            self.before = std::mem::replace(&mut self.now, [0; BUCKETS]);
            self.turned = now;
        }
    }

    /// The latency below which `part` (0 to 1) of the values lie, in milliseconds; none without values.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let total: u64 = self.now.iter().chain(&self.before).map(|count| u64::from(*count)).sum();
        if total == 0 {
            return None;
        }
        let wanted = ((total as f64 * part).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        (0..BUCKETS).find_map(|at| {
            seen += u64::from(self.now[at]) + u64::from(self.before[at]);
            (seen >= wanted).then(|| upper(at))
        })
    }
}

/// 0 to 7 ms each have a bucket, then eight for each doubling.
fn bucket(ms: u64) -> usize {
    if ms < STEPS {
        return ms as usize;
    }
    let doubling = u64::from(ms.ilog2()) - 3;
    let step = (ms >> doubling) - STEPS;
    ((STEPS + doubling * STEPS + step) as usize).min(BUCKETS - 1)
}

fn upper(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket as f64;
    }
    let (doubling, step) = ((bucket - STEPS) / STEPS, (bucket - STEPS) % STEPS);
    (((STEPS + step + 1) << doubling) - 1) as f64
}

/// Event times along the stream, one for each scanned chunk: what tells the age of an offset.
#[derive(Debug, Default)]
pub struct Ages(VecDeque<Times>);

/// Event times of the records below an offset, and of none before the last one.
#[derive(Clone, Copy, Debug)]
struct Times {
    end: Offset,
    oldest_ms: i64,
    newest_ms: i64,
}

/// Above this many samples each two become one.
const SAMPLES_MAX: usize = 4096;

impl Ages {
    /// Says how old the records below `end` are; `times_ms`: of the oldest and of the newest.
    pub fn add(&mut self, end: Offset, times_ms: (i64, i64)) {
        self.0.push_back(Times { end, oldest_ms: times_ms.0, newest_ms: times_ms.1 });
        if self.0.len() > SAMPLES_MAX {
            let pairs: Vec<Times> = self.0.drain(..).collect();
            self.0.extend(pairs.chunks(2).map(|pair| {
                let last = pair[pair.len() - 1];
                Times { oldest_ms: pair[0].oldest_ms.min(last.oldest_ms), ..last }
            }));
        }
    }

    /// The event time of the record at `offset`, or of an earlier one in its chunk.
    pub fn oldest_at(&self, offset: Offset) -> Option<i64> {
        let at = self.0.partition_point(|times| times.end <= offset);
        self.0.get(at).map(|times| times.oldest_ms)
    }

    /// Forgets what lies below `offset`.
    pub fn forget(&mut self, offset: Offset) {
        while self.0.front().is_some_and(|times| times.end <= offset) {
            self.0.pop_front();
        }
    }

    /// The event time of the record at `offset`, or of one shortly behind it.
    pub fn time_of(&self, offset: Offset) -> Option<i64> {
        let at = self.0.partition_point(|times| times.end <= offset);
        self.0.get(at).map(|times| times.newest_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_at_most_an_eighth_off() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        for ms in 1..=1000 {
            latencies.add(ms);
        }
        for (part, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latencies.quantile(part).unwrap();
            assert!(found >= exact && found <= exact * 1.125, "{part}: {found}");
        }
        for ms in [0, 7, 8, 15, 16, 1 << 20, u64::MAX] {
            assert!(bucket(ms) < BUCKETS);
        }
    }

    #[test]
    fn old_latencies_are_forgotten_after_two_turns() {
        let mut latencies = Latencies::default();
        latencies.add(5);
        latencies.turn(TURN);
        assert_eq!(latencies.quantile(0.5), Some(5.0));
        latencies.turn(TURN * 2);
        assert_eq!(latencies.quantile(0.5), None);
    }

    #[test]
    fn age_is_that_of_the_chunk_around_the_offset() {
        let mut ages = Ages::default();
        ages.add(Offset(10), (50, 100));
        ages.add(Offset(20), (150, 200));
        assert_eq!((ages.oldest_at(Offset(9)), ages.oldest_at(Offset(10))), (Some(50), Some(150)));
        assert_eq!(ages.time_of(Offset(3)), Some(100));
        assert_eq!(ages.time_of(Offset(10)), Some(200));
        assert_eq!(ages.time_of(Offset(20)), None);
    }
}
