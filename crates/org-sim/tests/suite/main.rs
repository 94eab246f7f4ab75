//! The org as a client sees it, over sockets.

#![allow(clippy::unwrap_used, reason = "a test that meets what it did not expect fails there")]

mod bulk;
mod bulk_classic;
mod bulk_properties;
mod bulk_query;
mod bulk_support;
mod bulk_work;
mod collections;
mod cometd;
mod composite;
mod events;
mod faults;
mod guards;
mod limits;
mod model;
mod oauth;
mod properties;
mod query;
mod query_oracle;
mod recycle;
mod replication;
mod rest;
mod soap;
mod support;
mod tls;

#[cfg(feature = "pubsub")]
mod grpc;
#[cfg(feature = "pubsub")]
mod pubsub;
