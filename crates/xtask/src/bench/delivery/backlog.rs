//! A backlog drained by the router, by Collections only, and one record a call; and deadlines beside it.

use super::round;
use super::stage::{Bench, CALLS, route};
use crate::bench::window::stage::quantile;
use anyhow::{Result, ensure};
use model::Api;
use org_sim::LatencyModel;
use pipeline::router::ApiSetting;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// Records a second of the profile, when nothing but the org limits: thirty internal batches of 200 rows at 5.63 s each.
const PROFILE_BULK_PER_SECOND: f64 = 30.0 * 200.0 / 5.6286;
/// One-record calls that are measured; the backlog's time follows from their rate.
const SINGLES: u64 = 2_000;
/// Critical records a second beside the backlog, and their deadline.
const CRITICAL_PER_SECOND: u64 = 10;
const CRITICAL_DEADLINE: Duration = Duration::from_secs(5);

/// Calls by Collections alone; the profile changes nothing in their number.
pub async fn calls_by_collections(rows: u64) -> Result<Value> {
    let bench = Bench::start(LatencyModel::none()).await?;
    bench.append((0, rows), "bulk").await?;
    let used = bench.org.daily_requests_used();
    let mut running = bench.engine(route(ApiSetting::Only(Api::Collections), 200))?;
    running.until(|route| route.applied >= rows).await?;
    let calls = bench.org.daily_requests_used() - used;
    ensure!(bench.org.count("Order__c") as u64 == rows, "not every record is in the org");
    running.stop().await?;
    Ok(json!({"calls_per_1000_collections": round(calls as f64 * 1000.0 / rows as f64)}))
}

/// The router's own way, with critical records beside it.
pub async fn drained_by_router(rows: u64) -> Result<Value> {
    let bench = Bench::start(LatencyModel::realistic()).await?;
    bench.append((0, rows), "bulk").await?;
    let used = bench.org.daily_requests_used();
    let mut running = bench.engine(route(ApiSetting::Auto, 200))?;
    let began = bench.now();
    let mut sent: HashMap<String, i64> = HashMap::new();
    let mut next = rows;
    while running.handle.status().routes.iter().map(|route| route.applied).sum::<u64>() < rows {
        for _ in 0..CRITICAL_PER_SECOND / 2 {
            sent.insert(next.to_string(), bench.now_ms());
            bench.append((next, next + 1), "critical").await?;
            next += 1;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let drained = bench.now().saturating_sub(began).as_secs_f64();
    running.until(|route| route.applied >= next).await?;
    let status = running.handle.status();
    running.stop().await?;
    let by_api = &status.routes[0].by_api;
    let jobs = by_api.get(&Api::Bulk).copied().unwrap_or_default();
    let mut late: Vec<f64> = bench.applied_after(&sent);
    ensure!(late.len() == sent.len(), "a critical record is not in the org");
    late.sort_by(f64::total_cmp);
    let in_time = late.iter().filter(|ms| **ms <= CRITICAL_DEADLINE.as_millis() as f64).count();
    let allowed = rows as f64 / PROFILE_BULK_PER_SECOND;
    Ok(json!({
        "drain_seconds_router": round(drained),
        "drain_to_profile": round(drained / allowed),
        "calls_router": bench.org.daily_requests_used() - used,
        "bulk_jobs": jobs.batches,
        "bulk_rows": jobs.rows,
        "calls_per_job": round(jobs.calls as f64 / jobs.batches.max(1) as f64),
        "batches_per_10000_rows": round(jobs.bulk_batches as f64 / (jobs.rows as f64 / 10_000.0).max(1e-9)),
        "critical_records": sent.len(),
        "critical_deadline_met": round(in_time as f64 / late.len().max(1) as f64),
        "critical_p50_ms": quantile(&late, 0.5).round(),
        "critical_p99_ms": quantile(&late, 0.99).round(),
    }))
}

/// Collections only, with the same number of calls in flight.
pub async fn drained_by_static_writer(rows: u64) -> Result<Value> {
    let (seconds, calls) = drain(rows, ApiSetting::Only(Api::Collections), 200).await?;
    Ok(json!({"drain_seconds_static": round(seconds), "calls_static": calls, "calls_in_flight": CALLS}))
}

/// One record a call: what the backlog would take at the rate of some of them.
pub async fn drained_one_by_one(rows: u64) -> Result<Value> {
    let (seconds, calls) = drain(SINGLES, ApiSetting::Only(Api::Rest), 1).await?;
    Ok(json!({
        "single_records_measured": SINGLES,
        "single_calls": calls,
        "single_records_per_second": round(SINGLES as f64 / seconds),
        "drain_seconds_single": round(seconds / SINGLES as f64 * rows as f64),
    }))
}

async fn drain(rows: u64, api: ApiSetting, rows_max: usize) -> Result<(f64, u64)> {
    let bench = Bench::start(LatencyModel::realistic()).await?;
    bench.append((0, rows), "bulk").await?;
    let used = bench.org.daily_requests_used();
    let mut running = bench.engine(route(api, rows_max))?;
    let began = bench.now();
    running.until(|route| route.applied >= rows).await?;
    let seconds = bench.now().saturating_sub(began).as_secs_f64();
    running.stop().await?;
    Ok((seconds, bench.org.daily_requests_used() - used))
}

/// 500 standard records a second for a minute: how many are applied within five minutes.
pub async fn standard_at_500() -> Result<Value> {
    const SECONDS: u64 = 60;
    let bench = Bench::start(LatencyModel::realistic()).await?;
    let mut running = bench.engine(route(ApiSetting::Auto, 200))?;
    let mut sent: HashMap<String, i64> = HashMap::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for tick in 0..SECONDS * 10 {
        ticks.tick().await;
        let (from, to) = (tick * 50, tick * 50 + 50);
        let now_ms = bench.now_ms();
        sent.extend((from..to).map(|n| (n.to_string(), now_ms)));
        bench.append((from, to), "standard").await?;
    }
    running.until(|route| route.applied >= SECONDS * 500).await?;
    running.stop().await?;
    let mut late = bench.applied_after(&sent);
    late.sort_by(f64::total_cmp);
    let in_time = late.iter().filter(|ms| **ms <= 300_000.0).count();
    Ok(json!({
        "standard_records": sent.len(),
        "standard_deadline_met": round(in_time as f64 / sent.len() as f64),
        "standard_p50_ms": quantile(&late, 0.5).round(),
        "standard_p99_ms": quantile(&late, 0.99).round(),
    }))
}
