//! Walking over a segment's frames and checking each: recovery, index repair, following.

use crate::fault::{at_path, corrupt};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, decode_producer};
use crate::format::index::SegmentIndex;
use crate::format::producers::{Producers, decode_producers};
use crate::format::segment::{BadSegmentHeader, FORMAT_VERSION, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::fs::LogFile;
use bytes::Bytes;
use contract::LogError;
use std::io;
use std::path::Path;

/// Bodies are checked in pieces of this size, so that a scan's memory does not follow the largest frame.
const PIECE_BYTES: usize = 256 << 10;

/// Where a scan had to stop before the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) at: u64,
    pub(crate) why: &'static str,
}

/// What a scan has found in a segment so far.
#[derive(Clone, Debug)]
pub(crate) struct Scanned {
    pub(crate) index: SegmentIndex,
    pub(crate) producers: Producers,
    /// Bytes that a frame behind them says were durable.
    pub(crate) proven_bytes: u64,
}

impl Scanned {
    /// Begins before the first frame.
    pub(crate) fn new(base: u64) -> Self {
        let index = SegmentIndex::new(base, SEGMENT_HEADER_BYTES as u64);
        Self { index, producers: Producers::new(), proven_bytes: SEGMENT_HEADER_BYTES as u64 }
    }
}

/// Reads and checks a segment's header; returns it with the seed for its frames.
pub(crate) fn read_segment_header(
    file: &dyn LogFile,
    path: &Path,
    base: u64,
) -> Result<(SegmentHeader, u32), LogError> {
    let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
    file.read_at(0, SEGMENT_HEADER_BYTES, &mut bytes).map_err(|e| at_path("reading", path, e))?;
    match SegmentHeader::decode(&bytes) {
        Ok((header, seed)) if header.base == base => Ok((header, seed)),
        Ok(_) => Err(corrupt(path, 0, "its header names another first offset than its file name")),
        Err(BadSegmentHeader::Damaged(why)) => Err(corrupt(path, 0, why)),
        Err(BadSegmentHeader::TooNew(found)) => {
            Err(LogError::TooNew { path: path.display().to_string(), found, known: FORMAT_VERSION })
        }
    }
}

/// Checks the frames from where the last scan ended up to `limit` bytes.
///
/// Returns where it stopped when what follows is no whole, valid frame at the expected offset.
pub(crate) fn scan_on(file: &dyn LogFile, seed: u32, limit: u64, found: &mut Scanned) -> io::Result<Option<Broken>> {
    let Scanned { index, producers, proven_bytes } = found;
    let mut buffer = Vec::new();
    while index.bytes < limit {
        let at = index.bytes;
        let header = match read_frame_header(file, seed, at, limit, &mut buffer)? {
            Ok(header) => header,
            Err(why) => return Ok(Some(Broken { at, why })),
        };
        if header.base != index.end {
            return Ok(Some(Broken { at, why: "its base offset does not follow the frame before it" }));
        }
        let Some(kept) = check_body(file, at, &header, &mut buffer)? else {
            return Ok(Some(Broken { at, why: "the frame's checksum is wrong" }));
        };
        if !note_producers(&header, kept, producers) {
            return Ok(Some(Broken { at, why: "its producer states cannot be read" }));
        }
        index.push(&header);
        *proven_bytes = header.durable_bytes.max(*proven_bytes);
    }
    Ok(None)
}

/// Reads the frame header at `at`; the frame must end at or before `limit`.
pub(crate) fn read_frame_header(
    file: &dyn LogFile,
    seed: u32,
    at: u64,
    limit: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Result<FrameHeader, &'static str>> {
    buffer.clear();
    file.read_at(at, FRAME_HEADER_BYTES, buffer)?;
    Ok(FrameHeader::decode(buffer, seed).and_then(|header| {
        if at + header.frame_bytes() <= limit { Ok(header) } else { Err("the frame is longer than the file") }
    }))
}

/// Checks a body's CRC piece by piece; returns the first piece (or all of a frame of producer states), none when wrong.
fn check_body<'a>(
    file: &dyn LogFile,
    at: u64,
    header: &FrameHeader,
    buffer: &'a mut Vec<u8>,
) -> io::Result<Option<&'a [u8]>> {
    let body_at = at + FRAME_HEADER_BYTES as u64;
    let length = header.body_bytes();
    let first = if header.kind == FrameKind::Producers { length } else { length.min(PIECE_BYTES) };
    buffer.clear();
    file.read_at(body_at, first, buffer)?;
    let (mut crc, mut done) = (crc32c::crc32c(buffer), buffer.len());
    let mut piece = Vec::new();
    while done < length && done >= first {
        piece.clear();
        file.read_at(body_at + done as u64, PIECE_BYTES.min(length - done), &mut piece)?;
        if piece.is_empty() {
            break;
        }
        crc = crc32c::crc32c_append(crc, &piece);
        done += piece.len();
    }
    Ok((done == length && crc == header.body_crc).then_some(&buffer[..]))
}

fn note_producers(header: &FrameHeader, kept: &[u8], producers: &mut Producers) -> bool {
    if header.kind == FrameKind::Producers {
        let Some(states) = decode_producers(kept) else { return false };
        *producers = states;
    } else if header.producer_bytes > 0 {
        let state = kept.get(..usize::from(header.producer_bytes)).and_then(decode_producer);
        let Some((id, position)) = state else { return false };
        producers.insert(id, Bytes::copy_from_slice(position));
    }
    true
}

/// Looks behind a broken place for a frame which proves that the broken bytes had been durable.
///
/// Returns that frame's place. Frames that were never durable may outlive earlier ones that were not durable either, so
/// a valid frame alone proves nothing.
pub(crate) fn find_proof_of_damage(
    file: &dyn LogFile,
    seed: u32,
    broken_at: u64,
    length: u64,
) -> io::Result<Option<u64>> {
    const STEP: u64 = 1 << 20;
    let mut from = broken_at;
    let mut buffer = Vec::new();
    while from + FRAME_HEADER_BYTES as u64 <= length {
        buffer.clear();
        // Windows overlap by a header, so that none is missed on a border.
        file.read_at(from, STEP as usize + FRAME_HEADER_BYTES, &mut buffer)?;
        let last = buffer.len().saturating_sub(FRAME_HEADER_BYTES - 1);
        for at in 0..last.min(STEP as usize) {
            if buffer[at] == b'P'
                && let Ok(header) = FrameHeader::decode(&buffer[at..], seed)
                && header.durable_bytes > broken_at
            {
                return Ok(Some(from + at as u64));
            }
        }
        from += STEP;
    }
    Ok(None)
}
