//! `bench latency`: how long after its commit in PostgreSQL a row is applied in an org of zero latency.
//!
//! ```text
//!   open-loop load ──▶ PostgreSQL (fsync on) ──▶ worker (`penstock run`, a process) ──▶ simulated org (this process)
//!                        commit time of each revision                                     time it was applied
//!                                └────────────────── matched by revision ──────────────────┘
//! ```
//!
//! The commit time is PostgreSQL's own (`track_commit_timestamp`), which it takes before it writes the commit to disk: its
//! own `fsync` is inside the figure. The org notes milliseconds; a row counts as applied when that millisecond is over, so
//! the figure is up to 1 ms too long and never too short.

mod figures;
mod load;
mod stages;

use anyhow::Context;
use figures::{Phase, disk_sync_ms};
use serde_json::{Map, Value, json};
use stages::{copy_stage, live_stage, program};
use std::path::PathBuf;

/// What is measured, and with what.
pub struct Options {
    /// The worker's program; none: `penstock` beside this one.
    pub worker: Option<PathBuf>,
    /// How long each rate is held.
    pub seconds: u64,
}

/// Measures 1,000/s, 5,000/s, and 1,000/s beside the copy of a large table; and the time from start to first record.
///
/// # Errors
/// When a server or the worker cannot be run, or a committed row was not applied in time.
pub async fn run(options: Options) -> anyhow::Result<Value> {
    let worker = program(options.worker)?;
    let sync = disk_sync_ms(&std::env::temp_dir())?;
    let live = live_stage(&worker, options.seconds).await.context("the live stage")?;
    let copy = copy_stage(&worker, options.seconds).await.context("the stage with the copy")?;
    let mut out = Map::new();
    out.insert("bench".into(), json!("latency"));
    out.insert("seconds".into(), json!(options.seconds));
    add(&mut out, "", &live.at_1000);
    add(&mut out, "_5000", &live.at_5000);
    add(&mut out, "_copy", &copy.phase);
    let rest = json!({
        "copy_rows": stages::ARCHIVE_ROWS,
        "copy_rows_before": copy.rows_before,
        "copy_rows_at_end": copy.rows_after,
        "copy_rows_per_second": ((copy.rows_after.saturating_sub(copy.rows_before)) as f64 / copy.seconds).round(),
        "first_record_ms": live.first_record_ms,
        "first_record_fresh_ms": live.first_record_fresh_ms,
        "disk_sync_p50_ms": sync.0,
        "disk_sync_p99_ms": sync.1,
        "peak_rss_mb": live.peak_rss_mb.max(copy.peak_rss_mb),
        "peak_rss_mb_copy": copy.peak_rss_mb,
    });
    if let Value::Object(rest) = rest {
        out.extend(rest);
    }
    Ok(Value::Object(out))
}

fn add(out: &mut Map<String, Value>, suffix: &str, phase: &Phase) {
    let mut figure = |name: &str, value: Value| out.insert(format!("{name}{suffix}"), value);
    figure("p50_ms", json!(phase.p50_ms));
    figure("p99_ms", json!(phase.p99_ms));
    figure("max_ms", json!(phase.max_ms));
    figure("commits_per_second", json!(phase.commits_per_second));
    figure("commits", json!(phase.commits));
    figure("rows_per_call", json!(phase.rows_per_call));
    figure("worker_cpu_percent", json!(phase.worker_cpu_percent));
}
