//! Dead letters and acts as tables and JSON; secret columns' values stand in none of them.

use super::Opened;
use crate::output::table;
use model::{Offset, TableName};
use pipeline::dlq::{self, Act, Deed, DlqEntry, DlqError, DlqShown, DlqStatus, REDACTED};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The route's secret columns; those of its table, too.
fn secret(opened: &Opened, entry: &DlqEntry) -> Vec<String> {
    opened.config.secret_columns(entry.route.as_str())
}

/// An entry without the values that an edit holds for secret columns.
pub(super) fn redacted(opened: &Opened, mut entry: DlqEntry) -> DlqEntry {
    let secret = secret(opened, &entry);
    if let (Some(edit), Ok(mark)) = (&mut entry.edit, to_raw_value(REDACTED)) {
        edit.columns.iter_mut().filter(|(name, _)| secret.contains(name)).for_each(|(_, value)| *value = mark.clone());
    }
    entry
}

/// The business key's columns of a dead letter's table.
pub(super) async fn key_of(opened: &Opened, id: Offset) -> Result<Vec<String>, DlqError> {
    let entry = entry(opened, id).await?;
    let stream = opened.config.streams.get(entry.stream.as_str());
    let table = entry.table.as_deref().and_then(|table| TableName::parse(table).ok());
    let keys = stream.into_iter().flat_map(|stream| &stream.keys);
    let mut of_table = keys.filter(|(name, _)| TableName::parse(name).ok() == table && table.is_some());
    Ok(of_table.next().map(|(_, columns)| columns.clone()).unwrap_or_default())
}

async fn entry(opened: &Opened, id: Offset) -> Result<DlqEntry, DlqError> {
    let filter = dlq::DlqFilter { after: id.0.checked_sub(1).map(Offset), ..Default::default() };
    let found = dlq::list(&*opened.state, &filter, 1).await?;
    found.into_iter().find(|entry| entry.id == id).ok_or(DlqError::None { id })
}

/// Shows one, redacted.
pub(super) async fn show(opened: &Opened, id: Offset) -> Result<DlqShown, DlqError> {
    let secret = secret(opened, &entry(opened, id).await?);
    dlq::show(&*opened.log, &*opened.state, id, &secret).await
}

fn word(entry: &DlqEntry) -> String {
    let status = serde_json::to_value(entry.status).unwrap_or_default();
    let status = status.as_str().unwrap_or_default().to_owned();
    match (&entry.result, entry.status) {
        (Some(result), DlqStatus::Resolved | DlqStatus::Dropped) => result.clone(),
        _ if entry.edit.is_some() => format!("{status}, edited"),
        _ => status,
    }
}

pub(super) fn entries(entries: &[DlqEntry]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let rows = entries.iter().map(|entry| {
        vec![
            entry.id.to_string(),
            entry.route.to_string(),
            entry.key.clone(),
            entry.code.clone(),
            entry.message.chars().take(80).collect(),
            entry.attempts.to_string(),
            word(entry),
        ]
    });
    table(&["id", "route", "key", "code", "message", "attempts", "status"], rows)
}

pub(super) fn letter(shown: &DlqShown, done: &[Act]) -> String {
    let entry = &shown.entry;
    let mut rows = vec![
        ("id", entry.id.to_string()),
        ("route", entry.route.to_string()),
        ("table", entry.table.clone().unwrap_or_default()),
        ("position", format!("{} {}", entry.stream, entry.position)),
        ("buried", time_text(entry.at_ms)),
        ("status", word(entry)),
        ("code", entry.code.clone()),
        ("message", entry.message.clone()),
        ("fields", shown.letter.fields.join(", ")),
        ("attempts", entry.attempts.to_string()),
        ("last result", entry.result.clone().unwrap_or_default()),
        ("key", printable(shown.key.as_deref())),
    ];
    for (column, value) in entry.edit.iter().flat_map(|edit| &edit.columns) {
        rows.push(("edited", format!("{column} = {}", value.get())));
    }
    let mut text = table(&["", ""], rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]));
    text.push_str(&format!("{}\n", pretty(shown.value.as_deref())));
    text.push_str(&acts(done));
    text
}

pub(super) fn acts(acts: &[Act]) -> String {
    if acts.is_empty() {
        return String::new();
    }
    let rows = acts.iter().map(|act| {
        let ids: Vec<String> = act.ids.iter().take(5).map(|range| range_text(range.from.0, range.to.0 - 1)).collect();
        let more = if act.ids.len() > 5 { " …" } else { "" };
        let letters: u64 = act.ids.iter().map(|range| range.count()).sum();
        vec![
            time_text(act.at_ms),
            act.who.clone(),
            deed(&act.deed),
            letters.to_string(),
            ids.join(" ") + more,
            act.why.clone().unwrap_or_default(),
        ]
    });
    table(&["time", "who", "what", "letters", "ids", "why"], rows)
}

fn range_text(from: u64, last: u64) -> String {
    if from == last { from.to_string() } else { format!("{from}-{last}") }
}

/// What was done, in words.
pub(crate) fn deed(deed: &Deed) -> String {
    match deed {
        Deed::Retry { lane, rate: None } => format!("retry in lane {lane}"),
        Deed::Retry { lane, rate: Some(rate) } => format!("retry in lane {lane} at {rate:.3}/s"),
        Deed::Drop => "drop".to_owned(),
        Deed::Edit { columns } => format!("edit of {}", columns.join(", ")),
    }
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
pub(super) fn to_json(shown: &DlqShown, acts: &[Act]) -> Value {
    let plain = |bytes: Option<&[u8]>| match bytes {
        None => Value::Null,
        Some(bytes) => serde_json::from_slice(bytes).unwrap_or_else(|_| json!(printable(Some(bytes)))),
    };
    let headers = shown.headers.iter().map(|(name, value)| (name.clone(), json!(printable(Some(value)))));
    json!({
        "entry": shown.entry, "dead_letter": shown.letter, "time_ms": shown.time_ms,
        "key": plain(shown.key.as_deref()), "value": plain(shown.value.as_deref()),
        "headers": headers.collect::<serde_json::Map<_, _>>(), "acts": acts,
    })
}

fn time_text(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| ms.to_string())
}
