//! Change events and platform events: from applied changes to what subscribers get.
//!
//! ```text
//! dml ─▶ history ─▶ feed ─ commit ─▶ events ─▶ bus ─▶ pubsub (gRPC), cometd (Bayeux)
//!                                       ▲
//!                       platform events ┘  (any API's create, Pub/Sub's publish)
//! ```
//!
//! Source: reference sections 5 (change data capture) and 6 (platform events).

pub mod access;
pub mod avro;
pub mod bitmap;
pub mod bus;
mod change;
pub mod channel;
pub mod config;
pub mod control;
pub mod diff;
pub mod feed;
mod filter;
pub mod json;
pub mod platform;
pub mod schema;

pub use access::new_bus;
pub use bus::Bus;
pub use change::uuid;
pub use channel::Channels;
pub use config::{Begin, ChannelSpec, EventsConfig, FullMember, ManagedSpec, MemberSpec};
pub use feed::Feed;
