//! `penstock run`: wires the parts together and lets them work until a signal, an error, or (if told so) everything is settled.
//!
//! ```text
//!   open log and state ─▶ describe tables ─▶ sinks, routes ─▶ engine ─┬─▶ sources
//!                                                                     └─▶ HTTP, progress
//!   stop: sources first (what they appended is durable and confirmed), then the engine (what is in flight is settled)
//! ```

use super::opened::problem;
use crate::cli::RunArgs;
use crate::config::{Config, Loaded, Places, load_file};
use crate::output::{Answer, Exit, Problem};
use crate::plan::before_run::{self, Starting};
use crate::running::{Running, RunningFile};
use crate::status_view::StatusView;
use crate::wiring::{self, DataDir};
use crate::{crash, http, progress, signals, wal_alarm};
use connector_postgres::{OnSlotMismatch, PostgresSource};
use connector_salesforce::SalesforceSink;
use contract::{
    Clock, CrashPoints, Log, Sink, Source, SourceContext, SourceError, SourceStatus, StateStore, StreamSpec,
    SystemClock, TablePhase,
};
use log_store::LogStore;
use model::{OrgId, PipelineId, Retry, SourceId, TableSchema};
use pipeline::engine::{Engine, EngineError, EngineHandle, EngineParts, OrgParts};
use pipeline::spec::{PipelineSpec, RouteSpec};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a source that cannot be reached at the start is tried again before the next word about it.
const REACH_EVERY: Duration = Duration::from_secs(2);
/// How often `--until-settled` looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a run ended.
enum End {
    Signal(u8),
    Settled,
    Source(SourceId, SourceError),
    Engine(EngineError),
}

/// Runs the pipeline.
pub async fn run(config_file: &Path, args: &RunArgs, as_json: bool) -> Answer {
    let Loaded { config, findings, places } = load_file(config_file);
    let Some(config) = config.filter(|_| findings.is_empty()) else { return Answer::findings(&findings, true, "") };
    if !args.accept_gap.is_empty() && !args.yes {
        let problem = Problem {
            code: "PS1010".into(),
            place: "penstock run --accept-gap".into(),
            cause: "the changes in the gap are lost".into(),
            fix: "say --yes if that is meant".into(),
        };
        return Answer { exit: Exit::Usage, ..Answer::failed(problem) };
    }
    match Pipeline::open(config, places, args).await {
        Ok(pipeline) => match pipeline.plan(args).await {
            Ok(()) => pipeline.work(args, as_json).await,
            Err(refused) => *refused,
        },
        Err(problem) => Answer::failed(problem),
    }
}

/// The opened parts of a pipeline.
struct Pipeline {
    config: Config,
    data: DataDir,
    clock: Arc<dyn Clock>,
    log: Arc<LogStore>,
    state: Arc<dyn StateStore>,
    sources: Vec<(SourceId, Arc<PostgresSource>)>,
    sinks: HashMap<OrgId, Arc<dyn Sink>>,
    tables: Vec<TableSchema>,
    places: Places,
}

impl Pipeline {
    async fn open(config: Config, places: Places, args: &RunArgs) -> Result<Self, Problem> {
        let data = DataDir::new(&config.data_dir);
        let place = data.path().display().to_string();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        std::fs::create_dir_all(data.path()).map_err(|error| Problem {
            code: "PS1102".into(),
            place: place.clone(),
            cause: format!("the data folder cannot be made: {error}"),
            fix: "give this user the right to write there, or change data_dir".into(),
        })?;
        let log = LogStore::open(&data.log(), wiring::log_options(&config), clock.clone())
            .map_err(|error| problem(error.code(), &place, &error))?;
        let state =
            state_store::StateStore::open(&data.state()).map_err(|error| problem(error.code(), &place, &error))?;
        for (name, stream) in &config.streams {
            let spec = StreamSpec { partitions: 1, retention: wiring::retention(&config, stream) };
            log.create_stream(&name.as_str().into(), spec)
                .await
                .map_err(|error| problem(error.code(), &place, &error))?;
        }
        let mut sources = Vec::new();
        for (name, source) in &config.sources {
            let on_mismatch = on_slot_mismatch(name, args);
            let built = wiring::postgres_config(name, source, on_mismatch, &places).map_err(|f| Problem::from(&f))?;
            sources.push((SourceId::new(name), Arc::new(PostgresSource::new(built))));
        }
        let mut sinks: HashMap<OrgId, Arc<dyn Sink>> = HashMap::new();
        for (name, org) in &config.orgs {
            let built =
                wiring::salesforce_config(&config.pipeline, name, org, &places).map_err(|f| Problem::from(&f))?;
            let sink = SalesforceSink::new(&built, clock.clone())
                .map_err(|error| Problem::from(&error.finding(places.describe(&format!("orgs.{name}")))))?;
            sinks.insert(OrgId::new(name), Arc::new(sink));
        }
        let tables = describe(&sources).await?;
        Ok(Self { config, data, clock, log: Arc::new(log), state: Arc::new(state), sources, sinks, tables, places })
    }

    /// Refuses a configuration whose goals cannot be met.
    async fn plan(&self, args: &RunArgs) -> Result<(), Box<Answer>> {
        let starting = Starting {
            config: &self.config,
            places: &self.places,
            state: self.state.clone(),
            sinks: &self.sinks,
            clock: &*self.clock,
        };
        before_run::check(starting, args.despite_plan).await
    }

    async fn work(self, args: &RunArgs, as_json: bool) -> Answer {
        let (routes, findings) = wiring::route_specs(&self.config, &self.tables, &self.places);
        if !findings.is_empty() {
            return Answer::findings(&findings, true, "");
        }
        let stop = CancellationToken::new();
        let crash = crash::from_environment();
        let engine = match self.engine(routes, &crash) {
            Ok(engine) => engine,
            Err(problem) => return Answer::failed(problem),
        };
        let handle = engine.handle();
        let (sources_stop, engine_stop) = (stop.child_token(), CancellationToken::new());
        let mut capture = JoinSet::new();
        let statuses = self.start_sources(&mut capture, &handle, &sources_stop, &crash);
        let view = Arc::new(StatusView::new(
            PipelineId::new(&self.config.pipeline),
            self.clock.clone(),
            self.log.clone(),
            statuses,
            (self.sinks.keys().cloned().collect(), handle.clone()),
        ));
        let surface = match self.serve(&view, &engine_stop).await {
            Ok(surface) => surface,
            Err(problem) => return Answer::failed(problem),
        };
        let told = tokio::spawn(tell_copying(view.sources.clone(), handle.clone()));
        let alarm = tokio::spawn(wal_alarm::watch(view.clone()));
        let shown = tokio::spawn(progress::show(view.clone(), as_json, engine_stop.clone()));
        let mut moving = tokio::spawn(engine.run(engine_stop.clone()));
        let end = self.until_end(args, &view, &mut capture, &mut moving).await;

        sources_stop.cancel();
        while capture.join_next().await.is_some() {}
        engine_stop.cancel();
        let end = match end {
            End::Engine(error) => End::Engine(error),
            end => match moving.await {
                Ok(Ok(_)) => end,
                Ok(Err(error)) => End::Engine(error),
                Err(panic) => End::Engine(EngineError::Task { cause: panic.to_string() }),
            },
        };
        let _progress_ended = shown.await;
        told.abort();
        alarm.abort();
        drop(surface);
        let last = view.to_json();
        self.log.close();
        self.answer(end, last)
    }

    fn engine(&self, routes: Vec<RouteSpec>, crash: &CrashPoints) -> Result<Engine, Problem> {
        let limits = &self.config.limits;
        let spec = PipelineSpec {
            window_bytes_max: limits.window.0 as usize,
            checkpoint_every: limits.checkpoint_every.0,
            recovery_grace: limits.recovery_grace.0,
            stream_limits: wiring::stream_limits(&self.config),
            router: wiring::router_spec(&self.config.router),
            ..PipelineSpec::new(PipelineId::new(&self.config.pipeline), routes)
        };
        let mut ledgers = wiring::Ledgers::to_write();
        let org = |(id, sink): (&OrgId, &Arc<dyn Sink>)| {
            let ledger = ledgers.of(&self.config, id.as_str(), &self.places, &self.state)?;
            let configured = self.config.orgs.get(id.as_str());
            let governor = configured.map(wiring::governor_config);
            let breaker = configured.map(|org| org.breaker.resolve()).unwrap_or_default();
            Ok((id.clone(), OrgParts { sink: sink.clone(), governor, breaker, ledger }))
        };
        let parts = EngineParts {
            log: self.log.clone(),
            state: self.state.clone(),
            orgs: self.sinks.iter().map(org).collect::<Result<_, Problem>>()?,
            clock: self.clock.clone(),
            crash: crash.clone(),
            seed: self.seed(),
        };
        Ok(Engine::new(spec, parts))
    }

    /// Jitter needs no secret: the wall clock and the process tell processes apart.
    fn seed(&self) -> u64 {
        (self.clock.now_ms() as u64) << 20 ^ u64::from(std::process::id())
    }

    fn start_sources(
        &self,
        capture: &mut JoinSet<(SourceId, Result<contract::SourceEnd, SourceError>)>,
        handle: &EngineHandle,
        stop: &CancellationToken,
        crash: &CrashPoints,
    ) -> Vec<(SourceId, watch::Receiver<SourceStatus>)> {
        let mut statuses = Vec::new();
        for (id, source) in &self.sources {
            let status = Arc::new(watch::Sender::new(SourceStatus::default()));
            statuses.push((id.clone(), status.subscribe()));
            let context = SourceContext {
                source: id.clone(),
                log: handle.bounded_log(stop.clone()),
                state: self.state.clone(),
                clock: self.clock.clone(),
                streams: wiring::stream_bindings(&self.config, id.as_str()),
                stop: stop.clone(),
                admission: Arc::new(handle.admission()),
                crash: crash.clone(),
                status,
                seed: self.seed(),
            };
            let (id, source) = (id.clone(), source.clone());
            capture.spawn(async move { (id, source.run(context).await) });
        }
        statuses
    }

    /// Serves HTTP if it is wanted, and leaves word of this process in the data folder.
    async fn serve(&self, view: &Arc<StatusView>, stop: &CancellationToken) -> Result<RunningFile, Problem> {
        let listen = &self.config.http.listen;
        let metrics = http::install_metrics();
        let address = match (listen.as_str(), metrics) {
            ("off", _) | (_, Err(_)) => None,
            (listen, Ok(metrics)) => {
                let served = http::serve(listen, metrics, view.clone(), stop.clone()).await;
                Some(served.map_err(|error| Problem {
                    code: "PS1101".into(),
                    place: self.places.describe("http.listen"),
                    cause: format!("{listen} cannot be listened on: {error}"),
                    fix: "change http.listen; port 0 takes a free one, off serves nothing".into(),
                })?)
            }
        };
        let running = Running { pid: std::process::id(), http: address.map(|address| address.to_string()) };
        RunningFile::write(&self.data, &running).map_err(|error| Problem {
            code: "PS1102".into(),
            place: self.data.running().display().to_string(),
            cause: error.to_string(),
            fix: "give this user the right to write there".into(),
        })
    }

    async fn until_end(
        &self,
        args: &RunArgs,
        view: &Arc<StatusView>,
        capture: &mut JoinSet<(SourceId, Result<contract::SourceEnd, SourceError>)>,
        moving: &mut tokio::task::JoinHandle<Result<(), EngineError>>,
    ) -> End {
        let settled = async {
            if !args.until_settled {
                return std::future::pending().await;
            }
            self.until_settled(view).await
        };
        tokio::select! {
            signal = signals::wait() => End::Signal(signal),
            ended = capture.join_next() => match ended {
                Some(Ok((id, Err(error)))) => End::Source(id, error),
                Some(Err(panic)) => End::Engine(EngineError::Task { cause: format!("a source failed: {panic}") }),
                _ => End::Settled,
            },
            ended = moving => match ended {
                Ok(Ok(_)) => End::Settled,
                Ok(Err(error)) => End::Engine(error),
                Err(panic) => End::Engine(EngineError::Task { cause: panic.to_string() }),
            },
            () = settled => End::Settled,
        }
    }

    /// Waits until everything that was in the sources when this began is settled.
    async fn until_settled(&self, view: &StatusView) {
        let mut targets = HashMap::new();
        loop {
            for (id, source) in &self.sources {
                if !targets.contains_key(id)
                    && let Ok(end) = source.mark_wal_end().await
                {
                    targets.insert(id.clone(), end);
                }
            }
            let reached =
                |id: &SourceId, status: &SourceStatus| targets.get(id).is_some_and(|end| status.confirmed_lsn >= *end);
            if view.is_settled(reached) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn engine_problem(&self, error: &EngineError) -> Problem {
        problem(error.code(), &self.config.pipeline, error)
    }

    fn answer(&self, end: End, last: serde_json::Value) -> Answer {
        let result = json!({"status": last});
        let name = &self.config.pipeline;
        match end {
            End::Signal(number) => {
                let summary = format!("{name} stopped; what was in flight is settled, the next run goes on from here");
                Answer { exit: Exit::Signal(number), ..Answer::done(summary, "", result) }
            }
            End::Settled => Answer::done(format!("{name}: everything is settled"), "", result),
            End::Source(id, error) => {
                let mut problem = problem(error.code(), format!("source {id}"), &error);
                if let SourceError::Refused { message, fix, .. } = &error {
                    problem.cause = message.clone();
                    problem.fix = fix.clone();
                }
                Answer { result, ..Answer::failed(problem) }
            }
            End::Engine(error) => Answer { result, ..Answer::failed(self.engine_problem(&error)) },
        }
    }
}

/// Tells the engine which tables are still being copied, as often as that changes.
async fn tell_copying(mut sources: Vec<(SourceId, watch::Receiver<SourceStatus>)>, handle: EngineHandle) {
    loop {
        let mut copying = Vec::new();
        for (_, status) in &mut sources {
            let status = status.borrow_and_update();
            let unfinished = status.tables.iter().filter(|(_, phase)| !matches!(phase, TablePhase::Done { .. }));
            copying.extend(unfinished.map(|(table, _)| table.clone()));
        }
        handle.set_copying(copying);
        let changes = sources.iter_mut().map(|(_, status)| Box::pin(status.changed()));
        if futures::future::select_all(changes).await.0.is_err() {
            return;
        }
    }
}

fn on_slot_mismatch(name: &str, args: &RunArgs) -> OnSlotMismatch {
    if args.resnapshot.iter().any(|source| source == name) {
        OnSlotMismatch::Resnapshot
    } else if args.accept_gap.iter().any(|source| source == name) {
        OnSlotMismatch::Accept
    } else {
        OnSlotMismatch::Refuse
    }
}

/// Describes the tables of every source; waits for a database that cannot be reached yet, unless a signal comes.
async fn describe(sources: &[(SourceId, Arc<PostgresSource>)]) -> Result<Vec<TableSchema>, Problem> {
    let mut tables = Vec::new();
    for (id, source) in sources {
        loop {
            match source.tables().await {
                Ok(found) => {
                    tables.extend(found);
                    break;
                }
                Err(error) if matches!(error.retry(), Retry::After(_)) => {
                    tracing::warn!(source = %id, %error, "the source cannot be reached yet; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(REACH_EVERY) => {}
                        _ = signals::wait() => return Err(problem(error.code(), format!("source {id}"), &error)),
                    }
                }
                Err(SourceError::Refused { code, message, fix }) => {
                    return Err(Problem { code: code.to_string(), place: format!("source {id}"), cause: message, fix });
                }
                Err(error) => return Err(problem(error.code(), format!("source {id}"), &error)),
            }
        }
    }
    Ok(tables)
}
