//! `bench log`: appends that are durable batch by batch, against a bare `write` + `fdatasync` loop over the same bytes;
//! and a sequential read.
//!
//! Rounds of both take turns, so that a slow moment of the disk hits both; medians are compared.

use anyhow::{Context, Result, ensure};
use contract::{Clock, Log, StreamSpec, SystemClock};
use log_store::{LogOptions, LogStore};
use model::{Offset, RecordBatch, RecordBatchBuilder, StreamId, StreamPartition};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const RECORDS_PER_BATCH: usize = 500;
const BATCHES: usize = 400;
const ROUNDS: usize = 5;
/// Different batches, so that no compressor or cache sees the same bytes at once.
const DIFFERENT_BATCHES: usize = 16;
const READ_BYTES: usize = 4 << 20;

/// Runs the bench; the object holds the rates of both sides, `ratio_bare_loop`, `read_records_per_second`, `peak_rss_mb`.
pub async fn run() -> Result<Value> {
    let clock = SystemClock::new();
    let batches = batches(7)?;
    let (mut bare, mut ours, mut reads, mut syncs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut stored_bytes = 0;
    for round in 0..=ROUNDS {
        let dir = tempfile::Builder::new().prefix("bench-log-").tempdir_in(bench_folder())?;
        let (bare_rate, sync) = bare_loop(&clock, &batches, dir.path())?;
        let log = open(&dir.path().join("log"))?;
        let of = StreamPartition::first(StreamId::new("bench"));
        log.create_stream(&of.stream, StreamSpec::default()).await?;
        let rate = append(&clock, &*log, &of, &batches).await?;
        let read = read(&clock, &*log, &of).await?;
        stored_bytes = folder_bytes(&dir.path().join("log"))?;
        // The first round only warms up.
        if round > 0 {
            bare.push(bare_rate);
            ours.push(rate);
            reads.push(read);
            syncs.push(sync);
        }
    }
    let (bare, ours) = (median(bare), median(ours));
    Ok(json!({
        "bench": "log",
        "records": BATCHES * RECORDS_PER_BATCH,
        "records_per_batch": RECORDS_PER_BATCH,
        "append_records_per_second": ours.round(),
        "bare_records_per_second": bare.round(),
        "ratio_bare_loop": (ours / bare * 1000.0).round() / 1000.0,
        "read_records_per_second": median(reads).round(),
        "bare_batch_ms": (median(syncs) * 1000.0).round() / 1000.0,
        "stored_mb": stored_bytes / 1_000_000,
        "payload_mb": BATCHES * batches[0].bytes().len() / 1_000_000,
        "peak_rss_mb": peak_rss_mb()?,
    }))
}

fn open(root: &Path) -> Result<Arc<LogStore>> {
    Ok(Arc::new(LogStore::open(root, LogOptions::default(), Arc::new(SystemClock::new()))?))
}

/// A folder on a real disk: the system's temporary folder may be memory.
fn bench_folder() -> PathBuf {
    let target = PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    if target.is_dir() { target } else { std::env::temp_dir() }
}

/// Records of about 1 KB: half of each is text, half is noise.
fn batches(seed: u64) -> Result<Vec<RecordBatch>> {
    let mut random = StdRng::seed_from_u64(seed);
    let words =
        ["Street Light Condition", "Brooklyn", "status", "Closed", "agency", "2026-11-02T10:15:00", "NYPD", "\":\""];
    let mut builder = RecordBatchBuilder::default();
    let mut batches = Vec::with_capacity(DIFFERENT_BATCHES);
    for _ in 0..DIFFERENT_BATCHES {
        for _ in 0..RECORDS_PER_BATCH {
            let mut value = Vec::with_capacity(1024);
            while value.len() < 512 {
                value.extend_from_slice(words[random.random_range(0..words.len())].as_bytes());
                value.extend_from_slice(random.random_range(0..100_000u32).to_string().as_bytes());
            }
            value.truncate(512);
            value.resize(1024, 0);
            random.fill_bytes(&mut value[512..]);
            builder.push(0, Some(&random.next_u64().to_be_bytes()), Some(&value), &[])?;
        }
        batches.push(builder.finish());
    }
    Ok(batches)
}

/// Returns records per second and the median milliseconds of a batch.
fn bare_loop(clock: &SystemClock, batches: &[RecordBatch], dir: &Path) -> Result<(f64, f64)> {
    let path = dir.join("bare");
    let mut file = File::create(&path)?;
    let (began, mut times) = (clock.monotonic(), Vec::with_capacity(BATCHES));
    for batch in batches.iter().cycle().take(BATCHES) {
        let batch_began = clock.monotonic();
        file.write_all(batch.bytes())?;
        file.sync_data()?;
        times.push((clock.monotonic() - batch_began).as_secs_f64() * 1000.0);
    }
    let rate = rate(clock.monotonic() - began);
    std::fs::remove_file(path)?;
    Ok((rate, median(times)))
}

async fn append(clock: &SystemClock, log: &dyn Log, of: &StreamPartition, batches: &[RecordBatch]) -> Result<f64> {
    let began = clock.monotonic();
    for batch in batches.iter().cycle().take(BATCHES) {
        let appended = log.append(of, batch.clone(), None).await?;
        log.until_durable(of, appended.accepted()).await?;
    }
    Ok(rate(clock.monotonic() - began))
}

async fn read(clock: &SystemClock, log: &dyn Log, of: &StreamPartition) -> Result<f64> {
    let end = log.bounds(of)?.durable;
    let (began, mut at, mut records, mut bytes) = (clock.monotonic(), Offset(0), 0, 0);
    while at < end {
        for batch in log.read(of, at, READ_BYTES).await? {
            for record in &batch.records {
                records += 1;
                bytes += record.value.map_or(0, <[u8]>::len);
            }
            at = batch.end();
        }
    }
    let rate = rate(clock.monotonic() - began);
    ensure!(records == BATCHES * RECORDS_PER_BATCH && bytes == records * 1024, "the log gave back something else");
    Ok(rate)
}

fn rate(time: Duration) -> f64 {
    (BATCHES * RECORDS_PER_BATCH) as f64 / time.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn folder_bytes(dir: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        total += if meta.is_dir() { folder_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(total)
}

fn peak_rss_mb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes / 1024)
}
