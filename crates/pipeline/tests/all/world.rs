//! Streams, routes and runs for the tests. Their clock is virtual (`start_paused`): a sleep moves it, and everything that is due in
//! between happens first; nothing waits for real time.

use super::memory::{Disk, Life, MemoryLog, MemoryState};
use super::target::{Target, TargetSink};
use contract::{Clock, CrashPoint, CrashPoints, Log, StateStore, StreamSpec};
use model::{
    Column, ColumnType, DeadLetter, Offset, Outcome, RecordBatchBuilder, ReplicaIdentity, Settlement, StreamPartition,
    TableName, TableSchema,
};
use pipeline::breaker::BreakerConfig;
use pipeline::engine::{Engine, EngineError, EngineHandle, EngineParts, EngineStatus, OrgParts};
use pipeline::spec::{MapSource, PipelineSpec, ReferenceSpec, RouteSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub fn stream() -> StreamPartition {
    StreamPartition::first("s".into())
}

pub fn table(name: &str, extra: &[&str]) -> TableSchema {
    let column = |name: &str, kind| Column { name: name.into(), kind, nullable: name != "id" };
    let mut columns = vec![
        column("id", ColumnType::Int64),
        column("v", ColumnType::Int64),
        column("note", ColumnType::Text { length: None }),
    ];
    columns.extend(extra.iter().map(|name| column(name, ColumnType::Int64)));
    TableSchema {
        table: TableName { schema: "s".into(), name: name.into() },
        columns,
        primary_key: vec!["id".into()],
        replica_identity: ReplicaIdentity::Default,
        identity_columns: vec!["id".into()],
    }
}

pub fn route(id: &str, table_name: &str, object: &str) -> RouteSpec {
    let mut route = RouteSpec::upsert(id, stream(), table(table_name, &[]), ("org".into(), object.into()), "Key__c");
    let column = |field: &str, column: &str| (field.to_owned(), MapSource::Column(column.to_owned()));
    route.map = vec![column("Key__c", "id"), column("V__c", "v"), column("Note__c", "note")];
    for policy in [&mut route.retry.transient, &mut route.retry.lock, &mut route.retry.unknown] {
        policy.delay_min = Duration::from_millis(2);
        policy.delay_max = Duration::from_millis(20);
        policy.attempts_max = 10;
    }
    route.retry.parent_missing.delay_min = Duration::from_millis(2);
    route.retry.parent_missing.delay_max = Duration::from_millis(20);
    route.retry.parent_missing.patience = Duration::from_secs(600);
    route
}

pub fn item() -> RouteSpec {
    route("items", "item", "Item__c")
}

pub fn child() -> RouteSpec {
    let mut child = route("children", "child", "Child__c");
    child.schema = table("child", &["parent"]);
    child.references = vec![ReferenceSpec {
        object: "Parent__c".into(),
        external_id: "Key__c".into(),
        from: "parent".into(),
        table: TableName { schema: "s".into(), name: "parent".into() },
        field: None,
        locks: None,
    }];
    child
}

pub fn spec(routes: Vec<RouteSpec>) -> PipelineSpec {
    let mut spec = PipelineSpec::new("p".into(), routes);
    spec.checkpoint_every = Duration::from_millis(10);
    spec.recovery_grace = Duration::from_millis(20);
    spec.stop_wait_max = Duration::from_secs(5);
    spec
}

/// A change of a row.
#[derive(Clone, Debug)]
pub struct Change {
    pub table: &'static str,
    pub op: char,
    pub id: i64,
    pub v: i64,
    /// None: unchanged.
    pub note: Option<String>,
    pub parent: Option<i64>,
    /// The source transaction.
    pub tx: Option<u64>,
}

pub fn write(id: i64, v: i64) -> Change {
    Change { table: "item", op: 'u', id, v, note: Some(format!("n{v}")), parent: None, tx: None }
}

pub fn delete(id: i64) -> Change {
    Change { op: 'd', ..write(id, 0) }
}

impl Change {
    pub fn of(self, table: &'static str) -> Self {
        Self { table, ..self }
    }

    pub fn without_note(self) -> Self {
        Self { note: None, ..self }
    }

    pub fn in_tx(self, tx: u64) -> Self {
        Self { tx: Some(tx), ..self }
    }

    /// The record that ends a transaction.
    pub fn end(tx: u64) -> Self {
        Self { table: "", op: 'e', ..write(0, 0) }.in_tx(tx)
    }

    pub fn push(&self, batch: &mut RecordBatchBuilder, time_ms: i64) {
        if self.op == 'e' {
            let value = format!(r#"{{"status":"END","id":"{}"}}"#, self.tx.unwrap_or_default());
            let headers = [(model::header::TRANSACTION, model::header::TRANSACTION_END)];
            batch.push(time_ms, None, Some(value.as_bytes()), &headers).unwrap();
            return;
        }
        let tx = self.tx.map_or("null".to_owned(), |tx| tx.to_string());
        let key = format!(r#"{{"id":{}}}"#, self.id);
        let note = self.note.as_ref().map_or(String::new(), |note| format!(r#","note":"{note}""#));
        let parent = self.parent.map_or(String::new(), |parent| format!(r#","parent":{parent}"#));
        let row = format!(r#"{{"id":{},"v":{}{note}{parent}}}"#, self.id, self.v);
        let (before, after) = if self.op == 'd' { (key.clone(), "null".into()) } else { ("null".into(), row) };
        let value = format!(
            r#"{{"before":{before},"after":{after},"source":{{"schema":"s","table":"{}","txId":{tx}}},"op":"{}"}}"#,
            self.table, self.op
        );
        let (table, op) = (format!("s.{}", self.table), self.op.to_string());
        let mut headers: Vec<(&str, &[u8])> = vec![("op", op.as_bytes()), ("table", table.as_bytes())];
        if self.note.is_none() {
            headers.push(("unchanged", br#"["note"]"#));
        }
        batch.push(time_ms, Some(key.as_bytes()), Some(value.as_bytes()), &headers).unwrap();
    }
}

/// tokio's time, so that a paused runtime moves it.
pub struct TokioClock(tokio::time::Instant);

impl TokioClock {
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for TokioClock {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000 + self.monotonic().as_millis() as i64
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What outlives a run: disk, target, time.
pub struct World {
    pub disk: Arc<Disk>,
    pub target: Arc<Target>,
    pub clock: Arc<TokioClock>,
    pub spec: PipelineSpec,
    pub governor: Option<governor::GovernorConfig>,
    pub breaker: BreakerConfig,
}

/// A run of the engine.
pub struct Run {
    pub life: Life,
    pub stop: CancellationToken,
    pub handle: EngineHandle,
    pub log: Arc<MemoryLog>,
    pub state: Arc<MemoryState>,
    pub task: JoinHandle<Result<(), EngineError>>,
}

impl World {
    pub async fn new(routes: Vec<RouteSpec>) -> Self {
        let world = Self {
            disk: Arc::default(),
            target: Target::new(),
            clock: Arc::new(TokioClock::new()),
            spec: spec(routes),
            governor: None,
            breaker: BreakerConfig {
                wait_min: Duration::from_millis(5),
                wait_max: Duration::from_millis(50),
                ..BreakerConfig::default()
            },
        };
        world.log(&Life::new()).create_stream(&"s".into(), StreamSpec::default()).await.unwrap();
        world
    }

    /// The log as a process of its own reads it.
    pub fn disk_log(&self) -> MemoryLog {
        self.log(&Life::new())
    }

    fn log(&self, life: &Life) -> MemoryLog {
        MemoryLog { disk: self.disk.clone(), life: life.clone() }
    }

    pub fn state(&self) -> MemoryState {
        MemoryState { disk: self.disk.clone(), life: Life::new() }
    }

    /// Appends changes durably.
    pub async fn append(&self, changes: &[Change]) -> Offset {
        let log = self.log(&Life::new());
        let mut batch = RecordBatchBuilder::default();
        for change in changes {
            change.push(&mut batch, self.clock.now_ms());
        }
        let appended = log.append(&stream(), batch.finish(), None).await.unwrap();
        log.until_durable(&stream(), appended.accepted()).await.unwrap();
        appended.end
    }

    pub fn start(&self) -> Run {
        self.start_with(CrashPoints::default())
    }

    /// Starts an engine that dies at a point.
    pub fn start_dying(&self, point: CrashPoint, nth: u64) -> Run {
        let life = Life::new();
        let dies = life.clone();
        self.start_life(life, CrashPoints::armed(point, nth, move || dies.end()))
    }

    pub fn start_with(&self, crash: CrashPoints) -> Run {
        self.start_life(Life::new(), crash)
    }

    fn start_life(&self, life: Life, crash: CrashPoints) -> Run {
        self.disk.reopen();
        let log = Arc::new(self.log(&life));
        let state = Arc::new(MemoryState { disk: self.disk.clone(), life: life.clone() });
        let sink = Arc::new(TargetSink { target: self.target.clone(), life: life.clone() });
        let org = OrgParts { sink, governor: self.governor.clone(), breaker: self.breaker, ledger: None };
        let parts = EngineParts {
            log: log.clone() as Arc<dyn Log>,
            state: state.clone() as Arc<dyn StateStore>,
            orgs: [("org".into(), org)].into(),
            clock: self.clock.clone(),
            crash,
            seed: 7,
        };
        let engine = Engine::new(self.spec.clone(), parts);
        let (handle, stop) = (engine.handle(), CancellationToken::new());
        let task = tokio::spawn(engine.run(stop.clone()));
        Run { life, stop, handle, log, state, task }
    }

    /// Starts, waits until everything is settled, stops.
    pub async fn run_through(&self, end: Offset) -> EngineStatus {
        let mut run = self.start();
        run.settled(end).await;
        run.stop().await
    }

    /// Each route's outcome by offset; a later settlement of an offset comes later in the list.
    pub fn outcomes(&self) -> BTreeMap<(String, u64), Vec<Outcome>> {
        let mut found: BTreeMap<_, Vec<Outcome>> = BTreeMap::new();
        for settlement in self.disk.all::<Settlement>("_settlements") {
            for rows in settlement.rows {
                for offset in rows.offsets.iter().flat_map(|range| range.offsets()) {
                    found.entry((settlement.route.to_string(), offset.0)).or_default().push(rows.outcome);
                }
            }
        }
        found
    }

    /// Panics unless every offset of a route is settled exactly once.
    pub fn assert_settled_once(&self, route: &str, offsets: impl IntoIterator<Item = u64>) {
        let outcomes = self.outcomes();
        for offset in offsets {
            let found = outcomes.get(&(route.to_owned(), offset)).map_or(0, Vec::len);
            assert_eq!(found, 1, "{route}:{offset} is settled {found} times");
        }
    }

    pub fn dead_letters(&self) -> u64 {
        self.disk.count("_dead_letters")
    }
}

impl Run {
    /// Waits until every route is settled up to `end`.
    pub async fn settled(&mut self, end: Offset) {
        self.until(|status| status.routes.iter().all(|route| route.settled_offset >= end)).await;
    }

    /// As `settled`, for what takes longer than most.
    pub async fn settled_within(&mut self, end: Offset, longest: Duration) {
        let mut watch = self.handle.watch();
        let all = |status: &EngineStatus| status.routes.iter().all(|route| route.settled_offset >= end);
        tokio::time::timeout(longest, watch.wait_for(all)).await.expect("settled in time").expect("the engine runs");
    }

    pub async fn until(&mut self, is_so: impl FnMut(&EngineStatus) -> bool) {
        let mut watch = self.handle.watch();
        tokio::select! {
            biased;
            reached = tokio::time::timeout(Duration::from_secs(300), watch.wait_for(is_so)) => match reached {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => panic!("the engine has ended: {:?}", (&mut self.task).await),
                Err(_) => panic!("waited in vain: {:#?}", self.handle.status()),
            },
            ended = &mut self.task => panic!("the engine has ended: {ended:?}"),
        }
    }

    pub async fn stop(self) -> EngineStatus {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.handle.status()
    }

    /// Waits until the process has died at its point, and drops what is left of it; false when it settled everything before.
    pub async fn died_before(mut self, end: Offset) -> bool {
        let life = self.life.clone();
        let died = tokio::select! {
            () = life.until_over() => true,
            () = self.settled(end) => false,
        };
        self.life.end();
        self.task.abort();
        let _ = self.task.await;
        died
    }
}

#[allow(dead_code, reason = "names the header that the tests look for")]
pub const LETTER: &str = DeadLetter::HEADER;

/// Panics unless the target's values of each key are those of the changes, each once and in order.
pub fn assert_in_order(target: &Target, object: &str, changes: &[Change]) {
    let keys: BTreeSet<i64> = changes.iter().map(|change| change.id).collect();
    for key in keys {
        let of_key = changes.iter().filter(|change| change.id == key);
        let expected: Vec<_> = of_key.map(|change| (change.op != 'd').then_some(change.v)).collect();
        assert_eq!(target.values(object, &key.to_string()), expected, "key {key} of {object}");
    }
}

impl World {
    /// As `dead_letters`, before the stream is there too.
    pub fn dead_letters_or_none(&self) -> u64 {
        self.disk.count_or_none("_dead_letters")
    }
}
