//! `cargo xtask chaos`: real processes, killed at random and at named points, with faults of database and org; then the proof.
//!
//! The kills, their moments and points, and the workload come from the seed. Operating system and servers add timing of
//! their own, so two runs of a seed are alike, not identical.

mod schedule;

use anyhow::{Context, bail};
use clap::Args;
use contract::{Clock, SystemClock};
use org_sim::{FaultRule, OrgConfig};
use penstock::demo::stage::{Stage, StageOptions, Worker, is_connected};
use penstock::demo::workload::Workload;
use private_postgres::StopMode;
use schedule::{Blow, Schedule};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a restarted worker may take to settle everything at the end.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a worker with an armed point may run before it is killed from outside.
const POINT_WAIT: Duration = Duration::from_secs(4);
const WRITERS: u32 = 3;
/// Requests that permits of one process may stand for at a moment: eight calls and two critical ones, and a job's dozen.
const PERMITS_IN_FLIGHT_MAX: u64 = 8 + 2 + 12;

/// Options of a run.
#[derive(Args, Debug)]
pub struct ChaosArgs {
    /// How often the worker is killed.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Changes per second while it is being killed.
    #[arg(long, default_value_t = 250)]
    rate: u64,
    /// Rows that are there before capture begins: the first copy is killed as well.
    #[arg(long, default_value_t = 6_000)]
    rows: u32,
    /// The worker's program; default: `penstock` beside this one.
    #[arg(long, value_name = "FILE")]
    worker: Option<PathBuf>,
    /// Without faults of the org.
    #[arg(long)]
    no_faults: bool,
    /// Rows of a table that is copied by Bulk jobs while the worker is being killed.
    #[arg(long, default_value_t = 4_000)]
    backfill: u64,
    /// Keep the folder.
    #[arg(long)]
    keep: bool,
    #[arg(long)]
    json: bool,
}

/// Runs chaos; an error when a promise was broken.
pub async fn run(args: &ChaosArgs) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let started = clock.monotonic();
    let mut stage = Stage::start(options(args)?).await?;
    let played = play(&mut stage, args).await;
    let tail = stage.worker_log_tail();
    let holds = matches!(&played, Ok((_, true)));
    let kept = stage.end(args.keep || !holds).await;
    let (mut report, holds) = played.with_context(|| format!("the worker's last words:\n{tail}\nfolder: {kept:?}"))?;
    report["seconds"] = json!((clock.monotonic() - started).as_secs());
    if let Some(folder) = kept {
        report["folder"] = json!(folder);
    }
    print(&report, args.json);
    if holds { Ok(()) } else { bail!("a promise was broken: {report}") }
}

#[allow(clippy::print_stdout, reason = "the answer of a developer's tool")]
fn print(report: &Value, as_json: bool) {
    if as_json { println!("{report}") } else { println!("{report:#}") }
}

fn options(args: &ChaosArgs) -> anyhow::Result<StageOptions> {
    let beside = std::env::current_exe()?.with_file_name("penstock");
    let worker = args.worker.clone().unwrap_or(beside);
    if !worker.exists() {
        bail!("{} is not there; build it with `cargo build -p penstock`", worker.display());
    }
    let faults: Vec<FaultRule> =
        if args.no_faults { Vec::new() } else { serde_saphyr::from_str(include_str!("faults.yaml"))? };
    let org = OrgConfig { seed: args.seed, daily_api_requests_max: Some(50_000_000), faults, ..OrgConfig::default() };
    let edits = [
        // Many small chunks and batches: more places to die at.
        ("chunk_rows: 500", "chunk_rows: 100"),
        ("pacing: false", "pacing: false\n    limits_lag: 1s\n    request_timeout: 2s"),
        (
            "    deadline: 1m",
            "    deadline: 1m\n    retry: {transient: {max_attempts: 10, initial_delay: 200ms, max_delay: 30s}, parent_missing: {max_wait: 20s}}",
        ),
        // Jobs of some hundred rows, from backlogs that a restart leaves.
        (
            "routes:\n",
            "limits: {recovery_grace: 300ms, checkpoint_every: 100ms}\n\
             router: {bulk_from: 150, bulk_rows: 400, bulk_wait: 100ms, rules: [\
             {when: {lane: bulk, rows_from: 100}, api: bulk}, {when: {lane: standard, rows_from: 150}, api: bulk}]}\nroutes:\n",
        ),
    ];
    Ok(StageOptions {
        worker: Some(worker),
        org,
        pipeline_edits: edits.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect(),
        ..StageOptions::default()
    })
}

/// What the run did beside killing.
#[derive(Default)]
struct Tally {
    at_points: u32,
    at_random: u32,
    postgres_restarts: u32,
    walsenders_terminated: u32,
}

async fn play(stage: &mut Stage, args: &ChaosArgs) -> anyhow::Result<(Value, bool)> {
    let client = stage.connect().await?;
    let mut writers: Vec<Workload> = (0..WRITERS).map(|n| Workload::new(args.seed, n, WRITERS)).collect();
    for writer in &mut writers {
        let mut connection = stage.connect().await?;
        let mut left = i64::from(args.rows / WRITERS);
        while left > 0 {
            left -= i64::from(writer.transaction(&mut connection).await?);
        }
    }
    penstock::demo::backfill(&client, args.backfill).await?;
    let copied_seq = stage.audit_seq(&client).await?;
    drop(client);

    // The slot must be there before the first live change, or the proof could not tell copied rows from changed ones.
    let mut worker = stage.worker(&[])?;
    worker.until(PATIENCE, is_connected).await.context("starting the first worker")?;
    let open = Arc::new(AtomicBool::new(true));
    let changes = Arc::new(AtomicU64::new(0));
    let work: Vec<_> = writers
        .into_iter()
        .map(|writer| {
            let url = stage.database_url.clone();
            tokio::spawn(write_while(url, writer, args.rate / u64::from(WRITERS), open.clone(), changes.clone()))
        })
        .collect();
    let beaten = beat(stage, worker, args).await;
    open.store(false, Ordering::Relaxed);
    for writer in work {
        writer.await??;
    }
    let (mut worker, tally) = beaten?;
    let client = stage.connect().await?;
    let wal_end = stage.wal_end(&client).await?;
    let last = worker.until_settled(wal_end, PATIENCE).await.context("waiting until everything is settled")?;
    let (ledger, certain) = (requests(&last, "spent"), requests(&last, "spent") - requests(&last, "in_doubt"));
    worker.stop().await?;
    let proof = stage.prove(&client, copied_seq).await?;
    let own = penstock::prove_pipeline(&stage.pipeline_file()).await?;
    let found = &proof.findings;
    let of_org = stage.org.daily_requests_used();
    // Never below what the org counts; what is counted for certain is above it by the permits that were in flight at a kill at
    // most. The rest of the ledger are reserves of killed processes, which a figure of the org refutes once its time is over.
    let in_flight = u64::from(args.kills) * PERMITS_IN_FLIGHT_MAX;
    let ledger_holds = ledger >= of_org && certain <= of_org + in_flight;
    let holds = proof.holds() && own["holds"] == true && ledger_holds;
    let report = json!({
        "kills": args.kills, "seed": args.seed, "lost": found.lost, "out_of_order": found.out_of_order,
        "repeated_effects": found.repeated_effects, "resent": found.resent, "copied_again": found.copied_again, "not_applied": found.not_applied, "unknown": found.unknown,
        "rows_equal": proof.rows_equal, "rows": proof.rows_in_database, "effects": found.effects, "keys": found.keys,
        "changes": changes.load(Ordering::Relaxed), "killed_at_points": tally.at_points, "killed_at_random": tally.at_random,
        "postgres_restarts": tally.postgres_restarts, "walsenders_terminated": tally.walsenders_terminated,
        "requests_in_ledger": ledger, "requests_certain": certain, "requests_of_org": of_org, "ledger_holds": ledger_holds,
        "by_api": stage.effects_by_api(), "limit_errors": stage.org.limit_refusals(),
        "prove_holds": own["holds"], "prove_totals": own["totals"], "api_calls": stage.org.daily_requests_used(),
        "examples": found.examples,
    });
    Ok((report, holds))
}

/// API requests that the worker's ledger counts, those of dead workers included.
fn requests(status: &Value, figure: &str) -> u64 {
    let rows = status["quota"]["main"]["allocations"].as_array().into_iter().flatten();
    rows.filter(|row| row["name"] == "DailyApiRequests").filter_map(|row| row[figure].as_u64()).sum()
}

/// Kills worker after worker; returns one that is left in peace.
async fn beat(stage: &mut Stage, first: Worker, args: &ChaosArgs) -> anyhow::Result<(Worker, Tally)> {
    let mut schedule = Schedule::new(args.seed);
    let (mut tally, mut kills, mut worker) = (Tally::default(), 0, Some(first));
    while kills < args.kills {
        let blow = schedule.next();
        let mut victim = match (worker.take(), &blow) {
            (Some(running), Blow::Kill { .. } | Blow::RestartPostgres { .. } | Blow::TerminateWalsender { .. }) => {
                running
            }
            (running, blow) => {
                // An armed point needs a process that was started with it.
                if let Some(mut running) = running {
                    running.kill().await?;
                }
                stage.worker(&blow.environment())?
            }
        };
        match blow {
            Blow::Kill { after } => {
                pause(&mut victim, after).await?;
                victim.kill().await?;
                tally.at_random += 1;
                kills += 1;
            }
            Blow::AtPoint { .. } => {
                if tokio::time::timeout(POINT_WAIT, victim.wait()).await.is_err() {
                    victim.kill().await?;
                    tally.at_random += 1;
                } else {
                    tally.at_points += 1;
                }
                kills += 1;
            }
            Blow::RestartPostgres { after, hard } => {
                pause(&mut victim, after).await?;
                let mode = if hard { StopMode::Immediate } else { StopMode::Fast };
                stage.server().context("chaos has a server of its own")?.restart(mode).await?;
                tally.postgres_restarts += 1;
                worker = Some(victim);
                continue;
            }
            Blow::TerminateWalsender { after } => {
                pause(&mut victim, after).await?;
                let client = stage.connect().await?;
                client.batch_execute("select pg_terminate_backend(pid) from pg_stat_replication").await?;
                tally.walsenders_terminated += 1;
                worker = Some(victim);
                continue;
            }
        }
        worker = Some(stage.worker(&[])?);
    }
    Ok((worker.context("a worker is left")?, tally))
}

/// Lets the worker run for a while; a worker that ends by itself is an error.
async fn pause(worker: &mut Worker, after: Duration) -> anyhow::Result<()> {
    match tokio::time::timeout(after, worker.wait()).await {
        Ok(end) => bail!("the worker ended by itself: {}", end?),
        Err(_) => Ok(()),
    }
}

/// Writes at a rate until the shop closes; comes back after the database was restarted.
async fn write_while(
    url: String,
    mut writer: Workload,
    rate: u64,
    open: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    while open.load(Ordering::Relaxed) {
        let Ok((mut client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let connection = tokio::spawn(connection);
        let mut due = tokio::time::Instant::now();
        while open.load(Ordering::Relaxed) {
            match writer.transaction(&mut client).await {
                Ok(written) => {
                    changes.fetch_add(u64::from(written), Ordering::Relaxed);
                    due += Duration::from_secs_f64(f64::from(written) / rate.max(1) as f64);
                    tokio::time::sleep_until(due).await;
                }
                Err(error) if error.is_closed() || connection.is_finished() => break,
                Err(error) => match error.code() {
                    Some(code) if code.code().starts_with("57P") => break,
                    // A commit that was cut off may have happened after all: its keys are there already.
                    Some(code) if code.code() == "23505" => writer.skip_keys(),
                    _ => return Err(error).context("the workload"),
                },
            }
        }
        connection.abort();
    }
    Ok(())
}
