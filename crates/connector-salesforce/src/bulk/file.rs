//! The file of a job: RFC 4180, UTF-8, comma, LF.

use super::cells::{self, Column};
use contract::OutBatch;

/// What is uploaded.
pub(crate) struct File {
    pub bytes: Vec<u8>,
    /// Rows that did not fit any more, in order.
    pub left_out: Vec<usize>,
}

/// Characters of the first line.
const HEADER_CHARS_MAX: usize = 32_000;

/// Writes these rows (index, record id where there is one) under a header, as many as fit into `bytes_max`.
///
/// Shape: none when the header alone is longer than Salesforce takes.
pub(crate) fn write(
    batch: &OutBatch,
    columns: &[Column],
    rows: &[(usize, Option<&str>)],
    bytes_max: usize,
) -> Option<File> {
    let mut bytes = Vec::with_capacity(rows.len() * 64 + 256);
    line(&mut bytes, columns.iter().map(|column| column.name.as_str().into()));
    if bytes.len() > HEADER_CHARS_MAX {
        return None;
    }
    let mut left_out = Vec::new();
    for (at, id) in rows {
        let before = bytes.len();
        line(&mut bytes, columns.iter().map(|column| cells::text(column, batch, &batch.rows[*at], *id)));
        if bytes.len() > bytes_max {
            bytes.truncate(before);
            left_out.push(*at);
        }
    }
    Some(File { bytes, left_out })
}

fn line<'v>(out: &mut Vec<u8>, values: impl Iterator<Item = std::borrow::Cow<'v, str>>) {
    for (at, value) in values.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if value.is_empty() {
            continue;
        }
        out.push(b'"');
        let mut rest = &*value;
        while let Some(quote) = rest.find('"') {
            out.extend_from_slice(&rest.as_bytes()[..=quote]);
            out.push(b'"');
            rest = &rest[quote + 1..];
        }
        out.extend_from_slice(rest.as_bytes());
        out.push(b'"');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
