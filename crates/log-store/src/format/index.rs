//! A segment's sparse index by offset and time, in memory and as a file beside the segment.
//!
//! The file holds nothing that the segment does not: a missing, old or damaged one is made again by a scan.
//!
//! ```text
//!  0  8  magic "PENINDEX"
//!  8  4  CRC32C of bytes 12..end
//! 12  4  entry count
//! 16  8  first offset      24  8  offset after the last record
//! 32  8  segment bytes covered
//! 40  8  earliest event time, 48 8 latest event time (i64::MAX, i64::MIN without records)
//! 56  .. entries: u64 base offset, u64 byte position, i64 latest event time of all before and in this stretch
//! ```

use super::frame::FrameHeader;
use super::{i64_at, u32_at, u64_at};

/// One entry for about this many bytes: a look-up walks at most this far over frame headers.
pub(crate) const INDEX_EVERY_BYTES: u64 = 128 << 10;
const MAGIC: &[u8; 8] = b"PENINDEX";
const HEADER_BYTES: usize = 56;
const ENTRY_BYTES: usize = 24;

/// Where a stretch of frames begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) base: u64,
    pub(crate) at: u64,
    /// Latest event time from the segment's start to this stretch's end; never falls from entry to entry.
    time_max_ms: i64,
}

/// What is known of a segment's durable part. Entries are sorted by base and by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    pub(crate) base: u64,
    pub(crate) end: u64,
    /// Bytes from the file's start to the last covered frame's end.
    pub(crate) bytes: u64,
    pub(crate) time_min_ms: i64,
    pub(crate) time_max_ms: i64,
    entries: Vec<IndexEntry>,
}

impl SegmentIndex {
    /// Begins an index of a segment of which `bytes` hold no record yet.
    pub(crate) fn new(base: u64, bytes: u64) -> Self {
        Self { base, end: base, bytes, time_min_ms: i64::MAX, time_max_ms: i64::MIN, entries: Vec::new() }
    }

    /// Adds the next frame.
    pub(crate) fn push(&mut self, header: &FrameHeader) {
        let at = self.bytes;
        self.bytes += header.frame_bytes();
        self.end = header.end();
        if header.count == 0 {
            return;
        }
        self.time_min_ms = self.time_min_ms.min(header.time_min_ms);
        self.time_max_ms = self.time_max_ms.max(header.time_max_ms);
        match self.entries.last_mut() {
            Some(last) if at < last.at + INDEX_EVERY_BYTES => last.time_max_ms = self.time_max_ms,
            _ => self.entries.push(IndexEntry { base: header.base, at, time_max_ms: self.time_max_ms }),
        }
    }

    /// The last entry at or before `offset`.
    pub(crate) fn seek(&self, offset: u64) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.base <= offset);
        after.checked_sub(1).map(|at| self.entries[at])
    }

    /// The first stretch that holds a frame with an event time at or after `time_ms`.
    pub(crate) fn seek_time(&self, time_ms: i64) -> Option<IndexEntry> {
        let at = self.entries.partition_point(|entry| entry.time_max_ms < time_ms);
        self.entries.get(at).copied()
    }

    /// Returns the file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[12..16].copy_from_slice(&(self.entries.len() as u32).to_le_bytes());
        out[16..24].copy_from_slice(&self.base.to_le_bytes());
        out[24..32].copy_from_slice(&self.end.to_le_bytes());
        out[32..40].copy_from_slice(&self.bytes.to_le_bytes());
        out[40..48].copy_from_slice(&self.time_min_ms.to_le_bytes());
        out[48..56].copy_from_slice(&self.time_max_ms.to_le_bytes());
        for entry in &self.entries {
            out.extend_from_slice(&entry.base.to_le_bytes());
            out.extend_from_slice(&entry.at.to_le_bytes());
            out.extend_from_slice(&entry.time_max_ms.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[12..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a file's bytes; none when they are not an index as this program writes it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC || u32_at(bytes, 8) != crc32c::crc32c(&bytes[12..]) {
            return None;
        }
        let entries = &bytes[HEADER_BYTES..];
        if entries.len() != (u32_at(bytes, 12) as usize).checked_mul(ENTRY_BYTES)? {
            return None;
        }
        let entry = |e: &[u8]| IndexEntry { base: u64_at(e, 0), at: u64_at(e, 8), time_max_ms: i64_at(e, 16) };
        Some(Self {
            base: u64_at(bytes, 16),
            end: u64_at(bytes, 24),
            bytes: u64_at(bytes, 32),
            time_min_ms: i64_at(bytes, 40),
            time_max_ms: i64_at(bytes, 48),
            entries: entries.chunks_exact(ENTRY_BYTES).map(entry).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{FrameKind, StoredAs};
    use super::*;
    use proptest::prelude::*;

    fn frame(base: u64, count: u32, stored_bytes: u32, time: i64) -> FrameHeader {
        FrameHeader {
            stored_bytes,
            raw_bytes: stored_bytes,
            count,
            producer_bytes: 0,
            stored_as: StoredAs::Plain,
            kind: FrameKind::Records,
            base,
            time_min_ms: time,
            time_max_ms: time,
            durable_bytes: 0,
            body_crc: 0,
        }
    }

    proptest! {
        #[test]
        fn look_ups_land_at_or_before_the_frame(
            frames in prop::collection::vec((1u32..5, 1u32..200_000, -50i64..50), 1..40),
        ) {
            let mut index = SegmentIndex::new(10, 96);
            let (mut base, mut places) = (10, Vec::new());
            for (count, bytes, time) in frames {
                places.push((base, index.bytes, time));
                index.push(&frame(base, count, bytes, time));
                base += u64::from(count);
            }
            prop_assert_eq!(index.end, base);
            prop_assert_eq!(SegmentIndex::decode(&index.encode()), Some(index.clone()));
            for (offset, at, time) in &places {
                let found = index.seek(*offset).expect("holds it");
                prop_assert!(found.base <= *offset && found.at <= *at && at - found.at < INDEX_EVERY_BYTES);
                let first = places.iter().find(|(_, _, t)| t >= time).expect("itself");
                let stretch = index.seek_time(*time).expect("holds it");
                prop_assert!(stretch.at <= first.1 && first.1 - stretch.at < INDEX_EVERY_BYTES);
            }
            prop_assert_eq!(index.seek(9), None);
            prop_assert_eq!(index.seek_time(50), None);
        }

        #[test]
        fn outside_bytes_never_panic(bytes: Vec<u8>) {
            let _ = SegmentIndex::decode(&bytes);
        }
    }
}
