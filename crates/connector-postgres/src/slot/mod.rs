//! The replication slot: what it is, whether it is still the one that the log was filled from, and its making.

mod facts;
mod identity;
mod open;

pub(crate) use facts::SlotFacts;
pub(crate) use identity::SlotRecord;
pub(crate) use open::{OpenSlot, open_slot, write_record};
