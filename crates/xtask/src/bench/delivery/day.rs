//! A day at twice what the allocation permits, on a clock that is moved on whenever nothing is under way.
//!
//! The engine runs on tokio's paused clock. A task of its own keeps that clock standing while a call or a write to the log is
//! under way (it stays runnable), and otherwise lets it go on by a second, and the org's clock with it.

use super::round;
use super::stage::{route, sink};
use crate::bench::window::stage::Stage;
use anyhow::{Result, ensure};
use async_trait::async_trait;
use connector_salesforce::SalesforceSink;
use contract::{
    AllocationReading, AppliedBatch, Clock, ObjectSchema, OutBatch, ReadBack, Sink, SinkError, SinkLimits, Spend,
    SystemClock,
};
use governor::{GovernorConfig, Permille};
use model::{Api, ErrorClass, Finding, Lane, ObjectName};
use org_sim::{OrgConfig, OrgSim, RunningOrg};
use parking_lot::Mutex;
use pipeline::router::ApiSetting;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Calls of the org's day; half of them are ours.
const CALLS_OF_THE_DAY: u64 = 2_000;
/// Rows of a call: a small batch, so that the day has a size that a bench can play.
const ROWS_PER_CALL: u64 = 20;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The clock goes on by so much at a time.
const TICK: Duration = Duration::from_secs(1);
/// Records come this often.
const EVERY: Duration = Duration::from_secs(30);
/// And one critical record as often.
const CRITICAL_EVERY: Duration = Duration::from_secs(600);
/// Standing still in real time for so long, nothing is under way.
const QUIET: Duration = Duration::from_millis(2);
/// A critical record that is not applied in so much real time is held, and not only on its way through this machine.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// Offers twice the records that our share of the day's calls takes.
pub async fn at_twice_the_allocation() -> Result<Value> {
    let config = OrgConfig { seed: 1, daily_api_requests_max: Some(CALLS_OF_THE_DAY), ..OrgConfig::default() };
    let org = Arc::new(OrgSim::start(config).await?);
    org.add_objects(&org_sim::parse_objects(include_str!("order.yaml"), "order.yaml")?)?;
    let played = tokio::task::spawn_blocking({
        let org = org.clone();
        move || -> Result<Value> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
            runtime.block_on(play(org))
        }
    });
    played.await?
}

async fn play(org: Arc<RunningOrg>) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let clock = Arc::new(PausedClock::start());
    let stage = standing(Stage::open(folder.path())).await?;
    let sink = Arc::new(Watched::new(sink(&org, clock.clone())?, clock.clone()));
    let governor = GovernorConfig {
        share: Permille::percent(50),
        // 144 critical records, and what reading the allocations takes.
        reserved: [Permille::percent(16), Permille::percent(84), Permille::percent(0)],
        ..GovernorConfig::default()
    };
    let mut by_calls = route(ApiSetting::Only(Api::Collections), ROWS_PER_CALL as usize);
    by_calls.parallel = 4;
    let running = stage.start_governed(by_calls, sink.clone(), Some(governor), clock.clone());
    let share = CALLS_OF_THE_DAY / 2;
    let ticks = DAY.as_secs() / TICK.as_secs();
    let per_arrival = share * 2 * ROWS_PER_CALL * EVERY.as_secs() / DAY.as_secs();
    let (mut next, mut org_at) = (0, clock.monotonic());
    for tick in 0..ticks {
        let second = tick * TICK.as_secs();
        let critical = u64::from(second.is_multiple_of(CRITICAL_EVERY.as_secs()));
        let standard = if second.is_multiple_of(EVERY.as_secs()) { per_arrival } else { 0 };
        for (records, lane) in [(critical, "critical"), (standard, "standard")] {
            if records > 0 {
                if lane == "critical" {
                    sink.wait_for(clock.monotonic());
                }
                standing(stage.append_at((next, next + records), lane, clock.now_ms())).await?;
                next += records;
                *sink.quiet.lock() = None;
            }
        }
        sink.until_quiet().await;
        tokio::time::sleep(TICK).await;
        let now = clock.monotonic();
        org.advance_ms((now - org_at).as_millis() as i64);
        org_at = now;
    }
    sink.until_quiet().await;
    let used = org.daily_requests_used();
    let applied = running.handle.status().routes[0].applied;
    running.abandon();
    let waits = sink.waits.lock().clone();
    ensure!(!waits.is_empty(), "no critical record was applied");
    let missed = sink.expected.lock().len();
    let longest = waits.iter().max().copied().unwrap_or_default();
    let in_time = waits.iter().filter(|wait| **wait <= Duration::from_secs(5)).count();
    Ok(json!({
        "day_calls_permitted": share,
        "day_calls_used": used,
        "day_share_used": round(used as f64 / share as f64),
        "limit_errors": sink.limit_errors.load(Ordering::Relaxed),
        "day_records_offered": next,
        "day_records_applied": applied,
        "day_critical_records": waits.len() + missed,
        "day_critical_missed": missed,
        "day_critical_never_held": missed == 0 && in_time == waits.len(),
        "day_critical_longest_s": round(longest.as_secs_f64()),
    }))
}

/// Waits for something with the paused clock standing: the runtime is never idle meanwhile.
async fn standing<T>(done: impl Future<Output = T>) -> T {
    let mut done = std::pin::pin!(done);
    loop {
        if let std::task::Poll::Ready(value) = futures::poll!(&mut done) {
            return value;
        }
        tokio::task::yield_now().await;
    }
}

/// tokio's paused time.
struct PausedClock {
    began: tokio::time::Instant,
    began_ms: i64,
}

impl PausedClock {
    fn start() -> Self {
        Self { began: tokio::time::Instant::now(), began_ms: SystemClock::new().now_ms() }
    }
}

impl Clock for PausedClock {
    fn now_ms(&self) -> i64 {
        self.began_ms + self.monotonic().as_millis() as i64
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The connector, watched: calls under way, limit errors, and how long critical records waited.
struct Watched {
    inner: SalesforceSink,
    clock: Arc<PausedClock>,
    /// Real time.
    real: SystemClock,
    under_way: AtomicU64,
    limit_errors: AtomicU64,
    /// Since when nothing is under way, in real time.
    quiet: Mutex<Option<Duration>>,
    /// When critical records were appended that are not applied yet.
    expected: Mutex<VecDeque<Duration>>,
    waits: Mutex<Vec<Duration>>,
}

impl Watched {
    fn new(inner: SalesforceSink, clock: Arc<PausedClock>) -> Self {
        Self {
            inner,
            clock,
            real: SystemClock::new(),
            under_way: AtomicU64::new(0),
            limit_errors: AtomicU64::new(0),
            quiet: Mutex::default(),
            expected: Mutex::default(),
            waits: Mutex::default(),
        }
    }

    fn wait_for(&self, at: Duration) {
        self.expected.lock().push_back(at);
    }

    /// Keeps the paused clock standing until nothing was under way for a moment of real time.
    async fn until_quiet(&self) {
        loop {
            let now = self.real.monotonic();
            let busy = self.under_way.load(Ordering::Relaxed) > 0;
            let since = {
                let mut quiet = self.quiet.lock();
                if busy {
                    *quiet = None;
                } else if quiet.is_none() {
                    *quiet = Some(now);
                }
                *quiet
            };
            let newest = self.expected.lock().back().copied();
            let fresh = newest.is_some_and(|at| self.clock.monotonic().saturating_sub(at) <= TICK * 2);
            let wanted = if fresh { ON_ITS_WAY } else { QUIET };
            if since.is_some_and(|since| now.saturating_sub(since) >= wanted) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn began(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
    }

    fn ended<T>(&self, answer: &Result<T, SinkError>) {
        if answer.as_ref().is_err_and(|error| error.class == ErrorClass::Quota) {
            self.limit_errors.fetch_add(1, Ordering::Relaxed);
        }
        *self.quiet.lock() = None;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Sink for Watched {
    async fn check(&self) -> Vec<Finding> {
        self.inner.check().await
    }

    async fn describe(&self, object: &ObjectName) -> Result<Arc<ObjectSchema>, SinkError> {
        self.began();
        let answer = self.inner.describe(object).await;
        self.ended(&answer);
        answer
    }

    fn forget(&self, object: &ObjectName) {
        self.inner.forget(object);
    }

    fn limits(&self, api: Api) -> Option<SinkLimits> {
        self.inner.limits(api).filter(|_| api == Api::Collections)
    }

    async fn apply(&self, batch: &OutBatch) -> Result<AppliedBatch, SinkError> {
        self.began();
        let answer = self.inner.apply(batch).await;
        if batch.lane == Lane::Critical && answer.is_ok() {
            let mut expected = self.expected.lock();
            for _ in &batch.rows {
                if let Some(at) = expected.pop_front() {
                    self.waits.lock().push(self.clock.monotonic().saturating_sub(at));
                }
            }
        }
        self.ended(&answer);
        answer
    }

    async fn read_back(&self, batch: &OutBatch) -> Result<(Vec<ReadBack>, u32), SinkError> {
        self.began();
        let answer = self.inner.read_back(batch).await;
        self.ended(&answer);
        answer
    }

    async fn allocations(&self) -> Result<Vec<AllocationReading>, SinkError> {
        self.began();
        let answer = self.inner.allocations().await;
        self.ended(&answer);
        answer
    }

    fn take_readings(&self) -> Vec<AllocationReading> {
        self.inner.take_readings()
    }

    fn take_unpaid(&self) -> Spend {
        self.inner.take_unpaid()
    }
}
