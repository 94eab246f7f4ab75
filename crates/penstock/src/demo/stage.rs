//! The stage of the demo and of chaos runs: a shop's database, a simulated org, and a worker process that can be killed.
//!
//! ```text
//!   this process: workload ─▶ PostgreSQL ─▶ worker (`penstock run`, a child) ─▶ simulated org (in this process)
//!                                             └── SIGKILL, started again
//! ```

use super::books;
use super::proof::{self, Applied, AppliedEffects, Proof};
use crate::running::{self, Running};
use crate::wiring::DataDir;
use anyhow::{Context, bail};
use org_sim::{HistoryOp, ObjectsSpec, OrgConfig, OrgSim, RunningOrg};
use private_postgres::{Options, Server};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio_postgres::{Client, NoTls};

/// How often the worker's status is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a stage is made with.
#[derive(Debug, Default)]
pub struct StageOptions {
    /// A server to use instead of a private one.
    pub database_url: Option<String>,
    /// The worker's program; none: this one.
    pub worker: Option<PathBuf>,
    /// Settings of the simulated org; its objects are the shop's.
    pub org: OrgConfig,
    /// Settings of the private server.
    pub postgres_settings: Vec<(String, String)>,
    /// Replacements in the pipeline's YAML, before it is written.
    pub pipeline_edits: Vec<(String, String)>,
}

/// Everything but the worker.
pub struct Stage {
    folder: tempfile::TempDir,
    server: Option<Server>,
    /// Where the shop's database is.
    pub database_url: String,
    /// A database of the demo's own in somebody's server, dropped at the end: (server's URL, name).
    foreign: Option<(String, String)>,
    pub org: RunningOrg,
    worker_program: PathBuf,
    credentials: (String, String),
}

/// A running worker.
pub struct Worker {
    child: Child,
    data: DataDir,
}

impl Stage {
    /// Starts database and org, and writes the pipeline's configuration.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub async fn start(options: StageOptions) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("penstock-demo-").tempdir()?;
        let (server, database_url, foreign) = match options.database_url {
            None => {
                let mut postgres = Options::default();
                for (name, value) in &options.postgres_settings {
                    postgres = postgres.set(name, value);
                }
                let server = Server::start(postgres).await?;
                let url = server.url("postgres");
                (Some(server), url, None)
            }
            Some(url) => {
                let (own, name) = make_database(&url).await?;
                (None, own, Some((url, name)))
            }
        };
        let objects: ObjectsSpec = serde_saphyr::from_str(include_str!("shop-objects.yaml"))?;
        let org_config = OrgConfig { objects, ..options.org };
        let org = OrgSim::start(org_config).await?;
        let credentials = (org.credentials().client_id, org.credentials().client_secret);
        let worker_program = match options.worker {
            Some(program) => program,
            None => std::env::current_exe()?,
        };
        let stage = Self { folder, server, database_url, foreign, org, worker_program, credentials };
        stage.write_pipeline(&options.pipeline_edits)?;
        let client = stage.connect().await?;
        client.batch_execute(include_str!("shop.sql")).await.context("making the shop's tables")?;
        Ok(stage)
    }

    fn write_pipeline(&self, edits: &[(String, String)]) -> anyhow::Result<()> {
        let text = edited_pipeline(edits)?
            .replace("@DATA@", &self.data().path().display().to_string())
            .replace("@LISTEN@", "127.0.0.1:0");
        std::fs::write(self.pipeline_file(), text)?;
        Ok(())
    }

    /// The folder of this stage; removed at the end unless kept.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The pipeline's configuration.
    pub fn pipeline_file(&self) -> PathBuf {
        self.folder.path().join("penstock.yaml")
    }

    /// The pipeline's data folder.
    pub fn data(&self) -> DataDir {
        DataDir::new(self.folder.path().join("data"))
    }

    /// The private server; none when somebody else's is used.
    pub fn server(&mut self) -> Option<&mut Server> {
        self.server.as_mut()
    }

    /// Connects to the shop's database.
    ///
    /// # Errors
    /// The database's own error.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.database_url, NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the shop's database ended");
            }
        });
        Ok(client)
    }

    /// The variables that the pipeline's configuration refers to.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PENSTOCK_DEMO_ORG_URL", self.org.url()),
            ("PENSTOCK_DEMO_CLIENT_ID", self.credentials.0.clone()),
            ("PENSTOCK_DEMO_CLIENT_SECRET", self.credentials.1.clone()),
            ("PENSTOCK_DEMO_DATABASE", self.database_url.clone()),
        ]
    }

    /// Starts a worker process; its log goes to a file in the folder.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn worker(&self, extra: &[(String, String)]) -> anyhow::Result<Worker> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("worker.log"))?;
        let child = Command::new(&self.worker_program)
            .arg("run")
            .arg("--config")
            .arg(self.pipeline_file())
            .envs(self.environment())
            .envs(extra.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.worker_program.display()))?;
        Ok(Worker { child, data: self.data() })
    }

    /// The end of the worker's log, for an error message.
    pub fn worker_log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("worker.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// The newest entry of the shop's audit.
    ///
    /// # Errors
    /// The database's own error.
    pub async fn audit_seq(&self, client: &Client) -> Result<i64, tokio_postgres::Error> {
        Ok(client.query_one("select coalesce(max(seq), 0) from shop.audit", &[]).await?.get(0))
    }

    /// The end of the WAL now: what the pipeline must have confirmed to be done.
    ///
    /// # Errors
    /// The database's own error.
    pub async fn wal_end(&self, client: &Client) -> Result<u64, tokio_postgres::Error> {
        // The message makes the end a position that the stream will show.
        let sql = "select (pg_logical_emit_message(true, 'penstock.demo', 'end') - '0/0'::pg_lsn)::bigint";
        let end: i64 = client.query_one(sql, &[]).await?.get(0);
        Ok(end as u64)
    }

    /// Compares the shop with the org. `copied_seq`: the audit's end when capture began.
    ///
    /// # Errors
    /// When either side cannot be read.
    pub async fn prove(&self, client: &Client, copied_seq: i64) -> anyhow::Result<Proof> {
        let expected = proof::expected(client, copied_seq).await?;
        let mut applied = AppliedEffects::default();
        let mut after = 0;
        loop {
            let page = self.org.history_after(after, 5_000);
            let Some(last) = page.last() else { break };
            after = last.seq;
            for entry in &page {
                applied.push(&Applied {
                    object: &entry.object,
                    key: entry.external_id.as_deref().unwrap_or_default(),
                    deleted: entry.op == HistoryOp::Delete,
                    revision: entry.after("Revision__c").and_then(whole_number),
                    by_caller: !entry.sent.is_empty() || entry.op == HistoryOp::Delete,
                });
            }
        }
        let database = proof::database_rows(client).await?;
        let org = proof::org_rows(
            &self.org.records("Account"),
            &self.org.records("Shop_Order__c"),
            &self.org.records("Shop_Visit__c"),
        );
        let accounts = books::read(&self.data()).await?;
        Ok(proof::prove(&expected, (&applied.into_effects(), &accounts), &database, &org))
    }

    /// Effects of each API in the org's history, and the calls (or jobs) that made them.
    pub fn effects_by_api(&self) -> BTreeMap<String, (u64, u64)> {
        let mut found: BTreeMap<String, (u64, HashSet<u64>)> = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self.org.history_after(after, 5_000);
            let Some(last) = page.last() else { break };
            after = last.seq;
            for entry in page {
                let of = found.entry(entry.api).or_default();
                of.0 += 1;
                of.1.insert(entry.request);
            }
        }
        found.into_iter().map(|(api, (rows, calls))| (api, (rows, calls.len() as u64))).collect()
    }

    /// Ends the stage; keeps the folder when told to and says where it is.
    pub async fn end(mut self, keep: bool) -> Option<PathBuf> {
        self.org.stop().await;
        if let Some((server, name)) = self.foreign.take()
            && !keep
        {
            drop_database(&server, &name).await;
        }
        drop(self.server.take());
        keep.then(|| self.folder.keep())
    }
}

/// A number that may be written as `7`, `7.0` or `"7"`.
fn whole_number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|number| number as i64)).or_else(|| value.as_str()?.parse().ok())
}

async fn make_database(server_url: &str) -> anyhow::Result<(String, String)> {
    let (client, connection) =
        tokio_postgres::connect(server_url, NoTls).await.context("connecting to --database-url")?;
    let connection = tokio::spawn(connection);
    let name = format!("penstock_demo_{}", std::process::id());
    client.batch_execute(&format!("create database {name}")).await.context("making a database for the demo")?;
    connection.abort();
    Ok((with_database(server_url, &name)?, name))
}

/// Puts another database's name into a connection URL.
fn with_database(url: &str, name: &str) -> anyhow::Result<String> {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let (scheme, rest) =
        base.split_once("://").context("--database-url is a URL: postgres://user:password@host:port/database")?;
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{scheme}://{host}/{name}{query}"))
}

async fn drop_database(server_url: &str, name: &str) {
    let Ok((client, connection)) = tokio_postgres::connect(server_url, NoTls).await else { return };
    let connection = tokio::spawn(connection);
    let slot =
        format!("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = '{name}'");
    for sql in [slot, format!("drop database {name} with (force)")] {
        if let Err(error) = client.batch_execute(&sql).await {
            tracing::warn!(%error, database = name, "the demo's database was not dropped");
        }
    }
    connection.abort();
}

impl Worker {
    /// The worker's process id; none when it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends SIGKILL and waits until the process is gone.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill().await
    }

    /// Asks for a graceful stop (SIGTERM) and waits for the end, at most 15 seconds.
    ///
    /// # Errors
    /// When the process did not end in time; it is killed then.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        if tokio::time::timeout(Duration::from_secs(15), self.child.wait()).await.is_err() {
            self.child.kill().await?;
            bail!("the worker did not stop within 15 s of SIGTERM");
        }
        Ok(())
    }

    /// Says how the process ended; none while it runs.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ended(&mut self) -> std::io::Result<Option<std::process::ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn wait(&mut self) -> std::io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// The worker's own status; none while it is not answering.
    pub async fn status(&self) -> Option<Value> {
        let running: Running = running::find(&self.data)?;
        if Some(running.pid) != self.child.id() {
            return None;
        }
        running::ask_status(&running).await
    }

    /// Looks at the status until `enough` says so.
    ///
    /// # Errors
    /// When the worker ends, or `within` passes.
    pub async fn until(&mut self, within: Duration, enough: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let looking = async {
            loop {
                if let Some(end) = self.child.try_wait()? {
                    bail!("the worker ended: {end}");
                }
                match self.status().await {
                    Some(status) if enough(&status) => return Ok(status),
                    _ => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        match tokio::time::timeout(within, looking).await {
            Ok(found) => found,
            Err(_) => bail!("the worker did not come so far within {within:?}"),
        }
    }

    /// Waits until everything up to `wal_end` is confirmed and settled.
    ///
    /// # Errors
    /// As `until`.
    pub async fn until_settled(&mut self, wal_end: u64, within: Duration) -> anyhow::Result<Value> {
        self.until(within, |status| is_settled(status, wal_end)).await
    }
}

/// True when capture is connected: the slot exists and the stream is read.
pub fn is_connected(status: &Value) -> bool {
    all(status, "sources", |source| source["connected"] == true)
}

/// True when every source has confirmed `wal_end`, every table is copied, and every route has settled all that is in its stream.
pub fn is_settled(status: &Value, wal_end: u64) -> bool {
    let done = |table: &Value| table["phase"] == "done";
    let sources = all(status, "sources", |source| {
        source["confirmed_position"].as_u64().is_some_and(|at| at >= wal_end)
            && source["tables"].as_array().is_some_and(|tables| tables.iter().all(done))
    });
    sources && all(status, "routes", |route| route["unsettled"] == 0 && route["lag_records"] == 0)
}

fn all(status: &Value, list: &str, holds: impl Fn(&Value) -> bool) -> bool {
    status[list].as_array().is_some_and(|items| !items.is_empty() && items.iter().all(holds))
}

/// The demo's configuration with parts of it replaced; its folder and address stand for themselves.
///
/// # Errors
/// When there is nothing to replace.
pub fn edited_pipeline(edits: &[(String, String)]) -> anyhow::Result<String> {
    let mut text = include_str!("pipeline.yaml").to_owned();
    for (from, to) in edits {
        if !text.contains(from) {
            bail!("the pipeline's configuration has no {from:?} to replace");
        }
        text = text.replace(from, to);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_name_replaces_the_one_in_the_url() {
        let url = |text| with_database(text, "demo").unwrap();
        assert_eq!(url("postgres://u:p@h:1/db?sslmode=require"), "postgres://u:p@h:1/demo?sslmode=require");
        assert_eq!(url("postgres://h"), "postgres://h/demo");
        assert!(with_database("host=x", "demo").is_err());
    }
}
