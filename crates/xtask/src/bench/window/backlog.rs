//! A critical record behind two million bulk ones.

use super::stage::{Running, Stage, fields, quantile, route, rss_mb, stream};
use anyhow::{Context, Result};
use async_trait::async_trait;
use contract::{
    AllocationReading, AppliedBatch, Clock, Log, ObjectSchema, OutBatch, ReadBack, Sink, SinkError, SinkLimits, Spend,
    SystemClock,
};
use model::{Api, Finding, Lane, ObjectName};
use pipeline::engine::NullSink;
use pipeline::spec::LaneSpec;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub const RECORDS: u64 = 2_000_000;
const CRITICAL: u64 = 200;
/// How long the target takes for a batch of bulk rows: some 1,600 rows a second in four calls of 200.
const SLOW: Duration = Duration::from_millis(500);
/// Critical records come at this distance: each is alone.
const APART: Duration = Duration::from_millis(20);

/// Critical records of an idle route.
pub async fn idle(folder: &Path) -> Result<Value> {
    let stage = Stage::open(folder).await?;
    let (running, mut critical) = start(&stage);
    // Once without measuring, to warm up.
    measure(&stage, &mut critical, RECORDS * 2).await?;
    let times = measure(&stage, &mut critical, RECORDS * 3).await?;
    let figures = figures("idle", &times);
    running.stop().await?;
    stage.log.close();
    Ok(figures)
}

/// The same behind the backlog.
pub async fn behind(folder: &Path) -> Result<Value> {
    let stage = Stage::open(folder).await?;
    let end = stage.log.bounds(&stream())?.durable;
    let began = stage.clock.monotonic();
    let (mut running, mut critical) = start(&stage);
    running.until(|status| status.read_offset >= end).await?;
    let filled = stage.clock.monotonic() - began;
    let (unsettled, filled_mb) = (unsettled(&running), rss_mb()?.0);
    measure(&stage, &mut critical, RECORDS * 4).await?;
    let times = measure(&stage, &mut critical, RECORDS * 5).await?;
    let Value::Object(mut figures) = figures("behind", &times) else { unreachable!("it makes an object") };
    figures.insert("backlog_records".into(), json!(unsettled));
    figures.insert("backlog_records_after".into(), json!(self::unsettled(&running)));
    figures.insert("backlog_read_seconds".into(), json!((filled.as_secs_f64() * 10.0).round() / 10.0));
    figures.insert("backlog_rss_mb".into(), json!(filled_mb));
    figures.insert("backlog_peak_rss_mb".into(), json!(rss_mb()?.1));
    running.abandon();
    Ok(Value::Object(figures))
}

fn start(stage: &Stage) -> (Running, mpsc::UnboundedReceiver<Duration>) {
    let (seen, critical) = mpsc::unbounded_channel();
    let sink = SlowSink { inner: NullSink::new(fields()), clock: stage.clock.clone(), seen };
    let lane = LaneSpec::Cel(r#"priority == "critical" ? "critical" : "bulk""#.into());
    (stage.start(route(lane), Arc::new(sink)), critical)
}

fn figures(which: &str, times: &[f64]) -> Value {
    let figure = |part: &str, at: f64| {
        (format!("critical_{which}_{part}_ms"), json!((quantile(times, at) * 100.0).round() / 100.0))
    };
    Value::Object([figure("p50", 0.5), figure("p99", 0.99), figure("max", 1.0)].into_iter().collect())
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

    fn limits(&self, api: Api) -> Option<SinkLimits> {
        self.inner.limits(api)
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

    fn take_unpaid(&self) -> Spend {
        self.inner.take_unpaid()
    }
}
