//! `penstock check`: the file, then the databases, then the orgs, then what each route asks of both.
//!
//! It changes nothing. A part that cannot be asked is a finding, and the rest is still checked.

use crate::cli::CheckArgs;
use crate::config::{Config, Loaded, Places, load_file};
use crate::output::Answer;
use crate::wiring::{self, route_specs};
use connector_postgres::{OnSlotMismatch, PostgresSource};
use connector_salesforce::SalesforceSink;
use contract::{Clock, ObjectSchema, Sink, SinkError, Source, SystemClock};
use model::{Finding, ObjectName, TableName, TableSchema};
use pipeline::mapping::Mapper;
use pipeline::spec::RouteSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Checks everything that can be checked from here.
pub async fn run(config_file: &Path, args: &CheckArgs) -> Answer {
    let loaded = load_file(config_file);
    let Loaded { config, mut findings, places } = loaded;
    let Some(config) = config else { return Answer::findings(&findings, true, "") };
    if args.offline {
        return Answer::findings(&findings, true, "the file is sound; database and org were not asked (--offline)");
    }
    let tables = sources(&config, &places, &mut findings).await;
    let orgs = orgs(&config, &places, &mut findings).await;
    let (specs, _said_by_sources) = route_specs(&config, &tables, &places);
    for spec in &specs {
        if let Some(org) = orgs.get(spec.org.as_str()) {
            routes(spec, org, &places, &mut findings).await;
        }
    }
    unmapped_routes(&config, &tables, &orgs, &places, &mut findings).await;
    unrouted_tables(&config, &places, &mut findings);
    let nothing = format!(
        "all is well: {} source(s), {} org(s), {} route(s)",
        config.sources.len(),
        config.orgs.len(),
        config.routes.len()
    );
    Answer::findings(&findings, false, &nothing)
}

/// Asks every source; returns the tables that could be described.
async fn sources(config: &Config, places: &Places, findings: &mut Vec<Finding>) -> Vec<TableSchema> {
    let mut tables = Vec::new();
    for (name, source) in &config.sources {
        let built = wiring::postgres_config(name, source, OnSlotMismatch::Refuse, places);
        let postgres = match built {
            Ok(postgres) => postgres,
            Err(finding) => {
                findings.push(finding);
                continue;
            }
        };
        // One missing table must not hide the others: each is described by itself when all together fail.
        let source = PostgresSource::new(postgres.clone());
        let found = source.check().await;
        findings.extend(found.into_iter().map(|finding| placed(finding, &format!("sources.{name}"), places)));
        match source.tables().await {
            Ok(all) => tables.extend(all),
            Err(_) => {
                for table in &postgres.tables {
                    let one = connector_postgres::PostgresConfig { tables: vec![table.clone()], ..postgres.clone() };
                    tables.extend(PostgresSource::new(one).tables().await.unwrap_or_default());
                }
            }
        }
    }
    tables
}

/// A connector speaks of its own places; here they are put below the configuration's path.
fn placed(finding: Finding, path: &str, places: &Places) -> Finding {
    Finding { place: format!("{} ({})", places.describe(path), finding.place), ..finding }
}

/// Asks every org; returns those that let us in.
async fn orgs(config: &Config, places: &Places, findings: &mut Vec<Finding>) -> BTreeMap<String, Arc<SalesforceSink>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut open = BTreeMap::new();
    for (name, org) in &config.orgs {
        let path = format!("orgs.{name}");
        let built = match wiring::salesforce_config(&config.pipeline, name, org, places) {
            Ok(built) => built,
            Err(finding) => {
                findings.push(finding);
                continue;
            }
        };
        match SalesforceSink::new(&built, clock.clone()) {
            Ok(sink) => {
                let found = sink.check().await;
                let shut = found.iter().any(|finding| finding.severity == model::Severity::Error);
                findings.extend(found.into_iter().map(|finding| placed(finding, &path, places)));
                if !shut {
                    open.insert(name.clone(), Arc::new(sink));
                }
            }
            Err(error) => findings.push(error.finding(places.describe(&path))),
        }
    }
    open
}

/// Checks a route's mapping against its table, its object and its parents.
async fn routes(spec: &RouteSpec, sink: &SalesforceSink, places: &Places, findings: &mut Vec<Finding>) {
    let path = format!("routes.{}", spec.id);
    let object = match describe(sink, &spec.object, &format!("{path}.to.object"), places).await {
        Ok(object) => object,
        Err(finding) => {
            findings.push(finding);
            return;
        }
    };
    let mut parents = Vec::new();
    for reference in &spec.references {
        match describe(sink, &reference.object, &format!("{path}.references.{}", reference.object), places).await {
            Ok(parent) => parents.push(parent),
            Err(finding) => findings.push(finding),
        }
    }
    let found = match Mapper::compile(spec, &object, &parents) {
        Ok(mapper) => mapper.warnings().to_vec(),
        Err(found) => found,
    };
    findings.extend(found.into_iter().map(|finding| Finding { place: places.describe(&finding.place), ..finding }));
}

async fn describe(
    sink: &SalesforceSink,
    object: &ObjectName,
    path: &str,
    places: &Places,
) -> Result<Arc<ObjectSchema>, Finding> {
    sink.describe(object).await.map_err(|error: SinkError| {
        let fix = "name an object that the org has and this user may see (API names: Account, Order__c)";
        Finding::error(error.code.0, places.describe(path), error.message, fix)
    })
}

/// Routes whose table could not be described are at least checked for their objects.
async fn unmapped_routes(
    config: &Config,
    tables: &[TableSchema],
    orgs: &BTreeMap<String, Arc<SalesforceSink>>,
    places: &Places,
    findings: &mut Vec<Finding>,
) {
    for (name, route) in &config.routes {
        let described =
            TableName::parse(&route.table).is_ok_and(|table| tables.iter().any(|schema| schema.table == table));
        let Some(sink) = orgs.get(&route.to.org).filter(|_| !described) else { continue };
        let path = format!("routes.{name}.to.object");
        if let Err(finding) = describe(sink, &ObjectName::new(&route.to.object), &path, places).await {
            findings.push(finding);
        }
    }
}

/// A table that no route takes is captured and kept, and goes nowhere: perhaps forgotten.
fn unrouted_tables(config: &Config, places: &Places, findings: &mut Vec<Finding>) {
    let routed: BTreeSet<(&str, TableName)> = config
        .routes
        .values()
        .filter_map(|route| Some((route.stream.as_str(), TableName::parse(&route.table).ok()?)))
        .collect();
    for (name, stream) in &config.streams {
        for text in stream.keys.keys() {
            let Ok(table) = TableName::parse(text) else { continue };
            if !routed.contains(&(name.as_str(), table)) {
                findings.push(Finding::warning(
                    "PS1011",
                    places.describe(&format!("streams.{name}.keys.{text}")),
                    format!("no route takes {text}: its changes are kept in the log and go nowhere"),
                    "add a route for it, or leave it out of the stream",
                ));
            }
        }
    }
}
