//! `bench delivery`: what a backlog costs and how long it takes, whether deadlines hold beside it, and a day at twice what the
//! allocations permit.
//!
//! Log, engine and connector in this process, against the simulated org over HTTP on loopback. The backlog's stages run in the
//! realistic profile (a call of 200 records takes 5.7 s, a Bulk job some 180 records/s), so they take minutes of real time; the
//! day runs on a clock that is moved on whenever nothing is under way.

mod backlog;
mod day;
mod stage;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// What is measured.
pub struct Options {
    /// Records of the backlog.
    pub rows: u64,
    /// None: every stage.
    pub stage: Option<String>,
}

/// In the order in which they run.
pub const STAGES: [&str; 6] = ["collections", "router", "static", "single", "standard", "day"];

/// Runs every stage; one flat object.
///
/// # Errors
/// When a stage cannot be run or a record was not applied.
pub async fn run(options: Options) -> Result<Value> {
    let mut out = Map::new();
    out.insert("bench".into(), json!("delivery"));
    out.insert("rows".into(), json!(options.rows));
    for stage in STAGES {
        if options.stage.as_deref().is_some_and(|only| only != stage) {
            continue;
        }
        let figures = match stage {
            "collections" => backlog::calls_by_collections(options.rows).await,
            "router" => backlog::drained_by_router(options.rows).await,
            "static" => backlog::drained_by_static_writer(options.rows).await,
            "single" => backlog::drained_one_by_one(options.rows).await,
            "standard" => backlog::standard_at_500().await,
            _ => day::at_twice_the_allocation().await,
        };
        let figures = figures.with_context(|| format!("the stage {stage}"))?;
        if let Value::Object(figures) = figures {
            out.extend(figures);
        }
    }
    if options.stage.is_some() {
        return Ok(Value::Object(out));
    }
    let seconds = |name: &str| out.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let router = seconds("drain_seconds_router");
    let ratios = [seconds("drain_seconds_static") / router, seconds("drain_seconds_single") / router];
    out.insert("ratio_static_to_router_seconds".into(), json!(round(ratios[0])));
    out.insert("ratio_single_to_router_seconds".into(), json!(round(ratios[1])));
    Ok(Value::Object(out))
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
