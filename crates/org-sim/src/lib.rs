//! A Salesforce org on loopback that speaks the real wire protocols, so that product code cannot tell.
//!
//! What is simulated, what can be configured and what is left out so far: `docs/org-sim.md`.
//!
//! ```text
//!  sockets ─▶ server ─▶ Org (a state machine: no sockets, time as an argument)
//!              │         ├─ oauth      sessions
//!              │         ├─ limits     allocations
//!              │         ├─ faults, latency, locks   what goes wrong and how long it takes
//!              │         ├─ rest ─▶ dml ─▶ store      records
//!              │         │           └──▶ history    every applied change
//!              │         ├─ bulk ─▶ dml, query        jobs, worked on step by step
//!              │         └─ query ◀─ soql
//!              └▶ control (/_sim/…)
//! ```
//!
//! This crate refuses to know Penstock: it imports only the domain's words.

mod answer;
mod bulk;
mod clock;
mod cometd;
mod config;
mod control;
mod dml;
mod error;
mod events;
mod faults;
mod handle;
mod history;
mod ids;
mod json;
mod latency;
mod limits;
mod locks;
mod oauth;
mod org;
mod persist;
#[cfg(feature = "pubsub")]
pub mod pubsub;
mod query;
mod recycle;
mod rest;
mod schema;
mod security;
mod server;
mod soap;
mod soql;
mod store;
mod tls;
mod users;
mod value;

pub use answer::{Request, Response};
pub use bulk::{BulkConfig, OpenJobEnd, Work};
pub use clock::OrgClock;
pub use config::{AppConfig, Edition, HistoryConfig, OrgConfig, RowLocks, TlsConfig, UserConfig};
pub use dml::Unverified;
pub use error::SimError;
pub use events::access::EventEntry;
pub use events::bitmap::read as read_bitmap;
pub use events::diff::apply as apply_diff;
pub use events::{Begin, ChannelSpec, EventsConfig, FullMember, ManagedSpec, MemberSpec};
pub use faults::{Api, BulkCall, Effect, FaultMatch, FaultReport, FaultRule, Operation, Schedule, When};
pub use handle::{Credentials, OrgSim, RunningOrg};
pub use history::{HistoryEntry, HistoryOp};
pub use ids::SfId;
pub use latency::{LatencyModel, ServiceTime};
pub use org::{Begun, Org, Ticket};
pub use schema::build::parse_yaml as parse_objects;
pub use schema::spec::{
    FieldSpec, FieldType, NameSpec, ObjectSpec, ObjectsSpec, OnDelete, Ordered, RuleSpec, Targets, TrueWhen,
};
pub use security::FieldSecurity;
pub use store::FieldAccess;
