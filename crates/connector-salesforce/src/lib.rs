//! Salesforce as a sink: sessions, describe, every API that takes rows, error table.
//!
//! ```text
//!              write/ (Collections body, answers) ─┐
//!              bulk/ (files, jobs, results) ───────┤
//!              graph/ (graphs, single records) ────┤
//!              pubsub/ (events over gRPC) ─────────┤
//!   SalesforceSink ── read/ (SOQL, ids, compare) ──┼─ transport ── session ── the org
//!              describe ───────────────────────────┘      └─ errors/ (one table), readings
//! ```
//!
//! What this crate refuses to know: pipelines, logs, PostgreSQL, retry policy (it only says which class an error has).
//!
//! Invariants:
//! 1. One session per sink, renewed once however many calls find it expired; never revoked, since other processes may
//!    share it (a revoked token ends every session that carries it).
//! 2. A write whose fate is not known is answered `Unknown`, never `Transient`.
//! 3. `read_back` says `Applied` only for what it has seen; whatever it cannot compare is `Missing`.
//! 4. No secret, token or assertion reaches an error, a log line or a `Debug` output.
//! 5. Every answer is read into a bounded buffer; no answer makes the sink panic.

mod bulk;
mod config;
mod cost;
mod describe;
mod errors;
mod faults;
mod graph;
mod pubsub;
mod read;
mod readings;
mod secret;
mod session;
mod sink;
mod transport;
mod write;

pub use bulk::BulkSettings;
pub use config::{Auth, ConfigError, DatetimePrecision, Proxy, SalesforceConfig};
pub use cost::{BatchCost, batch_cost};
pub use errors::table::{Verdict, classify, is_parent_missing};
pub use secret::Secret;
pub use sink::SalesforceSink;
