//! The engine: everything between the log and the sinks.
//!
//! ```text
//!   read log → window → map (pure) → batch → permit → journal → send → settle → checkpoint → trim
//! ```
//!
//! Related routes form a *group*: one reader, one window, one loop. Groups run independently; they share the settler, the
//! state store, and each org's places and permits.
//!
//! Invariants:
//! 1. A batch is journalled, durably, before a sink sees it.
//! 2. Two batches in flight never hold conflicting records.
//! 3. A record that may have been applied is read back before anything of its keys is sent again.
//! 4. A checkpoint moves only over settled records whose settlements are durable.
//! 5. What is held in memory is bounded: window bytes, scanned chunks, bytes of batches in flight.

mod absorb;
mod admission;
mod answers;
mod burial;
mod compose;
mod dispatch;
mod error;
mod fetch;
mod gate;
mod group;
mod host;
mod job;
mod leftovers;
mod null_sink;
mod outcome;
mod overflow;
mod parents;
mod permits;
#[cfg(test)]
mod permits_tests;
mod persist;
mod quota_ledger;
mod quota_metrics;
mod reader;
mod redrive_end;
mod redrive_job;
mod redrive_load;
mod redrive_newer;
mod redrives;
mod release;
mod retry;
mod route;
mod route_run;
mod routing;
mod scheduler;
mod start;
mod status;
mod tasks;
mod transactions;

pub use admission::{BACKLOG_MAX, EngineAdmission};
pub use answers::CREATE_UNKNOWN;
pub use error::{EngineError, Findings};
pub use gate::{BREAKER_OPEN, CREDENTIALS_REFUSED};
pub use null_sink::NullSink;
pub use quota_ledger::{LedgerError, LedgerRead, QuotaLedger, SPACE as QUOTA_SPACE};
pub use start::{Engine, EngineHandle, EngineParts, OrgParts};
pub use status::{ApiStatus, EngineStatus, LaneStatus, RouteStatus};
pub use transactions::{BY_KEY, REFUSED_TOGETHER, TOO_LARGE};
