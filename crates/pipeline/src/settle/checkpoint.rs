//! A route's checkpoint: the durable statement that everything before it is settled.
//!
//! Layout: space `checkpoint`, key `<route>/<partition>`, value one JSON object (see the frozen sample below). Fields are only ever
//! added; a reader ignores what it does not know, and refuses a `format` above its own.

use contract::{StateError, StateOp, StateStore};
use model::{Offset, Partition, RouteId};
use serde::{Deserialize, Serialize};

/// The state store's space.
pub const SPACE: &str = "checkpoint";
/// The newest layout that this program writes and reads.
const FORMAT: u32 = 1;
/// How keys are hashed in the window. Nothing of it is stored beyond a run, so another version needs no migration; it is written
/// down so that a later one that does store fingerprints can tell.
pub const FINGERPRINTS: u32 = 1;

/// Where a restart of a route begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    format: u32,
    /// The lowest unsettled offset: everything below is settled.
    pub offset: Offset,
    /// Settlements at or above `offset` stand from here on in `_settlements`.
    pub settlements_from: Offset,
    /// Batches that may be unanswered stand from here on in `_batches`.
    pub batches_from: Offset,
    /// Above every batch id that was given out when this was written.
    pub next_batch: u64,
    /// Version of the key fingerprints.
    pub fingerprints: u32,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// How long the target takes over a call: what a restart waits for the calls of the process before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
}

/// What calls take, as far as was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Of the slowest one.
    pub slowest_ms: u64,
    /// Rows of the largest one.
    pub largest_rows: u64,
}

impl Pace {
    /// Of both, the slower and the larger.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            slowest_ms: self.slowest_ms.max(other.slowest_ms),
            largest_rows: self.largest_rows.max(other.largest_rows),
        }
    }
}

impl Checkpoint {
    /// Makes a checkpoint of the newest layout.
    pub fn new(offset: Offset, settlements_from: Offset, batches_from: Offset, next_batch: u64, at_ms: i64) -> Self {
        Self {
            format: FORMAT,
            offset,
            settlements_from,
            batches_from,
            next_batch,
            fingerprints: FINGERPRINTS,
            at_ms,
            pace: None,
        }
    }

    /// With what was learned of the target's pace.
    pub fn with_pace(self, pace: Option<Pace>) -> Self {
        Self { pace, ..self }
    }

    /// The key of a route's checkpoint.
    pub fn key(route: &RouteId, partition: Partition) -> String {
        format!("{route}/{}", partition.0)
    }

    /// Reads a route's checkpoint; `None`: it has never run.
    ///
    /// # Errors
    /// `Malformed` when the value is not one, or of a newer layout; otherwise as `StateStore::get`.
    pub async fn load(
        state: &dyn StateStore,
        route: &RouteId,
        partition: Partition,
    ) -> Result<Option<Self>, StateError> {
        let key = Self::key(route, partition);
        let Some(bytes) = state.get(SPACE, &key).await? else { return Ok(None) };
        Self::decode(&bytes).map(Some).map_err(|cause| StateError::Malformed { space: SPACE.into(), key, cause })
    }

    /// The operation that stores it.
    pub fn put(&self, route: &RouteId, partition: Partition) -> StateOp {
        let value = serde_json::to_vec(self).expect("a checkpoint holds only numbers");
        StateOp::Put { space: SPACE, key: Self::key(route, partition), value }
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let checkpoint: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if checkpoint.format > FORMAT {
            return Err(format!("it has layout {}; this program knows {FORMAT}", checkpoint.format));
        }
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As written by the first version. Never change it: it is what lies on disks.
    const FROZEN: &str = r#"{"format":1,"offset":1042,"settlements_from":17,"batches_from":9,"next_batch":12,"fingerprints":1,"at_ms":1763737648000}"#;

    #[test]
    fn frozen_checkpoint_reads_and_is_written_the_same() {
        let checkpoint = Checkpoint::new(Offset(1042), Offset(17), Offset(9), 12, 1_763_737_648_000);
        assert_eq!(Checkpoint::decode(FROZEN.as_bytes()), Ok(checkpoint.clone()));
        let StateOp::Put { key, value, .. } = checkpoint.put(&RouteId::from("orders"), Partition(3)) else { panic!() };
        assert_eq!((key.as_str(), value.as_slice()), ("orders/3", FROZEN.as_bytes()));
    }

    #[test]
    fn newer_layout_and_damage_are_refused() {
        assert!(Checkpoint::decode(FROZEN.replace("\"format\":1", "\"format\":2").as_bytes()).is_err());
        assert!(Checkpoint::decode(&FROZEN.as_bytes()[..40]).is_err());
        assert!(Checkpoint::decode(FROZEN.replace("\"format\"", "\"later\":{},\"format\"").as_bytes()).is_ok());
    }

    #[test]
    fn pace_comes_back() {
        let pace = Pace { slowest_ms: 5700, largest_rows: 200 };
        let checkpoint = Checkpoint::new(Offset(1), Offset(2), Offset(3), 4, 5).with_pace(Some(pace));
        let StateOp::Put { value, .. } = checkpoint.put(&RouteId::from("orders"), Partition(0)) else { panic!() };
        assert_eq!(Checkpoint::decode(&value), Ok(checkpoint));
    }
}
