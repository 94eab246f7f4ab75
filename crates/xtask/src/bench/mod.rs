//! `cargo xtask bench NAME`: the figures that the project promises, each measured against the other side in the same run.
//!
//! Every bench answers with one flat JSON object; `--json` prints it on one line, otherwise it is an aligned table.

mod capture;
mod delivery;
mod latency;
mod log;
mod org;
mod release;
mod window;

use clap::{Args, ValueEnum};
use serde_json::Value;
use std::path::PathBuf;

/// Options of a bench.
#[derive(Args, Debug)]
pub struct BenchArgs {
    name: Bench,
    /// Print one flat JSON object on one line.
    #[arg(long)]
    json: bool,
    /// Measure this debug build, although its figures mislead.
    #[arg(long)]
    debug_ok: bool,
    /// latency: the worker's program; default: `penstock` beside this one.
    #[arg(long, value_name = "FILE")]
    worker: Option<PathBuf>,
    /// latency: how long each rate is held.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=600))]
    seconds: u64,
    /// delivery: records of the backlog.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(5_000..=10_000_000))]
    rows: u64,
    /// delivery: one stage only.
    #[arg(long, value_name = "STAGE", value_parser = clap::builder::PossibleValuesParser::new(delivery::STAGES))]
    stage: Option<String>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Bench {
    /// A slot's changes into the durable log.
    Capture,
    /// Appends and reads of the embedded log.
    Log,
    /// What a backlog costs, what deadlines hold beside it, and a day at twice the allocation.
    Delivery,
    /// Commit in PostgreSQL to applied in the org.
    Latency,
    /// What one core of the simulated org serves.
    Org,
    /// The way from log to sink, and a critical record behind a backlog.
    Window,
}

/// Runs one bench and prints its figures.
///
/// A debug build hands the bench over to a release build, which it makes first.
///
/// # Errors
/// When the bench cannot be run, or a debug build has no cargo to hand over to.
pub async fn run(args: BenchArgs) -> anyhow::Result<()> {
    if cfg!(debug_assertions) && !args.debug_ok {
        return release::hand_over();
    }
    let figures = match args.name {
        Bench::Capture => capture::run().await?,
        Bench::Log => log::run().await?,
        Bench::Window => window::run().await?,
        Bench::Org => org::run().await?,
        Bench::Delivery => delivery::run(delivery::Options { rows: args.rows, stage: args.stage }).await?,
        Bench::Latency => latency::run(latency::Options { worker: args.worker, seconds: args.seconds }).await?,
    };
    print(&figures, args.json);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the answer of a developer's tool")]
fn print(figures: &Value, as_json: bool) {
    if as_json { println!("{figures}") } else { print!("{}", table(figures)) }
}

/// One figure a line, names to the left, values from one column.
fn table(figures: &Value) -> String {
    let Value::Object(fields) = figures else { return format!("{figures}\n") };
    let width = fields.keys().map(String::len).max().unwrap_or_default();
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    fields.iter().map(|(name, value)| format!("{name:width$}  {}\n", word(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn table_aligns_values_and_shows_text_without_quotes() {
        let text = table(&json!({"bench": "log", "ratio_bare_loop": 0.93}));
        assert_eq!(text, "bench            log\nratio_bare_loop  0.93\n");
    }
}
