//! `cargo xtask`: benchmarks, chaos, layering and style checks.

mod layering;
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
    /// Fails when a room imports another one than the table allows.
    Layering,
    /// Checks the house rules that no lint knows.
    Tidy,
}

#[tokio::main]
async fn main() -> ExitCode {
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match Cli::parse().command {
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

/// Prints to standard error.
#[allow(clippy::print_stderr, reason = "a developer's tool")]
fn say(text: &str) {
    eprintln!("{text}");
}
