//! The words of Penstock's domain: values only, no I/O, no clock.
//!
//! What this crate refuses to know: files, sockets, time sources, Salesforce, PostgreSQL's wire.
//! Every other room speaks in these words (the table of names stands in `CONTRIBUTING.md`).

mod api;
mod cell;
mod change;
mod error;
mod ids;
mod key;
mod lane;
mod number;
mod position;
mod record;
mod settlement;
mod table;

pub use api::Api;
pub use cell::{Cell, FieldValue};
pub use change::{Op, ValueMode, header};
pub use error::{ErrorCode, Finding, Retry, Severity};
pub use ids::{BatchId, ObjectName, OrgId, PipelineId, ProducerId, RouteId, SourceId, StreamId};
pub use key::Fingerprint;
pub use lane::Lane;
pub use number::{NotANumber, Number};
pub use position::{Lsn, Offset, Partition, Position, SourcePosition, StreamPartition};
pub use record::{BatchFull, MalformedBatch, Record, RecordBatch, RecordBatchBuilder, RecordHeaders, Records};
pub use settlement::{BatchIntent, DeadLetter, ErrorClass, OffsetRange, Outcome, SettledRows, Settlement};
pub use table::{Column, ColumnType, ReplicaIdentity, TableName, TableSchema};
