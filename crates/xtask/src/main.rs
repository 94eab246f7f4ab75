//! `cargo xtask`: benchmarks, chaos, layering and style checks.

mod bench;
mod chaos;
mod debezium_diff;
mod layering;
mod postgres_versions;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures one of the figures that the project promises.
    Bench(bench::BenchArgs),
    /// Kills workers and servers in every way and at every point, then proves that nothing was lost, swapped or repeated.
    Chaos(chaos::ChaosArgs),
    /// Runs the capture tests on PostgreSQL 14, 16, 17 and 18.
    PostgresVersions(postgres_versions::PostgresVersionsArgs),
    /// Compares `json: debezium` with Debezium itself, field by field.
    DebeziumDiff {
        /// Print one JSON object on one line.
        #[arg(long)]
        json: bool,
    },
    /// Fails when a room imports another one than the table allows.
    Layering,
    /// Checks the house rules that no lint knows.
    Tidy,
}

#[tokio::main]
async fn main() -> ExitCode {
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match Cli::parse().command {
        Command::Bench(args) => bench::run(args).await,
        Command::Chaos(args) => chaos::run(&args).await,
        Command::PostgresVersions(args) => postgres_versions::run(&args).await,
        Command::DebeziumDiff { json } => compare_with_debezium(json).await,
        Command::Layering => layering::run(),
        Command::Tidy => tidy::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints the comparison; an error when a field differs that is no documented difference.
async fn compare_with_debezium(as_json: bool) -> anyhow::Result<()> {
    let report = debezium_diff::run().await?;
    print(&if as_json { report.to_string() } else { format!("{report:#}") });
    anyhow::ensure!(report["ok"] == true, "Penstock and Debezium differ: see the report");
    Ok(())
}

/// Prints an answer.
#[allow(clippy::print_stdout, reason = "the answer of a developer's tool")]
fn print(text: &str) {
    println!("{text}");
}

/// Prints to standard error.
#[allow(clippy::print_stderr, reason = "a developer's tool")]
fn say(text: &str) {
    eprintln!("{text}");
}
