//! What the server's catalogue says of the configured tables, of the server, and of the publication.

mod keys;
mod publication;
mod server;
mod table;

pub(crate) use keys::{CopyKey, copy_key, key_refusal};
pub(crate) use publication::{Publication, ensure_publication};
pub(crate) use server::{ServerFacts, load_types, parents_first};
pub(crate) use table::{TableFacts, load_table};
