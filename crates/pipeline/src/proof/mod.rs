//! Shows that the promises were kept: reads stream and settlements, and tells what is lost, repeated, out of order.
//!
//! ```text
//!   _settlements ──▶ marks: for each record of each route, how it was settled and by which settlement
//!   stream ────────▶ each record of the route's table meets its mark, in offset order:
//!                      no mark below the checkpoint      lost
//!                      settled twice, not in one way     repeated
//!                      applied after a later one         out of order (by business key)
//!   _dead_letters ─▶ each dead-lettered record has its dead letter
//! ```
//!
//! The proof trusts nothing that the pipeline remembers besides the log itself; the checkpoint only says up to where
//! everything should be settled. Invariant: what is counted is counted exactly: when memory is short the stream is read
//! several times, nothing is sampled.
//!
//! What may stand twice without harm, and is counted apart:
//! - *echoes*: the log withdrew settlements and got them again, the same bytes twice within a short stretch;
//! - *confirmed*: settled again as it was, by a read-back after a crash, or without any effect (filtered, superseded);
//! - a dead letter that was redriven: dead-lettered first, then anything.
//!
//! Limits: order is checked within a route (the window keeps it across related routes), by the hash of the record's key
//! (64 bits). Records of a stream's part that retention removed are not looked at.

mod key_query;
mod marks;
mod prove;
mod read;
mod report;
mod spending;
#[cfg(test)]
mod tests;
mod trace;

pub use key_query::{KeyQuery, KeyQueryError};
pub use prove::prove;
pub use report::{Fault, FaultKind, ProofError, ProofReport, ProofRoute, RouteProof};
pub use spending::{WaySpending, spending};
pub use trace::{Trace, TracedIntent, TracedRecord, TracedRoute, TracedSettlement, trace};
