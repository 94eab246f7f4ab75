//! The two-way copy stream: frames come in, standby status goes out.

use super::error::WireError;
use super::frames::{lsn_at, wants_reply};
use super::socket::{HEADER_BYTES, Socket, head};
use bytes::{BufMut, Bytes, BytesMut};
use model::Lsn;
use std::time::Duration;

/// Frames are handed on in pieces of at most about this much, so that a few of them bound the memory.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Microseconds between the Unix epoch and PostgreSQL's.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// The stream of one session.
pub(crate) struct CopyStream {
    socket: Socket,
    /// Everything below was seen by us.
    received: Lsn,
    reply_wanted: bool,
}

impl CopyStream {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, received: Lsn(0), reply_wanted: false }
    }

    /// Cuts off the whole CopyData messages that were read, for `frames`; none when there is no whole one.
    ///
    /// # Errors
    /// `Server` when the server ended the stream with a reason, once everything before it was taken.
    pub(crate) fn take(&mut self) -> Result<Option<Bytes>, WireError> {
        let mut end = 0;
        while let Some((tag, total)) = head(&self.socket.buffer[end..])? {
            let Some(message) = self.socket.buffer.get(end..end + total) else { break };
            match tag {
                b'd' => {
                    self.note(end..end + total);
                    end += total;
                    if end >= PIECE_BYTES_MAX {
                        break;
                    }
                }
                _ if end > 0 => break,
                b'E' => return Err(WireError::from_body(&message[HEADER_BYTES..])),
                b'c' => return Err(WireError::Closed),
                // Notices and parameter changes.
                _ => {
                    let _skipped = self.socket.buffer.split_to(total);
                }
            }
        }
        Ok((end > 0).then(|| self.socket.buffer.split_to(end).freeze()))
    }

    fn note(&mut self, range: std::ops::Range<usize>) {
        let message = &self.socket.buffer[range];
        self.reply_wanted |= wants_reply(message);
        if let Some(lsn) = lsn_at(message, HEADER_BYTES + 1) {
            self.received = self.received.max(lsn);
        }
    }

    /// Reads more from the socket. Cancel-safe.
    pub(crate) async fn fill(&mut self) -> Result<(), WireError> {
        self.socket.fill().await
    }

    /// True once after the server asked for a status at once.
    pub(crate) fn take_reply_wanted(&mut self) -> bool {
        std::mem::take(&mut self.reply_wanted)
    }

    /// Tells the server what is durable here, so that it may forget the WAL below.
    pub(crate) async fn send_status(&mut self, durable: Lsn, now_ms: i64, ask_reply: bool) -> Result<(), WireError> {
        let mut message = BytesMut::with_capacity(64);
        message.put_u8(b'd');
        message.put_u32(4 + 1 + 8 * 4 + 1);
        message.put_u8(b'r');
        message.put_u64(self.received.max(durable).0);
        message.put_u64(durable.0);
        message.put_u64(durable.0);
        message.put_i64(now_ms.saturating_mul(1000).saturating_sub(POSTGRES_EPOCH_US));
        message.put_u8(u8::from(ask_reply));
        self.socket.write(&message).await
    }

    /// Ends the stream in good order, so that the server has read the last status before it frees the slot.
    pub(crate) async fn close(mut self) {
        let farewell = async {
            let mut message = BytesMut::new();
            postgres_protocol::message::frontend::copy_done(&mut message);
            self.socket.write(&message).await?;
            // The server answers with its own CopyDone; what WAL still comes before it is read again next time.
            while self.socket.message().await?.0 != b'c' {}
            message.clear();
            postgres_protocol::message::frontend::terminate(&mut message);
            self.socket.write(&message).await
        };
        if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, farewell).await {
            tracing::debug!(%error, "the replication stream ended without a farewell");
        }
    }
}
