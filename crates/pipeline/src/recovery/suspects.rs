//! Rows of which it is not known whether the target holds them.

use hashbrown::HashMap;
use model::{BatchId, Fingerprint, Offset};
use std::sync::Arc;

/// How a batch went to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By one call.
    Call,
    /// By a job of this name: the target tells what became of its rows.
    Job(Arc<str>),
    /// By a job that was not named in the journal yet, so nothing of it was uploaded.
    NoJob,
}

/// A row that may have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The newest batch that carried it.
    pub batch: BatchId,
    /// When that batch was journalled, Unix milliseconds.
    pub at_ms: i64,
    /// True when a later batch's row of the same key proves that it was applied.
    pub implied: bool,
}

/// The suspects of one group.
#[derive(Debug, Default)]
pub struct Suspects {
    rows: HashMap<(u16, Offset), Suspect>,
    /// The newest suspect that writes a key, among those that this run found at its start.
    writers: HashMap<Fingerprint, (u16, Offset)>,
    /// Rows of each batch that are still suspects: it is answered when there is none.
    open: HashMap<BatchId, usize>,
    by_route: HashMap<u16, usize>,
    /// How open batches went; those that are not here went by a call.
    ways: HashMap<BatchId, Way>,
}

impl Suspects {
    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of suspects.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Number of suspects of a route.
    pub fn of_route(&self, route: u16) -> usize {
        self.by_route.get(&route).copied().unwrap_or(0)
    }

    /// Takes a row in; a later batch of the same row replaces an earlier one.
    pub fn add(&mut self, route: u16, offset: Offset, batch: BatchId, at_ms: i64) {
        *self.open.entry(batch).or_default() += 1;
        match self.rows.insert((route, offset), Suspect { batch, at_ms, implied: false }) {
            Some(older) => {
                self.close(older.batch);
            }
            None => *self.by_route.entry(route).or_default() += 1,
        }
    }

    /// Says how a batch with suspects went.
    pub fn went(&mut self, batch: BatchId, way: Way) {
        if way != Way::Call && self.holds(batch) {
            self.ways.insert(batch, way);
        }
    }

    /// True while jobs of the target hold suspects.
    pub fn in_jobs(&self) -> bool {
        self.ways.values().any(|way| matches!(way, Way::Job(_)))
    }

    /// How a batch went.
    pub fn way(&self, batch: BatchId) -> Way {
        self.ways.get(&batch).cloned().unwrap_or(Way::Call)
    }

    /// Looks a row up.
    pub fn get(&self, route: u16, offset: Offset) -> Option<Suspect> {
        self.rows.get(&(route, offset)).copied()
    }

    /// Says which keys a row writes, as it enters the window; rows come in offset order. Marks the earlier suspects that it
    /// proves to be applied.
    pub fn enter(&mut self, route: u16, offset: Offset, writes: &[Fingerprint]) {
        let Some(batch) = self.get(route, offset).map(|suspect| suspect.batch) else { return };
        for key in writes {
            let earlier = self.writers.insert(*key, (route, offset));
            if let Some(place) = earlier
                && let Some(earlier) = self.rows.get_mut(&place)
                && earlier.batch < batch
            {
                earlier.implied = true;
            }
        }
    }

    /// As `enter`, for a transaction's rows, which prove nothing of each other although they went in several batches. What is
    /// proved of its first suspect holds for all of it.
    pub fn enter_together(&mut self, rows: &[(u16, Offset)], writes: &[Fingerprint]) {
        let known =
            rows.iter().filter_map(|(route, offset)| Some(((*route, *offset), self.get(*route, *offset)?.batch)));
        let known: Vec<((u16, Offset), BatchId)> = known.collect();
        let (Some((place, _)), Some(oldest)) = (known.first(), known.iter().map(|(_, batch)| *batch).min()) else {
            return;
        };
        for key in writes {
            let earlier = self.writers.insert(*key, *place);
            if let Some(earlier) = earlier.and_then(|place| self.rows.get_mut(&place))
                && earlier.batch < oldest
            {
                earlier.implied = true;
            }
        }
    }

    /// Clears a row: it is known now. Returns its batch when that was the batch's last suspect.
    pub fn clear(&mut self, route: u16, offset: Offset) -> Option<BatchId> {
        let suspect = self.rows.remove(&(route, offset))?;
        if let Some(count) = self.by_route.get_mut(&route) {
            *count -= 1;
        }
        if self.rows.is_empty() {
            self.writers = HashMap::new();
        }
        self.close(suspect.batch)
    }

    fn close(&mut self, batch: BatchId) -> Option<BatchId> {
        let left = self.open.get_mut(&batch)?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        self.open.remove(&batch);
        self.ways.remove(&batch);
        Some(batch)
    }

    /// True while a row of the batch is a suspect.
    pub fn holds(&self, batch: BatchId) -> bool {
        self.open.contains_key(&batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_is_answered_with_its_last_suspect() {
        let mut suspects = Suspects::default();
        suspects.add(0, Offset(1), BatchId(7), 0);
        suspects.add(0, Offset(2), BatchId(7), 0);
        assert_eq!(suspects.clear(0, Offset(1)), None);
        assert!(suspects.holds(BatchId(7)));
        assert_eq!(suspects.clear(0, Offset(2)), Some(BatchId(7)));
        assert!(suspects.is_empty() && !suspects.holds(BatchId(7)));
        assert_eq!(suspects.clear(0, Offset(2)), None);
    }

    #[test]
    fn later_batch_of_a_key_proves_the_earlier_row_applied() {
        let mut suspects = Suspects::default();
        suspects.add(0, Offset(1), BatchId(7), 0);
        suspects.add(0, Offset(5), BatchId(9), 0);
        suspects.add(0, Offset(6), BatchId(9), 0);
        for (offset, key) in [(1, 70), (5, 70), (6, 71)] {
            suspects.enter(0, Offset(offset), &[Fingerprint(key)]);
        }
        let implied = |offset| suspects.get(0, Offset(offset)).unwrap().implied;
        assert!(implied(1) && !implied(5) && !implied(6));
    }

    #[test]
    fn later_transaction_proves_an_earlier_one_and_no_transaction_itself() {
        let mut suspects = Suspects::default();
        for (route, offset, batch) in [(0, 1, 7), (1, 2, 8), (0, 3, 9), (0, 5, 10), (1, 6, 11)] {
            suspects.add(route, Offset(offset), BatchId(batch), 0);
        }
        suspects.enter_together(&[(0, Offset(1)), (1, Offset(2)), (0, Offset(3))], &[Fingerprint(70), Fingerprint(71)]);
        let implied = |suspects: &Suspects, route, offset| suspects.get(route, Offset(offset)).unwrap().implied;
        assert!(!implied(&suspects, 0, 1) && !implied(&suspects, 1, 2) && !implied(&suspects, 0, 3));
        suspects.enter_together(&[(0, Offset(5)), (1, Offset(6))], &[Fingerprint(71)]);
        assert!(implied(&suspects, 0, 1) && !implied(&suspects, 0, 5) && !implied(&suspects, 1, 6));
    }

    #[test]
    fn rows_merged_into_one_batch_prove_nothing_of_each_other() {
        let mut suspects = Suspects::default();
        for offset in [1, 5] {
            suspects.add(0, Offset(offset), BatchId(7), 0);
            suspects.enter(0, Offset(offset), &[Fingerprint(70)]);
        }
        assert!(!suspects.get(0, Offset(1)).unwrap().implied);
    }
}
