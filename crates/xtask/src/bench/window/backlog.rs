//! A critical record behind two million bulk ones.

use super::stage::{Running, Stage, fields, quantile, route, rss_mb};
use anyhow::{Context, Result};
use async_trait::async_trait;
use contract::{
    AllocationReading, AppliedBatch, Clock, ObjectSchema, OutBatch, ReadBack, Sink, SinkError, SinkLimits, SystemClock,
};
use model::{Finding, Lane, ObjectName};
use pipeline::engine::NullSink;
use pipeline::spec::LaneSpec;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const BACKLOG: u64 = 2_000_000;
const CRITICAL: u64 = 200;
/// How long the target takes for a batch of bulk rows: some 1,600 rows a second in four calls of 200.
const SLOW: Duration = Duration::from_millis(500);
/// Critical records come at this distance: each is alone.
const APART: Duration = Duration::from_millis(20);

pub async fn run() -> Result<Value> {
    let stage = Stage::open().await?;
    let (seen, mut critical) = mpsc::unbounded_channel();
    let sink = SlowSink { inner: NullSink::new(fields()), clock: stage.clock.clone(), seen };
    let lane = LaneSpec::Cel(r#"priority == "critical" ? "critical" : "bulk""#.into());
    let mut running = stage.start(route(lane), Arc::new(sink));
    // Once without measuring, to warm up.
    measure(&stage, &mut critical, BACKLOG * 2).await?;
    let idle = measure(&stage, &mut critical, BACKLOG * 3).await?;
    let idle_mb = rss_mb()?;
    let began = stage.clock.monotonic();
    let end = stage.append((0, BACKLOG), "bulk", |n| n).await?;
    running.until(|status| status.read_offset >= end).await?;
    let filled = stage.clock.monotonic() - began;
    let unsettled = unsettled(&running);
    let full_mb = rss_mb()?;
    let behind = measure(&stage, &mut critical, BACKLOG * 4).await?;
    let left = self::unsettled(&running);
    let end_mb = rss_mb()?;
    running.abandon();
    let added = |part| ((quantile(&behind, part) - quantile(&idle, part)).max(0.0) * 100.0).round() / 100.0;
    let round = |ms: f64| (ms * 100.0).round() / 100.0;
    Ok(json!({
        "backlog_records": unsettled,
        "backlog_records_after": left,
        "backlog_fill_seconds": (filled.as_secs_f64() * 10.0).round() / 10.0,
        "backlog_idle_rss_mb": idle_mb,
        "backlog_rss_mb": full_mb.max(end_mb),
        "critical_idle_p50_ms": round(quantile(&idle, 0.5)),
        "critical_idle_p99_ms": round(quantile(&idle, 0.99)),
        "critical_behind_p50_ms": round(quantile(&behind, 0.5)),
        "critical_behind_p99_ms": round(quantile(&behind, 0.99)),
        "critical_added_p50_ms": added(0.5),
        "critical_added_p99_ms": added(0.99),
        "critical_added_max_ms": added(1.0),
        "peak_rss_mb": full_mb.max(end_mb),
    }))
}

fn unsettled(running: &Running) -> usize {
    running.handle.status().routes.iter().map(|route| route.unsettled).sum()
}

/// Appends critical records one by one; returns the milliseconds from each append to the target, ascending.
async fn measure(stage: &Stage, seen: &mut mpsc::UnboundedReceiver<Duration>, from: u64) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for n in from..from + CRITICAL {
        let began = stage.clock.monotonic();
        stage.append((n, n + 1), "critical", |n| n).await?;
        let at =
            tokio::time::timeout(Duration::from_secs(60), seen.recv()).await.context("a critical record is late")?;
        times.push((at.context("the engine ended early")?.saturating_sub(began)).as_secs_f64() * 1000.0);
        tokio::time::sleep(APART).await;
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Takes bulk rows slowly, and says when critical ones come.
struct SlowSink {
    inner: NullSink,
    clock: Arc<SystemClock>,
    seen: mpsc::UnboundedSender<Duration>,
}

#[async_trait]
impl Sink for SlowSink {
    async fn check(&self) -> Vec<Finding> {
        self.inner.check().await
    }

    async fn describe(&self, object: &ObjectName) -> Result<Arc<ObjectSchema>, SinkError> {
        self.inner.describe(object).await
    }

    fn forget(&self, object: &ObjectName) {
        self.inner.forget(object);
    }

    fn limits(&self) -> SinkLimits {
        self.inner.limits()
    }

    async fn apply(&self, batch: &OutBatch) -> Result<AppliedBatch, SinkError> {
        match batch.lane {
            Lane::Critical => {
                for _ in &batch.rows {
                    // The stage that waits may have ended.
                    let _ = self.seen.send(self.clock.monotonic());
                }
            }
            Lane::Standard | Lane::Bulk => tokio::time::sleep(SLOW).await,
        }
        self.inner.apply(batch).await
    }

    async fn read_back(&self, batch: &OutBatch) -> Result<(Vec<ReadBack>, u32), SinkError> {
        self.inner.read_back(batch).await
    }

    async fn allocations(&self) -> Result<Vec<AllocationReading>, SinkError> {
        self.inner.allocations().await
    }

    fn take_readings(&self) -> Vec<AllocationReading> {
        self.inner.take_readings()
    }
}
