//! From a configuration to a plan: asks databases and orgs as far as it may, and says what it had to assume.
//!
//! ```text
//!   configuration ─┐
//!   database ──────┼─▶ gather ─▶ pipeline::plan (pure) ─▶ page, JSON, the stored plan ─▶ against what a run really did
//!   org ───────────┘
//! ```

pub(crate) mod actual;
pub(crate) mod before_run;
mod gather;
mod orgs;
pub(crate) mod page;
pub(crate) mod stored;
mod tables;

pub(crate) use gather::{Asked, Gathered, gather};
