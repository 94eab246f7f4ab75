//! A PostgreSQL server of one's own, in a folder: for the demo and the tests.
//!
//! It starts the machine's own PostgreSQL (14 or later) on loopback, under another user when the caller is root, and
//! takes it down again. What it refuses to know: what the server is used for.
//!
//! ```text
//!   this process ──owns──> postgres ──> its backends
//!        └──pipe──> guardian (sh): when the pipe closes because this process died,
//!                   it stops the server and removes a temporary folder
//! ```
//!
//! Invariants: (1) the server listens on 127.0.0.1 only; (2) a server whose owner is gone is stopped by the guardian,
//! or, when the guardian is gone too, by the next start in the same folder; (3) a folder that the caller named is
//! never removed.

mod binaries;
mod cluster;
mod error;
mod guardian;
mod process;
mod server;
mod user;

pub use binaries::Binaries;
pub use error::PrivatePostgresError;
pub use server::{Auth, Options, Server, StopMode, Tls};
