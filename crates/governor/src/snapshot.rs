//! What a governor remembers over a restart, and what other processes see of it: its entry in the ledger.
//!
//! Stored as one JSON object, version 2 (version 1 had one row and one `ahead` for it, and is read as such):
//!
//! ```text
//! {"version":2,"at_ms":…,"unix_ms":…,"lease_until_ms":…,"rows":[{"name":"DailyApiRequests","max":…,"bucket_ms":…,
//!   "buckets":[{"start_ms":…,"spent":[critical,standard,bulk]}, …ascending],"doubt":[[start_ms,amount], …],
//!   "lease":…,"unsent":…,"foreign":…,"held_until_ms":…,"reading":{…},"lanes":[…],"routes":{…}}],"held_until_ms":…}
//! ```
//!
//! Permits are counted as spent when they are granted, so one that is outstanding at a crash is in the buckets. What is granted
//! after the snapshot is covered by each row's `lease`: a restore counts it as in doubt at the end of the lease, or now.
//!
//! The governor's time runs with the monotonic clock; the wall clock only bridges the time in which no process ran, and one that
//! went back meanwhile bridges nothing. (A wall clock that is put forward between two processes does forget too early: nothing
//! on one machine could tell; the org's own figures still hold.)

use crate::rate::Rate;
use crate::row::{Foreign, Row};
use crate::{ConfigError, Governor, GovernorConfig, Now};
use contract::AllocationReading;
use model::{Lane, RouteId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version that is written.
const VERSION: u32 = 2;

/// A governor's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    /// The governor's time: what every other time in here is measured in.
    pub at_ms: i64,
    /// The wall clock at the same moment, Unix milliseconds.
    pub unix_ms: i64,
    /// Version 1: calls that may have been granted after this snapshot.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ahead: u64,
    /// Until when the rows' leases may have been used.
    #[serde(default)]
    pub lease_until_ms: i64,
    pub rows: Vec<SnapshotRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_calls_held_until_ms: Option<i64>,
}

/// One allocation's spending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRow {
    pub name: String,
    /// The maximum that was last known.
    pub max: u64,
    pub bucket_ms: i64,
    /// Ascending; without empty ones.
    pub buckets: Vec<SnapshotBucket>,
    /// What may have been spent: `(start of the bucket, amount)`, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubt: Vec<(i64, u64)>,
    /// What may be granted after this snapshot.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lease: u64,
    /// What of the buckets may not have reached the org: in flight, or given up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsent: u64,
    /// What others spent, as far as the org told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub foreign: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until_ms: Option<i64>,
    /// The newest reading: used, maximum, when (Unix milliseconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<(u64, u64, i64)>,
    /// How fast each lane spends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<[Rate; 3]>,
    /// How fast each route spends.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<RouteId, Rate>,
}

/// What was spent in one bucket of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotBucket {
    pub start_ms: i64,
    /// By lane: critical, standard, bulk.
    pub spent: [u64; 3],
}

fn is_zero(number: &u64) -> bool {
    *number == 0
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

    /// Reads the stored form of any version.
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
        let mut snapshot: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        if !snapshot.is_sane() {
            return Err(SnapshotError::Malformed { cause: "an amount or a time is beyond all measure".to_owned() });
        }
        if found == 1 {
            snapshot.lease_until_ms = snapshot.at_ms;
            let ahead = std::mem::take(&mut snapshot.ahead);
            snapshot.rows.iter_mut().take(1).for_each(|row| row.lease = ahead);
        }
        Ok(snapshot)
    }

    /// Damaged figures are refused here, so that sums of them never overflow.
    fn is_sane(&self) -> bool {
        const MOST: u64 = 1 << 50;
        let time = |ms: i64| ms.unsigned_abs() < MOST;
        let row = |row: &SnapshotRow| {
            let buckets = row.buckets.iter().all(|at| time(at.start_ms) && at.spent.iter().all(|spent| *spent < MOST));
            let doubt = row.doubt.iter().all(|(start_ms, amount)| time(*start_ms) && *amount < MOST);
            let held = row.held_until_ms.is_none_or(time);
            let few = row.buckets.len() < 1 << 12 && row.doubt.len() < 1 << 12;
            let amounts = [row.max, row.lease, row.unsent, row.foreign].into_iter().all(|amount| amount < MOST);
            buckets && doubt && held && few && amounts && time(row.bucket_ms)
        };
        let times = [self.at_ms, self.unix_ms, self.lease_until_ms].into_iter().all(time);
        let held = self.held_until_ms.is_none_or(time) && self.long_calls_held_until_ms.is_none_or(time);
        times && held && self.ahead < MOST && self.rows.iter().all(row)
    }

    /// True when nothing in it can matter any more: it is older than every span of this configuration.
    pub fn is_over(&self, config: &GovernorConfig, unix_ms: i64) -> bool {
        let longest = config.allocations.iter().map(|spec| spec.span + spec.bucket).max().unwrap_or_default();
        let kept_ms = (2 * longest + crate::LEASE_VALID).as_millis() as i64;
        unix_ms.saturating_sub(self.unix_ms) > kept_ms
    }
}

impl SnapshotRow {
    /// The last moment of the bucket that begins at `start_ms`, so that a coarse bucket is not forgotten early in finer ones.
    pub(crate) fn end_of(&self, start_ms: i64) -> i64 {
        start_ms.saturating_add(self.bucket_ms.max(1) - 1)
    }
}

impl Governor {
    /// What would be stored now; changes nothing.
    pub(crate) fn snapshot_now(&self, now: Now) -> Snapshot {
        Snapshot {
            version: VERSION,
            at_ms: self.now_ms,
            unix_ms: now.unix_ms,
            ahead: 0,
            lease_until_ms: self.pending_until_ms,
            rows: self.rows.iter().map(|row| snapshot_row(row, self.now_ms)).collect(),
            held_until_ms: self.held_until_ms.filter(|until| *until > self.now_ms),
            long_calls_held_until_ms: self.long_calls_held_until_ms.filter(|until| *until > self.now_ms),
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
        governor.long_calls_held_until_ms = snapshot.long_calls_held_until_ms;
        for stored in &snapshot.rows {
            let Some(row) = governor.rows.iter_mut().find(|row| row.spec.is_named(&stored.name)) else { continue };
            if away_ms == 0 {
                row.certain_from_ms = now.unix_ms;
            }
            restore_row(row, stored, snapshot.lease_until_ms.max(snapshot.at_ms), now.unix_ms);
        }
        Ok(governor)
    }
}

fn restore_row(row: &mut Row, stored: &SnapshotRow, lease_until_ms: i64, now_ms: i64) {
    // Until the org tells, its last maximum is nearer than the assumed one.
    row.max = stored.max;
    for bucket in &stored.buckets {
        let at_ms = stored.end_of(bucket.start_ms).min(now_ms);
        for lane in Lane::ALL.into_iter().filter(|lane| bucket.spent[*lane as usize] > 0) {
            row.ledger.spend(lane, bucket.spent[lane as usize], at_ms);
        }
    }
    for (start_ms, amount) in &stored.doubt {
        row.doubt.add(*amount, stored.end_of(*start_ms).min(now_ms));
    }
    row.doubt.add(stored.lease, lease_until_ms.min(now_ms));
    if stored.unsent > 0 {
        row.unsent.spend(Lane::Standard, stored.unsent, now_ms);
    }
    row.foreign = Foreign::known(stored.foreign, now_ms);
    row.held_until_ms = stored.held_until_ms;
    row.reading = stored.reading.map(|(used, max, at_ms)| AllocationReading {
        allocation: row.spec.name.clone(),
        max,
        used,
        at_ms,
    });
    row.rates = stored.lanes.unwrap_or(row.rates);
    row.routes = stored.routes.iter().map(|(route, rate)| (route.clone(), *rate)).collect();
    row.ledger.expire(now_ms);
    row.doubt.expire(now_ms);
}

fn snapshot_row(row: &Row, now_ms: i64) -> SnapshotRow {
    let routes = row.routes.iter().filter(|(_, rate)| !rate.is_idle(now_ms));
    let told = |reading: &AllocationReading| (reading.used, reading.max, reading.at_ms);
    SnapshotRow {
        name: row.spec.name.to_string(),
        max: row.max,
        bucket_ms: row.spec.bucket.as_millis() as i64,
        buckets: row.ledger.buckets().map(|(start_ms, spent)| SnapshotBucket { start_ms, spent }).collect(),
        doubt: row.doubt.buckets().collect(),
        lease: row.lease.sent(),
        unsent: row.unsent.total() + row.outstanding,
        foreign: row.foreign_spent(),
        held_until_ms: row.held_until_ms.filter(|until| *until > now_ms),
        reading: row.reading.as_ref().map(told),
        lanes: row.rates.iter().any(|rate| !rate.is_idle(now_ms)).then_some(row.rates),
        routes: routes.map(|(route, rate)| (route.clone(), *rate)).collect(),
    }
}
