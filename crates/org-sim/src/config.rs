//! What a simulated org is made of.

use crate::bulk::BulkConfig;
use crate::dml::Unverified;
use crate::error::SimError;
use crate::events::EventsConfig;
use crate::faults::FaultRule;
use crate::latency::LatencyModel;
use crate::schema::spec::ObjectsSpec;
use crate::security::FieldSecurity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The edition, which sets the allocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Edition {
    Developer,
    #[default]
    Enterprise,
    Unlimited,
}

impl Edition {
    /// The word of the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Developer => "developer",
            Self::Enterprise => "enterprise",
            Self::Unlimited => "unlimited",
        }
    }

    /// Parses the word of the command line.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "developer" => Some(Self::Developer),
            "enterprise" => Some(Self::Enterprise),
            "unlimited" => Some(Self::Unlimited),
            _ => None,
        }
    }
}

/// A connected application that may ask for tokens.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AppConfig {
    pub name: String,
    pub client_id: String,
    pub client_secret: String,
    /// The user that client credentials run as; none turns the flow off.
    pub run_as: Option<String>,
    /// PEM of the certificate or public key for JWT bearer; none turns the flow off.
    pub certificate: Option<String>,
    /// Users that a JWT may act for.
    pub jwt_users: Vec<String>,
    /// API calls that this application may make in 24 hours; none leaves it with the org's.
    pub daily_api_requests_max: Option<u64>,
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            name: "penstock".into(),
            client_id: "penstock-client".into(),
            client_secret: "penstock-secret".into(),
            run_as: Some("integration@org-sim.example".into()),
            certificate: None,
            jwt_users: vec!["integration@org-sim.example".into()],
            daily_api_requests_max: None,
        }
    }
}

impl fmt::Debug for AppConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppConfig")
            .field("name", &self.name)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// A user beside those that the applications name.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UserConfig {
    pub username: String,
    /// For the password flow and SOAP's login; none turns both off.
    pub password: Option<String>,
    /// What must follow the password, as if the caller's address were not trusted; none for nothing.
    pub security_token: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub email: Option<String>,
}

impl fmt::Debug for UserConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserConfig").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What a listener with TLS needs, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate, with the intermediate ones behind it.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How writers in flight stand in each other's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RowLocks {
    /// Whether writes hold locks on their rows and parents while they take their time.
    pub enabled: bool,
    /// Whether lookups lock their parents too, not only master-detail fields.
    pub lookups: bool,
    /// How long a write waits for a lock before the row fails with `UNABLE_TO_LOCK_ROW`.
    pub wait_ms: u64,
}

impl Default for RowLocks {
    fn default() -> Self {
        Self { enabled: true, lookups: true, wait_ms: 10_000 }
    }
}

/// Where the history is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// Compressed bytes in memory; older changes are then read from the file, or dropped and counted.
    pub memory_bytes_max: usize,
    /// A file of JSON lines, emptied at start.
    pub file: Option<PathBuf>,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { memory_bytes_max: 256 * 1024 * 1024, file: None }
    }
}

/// A simulated org.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OrgConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Serves TLS instead of plain text: REST, Pub/Sub, CometD and control requests alike.
    pub tls: Option<TlsConfig>,
    pub edition: Edition,
    /// User licences, which add to the daily API requests.
    pub licences: u64,
    /// Overrides the edition's daily API requests.
    pub daily_api_requests_max: Option<u64>,
    /// Calls of 20 s or more at once; overrides the edition's.
    pub long_calls_max: Option<usize>,
    /// Seconds of inactivity after which a session ends.
    pub session_timeout_s: i64,
    pub apps: Vec<AppConfig>,
    pub users: Vec<UserConfig>,
    /// Objects and fields beside the standard ones.
    pub objects: ObjectsSpec,
    /// Fields that users cannot see or cannot write.
    pub field_security: Vec<FieldSecurity>,
    /// Whether a create may set `CreatedDate`, `CreatedById`, `LastModifiedDate` and `LastModifiedById`.
    pub audit_fields_writable: bool,
    pub latency: LatencyModel,
    pub row_locks: RowLocks,
    pub bulk: BulkConfig,
    pub faults: Vec<FaultRule>,
    /// Folder that records, counters and added objects are kept in over restarts; memory only if left out.
    pub folder: Option<PathBuf>,
    /// Seed of jitter and fractions.
    pub seed: u64,
    pub history: HistoryConfig,
    pub events: EventsConfig,
    pub unverified: Unverified,
    /// Seconds before a listening connection without traffic is closed.
    pub idle_connection_s: u64,
}

impl Default for OrgConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            edition: Edition::default(),
            licences: 10,
            daily_api_requests_max: None,
            long_calls_max: None,
            session_timeout_s: 7200,
            apps: vec![AppConfig::default()],
            users: vec![UserConfig {
                username: "integration@org-sim.example".into(),
                password: Some("penstock-password".into()),
                ..UserConfig::default()
            }],
            objects: ObjectsSpec::default(),
            field_security: Vec::new(),
            audit_fields_writable: false,
            latency: LatencyModel::default(),
            row_locks: RowLocks::default(),
            bulk: BulkConfig::default(),
            faults: Vec::new(),
            folder: None,
            seed: 1,
            history: HistoryConfig::default(),
            events: EventsConfig::default(),
            unverified: Unverified::default(),
            idle_connection_s: 300,
        }
    }
}

impl OrgConfig {
    /// Reads a configuration from YAML; what is left out has its default.
    ///
    /// # Errors
    /// `SimError::Unreadable` with line and column; `place` names the file.
    pub fn from_yaml(text: &str, place: &str) -> Result<Self, SimError> {
        serde_saphyr::from_str(text)
            .map_err(|error| SimError::Unreadable { place: place.to_owned(), cause: error.to_string() })
    }

    /// Daily API requests: the override, or the edition's with its licences.
    pub fn daily_api_requests(&self) -> u64 {
        self.daily_api_requests_max.unwrap_or(match self.edition {
            Edition::Developer => 15_000,
            Edition::Enterprise => 100_000 + self.licences * 1_000,
            Edition::Unlimited => 100_000 + self.licences * 5_000,
        })
    }

    /// Calls of 20 s or more at once.
    pub fn long_calls(&self) -> usize {
        self.long_calls_max.unwrap_or(if self.edition == Edition::Developer { 5 } else { 25 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_is_read_from_yaml_and_has_a_schema() {
        let text = "edition: unlimited\nlicences: 3\nrow_locks: {wait_ms: 5}\n\
                    objects: {objects: {Thing__c: {fields: {A__c: {}}}}}\n\
                    faults: [{effect: {kind: html503}, count: 1}]\n";
        let config = OrgConfig::from_yaml(text, "org.yaml").unwrap();
        assert_eq!((config.daily_api_requests(), config.long_calls()), (115_000, 25));
        assert_eq!((config.row_locks.wait_ms, config.row_locks.enabled, config.faults.len()), (5, true, 1));
        let error = OrgConfig::from_yaml("edition: huge\n", "org.yaml").unwrap_err();
        assert!(error.to_string().contains("org.yaml"), "{error}");
        let schema = serde_json::to_value(schemars::schema_for!(OrgConfig)).unwrap();
        assert!(schema["properties"]["licences"].is_object());
    }

    #[test]
    fn debug_of_a_configuration_holds_no_secret() {
        let config = OrgConfig {
            users: vec![UserConfig { password: Some("hidden-word".into()), ..UserConfig::default() }],
            ..OrgConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("hidden-word") && !shown.contains("penstock-secret"), "{shown}");
    }
}
