//! The bytes on disk: segment header, frames, producer states, index files.
//!
//! All numbers are little endian. A segment file is its header and then frames without gaps:
//!
//! ```text
//! | segment header 32 | frame header 64 | producer | payload | frame header 64 | ...
//! ```
//!
//! Invariants: (1) every frame header is covered by a CRC32C that starts from the segment header's own CRC, so bytes of
//! another segment (a payload that holds log files) never pass for a frame; (2) producer and payload are covered by the
//! header's body CRC; (3) nothing here trusts a length before its CRC was checked.

pub(crate) mod compress;
pub(crate) mod frame;
pub(crate) mod index;
pub(crate) mod producers;
pub(crate) mod segment;

/// Reads `N` bytes at a place that the caller knows to be inside.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(array(bytes, at))
}
