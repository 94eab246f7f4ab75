//! A database of its own for each test on one shared server, a log, a state store, and a source that can be started,
//! stopped and dropped at any point.

use connector_postgres::{PostgresConfig, PostgresSource};
use contract::{
    Admission, AdmitAll, CrashPoints, Log, Source, SourceContext, SourceEnd, SourceError, SourceStatus, StateStore,
    StreamBinding, StreamSpec, SystemClock, TablePhase,
};
use log_store::{LogOptions, LogStore};
use model::{Lsn, Offset, SourceId, StreamId, StreamPartition, TableName};
use private_postgres::{Options, Server};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

static SERVER: OnceCell<Server> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The server that tests share; stopped by its guardian when this process ends.
pub async fn shared_server() -> &'static Server {
    SERVER.get_or_init(|| async { Server::start(options()).await.expect("a PostgreSQL server") }).await
}

/// What every test's server is started with.
pub fn options() -> Options {
    Options::default().set("max_wal_senders", 60).set("max_replication_slots", 60).set("max_connections", 250)
}

/// One test's database, log and state.
pub struct Bed {
    pub url: String,
    pub sql: tokio_postgres::Client,
    pub config: PostgresConfig,
    pub keys: BTreeMap<TableName, Vec<String>>,
    pub log: Arc<LogStore>,
    pub state: Arc<dyn StateStore>,
    pub slot: String,
    pub dir: TempDir,
}

/// A record as tests look at it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub table: String,
    pub op: String,
    pub key: Value,
    /// Null for a tombstone.
    pub value: Value,
    pub unchanged: Option<Value>,
    pub chunk: Option<String>,
}

impl Seen {
    pub fn after(&self) -> &Value {
        &self.value["after"]
    }
}

impl Bed {
    /// Makes a database on the shared server and runs `ddl` in it. `tables`: `schema.table` and its business key.
    pub async fn new(ddl: &str, tables: &[(&str, &[&str])]) -> Self {
        let server = shared_server().await;
        Self::on(server, ddl, tables).await
    }

    pub async fn on(server: &Server, ddl: &str, tables: &[(&str, &[&str])]) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = format!("bed{number}");
        server.execute("postgres", &format!("CREATE DATABASE {database}")).await.expect("makes a database");
        let sql = server.connect(&database).await.expect("connects");
        sql.batch_execute(ddl).await.expect("makes the tables");
        let named = |name: &str| TableName::parse(name).expect("a table name");
        let keys: BTreeMap<_, _> = tables
            .iter()
            .map(|(name, key)| (named(name), key.iter().map(|column| (*column).to_owned()).collect()))
            .collect();
        let url = server.url(&database);
        let slot = format!("slot{number}");
        let config = PostgresConfig {
            slot: slot.clone(),
            heartbeat: Duration::from_millis(100),
            confirm_interval: Duration::from_millis(5),
            status_interval: Duration::from_millis(100),
            backoff: (Duration::from_millis(10), Duration::from_millis(200)),
            ..PostgresConfig::new(url.clone(), tables.iter().map(|(name, _)| named(name)).collect())
        };
        let dir = tempfile::tempdir().expect("a folder");
        let state = state_store::StateStore::open(&dir.path().join("state.db")).expect("a state store");
        let log = open_log(&dir);
        log.create_stream(&StreamId::new("city"), StreamSpec::default()).await.expect("makes the stream");
        Self { url, sql, config, keys, log, state: Arc::new(state), slot, dir }
    }

    pub fn to(&self) -> StreamPartition {
        StreamPartition::first(StreamId::new("city"))
    }

    pub fn source(&self) -> PostgresSource {
        PostgresSource::new(PostgresConfig { keys: self.keys.clone(), ..self.config.clone() })
    }

    pub fn context(&self) -> SourceContext {
        SourceContext {
            source: SourceId::new("city_db"),
            log: self.log.clone(),
            state: Arc::clone(&self.state),
            clock: Arc::new(SystemClock::new()),
            streams: vec![StreamBinding { to: self.to(), keys: self.keys.clone(), transactions: false }],
            stop: CancellationToken::new(),
            admission: Arc::new(AdmitAll),
            crash: CrashPoints::default(),
            status: Arc::new(watch::Sender::new(SourceStatus::default())),
            seed: 1,
        }
    }

    pub fn start(&self) -> Run {
        self.start_with(|_| {})
    }

    pub fn start_with(&self, change: impl FnOnce(&mut SourceContext)) -> Run {
        let mut ctx = self.context();
        change(&mut ctx);
        let (stop, status) = (ctx.stop.clone(), ctx.status.subscribe());
        let source = self.source();
        let task = tokio::spawn(async move { source.run(ctx).await });
        Run { task, stop, status }
    }

    /// Runs until the run ends by itself, and returns why.
    pub async fn refused(&self) -> SourceError {
        let run = self.start();
        let ended = tokio::time::timeout(PATIENCE, run.task).await.expect("it ends").expect("no panic");
        ended.expect_err("it is refused")
    }

    pub async fn execute(&self, statements: &str) {
        self.sql.batch_execute(statements).await.expect(statements);
    }

    /// The place behind a message that was written now.
    pub async fn wal_end(&self) -> Lsn {
        let row = self
            .sql
            .query_one("SELECT (pg_logical_emit_message(true, 'test', '') - '0/0')::int8", &[])
            .await
            .expect("writes a message");
        Lsn(row.get::<_, i64>(0) as u64)
    }

    /// Waits until everything that is committed now is durable in the log and confirmed.
    pub async fn caught_up(&self, run: &mut Run) {
        let end = self.wal_end().await;
        run.until(move |status| status.confirmed_lsn > end).await;
    }

    /// Reads every record of the stream.
    pub async fn records(&self) -> Vec<Seen> {
        let to = self.to();
        let (mut at, mut seen) = (Offset(0), Vec::new());
        loop {
            let batches = self.log.read(&to, at, 1 << 20).await.expect("reads");
            if batches.is_empty() {
                return seen;
            }
            for batch in batches {
                at = batch.end();
                seen.extend(batch.records.iter().map(|record| parse(&record)));
            }
        }
    }

    /// Replays the stream: what stands of each table's keys at the end, with the columns that a change left out kept.
    pub async fn replayed(&self, table: &str) -> BTreeMap<String, Value> {
        let mut rows: BTreeMap<String, Value> = BTreeMap::new();
        for seen in self.records().await.into_iter().filter(|seen| seen.table == table) {
            match seen.op.as_str() {
                "d" => {
                    rows.remove(&seen.key.to_string());
                }
                "t" => rows.clear(),
                _ => {
                    let mut after = seen.after().clone();
                    if let Some(before) = rows.get(&seen.key.to_string())
                        && let Some(Value::Array(names)) = &seen.unchanged
                    {
                        for name in names.iter().filter_map(Value::as_str) {
                            after[name] = before[name].clone();
                        }
                    }
                    rows.insert(seen.key.to_string(), after);
                }
            }
        }
        rows
    }

    /// What the slot has confirmed.
    pub async fn slot_confirmed(&self) -> Lsn {
        let text: String = self
            .sql
            .query_one("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", &[&self.slot])
            .await
            .expect("the slot is there")
            .get(0);
        text.parse().expect("an LSN")
    }

    /// Waits until nobody reads from the slot.
    pub async fn slot_is_free(&self) {
        let free = async {
            let query = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active";
            while self.sql.query_one(query, &[&self.slot]).await.expect("answers").get::<_, i64>(0) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, free).await.expect("the slot becomes free");
    }

    /// Closes log and state and opens them again, as a new process would.
    pub async fn reopened(self) -> Self {
        let Self { url, sql, config, keys, log, state, slot, dir } = self;
        log.close();
        // The tasks of a run that was dropped end a moment later; they hold the log as long.
        let alone = async {
            while Arc::strong_count(&log) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, alone).await.expect("nobody else holds the log");
        drop(log);
        drop(state);
        let log = open_log(&dir);
        let state = state_store::StateStore::open(&dir.path().join("state.db")).expect("a state store");
        Self { url, sql, config, keys, log, state: Arc::new(state), slot, dir }
    }
}

fn open_log(dir: &TempDir) -> Arc<LogStore> {
    let clock = Arc::new(SystemClock::new());
    Arc::new(LogStore::open(&dir.path().join("log"), LogOptions::default(), clock).expect("a log"))
}

fn parse(record: &model::Record<'_>) -> Seen {
    let text = |name: &str| text_of(record, name);
    let json = |bytes: Option<&[u8]>| bytes.map_or(Value::Null, |bytes| serde_json::from_slice(bytes).expect("JSON"));
    Seen {
        table: text("table").expect("a table header"),
        op: text("op").expect("an op header"),
        key: json(record.key),
        value: json(record.value),
        chunk: text_of(record, "chunk"),
        unchanged: record.header("unchanged").map(|value| serde_json::from_slice(value).expect("JSON")),
    }
}

fn text_of(record: &model::Record<'_>, header: &str) -> Option<String> {
    record.header(header).map(|value| String::from_utf8(value.to_vec()).expect("UTF-8"))
}

/// A running source.
pub struct Run {
    pub task: JoinHandle<Result<SourceEnd, SourceError>>,
    pub stop: CancellationToken,
    pub status: watch::Receiver<SourceStatus>,
}

impl Run {
    /// Waits until the status is as wanted.
    pub async fn until(&mut self, wanted: impl FnMut(&SourceStatus) -> bool) -> SourceStatus {
        let last = self.status.clone();
        tokio::select! {
            reached = tokio::time::timeout(PATIENCE, self.status.wait_for(wanted)) => match reached {
                Ok(Ok(status)) => return status.clone(),
                Ok(Err(_closed)) => {}
                Err(_elapsed) => panic!("the status did not become as wanted: {:?}", *last.borrow()),
            },
            ended = &mut self.task => panic!("the source ended: {ended:?}"),
        }
        panic!("the source ended: {:?}", (&mut self.task).await);
    }

    /// Waits until every table's copy is done.
    pub async fn copied(&mut self) {
        self.until(|status| {
            !status.tables.is_empty() && status.tables.iter().all(|(_, phase)| matches!(phase, TablePhase::Done { .. }))
        })
        .await;
    }

    /// Stops in good order.
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").expect("no panic");
        assert_eq!(ended.expect("it stops without an error"), SourceEnd::Stopped);
    }

    /// Drops the source where it stands.
    pub async fn crash(self) {
        self.task.abort();
        let _cancelled = self.task.await;
    }
}

/// Lets a fixed number of chunks in, then none.
pub struct AdmitSome(pub tokio::sync::Semaphore);

#[async_trait::async_trait]
impl Admission for AdmitSome {
    async fn admit(&self, _table: &TableName, _rows: u64) {
        self.0.acquire().await.expect("is never closed").forget();
    }
}
