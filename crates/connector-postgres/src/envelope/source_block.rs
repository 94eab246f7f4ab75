//! The `source` block: everything constant about it is prepared once per table.

use super::plan::EventSource;
use super::{EventMeta, Snapshot};
use crate::values::{write_number, write_string};
use model::{TableName, ValueMode};

/// The block's constant pieces.
#[derive(Clone, Debug)]
pub(super) struct SourceBlock {
    mode: ValueMode,
    /// From `,"source":{` to `"ts_ms":`.
    head: Box<[u8]>,
    /// `,"db":"…"`.
    database: Box<[u8]>,
    /// `,"schema":"…","table":"…"`.
    table: Box<[u8]>,
}

impl SourceBlock {
    pub(super) fn compile(table: &TableName, source: &EventSource) -> Self {
        let mut head = b",\"source\":{".to_vec();
        if source.mode == ValueMode::Debezium {
            member(&mut head, b"\"version\":", env!("CARGO_PKG_VERSION"));
            head.push(b',');
        }
        member(&mut head, b"\"connector\":", "postgresql");
        member(&mut head, b",\"name\":", &source.name);
        head.extend_from_slice(b",\"ts_ms\":");
        let mut database = Vec::new();
        member(&mut database, b",\"db\":", &source.database);
        let mut names = Vec::new();
        member(&mut names, b",\"schema\":", &table.schema);
        member(&mut names, b",\"table\":", &table.name);
        Self { mode: source.mode, head: head.into(), database: database.into(), table: names.into() }
    }

    /// Appends `,"source":{…}` in the order of Debezium's fields; `readable` leaves out what it does not need.
    pub(super) fn write(&self, out: &mut Vec<u8>, meta: &EventMeta) {
        out.extend_from_slice(&self.head);
        write_number(out, meta.commit_time_us.div_euclid(1000));
        out.extend_from_slice(match meta.snapshot {
            Snapshot::No => b",\"snapshot\":\"false\"",
            Snapshot::Initial => b",\"snapshot\":\"true\"",
            Snapshot::Incremental => b",\"snapshot\":\"incremental\"",
        });
        out.extend_from_slice(&self.database);
        match self.mode {
            ValueMode::Readable => {
                out.extend_from_slice(&self.table);
                write_position(out, meta);
                out.push(b'}');
            }
            ValueMode::Debezium => self.write_debezium_rest(out, meta),
        }
    }

    fn write_debezium_rest(&self, out: &mut Vec<u8>, meta: &EventMeta) {
        // A string that holds JSON: ["16","24"], null for what is not known.
        out.extend_from_slice(b",\"sequence\":\"[");
        match meta.previous_end_lsn {
            Some(lsn) => {
                out.extend_from_slice(b"\\\"");
                write_number(out, lsn.0);
                out.extend_from_slice(b"\\\",\\\"");
            }
            None => out.extend_from_slice(b"null,\\\""),
        }
        write_number(out, meta.lsn.0);
        out.extend_from_slice(b"\\\"]\",\"ts_us\":");
        write_number(out, meta.commit_time_us);
        out.extend_from_slice(b",\"ts_ns\":");
        write_number(out, i128::from(meta.commit_time_us) * 1000);
        out.extend_from_slice(&self.table);
        if meta.snapshot == Snapshot::Incremental {
            out.extend_from_slice(b",\"txId\":null,\"lsn\":null");
        } else {
            write_position(out, meta);
        }
        out.extend_from_slice(b",\"xmin\":null,\"origin\":null,\"origin_lsn\":null}");
    }
}

fn write_position(out: &mut Vec<u8>, meta: &EventMeta) {
    out.extend_from_slice(b",\"txId\":");
    match meta.xid {
        Some(xid) => write_number(out, xid),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"lsn\":");
    write_number(out, meta.lsn.0);
}

/// Appends `"name":"value"`.
fn member(out: &mut Vec<u8>, label: &[u8], value: &str) {
    out.extend_from_slice(label);
    write_string(out, value.as_bytes());
}
