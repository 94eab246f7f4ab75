//! Ten million updates of a hundred thousand keys.

use super::stage::{Stage, fields, route, rss_mb};
use anyhow::{Result, ensure};
use contract::Clock;
use model::Lane;
use pipeline::engine::NullSink;
use pipeline::spec::LaneSpec;
use serde_json::{Value, json};
use std::sync::Arc;

const RECORDS: u64 = 10_000_000;
const KEYS: u64 = 100_000;
/// Memory is compared between here and the end.
const EARLY: u64 = 1_000_000;
/// The promised rate, per second.
const TARGET: f64 = 250_000.0;

pub async fn run() -> Result<Value> {
    let stage = Stage::open().await?;
    // Every key in turn, in an order that jumps about.
    let end = stage.append((0, RECORDS), "bulk", |n| n.wrapping_mul(2_654_435_761) % KEYS).await?;
    let sink = Arc::new(NullSink::new(fields()));
    let mut route = route(LaneSpec::Constant(Lane::Standard));
    // The null sink takes this many at once; a Collections call takes 200.
    route.batch.rows_max = 2000;
    let before_mb = rss_mb()?;
    let began = stage.clock.monotonic();
    let mut running = stage.start(route, sink.clone());
    let (mut peak_mb, mut early_mb) = (0.0_f64, 0.0_f64);
    for step in 1..=RECORDS / EARLY {
        running.until(|status| status.settled_offset.0 >= step * EARLY).await?;
        let now_mb = rss_mb()?;
        peak_mb = peak_mb.max(now_mb);
        if step == 1 {
            early_mb = now_mb;
        }
    }
    let seconds = (stage.clock.monotonic() - began).as_secs_f64();
    let status = running.handle.status();
    running.stop().await?;
    ensure!(end.0 == RECORDS && sink.rows() == RECORDS, "{} of {RECORDS} rows reached the sink", sink.rows());
    let rate = RECORDS as f64 / seconds;
    Ok(json!({
        "records": RECORDS,
        "keys": KEYS,
        "records_per_second": rate.round(),
        "ratio_target_rate": (rate / TARGET * 1000.0).round() / 1000.0,
        "flow_seconds": (seconds * 10.0).round() / 10.0,
        "flow_batches": status.routes.iter().map(|route| route.batches).sum::<u64>(),
        "flow_rss_start_mb": before_mb,
        "flow_rss_first_million_mb": early_mb,
        "flow_rss_peak_mb": peak_mb,
        "flow_rss_end_mb": rss_mb()?,
    }))
}
