//! One stream that the source writes to.

use crate::envelope::TransactionEnd;
use contract::{AcceptedEnd, Log, LogError, ProducerState};
use model::{BatchFull, ProducerId, RecordBatchBuilder, SourcePosition, StreamPartition};
use std::sync::Arc;

/// A stream's batch in the making and its position.
pub(crate) struct Outlet {
    pub(crate) to: StreamPartition,
    pub(crate) builder: RecordBatchBuilder,
    producer: ProducerId,
    epoch: u64,
    /// Of the last change that is in the log or in the builder.
    position: SourcePosition,
    end: AcceptedEnd,
    /// Whether the ends of transactions are marked.
    transactions: bool,
    /// Changes of the transaction that is being read, those included that are in the log already.
    changes: u64,
}

impl Outlet {
    pub(crate) fn new(
        to: StreamPartition,
        producer: ProducerId,
        epoch: u64,
        position: SourcePosition,
        end: AcceptedEnd,
    ) -> Self {
        Self {
            to,
            builder: RecordBatchBuilder::default(),
            producer,
            epoch,
            position,
            end,
            transactions: false,
            changes: 0,
        }
    }

    /// Says whether the ends of transactions are marked.
    pub(crate) fn with_transactions(self, transactions: bool) -> Self {
        Self { transactions, ..self }
    }

    /// Counts a change of the stream's tables.
    #[inline]
    pub(crate) fn changed(&mut self) {
        self.changes += 1;
    }

    /// A transaction has ended; `position` is behind its last change. Marks its end, if it changed anything of the stream and the
    /// mark is not in the log already.
    ///
    /// # Errors
    /// `BatchFull`, never in fact: a mark is some hundred bytes.
    pub(crate) fn end_transaction(&mut self, end: &TransactionEnd, position: SourcePosition) -> Result<(), BatchFull> {
        let changes = std::mem::take(&mut self.changes);
        if !self.transactions || changes == 0 || self.has(position) {
            return Ok(());
        }
        end.write(&mut self.builder, changes)?;
        self.wrote(position);
        Ok(())
    }

    /// True when the change is in the log already.
    #[inline]
    pub(crate) fn has(&self, position: SourcePosition) -> bool {
        position <= self.position
    }

    /// Says that the builder now holds everything of this change.
    #[inline]
    pub(crate) fn wrote(&mut self, position: SourcePosition) {
        self.position = position;
    }

    /// The end of what was appended.
    pub(crate) fn end(&self) -> AcceptedEnd {
        self.end
    }

    /// Appends what the builder holds; the number of records and bytes.
    pub(crate) async fn flush(&mut self, log: &Arc<dyn Log>) -> Result<(u64, u64), LogError> {
        if self.builder.is_empty() {
            return Ok((0, 0));
        }
        let batch = self.builder.finish();
        let counts = (u64::from(batch.count()), batch.bytes().len() as u64);
        let stored = crate::position::StoredPosition { position: self.position, epoch: self.epoch };
        let state = ProducerState { producer: self.producer.clone(), position: stored.to_bytes() };
        self.end = log.append(&self.to, batch, Some(state)).await?.accepted();
        Ok(counts)
    }

    /// Appends a batch of the copy; the builder must be empty.
    pub(crate) async fn append_chunk(
        &mut self,
        log: &Arc<dyn Log>,
        batch: model::RecordBatch,
        state: ProducerState,
    ) -> Result<AcceptedEnd, LogError> {
        assert!(self.builder.is_empty(), "live changes before a chunk are appended before it");
        self.end = log.append(&self.to, batch, Some(state)).await?.accepted();
        Ok(self.end)
    }
}
