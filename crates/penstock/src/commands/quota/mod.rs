//! `penstock quota` and `penstock quota explain`.

mod page;
mod words;

use super::opened::{Opened, open, problem};
use crate::cli::{QuotaArgs, QuotaCommand};
use crate::output::{Answer, Exit, Problem};
use crate::running;
use crate::wiring::{self, DataDir, Ledgers};
use connector_salesforce::SalesforceSink;
use contract::{AllocationReading, Clock, Sink, StateStore, SystemClock};
use governor::{Governor, Now};
use pipeline::proof::spending;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Records of the journal that tell what records cost.
const JOURNALLED_MAX: u64 = 5_000;

/// Shows each org's allocations and this pipeline's part of them.
pub async fn run(config_file: &Path, args: &QuotaArgs) -> Answer {
    let opened = match open(config_file, false) {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let (explain, only) = match &args.command {
        Some(QuotaCommand::Explain { org }) => (true, org),
        None => (false, &args.org),
    };
    if let Some(name) = only.as_ref().filter(|name| !opened.config.orgs.contains_key(*name)) {
        let problem = Problem {
            code: "PS1007".into(),
            place: "penstock quota".into(),
            cause: format!("there is no org {name}"),
            fix: format!("name one of: {}", opened.config.orgs.keys().cloned().collect::<Vec<_>>().join(", ")),
        };
        return Answer { exit: Exit::Usage, ..Answer::failed(problem) };
    }
    let running = running_quota(&opened).await;
    let (mut text, mut result) = (String::new(), serde_json::Map::new());
    for name in opened.config.orgs.keys().filter(|name| only.as_ref().is_none_or(|only| only == *name)) {
        match one(&opened, name, running.as_ref(), args.live).await {
            Ok((status, readings)) => {
                let page = if explain { page::explained } else { page::table_of };
                text.push_str(&page(name, &status, running.is_some()));
                text.push_str(&page::readings(&readings));
                let readings: Vec<Value> = readings.iter().map(reading_json).collect();
                result.insert(
                    name.clone(),
                    json!({"governor": status, "sentences": page::sentences(&status), "org": readings}),
                );
            }
            Err(problem) => return Answer::failed(problem),
        }
    }
    let mut result = json!({"running": running.is_some(), "orgs": Value::Object(result)});
    if explain {
        let place = opened.config.data_dir.display().to_string();
        match spending(&*opened.log, JOURNALLED_MAX).await {
            Ok(ways) => {
                text.push_str(&page::costs(&ways));
                result["ways"] = json!(ways);
            }
            Err(error) => return Answer::failed(problem(error.code(), place, &error)),
        }
    }
    Answer::done("", text, result)
}

/// What a running pipeline knows: `{org: status}`.
async fn running_quota(opened: &Opened) -> Option<Value> {
    let running = running::find(&DataDir::new(&opened.config.data_dir))?;
    Some(running::ask_status(&running).await?["quota"].take()).filter(Value::is_object)
}

/// An org's status (null: nothing was sent to it yet), and what the org says now if it is to be asked.
async fn one(
    opened: &Opened,
    name: &str,
    running: Option<&Value>,
    live: bool,
) -> Result<(Value, Vec<AllocationReading>), Problem> {
    let readings = if live { ask(opened, name).await? } else { Vec::new() };
    if let Some(status) = running.map(|all| all[name].clone()).filter(Value::is_object) {
        return Ok((status, readings));
    }
    let own: Arc<dyn StateStore> = opened.state.clone();
    let Some(ledger) = Ledgers::to_read().of(&opened.config, name, &opened.places, &own)? else {
        return Ok((Value::Null, readings));
    };
    let read = ledger.read().await.map_err(|error| problem(error.code(), name, &error))?;
    let Some(snapshot) = read.own else { return Ok((Value::Null, readings)) };
    let clock = SystemClock::new();
    let config = wiring::governor_config(&opened.config.orgs[name]);
    let mut governor =
        Governor::restore(config, &snapshot, Now::of(&clock)).map_err(|error| problem(error.code(), name, &error))?;
    // Takes up the others; what it would store is not stored.
    governor.entry(&read.peers, Now::of(&clock));
    for reading in &readings {
        governor.observe(reading, Now::of(&clock));
    }
    Ok((json!(governor.status(Now::of(&clock))), readings))
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
