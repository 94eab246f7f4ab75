//! A frame: some records of one append, or the states of all producers.
//!
//! ```text
//!  0  4  magic "PSF1"
//!  4  4  CRC32C of bytes 8..64, seeded with the segment's
//!  8  4  payload bytes as stored
//! 12  4  payload bytes before compression
//! 16  4  record count
//! 20  2  producer bytes
//! 22  1  codec: 0 none, 1 lz4 block, 2 zstd
//! 23  1  kind: 0 records, 1 producer states
//! 24  8  base offset
//! 32  8  earliest event time, Unix milliseconds, inclusive
//! 40  8  latest event time, inclusive
//! 48  8  the segment's bytes that were durable when this frame was written
//! 56  4  CRC32C of producer and payload
//! 60  4  zero
//! 64  .. producer: u16 id length, id, position; then the payload
//! ```
//!
//! The field at 48 tells a torn tail from damage. A power cut may leave a later frame on the disk and lose an earlier
//! one, as long as neither was durable; but a frame that says that bytes beyond the damage were already durable proves
//! that something confirmed was lost, and that is never cut away in silence.

use super::{i64_at, u32_at, u64_at};
use model::ProducerId;

pub(crate) const FRAME_HEADER_BYTES: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"PSF1");

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum StoredAs {
    Plain = 0,
    Lz4 = 1,
    Zstd = 2,
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    Records = 0,
    Producers = 1,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) stored_bytes: u32,
    pub(crate) raw_bytes: u32,
    pub(crate) count: u32,
    pub(crate) producer_bytes: u16,
    pub(crate) stored_as: StoredAs,
    pub(crate) kind: FrameKind,
    pub(crate) base: u64,
    pub(crate) time_min_ms: i64,
    pub(crate) time_max_ms: i64,
    pub(crate) durable_bytes: u64,
    pub(crate) body_crc: u32,
}

impl FrameHeader {
    /// Producer and payload bytes.
    pub(crate) fn body_bytes(&self) -> usize {
        usize::from(self.producer_bytes) + self.stored_bytes as usize
    }

    /// The whole frame's bytes.
    pub(crate) fn frame_bytes(&self) -> u64 {
        (FRAME_HEADER_BYTES + self.body_bytes()) as u64
    }

    /// The offset after its last record.
    pub(crate) fn end(&self) -> u64 {
        self.base + u64::from(self.count)
    }

    /// Returns the header's bytes.
    pub(crate) fn encode(&self, seed: u32) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&self.stored_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&self.raw_bytes.to_le_bytes());
        out[16..20].copy_from_slice(&self.count.to_le_bytes());
        out[20..22].copy_from_slice(&self.producer_bytes.to_le_bytes());
        out[22] = self.stored_as as u8;
        out[23] = self.kind as u8;
        out[24..32].copy_from_slice(&self.base.to_le_bytes());
        out[32..40].copy_from_slice(&self.time_min_ms.to_le_bytes());
        out[40..48].copy_from_slice(&self.time_max_ms.to_le_bytes());
        out[48..56].copy_from_slice(&self.durable_bytes.to_le_bytes());
        out[56..60].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header from the first bytes of a slice.
    ///
    /// # Errors
    /// Says in words what is wrong; nothing of a refused header may be used.
    pub(crate) fn decode(bytes: &[u8], seed: u32) -> Result<Self, &'static str> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES).ok_or("the frame header is cut off")?;
        if u32_at(bytes, 0) != MAGIC {
            return Err("no frame begins here");
        }
        if u32_at(bytes, 4) != crc32c::crc32c_append(seed, &bytes[8..]) {
            return Err("the frame header's checksum is wrong");
        }
        let stored_as = match bytes[22] {
            0 => StoredAs::Plain,
            1 => StoredAs::Lz4,
            2 => StoredAs::Zstd,
            _ => return Err("its codec is unknown"),
        };
        let kind = match bytes[23] {
            0 => FrameKind::Records,
            1 => FrameKind::Producers,
            _ => return Err("its kind is unknown"),
        };
        Ok(Self {
            stored_bytes: u32_at(bytes, 8),
            raw_bytes: u32_at(bytes, 12),
            count: u32_at(bytes, 16),
            producer_bytes: super::u16_at(bytes, 20),
            stored_as,
            kind,
            base: u64_at(bytes, 24),
            time_min_ms: i64_at(bytes, 32),
            time_max_ms: i64_at(bytes, 40),
            durable_bytes: u64_at(bytes, 48),
            body_crc: u32_at(bytes, 56),
        })
    }

    /// Says whether the body is what was written.
    pub(crate) fn body_matches(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes() && crc32c::crc32c(body) == self.body_crc
    }
}

/// Packs a producer with its position.
pub(crate) fn encode_producer(id: &ProducerId, position: &[u8]) -> Vec<u8> {
    let id = id.as_str().as_bytes();
    let mut out = Vec::with_capacity(2 + id.len() + position.len());
    out.extend_from_slice(&(id.len() as u16).to_le_bytes());
    out.extend_from_slice(id);
    out.extend_from_slice(position);
    out
}

/// Unpacks a producer and its position.
pub(crate) fn decode_producer(bytes: &[u8]) -> Option<(ProducerId, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (id, position) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((ProducerId::new(std::str::from_utf8(id).ok()?), position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> FrameHeader {
        FrameHeader {
            stored_bytes: 5,
            raw_bytes: 9,
            count: 2,
            producer_bytes: 3,
            stored_as: StoredAs::Lz4,
            kind: FrameKind::Records,
            base: 77,
            time_min_ms: -4,
            time_max_ms: 9,
            durable_bytes: 1000,
            body_crc: 0xdead_beef,
        }
    }

    #[test]
    fn header_comes_back_and_any_flipped_bit_is_noticed() {
        let bytes = header().encode(5);
        assert_eq!(FrameHeader::decode(&bytes, 5), Ok(header()));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&bad, 5).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn header_of_another_segment_is_refused() {
        assert!(FrameHeader::decode(&header().encode(5), 6).is_err());
    }

    proptest! {
        #[test]
        fn outside_bytes_never_panic(bytes: Vec<u8>, seed: u32) {
            let _ = FrameHeader::decode(&bytes, seed);
            let _ = decode_producer(&bytes);
        }

        #[test]
        fn producer_comes_back(id in ".{0,20}", position: Vec<u8>) {
            let id = ProducerId::new(id);
            let bytes = encode_producer(&id, &position);
            prop_assert_eq!(decode_producer(&bytes), Some((id, position.as_slice())));
        }
    }
}
