//! What both stages need: a log, a route, records, memory figures.

use anyhow::{Context, Result};
use contract::{Clock, CrashPoints, Log, Sink, StateStore, StreamSpec, SystemClock};
use governor::GovernorConfig;
use log_store::{LogOptions, LogStore};
use model::{Column, ColumnType, Offset, RecordBatchBuilder, ReplicaIdentity, StreamPartition, TableName, TableSchema};
use pipeline::engine::{Engine, EngineError, EngineHandle, EngineParts, OrgParts};
use pipeline::spec::{LaneSpec, MapSource, PipelineSpec, RouteSpec};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const RECORDS_PER_APPEND: u64 = 500;

/// Log and state in a folder.
pub struct Stage {
    pub log: Arc<LogStore>,
    pub clock: Arc<SystemClock>,
    state: Arc<state_store::StateStore>,
}

/// A running engine.
pub struct Running {
    pub handle: EngineHandle,
    stop: CancellationToken,
    task: JoinHandle<Result<(), EngineError>>,
}

/// Bulk records to be written before a stage.
pub struct Fill {
    pub records: u64,
    pub keys: u64,
}

/// Appends bulk records: every key in turn, in an order that jumps about.
pub async fn fill(folder: &Path, fill: Fill) -> Result<Value> {
    let stage = Stage::open(folder).await?;
    stage.append((0, fill.records), "bulk", |n| n.wrapping_mul(2_654_435_761) % fill.keys).await?;
    stage.log.close();
    Ok(json!({}))
}

impl Stage {
    pub async fn open(folder: &Path) -> Result<Self> {
        let clock = Arc::new(SystemClock::new());
        let log = Arc::new(LogStore::open(&folder.join("log"), LogOptions::default(), clock.clone())?);
        let state = Arc::new(state_store::StateStore::open(&folder.join("state.db"))?);
        log.create_stream(&stream().stream, StreamSpec::default()).await?;
        Ok(Self { log, clock, state })
    }

    /// Appends records `[from, to)` of `id_of(n)`; answers when they are durable.
    pub async fn append(&self, range: (u64, u64), lane: &str, id_of: impl Fn(u64) -> u64) -> Result<Offset> {
        self.write(range, lane, id_of, self.clock.now_ms()).await
    }

    /// The same for records of keys of their own, at a time of the caller's (Unix milliseconds).
    pub async fn append_at(&self, range: (u64, u64), lane: &str, now_ms: i64) -> Result<Offset> {
        self.write(range, lane, |n| n, now_ms).await
    }

    async fn write(
        &self,
        (from, to): (u64, u64),
        lane: &str,
        id_of: impl Fn(u64) -> u64,
        now_ms: i64,
    ) -> Result<Offset> {
        let (mut batch, mut text) = (RecordBatchBuilder::default(), (String::new(), String::new()));
        let mut end = self.log.bounds(&stream())?.accepted_end();
        for n in from..to {
            push(&mut batch, &mut text, (id_of(n), n), lane, now_ms)?;
            if u64::from(batch.count()) == RECORDS_PER_APPEND || n + 1 == to {
                end = self.log.append(&stream(), batch.finish(), None).await?.accepted();
            }
        }
        self.log.until_durable(&stream(), end).await?;
        Ok(end.offset)
    }

    pub fn start(&self, route: RouteSpec, sink: Arc<dyn Sink>) -> Running {
        self.start_governed(route, sink, None, self.clock.clone())
    }

    /// Starts an engine with a governor and a clock of the caller's.
    pub fn start_governed(
        &self,
        route: RouteSpec,
        sink: Arc<dyn Sink>,
        governor: Option<GovernorConfig>,
        clock: Arc<dyn Clock>,
    ) -> Running {
        let parts = EngineParts {
            log: self.log.clone() as Arc<dyn Log>,
            state: self.state.clone() as Arc<dyn StateStore>,
            orgs: [(route.org.clone(), OrgParts { sink, governor, breaker: Default::default(), ledger: None })].into(),
            clock,
            crash: CrashPoints::default(),
            seed: 1,
        };
        let engine = Engine::new(PipelineSpec::new("bench".into(), vec![route]), parts);
        let (handle, stop) = (engine.handle(), CancellationToken::new());
        let task = tokio::spawn(engine.run(stop.clone()));
        Running { handle, stop, task }
    }
}

impl Running {
    /// Waits until the route's state is as wanted.
    pub async fn until(&mut self, wanted: impl Fn(&pipeline::engine::RouteStatus) -> bool) -> Result<()> {
        let mut watch = self.handle.watch();
        tokio::select! {
            reached = watch.wait_for(|status| status.routes.iter().all(&wanted)) => {
                reached.context("the engine ended early")?;
                Ok(())
            }
            ended = &mut self.task => {
                ended??;
                anyhow::bail!("the engine ended early")
            }
        }
    }

    /// Stops; what is in flight is settled.
    pub async fn stop(self) -> Result<()> {
        self.stop.cancel();
        Ok(self.task.await??)
    }

    /// Ends it as a crash does: nobody waits for a target that takes minutes.
    pub fn abandon(self) {
        self.task.abort();
    }
}

pub fn stream() -> StreamPartition {
    StreamPartition::first("bench".into())
}

/// The one route: table `shop.orders` to `Order__c` by external id.
pub fn route(lane: LaneSpec) -> RouteSpec {
    let column = |name: &str, kind| Column { name: name.into(), kind, nullable: name != "id" };
    let schema = TableSchema {
        table: TableName { schema: "shop".into(), name: "orders".into() },
        columns: vec![
            column("id", ColumnType::Int64),
            column("priority", ColumnType::Text { length: Some(10) }),
            column("revision", ColumnType::Int64),
            column("note", ColumnType::Text { length: None }),
        ],
        primary_key: vec!["id".into()],
        replica_identity: ReplicaIdentity::Default,
        identity_columns: vec!["id".into()],
    };
    let mut route = RouteSpec::upsert("orders", stream(), schema, ("org".into(), "Order__c".into()), "Key__c");
    let mapped = [("Key__c", "id"), ("Revision__c", "revision"), ("Note__c", "note")];
    route.map = mapped.map(|(field, column)| (field.to_owned(), MapSource::Column(column.to_owned()))).into();
    route.lane = lane;
    route
}

/// The fields of the sink's object.
pub fn fields() -> Vec<(String, contract::FieldKind)> {
    use contract::FieldKind::{Double, Text};
    [("Key__c", Text), ("Revision__c", Double), ("Note__c", Text)].map(|(name, kind)| (name.to_owned(), kind)).into()
}

/// An update as the capture writes it, of some 400 bytes.
fn push(
    batch: &mut RecordBatchBuilder,
    (key, value): &mut (String, String),
    (id, revision): (u64, u64),
    lane: &str,
    now_ms: i64,
) -> Result<()> {
    key.clear();
    value.clear();
    write!(key, r#"{{"id":{id}}}"#)?;
    write!(
        value,
        r#"{{"before":null,"after":{{"id":{id},"priority":"{lane}","revision":{revision},"note":"revision {revision} of order {id}: packed, weighed and waiting at the gate for the second carrier"}},"source":{{"version":"0.1.0","connector":"postgresql","name":"bench","ts_ms":{now_ms},"snapshot":"false","db":"shop","schema":"shop","table":"orders","txId":{revision},"lsn":{lsn}}},"op":"u","ts_ms":{now_ms}}}"#,
        lsn = 24_000_000 + revision * 128,
    )?;
    batch.push(now_ms, Some(key.as_bytes()), Some(value.as_bytes()), &[("op", b"u"), ("table", b"shop.orders")])?;
    Ok(())
}

/// Resident memory in MB: now, and the most since the process began.
pub fn rss_mb() -> Result<(f64, f64)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let figure = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes: f64 =
            line.with_context(|| format!("no {name} in /proc/self/status"))?.trim_end_matches("kB").trim().parse()?;
        Ok((kilobytes / 102.4).round() / 10.0)
    };
    Ok((figure("VmRSS:")?, figure("VmHWM:")?))
}

/// Processor time of this process so far, in seconds: what a rate on a busy machine must be read with.
pub fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The program's name stands in brackets and may hold blanks; user and system time are the 12th and 13th field after it,
    // in hundredths of a second (USER_HZ is 100 on every Linux that Rust runs on).
    let after = stat.rsplit_once(')').context("no name in /proc/self/stat")?.1;
    let ticks = after.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}

/// A quantile of sorted values.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or_default()
}
