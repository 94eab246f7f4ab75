//! `bench org`: what the simulated org serves on one core, which it shares with its client.
//!
//! Each measurement is an example of the crate `org-sim` and can be run alone; here each is pinned to one core.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::process::Stdio;
use tokio::process::Command;

/// The examples; each prints one flat JSON object as its last line.
const EXAMPLES: [&str; 3] = ["collections", "bulk", "events"];
/// A promised rate and the figure that keeps it.
const TARGETS: [(&str, &str, f64); 3] = [
    ("ratio_collections", "collections_update_records_per_s", 20_000.0),
    ("ratio_bulk", "bulk_upsert_rows_per_s", 50_000.0),
    ("ratio_events", "events_replay_events_per_s", 20_000.0),
];

/// Builds and runs the examples; the object holds their figures, `ratio_…` to the promised rates, and `peak_rss_mb`.
///
/// # Errors
/// When cargo is missing or an example fails.
pub async fn run() -> Result<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut figures = Map::new();
    figures.insert("bench".into(), json!("org"));
    for example in EXAMPLES {
        let mut build = Command::new(&cargo);
        build.args(["run", "--quiet", "--release", "--package", "org-sim", "--example", &format!("{example}_speed")]);
        // The core is taken by the program that cargo starts, not by the compiler.
        build.args(["--config", "target.'cfg(target_os = \"linux\")'.runner = ['taskset', '-c', '0']"]);
        let output = build.stdin(Stdio::null()).stderr(Stdio::inherit()).output().await;
        let output = output.with_context(|| format!("starting {cargo}"))?;
        ensure!(output.status.success(), "the example {example} ended with {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        let last = text.lines().last().unwrap_or_default();
        let of_example: Map<String, Value> =
            serde_json::from_str(last).with_context(|| format!("the example {example} printed {last:?}"))?;
        figures.extend(of_example.into_iter().map(|(name, value)| (format!("{example}_{name}"), value)));
    }
    for (name, figure, target) in TARGETS {
        let rate = figures.get(figure).and_then(Value::as_f64).with_context(|| format!("no figure {figure}"))?;
        figures.insert(name.into(), json!((rate / target * 100.0).round() / 100.0));
    }
    let peaks = figures.iter().filter(|(name, _)| name.ends_with("peak_memory_mb"));
    let peak = peaks.filter_map(|(_, value)| value.as_f64()).fold(0.0, f64::max);
    figures.insert("peak_rss_mb".into(), json!(peak));
    Ok(Value::Object(figures))
}
