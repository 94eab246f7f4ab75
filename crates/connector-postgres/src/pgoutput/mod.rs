//! The logical replication messages of PostgreSQL's `pgoutput`, protocol versions 1 to 4, without a copy.
//!
//! ```text
//! XLogData payload ── Decoder::decode ──> Message<'a> ── tuples are checked slices of the payload
//! ```
//!
//! What this module refuses to know: what a column means, JSON, tables' catalogue facts.
//!
//! Invariants: (1) no bytes whatever make it panic or read outside the payload; (2) a `Tuple` was walked once when its
//! message was decoded, so that iterating over it cannot fail; (3) nothing is allocated for a row.
//!
//! Source: PostgreSQL documentation, "Logical Replication Message Formats" (protocol chapter), versions 14 to 18.

mod decoder;
#[cfg(test)]
pub(crate) mod encode;
mod message;
mod reader;
mod tuple;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use message::{
    Begin, BeginPrepare, Commit, CommitPrepared, Delete, Insert, LogicalMessage, Message, OldTuple, Origin, Prepare,
    Relation, RelationColumn, RelationColumns, RelationIds, RollbackPrepared, StreamAbort, StreamCommit, StreamPrepare,
    StreamStart, Truncate, TypeMessage, Update,
};
pub use reader::DecodeError;
pub use tuple::{ColumnText, Tuple, TupleColumns};
