//! The source against a real PostgreSQL, the machine's own or the one in `PENSTOCK_POSTGRES_BIN`, with the real log and
//! state store.

mod bed;
mod checks;
mod conformance;
mod connection;
mod crash;
mod keys;
mod live;
mod schema;
mod slots;
mod snapshot;
mod survey;
mod volume;
