//! Taking batches in.

use super::{Partition, Pending, Phase, Prepared, Withdrawal, Writer};
use crate::fault::Failure;
use contract::{Appended, LogBatch, LogError};
use model::Offset;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Above this size an append's copying and compressing leaves the async threads.
const BLOCKING_FROM_BYTES: usize = 2 << 20;

/// What an appender has already asked for.
#[derive(Default)]
struct Turn {
    /// Repairs that had been tried when it asked for one.
    asked_repair: Option<u64>,
}

impl Partition {
    /// Writes a batch; waits while the segment is rolled, a failure is repaired, or too much is not yet durable.
    pub(crate) async fn append(self: &Arc<Self>, frame: Prepared) -> Result<Appended, LogError> {
        let mut progress = self.progress.subscribe();
        let mut turn = Turn::default();
        let large = frame.batch.bytes().len() >= BLOCKING_FROM_BYTES;
        let frame = Arc::new(frame);
        loop {
            progress.borrow_and_update();
            let outcome = if large {
                let (this, frame) = (Arc::clone(self), Arc::clone(&frame));
                let tried = tokio::task::spawn_blocking(move || {
                    let outcome = this.try_append(&frame, &mut turn);
                    (outcome, turn)
                });
                let (outcome, back) = tried.await.map_err(|_| LogError::Closed)?;
                turn = back;
                outcome
            } else {
                self.try_append(&frame, &mut turn)
            };
            if let Some(appended) = outcome? {
                return Ok(appended);
            }
            progress.changed().await.map_err(|_| LogError::Closed)?;
        }
    }

    /// Writes the frame if it can be written now; none when the caller has to wait for progress.
    fn try_append(&self, frame: &Prepared, turn: &mut Turn) -> Result<Option<Appended>, LogError> {
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        if writer.closing {
            return Err(LogError::Closed);
        }
        writer.tell_withdrawal(frame)?;
        match &writer.phase {
            Phase::Open => {}
            Phase::Rolling => return Ok(None),
            Phase::Broken(failure) => match turn.asked_repair {
                Some(tried) if writer.repairs > tried => return Err(failure.error()),
                Some(_) => return Ok(None),
                None => {
                    turn.asked_repair = Some(writer.repairs);
                    writer.repair_wanted = true;
                    self.work.notify_all();
                    return Ok(None);
                }
            },
        }
        let first = writer.accepted.offset;
        if frame.is_nothing() {
            return Ok(Some(Appended { first: Offset(first), end: Offset(first), withdrawals: writer.epoch }));
        }
        let unsynced = writer.accepted.bytes - writer.durable.bytes;
        if unsynced > 0 && unsynced + frame.frame_bytes() > self.options.unsynced_bytes_max {
            return Ok(None);
        }
        self.write(writer, frame)?;
        self.work.notify_all();
        let end = Offset(writer.accepted.offset);
        Ok(Some(Appended { first: Offset(first), end, withdrawals: writer.epoch }))
    }

    fn write(&self, writer: &mut Writer, frame: &Prepared) -> Result<(), LogError> {
        let at = writer.accepted.bytes;
        let header = frame.header(writer.accepted.offset, writer.durable.bytes);
        let [producer, payload] = frame.body();
        let written = writer.file.write_at(at, &[&header.encode(writer.segment.seed), producer, payload]);
        if let Err(error) = written {
            let failure = Failure::new("writing", &writer.segment.path, &error);
            // Only this batch failed: what was accepted before it may still become durable, unless the torn bytes stay.
            if writer.file.set_len(at).is_err() {
                self.withdraw(writer, &failure);
            }
            return Err(failure.error());
        }
        writer.accepted.bytes = at + header.frame_bytes();
        writer.accepted.offset = header.end();
        if let Some(state) = &frame.producer {
            writer.producers_accepted.insert(state.producer.clone(), state.position.clone());
        }
        writer.pending.push_back(Pending { header, producer: frame.producer.clone() });
        self.accepted.store(header.end(), Ordering::Release);
        self.meters.appended_records.increment(u64::from(header.count));
        self.meters.stored_bytes.increment(header.frame_bytes());
        self.shelf
            .shared
            .cache
            .put(self.shelf.number, LogBatch { base: Offset(header.base), records: frame.batch.clone() });
        Ok(())
    }

    /// Takes back everything that is accepted and not durable.
    pub(super) fn withdraw(&self, writer: &mut Writer, failure: &Failure) {
        let from = writer.durable.offset;
        if writer.pending.iter().any(|pending| pending.producer.is_none()) {
            writer.fenced_anonymous = Some(failure.clone());
        }
        for producer in writer.pending_producers() {
            writer.fenced.insert(producer, failure.clone());
        }
        writer.pending.clear();
        writer.accepted = writer.durable;
        writer.producers_accepted = writer.producers_durable.clone();
        writer.epoch += 1;
        writer.withdrawals.push_back(Withdrawal { epoch: writer.epoch, from, failure: failure.clone() });
        if writer.withdrawals.len() > super::WITHDRAWALS_KEPT {
            writer.withdrawals.pop_front();
        }
        writer.phase = Phase::Broken(failure.clone());
        writer.repair_wanted = true;
        self.accepted.store(from, Ordering::Release);
        self.shelf.shared.cache.forget(self.shelf.number, Offset(from), Offset(u64::MAX));
        let epoch = writer.epoch;
        self.progress.send_modify(|progress| progress.epoch = epoch);
        self.work.notify_all();
        self.meters.withdrawals.increment(1);
        tracing::error!(of = %self.shelf.of, from, error = %failure.error(), "accepted records were withdrawn");
    }
}

impl Writer {
    /// Fails an append that follows a withdrawal of which its producer does not know.
    fn tell_withdrawal(&mut self, frame: &Prepared) -> Result<(), LogError> {
        match &frame.producer {
            Some(state) => match self.fenced.get(&state.producer) {
                Some(failure) => Err(failure.error()),
                None => Ok(()),
            },
            None => match self.fenced_anonymous.take() {
                Some(failure) => Err(failure.error()),
                None => Ok(()),
            },
        }
    }
}
