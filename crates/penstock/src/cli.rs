//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Moves changes between PostgreSQL and Salesforce, in order, inside Salesforce's limits, with nothing lost, and proves it.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, propagate_version = true, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 a check found something.")]
pub struct Cli {
    /// The configuration.
    #[arg(long, short, global = true, env = "PENSTOCK_CONFIG", default_value = "penstock.yaml", value_name = "FILE")]
    pub config: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// What is logged to standard error, for example `info` or `pipeline=debug`.
    #[arg(long, global = true, env = "PENSTOCK_LOG", default_value = "warn", value_name = "FILTER")]
    pub log: String,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the main job with nothing of your own: a private PostgreSQL, a simulated org, a crash in the middle, the proof.
    Demo(DemoArgs),
    /// Writes a configuration to start from.
    Init(InitArgs),
    /// Checks the configuration, then connections, rights, slot, tables, objects, fields and limits.
    Check(CheckArgs),
    /// Tells what it will cost in calls, Bulk batches and events, and whether the deadlines hold, before anything is sent.
    Plan(PlanArgs),
    /// Runs the pipeline until it is stopped.
    Run(RunArgs),
    /// Shows where the pipeline stands.
    Status,
    /// Tells one key's journey: every record, where it went, what came of it.
    Trace(TraceArgs),
    /// Reads streams and settlements and reports what is lost, repeated or out of order.
    Prove,
    /// Works with dead letters: records that could not be applied.
    #[command(subcommand)]
    Dlq(Box<DlqCommand>),
    /// Shows the org's allocations, this pipeline's share of them, and when they end.
    Quota(QuotaArgs),
    /// Runs a simulated Salesforce org on this machine; its sub-commands steer one that runs.
    Org(Box<OrgArgs>),
    /// Explains an error code; without one it lists them all.
    Explain(ExplainArgs),
    /// Prints the configuration's JSON Schema.
    Schema,
}

impl Command {
    /// The name in `--json` answers.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Demo(_) => "demo",
            Command::Init(_) => "init",
            Command::Check(_) => "check",
            Command::Plan(_) => "plan",
            Command::Run(_) => "run",
            Command::Status => "status",
            Command::Trace(_) => "trace",
            Command::Prove => "prove",
            Command::Dlq(_) => "dlq",
            Command::Quota(_) => "quota",
            Command::Org(_) => "org",
            Command::Explain(_) => "explain",
            Command::Schema => "schema",
        }
    }
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How long the workload writes.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Changes per second.
    #[arg(long, default_value_t = 500)]
    pub rate: u64,
    /// Rows that are there before anybody looks, and are copied beside the live changes.
    #[arg(long, default_value_t = 50_000)]
    pub rows: u64,
    /// Keep the demo's folder (database, log, state) and print its path.
    #[arg(long)]
    pub keep: bool,
    /// Use this PostgreSQL (14 or later, wal_level = logical) instead of a private one; a database of the demo's own is made in it.
    #[arg(long, value_name = "URL", env = "PENSTOCK_DEMO_DATABASE_URL")]
    pub database_url: Option<String>,
    /// Seeds the workload, so that a run can be repeated.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Do not kill the worker in the middle.
    #[arg(long)]
    pub no_kill: bool,
    /// none or realistic: how long the simulated org takes over calls. A realistic org takes some 350 records a second.
    #[arg(long, default_value = "none")]
    pub profile: String,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where to write; refuses to overwrite without --yes.
    #[arg(default_value = "penstock.yaml", value_name = "FILE")]
    pub file: PathBuf,
    /// Overwrite an existing file.
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Check only the file: ask no database and no org.
    #[arg(long)]
    pub offline: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Ask no database and no org: rows and changes come from --rows, --rate and `expect`.
    #[arg(long)]
    pub offline: bool,
    /// Watch the tables for so long, to measure how often they change.
    #[arg(long, value_name = "TIME")]
    pub measure: Option<String>,
    /// How often a table changes: city.agency=5/s (or /m, /h, /d).
    #[arg(long, value_name = "TABLE=RATE")]
    pub rate: Vec<String>,
    /// How many rows a table has.
    #[arg(long, value_name = "TABLE=ROWS")]
    pub rows: Vec<String>,
    /// A burst that the log must hold: 5000/s,10m or city.agency=5000/s,10m.
    #[arg(long, value_name = "RATE,TIME")]
    pub burst: Option<String>,
    /// Plan as if: rate=2x rows=2x share=80% edition=unlimited licences=500 add-on=events:1 add-on=api:100000 deadline=15m
    /// deadline=ROUTE:15m coalesce=ROUTE api=ROUTE:auto parallel=ROUTE:8 subscribers=3.
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    pub what_if: Vec<String>,
    /// Hold the plan that the last run began with against what it sent.
    #[arg(long, conflicts_with_all = ["offline", "measure", "rate", "rows", "burst", "what_if"])]
    pub actual: bool,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// After a slot was refused: start over with a new slot and a new copy of the tables of this source.
    #[arg(long, value_name = "SOURCE")]
    pub resnapshot: Vec<String>,
    /// After a slot was refused: take the slot as it is, and accept that the changes in between are lost.
    #[arg(long, value_name = "SOURCE")]
    pub accept_gap: Vec<String>,
    /// Needed with --accept-gap.
    #[arg(long)]
    pub yes: bool,
    /// Run although the plan says that a goal cannot be met.
    #[arg(long)]
    pub despite_plan: bool,
    /// Stop by itself once everything that was in the source at the start is settled.
    #[arg(long)]
    pub until_settled: bool,
}

#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The business key: `4711`, or JSON such as '{"id":4711}'.
    pub key: String,
    /// Only this route's stream.
    #[arg(long)]
    pub route: Option<String>,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// Lists them, newest last.
    List {
        #[command(flatten)]
        choice: DlqChoice,
        /// Retried, resolved and dropped ones too.
        #[arg(long)]
        all: bool,
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one: reason, attempts, original bytes and position, and what was done about it.
    Show { id: u64 },
    /// Sends them again, in the order of their keys; a newer value in the org is never overwritten.
    Retry(Box<DlqRetryArgs>),
    /// Gives them up.
    Drop {
        ids: Vec<u64>,
        /// Every open one.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        choice: DlqChoice,
        /// Needed: why, for those who ask later.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Needed: what is dropped is not sent any more.
        #[arg(long)]
        yes: bool,
    },
    /// Lists what operators did: who, when, what, why.
    Acts {
        /// Only those about this dead letter.
        #[arg(long)]
        id: Option<u64>,
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

/// Which dead letters: all of what is given must fit.
#[derive(Debug, Default, Args)]
pub struct DlqChoice {
    #[arg(long)]
    pub route: Option<String>,
    /// For example FIELD_CUSTOM_VALIDATION_EXCEPTION or PS5511.
    #[arg(long)]
    pub code: Option<String>,
    /// transient, lock, quota, parent_missing, auth, business_rule, permanent, collateral or unknown.
    #[arg(long)]
    pub class: Option<String>,
    /// schema.table
    #[arg(long)]
    pub table: Option<String>,
    /// The business key: `4711`, id=4711, or JSON such as '{"id":4711}'.
    #[arg(long)]
    pub key: Option<String>,
    /// Buried since then: 2h (two hours ago) or 2026-11-21T21:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Buried before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

#[derive(Debug, Args)]
pub struct DlqRetryArgs {
    pub ids: Vec<u64>,
    /// Every open one.
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    #[command(flatten)]
    pub choice: DlqChoice,
    /// Put this value in the place of the column's own (repeat it for more); the original bytes stay as they are.
    #[arg(long, value_name = "COLUMN=VALUE")]
    pub set: Vec<String>,
    /// Send at most so many of a route: 50/s, 300/m.
    #[arg(long, value_name = "RATE")]
    pub rate: Option<String>,
    /// critical, standard or bulk.
    #[arg(long, default_value = "bulk")]
    pub lane: String,
    /// Why, for those who ask later.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct QuotaArgs {
    #[command(subcommand)]
    pub command: Option<QuotaCommand>,
    /// Only this org.
    pub org: Option<String>,
    /// Ask the org now (one API request for each), besides what the pipeline knows.
    #[arg(long)]
    pub live: bool,
}

#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// Says who spends each allocation, what waits for it and why, when it frees, and what records cost by each API.
    Explain {
        /// Only this org.
        org: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct OrgArgs {
    #[command(subcommand)]
    pub command: Option<OrgCommand>,
    /// Which running org the sub-commands are for.
    #[arg(long, global = true, value_name = "URL", env = "PENSTOCK_ORG_URL", default_value = "http://127.0.0.1:8080")]
    pub at: String,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: std::net::SocketAddr,
    /// A YAML file of objects beside the standard ones.
    #[arg(long, value_name = "FILE")]
    pub objects: Option<PathBuf>,
    /// A YAML file of settings (users, applications, events, limits, what the documents leave open; see docs/org-sim.md).
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Keep records, recycle bin and objects in this folder; without one they are gone when the org stops.
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// developer (default), enterprise or unlimited: decides the allocations.
    #[arg(long)]
    pub edition: Option<String>,
    /// User licences, which add to the allocations [default: 10]
    #[arg(long)]
    pub licences: Option<u64>,
    /// none (default) or realistic: how long calls take.
    #[arg(long)]
    pub profile: Option<String>,
    /// Seeds ids, jitter and faults [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Write the history of applied changes to this file.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
}

/// What to do with an org that runs.
#[derive(Debug, Subcommand)]
pub enum OrgCommand {
    /// Writes records from a CSV or JSON file.
    Seed(SeedArgs),
    /// Lists, adds and removes fault rules.
    Fault {
        #[command(subcommand)]
        command: FaultCommand,
    },
    /// Moves the org's clock forward.
    Clock {
        /// How far: 500ms, 30s, 25h, 15d.
        #[arg(long, value_name = "TIME")]
        advance: String,
    },
    /// Shows the allocations; sets the daily API requests.
    Limits {
        /// What the org permits in 24 hours from now on.
        #[arg(long)]
        max: Option<u64>,
        /// What counts as used already.
        #[arg(long)]
        used: Option<u64>,
    },
    /// Shows what was applied, in order.
    History {
        /// Only changes with a higher number.
        #[arg(long, default_value_t = 0)]
        after: u64,
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Shows the events of a topic, or the channels.
    Events {
        /// For example /data/AccountChangeEvent.
        topic: Option<String>,
        /// Only events with a higher replay id.
        #[arg(long, default_value_t = 0)]
        after: u64,
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Removes records, history, faults and counts.
    Reset {
        /// Needed: the records are gone then.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub struct SeedArgs {
    /// CSV with a header (`Account.Code__c` names a parent, `#N/A` is null), a JSON array, or JSON lines.
    pub file: PathBuf,
    /// What the records are.
    #[arg(long)]
    pub object: String,
    /// Upsert by this field instead of creating.
    #[arg(long, value_name = "FIELD")]
    pub external_id: Option<String>,
    #[arg(long, default_value = "penstock-client")]
    pub client_id: String,
    #[arg(long, default_value = "penstock-secret")]
    pub client_secret: String,
}

/// What to do with fault rules.
#[derive(Debug, Subcommand)]
pub enum FaultCommand {
    /// Lists them, with how often each fired.
    List,
    /// Adds one, as JSON: '{"match": {"api": "collections"}, "effect": {"kind": "html503"}, "count": 1}'
    Add { rule: String },
    /// Removes one, or all.
    Clear { id: Option<u64> },
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// For example PS1003.
    pub code: Option<String>,
}
