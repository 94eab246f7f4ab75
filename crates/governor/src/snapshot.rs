//! What a governor remembers over a restart.
//!
//! Stored as one JSON object, version 1:
//!
//! ```text
//! {"version":1,"at_ms":…,"unix_ms":…,"ahead":…,"rows":[{"name":"DailyApiRequests","max":…,"bucket_ms":…,
//!   "buckets":[{"start_ms":…,"spent":[critical,standard,bulk]}, …ascending]}],"held_until_ms":…}
//! ```
//!
//! Permits are counted as spent when they are granted, so one that is outstanding at a crash is in the buckets. What is granted
//! after the snapshot is covered by `ahead`: a restore counts it as spent at the time of the restore.
//!
//! The governor's time runs with the monotonic clock; the wall clock only bridges the time in which no process ran, and one that
//! went back meanwhile bridges nothing. (A wall clock that is put forward between two processes does forget too early: nothing
//! on one machine could tell; the org's own figures still hold.)

use crate::row::Row;
use crate::{ConfigError, Governor, GovernorConfig, Now};
use model::Lane;
use serde::{Deserialize, Serialize};

/// The version that is written.
const VERSION: u32 = 1;

/// A governor's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    /// The governor's time: what `start_ms` and `held_until_ms` are measured in.
    pub at_ms: i64,
    /// The wall clock at the same moment, Unix milliseconds.
    pub unix_ms: i64,
    /// Calls that may have been granted after this snapshot.
    #[serde(default)]
    pub ahead: u64,
    pub rows: Vec<SnapshotRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until_ms: Option<i64>,
}

/// One allocation's spending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRow {
    pub name: String,
    /// The maximum that was last known.
    pub max: u64,
    pub bucket_ms: i64,
    /// Ascending; without empty ones.
    pub buckets: Vec<SnapshotBucket>,
}

/// What was spent in one bucket of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotBucket {
    pub start_ms: i64,
    /// By lane: critical, standard, bulk.
    pub spent: [u64; 3],
}

/// A snapshot that cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("PS6004: the stored quota ledger cannot be read: {cause}")]
    Malformed { cause: String },
    #[error("PS6005: the stored quota ledger has version {found}; this program reads up to {known}")]
    TooNew { found: u32, known: u32 },
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl SnapshotError {
    /// The stable code.
    pub fn code(&self) -> model::ErrorCode {
        match self {
            Self::Malformed { .. } => model::ErrorCode("PS6004"),
            Self::TooNew { .. } => model::ErrorCode("PS6005"),
            Self::Config(error) => error.code(),
        }
    }
}

impl Snapshot {
    /// Writes the stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and a name always make JSON")
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// `Malformed`, `TooNew`: an operator decides (start with an empty ledger, or with the newer program).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |error: serde_json::Error| SnapshotError::Malformed { cause: error.to_string() };
        let Version { version: found } = serde_json::from_slice(bytes).map_err(malformed)?;
        if found > VERSION {
            return Err(SnapshotError::TooNew { found, known: VERSION });
        }
        serde_json::from_slice(bytes).map_err(malformed)
    }
}

impl Governor {
    /// Takes a snapshot to be stored at once. It allows `GovernorConfig::ahead` further calls, so a snapshot that
    /// could not be stored must stop the grants: do not take another before one was stored.
    pub fn snapshot(&mut self, now: Now) -> Snapshot {
        self.pass_time(now);
        self.granted_since_snapshot = 0;
        let unix_ms = now.unix_ms;
        Snapshot {
            version: VERSION,
            at_ms: self.now_ms,
            unix_ms,
            ahead: self.config.ahead,
            rows: self.rows.iter().map(snapshot_row).collect(),
            held_until_ms: self.held_until_ms,
        }
    }

    /// Makes a governor that goes on from a snapshot. Rows that the configuration no longer has are dropped, new ones start
    /// empty. A wall clock that went back since counts as no time passed.
    ///
    /// # Errors
    /// As `Governor::new`.
    pub fn restore(config: GovernorConfig, snapshot: &Snapshot, now: Now) -> Result<Self, ConfigError> {
        let away_ms = now.unix_ms.saturating_sub(snapshot.unix_ms).max(0);
        let now = Now { unix_ms: snapshot.at_ms.saturating_add(away_ms), ..now };
        let mut governor = Self::new(config, now)?;
        governor.held_until_ms = snapshot.held_until_ms;
        for stored in &snapshot.rows {
            let Some(row) = governor.rows.iter_mut().find(|row| *row.spec.name == *stored.name) else { continue };
            // Until the org tells, its last maximum is nearer than the assumed one.
            row.max = stored.max;
            for bucket in &stored.buckets {
                // The bucket's end, so that a coarser bucket of the past is not forgotten too early in finer ones.
                let at_ms = bucket.start_ms.saturating_add(stored.bucket_ms.max(1) - 1).min(now.unix_ms);
                for lane in Lane::ALL.into_iter().filter(|lane| bucket.spent[*lane as usize] > 0) {
                    row.ledger.spend(lane, bucket.spent[lane as usize], at_ms);
                }
            }
            row.ledger.expire(now.unix_ms);
        }
        if let Some(row) = governor.rows.first_mut().filter(|_| snapshot.ahead > 0) {
            row.ledger.spend(Lane::Standard, snapshot.ahead, now.unix_ms);
        }
        // The old snapshot covers nothing of what this process grants.
        governor.granted_since_snapshot = governor.config.ahead;
        Ok(governor)
    }
}

fn snapshot_row(row: &Row) -> SnapshotRow {
    SnapshotRow {
        name: row.spec.name.to_string(),
        max: row.max,
        bucket_ms: row.spec.bucket.as_millis() as i64,
        buckets: row.ledger.buckets().map(|(start_ms, spent)| SnapshotBucket { start_ms, spent }).collect(),
    }
}
