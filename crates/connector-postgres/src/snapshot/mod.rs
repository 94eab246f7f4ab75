//! The first copy of the tables, beside the stream.
//!
//! The DBLog method (Andreakis and Papapanagiotou, 2020), one chunk at a time:
//!
//! ```text
//!   stream  ──low────────── changes of keys k1, k2 ─────────high──>
//!   copier     └ snapshot S, rows after the last key ┘        └ rows minus {k1, k2} are appended here
//! ```
//!
//! Why the result is right. For a transaction T whose commit record stands at `c` in the WAL:
//! 1. `c` before low: its changes were sent before the chunk. S must see T, else the chunk holds older rows. It does, but for
//!    a moment: a commit record stands in the WAL before its transaction leaves the list of running ones (long, where commits wait for a
//!    standby). `visibility` finds that moment out, and the chunk is read again.
//! 2. `c` between low and high: the keys that T changed are taken out of the chunk, whether S saw T or not.
//! 3. `c` after high: S, taken before high was written, does not see T; T's changes follow the chunk.
//!
//! Invariants: (1) a chunk's rows are one append, with the ledger entry as its producer state; (2) chunk n+1 is appended only after
//! chunk n is durable and in the state store; (3) no transaction is open longer than a chunk's read.

mod copier;
mod delivered;
mod ledger;
mod read;
mod shape;
mod visibility;
mod window;

pub(crate) use copier::{Copier, CopierParts, CopyTable, WATERMARK_PREFIX, report_phase};
pub use ledger::copied_tables;
pub(crate) use ledger::{Ledger, LedgerEntry};
pub(crate) use shape::{CopyShape, Describing};
pub(crate) use window::{ChunkOutcome, Window};
