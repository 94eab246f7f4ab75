//! `penstock trace KEY`.

use super::dlq::deed;
use super::opened::{open, problem};
use super::prove::routes;
use crate::cli::TraceArgs;
use crate::output::{Answer, Exit, Problem, count, table};
use pipeline::proof::{KeyQuery, TracedRecord, TracedRoute, trace};
use serde_json::{Value, json};
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Records shown at most: the newest.
const RECORDS_MAX: usize = 200;

/// Tells one key's journey.
pub async fn run(config_file: &Path, args: &TraceArgs) -> Answer {
    let query = match KeyQuery::parse(&args.key) {
        Ok(query) => query,
        Err(error) => {
            return Answer { exit: Exit::Usage, ..Answer::failed(problem(error.code(), "penstock trace", &error)) };
        }
    };
    let opened = match open(config_file, false) {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let place = opened.config.data_dir.display().to_string();
    let routes = match routes(&opened.config, &*opened.log, &opened.state).await {
        Ok(routes) => routes,
        Err(error) => return Answer::failed(problem(error.code(), &place, &error)),
    };
    let wanted = |id: &str| args.route.as_ref().is_none_or(|route| route == id);
    let chosen: Vec<_> = routes.into_iter().filter(|route| wanted(route.id.as_str())).collect();
    if chosen.is_empty() {
        return Answer {
            exit: Exit::Usage,
            ..Answer::failed(Problem {
                code: "PS1007".into(),
                place: "penstock trace --route".into(),
                cause: "there is no route of that name".into(),
                fix: "name one of the configuration's routes".into(),
            })
        };
    }
    match trace(&*opened.log, &chosen, &query, RECORDS_MAX).await {
        Ok(mut found) => {
            if let Err(error) = found.add_acts(&*opened.state).await {
                return Answer::failed(problem(error.code(), &place, &error));
            }
            let rows = found.records.iter().flat_map(rows_of);
            let header = ["position", "time", "table", "op", "key", "route", "what came of it"];
            let text = if found.records.is_empty() { String::new() } else { table(&header, rows) };
            let mut summary = count(found.records.len(), "record");
            if found.left_out > 0 {
                summary.push_str(&format!("; {} older ones are left out", found.left_out));
            }
            Answer::done(summary, text, json!(found))
        }
        Err(error) => Answer::failed(problem(error.code(), &place, &error)),
    }
}

fn rows_of(record: &TracedRecord) -> Vec<Vec<String>> {
    let op = record.op.map_or("?".to_owned(), |op| match serde_json::to_value(op) {
        Ok(Value::String(letter)) => letter,
        _ => "?".to_owned(),
    });
    let mut first = vec![
        format!("{} {}", record.stream, record.position),
        time_text(record.time_ms),
        record.table.clone(),
        op,
        record.key.clone(),
    ];
    let mut rows = Vec::new();
    for route in &record.routes {
        for line in journey(route) {
            let mut row = std::mem::replace(&mut first, vec![String::new(); 5]);
            row.extend([route.route.to_string(), line]);
            rows.push(row);
        }
    }
    rows
}

/// One line for each thing that happened to the record in a route.
fn journey(route: &TracedRoute) -> Vec<String> {
    let mut lines: Vec<(i64, String)> = Vec::new();
    for intent in &route.intents {
        let mut line = format!(
            "{} sent by {} in batch {} of {} records, attempt {}",
            time_text(intent.at_ms),
            intent.api,
            intent.batch,
            intent.records,
            intent.attempt
        );
        if let Some(job) = &intent.job {
            line.push_str(&format!(", job {job}"));
        }
        if let Some(reason) = &intent.reason {
            line.push_str(&format!(" ({reason})"));
        }
        lines.push((intent.at_ms, line));
    }
    for settled in &route.settlements {
        let outcome = serde_json::to_value(settled.outcome).unwrap_or_default();
        let mut line =
            format!("{} {}", time_text(settled.at_ms), outcome.as_str().unwrap_or_default().replace('_', "-"));
        if let Some(id) = &settled.target_id {
            line.push_str(&format!(" as {id}"));
        }
        if let Some(by) = settled.by {
            line.push_str(&format!(" by offset {by}"));
        }
        if let Some(code) = &settled.code {
            line.push_str(&format!(", {code}"));
        }
        if settled.read_back {
            line.push_str(", found by asking the org");
        }
        if settled.calls > 0 {
            line.push_str(&format!(", {} calls for the batch", settled.calls));
        }
        lines.push((settled.at_ms, line));
    }
    for letter in &route.dead_letters {
        lines.push((
            letter.at_ms,
            format!("{} dead letter: {} {}", time_text(letter.at_ms), letter.code, letter.message),
        ));
    }
    for act in &route.acts {
        let why = act.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        lines.push((act.at_ms, format!("{} {} by {}{why}", time_text(act.at_ms), deed(&act.deed), act.who)));
    }
    if lines.is_empty() {
        return vec!["waiting".to_owned()];
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn time_text(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| ms.to_string())
}
