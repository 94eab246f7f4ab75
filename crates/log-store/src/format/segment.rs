//! A segment's name and header.
//!
//! ```text
//!  0  8  magic "PENSTOCK"
//!  8  2  format version
//! 10  2  a running number, so that segments made in the same millisecond differ
//! 12  4  CRC32C of bytes 0..12 and 16..32: also the seed of the frame headers' CRCs
//! 16  8  first offset
//! 24  8  time of creation, Unix milliseconds
//! ```

use super::{i64_at, u16_at, u32_at, u64_at};

/// The format that this program writes; it reads every one up to it.
pub(crate) const FORMAT_VERSION: u16 = 1;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"PENSTOCK";

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) base: u64,
    pub(crate) created_ms: i64,
    pub(crate) serial: u16,
}

/// Why bytes are no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadSegmentHeader {
    Damaged(&'static str),
    TooNew(u16),
}

impl SegmentHeader {
    /// Returns the header's bytes.
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[10..12].copy_from_slice(&self.serial.to_le_bytes());
        out[16..24].copy_from_slice(&self.base.to_le_bytes());
        out[24..].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = checksum(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; returns it with the seed for its frames.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u32), BadSegmentHeader> {
        if bytes.len() < SEGMENT_HEADER_BYTES {
            return Err(BadSegmentHeader::Damaged("the segment header is cut off"));
        }
        if &bytes[..8] != MAGIC {
            return Err(BadSegmentHeader::Damaged("it does not begin with PENSTOCK"));
        }
        let version = u16_at(bytes, 8);
        if version > FORMAT_VERSION {
            return Err(BadSegmentHeader::TooNew(version));
        }
        let seed = u32_at(bytes, 12);
        if seed != checksum(bytes) || version == 0 {
            return Err(BadSegmentHeader::Damaged("the segment header's checksum is wrong"));
        }
        let (base, created_ms, serial) = (u64_at(bytes, 16), i64_at(bytes, 24), u16_at(bytes, 10));
        Ok((Self { base, created_ms, serial }, seed))
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..SEGMENT_HEADER_BYTES])
}

/// The file name of the segment that begins at `base`: twenty digits, so that names sort as offsets do.
pub(crate) fn segment_name(base: u64) -> String {
    format!("{base:020}.log")
}

/// The name of the segment's index.
pub(crate) fn index_name(base: u64) -> String {
    format!("{base:020}.index")
}

/// Parses a segment's file name; none for any other file.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_comes_back_and_any_flipped_bit_is_noticed() {
        let header = SegmentHeader { base: 7, created_ms: -1, serial: 0xfffe };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes).unwrap().0, header);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
        assert!(SegmentHeader::decode(&bytes[..31]).is_err());
    }

    #[test]
    fn newer_version_is_told_from_damage() {
        let mut bytes = SegmentHeader { base: 0, created_ms: 0, serial: 0 }.encode();
        bytes[8] = 9;
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadSegmentHeader::TooNew(9)));
    }

    #[test]
    fn only_twenty_digits_name_a_segment() {
        assert_eq!(parse_segment_name(&segment_name(42)), Some(42));
        assert_eq!(parse_segment_name(&segment_name(u64::MAX)), Some(u64::MAX));
        for name in ["1.log", "00000000000000000001.index", "0000000000000000000x.log", "99999999999999999999.log"] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }
}
