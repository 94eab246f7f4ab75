//! From change events to rows of a target object.
//!
//! ```text
//!   RouteSpec + ObjectSchema ── check ──> Mapper            at start: every mistake that can be seen without a row
//!   ChangeView ── passes? ── lane ── map ──> MappedRow      per row: coerced, checked, or refused with a typed reason
//! ```
//!
//! What this module refuses to know: batches, positions, how a target is called.
//!
//! Invariants: (1) a value that the target cannot hold is refused before anything is sent, never truncated or
//! defaulted; (2) a number keeps its digits; (3) an unchanged column gives an unchanged cell, never null; (4) both
//! value modes give the same row (except `interval`, which Debezium gives as microseconds).
//!
//! What a value becomes is told in `coerce`; what expressions may do in `crate::expr`.

mod change;
mod check;
mod coerce;
mod fields;
mod mapper;
mod refusal;
mod row;

pub use mapper::Mapper;
pub use refusal::{RefusalKind, RowRefusal};
pub use row::{MappedRow, merge};
