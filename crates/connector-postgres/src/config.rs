//! What a PostgreSQL source is told.

use model::{TableName, ValueMode};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What is done when the slot is not the one that the log was filled from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSlotMismatch {
    /// Stops with a reason and the ways out.
    #[default]
    Refuse,
    /// Drops the slot when it is there, makes a new one and copies every table again. Rows that were deleted meanwhile
    /// are not known to anybody: compare with the target afterwards.
    Resnapshot,
    /// Goes on with the slot as it is: the operator states that no change was lost (after a planned failover, say).
    Accept,
}

/// A PostgreSQL source's configuration.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…` or `key=value` pairs, as libpq takes them.
    pub url: String,
    pub publication: String,
    pub slot: String,
    /// Tables to capture; parents before children is found out by itself.
    pub tables: Vec<TableName>,
    /// Business keys of tables, for `check` only: a run takes them from its streams.
    pub keys: BTreeMap<TableName, Vec<String>>,
    pub value_mode: ValueMode,
    /// Rows of a snapshot chunk at most.
    pub chunk_rows: u32,
    /// Bytes of a snapshot chunk at about most; a single row may be larger.
    pub chunk_bytes_max: usize,
    /// A batch that goes to the log is at about most this large.
    pub batch_bytes_max: usize,
    /// How often an own message is written to the WAL so that an idle slot advances. Zero: never.
    pub heartbeat: Duration,
    /// How often upstream is told what is durable.
    pub confirm_interval: Duration,
    /// How often lag and retained WAL are looked up.
    pub status_interval: Duration,
    /// Makes the publication, and adds missing tables to it, when the role may.
    pub create_publication: bool,
    /// Makes the slot when there is none.
    pub create_slot: bool,
    /// Copies tables before and beside their live changes; false: live changes only.
    pub snapshot: bool,
    pub on_slot_mismatch: OnSlotMismatch,
    pub connect_timeout: Duration,
    /// First and longest wait before a reconnect.
    pub backoff: (Duration, Duration),
}

impl PostgresConfig {
    /// Fills in everything that has a default.
    pub fn new(url: impl Into<String>, tables: Vec<TableName>) -> Self {
        Self {
            url: url.into(),
            publication: "penstock".into(),
            slot: "penstock".into(),
            tables,
            keys: BTreeMap::new(),
            value_mode: ValueMode::Readable,
            chunk_rows: 10_000,
            chunk_bytes_max: 4 << 20,
            batch_bytes_max: 384 << 10,
            heartbeat: Duration::from_secs(10),
            confirm_interval: Duration::from_millis(500),
            status_interval: Duration::from_secs(5),
            create_publication: true,
            create_slot: true,
            snapshot: true,
            on_slot_mismatch: OnSlotMismatch::Refuse,
            connect_timeout: Duration::from_secs(10),
            backoff: (Duration::from_millis(100), Duration::from_secs(30)),
        }
    }
}

impl fmt::Debug for PostgresConfig {
    /// Leaves the URL out: it holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("publication", &self.publication)
            .field("slot", &self.slot)
            .field("tables", &self.tables)
            .field("value_mode", &self.value_mode)
            .field("chunk_rows", &self.chunk_rows)
            .field("on_slot_mismatch", &self.on_slot_mismatch)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_configuration_shows_no_password() {
        let config = PostgresConfig::new("postgres://u:hunter2@h/db", Vec::new());
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
