//! Everything that a plan is made from.

use super::orgs::{self, OrgLook};
use super::tables::{self, TableLook};
use crate::config::{Config, DeletesConfig, ExpectedChanges, OperationConfig, Places};
use crate::wiring;
use contract::{OutOp, Sink, StateStore};
use model::{OrgId, TableName};
use pipeline::plan::{
    Buffer, Burst, ChangeRate, Counted, OrgFacts, PlanInputs, RouteFacts, RowCount, RowTraits, Sinks,
};
use pipeline::spec::RouteSpec;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What is asked and what is given.
#[derive(Default)]
pub(crate) struct Asked {
    /// Ask nobody.
    pub offline: bool,
    /// Watch the tables for so long.
    pub measure: Option<Duration>,
    /// The longest that one statement, or the org's answer, may take.
    pub limit: Duration,
    /// Count row by row only small tables.
    pub quick: bool,
    /// Sinks that are there already, by org.
    pub sinks: HashMap<OrgId, Arc<dyn Sink>>,
    /// Rows to look at for lanes, filters and lengths; 0: none.
    pub sample_rows: u32,
    pub rows: BTreeMap<TableName, u64>,
    pub rates: BTreeMap<TableName, ChangeRate>,
    pub burst: Option<Burst>,
    /// The state of an earlier run: tables that are copied need no copy.
    pub state: Option<Arc<dyn StateStore>>,
}

/// The inputs of a plan.
pub(crate) struct Gathered {
    pub inputs: PlanInputs,
    pub sinks: Sinks,
    /// What had to be assumed, and why.
    pub notes: Vec<String>,
}

/// Gathers. Never fails: what cannot be asked is assumed and noted.
pub(crate) async fn gather(config: &Config, places: &Places, asked: &Asked) -> Gathered {
    let mut notes = Vec::new();
    let TableLook { schemas, volumes, samples, rates, copied } = tables::look(config, places, asked, &mut notes).await;
    let (specs, _said_by_check) = wiring::route_specs(config, &schemas, places);
    let mut routes = Vec::with_capacity(specs.len());
    for spec in &specs {
        let sample = samples.get(&spec.table).map(Vec::as_slice).unwrap_or_default();
        let traits = RowTraits::of_rows(spec, sample);
        if sample.is_empty() && (spec.filter.is_some() || matches!(spec.lane, pipeline::spec::LaneSpec::Cel(_))) {
            notes.push(format!(
                "route {}: no rows were looked at; all are taken to pass its filter, and its lane to be standard",
                spec.id
            ));
        }
        let rate = expected_rate(config, asked, &spec.table).or_else(|| rates.get(&spec.table).copied());
        if rate.is_none() {
            notes.push(format!(
                "{}: how often it changes is not known, so only its first copy is planned (--measure 10s, --rate {}=5/s, or \
                 expect.changes)",
                spec.table, spec.table
            ));
        }
        let rows = rows(config, asked, &spec.table, &volumes, &copied, spec);
        routes.push(facts(config, spec, traits, rows, rate));
    }
    routes.sort_by(|a, b| a.id.cmp(&b.id));
    let mut orgs: Vec<OrgFacts> = Vec::new();
    let mut sinks = Sinks::new();
    for (name, org) in &config.orgs {
        let OrgLook { facts, sink } = orgs::look(config, places, name, org, asked, &mut notes).await;
        orgs.push(facts);
        sinks.extend(sink.map(|sink| (OrgId::new(name), sink)));
    }
    let buffer = Buffer {
        log_bytes_max: config.log.retention.bytes.map(|size| size.0),
        window_bytes_max: config.limits.window.0,
    };
    Gathered {
        inputs: PlanInputs {
            routes,
            orgs,
            burst: burst(config, asked),
            buffer,
            router: wiring::router_spec(&config.router),
        },
        sinks,
        notes,
    }
}

fn facts(
    config: &Config,
    spec: &RouteSpec,
    traits: RowTraits,
    rows: Option<RowCount>,
    rate: Option<ChangeRate>,
) -> RouteFacts {
    let route = &config.routes[spec.id.as_str()];
    let op = match route.to.operation {
        OperationConfig::Upsert => OutOp::Upsert,
        OperationConfig::Create => OutOp::Create,
        OperationConfig::Update => OutOp::Update,
    };
    let delete = match &route.deletes {
        DeletesConfig::Delete if route.to.external_id.is_some() => Some(OutOp::Delete),
        DeletesConfig::Set(_) => Some(OutOp::Update),
        DeletesConfig::Create => Some(OutOp::Create),
        DeletesConfig::Delete | DeletesConfig::Ignore => None,
    };
    RouteFacts {
        id: spec.id.clone(),
        org: spec.org.clone(),
        object: spec.object.clone(),
        table: spec.table.clone(),
        op,
        delete,
        copy_lanes: traits.copy_lanes,
        live_lanes: traits.live_lanes,
        passes: traits.passes,
        deadline: spec.deadline,
        ordering: spec.ordering,
        coalesce: spec.coalesce,
        batch: spec.batch,
        parallel: spec.parallel,
        setting: spec.api,
        rows,
        rate,
        record_bytes: traits.record_bytes,
        row_bytes: traits.row_bytes,
    }
}

/// Given on the command line, or expected by the configuration.
fn expected_rate(config: &Config, asked: &Asked, table: &TableName) -> Option<ChangeRate> {
    if let Some(rate) = asked.rates.get(table) {
        return Some(*rate);
    }
    let mut expected = config.expect.changes.iter();
    let (_, changes) = expected.find(|(name, _)| TableName::parse(name).is_ok_and(|known| known == *table))?;
    let counted = Counted::Given;
    Some(match changes {
        ExpectedChanges::All(rate) => ChangeRate { inserts: 0.0, updates: rate.0, deletes: 0.0, counted },
        ExpectedChanges::Each(kinds) => ChangeRate {
            inserts: kinds.inserts.map_or(0.0, |rate| rate.0),
            updates: kinds.updates.map_or(0.0, |rate| rate.0),
            deletes: kinds.deletes.map_or(0.0, |rate| rate.0),
            counted,
        },
    })
}

/// Rows that the first copy still has to bring.
fn rows(
    config: &Config,
    asked: &Asked,
    table: &TableName,
    volumes: &BTreeMap<TableName, RowCount>,
    copied: &BTreeMap<TableName, Option<u64>>,
    spec: &RouteSpec,
) -> Option<RowCount> {
    let stream = config.streams.get(spec.stream.stream.as_str())?;
    let source = config.sources.get(&stream.from)?;
    if !source.snapshot.enabled || matches!(copied.get(table), Some(None)) {
        return Some(RowCount { rows: 0, counted: Counted::Exactly });
    }
    let given = || {
        let mut expected = config.expect.rows.iter();
        let found = expected.find(|(name, _)| TableName::parse(name).is_ok_and(|known| known == *table));
        let rows = asked.rows.get(table).copied().or_else(|| found.map(|(_, rows)| *rows))?;
        Some(RowCount { rows, counted: Counted::Given })
    };
    let all = if asked.rows.contains_key(table) { given() } else { volumes.get(table).copied().or_else(given) };
    let done = copied.get(table).copied().flatten().unwrap_or(0);
    all.map(|count| RowCount { rows: count.rows.saturating_sub(done), ..count })
}

fn burst(config: &Config, asked: &Asked) -> Option<Burst> {
    asked.burst.clone().or_else(|| {
        let burst = config.expect.burst.as_ref()?;
        let table = burst.table.as_deref().and_then(|table| TableName::parse(table).ok());
        Some(Burst { rate: burst.rate.0, length: burst.length.0, table })
    })
}
