//! On the reader's side: holds back the records of a transaction until all of it was read, and tells what is too large.
//!
//! ```text
//!   record ─▶ of no transaction that matters ────────────────────────────▶ chunk
//!          └▶ of a transaction ─▶ open ─┬─ its end is read ─▶ one unit ──▶ chunk
//!                                       └─ grows too large ─▶ noted, then record by record ─▶ chunk
//! ```
//!
//! A transaction's records stand together in the stream. It has ended when its marker is read, or a record that is not its own.
//! Invariants: (1) nothing of a transaction is in a chunk before its end is read or it is known to be too large; (2) what is
//! held back is bounded: rows and bytes by what the target takes, records of other routes by `RECORDS_MAX`; (3) a transaction that
//! was once found too large stays so after a restart in the middle of it (`notes`).

use super::notes::Note;
use crate::engine::reader::{Chunk, Scanned, ScannedKind};
use crate::engine::route::Route;
use crate::event::{ends_transaction, transaction_of};
use crate::spec::{Ordering, TooLarge};
use hashbrown::HashMap;
use model::{Fingerprint, Lane, Offset, Record};
use std::sync::Arc;

/// Records of a transaction that are held back, those of routes that are not ordered by transaction included.
const RECORDS_MAX: usize = 10_000;

/// What the target applies as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitLimits {
    pub rows_max: usize,
    /// Bytes of the records.
    pub bytes_max: usize,
}

/// The records of a chunk that are one transaction: `entries[from..to]`, members and others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitSpan {
    pub from: usize,
    pub to: usize,
    pub tx: Arc<str>,
}

/// What a chunk says of a transaction that is too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LargeEvent {
    /// From this offset on.
    Began(Note),
    /// It ended below `to`.
    Ended { first: Offset, to: Offset },
}

/// The transaction that is being read.
struct Open {
    tx: Arc<str>,
    first: Offset,
    entries: Vec<Scanned>,
    keys: Vec<Fingerprint>,
    members: usize,
    bytes: usize,
    /// What happens to it record by record, once it is too large.
    large: Option<TooLarge>,
}

/// Gathers the transactions of a group.
pub struct Gather {
    limits: UnitLimits,
    /// Which of the group's routes are ordered by transaction.
    members: Vec<bool>,
    /// What happens to a transaction that is too large.
    policy: TooLarge,
    open: Option<Open>,
    /// Transactions that an earlier run found too large; ascending.
    known: Vec<Note>,
    /// To be stored before the chunk is handed on.
    found: Vec<Note>,
}

impl Gather {
    /// Starts with what an earlier run noted (ascending).
    pub fn new(routes: &[Arc<Route>], limits: UnitLimits, known: Vec<Note>) -> Self {
        let members: Vec<bool> = routes.iter().map(|route| route.spec.ordering == Ordering::Transaction).collect();
        // One route that must not see a part of a transaction speaks for all that take part in it.
        let refuses = |route: &Arc<Route>| {
            route.spec.ordering == Ordering::Transaction && route.spec.too_large == TooLarge::Refuse
        };
        let policy = if routes.iter().any(refuses) { TooLarge::Refuse } else { TooLarge::ByKey };
        Self { limits, members, policy, open: None, known, found: Vec::new() }
    }

    fn is_member(&self, scanned: &Scanned) -> bool {
        matches!(scanned.kind, ScannedKind::Entry(_)) && self.members[usize::from(scanned.route)]
    }

    /// Where the records begin that are held back.
    pub fn held_from(&self) -> Option<Offset> {
        self.open.as_ref().filter(|open| open.large.is_none()).map(|open| open.first)
    }

    /// Transactions that were found too large since the last call.
    pub fn found(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.found)
    }

    /// Takes in a record whose entries and keys stand at the chunk's end, from `tail` on.
    pub fn take(
        &mut self,
        (offset, record): (Offset, &Record<'_>),
        (entries_from, keys_from): (usize, usize),
        chunk: &mut Chunk,
    ) {
        if ends_transaction(record) {
            self.close(offset, chunk);
            return;
        }
        let members = chunk.entries[entries_from..].iter().filter(|scanned| self.is_member(scanned)).count();
        if self.open.is_none() && members == 0 {
            return;
        }
        let tx = transaction_of(record);
        let (entries, keys) = (chunk.entries.split_off(entries_from), chunk.keys.split_off(keys_from));
        if self.open.as_ref().is_some_and(|open| tx != Some(open.tx.as_bytes())) {
            self.close(offset, chunk);
        }
        let Some(tx) = tx.filter(|_| self.open.is_some() || members > 0).and_then(|tx| std::str::from_utf8(tx).ok())
        else {
            chunk.entries.extend(entries);
            chunk.keys.extend(keys);
            return;
        };
        if self.open.is_none() {
            self.begin(tx, offset, chunk);
        }
        let Some(open) = &mut self.open else { return };
        open.members += members;
        if members > 0 {
            open.bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        }
        open.entries.extend(entries);
        open.keys.extend(keys);
        self.grown(chunk);
    }

    /// A record comes that halts the group: another transaction that is open has ended, its own stays out as a whole.
    pub fn halt(&mut self, offset: Offset, record: &Record<'_>, chunk: &mut Chunk) {
        if self.open.as_ref().is_some_and(|open| transaction_of(record) != Some(open.tx.as_bytes())) {
            self.close(offset, chunk);
        }
    }

    fn begin(&mut self, tx: &str, first: Offset, chunk: &mut Chunk) {
        // Found by an earlier run; those before it have ended.
        let mut large = None;
        while let Some(note) = self.known.first()
            && note.first <= first
        {
            let note = self.known.remove(0);
            match (&large, *note.tx == *tx) {
                (None, true) => large = Some(note),
                _ => chunk.large.push(LargeEvent::Ended { first: note.first, to: first }),
            }
        }
        self.open = Some(Open {
            tx: tx.into(),
            first: large.as_ref().map_or(first, |note| note.first),
            entries: Vec::new(),
            keys: Vec::new(),
            members: 0,
            bytes: 0,
            large: large.as_ref().map(Note::policy),
        });
        if let Some(note) = large {
            chunk.large.push(LargeEvent::Began(note));
        }
    }

    /// Hands on what is not held back: everything of a transaction that is too large.
    fn grown(&mut self, chunk: &mut Chunk) {
        let Some(open) = &mut self.open else { return };
        if open.large.is_none()
            && let Some(why) = too_large(open, self.limits)
        {
            open.large = Some(self.policy);
            let by_key = self.policy == TooLarge::ByKey;
            let note = Note { first: open.first, tx: open.tx.clone(), by_key, why };
            chunk.large.push(LargeEvent::Began(note.clone()));
            self.found.push(note);
        }
        let Some(policy) = open.large else { return };
        let (entries, keys) = (std::mem::take(&mut open.entries), std::mem::take(&mut open.keys));
        let mut keys = keys.into_iter();
        for mut scanned in entries {
            let own: Vec<Fingerprint> = keys.by_ref().take(scanned.keys()).collect();
            if policy == TooLarge::Refuse && self.is_member(&scanned) {
                (scanned.kind, scanned.writes, scanned.reads) = (ScannedKind::Refused, 0, 0);
            } else {
                chunk.keys.extend(own);
            }
            chunk.entries.push(scanned);
        }
    }

    /// The open transaction has ended below `offset`.
    fn close(&mut self, offset: Offset, chunk: &mut Chunk) {
        let Some(mut open) = self.open.take() else { return };
        if open.large.is_some() {
            chunk.large.push(LargeEvent::Ended { first: open.first, to: offset });
            return;
        }
        // What holds one row of ours only is whole by itself.
        if open.members > 1 {
            let from = chunk.entries.len();
            chunk.units.push(UnitSpan { from, to: from + open.entries.len(), tx: open.tx.clone() });
            open.make_unit(&self.members);
        }
        chunk.entries.append(&mut open.entries);
        chunk.keys.append(&mut open.keys);
    }
}

impl Open {
    /// Turns the members into parts of one unit: all in the most urgent lane, and each key with the first of them that touches it,
    /// as written when any of them writes it. So none of them waits for another, and together they wait for what the transaction
    /// as a whole conflicts with.
    fn make_unit(&mut self, by_transaction: &[bool]) {
        let member = |scanned: &Scanned| match scanned.kind {
            ScannedKind::Entry(lane) if by_transaction[usize::from(scanned.route)] => Some(lane),
            _ => None,
        };
        let lane = self.entries.iter().filter_map(member).min_by_key(|lane| *lane as usize).unwrap_or(Lane::Standard);
        let mut written: HashMap<Fingerprint, bool> = HashMap::new();
        let mut at = 0;
        for scanned in &self.entries {
            let of_unit = member(scanned).is_some();
            for n in 0..scanned.keys() {
                if of_unit {
                    *written.entry(self.keys[at + n]).or_default() |= n < usize::from(scanned.writes);
                }
            }
            at += scanned.keys();
        }
        let (mut keys, mut at) = (Vec::with_capacity(self.keys.len()), 0);
        for scanned in &mut self.entries {
            let own = &self.keys[at..at + scanned.keys()];
            at += own.len();
            if member(scanned).is_none() {
                keys.extend_from_slice(own);
                continue;
            }
            let (mut writes, mut reads) = (Vec::new(), Vec::new());
            for key in own {
                match written.remove(key) {
                    Some(true) => writes.push(*key),
                    Some(false) => reads.push(*key),
                    None => {}
                }
            }
            (scanned.writes, scanned.reads) = (writes.len() as u16, reads.len() as u16);
            scanned.kind = ScannedKind::Member(lane);
            keys.append(&mut writes);
            keys.append(&mut reads);
        }
        self.keys = keys;
    }
}

/// Why it cannot be applied as one, if so.
fn too_large(open: &Open, limits: UnitLimits) -> Option<Arc<str>> {
    let tx = &open.tx;
    match () {
        () if open.members > limits.rows_max => {
            Some(format!("transaction {tx} changes more than the {} rows that are applied as one", limits.rows_max))
        }
        () if open.bytes > limits.bytes_max && open.members > 1 => {
            Some(format!("transaction {tx} holds more than the {} bytes that are applied as one", limits.bytes_max))
        }
        () if open.entries.len() > RECORDS_MAX => {
            Some(format!("transaction {tx} has more than the {RECORDS_MAX} records that are held back for one"))
        }
        () => None,
    }
    .map(Arc::from)
}
