//! `bench window`: what the way from log to sink costs, and what a backlog costs.
//!
//! - **flow**: 10,000,000 updates of 100,000 keys, log → null sink, `ordering: key`: records per second, and whether memory
//!   at the end is what it was after the first million;
//! - **backlog**: 2,000,000 `bulk` records of a target that takes some hundred a second: memory, and how much later than on an
//!   idle route a `critical` record of the same table reaches the target.
//!
//! Each stage runs in a process of its own, so that its memory is its own: the records are there before it starts, as they are
//! for a pipeline that was stopped for a while.

mod backlog;
mod flow;
pub(super) mod stage;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use stage::Fill;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Says to a child process which stage it is.
const STAGE: &str = "PENSTOCK_BENCH_WINDOW_STAGE";
/// Says to a child process where log and state stand.
const FOLDER: &str = "PENSTOCK_BENCH_WINDOW_FOLDER";

/// Runs all stages; the object holds `records_per_second` and `ratio_target_rate`, the memory of both, and what a backlog adds to
/// a critical record (`critical_added_p50_ms`, `…_p99_ms`, `…_max_ms`).
///
/// # Errors
/// When a stage fails, or records went missing on the way.
pub async fn run() -> Result<Value> {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from);
    match (std::env::var(STAGE).ok().as_deref(), folder) {
        (None, _) => all().await,
        (Some("fill-flow"), Some(folder)) => {
            stage::fill(&folder, Fill { records: flow::RECORDS, keys: flow::KEYS }).await
        }
        (Some("flow"), Some(folder)) => flow::run(&folder).await,
        (Some("idle"), Some(folder)) => backlog::idle(&folder).await,
        (Some("fill-backlog"), Some(folder)) => {
            stage::fill(&folder, Fill { records: backlog::RECORDS, keys: backlog::RECORDS }).await
        }
        (Some("backlog"), Some(folder)) => backlog::behind(&folder).await,
        (Some(other), _) => bail!("{STAGE} is {other:?}; it is set by `bench window` itself"),
    }
}

async fn all() -> Result<Value> {
    let mut figures = Map::new();
    figures.insert("bench".into(), json!("window"));
    for stages in [&["fill-flow", "flow"][..], &["idle", "fill-backlog", "backlog"]] {
        let folder = tempfile::Builder::new().prefix("bench-window-").tempdir_in(bench_folder())?;
        for stage in stages {
            figures.extend(child(stage, folder.path()).await.with_context(|| format!("the stage {stage}"))?);
        }
    }
    for part in ["p50", "p99", "max"] {
        let figure = |of: &str| figures.get(&format!("critical_{of}_{part}_ms")).and_then(Value::as_f64);
        if let (Some(idle), Some(behind)) = (figure("idle"), figure("behind")) {
            let added = ((behind - idle).max(0.0) * 100.0).round() / 100.0;
            figures.insert(format!("critical_added_{part}_ms"), json!(added));
        }
    }
    let peak = ["flow_peak_rss_mb", "backlog_peak_rss_mb"].map(|name| figures.get(name).and_then(Value::as_f64));
    figures.insert("peak_rss_mb".into(), json!(peak.into_iter().flatten().fold(0.0, f64::max)));
    Ok(Value::Object(figures))
}

/// Runs a stage in a process of its own.
async fn child(stage: &str, folder: &Path) -> Result<Map<String, Value>> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = tokio::process::Command::new(program);
    command.args(["bench", "window", "--json"]).env(STAGE, stage).env(FOLDER, folder);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
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

/// A folder on a real disk: the system's temporary folder may be memory.
fn bench_folder() -> PathBuf {
    let target = PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    if target.is_dir() { target } else { std::env::temp_dir() }
}
