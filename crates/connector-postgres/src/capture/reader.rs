//! The task that owns the socket: hands on what comes, answers the server whatever the rest does.

use crate::wire::{CopyStream, WireError};
use bytes::Bytes;
use contract::Clock;
use model::Lsn;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Pieces that wait for the capture loop; each holds at most 256 KiB, or one larger message.
pub(crate) const PIECES_MAX: usize = 8;
/// Without a word from the server for this long, it is asked; as long again, and the connection counts as dead.
const SILENCE: Duration = Duration::from_secs(30);

/// What the reader works with.
pub(crate) struct Reader {
    pub(crate) stream: CopyStream,
    pub(crate) pieces: mpsc::Sender<Bytes>,
    pub(crate) confirmed: watch::Receiver<Lsn>,
    /// How often the server is told at least; well below its `wal_sender_timeout`.
    pub(crate) status_period: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    /// Ends the stream in good order, with a last status.
    pub(crate) finish: CancellationToken,
}

enum Event {
    Finish,
    Tick,
    Confirmed,
    HandedOn,
    Filled,
}

impl Reader {
    /// Reads until `finish`, or an error; dropping it closes the connection.
    pub(crate) async fn run(mut self) -> Result<(), WireError> {
        let mut ticks = tokio::time::interval(self.status_period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut held: Option<Bytes> = None;
        let mut heard = self.clock.monotonic();
        let mut confirming = true;
        loop {
            if held.is_none() {
                held = self.stream.take()?;
            }
            if self.stream.take_reply_wanted() {
                self.tell(false).await?;
            }
            // Cancel-safe in every branch; the socket is read only while there is nothing to hand on.
            let event = tokio::select! {
                biased;
                () = self.finish.cancelled() => Event::Finish,
                _ = ticks.tick() => Event::Tick,
                changed = self.confirmed.changed(), if confirming => {
                    // Without its confirmer the session is about to end, for the confirmer's reason: not for ours.
                    confirming = changed.is_ok();
                    Event::Confirmed
                }
                permit = self.pieces.reserve(), if held.is_some() => match (permit, held.take()) {
                    (Ok(permit), Some(piece)) => {
                        permit.send(piece);
                        Event::HandedOn
                    }
                    // The capture loop is gone.
                    _ => Event::Finish,
                },
                filled = self.stream.fill(), if held.is_none() => {
                    filled?;
                    Event::Filled
                }
            };
            match event {
                Event::HandedOn => {}
                Event::Filled => heard = self.clock.monotonic(),
                Event::Confirmed => self.tell(false).await?,
                Event::Tick => {
                    let silence = self.clock.monotonic().saturating_sub(heard);
                    if held.is_none() && silence > SILENCE * 2 {
                        return Err(WireError::TimedOut);
                    }
                    self.tell(held.is_none() && silence > SILENCE).await?;
                }
                Event::Finish => return self.farewell().await,
            }
        }
    }

    /// Sends the last status, then ends the stream.
    async fn farewell(mut self) -> Result<(), WireError> {
        self.tell(false).await?;
        self.stream.close().await;
        Ok(())
    }

    async fn tell(&mut self, ask_reply: bool) -> Result<(), WireError> {
        let confirmed = *self.confirmed.borrow_and_update();
        self.stream.send_status(confirmed, self.clock.now_ms(), ask_reply).await
    }
}
