//! Whether a slot is the one that the log was filled from: a pure decision over what was written down.
//!
//! Before the server is told that it may forget WAL up to a position, that position (`allowed`) is stored. So a slot whose
//! `confirmed_flush_lsn` lies beyond `allowed` was moved by somebody else, or dropped and made again: a slot made later
//! starts at a later position. Changes between the two are in no log of ours.

use super::facts::SlotFacts;
use crate::refusal::Refusal;
use crate::wire::Identity;
use model::{Lsn, StreamPartition};
use serde::{Deserialize, Serialize};

/// What was written down about the slot (state space `slot`, key: the source's name; JSON).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotRecord {
    pub(crate) format: u32,
    pub(crate) system: u64,
    pub(crate) timeline: u32,
    pub(crate) database: String,
    pub(crate) slot: String,
    /// One more with each fresh start (`Resnapshot`): positions of another epoch mean nothing.
    pub(crate) epoch: u64,
    /// Where the slot began for us.
    pub(crate) adopted: Lsn,
    /// The furthest position that the server was told, or is about to be told.
    pub(crate) allowed: Lsn,
    /// Streams whose log holds a position of this epoch.
    pub(crate) streams: Vec<StreamPartition>,
}

pub(crate) const FORMAT: u32 = 1;

/// What the log knows of this source, per stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamMark {
    pub(crate) to: StreamPartition,
    /// Epoch and commit LSN of the last append.
    pub(crate) position: Option<(u64, Lsn)>,
}

/// What to do with the slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is nothing yet: make the slot.
    Create {
        epoch: u64,
    },
    /// The slot is there and this source begins, or its state was lost and the log shows that nothing is missing.
    Adopt {
        epoch: u64,
    },
    Continue,
    /// Reading on would leave a gap.
    Mismatch(Refusal),
}

/// Decides from the record, the server and the log.
pub(crate) fn judge(
    record: Option<&SlotRecord>,
    found: Option<&SlotFacts>,
    server: &Identity,
    marks: &[StreamMark],
) -> Verdict {
    let newest = marks.iter().filter_map(|mark| mark.position).max();
    let Some(record) = record else { return without_record(found, newest) };
    let slot = &record.slot;
    if record.system != server.system {
        return mismatch(
            "PS2156",
            slot,
            "the server is another one (its system identifier differs) than the log was filled from",
        );
    }
    let lost_log = marks
        .iter()
        .any(|mark| record.streams.contains(&mark.to) && mark.position.is_none_or(|(epoch, _)| epoch != record.epoch));
    if lost_log {
        return mismatch("PS2159", slot, "the log no longer holds what was read and confirmed from it before");
    }
    let Some(found) = found else {
        return mismatch("PS2153", slot, "it was dropped since the last run");
    };
    if let Some(why) = found.lost() {
        return mismatch("PS2155", slot, &why);
    }
    if record.timeline != server.timeline {
        return mismatch(
            "PS2157",
            slot,
            "the server was promoted since the last run (its timeline differs): changes may be missing in the slot",
        );
    }
    if record.database != found.database {
        return mismatch("PS2158", slot, "it belongs to another database than the log was filled from");
    }
    if found.confirmed.is_none_or(|confirmed| confirmed > record.allowed) {
        let confirmed = found.confirmed.unwrap_or_default();
        let cause = format!(
            "it stands at {confirmed}, beyond {}, up to which changes are in the log: it was made anew or somebody else read from it",
            record.allowed
        );
        return mismatch("PS2154", slot, &cause);
    }
    Verdict::Continue
}

fn without_record(found: Option<&SlotFacts>, newest: Option<(u64, Lsn)>) -> Verdict {
    match (found, newest) {
        (None, None) => Verdict::Create { epoch: 1 },
        // Every table is copied from now on, so that it does not matter what the slot has skipped before.
        (Some(found), None) => match found.lost() {
            Some(why) => mismatch("PS2155", &found.name, &why),
            None => Verdict::Adopt { epoch: 1 },
        },
        (None, Some(_)) => mismatch("PS2153", "of this source", "the log holds its changes, but the slot is gone"),
        (Some(found), Some((epoch, commit))) => match found.confirmed {
            Some(confirmed) if confirmed <= commit && found.lost().is_none() => Verdict::Adopt { epoch },
            _ => mismatch(
                "PS2154",
                &found.name,
                "it stands beyond the last change in the log, and the state that told why is gone",
            ),
        },
    }
}

/// True when the operator may accept the slot as it is: its positions are comparable with those of the log.
///
/// After a promotion they are only where the log ends before the promotion: what the log holds beyond, the new server never
/// had, and its own changes at the same positions would be taken for repeats.
pub(crate) fn acceptable(
    refusal: &Refusal,
    record: Option<&SlotRecord>,
    server: &Identity,
    marks: &[StreamMark],
) -> bool {
    match refusal.code {
        "PS2156" | "PS2158" => false,
        "PS2157" => record
            .and_then(|record| server.end_of(record.timeline))
            .is_some_and(|end| marks.iter().filter_map(|mark| mark.position).all(|(_, commit)| commit < end)),
        _ => true,
    }
}

fn mismatch(code: &'static str, slot: &str, cause: &str) -> Verdict {
    let again = "`on_slot_mismatch: resnapshot` makes a new slot and copies every table again (deletes of the meantime stay unknown)";
    let accept = "`on_slot_mismatch: accept` goes on with the slot as it is, when you know that no change was lost";
    let fix = match code {
        "PS2156" | "PS2158" | "PS2155" | "PS2153" => again.to_owned(),
        _ => format!("{again}; {accept}"),
    };
    Verdict::Mismatch(Refusal::new(code, format!("slot {slot}"), cause, fix))
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
