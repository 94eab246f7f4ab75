//! The program: command line, configuration, wiring.
//!
//! The one crate that names concrete connectors and a concrete log.

pub mod cli;
mod commands;
pub mod config;
pub mod explain;
pub mod output;
pub mod verify;

use clap::Parser;
use cli::{Cli, Command};
use output::{Answer, Exit, Problem, print};

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
    let name = cli.command.name();
    let json = cli.json;
    print(name, &dispatch(cli), json)
}

fn dispatch(cli: Cli) -> Answer {
    match &cli.command {
        Command::Init(args) => commands::init::run(args),
        Command::Explain(args) => commands::explain::run(args.code.as_deref()),
        Command::Schema => commands::schema::run(),
        _ => Answer::failed(Problem { code: "PS1010".into(), place: String::new(), cause: String::new(), fix: String::new() }),
    }
}
