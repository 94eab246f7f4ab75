//! What the orgs permit: their own figures, or what their edition gives.

use super::gather::Asked;
use crate::config::{Config, OrgConfig, Places};
use crate::wiring;
use connector_salesforce::{Auth, SalesforceConfig, SalesforceSink, Secret};
use contract::{AllocationReading, Clock, Sink, SystemClock};
use governor::{GovernorConfig, Permille};
use model::OrgId;
use pipeline::plan::{AllocationFacts, AllocationKind, Entitlement, OrgFacts, edition_words};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One org.
pub(super) struct OrgLook {
    pub facts: OrgFacts,
    /// Tells limits and costs; none when not even that can be made.
    pub sink: Option<Arc<dyn Sink>>,
}

/// Looks at an org.
pub(super) async fn look(
    config: &Config,
    places: &Places,
    name: &str,
    org: &OrgConfig,
    asked: &Asked,
    notes: &mut Vec<String>,
) -> OrgLook {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let real: Option<Arc<dyn Sink>> = if asked.offline {
        None
    } else if let Some(sink) = asked.sinks.get(&OrgId::new(name)) {
        Some(sink.clone())
    } else {
        let built = wiring::salesforce_config(&config.pipeline, name, org, places).map_err(|finding| finding.cause);
        match built.and_then(|built| SalesforceSink::new(&built, clock.clone()).map_err(|error| error.to_string())) {
            Ok(sink) => Some(Arc::new(sink)),
            Err(why) => {
                notes.push(format!("org {name} cannot be asked ({why})"));
                None
            }
        }
    };
    let readings = match &real {
        Some(sink) => ask(name, &**sink, asked, notes).await,
        None => Vec::new(),
    };
    let entitlement = org.entitlement.map(Entitlement::from).unwrap_or_default();
    if readings.is_empty() {
        notes.push(format!(
            "org {name}: its own figures are not known; those of {} edition are assumed, and none of it as used",
            edition_words(entitlement.edition)
        ));
    }
    let governor = wiring::governor_config(org);
    let allocations = AllocationKind::ALL.map(|kind| allocation(kind, &readings, &governor));
    let facts = OrgFacts {
        id: OrgId::new(name),
        allocations: allocations.to_vec(),
        entitlement,
        reserved: governor.reserved.map(part),
        in_flight_max: org.concurrency,
        start_calls: start_calls(config, name),
        subscribers: config.expect.subscribers,
        is_told: !readings.is_empty(),
    };
    let sink = real.or_else(|| stand_in(org, clock));
    OrgLook { facts, sink }
}

async fn ask(name: &str, sink: &dyn Sink, asked: &Asked, notes: &mut Vec<String>) -> Vec<AllocationReading> {
    let why = match tokio::time::timeout(asked.limit, sink.allocations()).await {
        Ok(Ok(readings)) => return readings,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {:?}", asked.limit),
    };
    notes.push(format!("org {name} did not tell its limits ({why})"));
    Vec::new()
}

/// A sink that is never asked to send: only its limits and costs are read.
fn stand_in(org: &OrgConfig, clock: Arc<dyn Clock>) -> Option<Arc<dyn Sink>> {
    let auth = Auth::ClientCredentials { client_id: "plan".into(), client_secret: Secret::new("plan") };
    let built = SalesforceConfig {
        in_flight_max: org.concurrency,
        ..SalesforceConfig::new("https://plan.my.salesforce.com", org.api_version.clone(), auth)
    };
    SalesforceSink::new(&built, clock).ok().map(|sink| Arc::new(sink) as Arc<dyn Sink>)
}

/// The org's own figures; else what the governor assumes.
fn allocation(kind: AllocationKind, readings: &[AllocationReading], governor: &GovernorConfig) -> AllocationFacts {
    let row = governor.allocations.iter().find(|row| row.is_named(kind.name()));
    let reading = readings.iter().find(|reading| kind.is_named(&reading.allocation));
    let assumed = row.map_or(0, |row| row.assumed_max);
    let (max, used) = reading.map_or((assumed, 0), |reading| (reading.max, reading.used));
    AllocationFacts { kind, max, used, share: part(row.and_then(|row| row.share).unwrap_or(governor.share)) }
}

fn part(permille: Permille) -> f64 {
    f64::from(permille.0) / 1000.0
}

/// Calls of a start beside the rows: each object is described once, parents included.
fn start_calls(config: &Config, org: &str) -> u64 {
    let routes = config.routes.values().filter(|route| route.to.org == org);
    let objects: BTreeSet<&str> =
        routes.flat_map(|route| route.references.keys().chain([&route.to.object])).map(String::as_str).collect();
    objects.len() as u64
}
