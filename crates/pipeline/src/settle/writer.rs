//! The one writer of `_settlements`: gathers what stands ready into one append, and syncs beside the next.
//!
//! ```text
//!   orders ─▶ gather ─▶ append ─▶ answer orders that want `accepted`
//!                          └────▶ sync ─▶ answer orders that want `durable`
//! ```
//!
//! A log that is full or fails stops nobody's counting: the writer tries again until there is room, in the same order, and
//! says so in its state; routes stop sending meanwhile.

use super::streams::{SETTLEMENTS, internal, push_json};
use contract::{AcceptedEnd, Log, LogError};
use model::{Offset, RecordBatch, RecordBatchBuilder, Retry, Settlement, StreamPartition};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Settlement bytes of one append.
const APPEND_BYTES_MAX: usize = 1 << 20;
/// Settlement bytes that are appended and not yet durable, above which the writer waits: it must be able to write them
/// again.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;

/// Settlements to be written.
#[derive(Debug)]
pub struct SettleOrder {
    /// May be empty: the answer then says that everything ordered before is accepted, or durable.
    pub settlements: Vec<Settlement>,
    /// Whether the answer waits for the disk.
    pub durable: bool,
    pub answer: oneshot::Sender<Settled>,
}

/// Where the settlements of an order stand: `[first, end)`, one offset each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub first: Offset,
    pub end: Offset,
}

/// How the writer fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettlerState {
    /// The log's refusal that it is waiting out, if any.
    pub trouble: Option<String>,
}

/// Orders settlements from the writer.
#[derive(Clone, Debug)]
pub struct Settler {
    // Unbounded, yet bounded: an order stands for rows in flight or for a scanned chunk, and both are bounded in bytes.
    orders: mpsc::UnboundedSender<SettleOrder>,
    state: watch::Receiver<SettlerState>,
}

impl Settler {
    /// Makes the writer; the future runs until every `Settler` is dropped and what they ordered is durable.
    pub fn start(log: Arc<dyn Log>) -> (Self, impl Future<Output = Result<(), LogError>> + Send) {
        let (orders, inbox) = mpsc::unbounded_channel();
        let (state, watched) = watch::channel(SettlerState::default());
        let writer = Writer { log, stream: internal(SETTLEMENTS), inbox, state, unsynced: VecDeque::new(), bytes: 0 };
        (Self { orders, state: watched }, writer.run())
    }

    /// Orders settlements to be written, after everything that was ordered before. The receiver fails when the writer has
    /// ended.
    pub fn order(&self, settlements: Vec<Settlement>, durable: bool) -> oneshot::Receiver<Settled> {
        let (answer, answered) = oneshot::channel();
        // When the writer is gone, the dropped answer tells the caller.
        let _ = self.orders.send(SettleOrder { settlements, durable, answer });
        answered
    }

    /// How the writer fares.
    pub fn state(&self) -> watch::Receiver<SettlerState> {
        self.state.clone()
    }
}

/// An append that is accepted and not yet durable.
struct Unsynced {
    records: RecordBatch,
    end: AcceptedEnd,
    answers: Vec<(oneshot::Sender<Settled>, Settled)>,
}

struct Writer {
    log: Arc<dyn Log>,
    stream: StreamPartition,
    inbox: mpsc::UnboundedReceiver<SettleOrder>,
    state: watch::Sender<SettlerState>,
    unsynced: VecDeque<Unsynced>,
    /// Bytes of `unsynced`.
    bytes: usize,
}

impl Writer {
    async fn run(mut self) -> Result<(), LogError> {
        let mut open = true;
        // Kept from turn to turn: a withdrawal is told to whoever waited while it happened.
        let mut syncing: Option<Syncing> = None;
        while open || !self.unsynced.is_empty() {
            if syncing.is_none()
                && let Some(newest) = self.unsynced.back()
            {
                syncing = Some(Box::pin(sync(self.log.clone(), self.stream.clone(), newest.end)));
            }
            tokio::select! {
                biased;
                order = self.inbox.recv(), if open && self.bytes < UNSYNCED_BYTES_MAX => match order {
                    Some(order) => self.write(order).await?,
                    None => open = false,
                },
                synced = finished(&mut syncing), if syncing.is_some() => {
                    syncing = None;
                    match synced {
                        Ok(end) => self.synced(end),
                        Err(error) => self.rewrite(error).await?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends an order and whatever else stands ready.
    async fn write(&mut self, first: SettleOrder) -> Result<(), LogError> {
        let mut records = RecordBatchBuilder::default();
        let mut orders = Vec::new();
        let mut next = Some(first);
        while let Some(order) = next {
            for settlement in &order.settlements {
                push_json(&mut records, settlement.at_ms, settlement);
            }
            orders.push(order);
            next = if records.len_bytes() < APPEND_BYTES_MAX { self.inbox.try_recv().ok() } else { None };
        }
        let records = records.finish();
        let (mut at, end) = self.append(&records).await?;
        let mut answers = Vec::new();
        for order in orders {
            let settled = Settled { first: at, end: at.plus(order.settlements.len() as u64) };
            at = settled.end;
            if order.durable {
                answers.push((order.answer, settled));
            } else {
                // A route that has ended does not care any more.
                let _ = order.answer.send(settled);
            }
        }
        self.bytes += records.bytes().len();
        self.unsynced.push_back(Unsynced { records, end, answers });
        Ok(())
    }

    /// Appends until the log takes it; returns where the first record stands, and the end.
    async fn append(&mut self, records: &RecordBatch) -> Result<(Offset, AcceptedEnd), LogError> {
        loop {
            if records.is_empty() {
                let end = match self.unsynced.back() {
                    Some(unsynced) => unsynced.end,
                    None => self.log.bounds(&self.stream)?.accepted_end(),
                };
                return Ok((end.offset, end));
            }
            match self.log.append(&self.stream, records.clone(), None).await {
                Ok(appended) => {
                    self.well();
                    return Ok((appended.first, appended.accepted()));
                }
                // What stood before it may be gone as well, and comes first.
                Err(error) => self.rewrite(error).await?,
            }
        }
    }

    fn synced(&mut self, end: Offset) {
        self.well();
        while let Some(unsynced) = self.unsynced.front()
            && unsynced.end.offset <= end
            && let Some(unsynced) = self.unsynced.pop_front()
        {
            self.bytes -= unsynced.records.bytes().len();
            for (answer, settled) in unsynced.answers {
                let _ = answer.send(settled);
            }
        }
    }

    /// Waits an error out, then writes again what the log withdrew. Only this writer appends to the stream, so what it
    /// accepted and did not withdraw ends where the log ends, and the rest comes to stand where it stood.
    async fn rewrite(&mut self, mut error: LogError) -> Result<(), LogError> {
        loop {
            self.wait_out(error).await?;
            let bounds = self.log.bounds(&self.stream)?;
            self.synced(bounds.durable);
            match self.append_again(bounds.accepted).await {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
        }
    }

    async fn append_again(&mut self, accepted: Offset) -> Result<(), LogError> {
        for unsynced in self.unsynced.iter_mut().filter(|unsynced| unsynced.end.offset > accepted) {
            if !unsynced.records.is_empty() {
                let appended = self.log.append(&self.stream, unsynced.records.clone(), None).await?;
                assert_eq!(appended.end, unsynced.end.offset, "somebody else appends to {SETTLEMENTS}");
                unsynced.end = appended.accepted();
            }
        }
        Ok(())
    }

    fn well(&self) {
        self.state.send_if_modified(|state| state.trouble.take().is_some());
    }

    /// Waits before the next try, or gives the error back when a try is useless.
    async fn wait_out(&self, error: LogError) -> Result<(), LogError> {
        let (delay, trouble) = delay_of(error)?;
        tracing::warn!(%trouble, "settlements wait for the log");
        self.state.send_replace(SettlerState { trouble: Some(trouble) });
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

type Syncing = Pin<Box<dyn Future<Output = Result<Offset, LogError>> + Send>>;

async fn sync(log: Arc<dyn Log>, stream: StreamPartition, end: AcceptedEnd) -> Result<Offset, LogError> {
    log.until_durable(&stream, end).await.map(|()| end.offset)
}

async fn finished(syncing: &mut Option<Syncing>) -> Result<Offset, LogError> {
    match syncing {
        Some(syncing) => syncing.await,
        None => std::future::pending().await,
    }
}

/// How long to wait before a log that refused is tried again.
///
/// # Errors
/// The refusal itself, when trying again is useless.
pub(crate) fn delay_of(error: LogError) -> Result<(Duration, String), LogError> {
    match error.retry() {
        Retry::After(delay) => Ok((delay, error.to_string())),
        Retry::AfterOperator | Retry::Never => Err(error),
    }
}
