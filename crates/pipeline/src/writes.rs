//! What we wrote: for each record of an org, our newest write, so that its echo can be told from somebody else's change.
//!
//! ```text
//!   settlements (applied, with the target's ids) ─▶ WriteLedger ◀─ "is this change ours?" ─ a source that reads the org
//! ```
//!
//! Bounded in bytes and in age: what is forgotten is answered with `Unknown`, never with a guess. A start rebuilds it from
//! `_settlements`. The first 15 characters of a record's id tell it apart; the last three of the long form are a checksum.
//!
//! Invariants: (1) the ledger never holds more than its limit; (2) of one record the newest write counts; (3) a change that was
//! committed after our newest write was answered is never called ours.

use crate::settle::{SETTLEMENTS, internal};
use crate::spec::RouteSpec;
use contract::{Log, LogError};
use hashbrown::HashMap;
use model::{Fingerprint, ObjectName, OrgId, Outcome, Position, RouteId, Settlement};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What an entry costs, in the map and in the order.
const ENTRY_BYTES: usize = 96;
const READ_BYTES: usize = 1 << 20;

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteLedgerConfig {
    pub bytes_max: usize,
    /// Writes older than this are forgotten: longer than a change event takes to arrive.
    pub ttl: Duration,
    /// How far the org's clock may be ahead of ours.
    pub skew: Duration,
}

impl Default for WriteLedgerConfig {
    fn default() -> Self {
        // Some 170,000 records. An echo comes within seconds; a reader that stood still for longer goes by the change's origin.
        Self { bytes_max: 16 << 20, ttl: Duration::from_secs(3_600), skew: Duration::from_secs(5) }
    }
}

/// Our newest write of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The record of ours that it came from.
    pub position: Position,
    /// When it was answered, Unix milliseconds.
    pub at_ms: i64,
}

/// Whose change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The echo of this write or of an earlier one.
    Ours(Written),
    /// Somebody else's: we did not write the record, or it was changed again after our newest write.
    Theirs,
    /// It was committed before what the ledger still knows: only the change's own origin can tell.
    Unknown,
}

/// The ledger of one pipeline. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct WriteLedger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: WriteLedgerConfig,
    /// Where each route writes.
    targets: HashMap<RouteId, (OrgId, ObjectName)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    writes: HashMap<Fingerprint, Written>,
    /// The same, oldest first: a rebuild brings old ones after new ones.
    by_age: BTreeSet<(i64, Fingerprint)>,
    /// Writes answered before this were never told.
    told_from_ms: i64,
    /// Writes answered before this may be forgotten.
    kept_from_ms: i64,
}

impl WriteLedger {
    /// Makes an empty ledger for a pipeline's routes, those of platform events aside; it knows nothing of what was written before `now_ms`.
    pub fn new(routes: &[RouteSpec], config: WriteLedgerConfig, now_ms: i64) -> Self {
        let records = routes.iter().filter(|route| !route.object.as_str().ends_with("__e"));
        let targets = records.map(|route| (route.id.clone(), (route.org.clone(), route.object.clone()))).collect();
        let state = State { told_from_ms: now_ms, kept_from_ms: i64::MIN, ..State::default() };
        Self(Arc::new(Inner { config, targets, state: Mutex::new(state) }))
    }

    /// Takes in what earlier runs settled, as far back as it is remembered; until it is done, what they wrote is `Unknown`.
    /// Idempotent; may run beside `note`.
    ///
    /// # Errors
    /// As `Log::offset_at` and `Log::read`; what was read so far is remembered.
    pub async fn rebuild(&self, log: &dyn Log, now_ms: i64) -> Result<(), LogError> {
        let of = internal(SETTLEMENTS);
        let from_ms = now_ms.saturating_sub_unsigned(self.0.config.ttl.as_millis() as u64);
        let bounds = log.bounds(&of)?;
        let from = log.offset_at(&of, from_ms).await?;
        let (mut at, mut first_ms) = (from.max(bounds.start), None);
        while at < bounds.durable {
            let batches = log.read(&of, at, READ_BYTES).await?;
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                let skip = at.0.saturating_sub(batch.base.0) as usize;
                for record in batch.records.iter().skip(skip) {
                    first_ms.get_or_insert(record.time_ms);
                    // A settlement that cannot be read is `prove`'s to tell.
                    if let Ok(settlement) = serde_json::from_slice::<Settlement>(record.value.unwrap_or_default()) {
                        self.note(&settlement);
                    }
                }
                at = batch.end();
            }
        }
        let mut state = self.0.state.lock();
        // Of a log that was cut shorter than that nothing is known of before its first record.
        let known =
            if bounds.start.0 == 0 { from_ms } else { first_ms.map_or(now_ms, |first_ms| from_ms.max(first_ms)) };
        state.told_from_ms = state.told_from_ms.min(known);
        Ok(())
    }

    /// Notes the applied rows of a settlement whose ids the target named.
    pub fn note(&self, settlement: &Settlement) {
        let Some((org, object)) = self.0.targets.get(&settlement.route) else { return };
        for rows in settlement.rows.iter().filter(|rows| rows.outcome == Outcome::Applied) {
            let offsets = rows.offsets.iter().flat_map(|range| range.offsets());
            for (offset, id) in offsets.zip(&rows.target_ids) {
                let position = Position { partition: settlement.partition, offset };
                self.add(key(org, object, id), Written { position, at_ms: settlement.at_ms });
            }
        }
    }

    fn add(&self, key: Fingerprint, written: Written) {
        let mut state = self.0.state.lock();
        let known = state.writes.get(&key).copied();
        if known.is_some_and(|known| (known.at_ms, known.position.offset) >= (written.at_ms, written.position.offset)) {
            return;
        }
        state.writes.insert(key, written);
        known.map(|known| state.by_age.remove(&(known.at_ms, key)));
        state.by_age.insert((written.at_ms, key));
        let from_ms = written.at_ms.saturating_sub_unsigned(self.0.config.ttl.as_millis() as u64);
        let entries_max = (self.0.config.bytes_max / ENTRY_BYTES).max(1);
        while let Some((at_ms, oldest)) = state.by_age.first().copied()
            && (state.by_age.len() > entries_max || at_ms < from_ms)
        {
            state.by_age.pop_first();
            state.writes.remove(&oldest);
            state.kept_from_ms = state.kept_from_ms.max(at_ms.saturating_add(1));
        }
    }

    /// Our newest write of a record, if it is remembered.
    pub fn newest(&self, org: &OrgId, object: &ObjectName, id: &str) -> Option<Written> {
        self.0.state.lock().writes.get(&key(org, object, id)).copied()
    }

    /// Tells whose a change of a record is. `committed_ms`: when the org committed it; `by_our_client`: what the change itself says of
    /// its origin (the client id of the call), where it says anything: that decides, since another's change may fall into the
    /// moment between our write's commit and its answer.
    pub fn whose(
        &self,
        (org, object, id): (&OrgId, &ObjectName, &str),
        committed_ms: i64,
        by_our_client: Option<bool>,
    ) -> Whose {
        let skew_ms = self.0.config.skew.as_millis() as i64;
        let state = self.0.state.lock();
        let written = state.writes.get(&key(org, object, id)).copied();
        let known_from_ms = state.told_from_ms.max(state.kept_from_ms);
        match (by_our_client, written) {
            (Some(false), _) => Whose::Theirs,
            (_, Some(written)) if committed_ms <= written.at_ms.saturating_add(skew_ms) => Whose::Ours(written),
            // Its answer is not settled yet, or is forgotten.
            (Some(true), _) => Whose::Unknown,
            (None, Some(_)) => Whose::Theirs,
            (None, None) if committed_ms < known_from_ms.saturating_add(skew_ms) => Whose::Unknown,
            (None, None) => Whose::Theirs,
        }
    }

    /// Records that are remembered.
    pub fn len(&self) -> usize {
        self.0.state.lock().writes.len()
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn key(org: &OrgId, object: &ObjectName, id: &str) -> Fingerprint {
    let short = id.get(..15).unwrap_or(id);
    let object = object.as_str().to_ascii_lowercase();
    Fingerprint::of("write", [org.as_str().as_bytes(), object.as_bytes(), short.as_bytes()])
}

#[cfg(test)]
mod tests;
