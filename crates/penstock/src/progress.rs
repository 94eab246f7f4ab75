//! The progress line of `penstock run`: on a terminal only, quiet in a pipe.

use crate::output::thousands;
use crate::status_view::StatusView;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Shows where the pipeline stands until `stop`.
pub(crate) async fn show(view: Arc<StatusView>, as_json: bool, stop: CancellationToken) {
    if as_json || !std::io::stderr().is_terminal() {
        return;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    let mut look = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = look.tick() => bar.set_message(line(&view.to_json())),
        }
        bar.tick();
    }
    bar.finish_and_clear();
}

/// One line for all sources and routes.
pub(crate) fn line(status: &Value) -> String {
    let items = |list: &str| status[list].as_array().cloned().unwrap_or_default();
    let sum = |list: &str, field: &str| -> u64 { items(list).iter().filter_map(|item| item[field].as_u64()).sum() };
    let rate: f64 = items("routes").iter().filter_map(|route| route["settled_per_second"].as_f64()).sum();
    let mut line = format!(
        "captured {}  applied {}  behind {}  {rate:.0}/s",
        thousands(sum("sources", "changes")),
        thousands(sum("routes", "applied")),
        thousands(items("routes").iter().filter_map(|route| route["lag_records"].as_u64()).max().unwrap_or_default()),
    );
    let dead = sum("routes", "dead_lettered");
    if dead > 0 {
        line.push_str(&format!("  dead letters {dead}"));
    }
    for source in items("sources").iter().filter(|source| source["connected"] != true) {
        let error = source["last_error"].as_str().unwrap_or("connecting");
        line.push_str(&format!("  {}: {error}", source["name"].as_str().unwrap_or_default()));
    }
    if let Some(paused) = items("routes").iter().find_map(|route| route["paused"].as_str().map(str::to_owned)) {
        line.push_str(&format!("  paused: {paused}"));
    }
    line
}
