//! PostgreSQL as a source: its changes by logical replication, its tables by a copy beside them.
//!
//! ```text
//!   PostgresSource ── sessions, one after the other ──> session
//!     connect, wire      SQL and replication connections
//!     catalog, survey    what the server has of what is configured
//!     volume             how much is in the tables, how often they change: for plans
//!     slot               whether the slot is still the one that the log was filled from
//!     capture            stream -> records -> log -> confirmation
//!     snapshot           tables -> chunks between watermarks -> log
//!     pgoutput, values, envelope   bytes -> messages -> JSON change events
//! ```
//!
//! What it refuses to know: routes, sinks, other connectors.
//!
//! Invariants: (1) upstream is told only of what is durable in every stream; (2) what is at or below the log's own position is
//! not appended again; (3) a slot that is not the one that the log was filled from is never read on in silence; (4) no row of
//! the copy stands after a newer change of its key.

mod capture;
mod catalog;
mod check;
pub mod column_type;
mod config;
mod connect;
pub mod envelope;
pub mod pgoutput;
mod position;
mod refusal;
mod session;
mod side;
mod slot;
mod snapshot;
mod source;
mod survey;
pub mod values;
mod volume;
mod wire;

pub use config::{OnSlotMismatch, PostgresConfig};
pub use refusal::Refusal;
pub use snapshot::copied_tables;
pub use source::PostgresSource;
pub use volume::{Changes, Survey, TableVolume};
