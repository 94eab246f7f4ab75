//! `ordering: transaction`: the changes of a source transaction are applied together or not at all.
//!
//! ```text
//!   reader: gather ─▶ window: members, each under its own keys ─▶ all ready ─▶ one job ─▶ Sink::apply_together
//!                                 ▲                                              │
//!                                 ├──────────── all back ◀── lock, outage ───────┤
//!                                 └──────────── all settled, in one append ◀─────┘
//! ```
//!
//! A **unit** is a transaction of which the group's routes that are ordered by transaction take two records or more. Its members stand
//! in the window in a third place of their routes. Each key that the transaction touches is carried by one member, so that no member waits for another one;
//! a member whose turn has come is taken and waits, in flight, for the others. Positions are totally ordered, so the lowest
//! unsettled unit always gets all of its members.
//!
//! Invariants:
//! 1. All members of a unit are sent in one `apply_together`, in the order of the stream, or none is.
//! 2. All members of a unit are settled in one append to `_settlements`: all applied, or all dead letters. So no run finds a part
//!    of a unit settled.
//! 3. A unit without an answer is read back row by row, each row as the whole unit leaves it; it counts as applied only when every row is there,
//!    and otherwise is sent again as a whole.
//! 4. A transaction that is too large is never sent in part while its route says `refuse`, also not after a restart in the middle of it.

mod carry;
mod gather;
mod notes;
mod outcome;
mod schedule;
mod settle;

pub(super) use carry::{UnitDone, UnitJob, UnitPart};
pub(super) use gather::{Gather, LargeEvent, UnitLimits, UnitSpan};
pub(super) use notes::{Note, Notes};
pub(super) use settle::BuriedUnit;

use super::job::JobRow;
use crate::window::{EntryId, Taken};
use contract::StateStore;
use hashbrown::HashMap;
use model::{Fingerprint, Lane, Offset, Outcome, SettledRows};
use std::collections::VecDeque;
use std::sync::Arc;

/// The code of a dead letter whose transaction was refused because of another record.
pub const REFUSED_TOGETHER: &str = "PS5540";
/// The code of a dead letter whose transaction is too large to be applied as one.
pub const TOO_LARGE: &str = "PS5541";
/// The code in the settlement of a record that was applied by itself, since its transaction is too large.
pub const BY_KEY: &str = "PS5542";

/// What a reader needs to tell transactions.
pub struct ReadTransactions {
    pub gather: Gather,
    pub notes: Notes,
    pub state: Arc<dyn StateStore>,
}

/// A record of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub id: EntryId,
    pub route: u16,
    pub offset: Offset,
}

/// A transaction in the window.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub tx: Arc<str>,
    pub lane: Lane,
    /// In the order of the stream, at least two. The first one's history is the unit's.
    pub members: Arc<[Member]>,
    /// Members whose turn has come.
    taken: usize,
}

impl Unit {
    /// The routes that take part, each once, ascending.
    pub fn routes(&self) -> Vec<usize> {
        let mut routes: Vec<usize> = self.members.iter().map(|member| usize::from(member.route)).collect();
        routes.sort_unstable();
        routes.dedup();
        routes
    }

    /// The unit as one row, for whatever treats a row and its company alike.
    pub fn row(&self, sent: u32) -> JobRow {
        let merged = self.members[1..].iter().map(|member| Taken { id: member.id, offset: member.offset });
        JobRow { id: self.members[0].id, offset: self.members[0].offset, merged: merged.collect(), sent }
    }
}

/// A unit that is being pushed.
#[derive(Debug, Default)]
struct Pushing {
    members: Vec<Member>,
    writes: Vec<Fingerprint>,
    lane: Lane,
}

/// A transaction that is too large, as far as it was read.
#[derive(Clone, Debug)]
struct Large {
    note: Note,
    to: Option<Offset>,
}

/// The transactions of a group.
#[derive(Debug, Default)]
pub(super) struct Units {
    next: u64,
    units: HashMap<u64, Unit>,
    unit_of: HashMap<EntryId, u64>,
    /// Units that may be sent, by lane.
    ready: [VecDeque<u64>; 3],
    pushing: Pushing,
    /// Ascending.
    large: Vec<Large>,
    /// Notes of transactions that every route has passed.
    passed: Vec<Offset>,
    turn: bool,
}

impl Units {
    /// True every other time.
    pub fn go_first(&mut self) -> bool {
        self.turn = !self.turn;
        self.turn
    }

    /// Takes in what the reader says of transactions that are too large.
    pub fn hear(&mut self, events: Vec<LargeEvent>) {
        for event in events {
            match event {
                LargeEvent::Began(note) => self.large.push(Large { note, to: None }),
                LargeEvent::Ended { first, to } => {
                    match self.large.iter_mut().find(|large| large.note.first == first) {
                        Some(large) => large.to = Some(to),
                        None => self.passed.push(first),
                    }
                }
            }
        }
    }

    fn large_at(&self, offset: Offset) -> Option<&Note> {
        let within = |large: &&Large| large.note.first <= offset && large.to.is_none_or(|to| offset < to);
        self.large.iter().rev().find(within).map(|large| &large.note)
    }

    /// Forgets the transactions below the lowest checkpoint; gives those whose notes go with it.
    pub fn pass(&mut self, checkpoint: Offset) -> Vec<Offset> {
        let is_passed = |large: &Large| large.to.is_some_and(|to| to <= checkpoint);
        let mut passed = std::mem::take(&mut self.passed);
        passed.extend(self.large.iter().filter(|large| is_passed(large)).map(|large| large.note.first));
        self.large.retain(|large| !is_passed(large));
        passed
    }

    /// Marks applied rows that went by themselves although their route is ordered by transaction.
    pub fn mark(&self, rows: &mut Vec<SettledRows>) {
        if self.large.is_empty() {
            return;
        }
        let marked = |offset| self.large_at(offset).is_some_and(|note| note.by_key);
        *rows = std::mem::take(rows).into_iter().flat_map(|rows| split(rows, &marked)).collect();
    }
}

/// Splits applied rows into those that are not marked and those that are.
fn split(rows: SettledRows, marked: &dyn Fn(Offset) -> bool) -> Vec<SettledRows> {
    if rows.outcome != Outcome::Applied {
        return vec![rows];
    }
    let offsets: Vec<Offset> = rows.offsets.iter().flat_map(|range| range.offsets()).collect();
    let part = |mark: bool| {
        let own = |(_, offset): &(usize, &Offset)| marked(**offset) == mark;
        let kept: Vec<(usize, &Offset)> = offsets.iter().enumerate().filter(own).collect();
        let ids = kept.iter().filter_map(|(at, _)| rows.target_ids.get(*at).cloned()).collect();
        SettledRows {
            outcome: Outcome::Applied,
            offsets: model::OffsetRange::pack(kept.iter().map(|(_, offset)| **offset)),
            target_ids: ids,
            by: None,
            code: mark.then(|| BY_KEY.to_owned()),
        }
    };
    [part(false), part(true)].into_iter().filter(|rows| !rows.offsets.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::OffsetRange;

    fn units() -> Units {
        let note = Note { first: Offset(3), tx: "7".into(), by_key: true, why: "large".into() };
        let mut units = Units::default();
        units.hear(vec![LargeEvent::Began(note), LargeEvent::Ended { first: Offset(3), to: Offset(6) }]);
        units
    }

    #[test]
    fn applied_rows_of_a_large_transaction_are_marked_and_keep_their_ids() {
        let mut rows = vec![SettledRows {
            outcome: Outcome::Applied,
            offsets: OffsetRange::pack([1, 3, 5, 6].map(Offset)),
            target_ids: ["a", "b", "c", "d"].map(str::to_owned).into(),
            by: None,
            code: None,
        }];
        units().mark(&mut rows);
        assert_eq!(rows[0].offsets, OffsetRange::pack([1, 6].map(Offset)));
        assert_eq!((rows[0].target_ids.join(""), &rows[0].code), ("ad".to_owned(), &None));
        assert_eq!(rows[1].offsets, OffsetRange::pack([3, 5].map(Offset)));
        assert_eq!((rows[1].target_ids.join(""), rows[1].code.as_deref()), ("bc".to_owned(), Some(BY_KEY)));
    }

    #[test]
    fn note_goes_only_with_a_checkpoint_behind_the_transaction() {
        let mut units = units();
        assert!(units.pass(Offset(5)).is_empty());
        assert_eq!(units.pass(Offset(6)), [Offset(3)]);
        assert!(units.pass(Offset(9)).is_empty());
        units.hear(vec![LargeEvent::Ended { first: Offset(1), to: Offset(9) }]);
        assert_eq!(units.pass(Offset(2)), [Offset(1)], "one that an earlier run noted and that this one found ended");
    }
}
