//! Where records move: window, batches, settlement, checkpoints.
//!
//! What this crate refuses to know: sources, sockets, files; it sees the log, the state and the sinks through `contract`.

pub mod breaker;
pub mod dlq;
pub mod engine;
pub mod event;
pub mod expr;
pub mod mapping;
pub mod overflow;
pub mod plan;
pub mod proof;
pub mod recovery;
pub mod router;
pub mod settle;
pub mod spec;
pub mod window;
pub mod writes;
