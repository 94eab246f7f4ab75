//! Making a partition, and finding its state again after any end of the process.

use super::repair::begin_segment;
use super::{Mark, Meters, Partition, Phase, Progress, Writer};
use crate::fault::{at_path, corrupt};
use crate::format::compress::Compressor;
use crate::format::index::SegmentIndex;
use crate::format::producers::Producers;
use crate::format::segment::{SegmentHeader, parse_segment_name, segment_name};
use crate::fs::{Access, LogFile};
use crate::options::LogOptions;
use crate::scan::{self, Scanned};
use crate::shelf::{Shared, Shelf};
use contract::{Clock, LogError, Retention};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;

/// Makes the folder of a partition with its first segment.
pub(crate) fn create_partition(shared: &Shared, dir: &Path, created_ms: i64) -> Result<(), LogError> {
    let files = &*shared.files;
    files.create_dir_all(dir).map_err(|e| at_path("creating", dir, e))?;
    let head = SegmentHeader { base: 0, created_ms, serial: shared.number() as u16 };
    begin_segment(files, dir, head, &Producers::new()).map_err(|failure| failure.error())?;
    Ok(())
}

/// Lists the first offsets of the segments, ascending; never empty.
pub(crate) fn list_bases(shelf: &Shelf) -> Result<Vec<u64>, LogError> {
    let names = shelf.shared.files.list(&shelf.dir).map_err(|e| at_path("listing", &shelf.dir, e))?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| parse_segment_name(name)).collect();
    bases.sort_unstable();
    if bases.is_empty() {
        return Err(corrupt(&shelf.dir, 0, "the partition's folder holds no segment"));
    }
    Ok(bases)
}

/// Puts a sealed segment on the shelf by name and size. Its content is checked when it is read: a start does not read
/// gigabytes.
pub(crate) fn shelve_sealed(shelf: &Shelf, base: u64) -> Result<(), LogError> {
    let path = shelf.dir.join(segment_name(base));
    let file = shelf.shared.files.open(&path, Access::Read).map_err(|e| at_path("opening", &path, e))?;
    let (_, seed) = scan::read_segment_header(&*file, &path, base)?;
    let bytes = file.len().map_err(|e| at_path("reading", &path, e))?;
    shelf.add(base, seed, bytes, None);
    Ok(())
}

/// What a partition is opened with.
pub(crate) struct OpenPartition {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) options: LogOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retention: Retention,
}

/// Recovers a partition and makes what is there durable.
///
/// # Errors
/// `Corrupt` when something that had been durable is damaged; `TooNew`; `Io`, `Full`.
pub(crate) fn open_partition(open: OpenPartition) -> Result<Partition, LogError> {
    let OpenPartition { shelf, options, clock, retention } = open;
    remove_leftovers(&shelf)?;
    let mut bases = list_bases(&shelf)?;
    let base = bases.pop().unwrap_or(0);
    for sealed in bases {
        shelve_sealed(&shelf, sealed)?;
    }
    let last = recover_last(&shelf, base)?;
    let end = Mark { offset: last.index.end, bytes: last.index.bytes };
    let segment = shelf.add(base, last.seed, 0, Some(last.index));
    let writer = Writer {
        phase: Phase::Open,
        file: last.file,
        segment,
        accepted: end,
        durable: end,
        pending: VecDeque::new(),
        producers_accepted: last.producers.clone(),
        producers_durable: last.producers,
        fenced: BTreeMap::new(),
        fenced_anonymous: None,
        withdrawals: VecDeque::new(),
        epoch: 0,
        repair_wanted: false,
        repairs: 0,
        closing: false,
    };
    Ok(Partition {
        meters: Meters::new(&shelf.of.stream),
        shelf,
        options,
        clock,
        compressor: Compressor::new(options.codec),
        retention: Mutex::new(retention),
        floors: Mutex::default(),
        writer: Mutex::new(writer),
        work: Condvar::new(),
        progress: watch::Sender::new(Progress { durable: end.offset, epoch: 0, closed: false }),
        accepted: AtomicU64::new(end.offset),
    })
}

/// Removes what a crash left under temporary names.
fn remove_leftovers(shelf: &Shelf) -> Result<(), LogError> {
    let files = &shelf.shared.files;
    let names = files.list(&shelf.dir).map_err(|e| at_path("listing", &shelf.dir, e))?;
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        let path = shelf.dir.join(name);
        files.remove(&path).map_err(|e| at_path("removing", &path, e))?;
    }
    Ok(())
}

struct Last {
    file: Arc<dyn LogFile>,
    seed: u32,
    index: SegmentIndex,
    producers: Producers,
}

/// Reads the last segment, cuts a torn tail, and syncs what stays.
fn recover_last(shelf: &Shelf, base: u64) -> Result<Last, LogError> {
    let path = shelf.dir.join(segment_name(base));
    let io = |action| {
        let path = path.clone();
        move |error| at_path(action, &path, error)
    };
    let file = shelf.shared.files.open(&path, Access::Write).map_err(io("opening"))?;
    let (_, seed) = scan::read_segment_header(&*file, &path, base)?;
    let length = file.len().map_err(io("reading"))?;
    let mut found = Scanned::new(base);
    let broken = scan::scan_on(&*file, seed, length, &mut found).map_err(io("reading"))?;
    let marked = shelf.read_index_file(base).map_or(0, |mark| mark.bytes);
    if marked > found.index.bytes {
        let why = broken.map_or("the file is shorter than it was", |broken| broken.why);
        return Err(corrupt(&path, found.index.bytes, format!("{why}; {marked} bytes had been made durable")));
    }
    if let Some(broken) = broken {
        let proof = scan::find_proof_of_damage(&*file, seed, broken.at, length).map_err(io("reading"))?;
        if let Some(proof) = proof {
            let why = format!("{}; the frame at byte {proof} says that this part had been durable", broken.why);
            return Err(corrupt(&path, broken.at, why));
        }
        tracing::warn!(
            path = %path.display(), at = broken.at, bytes = length - broken.at, why = broken.why,
            "cut a torn tail: these bytes were never confirmed"
        );
        metrics::counter!("penstock_log_torn_bytes_total").increment(length - broken.at);
        file.set_len(broken.at).map_err(io("cutting"))?;
    }
    let (proven, end) = (found.proven_bytes.max(marked), found.index.bytes);
    rewrite(&*file, proven, end).map_err(io("writing"))?;
    file.sync().map_err(io("syncing"))?;
    shelf.shared.files.sync_dir(&shelf.dir).map_err(io("syncing the folder of"))?;
    if proven < end {
        let again = scan::scan_on(&*file, seed, end, &mut Scanned::new(base)).map_err(io("reading"))?;
        if let Some(broken) = again {
            return Err(corrupt(&path, broken.at, format!("{} after it was read well a moment ago", broken.why)));
        }
    }
    Ok(Last { file, seed, index: found.index, producers: found.producers })
}

/// Writes a part of the file over itself, so that the next sync really writes it.
///
/// After a mere end of the process the last frames may stand in memory only; and if their sync had failed, the kernel
/// calls these pages clean, so that a sync alone would answer well and write nothing.
fn rewrite(file: &dyn LogFile, from: u64, to: u64) -> std::io::Result<()> {
    const PIECE_BYTES: u64 = 1 << 20;
    let mut piece = Vec::new();
    let mut at = from;
    while at < to {
        piece.clear();
        file.read_at(at, (to - at).min(PIECE_BYTES) as usize, &mut piece)?;
        if piece.is_empty() {
            break;
        }
        file.write_at(at, &[&piece])?;
        at += piece.len() as u64;
    }
    Ok(())
}
