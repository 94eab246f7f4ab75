//! `penstock dlq list|show|retry|drop`.

use super::opened::{Opened, open, problem};
use crate::cli::DlqCommand;
use crate::output::{Answer, Exit, Problem, count, table};
use crate::running;
use crate::wiring::DataDir;
use contract::StateStore;
use model::{Offset, RouteId};
use pipeline::dlq::{self, DlqEntry, DlqError, DlqFilter, DlqShown, DlqStatus};
use serde_json::{Value, json};
use std::path::Path;

/// Which dead letters a command is about.
struct Chosen<'a> {
    ids: &'a [u64],
    all: bool,
    route: Option<&'a str>,
}

/// Runs a command on the dead letters.
pub async fn run(config_file: &Path, command: &DlqCommand) -> Answer {
    let write = matches!(command, DlqCommand::Retry { .. } | DlqCommand::Drop { .. });
    let opened = match open(config_file, write) {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let done = match command {
        DlqCommand::List { route, all, limit } => list(&opened, route.as_deref(), *all, *limit).await,
        DlqCommand::Show { id } => show(&opened, *id).await,
        DlqCommand::Retry { ids, all, route } => {
            retry(&opened, &Chosen { ids, all: *all, route: route.as_deref() }).await
        }
        DlqCommand::Drop { ids, all, route, yes } => {
            if !yes {
                return usage("what is dropped is not sent any more", "say --yes if that is meant");
            }
            drop_them(&opened, &Chosen { ids, all: *all, route: route.as_deref() }).await
        }
    };
    done.unwrap_or_else(|error| Answer::failed(problem(error.code(), "dlq", &error)))
}

fn usage(cause: &str, fix: &str) -> Answer {
    let problem = Problem { code: "PS1010".into(), place: "penstock dlq".into(), cause: cause.into(), fix: fix.into() };
    Answer { exit: Exit::Usage, ..Answer::failed(problem) }
}

async fn list(opened: &Opened, route: Option<&str>, all: bool, limit: usize) -> Result<Answer, DlqError> {
    let filter =
        DlqFilter { route: route.map(RouteId::new), status: (!all).then_some(DlqStatus::Open), ..DlqFilter::default() };
    let entries = dlq::list(&*opened.state, &filter, limit).await?;
    let rows = entries.iter().map(|entry| {
        let message: String = entry.message.chars().take(80).collect();
        let status = serde_json::to_value(entry.status).unwrap_or_default();
        let status = entry.result.clone().unwrap_or_else(|| status.as_str().unwrap_or_default().to_owned());
        vec![
            entry.id.to_string(),
            entry.route.to_string(),
            entry.key.clone(),
            entry.code.clone(),
            message,
            entry.attempts.to_string(),
            status,
        ]
    });
    let text = if entries.is_empty() {
        String::new()
    } else {
        table(&["id", "route", "key", "code", "message", "attempts", "status"], rows)
    };
    let word = if all { "dead letter" } else { "open dead letter" };
    Ok(Answer::done(count(entries.len(), word), text, json!({"dead_letters": entries})))
}

async fn show(opened: &Opened, id: u64) -> Result<Answer, DlqError> {
    let shown = dlq::show(&*opened.log, &*opened.state, Offset(id)).await?;
    let entry = &shown.entry;
    let mut text = table(
        &["", ""],
        [
            ("id", entry.id.to_string()),
            ("route", entry.route.to_string()),
            ("position", format!("{} {}", entry.stream, entry.position)),
            ("code", entry.code.clone()),
            ("message", entry.message.clone()),
            ("fields", shown.letter.fields.join(", ")),
            ("attempts", entry.attempts.to_string()),
            ("key", printable(shown.key.as_deref())),
        ]
        .map(|(name, value)| vec![name.to_owned(), value]),
    );
    text.push_str(&format!("{}\n", pretty(shown.value.as_deref())));
    let fix = format!("retry: penstock dlq retry {id}    give up: penstock dlq drop {id} --yes");
    Ok(Answer::done(fix, text, to_json(&shown)))
}

fn printable(bytes: Option<&[u8]>) -> String {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

fn pretty(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return String::new() };
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => format!("{value:#}"),
        Err(_) => printable(Some(bytes)),
    }
}

/// Bytes that are JSON stand as JSON, others as text.
fn to_json(shown: &DlqShown) -> Value {
    let plain = |bytes: Option<&[u8]>| match bytes {
        None => Value::Null,
        Some(bytes) => serde_json::from_slice(bytes).unwrap_or_else(|_| json!(printable(Some(bytes)))),
    };
    json!({
        "entry": shown.entry, "dead_letter": shown.letter, "time_ms": shown.time_ms,
        "key": plain(shown.key.as_deref()), "value": plain(shown.value.as_deref()),
        "headers": shown.headers.iter().map(|(name, value)| (name.clone(), json!(printable(Some(value))))).collect::<serde_json::Map<_, _>>(),
    })
}

async fn chosen(state: &dyn StateStore, chosen: &Chosen<'_>) -> Result<Vec<Offset>, DlqError> {
    if !chosen.all && chosen.route.is_none() {
        return Ok(chosen.ids.iter().copied().map(Offset).collect());
    }
    let filter =
        DlqFilter { route: chosen.route.map(RouteId::new), status: Some(DlqStatus::Open), ..DlqFilter::default() };
    let entries = dlq::list(state, &filter, usize::MAX).await?;
    Ok(entries.into_iter().map(|entry: DlqEntry| entry.id).collect())
}

async fn retry(opened: &Opened, which: &Chosen<'_>) -> Result<Answer, DlqError> {
    let ids = chosen(&*opened.state, which).await?;
    if ids.is_empty() && which.ids.is_empty() && !which.all && which.route.is_none() {
        return Ok(usage("no dead letter is named", "name ids, or say --all or --route"));
    }
    for id in &ids {
        dlq::retry(&*opened.state, *id).await?;
    }
    let running = running::find(&DataDir::new(&opened.config.data_dir)).is_some();
    let when =
        if running { "the running pipeline takes them within a second" } else { "the next `penstock run` takes them" };
    let summary = format!("{} will be sent again: {when}", count(ids.len(), "dead letter"));
    Ok(Answer::done(summary, "", json!({"retried": ids, "running": running})))
}

async fn drop_them(opened: &Opened, which: &Chosen<'_>) -> Result<Answer, DlqError> {
    let ids = chosen(&*opened.state, which).await?;
    for id in &ids {
        dlq::drop(&*opened.state, *id).await?;
    }
    Ok(Answer::done(format!("{} given up", count(ids.len(), "dead letter")), "", json!({"dropped": ids})))
}
