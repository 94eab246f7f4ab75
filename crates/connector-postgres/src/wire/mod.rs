//! The replication connection: startup, proof of identity, commands, and the two-way copy stream.
//!
//! `tokio-postgres` speaks no replication; `pg_walstream` hides keepalives and answers them only while its reader is
//! asked for more, which a slow log would stop (see the ADR on the replication wire). So this is our own, over
//! `postgres-protocol`, some hundred lines long.
//!
//! ```text
//!   Replication::connect ─> identify ─> start ─> CopyStream: frames in, standby status out
//! ```
//!
//! What it refuses to know: what a message inside a frame means.
//!
//! Source: PostgreSQL documentation, "Frontend/Backend Protocol" and "Streaming Replication Protocol".

mod auth;
mod copy;
mod error;
mod frames;
mod replication;
mod socket;

pub(crate) use copy::CopyStream;
pub(crate) use error::WireError;
pub(crate) use frames::{Frame, frames};
pub(crate) use replication::{Identity, Replication};
