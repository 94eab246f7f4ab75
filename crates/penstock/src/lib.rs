//! The program: command line, configuration, wiring.
//!
//! The one crate that names concrete connectors and a concrete log.

pub mod cli;
mod commands;
pub mod config;
mod crash;
pub mod demo;
pub mod explain;
mod http;
pub mod operator;
pub mod output;
mod plan;
mod progress;
mod running;
mod signals;
mod status_view;
pub mod verify;
mod wal_alarm;
pub mod wiring;

pub use commands::prove::of_pipeline as prove_pipeline;

use clap::Parser;
use cli::{Cli, Command};
use output::{Answer, Exit, Problem, print};
use tracing_subscriber::EnvFilter;

/// Runs the program with the process's arguments; returns the exit code.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _closed_pipe = error.print();
            return if error.use_stderr() { Exit::Usage.code() } else { Exit::Done.code() };
        }
    };
    // Two TLS providers in one process panic at run time: install ours before anything connects.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let filter = EnvFilter::try_new(&cli.log).unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let (name, as_json) = (cli.command.name(), cli.json);
    let answer = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(dispatch(&cli)),
        Err(error) => Answer::failed(Problem {
            code: "PS1105".into(),
            place: "start".into(),
            cause: format!("the program's threads cannot be started: {error}"),
            fix: "raise this user's limits of processes and open files".into(),
        }),
    };
    print(name, &answer, as_json)
}

async fn dispatch(cli: &Cli) -> Answer {
    let file = &cli.config;
    match &cli.command {
        Command::Demo(args) => demo::run(args, cli.json).await,
        Command::Init(args) => commands::init::run(args),
        Command::Check(args) => commands::check::run(file, args).await,
        Command::Plan(args) => commands::plan::run(file, args).await,
        Command::Run(args) => commands::run::run(file, args, cli.json).await,
        Command::Status => commands::status::run(file).await,
        Command::Trace(args) => commands::trace::run(file, args).await,
        Command::Prove => commands::prove::run(file).await,
        Command::Dlq(command) => commands::dlq::run(file, command).await,
        Command::Quota(args) => commands::quota::run(file, args).await,
        Command::Org(args) => commands::org::run(args, cli.json).await,
        Command::Explain(args) => commands::explain::run(args.code.as_deref()),
        Command::Schema => commands::schema::run(),
    }
}
