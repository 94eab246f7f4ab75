//! An allocation that is a level, such as storage: creates are refused when it is full.

use crate::allocation::LevelSpec;
use contract::AllocationReading;

/// What is known of a level.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub spec: LevelSpec,
    pub reading: Option<AllocationReading>,
    /// Records that may have been created since the newest reading, and in one to two lags before it, which it may not show.
    created: u64,
    created_before: u64,
    turned_ms: i64,
    /// How old a reading may be when it is told.
    lag_ms: i64,
    pub held_until_ms: Option<i64>,
}

impl Level {
    pub(crate) fn new(spec: LevelSpec, lag_ms: i64, now_ms: i64) -> Self {
        Self { spec, reading: None, created: 0, created_before: 0, turned_ms: now_ms, lag_ms, held_until_ms: None }
    }

    /// Says whether so many records fit. A level that the org never told of takes everything.
    pub(crate) fn has_room(&self, creates: u64) -> bool {
        let Some(reading) = self.reading.as_ref().filter(|_| self.spec.record_kb > 0) else { return true };
        let full_kb = self.spec.full_at.of(reading.max.saturating_mul(1024));
        let new_kb = self.unseen().saturating_add(creates).saturating_mul(self.spec.record_kb);
        reading.used.saturating_mul(1024).saturating_add(new_kb) <= full_kb
    }

    /// Records that the newest reading may not show.
    pub(crate) fn unseen(&self) -> u64 {
        self.created + self.created_before
    }

    pub(crate) fn create(&mut self, records: u64) {
        self.created += records;
    }

    pub(crate) fn observe(&mut self, reading: &AllocationReading, now_ms: i64) -> bool {
        if self.reading.as_ref().is_some_and(|newest| reading.at_ms < newest.at_ms) {
            return false;
        }
        if now_ms - self.turned_ms >= self.lag_ms {
            (self.created_before, self.created, self.turned_ms) = (self.created, 0, now_ms);
        }
        self.reading = Some(reading.clone());
        true
    }
}
