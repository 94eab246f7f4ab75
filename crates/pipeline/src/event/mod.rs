//! Reading a change event fast: which row, which keys, which column values, without building a tree.
//!
//! What this module refuses to know: target objects beyond their names, batches, where a record is stored.
//!
//! ```text
//!   Record ── ChangeView ──┬── KeyPlan ── Keys (written, read)      -> window
//!     headers, spans       └── Columns ── value::decode ── Scalar   -> mapping
//! ```
//!
//! Invariants: (1) nothing here panics on any bytes; (2) a well-formed record gives the same columns as a JSON parser
//! would (property tests against `serde_json`); (3) fingerprints depend on the values' canonical text only, so that a
//! parent's and a child's are equal although their columns' types differ.

pub mod calendar;
pub mod decimal;
mod keys;
pub mod scan;
mod transaction;
pub mod value;
mod view;

pub use keys::{KeyPlan, Keys, canonical_text};
pub use transaction::{ends_transaction, transaction_of};
pub use view::{ChangeView, MalformedChange, TableMatcher};
