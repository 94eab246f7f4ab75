//! One ledger for several pipelines and processes: each keeps an entry of its own in a shared store.
//!
//! ```text
//!   read version ─▶ read all entries ─▶ Governor::entry ─▶ write {version as read? version + 1, own entry} ─▶ Governor::stored
//!                                                             └ refused: somebody else wrote meanwhile, again from the start
//! ```
//!
//! So an entry is only stored by a process that has seen every other entry as it stands. Why nobody overspends together:
//! what a process spends stays inside `spent + lease` of its entry (`Lease`); when an entry is stored, the sum of `spent +
//! lease` over all entries, and what others spent, is at most the maximum (or the entry's lease is 0); and the sum changes
//! only by stores.
//!
//! A lease ends after `LEASE_VALID`. From then on, the process that holds it grants nothing by it, and others count it as spent
//! at that moment: so it is forgotten one span later, or when the org's own figure refutes it (`Doubt`).

use crate::doubt::{Doubt, Reserve};
use crate::ledger::Ledger;
use crate::row::{Row, SiblingRow};
use crate::snapshot::{Snapshot, SnapshotRow};
use crate::{Governor, Now};
use model::Lane;
use std::time::Duration;

/// How long a stored entry's lease may be used.
pub const LEASE_VALID: Duration = Duration::from_secs(60);

/// Another pipeline's entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Whose it is: unique in the ledger of the org.
    pub member: String,
    pub entry: Snapshot,
}

/// What became of an entry that went to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It stands.
    Yes,
    /// The version had changed: it does not stand and never will.
    Refused,
    /// The store failed: it may stand.
    Unknown,
}

/// What is remembered of a peer besides its spending.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub name: String,
    /// Which entry this is about: its governor's time, and the wall clock's.
    stamp: (i64, i64),
    /// Its time plus this is ours: fixed when the entry is first seen, so that a wall clock that is put forward later
    /// forgets nothing early.
    offset_ms: i64,
    pub lease_until_ms: i64,
}

impl Governor {
    /// Takes up what the others have stored, and makes this pipeline's entry, to be stored at once; tell what became of it
    /// by `stored`. Shape: `peers` holds every entry of the org's ledger but our own.
    pub fn entry(&mut self, peers: &[Peer], now: Now) -> Snapshot {
        self.pass_time(now);
        self.take_up(peers, now);
        let (now_ms, config) = (self.now_ms, &self.config);
        for row in &mut self.rows {
            let lease = if self.closing { 0 } else { row.lease_wanted(now_ms, config) };
            row.lease.send(lease);
        }
        self.store_wanted = false;
        self.pending_until_ms = now_ms + LEASE_VALID.as_millis() as i64;
        self.snapshot_now(now)
    }

    /// Entries reserve nothing from now on: the process ends in good order, and the next one has nothing to doubt.
    pub fn retire(&mut self) {
        self.closing = true;
    }

    /// Takes in what became of the entry that was made last.
    pub fn stored(&mut self, what: Stored) {
        for row in &mut self.rows {
            match what {
                Stored::Yes => row.lease.stand(),
                Stored::Refused => row.lease.refuse(),
                Stored::Unknown => row.lease.lose(),
            }
        }
        if what == Stored::Yes {
            self.lease_until_ms = self.pending_until_ms;
        } else {
            self.store_wanted = true;
        }
    }

    /// True when an entry should be stored: a lease is half used, or a wish was larger than it.
    pub fn wants_store(&self) -> bool {
        self.store_wanted
    }

    /// Calls of 20 s or more that this process may have in flight: an equal part of the org's.
    pub(crate) fn long_calls_max(&self) -> usize {
        let alive = self.members.iter().filter(|member| member.lease_until_ms > self.now_ms).count();
        (self.config.long_calls_max / (1 + alive)).max(1)
    }

    pub(crate) fn member_names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }

    fn take_up(&mut self, peers: &[Peer], now: Now) {
        let before = std::mem::take(&mut self.members);
        self.rows.iter_mut().for_each(|row| row.siblings.clear());
        for peer in peers {
            let entry = &peer.entry;
            let stamp = (entry.at_ms, entry.unix_ms);
            let known = before.iter().find(|member| member.name == peer.member && member.stamp == stamp);
            let offset_ms = known.map_or_else(
                || self.now_ms - now.unix_ms.saturating_sub(entry.unix_ms).max(0) - entry.at_ms,
                |member| member.offset_ms,
            );
            let lease_until_ms = entry.lease_until_ms.saturating_add(offset_ms);
            for row in &mut self.rows {
                let theirs = entry.rows.iter().find(|theirs| row.spec.is_named(&theirs.name));
                row.siblings.push(sibling_row(row, theirs, (offset_ms, lease_until_ms), self.now_ms));
                let held = theirs.and_then(|theirs| theirs.held_until_ms).map(|until| until.saturating_add(offset_ms));
                row.held_until_ms = row.held_until_ms.max(held);
            }
            let ours = |until: Option<i64>| until.map(|until| until.saturating_add(offset_ms));
            self.held_until_ms = self.held_until_ms.max(ours(entry.held_until_ms));
            self.long_calls_held_until_ms = self.long_calls_held_until_ms.max(ours(entry.long_calls_held_until_ms));
            self.members.push(Member { name: peer.member.clone(), stamp, offset_ms, lease_until_ms });
        }
    }
}

/// Another's row in our buckets and our time.
fn sibling_row(
    row: &Row,
    theirs: Option<&SnapshotRow>,
    (offset_ms, lease_until_ms): (i64, i64),
    now_ms: i64,
) -> SiblingRow {
    let (span_ms, bucket_ms) = (row.spec.span.as_millis() as i64, row.spec.bucket.as_millis() as i64);
    let mut sibling = SiblingRow { ledger: Ledger::new(span_ms, bucket_ms), doubt: Doubt::new(span_ms, bucket_ms) };
    let Some(theirs) = theirs else { return sibling };
    for bucket in &theirs.buckets {
        let at_ms = theirs.end_of(bucket.start_ms).saturating_add(offset_ms).min(now_ms);
        for lane in Lane::ALL.into_iter().filter(|lane| bucket.spent[*lane as usize] > 0) {
            sibling.ledger.spend(lane, bucket.spent[lane as usize], at_ms);
        }
    }
    for (start_ms, amount) in &theirs.doubt {
        sibling.doubt.add(*amount, theirs.end_of(*start_ms).saturating_add(offset_ms).min(now_ms));
    }
    sibling.doubt.lease = Reserve { amount: theirs.lease, at_ms: lease_until_ms };
    sibling.ledger.expire(now_ms);
    sibling.doubt.expire(now_ms);
    sibling
}
