//! The program from outside: its commands against a real PostgreSQL and a simulated org.

mod check;
mod city;
mod commands;
mod echoes;
mod event_route;
mod examples;
mod losses;
mod org;
mod package;
mod plan;
mod plan_and_run;
mod transactions;
mod world;

use serde_json::Value;
use std::path::Path;
use std::process::Output;
use tokio::process::Command;

/// Runs the program and waits for its end.
async fn penstock(folder: &Path, args: &[&str], env: &[(&str, String)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.args(args).current_dir(folder).envs(env.iter().map(|(name, value)| (*name, value)));
    command.kill_on_drop(true).output().await.expect("the program starts")
}

/// The one JSON object that `--json` prints.
fn answer(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim())
        .unwrap_or_else(|error| panic!("{error}: {text:?}, {}", String::from_utf8_lossy(&output.stderr)))
}
