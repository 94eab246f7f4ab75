//! Ten million updates of a hundred thousand keys.

use super::stage::{Stage, cpu_seconds, fields, route, rss_mb};
use anyhow::{Result, ensure};
use contract::Clock;
use model::Lane;
use pipeline::engine::NullSink;
use pipeline::spec::LaneSpec;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

pub const RECORDS: u64 = 10_000_000;
pub const KEYS: u64 = 100_000;
/// Memory is looked at after each so many.
const STEP: u64 = 1_000_000;
/// The promised rate, per second.
const TARGET: f64 = 250_000.0;

pub async fn run(folder: &Path) -> Result<Value> {
    let stage = Stage::open(folder).await?;
    let sink = Arc::new(NullSink::new(fields()));
    let mut route = route(LaneSpec::Constant(Lane::Standard));
    // The null sink takes this many at once; a Collections call takes 200.
    route.batch.rows_max = 2000;
    let (began, cpu_before) = (stage.clock.monotonic(), cpu_seconds()?);
    let mut running = stage.start(route, sink.clone());
    let mut memory_mb = Vec::new();
    for step in 1..=RECORDS / STEP {
        running.until(|status| status.settled_offset.0 >= step * STEP).await?;
        memory_mb.push(rss_mb()?.0);
    }
    let seconds = (stage.clock.monotonic() - began).as_secs_f64();
    let cpu = cpu_seconds()? - cpu_before;
    let status = running.handle.status();
    running.stop().await?;
    ensure!(sink.rows() == RECORDS, "{} of {RECORDS} rows reached the sink", sink.rows());
    let rate = RECORDS as f64 / seconds;
    Ok(json!({
        "records": RECORDS,
        "keys": KEYS,
        "records_per_second": rate.round(),
        "ratio_target_rate": (rate / TARGET * 1000.0).round() / 1000.0,
        "flow_seconds": (seconds * 10.0).round() / 10.0,
        "flow_cpu_us_per_record": (cpu * 1e8 / RECORDS as f64).round() / 100.0,
        "flow_batches": status.routes.iter().map(|route| route.batches).sum::<u64>(),
        "flow_rss_1000000_mb": memory_mb.first(),
        "flow_rss_5000000_mb": memory_mb.get(4),
        "flow_rss_10000000_mb": memory_mb.last(),
        "flow_peak_rss_mb": rss_mb()?.1,
    }))
}
