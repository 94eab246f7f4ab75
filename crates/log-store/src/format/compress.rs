//! Payload compression with reused buffers, and the habit of leaving alone what does not shrink.

use super::frame::StoredAs;
use crate::buffers::Buffers;
use crate::options::Codec;
use bytes::Bytes;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below this many bytes a frame is stored as it is: the header outweighs the gain.
const COMPRESS_FROM_BYTES: usize = 128;
/// LZ4 must save at least this part. It compresses about 600 MB/s, which is slower than the disks that it relieves: half a
/// batch of noise saved a quarter and halved the rate of durable appends. Rows as JSON save two thirds and more.
const LZ4_SAVED_PART_MIN: usize = 3;
/// Zstandard is chosen for the disk's sake: it is kept when at least an eighth is saved, so that reads pay for something.
const ZSTD_SAVED_PART_MIN: usize = 8;
/// After a frame that did not shrink so many are stored without an attempt; doubles up to the limit while it goes on.
const SKIP_FIRST: u32 = 4;
const SKIP_MAX: u32 = 64;
/// Buffers kept for the next frames, and the largest that is worth keeping.
const SPARE_BUFFERS: usize = 4;
const SPARE_BYTES_MAX: usize = 4 << 20;

/// Compresses the frames of one partition.
pub(crate) struct Compressor {
    codec: Codec,
    spare: Arc<Mutex<Vec<Scratch>>>,
    /// Frames to store plain before the next attempt.
    skip: AtomicU32,
    /// How long the next skip is.
    skip_next: AtomicU32,
}

#[derive(Default)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    table: CompressTable,
}

/// A payload as it will be stored.
pub(crate) enum Payload {
    Plain(Bytes),
    Compressed { stored_as: StoredAs, scratch: Option<Scratch>, length: usize, spare: Arc<Mutex<Vec<Scratch>>> },
}

impl Payload {
    /// The bytes to store.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Payload::Plain(bytes) => bytes,
            Payload::Compressed { scratch, length, .. } => scratch.as_ref().map_or(&[], |s| &s.bytes[..*length]),
        }
    }

    /// How they are stored.
    pub(crate) fn stored_as(&self) -> StoredAs {
        match self {
            Payload::Plain(_) => StoredAs::Plain,
            Payload::Compressed { stored_as, .. } => *stored_as,
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Payload::Compressed { scratch, spare, .. } = self
            && let Some(scratch) = scratch.take()
        {
            give_back(spare, scratch);
        }
    }
}

fn give_back(spare: &Mutex<Vec<Scratch>>, scratch: Scratch) {
    let mut spare = spare.lock();
    if scratch.bytes.len() <= SPARE_BYTES_MAX && spare.len() < SPARE_BUFFERS {
        spare.push(scratch);
    }
}

impl Compressor {
    /// Makes a compressor for one partition.
    pub(crate) fn new(codec: Codec) -> Self {
        Self { codec, spare: Arc::default(), skip: AtomicU32::new(0), skip_next: AtomicU32::new(SKIP_FIRST) }
    }

    /// Compresses a payload where it pays.
    pub(crate) fn compress(&self, raw: &Bytes) -> Payload {
        if self.codec == Codec::None || raw.len() < COMPRESS_FROM_BYTES || self.skips() {
            return Payload::Plain(raw.clone());
        }
        let mut scratch = self.spare.lock().pop().unwrap_or_default();
        let (stored_as, length, part) = match self.codec {
            Codec::Zstd => (StoredAs::Zstd, scratch.zstd(raw), ZSTD_SAVED_PART_MIN),
            _ => (StoredAs::Lz4, scratch.lz4(raw), LZ4_SAVED_PART_MIN),
        };
        match length {
            Some(length) if length + raw.len() / part <= raw.len() => {
                self.skip_next.store(SKIP_FIRST, Ordering::Relaxed);
                Payload::Compressed { stored_as, scratch: Some(scratch), length, spare: Arc::clone(&self.spare) }
            }
            _ => {
                give_back(&self.spare, scratch);
                let skip = self.skip_next.load(Ordering::Relaxed);
                self.skip.store(skip, Ordering::Relaxed);
                self.skip_next.store((skip * 2).min(SKIP_MAX), Ordering::Relaxed);
                Payload::Plain(raw.clone())
            }
        }
    }

    fn skips(&self) -> bool {
        self.skip.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

impl Scratch {
    fn lz4(&mut self, raw: &[u8]) -> Option<usize> {
        let room = get_maximum_output_size(raw.len());
        if self.bytes.len() < room {
            self.bytes.resize(room, 0);
        }
        compress_into_with_table(raw, &mut self.bytes, &mut self.table).ok()
    }

    fn zstd(&mut self, raw: &[u8]) -> Option<usize> {
        let room = zstd::zstd_safe::compress_bound(raw.len());
        if self.bytes.len() < room {
            self.bytes.resize(room, 0);
        }
        zstd::bulk::compress_to_buffer(raw, &mut self.bytes, 1).ok()
    }
}

/// Gives the payload back as it was before compression.
///
/// # Errors
/// Says in words why the bytes do not decode to exactly `raw_bytes`.
pub(crate) fn decompress(
    stored_as: StoredAs,
    stored: Bytes,
    raw_bytes: usize,
    buffers: &Arc<Buffers>,
) -> Result<Bytes, &'static str> {
    const WRONG_LENGTH: &str = "it decodes to another length than its header says";
    if stored_as == StoredAs::Plain {
        return if stored.len() == raw_bytes { Ok(stored) } else { Err(WRONG_LENGTH) };
    }
    let mut buffer = buffers.take(raw_bytes);
    // Old content stays where it is: only what was never used is filled with zeros.
    buffer.bytes.resize(raw_bytes, 0);
    let length = match stored_as {
        StoredAs::Zstd => {
            zstd::bulk::decompress_to_buffer(&stored, &mut buffer.bytes[..]).map_err(|_| "zstd cannot decode it")?
        }
        _ => lz4_flex::block::decompress_into(&stored, &mut buffer.bytes).map_err(|_| "LZ4 cannot decode it")?,
    };
    if length == raw_bytes { Ok(Bytes::from_owner(buffer)) } else { Err(WRONG_LENGTH) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn payload_comes_back_with_every_codec(piece: Vec<u8>, times in 1usize..40) {
            let raw = Bytes::from(piece.repeat(times));
            for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
                let payload = Compressor::new(codec).compress(&raw);
                let stored = Bytes::copy_from_slice(payload.bytes());
                prop_assert_eq!(decompress(payload.stored_as(), stored, raw.len(), &Arc::default()), Ok(raw.clone()));
            }
        }

        #[test]
        fn outside_bytes_are_refused_without_panic(bytes: Vec<u8>, length in 0usize..1000) {
            let _ = decompress(StoredAs::Lz4, Bytes::from(bytes.clone()), length, &Arc::default());
            let _ = decompress(StoredAs::Zstd, Bytes::from(bytes), length, &Arc::default());
        }
    }

    #[test]
    fn what_does_not_shrink_is_left_alone_for_a_while_and_tried_again() {
        use rand::{RngCore, SeedableRng};
        let mut noise = vec![0; 4096];
        rand::rngs::StdRng::seed_from_u64(1).fill_bytes(&mut noise);
        let (noise, text) = (Bytes::from(noise), Bytes::from(vec![b'a'; 4096]));
        let compressor = Compressor::new(Codec::Lz4);
        assert_eq!(compressor.compress(&noise).stored_as(), StoredAs::Plain);
        let tries: Vec<_> = (0..=SKIP_FIRST).map(|_| compressor.compress(&text).stored_as()).collect();
        assert_eq!(tries.iter().filter(|s| **s == StoredAs::Lz4).count(), 1);
        assert_eq!(tries.last(), Some(&StoredAs::Lz4));
    }
}
