//! Beginning a segment, and putting things right after a failed write or sync.
//!
//! After a failed `fdatasync` the kernel may have dropped the pages and called them clean, so syncing the same file again
//! proves nothing (the "fsyncgate" of 2018). What was durable before is cut free and checked; everything new goes into a
//! new segment.

use super::{Mark, Partition, Phase};
use crate::fault::Failure;
use crate::format::frame::{FrameHeader, FrameKind, StoredAs};
use crate::format::index::SegmentIndex;
use crate::format::producers::{Producers, encode_producers};
use crate::format::segment::{SegmentHeader, index_name, segment_name};
use crate::fs::{Files, LogFile};
use crate::scan::{self, Scanned};
use crate::shelf::Segment;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A segment that exists, durably, and holds no record yet.
pub(super) struct Begun {
    pub(super) file: Arc<dyn LogFile>,
    pub(super) base: u64,
    pub(super) seed: u32,
    pub(super) bytes: u64,
}

/// Makes a segment file under a temporary name, syncs it, and gives it its name: no crash leaves half a header.
pub(super) fn begin_segment(
    files: &dyn Files,
    dir: &Path,
    head: SegmentHeader,
    producers: &Producers,
) -> Result<Begun, Failure> {
    let base = head.base;
    let path = dir.join(segment_name(base));
    let temporary = path.with_extension("tmp");
    let failed = |action| move |error: io::Error| Failure::new(action, &dir.join(segment_name(base)), &error);
    let head = head.encode();
    let seed = SegmentHeader::decode(&head).map_or(0, |(_, seed)| seed);
    let states = encode_producers(producers);
    let frame = FrameHeader {
        stored_bytes: states.len() as u32,
        raw_bytes: states.len() as u32,
        count: 0,
        producer_bytes: 0,
        stored_as: StoredAs::Plain,
        kind: FrameKind::Producers,
        base,
        time_min_ms: i64::MAX,
        time_max_ms: i64::MIN,
        durable_bytes: 0,
        body_crc: crc32c::crc32c(&states),
    };
    let file = files.create(&temporary).map_err(failed("creating"))?;
    file.write_at(0, &[&head, &frame.encode(seed), &states]).map_err(failed("writing"))?;
    file.sync().map_err(failed("syncing"))?;
    // A mark of the file that this one replaces would speak of bytes that the new one does not have.
    match files.remove(&dir.join(index_name(base))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("removing the index of")(error)),
        _ => {}
    }
    files.rename(&temporary, &path).map_err(failed("naming"))?;
    files.sync_dir(dir).map_err(failed("syncing the folder of"))?;
    Ok(Begun { file, base, seed, bytes: head.len() as u64 + frame.frame_bytes() })
}

impl Partition {
    pub(super) fn begin_segment(&self, base: u64, producers: &Producers) -> Result<Begun, Failure> {
        let shared = &self.shelf.shared;
        let head = SegmentHeader { base, created_ms: self.clock.now_ms(), serial: shared.number() as u16 };
        begin_segment(&*shared.files, self.dir(), head, producers)
    }

    pub(super) fn write_index(&self, segment: &Segment) {
        if let Some(index) = segment.index() {
            self.shelf.write_index_file(&index);
        }
    }

    /// Lets appends go into a new segment.
    pub(super) fn take_over(&self, begun: Begun) {
        let mut writer = self.writer.lock();
        assert!(writer.pending.is_empty(), "a segment is left only when it is durable to its end");
        assert_eq!(begun.base, writer.durable.offset, "the next segment begins where the durable records end");
        let index = SegmentIndex::new(begun.base, begun.bytes);
        writer.segment = self.shelf.add(begun.base, begun.seed, begun.bytes, Some(index));
        writer.file = begun.file;
        writer.durable = Mark { offset: begun.base, bytes: begun.bytes };
        writer.accepted = writer.durable;
        writer.phase = Phase::Open;
        writer.repairs += 1;
        drop(writer);
        self.progress.send_modify(|_| {});
    }

    /// Tries once to get the partition going again.
    pub(super) fn repair(&self) {
        let (file, segment, durable, producers) = {
            let writer = self.writer.lock();
            (Arc::clone(&writer.file), Arc::clone(&writer.segment), writer.durable, writer.producers_durable.clone())
        };
        // A segment without durable records is replaced by the new one, which has the same first offset.
        let kept = if durable.offset > segment.base { self.cut_free(&*file, &segment, durable) } else { Ok(()) };
        match kept.and_then(|()| self.begin_segment(durable.offset, &producers)) {
            Ok(begun) => {
                self.take_over(begun);
                if segment.base != durable.offset {
                    self.write_index(&segment);
                }
                tracing::info!(of = %self.shelf.of, from = durable.offset, "the log takes appends again");
            }
            Err(failure) => self.stay_broken(failure),
        }
    }

    /// Cuts a segment to its durable part and checks that part.
    fn cut_free(&self, file: &dyn LogFile, segment: &Segment, durable: Mark) -> Result<(), Failure> {
        let failed = |action| move |error: io::Error| Failure::new(action, &segment.path, &error);
        file.set_len(durable.bytes).map_err(failed("cutting"))?;
        file.sync().map_err(failed("syncing"))?;
        let broken = scan::scan_on(file, segment.seed, durable.bytes, &mut Scanned::new(segment.base))
            .map_err(failed("reading"))?;
        match broken {
            Some(broken) => {
                let cause = format!("durable bytes were lost at {}: {}", broken.at, broken.why);
                Err(failed("checking")(io::Error::new(io::ErrorKind::InvalidData, cause)))
            }
            None => Ok(()),
        }
    }
}
