//! Platform events by the Pub/Sub API: a request for a batch on a `PublishStream`, each event with its own result.
//!
//! ```text
//! rows ─▶ avro (the topic's schema) ─▶ publish ─▶ a stream over HTTP/2 ─▶ results, in the order of the events
//! ```
//!
//! An event's id (`EventUuid` for its consumers) is made of the route and the row's position: an event that is published
//! again after a lost answer has the same one.
//!
//! Source: Pub/Sub API guide; proto `eventbus.v1`.

mod avro;
mod grpc;
mod publish;
mod stream;
mod wire;

pub(crate) use grpc::Channel;
pub(crate) use publish::Topics;
pub(crate) use stream::Streams;

/// Events of a request; Salesforce advises no more.
pub(crate) const EVENTS_MAX: usize = 200;
/// Bytes of a request: over 3 MB is advised against, over 4 MB refused.
pub(crate) const REQUEST_BYTES_MAX: usize = 3_000_000;
