//! `penstock status`.

use crate::config::{Config, load_file};
use crate::output::{Answer, Problem, table, thousands};
use crate::running;
use crate::wiring::DataDir;
use contract::StateError;
use model::{Partition, RouteId};
use pipeline::settle::Checkpoint;
use serde_json::{Value, json};
use state_store::StateStore;
use std::path::Path;

/// Asks the running pipeline; when none runs, tells what the last one stored.
pub async fn run(config_file: &Path) -> Answer {
    let loaded = load_file(config_file);
    let Some(config) = loaded.config else { return Answer::findings(&loaded.findings, true, "") };
    let data = DataDir::new(&config.data_dir);
    if let Some(running) = running::find(&data) {
        if let Some(status) = running::ask_status(&running).await {
            let summary = format!("{} is running, process {}", config.pipeline, running.pid);
            return Answer::done(summary, text(&status), json!({"running": true, "status": status}));
        }
        let summary = format!("{} is running, process {}, and does not answer over HTTP", config.pipeline, running.pid);
        return Answer::done(summary, "", json!({"running": true, "status": null}));
    }
    match stored(&data, &config).await {
        Ok(checkpoints) => {
            let rows = checkpoints.iter().map(|(route, offset)| vec![route.clone(), offset.to_string()]);
            let text = if checkpoints.is_empty() { String::new() } else { table(&["route", "checkpoint"], rows) };
            Answer::done(
                format!("{} is not running", config.pipeline),
                text,
                json!({"running": false, "checkpoints": checkpoints}),
            )
        }
        Err(problem) => Answer::failed(problem),
    }
}

/// The stored checkpoints; none when the pipeline never ran here.
async fn stored(data: &DataDir, config: &Config) -> Result<Vec<(String, u64)>, Problem> {
    if !data.state().exists() {
        return Ok(Vec::new());
    }
    let read = async {
        let state = StateStore::open_read_only(&data.state())?;
        let mut found = Vec::new();
        for route in config.routes.keys() {
            if let Some(checkpoint) = Checkpoint::load(&state, &RouteId::new(route), Partition(0)).await? {
                found.push((route.clone(), checkpoint.offset.0));
            }
        }
        Ok(found)
    };
    read.await.map_err(|error: StateError| Problem {
        code: error.code().to_string(),
        place: data.state().display().to_string(),
        cause: error.to_string(),
        fix: "see `penstock explain` for the code".into(),
    })
}

fn text(status: &Value) -> String {
    let number = |value: &Value| thousands(value.as_u64().unwrap_or_default());
    let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    let mut out = table(
        &["source", "", "changes", "confirmed", "lag", "tables copied"],
        list("sources").iter().map(|source| {
            let tables = source["tables"].as_array().cloned().unwrap_or_default();
            let done = tables.iter().filter(|table| table["phase"] == "done").count();
            vec![
                source["name"].as_str().unwrap_or_default().to_owned(),
                if source["connected"] == true { "connected".into() } else { "not connected".into() },
                number(&source["changes"]),
                source["confirmed_lsn"].as_str().unwrap_or_default().to_owned(),
                format!("{} bytes", number(&source["lag_bytes"])),
                format!("{done} of {}", tables.len()),
            ]
        }),
    );
    out.push_str(&table(
        &["route", "applied", "superseded", "filtered", "dead letters", "behind", "per second", "p50 / p99", ""],
        list("routes").iter().map(|route| {
            let ms = |value: &Value| value.as_f64().map_or("–".to_owned(), |ms| format!("{ms:.0} ms"));
            vec![
                route["id"].as_str().unwrap_or_default().to_owned(),
                number(&route["applied"]),
                number(&route["superseded"]),
                number(&route["filtered"]),
                number(&route["dead_lettered"]),
                number(&route["lag_records"]),
                format!("{:.0}", route["settled_per_second"].as_f64().unwrap_or_default()),
                format!("{} / {}", ms(&route["applied_p50_ms"]), ms(&route["applied_p99_ms"])),
                route["paused"].as_str().or(route["last_error"].as_str()).unwrap_or_default().to_owned(),
            ]
        }),
    ));
    out.push_str(&limited_streams(status));
    out
}

/// The streams with a size limit, and what it means for the sources; empty when there is none.
fn limited_streams(status: &Value) -> String {
    let streams = status["streams"].as_array().cloned().unwrap_or_default();
    if streams.is_empty() {
        return String::new();
    }
    let retained: u64 =
        status["sources"].as_array().into_iter().flatten().filter_map(|s| s["retained_bytes"].as_u64()).sum();
    let rows = streams.iter().map(|stream| {
        let (bytes, most) = (stream["bytes"].as_u64().unwrap_or_default(), stream["bytes_max"].as_u64().unwrap_or(1));
        let waits = match stream["source_waits"].as_bool() {
            Some(true) => format!("the source waits; the database keeps {} bytes of WAL", thousands(retained)),
            _ => String::new(),
        };
        vec![
            stream["stream"]["stream"].as_str().unwrap_or_default().to_owned(),
            format!("{:.0}% of {} bytes", bytes as f64 * 100.0 / most.max(1) as f64, thousands(most)),
            stream["level"].as_str().unwrap_or_default().to_owned(),
            waits,
        ]
    });
    table(&["stream", "filled", "level", ""], rows)
}
