//! Bulk API 2.0 (ingest and query) and Bulk API 1.0.
//!
//! ```text
//! PUT, POST ─▶ upload (streamed into a blob) ─▶ job ─ close ─▶ work ─▶ apply ─▶ dml ─▶ store, history
//!                                                │               └─▶ results (blobs) ─▶ stream ─▶ GET
//!                                                └ query ─▶ work ─▶ query::bulk ─┘
//! ```
//!
//! A job is worked on in steps (`Org::work`), never inside a request; whoever runs the org calls it again and again.
//!
//! Invariants:
//! 1. A row of an upload is in exactly one of the results: successful, failed, unprocessed; unless the batches of the day
//!    ran out before it, then in none.
//! 2. A state is left only as `job` draws it; results are there once the job has ended and never change.
//! 3. Uploads and results take a bounded part of memory (`BulkConfig::memory_bytes_max`), the rest lies in files.

mod apply;
pub mod blob;
mod columns;
pub mod config;
mod create;
mod csv;
mod driver;
mod info;
mod ingest;
mod job;
mod jobs;
pub mod ledger;
mod list;
mod multipart;
mod query;
mod route;
mod run;
mod settle;
pub mod stream;
pub mod upload;
mod v1;
mod work;

pub use config::{BulkConfig, OpenJobEnd};
pub use driver::drive;
pub use jobs::Bulk;
pub use route::{Route, async_plan, call, complete, dress, plan};
pub use work::{Work, step};
