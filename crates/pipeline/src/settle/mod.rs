//! What became of records, written down: settlements, checkpoints, and from where a restart must read.
//!
//! ```text
//!   answers ── Settlement ──▶ writer ── append ──▶ accepted: successors are released
//!                                └──── sync ────▶ durable:  a checkpoint may pass
//! ```
//!
//! Invariants: (1) a successor is released only when its predecessor's settlement is accepted, for everything but an
//! applied row: durable; (2) a checkpoint names only what durable settlements, or the checkpoint itself, vouch for; (3)
//! accepted settlements that the log withdraws are written again, in their order.

pub mod checkpoint;
mod ledger;
mod streams;
mod writer;

pub use checkpoint::{Checkpoint, Pace};
pub use ledger::Ledger;
pub(crate) use streams::internal;
pub use streams::{BATCHES, DEAD_LETTERS, Journal, SETTLEMENTS, create_streams};
pub(crate) use writer::delay_of;
pub use writer::{SettleOrder, Settled, Settler, SettlerState};
