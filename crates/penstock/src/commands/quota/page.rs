//! The pages of `penstock quota`, from a governor's status as JSON: that of a running pipeline, or of the stored ledger.

use super::words::{forecast, length};
use crate::output::{table, thousands};
use contract::AllocationReading;
use pipeline::proof::WaySpending;
use serde_json::Value;

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn amount(value: &Value) -> String {
    thousands(number(value))
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// What all other pipelines of this machine spent or have reserved.
fn siblings(row: &Value) -> u64 {
    list(row, "siblings").iter().map(|sibling| number(&sibling["spent"]) + number(&sibling["reserved"])).sum()
}

/// Worth a paragraph: something is spent, waits, or is held.
fn is_active(row: &Value) -> bool {
    number(&row["spent"]) + number(&row["spent_by_others"]) + siblings(row) > 0 || number(&row["held_for_ms"]) > 0
}

fn head(name: &str, status: &Value, running: bool) -> Option<String> {
    let from = if running { "as the running pipeline knows it" } else { "as the last run stored it" };
    (!status.is_null()).then(|| format!("{name}, {from}\n"))
}

/// `penstock quota`: one row for each allocation, then the forecasts that matter.
pub(super) fn table_of(name: &str, status: &Value, running: bool) -> String {
    let Some(mut text) = head(name, status, running) else {
        return format!("{name}\n  nothing was sent to this org yet\n");
    };
    let rows = list(status, "allocations").iter().map(|row| {
        let told = if row["max_is_told"] == true { "" } else { " assumed" };
        vec![
            word(&row["words"]),
            length(row["span_ms"].as_i64().unwrap_or_default()),
            format!("{}{told}", amount(&row["max"])),
            amount(&row["budget"]),
            amount(&row["spent"]),
            thousands(siblings(row)),
            amount(&row["spent_by_others"]),
            amount(&row["left"]),
            state(row),
        ]
    });
    let header = ["allocation", "span", "the org's", "our share", "spent", "other pipelines", "others", "left", ""];
    text.push_str(&indented(&table(&header, rows.collect::<Vec<_>>())));
    text.push_str(&levels(status));
    for sentence in sentences(status) {
        text.push_str(&format!("  {sentence}\n"));
    }
    text
}

fn state(row: &Value) -> String {
    let held = row["held_for_ms"].as_i64().unwrap_or_default();
    match row["frees_in_ms"].as_i64() {
        _ if held > 0 => format!("held for {}", length(held)),
        Some(frees) if number(&row["left"]) == 0 => format!("spent; frees in {}", length(frees)),
        _ if number(&row["left"]) == 0 && number(&row["max"]) > 0 => "spent by others".into(),
        _ => String::new(),
    }
}

fn levels(status: &Value) -> String {
    let told = list(status, "levels").iter().filter(|level| level["max"].is_u64());
    told.map(|level| {
        let full = if level["full"] == true { "; full: creates wait" } else { "" };
        format!("  {}: {} of {}{full}\n", word(&level["words"]), amount(&level["used"]), amount(&level["max"]))
    })
    .collect()
}

/// The forecasts of what is being spent, and who waits.
pub(super) fn sentences(status: &Value) -> Vec<String> {
    let spent =
        |row: &&Value| row["forecast"]["per_hour"].as_f64().unwrap_or_default() >= 0.05 || number(&row["left"]) == 0;
    let mut sentences: Vec<String> =
        list(status, "allocations").iter().filter(|row| is_active(row)).filter(spent).filter_map(forecast).collect();
    sentences.extend(list(status, "waiting").iter().map(waits));
    sentences
}

fn waits(wait: &Value) -> String {
    let of = wait["allocation"].as_str().map(|name| format!("{name}: ")).unwrap_or_default();
    format!(
        "route {} ({}) waits for {}: {of}{} ({}); it may go in {}",
        word(&wait["route"]),
        word(&wait["lane"]),
        length(wait["for_ms"].as_i64().unwrap_or_default()),
        word(&wait["sentence"]),
        word(&wait["code"]),
        length(wait["free_in_ms"].as_i64().unwrap_or_default()),
    )
}

/// `penstock quota explain`: a paragraph for each allocation that somebody uses.
pub(super) fn explained(name: &str, status: &Value, running: bool) -> String {
    let Some(mut text) = head(name, status, running) else {
        return format!("{name}\n  nothing was sent to this org yet\n");
    };
    let active: Vec<&Value> = list(status, "allocations").iter().filter(|row| is_active(row)).collect();
    if active.is_empty() {
        text.push_str("  nothing was spent in the last span of any allocation\n");
    }
    active.iter().for_each(|row| text.push_str(&indented(&paragraph(row))));
    let waiting = list(status, "waiting");
    waiting.iter().for_each(|wait| text.push_str(&format!("  {}\n", waits(wait))));
    if waiting.is_empty() {
        text.push_str("  nothing waits for a permit\n");
    }
    text.push_str(&format!(
        "  {} permits are out ({} of them for jobs), {} calls take long, {} may at once\n",
        amount(&status["in_flight"]),
        amount(&status["background"]),
        amount(&status["long_calls"]),
        amount(&status["long_calls_max"]),
    ));
    text.push_str(&levels(status));
    text
}

fn paragraph(row: &Value) -> String {
    let mut text = format!("{} ({})\n", word(&row["words"]), word(&row["name"]));
    if let Some(sentence) = forecast(row) {
        text.push_str(&format!("  {sentence}\n"));
    }
    let mut parts = vec![format!("ours {} of {}", amount(&row["spent"]), amount(&row["budget"]))];
    if number(&row["in_doubt"]) > 0 {
        parts.push(format!(
            "{} of it reserved by a process that is gone, until the org's figure tells",
            amount(&row["in_doubt"])
        ));
    }
    for sibling in list(row, "siblings") {
        let (spent, reserved) = (number(&sibling["spent"]), number(&sibling["reserved"]));
        if spent + reserved > 0 {
            let who = word(&sibling["member"]);
            parts.push(format!("{who} {}, {} reserved", thousands(spent), thousands(reserved)));
        }
    }
    parts.push(format!("others {}", amount(&row["spent_by_others"])));
    parts.push(format!("left {}", amount(&row["left"])));
    text.push_str(&format!("  spent: {}\n", parts.join("; ")));
    let rate = row["forecast"]["per_hour"].as_f64().unwrap_or_default();
    let routes: Vec<String> = list(&row["forecast"], "per_hour_by_route")
        .iter()
        .map(|pair| (word(&pair[0]), pair[1].as_f64().unwrap_or_default()))
        .map(|(route, own)| {
            let part = own / rate.max(own).max(0.001) * 100.0;
            format!(
                "{} {} an hour ({part:.0} %)",
                if route == "_limits" { "reading /limits" } else { &route },
                thousands(own.round() as u64)
            )
        })
        .collect();
    if !routes.is_empty() {
        text.push_str(&format!("  by route: {}\n", routes.join(", ")));
    }
    if let Some(frees) = row["frees_in_ms"].as_i64().filter(|_| number(&row["left"]) == 0) {
        text.push_str(&format!("  the next of it frees in {}\n", length(frees)));
    }
    let lanes = list(row, "lanes").iter().map(|lane| {
        vec![
            word(&lane["lane"]),
            amount(&lane["reserved"]),
            amount(&lane["spent"]),
            amount(&lane["available"]),
            if lane["has_work"] == true { "has work".into() } else { "lends".into() },
        ]
    });
    text.push_str(&indented(&table(&["lane", "reserved", "spent", "may spend now", ""], lanes.collect::<Vec<_>>())));
    text
}

/// What records cost by each API.
pub(super) fn costs(ways: &[WaySpending]) -> String {
    if ways.is_empty() {
        return "no batch was sent yet\n".into();
    }
    let rows = ways.iter().map(|way| {
        vec![
            way.route.to_string(),
            way.api.clone(),
            thousands(way.batches),
            thousands(way.records),
            way.calls_per_1000().map_or("–".into(), |calls| format!("{calls:.1}")),
            if way.bulk_batches > 0 { thousands(way.bulk_batches) } else { "–".into() },
            way.reason.clone().unwrap_or_default(),
        ]
    });
    let header = ["route", "API", "batches", "records", "calls per 1,000", "Bulk batches", "why, last"];
    format!("what the newest batches cost\n{}", table(&header, rows))
}

/// What the org says now.
pub(super) fn readings(readings: &[AllocationReading]) -> String {
    if readings.is_empty() {
        return String::new();
    }
    let rows = readings
        .iter()
        .map(|reading| vec![reading.allocation.to_string(), thousands(reading.used), thousands(reading.max)]);
    table(&["what the org says", "used", "of"], rows)
}
