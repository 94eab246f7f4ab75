//! Connections to the server: where to, with what proof, over what encryption.

mod endpoint;
mod failure;
mod sql;
mod tls;

pub use endpoint::Endpoint;
pub(crate) use failure::wire_failure;
pub use sql::Sql;
pub(crate) use tls::{TlsMode, client_config};
