//! `penstock prove`.

use super::opened::{Opened, open, problem};
use crate::config::{Config, OrderingConfig};
use crate::output::{Answer, Exit, Problem, table, thousands};
use contract::{Log, StateError};
use model::{Offset, Partition, RouteId, StreamId, StreamPartition, TableName};
use pipeline::proof::{Fault, ProofReport, ProofRoute, prove};
use pipeline::settle::Checkpoint;
use serde_json::{Value, json};
use state_store::StateStore;
use std::path::Path;

/// Memory of a proof; longer streams are read several times.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// Reads streams and settlements; exit 3 when a promise was broken.
pub async fn run(config_file: &Path) -> Answer {
    let opened = match open(config_file, false) {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    match report(&opened).await {
        Ok(report) => answer(&report),
        Err(problem) => Answer::failed(problem),
    }
}

/// The proof of a pipeline that is not running, as JSON: `{holds, totals, routes, faults}`.
///
/// # Errors
/// When the pipeline's folder cannot be read.
pub async fn of_pipeline(config_file: &Path) -> anyhow::Result<Value> {
    let opened = open(config_file, false).map_err(|answer| anyhow::anyhow!("{}", answer.summary))?;
    let report = report(&opened).await.map_err(|problem| anyhow::anyhow!("{}: {}", problem.code, problem.cause))?;
    Ok(to_json(&report))
}

async fn report(opened: &Opened) -> Result<ProofReport, Problem> {
    let place = opened.config.data_dir.display().to_string();
    let routes = routes(&opened.config, &*opened.log, &opened.state)
        .await
        .map_err(|error: StateError| problem(error.code(), &place, &error))?;
    prove(&*opened.log, &routes, MEMORY_BYTES_MAX).await.map_err(|error| problem(error.code(), &place, &error))
}

/// The configured routes as the proof needs to know them. Everything below a route's checkpoint should be settled.
///
/// # Errors
/// When a checkpoint cannot be read.
pub(crate) async fn routes(config: &Config, log: &dyn Log, state: &StateStore) -> Result<Vec<ProofRoute>, StateError> {
    let mut routes = Vec::new();
    for (name, route) in &config.routes {
        let Ok(table) = TableName::parse(&route.table) else { continue };
        let stream = StreamPartition::first(StreamId::new(&route.stream));
        let start = log.bounds(&stream).map_or(Offset(0), |bounds| bounds.start);
        let checkpoint = Checkpoint::load(state, &RouteId::new(name), Partition(0)).await?;
        routes.push(ProofRoute {
            id: RouteId::new(name),
            stream,
            table: table.to_string(),
            ordered: route.ordering != OrderingConfig::None,
            from: start,
            settled_to: checkpoint.map_or(start, |checkpoint| checkpoint.offset),
        });
    }
    Ok(routes)
}

fn to_json(report: &ProofReport) -> Value {
    let settled = report.total(|route| route.applied + route.superseded + route.filtered + route.dead_lettered);
    json!({
        "holds": report.holds(),
        "totals": {
            "records": report.total(|route| route.records), "settled": settled,
            "pending": report.total(|route| route.pending), "lost": report.total(|route| route.lost),
            "repeated": report.total(|route| route.repeated), "out_of_order": report.total(|route| route.out_of_order),
            "dead_lettered": report.total(|route| route.dead_lettered), "read_back": report.total(|route| route.read_back),
        },
        "routes": report.routes, "faults": report.faults, "settlements": report.settlements,
        "malformed_settlements": report.malformed_settlements,
    })
}

fn answer(report: &ProofReport) -> Answer {
    let rows = report.routes.iter().map(|route| {
        let settled = [route.applied, route.superseded, route.filtered, route.dead_lettered, route.pending];
        let broken = [route.lost, route.repeated, route.out_of_order];
        let mut row = vec![route.route.to_string(), thousands(route.records)];
        row.extend(settled.iter().chain(&broken).map(|count| thousands(*count)));
        row
    });
    let header = [
        "route",
        "records",
        "applied",
        "superseded",
        "filtered",
        "dead letters",
        "pending",
        "lost",
        "repeated",
        "out of order",
    ];
    let mut text = table(&header, rows);
    for fault in &report.faults {
        text.push_str(&fault_text(fault));
    }
    let holds = report.holds();
    let summary = if holds {
        "every record below the checkpoints was settled exactly once, each key in order"
    } else {
        "a promise was broken: see the table; `penstock explain CODE` says what each means"
    };
    Answer { exit: if holds { Exit::Done } else { Exit::Found }, ..Answer::done(summary, text, to_json(report)) }
}

fn fault_text(fault: &Fault) -> String {
    let kind = serde_json::to_value(fault.kind).unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default().replace('_', " ");
    let key = fault.key.as_deref().unwrap_or("(key unknown)");
    format!("  {} {kind}: route {}, {} {}, key {key}\n", fault.kind.code(), fault.route, fault.stream, fault.position)
}
