//! `penstock demo`: the main job with nothing of one's own, with a crash in the middle and a proof at the end.

pub mod books;
pub mod proof;
mod show;
pub mod stage;
pub mod workload;

use crate::cli::DemoArgs;
use crate::output::{Answer, Exit, Problem, thousands};
use anyhow::Context;
use contract::{Clock, SystemClock};
use org_sim::{LatencyModel, OrgConfig, ServiceTime};
use proof::Proof;
use serde_json::{Value, json};
use show::Show;
use stage::{Stage, StageOptions, Worker, is_connected};
use std::collections::BTreeMap;
use std::time::Duration;
use workload::{Workload, Written};

/// Customers and orders that are there before capture begins, so that the first copy has something to do.
const ROWS_BEFORE: u32 = 2_000;
/// The org's requests of a day for each change of the workload: about twice what is used.
const REQUESTS_PER_CHANGE: u64 = 1;
/// Milliseconds that the demo's org works on a row of a Bulk job: long enough to die in the middle of one.
const BULK_ROW_MS: f64 = 4.0;
const WRITERS: u32 = 3;
/// What starting, settling and stopping may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a demo did.
struct Outcome {
    written: Written,
    kills: u32,
    proof: Proof,
    /// The pipeline's own proof (`penstock prove`).
    own: Value,
    calls: u64,
    /// The org's requests of the day.
    quota: u64,
    /// Requests that the org refused since they were spent.
    limit_errors: u64,
    /// Rows of each API, and its calls or jobs, as the org saw them.
    by_api: BTreeMap<String, (u64, u64)>,
    /// Rows of jobs that were made by the killed worker.
    adopted: u64,
    backfill: u64,
    seconds: f64,
}

/// Runs the demo; exit 1 when the proof does not hold.
pub async fn run(args: &DemoArgs, as_json: bool) -> Answer {
    let Some(latency) = LatencyModel::from_word(&args.profile) else {
        return Answer {
            exit: Exit::Usage,
            ..Answer::failed(Problem {
                code: "PS1010".into(),
                place: "--profile".into(),
                cause: format!("{:?} is not a profile", args.profile),
                fix: "write none or realistic".into(),
            })
        };
    };
    let show = Show::new(as_json);
    let options = StageOptions {
        database_url: args.database_url.clone(),
        org: OrgConfig {
            seed: args.seed,
            daily_api_requests_max: Some(quota(args)),
            latency: if latency == LatencyModel::none() { with_slow_jobs(latency) } else { latency },
            ..OrgConfig::default()
        },
        pipeline_edits: vec![
            ("pacing: false".into(), "pacing: true".into()),
            ("deadline: 1m".into(), "deadline: 10s".into()),
        ],
        ..StageOptions::default()
    };
    show.step("starting PostgreSQL and a simulated Salesforce org");
    let stage = match Stage::start(options).await {
        Ok(stage) => stage,
        Err(error) => {
            return failed(&error, "see the message; `penstock demo --database-url URL` takes a server of yours");
        }
    };
    let played = play(&stage, args, &show).await;
    let tail = stage.worker_log_tail();
    let kept = stage.end(args.keep).await;
    show.finish();
    match played {
        Ok(outcome) => answer(&outcome, kept.map(|path| path.display().to_string())),
        Err(error) => {
            let error =
                if tail.is_empty() { error } else { error.context(format!("the worker's last words:\n{tail}")) };
            failed(&error, "run it again with --keep and read worker.log in the folder that it prints")
        }
    }
}

async fn play(stage: &Stage, args: &DemoArgs, show: &Show) -> anyhow::Result<Outcome> {
    let clock = SystemClock::new();
    let client = stage.connect().await?;
    show.step(&format!("writing {} rows into the shop, before anybody looks", thousands(u64::from(ROWS_BEFORE))));
    show.step(&format!("writing {} visits into the shop: the backfill", thousands(args.rows)));
    backfill(&client, args.rows).await?;
    let mut writers: Vec<Workload> = (0..WRITERS).map(|n| Workload::new(args.seed, n, WRITERS)).collect();
    fill(stage, &mut writers).await?;
    let copied_seq = stage.audit_seq(&client).await?;

    let started = clock.monotonic();
    let mut worker = stage.worker(&[])?;
    worker.until(PATIENCE, is_connected).await.context("starting the worker")?;
    let duration = Duration::from_secs(args.seconds.max(1));
    show.start(duration, args.rate);
    let (written, kills) = {
        let work = write_for(stage, writers, duration, args.rate);
        let watch = watch_and_kill(stage, worker, duration, !args.no_kill, show);
        let (written, watched) = tokio::join!(work, watch);
        let (back, kills) = watched?;
        worker = back;
        (written?, kills)
    };
    show.step("the shop is closed; waiting until everything is settled");
    let wal_end = stage.wal_end(&client).await?;
    let last = worker.until_settled(wal_end, PATIENCE).await.context("waiting until everything is settled")?;
    let seconds = (clock.monotonic() - started).as_secs_f64();
    worker.stop().await?;
    show.step("comparing database and org, row by row");
    let proof = stage.prove(&client, copied_seq).await?;
    let own = crate::commands::prove::of_pipeline(&stage.pipeline_file()).await?;
    let adopted = last["routes"].as_array().into_iter().flatten().filter_map(|route| route["adopted"].as_u64()).sum();
    Ok(Outcome {
        written,
        kills,
        proof,
        own,
        calls: stage.org.daily_requests_used(),
        quota: quota(args),
        limit_errors: stage.org.limit_refusals(),
        by_api: stage.effects_by_api(),
        adopted,
        backfill: args.rows,
        seconds,
    })
}

/// The org's requests of a day: they run short while the workload writes.
fn quota(args: &DemoArgs) -> u64 {
    (args.rate * args.seconds * REQUESTS_PER_CHANGE).max(1_000)
}

fn with_slow_jobs(latency: LatencyModel) -> LatencyModel {
    LatencyModel { bulk: ServiceTime { base_ms: 0.0, per_record_ms: BULK_ROW_MS }, ..latency }
}

/// Writes the rows of the backfill in one go.
///
/// # Errors
/// The database's own error.
pub async fn backfill(client: &tokio_postgres::Client, rows: u64) -> anyhow::Result<()> {
    let sql = "insert into shop.visits (id, page) select n, '/products/' || n % 977 || '?visit=' || n \
               from generate_series(1, $1::bigint) n";
    client.execute(sql, &[&(rows as i64)]).await?;
    Ok(())
}

/// Writes the rows that are there before capture begins.
async fn fill(stage: &Stage, writers: &mut [Workload]) -> anyhow::Result<()> {
    for writer in writers.iter_mut() {
        let mut client = stage.connect().await?;
        let mut left = i64::from(ROWS_BEFORE / WRITERS);
        while left > 0 {
            left -= i64::from(writer.transaction(&mut client).await?);
        }
        writer.keep_what_is_there();
    }
    Ok(())
}

/// Lets the writers work at a rate, each on a connection of its own.
async fn write_for(stage: &Stage, writers: Vec<Workload>, duration: Duration, rate: u64) -> anyhow::Result<Written> {
    let mut tasks = Vec::new();
    for mut writer in writers {
        let mut client = stage.connect().await?;
        let own_rate = (rate as f64 / f64::from(WRITERS)).max(0.1);
        tasks.push(tokio::spawn(async move {
            let end = tokio::time::Instant::now() + duration;
            let mut due = tokio::time::Instant::now();
            while tokio::time::Instant::now() < end {
                let changes = writer.transaction(&mut client).await?;
                due += Duration::from_secs_f64(f64::from(changes) / own_rate);
                tokio::time::sleep_until(due.min(end)).await;
            }
            Ok::<_, tokio_postgres::Error>(writer.written)
        }));
    }
    let mut all = Written::default();
    for task in tasks {
        let written = task.await??;
        all.inserts += written.inserts;
        all.updates += written.updates;
        all.deletes += written.deletes;
        all.transactions += written.transactions;
    }
    Ok(all)
}

/// Shows the worker's progress; in the middle kills it and starts another.
async fn watch_and_kill(
    stage: &Stage,
    mut worker: Worker,
    duration: Duration,
    kill: bool,
    show: &Show,
) -> anyhow::Result<(Worker, u32)> {
    let start = tokio::time::Instant::now();
    let (mut kills, mut short, mut look) = (0, false, tokio::time::interval(Duration::from_millis(250)));
    while start.elapsed() < duration {
        look.tick().await;
        let status = worker.status().await;
        let in_jobs = status.as_ref().map_or(0, rows_in_jobs);
        let due = start.elapsed() * 2 > duration && in_jobs > 0 || start.elapsed() * 10 > duration * 9;
        if kill && kills == 0 && due {
            show.step(&format!(
                "SIGKILL to the worker, process {}, with {} rows in Bulk jobs; starting another",
                worker.pid().unwrap_or_default(),
                thousands(in_jobs)
            ));
            worker.kill().await?;
            worker = stage.worker(&[])?;
            kills += 1;
        }
        if let Some(end) = worker.ended()? {
            anyhow::bail!("the worker ended: {end}");
        }
        if let Some(status) = status {
            if !short && let Some(reason) = held_by_quota(&status) {
                show.step(&format!(
                    "the org's requests run short, and the governor holds back what has time: {reason}"
                ));
                short = true;
            }
            show.progress(start.elapsed(), &status);
        }
    }
    Ok((worker, kills))
}

/// Rows of the backfill that Bulk jobs hold.
fn rows_in_jobs(status: &Value) -> u64 {
    let routes = status["routes"].as_array().into_iter().flatten();
    let visits = routes.filter(|route| route["id"] == "visits");
    visits.filter_map(|route| route["lanes"][2]["in_flight"].as_u64()).sum()
}

/// What the governor says while it holds a route back.
fn held_by_quota(status: &Value) -> Option<String> {
    let routes = status["routes"].as_array().into_iter().flatten();
    let held = routes.filter_map(|route| Some((route["id"].as_str()?, route["paused"].as_str()?)));
    held.filter(|(_, reason)| reason.starts_with("PS60")).map(|(id, reason)| format!("route {id}: {reason}")).next()
}

fn failed(error: &anyhow::Error, fix: &str) -> Answer {
    Answer::failed(Problem {
        code: "PS7101".into(),
        place: "penstock demo".into(),
        cause: format!("{error:#}"),
        fix: fix.into(),
    })
}

fn answer(outcome: &Outcome, kept: Option<String>) -> Answer {
    let (proof, found) = (&outcome.proof, &outcome.proof.findings);
    let own_holds = outcome.own["holds"] == true;
    let holds = proof.holds() && own_holds && outcome.limit_errors == 0;
    let result = json!({
        "lost": found.lost, "out_of_order": found.out_of_order, "repeated_effects": found.repeated_effects,
        "unknown": found.unknown, "resent": found.resent, "copied_again": found.copied_again, "not_applied": found.not_applied, "rows_equal": proof.rows_equal,
        "rows_in_database": proof.rows_in_database, "rows_in_org": proof.rows_in_org,
        "rows_different": proof.rows_different, "examples": found.examples,
        "changes": outcome.written.changes(), "written": outcome.written, "effects": found.effects, "keys": found.keys,
        "kills": outcome.kills, "api_calls": outcome.calls, "quota": outcome.quota, "limit_errors": outcome.limit_errors, "adopted": outcome.adopted,
        "backfill": outcome.backfill, "by_api": outcome.by_api, "seconds": outcome.seconds, "prove": outcome.own, "folder": kept,
    });
    let mut text = show::proof_table(outcome);
    for example in &found.examples {
        text.push_str(&format!("  {example}\n"));
    }
    if let Some(folder) = &kept {
        text.push_str(&format!("kept: {folder}\n"));
    }
    let summary = if holds {
        "nothing lost, nothing out of order, nothing repeated; database and org are equal".to_owned()
    } else {
        "the proof does not hold: see the table".to_owned()
    };
    let exit = if holds { Exit::Done } else { Exit::Found };
    Answer { exit, ..Answer::done(summary, text, result) }
}
