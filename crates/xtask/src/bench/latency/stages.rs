//! The two stages: live changes alone, and live changes beside the copy of a large table.

use super::figures::{AppliedTimes, Phase, commit_times, cpu_time, peak_rss_mb, rounded};
use super::load::{Load, ROWS_BEFORE};
use anyhow::{Context, bail};
use contract::{Clock, SystemClock};
use org_sim::{LatencyModel, OrgConfig};
use penstock::demo::stage::{Stage, StageOptions, Worker};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_postgres::Client;

/// Rows of the table that is copied beside the live changes.
pub const ARCHIVE_ROWS: u64 = 1_000_000;
/// What preparing and settling may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Starts of a prepared pipeline; the slowest counts.
const STARTS: u32 = 3;

/// What the live stage gave.
pub struct Live {
    pub at_1000: Phase,
    pub at_5000: Phase,
    pub first_record_ms: f64,
    pub first_record_fresh_ms: f64,
    pub peak_rss_mb: u64,
}

/// What the stage with the copy gave.
pub struct Copy {
    pub phase: Phase,
    /// Rows of the large table that were copied when the load began.
    pub rows_before: u64,
    /// … and when it ended.
    pub rows_after: u64,
    pub seconds: f64,
    pub peak_rss_mb: u64,
}

/// The worker's program.
///
/// # Errors
/// When it is not there.
pub fn program(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let program = match given {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("penstock"),
    };
    if !program.exists() {
        bail!("{} is not there; build it with `cargo build --release --package penstock`", program.display());
    }
    Ok(program)
}

/// Measures starts, then 1,000/s and 5,000/s.
///
/// # Errors
/// As `bench latency`.
pub async fn live_stage(worker: &Path, seconds: u64) -> anyhow::Result<Live> {
    let stage = Stage::start(options(worker, Vec::new())).await?;
    let measured = measure_live(&stage, seconds).await;
    end(stage, measured).await
}

async fn measure_live(stage: &Stage, seconds: u64) -> anyhow::Result<Live> {
    let client = stage.connect().await?;
    fill(&client).await?;
    crate::say("latency: starting a fresh pipeline, then a prepared one");
    let (mut worker, first_record_fresh_ms) = start(stage, &client).await?;
    let mut first_record_ms: f64 = 0.0;
    for _ in 0..STARTS {
        settle(stage, &client, &mut worker).await?;
        worker.stop().await?;
        slot_is_free(&client).await?;
        client.batch_execute("update shop.customers set name = name where id = 1").await?;
        let (again, time) = start(stage, &client).await?;
        first_record_ms = first_record_ms.max(time);
        worker = again;
    }
    settle(stage, &client, &mut worker).await?;
    let duration = Duration::from_secs(seconds);
    crate::say("latency: 1,000 commits/s");
    let load = Load { commits_per_second: 1_000, connections: 8, duration, seed: 1, first_key: 1_000_000 };
    let at_1000 = measure(stage, &client, &mut worker, load).await?;
    settle(stage, &client, &mut worker).await?;
    crate::say("latency: 5,000 commits/s");
    let load = Load { commits_per_second: 5_000, connections: 32, seed: 2, first_key: 2_000_000, ..load };
    let at_5000 = measure(stage, &client, &mut worker, load).await?;
    let peak_rss_mb = peak_rss_mb(worker.pid().context("the worker ended")?)?;
    worker.stop().await?;
    Ok(Live { at_1000, at_5000, first_record_ms, first_record_fresh_ms, peak_rss_mb })
}

/// Measures 1,000/s while the large table is being copied.
///
/// # Errors
/// As `bench latency`.
pub async fn copy_stage(worker: &Path, seconds: u64) -> anyhow::Result<Copy> {
    let stage = Stage::start(options(worker, copy_edits())).await?;
    stage.org.add_objects(&org_sim::parse_objects(include_str!("archive-object.yaml"), "archive-object.yaml")?)?;
    let measured = measure_copy(&stage, seconds).await;
    end(stage, measured).await
}

/// What the stage with the copy has beside the demo's configuration.
fn copy_edits() -> Vec<(String, String)> {
    let edits = [
        ("shop.orders, shop.visits]", "shop.orders, shop.visits, shop.archive]"),
        ("shop.visits: [id]}", "shop.visits: [id], shop.archive: [id]}"),
        // The configuration's default, not the demo's small chunks.
        ("    snapshot: {chunk_rows: 500}\n", ""),
        ("routes:\n", include_str!("archive-route.yaml")),
        // Their own copy is not what is measured: a row in a Bulk job holds its key until the job ends.
        ("    lane: critical\n", "    lane: critical\n    api: collections\n"),
        ("    deadline: 1m\n", "    deadline: 1m\n    api: collections\n"),
    ];
    edits.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

async fn measure_copy(stage: &Stage, seconds: u64) -> anyhow::Result<Copy> {
    let client = stage.connect().await?;
    fill(&client).await?;
    crate::say("latency: 1,000 commits/s beside the copy of 1,000,000 rows");
    let archive = format!(
        "create table shop.archive (id bigint primary key, note text not null); \
         insert into shop.archive select n, 'kept since long ago, number ' || n || ' of many, and of no more use' \
         from generate_series(1, {ARCHIVE_ROWS}) n; analyze shop.archive; checkpoint"
    );
    client.batch_execute(&archive).await?;
    let clock = SystemClock::new();
    let mut worker = stage.worker(&[])?;
    let status = worker.until(PATIENCE, |status| copied_rows(status).is_some_and(|rows| rows > 0)).await?;
    let rows_before = copied_rows(&status).unwrap_or_default();
    let began = clock.monotonic();
    let duration = Duration::from_secs(seconds);
    let load = Load { commits_per_second: 1_000, connections: 8, duration, seed: 3, first_key: 1_000_000 };
    let sample = begin(stage, &client, &worker).await?;
    load.run(stage).await?;
    let seconds = (clock.monotonic() - began).as_secs_f64();
    let status = worker.status().await.context("the worker does not answer")?;
    let rows_after = copied_rows(&status).unwrap_or_default();
    let phase = sample.figures(stage, &client, &worker).await?;
    let peak_rss_mb = peak_rss_mb(worker.pid().context("the worker ended")?)?;
    worker.kill().await?;
    Ok(Copy { phase, rows_before, rows_after, seconds, peak_rss_mb })
}

fn options(worker: &Path, pipeline_edits: Vec<(String, String)>) -> StageOptions {
    let settings = [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("track_commit_timestamp", "on"),
        ("shared_buffers", "512MB"),
        ("max_wal_size", "8GB"),
    ];
    StageOptions {
        worker: Some(worker.to_path_buf()),
        org: OrgConfig {
            daily_api_requests_max: Some(50_000_000),
            latency: LatencyModel::none(),
            ..OrgConfig::default()
        },
        postgres_settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        pipeline_edits,
        ..StageOptions::default()
    }
}

/// Ends the stage; a failure tells the worker's last words.
async fn end<T>(stage: Stage, measured: anyhow::Result<T>) -> anyhow::Result<T> {
    let tail = stage.worker_log_tail();
    stage.end(false).await;
    measured.with_context(|| format!("the worker's last words:\n{tail}"))
}

/// The rows that updates go to.
async fn fill(client: &Client) -> anyhow::Result<()> {
    let sql = format!(
        "insert into shop.customers (id, email, name, address) \
         select n, 'c' || n || '@example.com', 'Customer ' || n, '{{\"city\": \"Lagos\"}}' from generate_series(1, {ROWS_BEFORE}) n; \
         insert into shop.orders (id, customer_id, total, items) \
         select n, n, 12.50, '[{{\"sku\": \"mug-blue\", \"count\": 1}}]' from generate_series(1, {ROWS_BEFORE}) n; \
         analyze; checkpoint"
    );
    Ok(client.batch_execute(&sql).await?)
}

/// Starts a worker; milliseconds until the org has applied a record.
async fn start(stage: &Stage, client: &Client) -> anyhow::Result<(Worker, f64)> {
    let before = stage.org.last_seq();
    let clock = SystemClock::new();
    let mut worker = stage.worker(&[])?;
    while stage.org.last_seq() == before {
        if let Some(end) = worker.ended()? {
            bail!("the worker ended: {end}");
        }
        if clock.monotonic() > PATIENCE {
            bail!("no record was applied within {PATIENCE:?}; slots: {}", slots(client).await?);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let time = clock.monotonic();
    Ok((worker, rounded(time.as_secs_f64() * 1_000.0)))
}

async fn slots(client: &Client) -> anyhow::Result<String> {
    let sql = "select coalesce(json_agg(s)::text, 'none') from pg_replication_slots s";
    Ok(client.query_one(sql, &[]).await?.get(0))
}

async fn settle(stage: &Stage, client: &Client, worker: &mut Worker) -> anyhow::Result<()> {
    let end = stage.wal_end(client).await?;
    worker.until_settled(end, PATIENCE).await.context("waiting until everything is settled")?;
    Ok(())
}

/// Waits until the server has noticed that the reader of the slot is gone: its part of a restart is not ours.
async fn slot_is_free(client: &Client) -> anyhow::Result<()> {
    let waiting = async {
        while client.query_one("select count(*) from pg_replication_slots where active", &[]).await?.get::<_, i64>(0)
            > 0
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("the slot stays in use")?
}

/// Where everything stood before a load.
struct Sample {
    audit_seq: i64,
    history_seq: u64,
    cpu: Duration,
    clock: SystemClock,
}

async fn begin(stage: &Stage, client: &Client, worker: &Worker) -> anyhow::Result<Sample> {
    Ok(Sample {
        audit_seq: stage.audit_seq(client).await?,
        history_seq: stage.org.last_seq(),
        cpu: cpu_time(worker.pid().context("the worker ended")?)?,
        clock: SystemClock::new(),
    })
}

impl Sample {
    /// Called as soon as the load has ended; waits until all of it is applied.
    async fn figures(self, stage: &Stage, client: &Client, worker: &Worker) -> anyhow::Result<Phase> {
        let used = cpu_time(worker.pid().context("the worker ended")?)?.saturating_sub(self.cpu);
        let percent = used.as_secs_f64() / self.clock.monotonic().as_secs_f64().max(0.001) * 100.0;
        let committed = commit_times(client, self.audit_seq).await?;
        let applied = AppliedTimes::collect(stage, self.history_seq, &committed).await?;
        Ok(Phase { worker_cpu_percent: percent.round(), ..applied.figures(&committed) })
    }
}

async fn measure(stage: &Stage, client: &Client, worker: &mut Worker, load: Load) -> anyhow::Result<Phase> {
    let sample = begin(stage, client, worker).await?;
    load.run(stage).await?;
    sample.figures(stage, client, worker).await
}

/// Rows of the large table that are copied; none before its copy has begun.
fn copied_rows(status: &Value) -> Option<u64> {
    let tables =
        status["sources"].as_array()?.iter().flat_map(|source| source["tables"].as_array().into_iter().flatten());
    let archive = tables.into_iter().find(|table| table["table"] == "shop.archive")?;
    archive["rows_done"].as_u64()
}

#[cfg(test)]
mod tests {
    use super::copy_edits;

    #[test]
    fn the_stage_with_the_copy_fits_the_demos_configuration() {
        let text = penstock::demo::stage::edited_pipeline(&copy_edits()).unwrap();
        assert_eq!(text.matches("shop.archive").count(), 3, "{text}");
    }
}
