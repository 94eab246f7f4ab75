//! How a record ends, and what is written about it: the formats of the streams `_settlements`, `_batches`, `_dead_letters`.
//!
//! Each is one JSON object per log record. Fields are only ever added; unknown ones are ignored by older readers.

use crate::ids::{BatchId, ObjectName, RouteId, StreamId};
use crate::position::{Offset, Partition, Position};
use serde::{Deserialize, Serialize};

/// The one way in which a record of a route is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The target holds its effect.
    Applied,
    /// A newer change of the same key was applied in its place (`coalesce: latest`, a redrive overtaken).
    Superseded,
    /// The route's filter or its `deletes: ignore` left it out.
    Filtered,
    DeadLettered,
}

/// What kind of failure a row or a batch met, and so what the pipeline does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Retry with backoff, inside the key's order.
    Transient,
    /// A row lock: retry soon, inside the key's order.
    Lock,
    /// An allocation is spent: hold, nothing is wrong with the row.
    Quota,
    /// The parent is not there yet: a bounded wait, then a dead letter.
    ParentMissing,
    /// An operator must act: the route stops sending, rows stay.
    Auth,
    /// A rule of the org refused the row: dead letter.
    BusinessRule,
    /// The row can never be applied as it is: dead letter.
    Permanent,
    /// Failed only because another row of its batch failed: resend without the offender.
    Collateral,
    /// Whether it was applied is not known (time-out, cut connection): read back, then send what is missing.
    Unknown,
}

/// A half-open range of offsets `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OffsetRange {
    pub from: Offset,
    pub to: Offset,
}

impl OffsetRange {
    /// Packs ascending offsets into the fewest ranges. Repeats are folded.
    ///
    /// # Panics
    /// When the offsets do not ascend: a caller's broken promise.
    pub fn pack(offsets: impl IntoIterator<Item = Offset>) -> Vec<Self> {
        let mut ranges: Vec<Self> = Vec::new();
        for offset in offsets {
            match ranges.last_mut() {
                Some(last) if offset == last.to => last.to = offset.plus(1),
                Some(last) if offset.plus(1) == last.to => {}
                last => {
                    assert!(last.is_none_or(|last| offset > last.to), "offsets must ascend");
                    ranges.push(Self { from: offset, to: offset.plus(1) });
                }
            }
        }
        ranges
    }

    /// Iterates over the offsets inside.
    pub fn offsets(self) -> impl Iterator<Item = Offset> {
        (self.from.0..self.to.0).map(Offset)
    }

    /// Number of offsets inside.
    pub fn count(self) -> u64 {
        self.to.0.saturating_sub(self.from.0)
    }
}

/// Rows that were settled together in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledRows {
    pub outcome: Outcome,
    /// Ascending, disjoint.
    pub offsets: Vec<OffsetRange>,
    /// For applied rows, where the target named them: its ids, one for each offset in order; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_ids: Vec<String>,
    /// For superseded rows: the offset that took their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Offset>,
    /// For dead letters and filtered rows: why, as a code (`PS5…`, or the target's own).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// One record of `_settlements`: what became of a batch, or of rows that needed no batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    pub route: RouteId,
    pub stream: StreamId,
    pub partition: Partition,
    /// The batch that carried them; none for filtered rows and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// How often the rows were sent, this time included; 0 when they never were.
    #[serde(default)]
    pub attempts: u32,
    /// True when a read-back, not a response, told that the rows were applied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_back: bool,
    /// API calls that the batch cost.
    #[serde(default)]
    pub calls: u32,
    pub rows: Vec<SettledRows>,
}

/// One record of `_batches`: written and durable before the batch is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchIntent {
    pub batch: BatchId,
    pub route: RouteId,
    pub stream: StreamId,
    pub partition: Partition,
    pub object: ObjectName,
    /// The API that was chosen, in the target's words (`collections`).
    pub api: String,
    /// Ascending, disjoint.
    pub offsets: Vec<OffsetRange>,
    pub attempt: u32,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The target's name for the job that carries the batch. A batch that goes by a job is written twice: before the job is
    /// made, and again with its name before anything is uploaded; the later record counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Why the router chose this API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The header `dead_letter` of a record of `_dead_letters`. The record's key, value and other headers are the original's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub route: RouteId,
    pub stream: StreamId,
    /// Where the original stands.
    pub position: Position,
    pub class: ErrorClass,
    /// The target's code (`FIELD_CUSTOM_VALIDATION_EXCEPTION`) or ours (`PS5…`).
    pub code: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    pub attempts: u32,
    /// Unix milliseconds.
    pub at_ms: i64,
}

impl DeadLetter {
    /// The header's name.
    pub const HEADER: &'static str = "dead_letter";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_pack_neighbours_and_fold_repeats() {
        let range = |from, to| OffsetRange { from: Offset(from), to: Offset(to) };
        let packed = OffsetRange::pack([3, 4, 4, 5, 9, 11, 12].map(Offset));
        assert_eq!(packed, vec![range(3, 6), range(9, 10), range(11, 13)]);
        assert_eq!(packed.iter().map(|r| r.count()).sum::<u64>(), 6);
        assert!(OffsetRange::pack([]).is_empty());
    }
}
