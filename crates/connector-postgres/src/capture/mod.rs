//! From the stream to the log.
//!
//! ```text
//!   socket ─ reader ─ pieces (bounded) ─ Engine ─ batches ─> log
//!     ^                                    │ position reached, ends of the streams
//!     └── standby status <── confirmed <── confirmer (durable, written down)
//! ```
//!
//! Invariants: (1) records of one change stand in one append, whose producer state is that change's position; (2) what is at or
//! below a stream's position is not appended again; (3) a position is confirmed only after every record below is durable in
//! every stream and the position is written down; (4) the reader answers the server however slow the log is.

mod confirm;
mod engine;
mod outlet;
mod reader;
mod relations;

pub(crate) use confirm::{Target, confirm};
pub(crate) use engine::{Engine, EngineParts};
pub(crate) use outlet::Outlet;
pub(crate) use reader::{PIECES_MAX, Reader};
pub(crate) use relations::{Relations, RelationsParts};
