//! Which parents the batches in flight lock, and which rows wait for one of them.
//!
//! A write of a detail row locks its master; so do writes through some lookups. Two requests that lock one parent at the same time
//! fail with `UNABLE_TO_LOCK_ROW`, so no two batches share a parent: the rows of a hot parent go one batch after the other,
//! everything else passes them. Rows of a lane above a job's pass that job: it may take minutes, and locks its parents
//! only a little at a time; the lock error that they may meet is retried.

use crate::window::{EntryId, ParentKey};
use hashbrown::HashMap;
use model::Lane;

/// Rows of a route that may wait for parents before the route forms no further batches.
const WAITING_MAX: usize = 20_000;

/// Who locks a parent.
#[derive(Clone, Copy, Debug)]
struct Holder {
    batch: u64,
    lane: Lane,
    by_job: bool,
}

/// A row that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    route: usize,
    id: EntryId,
}

/// The locks of a group's batches.
#[derive(Debug, Default)]
pub(super) struct ParentLocks {
    /// Several where a row passed a job.
    held: HashMap<ParentKey, Vec<Holder>>,
    of_batch: HashMap<u64, Vec<ParentKey>>,
    waiting: HashMap<ParentKey, Vec<Waiting>>,
    waiting_by_route: HashMap<usize, usize>,
}

impl ParentLocks {
    /// True when so many rows of the route wait that no further ones are looked at.
    pub fn is_full(&self, route: usize) -> bool {
        self.waiting_by_route.get(&route).is_some_and(|waiting| *waiting >= WAITING_MAX)
    }

    /// The first of these parents that another batch locks.
    pub fn locked(&self, parents: &[ParentKey], lane: Lane) -> Option<ParentKey> {
        if self.held.is_empty() {
            return None;
        }
        let blocks = |holder: &Holder| !(holder.by_job && lane < holder.lane);
        parents.iter().copied().find(|parent| self.held.get(parent).is_some_and(|holders| holders.iter().any(blocks)))
    }

    /// Lets a row wait until the parent is free; it stays in flight in the window.
    pub fn wait(&mut self, parent: ParentKey, route: usize, id: EntryId) {
        self.waiting.entry(parent).or_default().push(Waiting { route, id });
        *self.waiting_by_route.entry(route).or_default() += 1;
    }

    /// Locks a batch's parents.
    pub fn lock(&mut self, batch: u64, parents: Vec<ParentKey>, lane: Lane, by_job: bool) {
        if parents.is_empty() {
            return;
        }
        let holder = Holder { batch, lane, by_job };
        for parent in &parents {
            self.held.entry(*parent).or_default().push(holder);
        }
        self.of_batch.insert(batch, parents);
    }

    /// Frees a batch's parents; returns the rows that waited for them, to be tried again.
    pub fn free(&mut self, batch: u64) -> Vec<EntryId> {
        let Some(parents) = self.of_batch.remove(&batch) else { return Vec::new() };
        let mut freed = Vec::new();
        for parent in parents {
            if let Some(holders) = self.held.get_mut(&parent) {
                holders.retain(|holder| holder.batch != batch);
                if holders.is_empty() {
                    self.held.remove(&parent);
                }
            }
            for row in self.waiting.remove(&parent).unwrap_or_default() {
                if let Some(count) = self.waiting_by_route.get_mut(&row.route) {
                    *count -= 1;
                }
                freed.push(row.id);
            }
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ParentLocks {
        fn waiting(&self) -> usize {
            self.waiting.values().map(Vec::len).sum()
        }
    }

    fn id(n: u32) -> EntryId {
        EntryId::for_tests(n)
    }

    #[test]
    fn rows_of_a_locked_parent_wait_for_its_batch_and_others_pass() {
        let mut locks = ParentLocks::default();
        let (a, b) = (ParentKey::for_tests(1), ParentKey::for_tests(2));
        locks.lock(7, vec![a], Lane::Standard, false);
        assert_eq!(locks.locked(&[b], Lane::Standard), None);
        assert_eq!(locks.locked(&[b, a], Lane::Critical), Some(a), "a call is over soon");
        locks.wait(a, 0, id(1));
        locks.wait(a, 0, id(2));
        assert_eq!((locks.free(8), locks.waiting()), (vec![], 2));
        assert_eq!((locks.free(7), locks.waiting()), (vec![id(1), id(2)], 0));
        assert_eq!(locks.locked(&[a], Lane::Bulk), None);
    }

    #[test]
    fn a_higher_lane_passes_a_job_and_nobody_else_does() {
        let mut locks = ParentLocks::default();
        let a = ParentKey::for_tests(1);
        locks.lock(1, vec![a], Lane::Bulk, true);
        assert_eq!(locks.locked(&[a], Lane::Critical), None);
        assert_eq!(locks.locked(&[a], Lane::Bulk), Some(a));
        locks.lock(2, vec![a], Lane::Critical, false);
        assert_eq!(locks.locked(&[a], Lane::Critical), Some(a), "two calls never share");
        locks.free(1);
        assert_eq!(locks.locked(&[a], Lane::Bulk), Some(a), "the call still holds it");
        locks.free(2);
        assert_eq!(locks.locked(&[a], Lane::Bulk), None);
    }

    #[test]
    fn a_job_keeps_its_parent_when_a_row_that_passed_it_ends_first() {
        let mut locks = ParentLocks::default();
        let a = ParentKey::for_tests(1);
        locks.lock(1, vec![a], Lane::Bulk, true);
        locks.lock(2, vec![a], Lane::Critical, false);
        locks.free(2);
        assert_eq!(locks.locked(&[a], Lane::Bulk), Some(a), "the job still holds it");
        assert_eq!(locks.locked(&[a], Lane::Critical), None);
        locks.free(1);
        assert_eq!(locks.locked(&[a], Lane::Bulk), None);
    }

    #[test]
    fn a_route_with_too_many_waiting_rows_is_full_until_some_are_freed() {
        let mut locks = ParentLocks::default();
        let a = ParentKey::for_tests(1);
        locks.lock(1, vec![a], Lane::Standard, false);
        for n in 0..WAITING_MAX {
            assert!(!locks.is_full(3));
            locks.wait(a, 3, id(n as u32));
        }
        assert!(locks.is_full(3) && !locks.is_full(4));
        locks.free(1);
        assert!(!locks.is_full(3));
    }
}
