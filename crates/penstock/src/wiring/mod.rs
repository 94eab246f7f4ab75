//! Configuration → the concrete parts: the one place that names connectors and a log.

mod governor;
mod ledger;
mod router;
mod routes;

pub use governor::governor_config;
pub use ledger::Ledgers;
pub use router::router_spec;
pub use routes::route_specs;

use crate::config::{
    AuthFlow, Compression, Config, OrderingConfig, OrgConfig, OverflowConfig, Places, RouteConfig, SampleConfig,
    SecretText, SourceConfig, StreamConfig,
};
use connector_postgres::{OnSlotMismatch, PostgresConfig};
use connector_salesforce::{Auth, SalesforceConfig, Secret};
use contract::{Retention, StreamBinding};
use log_store::{Codec, LogOptions};
use model::{Finding, StreamId, StreamPartition, TableName};
use pipeline::overflow::{Overflow, StreamLimit};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where things lie in the data folder.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Names the folder; nothing is made yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The log's folder.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The state's file.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.db")
    }

    /// Written by a running pipeline: its process id and HTTP address.
    pub fn running(&self) -> PathBuf {
        self.0.join("running.json")
    }
}

/// Replaces a reference to a secret, or says where it leads nowhere.
pub fn resolve(text: &SecretText, path: &str, places: &Places) -> Result<String, Finding> {
    text.resolve(&|name| std::env::var(name).ok()).map_err(|cause| {
        Finding::error("PS1009", places.describe(path), cause, "set it for the process that runs Penstock")
    })
}

/// A PostgreSQL source as the connector wants it.
///
/// # Errors
/// A finding when a secret's reference leads nowhere.
pub fn postgres_config(
    name: &str,
    source: &SourceConfig,
    on_slot_mismatch: OnSlotMismatch,
    places: &Places,
) -> Result<PostgresConfig, Finding> {
    let url = resolve(&source.url, &format!("sources.{name}.url"), places)?;
    let tables = source.tables.iter().filter_map(|table| TableName::parse(table).ok()).collect();
    Ok(PostgresConfig {
        publication: source.publication.clone(),
        slot: source.slot.clone(),
        value_mode: source.json.into(),
        chunk_rows: source.snapshot.chunk_rows,
        heartbeat: source.heartbeat.0,
        snapshot: source.snapshot.enabled,
        on_slot_mismatch,
        ..PostgresConfig::new(url, tables)
    })
}

/// An org as the connector wants it.
///
/// # Errors
/// A finding when a secret's reference leads nowhere or a part of the flow is missing.
pub fn salesforce_config(
    pipeline: &str,
    name: &str,
    org: &OrgConfig,
    places: &Places,
) -> Result<SalesforceConfig, Finding> {
    let path = format!("orgs.{name}");
    let url = resolve(&org.url, &format!("{path}.url"), places)?;
    let client_id = resolve(&org.auth.client_id, &format!("{path}.auth.client_id"), places)?;
    let secret = |key: &str, text: &Option<SecretText>| match text {
        Some(text) => resolve(text, &format!("{path}.auth.{key}"), places).map(Secret::new),
        None => Err(Finding::error(
            "PS1005",
            places.describe(&format!("{path}.auth")),
            format!("{key} is missing"),
            format!("add {key}"),
        )),
    };
    let auth = match org.auth.flow {
        AuthFlow::ClientCredentials => {
            Auth::ClientCredentials { client_id, client_secret: secret("client_secret", &org.auth.client_secret)? }
        }
        AuthFlow::JwtBearer => Auth::JwtBearer {
            client_id,
            username: org.auth.username.clone().unwrap_or_default(),
            private_key_pem: secret("private_key", &org.auth.private_key)?,
            audience: org.auth.audience.clone(),
        },
    };
    Ok(SalesforceConfig {
        client_name: format!("penstock/{pipeline}"),
        request_timeout: org.request_timeout.0,
        in_flight_max: org.concurrency,
        bulk: org.bulk.resolve(),
        pubsub_url: org.pubsub_url.clone(),
        ..SalesforceConfig::new(url, org.api_version.clone(), auth)
    })
}

/// Which tables each stream of a source takes, and their business keys.
pub fn stream_bindings(config: &Config, source: &str) -> Vec<StreamBinding> {
    let of_source = config.streams.iter().filter(|(_, stream)| stream.from == source);
    of_source
        .map(|(name, stream)| {
            let keys: BTreeMap<TableName, Vec<String>> = stream
                .keys
                .iter()
                .filter_map(|(table, columns)| Some((TableName::parse(table).ok()?, columns.clone())))
                .collect();
            let by_transaction =
                |route: &RouteConfig| route.stream == *name && route.ordering == OrderingConfig::Transaction;
            let transactions = config.routes.values().any(by_transaction);
            StreamBinding { to: StreamPartition::first(StreamId::new(name)), keys, transactions }
        })
        .collect()
}

/// How the log is opened.
pub fn log_options(config: &Config) -> LogOptions {
    let codec = match config.log.compression {
        Compression::None => Codec::None,
        Compression::Lz4 => Codec::Lz4,
        Compression::Zstd => Codec::Zstd,
    };
    let defaults = LogOptions::default();
    // Retention removes whole segments: a limited stream needs several.
    let least = config.streams.values().filter_map(|stream| stream.max_bytes).map(|size| size.0 / 8).min();
    let segment_bytes = least.map_or(defaults.segment_bytes, |least| least.clamp(1 << 20, defaults.segment_bytes));
    LogOptions { codec, segment_bytes, ..defaults }
}

/// How long a configured stream is kept: what every route is past takes at most half of the stream's limit.
pub fn retention(config: &Config, stream: &StreamConfig) -> Retention {
    let kept = config.log.retention.bytes.map(|size| size.0);
    let half = stream.max_bytes.map(|size| size.0 / 2);
    let bytes = kept.into_iter().chain(half).min();
    Retention { age: config.log.retention.age.map(|age| age.0), bytes }
}

/// The streams' size limits.
pub fn stream_limits(config: &Config) -> Vec<StreamLimit> {
    let limited = config.streams.iter().filter_map(|(name, stream)| Some((name, stream, stream.max_bytes?)));
    limited
        .map(|(name, stream, size)| StreamLimit {
            of: StreamPartition::first(StreamId::new(name)),
            bytes_max: size.0,
            overflow: match stream.overflow {
                OverflowConfig::Block => Overflow::Block,
                OverflowConfig::DropOldest => Overflow::DropOldest,
                OverflowConfig::Sample(SampleConfig { keep }) => Overflow::Sample { keep_one_of: keep.0 },
            },
        })
        .collect()
}
