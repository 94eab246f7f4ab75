//! The configuration: one YAML file, typed; unknown keys are refused with line and column.
//!
//! ```text
//! text ──parse──▶ values + places ──types──▶ Config ──cross checks──▶ findings
//! ```
//!
//! This module knows names and shapes only. Whether a table or a field exists is found out by `check`.

mod cross;
mod errors;
mod expect;
mod jobs;
mod load;
mod ordering;
mod places;
mod quota;
mod router;
pub(crate) mod values;

pub use errors::{BreakerSettings, RetryClassConfig, RetryConfig};
pub use expect::{ExpectConfig, ExpectedBurst, ExpectedChanges};
pub use jobs::JobSettings;
pub use load::{Loaded, load_file, load_text, schema};
pub use ordering::{OrderingConfig, TooLargeConfig};
pub use places::Places;
pub use quota::{EditionConfig, EntitlementConfig, Shares};
pub use router::{ApiWord, RouterConfig, RuleConfig};
pub use values::{MapValue, OneOf, Percent, Rate, SecretText, Size, Time, WordOrCel};

use model::{TableName, ValueMode};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A map that keeps the order of the file is not needed: names are sorted, so that every run prints the same.
type Named<T> = BTreeMap<String, T>;

/// One pipeline.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Config {
    /// The pipeline's name; part of `Sforce-Call-Options: client=` and of every metric.
    pub pipeline: String,
    /// The folder that holds the log and the state.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    #[serde(default)]
    pub log: LogConfig,
    #[serde(default)]
    pub http: HttpConfig,
    pub orgs: Named<OrgConfig>,
    pub sources: Named<SourceConfig>,
    pub streams: Named<StreamConfig>,
    pub routes: Named<RouteConfig>,
    /// What the routes' own `retry` leaves out.
    #[serde(default)]
    pub retry: RetryConfig,
    #[serde(default)]
    pub router: RouterConfig,
    #[serde(default)]
    pub limits: LimitsConfig,
    /// What `penstock plan` reckons with, and what `penstock run` checks before it starts.
    #[serde(default)]
    pub expect: ExpectConfig,
}

impl Config {
    /// The columns of a route that are secret: its own, and those of its source's table. Sorted, distinct; empty for a route that
    /// is not configured.
    pub fn secret_columns(&self, route: &str) -> Vec<String> {
        let Some(route) = self.routes.get(route) else { return Vec::new() };
        let source = self.streams.get(&route.stream).and_then(|stream| self.sources.get(&stream.from));
        let table = TableName::parse(&route.table).ok();
        let of_table = source.into_iter().flat_map(|source| &source.secret);
        let of_table = of_table.filter(|(name, _)| table.is_some() && TableName::parse(name).ok() == table);
        let mut columns: Vec<String> =
            of_table.flat_map(|(_, columns)| columns).chain(&route.secret).cloned().collect();
        columns.sort();
        columns.dedup();
        columns
    }
}

/// Where streams are kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LogConfig {
    #[serde(default)]
    pub kind: LogKind,
    #[serde(default)]
    pub compression: Compression,
    #[serde(default)]
    pub retention: RetentionConfig,
}

/// The kind of log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    #[default]
    Embedded,
}

/// How frames of the log are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    #[default]
    Lz4,
    Zstd,
}

/// How long records are kept after every route is past them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RetentionConfig {
    #[serde(default = "default_retention_age")]
    pub age: Option<Time>,
    #[serde(default)]
    pub bytes: Option<Size>,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { age: default_retention_age(), bytes: None }
    }
}

/// The HTTP surface: `/metrics`, `/health/live`, `/health/ready`, `/api/v1/status`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HttpConfig {
    /// `host:port`; port 0 takes a free one; `off` serves nothing.
    #[serde(default = "default_listen", deserialize_with = "values::address_or_off")]
    pub listen: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: default_listen() }
    }
}

/// A Salesforce org.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct OrgConfig {
    /// The org's My Domain, `https://example.my.salesforce.com`.
    pub url: SecretText,
    #[serde(default = "default_api_version")]
    pub api_version: String,
    pub auth: AuthConfig,
    /// This pipeline's share of the org's allocations.
    #[serde(default = "default_share")]
    pub share: Shares,
    /// What the org has bought: the maxima that are assumed until the org has told its own.
    pub entitlement: Option<EntitlementConfig>,
    /// The quota ledger's file. All pipelines that name the same file never overspend together. Default: one file of this user
    /// (`$XDG_STATE_HOME/penstock/quota.db`), or, for an org on loopback, the pipeline's own; `own`: the pipeline's own.
    #[serde(default)]
    pub ledger: Option<PathBuf>,
    #[serde(default)]
    pub lanes: LanesConfig,
    /// Calls in flight at once.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    #[serde(default = "default_request_timeout")]
    pub request_timeout: Time,
    /// Spread a day's budget over the day unless a deadline needs it sooner.
    #[serde(default = "default_true")]
    pub pacing: bool,
    /// How old the org's figures may be when it tells them. What a process that died had reserved counts as spent until a figure is
    /// newer than that.
    #[serde(default = "default_limits_lag")]
    pub limits_lag: Time,
    #[serde(default)]
    pub breaker: BreakerSettings,
    #[serde(default)]
    pub bulk: JobSettings,
    /// Scheme, host and port of the Pub/Sub API. Default: `https://api.pubsub.salesforce.com:7443`; there are regional hosts,
    /// and port 443 serves it, too.
    pub pubsub_url: Option<String>,
}

/// How the org is logged in to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AuthConfig {
    pub flow: AuthFlow,
    pub client_id: SecretText,
    /// For `client_credentials`.
    pub client_secret: Option<SecretText>,
    /// For `jwt_bearer`: the user to act as.
    pub username: Option<String>,
    /// For `jwt_bearer`: the PEM text of the private key.
    pub private_key: Option<SecretText>,
    /// For `jwt_bearer`: `https://login.salesforce.com` or `https://test.salesforce.com`.
    pub audience: Option<String>,
}

/// The OAuth flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthFlow {
    ClientCredentials,
    JwtBearer,
}

/// The parts of the share that are reserved for each lane; what is left of 100 % goes to whoever asks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LanesConfig {
    #[serde(default = "default_critical")]
    pub critical: Percent,
    #[serde(default = "default_standard")]
    pub standard: Percent,
    #[serde(default = "default_bulk")]
    pub bulk: Percent,
}

impl Default for LanesConfig {
    fn default() -> Self {
        Self { critical: default_critical(), standard: default_standard(), bulk: default_bulk() }
    }
}

/// A system whose changes are captured.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SourceConfig {
    pub kind: SourceKind,
    /// `postgres://user:password@host:port/database?sslmode=verify-full`; the password only as a reference.
    pub url: SecretText,
    #[serde(default = "default_name")]
    pub publication: String,
    #[serde(default = "default_name")]
    pub slot: String,
    pub tables: Vec<String>,
    /// Table → columns whose values are shown nowhere, whatever route takes them.
    #[serde(default)]
    pub secret: Named<Vec<String>>,
    #[serde(default)]
    pub json: JsonMode,
    #[serde(default)]
    pub snapshot: SnapshotConfig,
    /// How often an idle slot is moved on.
    #[serde(default = "default_heartbeat")]
    pub heartbeat: Time,
}

/// The kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    Postgres,
}

/// How column values stand in the JSON of a change event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JsonMode {
    #[default]
    Readable,
    Debezium,
}

impl From<JsonMode> for ValueMode {
    fn from(mode: JsonMode) -> Self {
        match mode {
            JsonMode::Readable => ValueMode::Readable,
            JsonMode::Debezium => ValueMode::Debezium,
        }
    }
}

/// The first copy of the tables, beside the stream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SnapshotConfig {
    /// Copy the tables' present rows.
    #[serde(default = "default_true")]
    pub enabled: bool,
    #[serde(default = "default_chunk_rows")]
    pub chunk_rows: u32,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self { enabled: true, chunk_rows: default_chunk_rows() }
    }
}

/// A stream: an ordered topic in the log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct StreamConfig {
    pub from: String,
    /// The business key of each table, in key order.
    pub keys: Named<Vec<String>>,
    /// What the stream may take on disk, at least 64MiB; without one it may fill the disk.
    #[serde(default)]
    pub max_bytes: Option<Size>,
    /// What happens when it takes that much.
    #[serde(default)]
    pub overflow: OverflowConfig,
    /// Records may be given up when there is no room: needed for `drop_oldest` and `sample`.
    #[serde(default)]
    pub expendable: bool,
}

/// What happens when a stream is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverflowConfig {
    /// The source waits, and the database keeps its WAL: nothing is lost.
    #[default]
    Block,
    /// The oldest waiting records are settled as filtered, with the reason.
    DropOldest,
    /// Of the oldest waiting records a part is kept: `sample: {keep: 1 of 10}`.
    Sample(SampleConfig),
}

/// How many of the oldest records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SampleConfig {
    pub keep: OneOf,
}

/// One way from a stream to a sink.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RouteConfig {
    pub stream: String,
    pub table: String,
    pub to: TargetConfig,
    /// Target field → where its value comes from.
    pub map: Named<MapValue>,
    /// Parent object → how the lookup to it is filled.
    #[serde(default)]
    pub references: Named<ReferenceConfig>,
    /// Only rows for which this is true; the others are settled as filtered.
    pub filter: Option<CelText>,
    #[serde(default)]
    pub deletes: DeletesConfig,
    #[serde(default)]
    pub truncate: TruncatePolicy,
    /// `critical`, `standard`, `bulk`, or an expression that gives one of them. With a word, rows of the first copy go in
    /// `bulk`, so that live changes pass them.
    #[serde(default = "default_lane")]
    pub lane: WordOrCel,
    #[serde(default = "default_deadline")]
    pub deadline: Time,
    /// By which API its rows go.
    #[serde(default)]
    pub api: ApiWord,
    #[serde(default)]
    pub ordering: OrderingConfig,
    /// With `ordering: transaction`: what happens to a source transaction that has more rows or bytes than the org applies as one.
    /// Of routes whose rows share transactions, one that says `refuse` speaks for all.
    #[serde(default)]
    pub too_large: TooLargeConfig,
    #[serde(default)]
    pub coalesce: CoalesceConfig,
    #[serde(default)]
    pub batch: BatchConfig,
    #[serde(default)]
    pub retry: RetryConfig,
    /// Columns whose values are shown nowhere: not in dead letters, messages or the status. None may be part of the business key.
    #[serde(default)]
    pub secret: Vec<String>,
    /// Batches of this route in flight at once.
    #[serde(default = "default_parallel")]
    pub parallel: usize,
}

/// An expression.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CelText {
    pub cel: String,
}

/// The target of a route.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TargetConfig {
    pub org: String,
    pub object: String,
    /// The field that rows are matched by.
    pub external_id: Option<String>,
    #[serde(default)]
    pub operation: OperationConfig,
    /// A text field of 40 characters or more that receives each row's position in the stream.
    pub position_field: Option<String>,
}

/// What is done with rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationConfig {
    #[default]
    Upsert,
    Create,
    Update,
}

/// How a lookup to a parent object is filled.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ReferenceConfig {
    /// The parent's external id field.
    pub external_id: String,
    /// The column that holds the parent's key.
    pub from: String,
    /// The parent's table.
    pub table: String,
    /// The lookup field, where the object has several to this parent.
    pub field: Option<String>,
    /// Whether a write of a row locks this parent, so that no two batches in flight may share it; without it as the org
    /// describes the field (master-detail), or as lock errors tell.
    pub locks: Option<bool>,
}

/// What a delete does.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeletesConfig {
    #[default]
    Delete,
    Ignore,
    /// A delete creates a row like any other change (`operation: create`): for events and histories.
    Create,
    /// `set: {Field__c: value}`: exactly one field.
    Set(Named<serde_json::Value>),
}

/// What a truncate does: it cannot be keyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TruncatePolicy {
    /// The route stops and says so.
    #[default]
    Refuse,
    Ignore,
}

/// Whether waiting updates of one key merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CoalesceConfig {
    #[default]
    Never,
    Latest,
}

/// How rows are gathered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct BatchConfig {
    #[serde(default = "default_batch_rows")]
    pub rows: usize,
    #[serde(default = "default_batch_bytes")]
    pub bytes: Size,
    /// How long a batch that is not full waits for more rows while others are in flight.
    #[serde(default = "default_linger")]
    pub linger: Time,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { rows: default_batch_rows(), bytes: default_batch_bytes(), linger: default_linger() }
    }
}

/// Bounds of the program's own memory and pace.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Memory of each window of related routes.
    #[serde(default = "default_window")]
    pub window: Size,
    #[serde(default = "default_checkpoint_every")]
    pub checkpoint_every: Time,
    /// How long after a batch was sent without an answer it is read back, at least; a slow org is given twice what its calls take.
    #[serde(default = "default_recovery_grace")]
    pub recovery_grace: Time,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            window: default_window(),
            checkpoint_every: default_checkpoint_every(),
            recovery_grace: default_recovery_grace(),
        }
    }
}

const fn ms(ms: u64) -> Time {
    Time(std::time::Duration::from_millis(ms))
}

fn default_data_dir() -> PathBuf {
    "./penstock-data".into()
}
fn default_retention_age() -> Option<Time> {
    Some(ms(7 * 86_400_000))
}
fn default_listen() -> String {
    "127.0.0.1:9400".into()
}
fn default_api_version() -> String {
    "62.0".into()
}
fn default_share() -> Shares {
    Shares::of(quota::DEFAULT_SHARE)
}
fn default_critical() -> Percent {
    Percent(20.0)
}
fn default_standard() -> Percent {
    Percent(50.0)
}
fn default_bulk() -> Percent {
    Percent(30.0)
}
fn default_concurrency() -> usize {
    8
}
fn default_request_timeout() -> Time {
    ms(120_000)
}
fn default_limits_lag() -> Time {
    ms(300_000)
}
fn default_true() -> bool {
    true
}
fn default_name() -> String {
    "penstock".into()
}
fn default_heartbeat() -> Time {
    ms(10_000)
}
fn default_chunk_rows() -> u32 {
    2_000
}
fn default_lane() -> WordOrCel {
    WordOrCel::Word("standard".into())
}
fn default_deadline() -> Time {
    ms(300_000)
}
fn default_parallel() -> usize {
    4
}
fn default_batch_rows() -> usize {
    200
}
fn default_batch_bytes() -> Size {
    Size(4 << 20)
}
fn default_linger() -> Time {
    ms(5)
}
fn default_window() -> Size {
    Size(64 << 20)
}
fn default_checkpoint_every() -> Time {
    ms(500)
}
fn default_recovery_grace() -> Time {
    ms(2_000)
}
