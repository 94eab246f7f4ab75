//! The change event's envelope: Debezium's, so that what reads a Debezium topic reads ours.

use serde::{Deserialize, Serialize};

/// The `op` of a change event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    #[serde(rename = "c")]
    Create,
    #[serde(rename = "u")]
    Update,
    #[serde(rename = "d")]
    Delete,
    /// A row read by a snapshot chunk.
    #[serde(rename = "r")]
    Read,
    #[serde(rename = "t")]
    Truncate,
}

impl Op {
    /// Returns the envelope's letter.
    pub fn letter(self) -> u8 {
        match self {
            Op::Create => b'c',
            Op::Update => b'u',
            Op::Delete => b'd',
            Op::Read => b'r',
            Op::Truncate => b't',
        }
    }

    /// Reads the envelope's letter.
    pub fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'c' => Some(Op::Create),
            b'u' => Some(Op::Update),
            b'd' => Some(Op::Delete),
            b'r' => Some(Op::Read),
            b't' => Some(Op::Truncate),
            _ => None,
        }
    }
}

/// How column values stand in the JSON of a change event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueMode {
    /// Numeric as a string in PostgreSQL's digits, dates and timestamps in ISO 8601, bytea in base64, json as a string.
    #[default]
    Readable,
    /// Debezium 3's defaults with schemas off.
    Debezium,
}

/// Names of record headers on a change event. Header names and values are bytes; these are ASCII and UTF-8.
///
/// `op` and `table` repeat what the envelope says so that the window need not parse the value.
pub mod header {
    /// One byte: the envelope's `op` letter.
    pub const OP: &str = "op";
    /// `schema.table` as the source spells it.
    pub const TABLE: &str = "table";
    /// Columns that are unchanged (TOAST) and so absent from `after`: a JSON array of names. Absent header: none.
    pub const UNCHANGED: &str = "unchanged";
    /// The snapshot chunk that a row of op `r` belongs to.
    pub const CHUNK: &str = "chunk";
    /// On the `d` half of an update that changed the key: the JSON of the new key (Debezium's `__debezium.newkey`).
    pub const NEW_KEY: &str = "newkey";
    /// On the `c` half of an update that changed the key: the JSON of the old key (Debezium's `__debezium.oldkey`).
    pub const OLD_KEY: &str = "oldkey";
    /// On the record that ends a source transaction (`end`); such a record changes no row and has no table.
    pub const TRANSACTION: &str = "transaction";
    /// The value of `TRANSACTION`.
    pub const TRANSACTION_END: &[u8] = b"end";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
}
