//! The thread that makes things durable: one `fdatasync` for all that wait, the roll to the next segment, repairs.

use super::{Mark, Partition, Phase, Writer};
use crate::fault::Failure;
use crate::fs::LogFile;
use std::path::Path;
use std::sync::Arc;

/// What the committer does next.
enum Job {
    Sync { file: Arc<dyn LogFile>, upto: Mark, epoch: u64 },
    Roll,
    Repair,
    End,
}

impl Partition {
    /// Runs until the partition is closed; what is accepted is made durable first.
    pub(crate) fn commit_until_closed(&self) {
        loop {
            match self.next_job() {
                Job::Sync { file, upto, epoch } => self.sync(&*file, upto, epoch),
                Job::Roll => self.roll(),
                Job::Repair => self.repair(),
                Job::End => break,
            }
        }
        self.leave_clean_mark();
        self.progress.send_modify(|progress| progress.closed = true);
    }

    fn next_job(&self) -> Job {
        let mut writer = self.writer.lock();
        loop {
            if let Some(job) = self.job(&mut writer) {
                return job;
            }
            self.work.wait(&mut writer);
        }
    }

    fn job(&self, writer: &mut Writer) -> Option<Job> {
        if let Phase::Broken(_) = writer.phase {
            if writer.closing {
                return Some(Job::End);
            }
            return std::mem::take(&mut writer.repair_wanted).then_some(Job::Repair);
        }
        if writer.accepted.bytes >= self.options.segment_bytes && !writer.closing {
            writer.phase = Phase::Rolling;
        }
        if writer.accepted.bytes > writer.durable.bytes {
            let (file, upto) = (Arc::clone(&writer.file), writer.accepted);
            return Some(Job::Sync { file, upto, epoch: writer.epoch });
        }
        if writer.closing {
            return Some(Job::End);
        }
        matches!(writer.phase, Phase::Rolling).then_some(Job::Roll)
    }

    fn sync(&self, file: &dyn LogFile, upto: Mark, epoch: u64) {
        let began = self.clock.monotonic();
        let synced = file.sync();
        self.meters.fsync_seconds.record((self.clock.monotonic() - began).as_secs_f64());
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        if writer.epoch != epoch {
            // An appender has withdrawn in the meantime what was synced here.
            return;
        }
        match synced {
            Ok(()) => self.mark_durable(writer, upto),
            Err(error) => {
                let failure = Failure::new("syncing", &writer.segment.path, &error);
                self.withdraw(writer, &failure);
            }
        }
    }

    fn mark_durable(&self, writer: &mut Writer, upto: Mark) {
        let mut at = writer.durable.bytes;
        while at < upto.bytes
            && let Some(pending) = writer.pending.pop_front()
        {
            at += pending.header.frame_bytes();
            writer.segment.push(&pending.header);
            if let Some(state) = pending.producer {
                writer.producers_durable.insert(state.producer, state.position);
            }
        }
        assert_eq!(at, upto.bytes, "pending frames fill the bytes between durable and accepted");
        writer.durable = upto;
        self.progress.send_modify(|progress| progress.durable = upto.offset);
    }

    /// Seals the full segment and begins the next one.
    fn roll(&self) {
        let (sealed, next, producers) = {
            let writer = self.writer.lock();
            (Arc::clone(&writer.segment), writer.durable.offset, writer.producers_durable.clone())
        };
        match self.begin_segment(next, &producers) {
            Ok(begun) => {
                self.take_over(begun);
                if sealed.base != next {
                    self.write_index(&sealed);
                }
            }
            Err(failure) => self.stay_broken(failure),
        }
    }

    pub(super) fn stay_broken(&self, failure: Failure) {
        let mut writer = self.writer.lock();
        tracing::error!(of = %self.shelf.of, error = %failure.error(), "the log takes no appends until this is repaired");
        writer.phase = Phase::Broken(failure);
        writer.repairs += 1;
        drop(writer);
        self.progress.send_modify(|_| {});
    }

    /// On a graceful end, notes how many bytes of the last segment are durable: at the next start a shorter or damaged
    /// file is then known for what it is.
    fn leave_clean_mark(&self) {
        let segment = Arc::clone(&self.writer.lock().segment);
        self.write_index(&segment);
    }

    /// Path of the partition's folder, for messages.
    pub(super) fn dir(&self) -> &Path {
        &self.shelf.dir
    }
}
