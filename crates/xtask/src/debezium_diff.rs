//! `cargo xtask debezium-diff`: the same changes read by Penstock in `json: debezium` and by Debezium itself.
//!
//! ```text
//!   types.sql, changes.sql ──> private PostgreSQL ──slot──> PostgresSource ──> log ──> events ─┐
//!                                      └──────────slot──> Debezium's engine ──> JSON lines ────┴─> compare
//! ```
//!
//! Needs a JDK (17 or later), Python's pip and unzip; without a JDK it says so and counts as skipped.

mod compare;

use anyhow::{Context, bail, ensure};
use connector_postgres::{PostgresConfig, PostgresSource};
use contract::{
    AdmitAll, CrashPoints, Log, LogBatch, Source, SourceContext, SourceStatus, StreamBinding, StreamSpec, SystemClock,
};
use log_store::{LogOptions, LogStore};
use model::{Offset, SourceId, StreamId, StreamPartition, TableName, ValueMode};
use private_postgres::{Options, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const TYPES: &str = include_str!("../debezium/types.sql");
const CHANGES: &str = include_str!("../debezium/changes.sql");
const RUNNER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/debezium/run.sh");
const DATABASE: &str = "diff";
/// How long either side may take: Debezium's jars are downloaded on the first run.
const PATIENCE: Duration = Duration::from_secs(600);

/// One event as either side tells it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) key: Value,
    pub(crate) value: Value,
    /// Ours only: columns that `after` lacks because nobody knows them.
    pub(crate) unchanged: Vec<String>,
}

/// Runs both and compares field by field. `ok` is false when a field differs that is no documented difference.
///
/// # Errors
/// When a side cannot be run, or does not deliver in ten minutes.
pub async fn run() -> anyhow::Result<Value> {
    if !has_jdk().await {
        return Ok(json!({"ok": true, "skipped": "no JDK on the PATH (javac)"}));
    }
    let server = Server::start(Options::default()).await?;
    server.execute("postgres", &format!("CREATE DATABASE {DATABASE}")).await?;
    server.execute(DATABASE, TYPES).await?;
    server.execute(DATABASE, "SELECT pg_create_logical_replication_slot('debezium', 'pgoutput')").await?;
    let ours = read_ours(&server).await?;
    // Debezium writes a tombstone after each delete.
    let deletes = ours.iter().filter(|event| event.value["op"] == "d").count();
    let theirs = read_theirs(&server, ours.len() + deletes).await?;
    Ok(compare::compare(&ours, &theirs).report())
}

async fn has_jdk() -> bool {
    let found = Command::new("javac").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    found.is_ok_and(|status| status.success())
}

/// Captures the changes with a source that was there before them, up to the truncate that ends them.
async fn read_ours(server: &Server) -> anyhow::Result<Vec<Event>> {
    let folder = tempfile::tempdir()?;
    let to = StreamPartition::first(StreamId::new("diff"));
    let log =
        Arc::new(LogStore::open(&folder.path().join("log"), LogOptions::default(), Arc::new(SystemClock::new()))?);
    log.create_stream(&to.stream, StreamSpec::default()).await?;
    let keys = keys(server).await?;
    let config = PostgresConfig {
        publication: "diff_pub".into(),
        slot: "ours".into(),
        keys: keys.clone(),
        value_mode: ValueMode::Debezium,
        snapshot: false,
        // Its messages would be events for Debezium.
        heartbeat: Duration::ZERO,
        ..PostgresConfig::new(server.url(DATABASE), keys.keys().cloned().collect())
    };
    let stop = CancellationToken::new();
    let status = Arc::new(watch::Sender::new(SourceStatus::default()));
    let mut connected = status.subscribe();
    let context = SourceContext {
        source: SourceId::new("penstock"),
        log: log.clone(),
        state: Arc::new(state_store::StateStore::open(&folder.path().join("state.db"))?),
        clock: Arc::new(SystemClock::new()),
        streams: vec![StreamBinding { to: to.clone(), keys, transactions: false }],
        stop: stop.clone(),
        admission: Arc::new(AdmitAll),
        crash: CrashPoints::default(),
        status,
        seed: 1,
    };
    let mut capture = tokio::spawn(async move { PostgresSource::new(config).run(context).await });
    let read = async {
        connected.wait_for(|status| status.connected).await?;
        server.execute(DATABASE, CHANGES).await?;
        read_until_truncate(log.as_ref(), &to).await
    };
    let events = tokio::select! {
        events = tokio::time::timeout(PATIENCE, read) => events.context("Penstock did not deliver in time")??,
        ended = &mut capture => bail!("the capture ended early: {ended:?}"),
    };
    stop.cancel();
    capture.await??;
    Ok(events)
}

/// The tables of the schema with their primary keys; none for a table without.
async fn keys(server: &Server) -> anyhow::Result<BTreeMap<TableName, Vec<String>>> {
    let sql = server.connect(DATABASE).await?;
    let rows = sql
        .query(
            "SELECT c.relname::text, coalesce((SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum)) \
             FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey) \
             WHERE i.indrelid = c.oid AND i.indisprimary), '{}') \
             FROM pg_class c WHERE c.relnamespace = 'diff'::regnamespace AND c.relkind = 'r'",
            &[],
        )
        .await?;
    rows.iter().map(|row| Ok((TableName { schema: "diff".into(), name: row.try_get(0)? }, row.try_get(1)?))).collect()
}

async fn read_until_truncate(log: &LogStore, from: &StreamPartition) -> anyhow::Result<Vec<Event>> {
    let (mut at, mut events) = (Offset(0), Vec::new());
    loop {
        log.until_past(from, at).await?;
        for batch in log.read(from, at, 1 << 20).await? {
            at = batch.end();
            take_batch(&batch, &mut events)?;
        }
        if events.last().is_some_and(|event: &Event| event.value["op"] == "t") {
            return Ok(events);
        }
    }
}

fn take_batch(batch: &LogBatch, events: &mut Vec<Event>) -> anyhow::Result<()> {
    for record in &batch.records {
        let parse = |bytes: Option<&[u8]>| bytes.map_or(Ok(Value::Null), serde_json::from_slice);
        let unchanged = record.header(model::header::UNCHANGED).map_or(Ok(Vec::new()), serde_json::from_slice)?;
        events.push(Event { key: parse(record.key)?, value: parse(record.value)?, unchanged });
    }
    Ok(())
}

/// Runs Debezium's engine over its own slot. Tombstones are left out.
async fn read_theirs(server: &Server, count: usize) -> anyhow::Result<Vec<Event>> {
    ensure!(Path::new(RUNNER).exists(), "{RUNNER} is missing");
    let port = server.port().to_string();
    let user = user_of(&server.url(DATABASE))?;
    let count = count.to_string();
    // The server trusts this machine: the password is not looked at, but Debezium wants one.
    let arguments = ["127.0.0.1", &port, DATABASE, &user, "none", "debezium", "diff_pub", "diff[.].*", &count];
    let run = Command::new("sh").arg(RUNNER).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run).await.context("Debezium did not deliver in time")??;
    let text = String::from_utf8(output.stdout)?;
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("{\"key\":")).collect();
    let complaint = || String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!lines.is_empty(), "Debezium wrote no event: {}", complaint());
    let mut events = Vec::new();
    for line in lines {
        let mut event: Value = serde_json::from_str(line).with_context(|| format!("Debezium wrote {line:?}"))?;
        let (key, value) = (event["key"].take(), event["value"].take());
        if !value.is_null() {
            events.push(Event { key, value, unchanged: Vec::new() });
        }
    }
    Ok(events)
}

fn user_of(url: &str) -> anyhow::Result<String> {
    let config: tokio_postgres::Config = url.parse()?;
    Ok(config.get_user().context("the server's URL names no user")?.to_owned())
}
