//! One session: from the connections to the end of the stream.

use crate::capture::{Engine, EngineParts, Outlet, PIECES_MAX, Reader, Relations, RelationsParts, Target, confirm};
use crate::catalog::{
    Publication, ServerFacts, TableFacts, copy_key, ensure_publication, key_refusal, load_types, parents_first,
};
use crate::column_type::TypeCatalogue;
use crate::config::PostgresConfig;
use crate::connect::{Endpoint, Sql, wire_failure};
use crate::envelope::EventSource;
use crate::position::position_producer;
use crate::side::run_side;
use crate::slot::{OpenSlot, SlotRecord, open_slot};
use crate::snapshot::{
    Copier, CopierParts, CopyShape, CopyTable, Describing, Ledger, LedgerEntry, Window, report_phase,
};
use crate::survey::{identity_refusal, load_tables, server_refusals, table_refusal};
use crate::wire::{CopyStream, Replication};
use contract::{SourceContext, SourceError, TablePhase};
use model::{Lsn, TableName};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often the server is told something at most and at least.
const STATUS_PERIOD: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Runs one session; answers when the run was stopped.
///
/// # Errors
/// What ended it; whether another session may help is the error's `retry()`.
pub(crate) async fn run_session(
    ctx: &SourceContext,
    config: &PostgresConfig,
    endpoint: &Endpoint,
    session: u64,
) -> Result<(), SourceError> {
    let opened = tokio::select! {
        opened = Opened::open(ctx, config, endpoint, session) => opened?,
        // Nothing was read yet; every step of the opening may be cut off and done again.
        () = ctx.stop.cancelled() => return Ok(()),
    };
    ctx.status.send_modify(|status| {
        status.connected = true;
        status.last_error = None;
    });
    opened.run(ctx, config).await
}

/// Everything that a session needs, before its tasks start.
struct Opened {
    stream: CopyStream,
    status_period: Duration,
    record: SlotRecord,
    outlets: Vec<Outlet>,
    relations: Relations,
    copy: Option<Copy>,
    side: Sql,
    nonce: String,
}

/// The copy's half.
struct Copy {
    sql: Sql,
    tables: Vec<CopyTable>,
    ledger: Ledger,
    describing: Describing,
    synchronous_standbys: bool,
}

impl Opened {
    async fn open(
        ctx: &SourceContext,
        config: &PostgresConfig,
        endpoint: &Endpoint,
        session: u64,
    ) -> Result<Self, SourceError> {
        let place = endpoint.place();
        let mut replication =
            Replication::connect(endpoint).await.map_err(|error| wire_failure(error, &place, "connecting"))?;
        let identity =
            replication.identify().await.map_err(|error| wire_failure(error, &place, "identifying the server"))?;
        let sql = Sql::connect(endpoint).await?;
        let surveyed = Surveyed::look(ctx, config, &sql).await?;
        let OpenSlot { record, positions } = open_slot(ctx, config, &sql, &identity, &endpoint.database).await?;
        let source =
            EventSource { name: ctx.source.to_string(), database: endpoint.database.clone(), mode: config.value_mode };
        let types = load_types(&sql).await?;
        let copy = match config.snapshot {
            true => {
                let describing = Describing::new(&surveyed.server, &config.publication, &source);
                Some(surveyed.plan_copy(ctx, endpoint, &sql, &record, &types, describing).await?)
            }
            false => None,
        };
        let mut outlets = Vec::with_capacity(ctx.streams.len());
        for (binding, position) in ctx.streams.iter().zip(positions) {
            let end = ctx.log.bounds(&binding.to)?.accepted_end();
            let producer = position_producer(&ctx.source);
            let outlet = Outlet::new(binding.to.clone(), producer, record.epoch, position, end);
            outlets.push(outlet.with_transactions(binding.transactions));
        }
        let known = surveyed.tables.iter().map(|facts| (facts.oid, facts.table.clone())).collect::<HashMap<_, _>>();
        let timeout = Duration::from_millis(surveyed.server.wal_sender_timeout_ms.max(0) as u64);
        let status_period =
            if timeout.is_zero() { STATUS_PERIOD.1 } else { (timeout / 4).clamp(STATUS_PERIOD.0, STATUS_PERIOD.1) };
        let relations = Relations::new(RelationsParts { sql, types, source, bindings: ctx.streams.clone(), known });
        let side = Sql::connect(endpoint).await?;
        local_commits(&side).await?;
        let nonce = format!("{}:{}:{}:{session}", ctx.source, record.epoch, ctx.clock.now_ms());
        let stream = replication
            .start(&config.slot, &config.publication)
            .await
            .map_err(|error| wire_failure(error, &place, "starting replication"))?;
        Ok(Self { stream, status_period, record, outlets, relations, copy, side, nonce })
    }

    async fn run(self, ctx: &SourceContext, config: &PostgresConfig) -> Result<(), SourceError> {
        // Dropping the set ends every task: also when this future is dropped.
        let mut tasks = JoinSet::new();
        let (piece_sender, pieces) = mpsc::channel(PIECES_MAX);
        let (confirmed_sender, confirmed) = watch::channel(Lsn(0));
        let (target_sender, targets) = watch::channel(Target::default());
        let finish = CancellationToken::new();
        let reader = Reader {
            stream: self.stream,
            pieces: piece_sender,
            confirmed,
            status_period: self.status_period,
            clock: Arc::clone(&ctx.clock),
            finish: finish.clone(),
        };
        let place = format!("slot {}", config.slot);
        let mut reader =
            tokio::spawn(async move { reader.run().await.map_err(|error| wire_failure(error, &place, "reading")) });
        let confirmer = confirm(ctx.clone(), self.record, targets, confirmed_sender, config.confirm_interval);
        let mut confirmer = tokio::spawn(confirmer);
        let (reader_abort, confirmer_abort) =
            (AbortOnDrop(reader.abort_handle()), AbortOnDrop(confirmer.abort_handle()));
        tasks.spawn(run_side(ctx.clone(), config.clone(), self.side));
        let mut window = Window::closed();
        if let Some(copy) = self.copy {
            let baseline = Copier::baseline(&copy.sql).await?;
            let (sender, messages) = mpsc::channel(4);
            let left = copy.tables.iter().filter(|table| !table.entry.done);
            let left = left.map(|table| (table.shape.facts.oid, table.shape.key.columns.clone()));
            window = Window::new(messages, &baseline, left);
            let copier = Copier::new(CopierParts {
                ctx: ctx.clone(),
                sql: copy.sql,
                messages: sender,
                ledger: copy.ledger,
                describing: copy.describing,
                nonce: self.nonce.clone(),
                rows_max: u64::from(config.chunk_rows),
                bytes_max: config.chunk_bytes_max,
                synchronous_standbys: copy.synchronous_standbys,
            });
            tasks.spawn(copier.run(copy.tables));
        }
        let engine = Engine::new(EngineParts {
            ctx: ctx.clone(),
            relations: self.relations,
            outlets: self.outlets,
            window,
            targets: target_sender,
            batch_bytes_max: config.batch_bytes_max,
            nonce: self.nonce,
        });
        let (captured, confirmer_ended) = tokio::select! {
            captured = engine.run(pieces, &mut tasks) => (captured, false),
            confirmed = &mut confirmer => (flattened(confirmed), true),
        };
        tasks.shutdown().await;
        if captured.is_ok() && !confirmer_ended {
            // The engine is gone, and with it the sender: the confirmer ends after the last target.
            flattened((&mut confirmer).await)?;
        }
        finish.cancel();
        let read = flattened((&mut reader).await);
        drop((reader_abort, confirmer_abort));
        match (captured, read) {
            // A stream that ended is explained by its reader.
            (Err(SourceError::Transient { .. }), Err(reason)) => Err(reason),
            (captured, read) => captured.and(read),
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn flattened(ended: Result<Result<(), SourceError>, tokio::task::JoinError>) -> Result<(), SourceError> {
    match ended {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Ok(()),
        },
    }
}

/// Our own small commits wait for the local flush, never for a standby.
async fn local_commits(sql: &Sql) -> Result<(), SourceError> {
    sql.batch_execute("SET synchronous_commit = local").await.map_err(sql.failed("setting up a connection"))
}

/// The server and the tables as the session found them.
struct Surveyed {
    server: ServerFacts,
    tables: Vec<TableFacts>,
    publication: Publication,
    /// Tables that were not published before: what they were copied to may lack changes.
    added: Vec<TableName>,
}

impl Surveyed {
    /// Looks at everything and refuses what cannot be captured.
    async fn look(ctx: &SourceContext, config: &PostgresConfig, sql: &Sql) -> Result<Self, SourceError> {
        let server = ServerFacts::load(sql).await?;
        // Rights and free slots are left to the server's own answers: it knows better than its catalogue tells.
        let judged = ServerFacts { may_replicate: true, slots_used: 0, slots_max: 1, ..server.clone() };
        if let Some(refusal) = server_refusals(&judged, config, true).into_iter().next() {
            return Err(refusal.into());
        }
        let tables = load_tables(sql, &config.tables).await?;
        for facts in &tables {
            if let Some(refusal) = table_refusal(facts, config, &server) {
                return Err(refusal.into());
            }
        }
        let ours = Publication::of_ours(config.tables.iter().cloned());
        if Publication::load(sql, &config.publication, server.version).await?.is_none() {
            // Before it is made: publishing such a table would make the application's own updates fail.
            refuse_keys(ctx, &tables, &ours, config)?;
        }
        let (publication, added) = ensure_publication(sql, config, &tables, server.version).await?;
        refuse_keys(ctx, &tables, &publication, config)?;
        Ok(Self { server, tables, publication, added })
    }

    async fn plan_copy(
        &self,
        ctx: &SourceContext,
        endpoint: &Endpoint,
        sql: &Sql,
        record: &SlotRecord,
        types: &TypeCatalogue,
        describing: Describing,
    ) -> Result<Copy, SourceError> {
        let ledger = Ledger::load(ctx).await?;
        let names: Vec<_> = self.tables.iter().map(|facts| (facts.oid, facts.table.clone())).collect();
        let mut tables = Vec::new();
        for name in parents_first(sql, &names).await? {
            let Some(facts) = self.tables.iter().find(|facts| facts.table == name) else { continue };
            for (outlet, binding) in ctx.streams.iter().enumerate() {
                let Some(business_key) = binding.keys.get(&name) else { continue };
                let shape = CopyShape::of(facts, &self.publication, types, &describing, business_key)?;
                let wanted = LedgerEntry::new(name.clone(), facts.oid, record.epoch, shape.key.columns.clone());
                let entry = ledger.begin(&binding.to, wanted, self.added.contains(&name));
                let phase = if entry.done { TablePhase::Done { rows: entry.rows } } else { TablePhase::Waiting };
                report_phase(ctx, &name, phase);
                tables.push(CopyTable { outlet, business_key: business_key.clone(), shape, entry });
            }
        }
        let sql = Sql::connect(endpoint).await?;
        local_commits(&sql).await?;
        Ok(Copy { sql, tables, ledger, describing, synchronous_standbys: self.server.synchronous_standbys })
    }
}

/// Refuses tables whose changes cannot be keyed or copied.
fn refuse_keys(
    ctx: &SourceContext,
    tables: &[TableFacts],
    publication: &Publication,
    config: &PostgresConfig,
) -> Result<(), SourceError> {
    for facts in tables {
        let bound = ctx.streams.iter().filter_map(|binding| binding.keys.get(&facts.table));
        let refusal = identity_refusal(facts, publication)
            .or_else(|| bound.clone().find_map(|key| key_refusal(facts, key, publication)))
            .or_else(|| {
                (config.snapshot && bound.clone().next().is_some()).then(|| copy_key(facts, publication).err())?
            });
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
    }
    Ok(())
}
