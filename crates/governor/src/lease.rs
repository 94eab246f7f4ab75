//! What may be granted before the ledger must be stored again.
//!
//! ```text
//!  stored entry: [ spent so far | lease ]      others count both as spent
//!                               ├─ grants ─▶   never more than the lease, so never more than others count
//! ```
//!
//! While a new entry is on its way to the store, either may be the one that stands: grants keep inside both. An entry of
//! which it is not known whether it was stored (a time-out, a dropped future) goes on to bind until the next one is stored:
//! that one expects the version that it has read, so a late write of the unknown one is refused from then on.

/// The lease of one allocation. Left amounts, not maxima.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    /// By the entry that is known to stand.
    stored: u64,
    /// By entries that may stand: the least of them.
    maybe: Option<u64>,
    /// By the entry on its way.
    pending: Option<u64>,
    /// The largest wish that the lease was too small for.
    pub wanted: u64,
}

impl Lease {
    /// What may be granted now.
    pub(crate) fn left(&self) -> u64 {
        [Some(self.stored), self.maybe, self.pending].into_iter().flatten().min().unwrap_or(0)
    }

    /// Counts a grant.
    pub(crate) fn take(&mut self, amount: u64) {
        self.stored = self.stored.saturating_sub(amount);
        for left in [&mut self.maybe, &mut self.pending].into_iter().flatten() {
            *left = left.saturating_sub(amount);
        }
    }

    /// An entry with this lease goes to the store.
    pub(crate) fn send(&mut self, amount: u64) {
        self.lose();
        self.pending = Some(amount);
        self.wanted = 0;
    }

    /// What the entry on its way reserves.
    pub(crate) fn sent(&self) -> u64 {
        self.pending.unwrap_or(0)
    }

    /// The entry stands.
    pub(crate) fn stand(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.stored = pending;
            self.maybe = None;
        }
    }

    /// The entry was refused: it does not stand and never will.
    pub(crate) fn refuse(&mut self) {
        self.pending = None;
    }

    /// Nobody knows whether the entry stands.
    pub(crate) fn lose(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.maybe = Some(self.maybe.map_or(pending, |maybe| maybe.min(pending)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_keep_inside_every_entry_that_may_stand() {
        let mut lease = Lease::default();
        assert_eq!(lease.left(), 0, "nothing is stored yet");
        lease.send(10);
        assert_eq!(lease.left(), 0, "not yet answered");
        lease.stand();
        assert_eq!(lease.left(), 10);
        lease.take(4);
        lease.send(10);
        lease.take(2);
        assert_eq!(lease.left(), 4, "the old entry's rest binds");
        lease.lose();
        assert_eq!(lease.left(), 4);
        lease.send(3);
        assert_eq!(lease.left(), 3, "the new one is smaller");
        lease.refuse();
        assert_eq!(lease.left(), 4);
        lease.send(20);
        lease.stand();
        assert_eq!(lease.left(), 20);
    }
}
