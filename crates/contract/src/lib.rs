//! The traits between Penstock's rooms, and a conformance suite for each.
//!
//! A trait's doc comment *is* the contract: what may repeat, what order is promised, when an answer counts as durable.
//! Invariants that hold across rooms:
//!
//! 1. A source confirms upstream only what lies below the log's durable end.
//! 2. A reader sees only durable records.
//! 3. A batch is journalled, durably, before a sink sees it.
//! 4. A checkpoint moves only over settled records.

mod clock;
pub mod conformance;
mod crash;
mod log;
mod sink;
mod source;
mod state;

pub use clock::{Clock, SystemClock};
pub use crash::{CrashPoint, CrashPoints};
pub use log::{AcceptedEnd, Appended, Bounds, Log, LogBatch, LogError, ProducerState, Retention, StreamSpec};
pub use sink::{
    Adopted, AdoptedRow, AllocationReading, AppliedBatch, ColumnReference, FieldKind, FieldSchema, JobHost,
    ObjectSchema, OutBatch, OutColumn, OutOp, OutRow, ReadBack, RowError, RowResult, Sink, SinkError, SinkLimits,
    Spend,
};
pub use source::{
    Admission, AdmitAll, Source, SourceContext, SourceEnd, SourceError, SourceStatus, StreamBinding, TablePhase,
};
pub use state::{StateError, StateOp, StateStore};
