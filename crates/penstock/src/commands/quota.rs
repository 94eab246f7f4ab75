//! `penstock quota`.

use super::opened::{Opened, open, problem};
use crate::cli::QuotaArgs;
use crate::output::{Answer, Problem, table, thousands};
use crate::wiring;
use connector_salesforce::SalesforceSink;
use contract::{AllocationReading, Clock, Sink, StateStore, SystemClock};
use governor::{Forecast, Governor, Now, Snapshot, Status};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Shows each org's allocations and this pipeline's part of them.
pub async fn run(config_file: &Path, args: &QuotaArgs) -> Answer {
    let opened = match open(config_file, false) {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let (mut text, mut result) = (String::new(), serde_json::Map::new());
    for name in opened.config.orgs.keys().filter(|name| args.org.as_ref().is_none_or(|only| only == *name)) {
        match one(&opened, name, args.live).await {
            Ok((status, readings)) => {
                text.push_str(&org_text(name, status.as_ref(), &readings));
                result.insert(
                    name.clone(),
                    json!({"governor": status, "org": readings.iter().map(reading_json).collect::<Vec<_>>()}),
                );
            }
            Err(problem) => return Answer::failed(problem),
        }
    }
    Answer::done("", text, json!({"orgs": Value::Object(result)}))
}

async fn one(opened: &Opened, name: &str, live: bool) -> Result<(Option<Status>, Vec<AllocationReading>), Problem> {
    let clock = SystemClock::new();
    let stored = opened.state.get(pipeline::engine::QUOTA_SPACE, name).await;
    let stored = stored.map_err(|error| problem(error.code(), name, &error))?;
    let status = match stored {
        None => None,
        Some(bytes) => {
            let org = &opened.config.orgs[name];
            let snapshot = Snapshot::from_bytes(&bytes).map_err(|error| problem(error.code(), name, &error))?;
            let mut governor = Governor::restore(wiring::governor_config(org), &snapshot, Now::of(&clock))
                .map_err(|error| problem(error.code(), name, &error))?;
            Some(governor.status(Now::of(&clock)))
        }
    };
    let readings = if live { ask(opened, name).await? } else { Vec::new() };
    Ok((status, readings))
}

async fn ask(opened: &Opened, name: &str) -> Result<Vec<AllocationReading>, Problem> {
    let org = &opened.config.orgs[name];
    let built =
        wiring::salesforce_config(&opened.config.pipeline, name, org, &opened.places).map_err(|f| Problem::from(&f))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let sink = SalesforceSink::new(&built, clock).map_err(|error| problem(error.code(), name, &error))?;
    sink.allocations().await.map_err(|error| problem(error.code, name, &error))
}

fn reading_json(reading: &AllocationReading) -> Value {
    json!({"allocation": &*reading.allocation, "max": reading.max, "used": reading.used, "at_ms": reading.at_ms})
}

fn org_text(name: &str, status: Option<&Status>, readings: &[AllocationReading]) -> String {
    let mut text = format!("{name}\n");
    let Some(status) = status else { return text + "  nothing was sent to this org yet\n" };
    for row in &status.allocations {
        let told = if row.max_is_told { "" } else { " (assumed)" };
        text.push_str(&format!(
            "  {}: the org has {}{told} in {} h; this pipeline's share is {}, spent {}, left {}; others spent {}\n",
            row.name,
            thousands(row.max),
            row.span_ms / 3_600_000,
            thousands(row.budget),
            thousands(row.spent),
            thousands(row.left),
            thousands(row.spent_by_others),
        ));
        let lanes = row.lanes.iter().map(|lane| {
            vec![
                lane.lane.to_string(),
                thousands(lane.reserved),
                thousands(lane.spent),
                thousands(lane.available),
                if lane.has_work { "has work".into() } else { "lends".into() },
            ]
        });
        text.push_str(&table(&["lane", "reserved", "spent", "may spend now", ""], lanes));
        if let Some(forecast) = &row.forecast {
            text.push_str(&format!("  forecast: {}\n", forecast_words(forecast)));
        }
    }
    if !readings.is_empty() {
        let rows = readings
            .iter()
            .map(|reading| vec![reading.allocation.to_string(), thousands(reading.used), thousands(reading.max)]);
        text.push_str(&table(&["what the org says", "used", "of"], rows));
    }
    text
}

fn forecast_words(forecast: &Forecast) -> String {
    let rate: f64 = forecast.per_hour_by_lane.iter().sum();
    let most = forecast.per_hour_by_route.first().filter(|_| rate > 0.0);
    let by =
        most.map(|(route, own)| format!(", {:.0} % of it by route {route}", own / rate * 100.0)).unwrap_or_default();
    match forecast.runs_out {
        Some(out) => {
            let what = if out.of_share { "this pipeline's share ends" } else { "the org's allocation ends" };
            format!("{what} in {:.1} h at this rate ({rate:.0} calls per hour{by})", out.in_ms as f64 / 3_600_000.0)
        }
        None => format!("it does not run out at this rate ({rate:.0} calls per hour{by})"),
    }
}
