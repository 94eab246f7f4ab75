//! `bench capture`: a slot's changes into the durable log, against `pg_recvlogical` (which writes the same changes to a file,
//! from slots at the same position) and Debezium's embedded engine.
//!
//! ```text
//!   load once: 200,000 customers, 400,000 orders, 400,000 order updates, REPLICA IDENTITY FULL, transactions of 1,000
//!   rounds:    pg_recvlogical ─ slot a1 ─> file        |  in turn, each round on fresh slots that were made before
//!              this program, as a process of its own ─ slot b1 ─> log, until everything is durable and confirmed
//!   then:      one transaction of 5,000,000 rows, for its memory
//! ```

use anyhow::{Context, Result, bail, ensure};
use connector_postgres::{PostgresConfig, PostgresSource};
use contract::{
    AdmitAll, Clock, CrashPoints, Log, Source, SourceContext, SourceStatus, StreamBinding, StreamSpec, SystemClock,
};
use log_store::{LogOptions, LogStore};
use model::{Lsn, SourceId, StreamId, StreamPartition, TableName};
use private_postgres::{Options, Server};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 3;
const CUSTOMERS: u64 = 200_000;
const ORDERS: u64 = 400_000;
const CHANGES: u64 = CUSTOMERS + 2 * ORDERS;
const LARGE_TRANSACTION: u64 = 5_000_000;
const DATABASE: &str = "shop";
const PUBLICATION: &str = "shop";
/// Debezium, run the same way by everybody.
const DEBEZIUM: &str = "../shared/bench/debezium/run.sh";
/// Set for the process that captures; its value is a `Task`.
const CHILD: &str = "PENSTOCK_BENCH_CAPTURE_CHILD";

const SCHEMA: &str = "\
CREATE TABLE customer (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, name text NOT NULL, address jsonb NOT NULL, \
created_at timestamptz NOT NULL); \
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, total numeric(12, 2) NOT NULL, status text NOT NULL, \
items jsonb NOT NULL, created_at timestamptz NOT NULL); \
CREATE TABLE large (id bigint PRIMARY KEY, name text NOT NULL, total numeric(12, 2)); \
ALTER TABLE customer REPLICA IDENTITY FULL; ALTER TABLE orders REPLICA IDENTITY FULL; \
CREATE PUBLICATION shop FOR TABLE customer, orders, large";

/// What the capturing process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Task {
    url: String,
    slot: String,
    changes: u64,
    /// The load's end in the WAL.
    end: u64,
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Captured {
    seconds: f64,
    peak_rss_mb: f64,
    cpu_seconds: f64,
    log_mb: u64,
}

/// Runs the bench; in the process that captures, that one's part.
///
/// # Errors
/// When a server, `pg_recvlogical` or the capture cannot be run, or changes are missing.
pub async fn run() -> Result<Value> {
    if let Ok(task) = std::env::var(CHILD) {
        return Ok(serde_json::to_value(capture(serde_json::from_str(&task)?).await?)?);
    }
    let options =
        Options::default().set("max_wal_size", "8GB").set("checkpoint_timeout", "1h").set("autovacuum", "off");
    let server = Server::start(options).await?;
    server.execute("postgres", &format!("CREATE DATABASE {DATABASE}")).await?;
    server.execute(DATABASE, SCHEMA).await?;
    for slot in slots() {
        server.execute(DATABASE, &format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await?;
    }
    let end = load(&server).await?;
    let (mut peer, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        peer.push(CHANGES as f64 / pg_recvlogical(&server, &format!("peer{round}"), end).await?);
        ours.push(captured(&server, &format!("ours{round}"), CHANGES, end).await?);
    }
    let debezium = debezium(&server).await?;
    let large = large_transaction(&server).await?;
    let rate = median(ours.iter().map(|run| CHANGES as f64 / run.seconds).collect());
    let peer = median(peer);
    let mut figures = json!({
        "bench": "capture",
        "changes": CHANGES,
        "penstock_changes_per_second": rate.round(),
        "pg_recvlogical_changes_per_second": peer.round(),
        "ratio_pg_recvlogical": rounded(rate / peer),
        "peak_rss_mb": rounded(ours.iter().map(|run| run.peak_rss_mb).fold(0.0, f64::max)),
        "cpu_seconds": rounded(median(ours.iter().map(|run| run.cpu_seconds).collect())),
        "log_mb": ours.last().map(|run| run.log_mb),
        "large_transaction_rows": LARGE_TRANSACTION,
        "large_transaction_changes_per_second": (LARGE_TRANSACTION as f64 / large.seconds).round(),
        "large_transaction_peak_rss_mb": rounded(large.peak_rss_mb),
    });
    match debezium {
        Ok(peer) => {
            figures["debezium_changes_per_second"] = json!(peer.round());
            figures["ratio_debezium"] = json!(rounded(rate / peer));
        }
        Err(why) => figures["debezium"] = json!(format!("skipped: {why}")),
    }
    Ok(figures)
}

fn slots() -> Vec<String> {
    let rounds = (0..ROUNDS).flat_map(|round| [format!("peer{round}"), format!("ours{round}")]);
    rounds.chain(["debezium".to_owned()]).collect()
}

/// Writes the changes; returns the end of the WAL behind them.
async fn load(server: &Server) -> Result<Lsn> {
    let sql = server.connect(DATABASE).await?;
    for first in (0..CUSTOMERS).step_by(1000) {
        sql.batch_execute(&format!(
            "INSERT INTO customer SELECT g, 'customer' || g || '@example.com', 'Customer number ' || g, \
             jsonb_build_object('street', 'Main street ' || g, 'city', 'City ' || g % 500, 'zip', (10000 + g % 80000)::text, 'country', 'DE'), \
             timestamptz '2026-01-01' + g * interval '1 second' FROM generate_series({first}, {}) g",
            first + 999
        ))
        .await?;
    }
    for first in (0..ORDERS).step_by(1000) {
        sql.batch_execute(&format!(
            "INSERT INTO orders SELECT g, g % {CUSTOMERS}, (g % 100000) / 100.0, 'new', \
             jsonb_build_array(jsonb_build_object('sku', 'SKU-' || g % 1000, 'quantity', 1 + g % 5, 'price', (g % 9900) / 100.0), \
             jsonb_build_object('sku', 'SKU-' || g % 777, 'quantity', 1, 'price', 9.99)), \
             timestamptz '2026-02-01' + g * interval '1 second' FROM generate_series({first}, {}) g",
            first + 999
        ))
        .await?;
    }
    for first in (0..ORDERS).step_by(1000) {
        let last = first + 999;
        sql.batch_execute(&format!(
            "UPDATE orders SET status = 'paid', total = total + 1 WHERE id BETWEEN {first} AND {last}"
        ))
        .await?;
    }
    wal_end(&sql).await
}

/// Returns the place behind a message that was written now, so that a reader surely comes past it.
async fn wal_end(sql: &tokio_postgres::Client) -> Result<Lsn> {
    let statement = "SELECT (pg_logical_emit_message(true, 'bench', 'end') - '0/0')::int8";
    Ok(Lsn(sql.query_one(statement, &[]).await?.get::<_, i64>(0) as u64))
}

/// Lets `pg_recvlogical` write the slot's changes to a file; returns seconds.
async fn pg_recvlogical(server: &Server, slot: &str, end: Lsn) -> Result<f64> {
    let dir = tempfile::tempdir_in(bench_folder())?;
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let beside = server.binaries().dir.join("pg_recvlogical");
    // A bare server's folder lacks the client programs.
    let program = if beside.is_file() { beside } else { PathBuf::from("pg_recvlogical") };
    let status = Command::new(&program)
        .args(["--start", "--no-loop", "--slot", slot, "--dbname", &server.url(DATABASE)])
        .args(["--option", "proto_version=1", "--option", &format!("publication_names={PUBLICATION}")])
        .args(["--endpos", &end.to_string(), "--file"])
        .arg(dir.path().join("changes"))
        .stderr(Stdio::null())
        .status()
        .await
        .with_context(|| format!("running {}", program.display()))?;
    ensure!(status.success(), "pg_recvlogical failed: {status}");
    Ok((clock.monotonic() - began).as_secs_f64())
}

/// Runs this program as the process that captures.
async fn captured(server: &Server, slot: &str, changes: u64, end: Lsn) -> Result<Captured> {
    let task = Task { url: server.url(DATABASE), slot: slot.to_owned(), changes, end: end.0 };
    let output = Command::new(std::env::current_exe()?)
        .args(["bench", "capture", "--json"])
        .env(CHILD, serde_json::to_string(&task)?)
        .stderr(Stdio::inherit())
        .output()
        .await?;
    ensure!(output.status.success(), "the capturing process failed: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// One transaction of five million rows.
async fn large_transaction(server: &Server) -> Result<Captured> {
    server.execute(DATABASE, "SELECT pg_create_logical_replication_slot('large', 'pgoutput')").await?;
    let sql = server.connect(DATABASE).await?;
    sql.batch_execute(&format!(
        "INSERT INTO large SELECT g, 'name of row ' || g, g / 100.0 FROM generate_series(1, {LARGE_TRANSACTION}) g"
    ))
    .await?;
    let end = wal_end(&sql).await?;
    captured(server, "large", LARGE_TRANSACTION, end).await
}

/// Lets Debezium drain its slot; changes per second, or why it was not run.
async fn debezium(server: &Server) -> Result<Result<f64, String>> {
    let script = Path::new(DEBEZIUM);
    if !script.exists() {
        return Ok(Err(format!("{DEBEZIUM} is not here")));
    }
    if Command::new("javac").arg("-version").output().await.is_err() {
        return Ok(Err("Java is missing".into()));
    }
    let (port, changes) = (server.port().to_string(), CHANGES.to_string());
    let tables = "public.customer,public.orders";
    let arguments = ["127.0.0.1", &port, DATABASE, "postgres", "none", "debezium", PUBLICATION, tables, &changes];
    let cache = std::env::var_os("PEER_CACHE").map_or_else(|| bench_folder().join("peer-cache"), PathBuf::from);
    std::fs::create_dir_all(&cache)?;
    let output = Command::new("sh").arg(script).args(arguments).env("PEER_CACHE", cache).output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(line) = text.lines().rfind(|line| line.starts_with('{')) else {
        return Ok(Err(format!("it gave no figures ({})", output.status)));
    };
    let answer: Value = serde_json::from_str(line)?;
    match (answer["ok"].as_bool(), answer["records_per_second"].as_f64()) {
        (Some(true), Some(rate)) => Ok(Ok(rate)),
        _ => bail!("Debezium did not read everything: {line}"),
    }
}

/// The capturing process: from its start to everything durable and confirmed.
async fn capture(task: Task) -> Result<Captured> {
    let dir = tempfile::tempdir_in(bench_folder())?;
    let clock = Arc::new(SystemClock::new());
    let began = clock.monotonic();
    let log = Arc::new(LogStore::open(&dir.path().join("log"), LogOptions::default(), clock.clone())?);
    let to = StreamPartition::first(StreamId::new("shop"));
    log.create_stream(&to.stream, StreamSpec::default()).await?;
    let tables = ["customer", "orders", "large"].map(|name| TableName { schema: "public".into(), name: name.into() });
    let keys = tables.iter().map(|table| (table.clone(), vec!["id".to_owned()])).collect();
    let config = PostgresConfig {
        publication: PUBLICATION.into(),
        slot: task.slot,
        snapshot: false,
        heartbeat: Duration::ZERO,
        ..PostgresConfig::new(task.url, tables.to_vec())
    };
    let status = watch::Sender::new(SourceStatus::default());
    let mut seen = status.subscribe();
    let ctx = SourceContext {
        source: SourceId::new("shop"),
        log: log.clone(),
        state: Arc::new(state_store::StateStore::open(&dir.path().join("state.db"))?),
        clock: clock.clone(),
        streams: vec![StreamBinding { to: to.clone(), keys, transactions: false }],
        stop: CancellationToken::new(),
        admission: Arc::new(AdmitAll),
        crash: CrashPoints::default(),
        status: Arc::new(status),
        seed: 1,
    };
    let stop = ctx.stop.clone();
    let run = tokio::spawn(async move { PostgresSource::new(config).run(ctx).await });
    seen.wait_for(|status| status.changes >= task.changes && status.received_lsn >= Lsn(task.end)).await?;
    stop.cancel();
    run.await??;
    let seconds = (clock.monotonic() - began).as_secs_f64();
    let records = log.bounds(&to)?.durable.0;
    ensure!(records == task.changes, "{records} records of {} are durable", task.changes);
    Ok(Captured { seconds, peak_rss_mb: peak_rss_mb()?, cpu_seconds: cpu_seconds()?, log_mb: folder_mb(dir.path())? })
}

/// The most memory that this process had, in MB.
fn peak_rss_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("the peak of memory is read from /proc")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("/proc tells no VmHWM")?;
    let kib: f64 = line.split_whitespace().nth(1).context("VmHWM has a number")?.parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Processor time of this process, user and system.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().filter_map(|index| fields.get(*index)?.parse::<f64>().ok()).sum();
    // Linux counts in hundredths of a second on every machine that this runs on.
    Ok(ticks / 100.0)
}

fn folder_mb(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes +=
            if entry.file_type()?.is_dir() { folder_mb(&entry.path())? * 1_000_000 } else { entry.metadata()?.len() };
    }
    Ok(bytes / 1_000_000)
}

/// A disk, not a memory file system: the log's `fdatasync` is part of the figure.
fn bench_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    if target.is_dir() { target } else { std::env::temp_dir() }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
