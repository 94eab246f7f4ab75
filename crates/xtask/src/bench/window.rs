//! `bench window`: what the way from log to sink costs, and what a backlog costs.
//!
//! - **flow**: 10,000,000 updates of 100,000 keys, log → null sink, `ordering: key`: records per second, and whether memory
//!   at the end is what it was after the first million;
//! - **backlog**: 2,000,000 `bulk` records of a target that takes some hundred a second: memory, and how much later than on an
//!   idle route a `critical` record of the same table reaches the target.
//!
//! Each stage runs in a process of its own, so that its memory is its own.

mod backlog;
mod flow;
mod stage;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::process::Stdio;

/// Says to a child process which stage it is.
const STAGE: &str = "PENSTOCK_BENCH_WINDOW_STAGE";

/// Runs both stages; the object holds `records_per_second`, `backlog_rss_mb`, `critical_added_p50_ms`, `…_p99_ms`,
/// `…_max_ms`, `flow_rss_first_million_mb`, `flow_rss_end_mb`, `ratio_target_rate` and what belongs to them.
///
/// # Errors
/// When a stage fails, or records went missing on the way.
pub async fn run() -> Result<Value> {
    match std::env::var(STAGE).ok().as_deref() {
        Some("flow") => flow::run().await,
        Some("backlog") => backlog::run().await,
        Some(other) => bail!("{STAGE} is {other:?}; it is set by `bench window` itself"),
        None => {
            let mut figures = Map::new();
            figures.insert("bench".into(), json!("window"));
            for stage in ["flow", "backlog"] {
                figures.extend(child(stage).await.with_context(|| format!("the {stage} stage"))?);
            }
            Ok(Value::Object(figures))
        }
    }
}

/// Runs a stage in a process of its own.
async fn child(stage: &str) -> Result<Map<String, Value>> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = tokio::process::Command::new(program);
    command.args(["bench", "window", "--json"]).env(STAGE, stage).stdin(Stdio::null()).stderr(Stdio::inherit());
    if cfg!(debug_assertions) {
        command.arg("--debug-ok");
    }
    let done = command.kill_on_drop(true).output().await?;
    ensure!(done.status.success(), "it ended with {}", done.status);
    match serde_json::from_slice(&done.stdout)? {
        Value::Object(figures) => Ok(figures),
        other => bail!("it answered {other}"),
    }
}
