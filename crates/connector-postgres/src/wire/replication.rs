//! A connection in replication mode, up to the start of the stream.

use super::auth::authenticate;
use super::copy::CopyStream;
use super::error::WireError;
use super::socket::Socket;
use crate::connect::Endpoint;
use crate::refusal::{literal, quoted};
use bytes::{Buf, Bytes, BytesMut};
use model::Lsn;
use postgres_protocol::message::frontend;
use std::time::Duration;

/// Who the server is (`IDENTIFY_SYSTEM`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Made once by initdb; the same on all standbys of a cluster.
    pub(crate) system: u64,
    /// One more after each promotion.
    pub(crate) timeline: u32,
    /// Where each earlier timeline ended, as far as the server tells.
    pub(crate) ends: Vec<(u32, Lsn)>,
}

impl Identity {
    /// Where this earlier timeline ended.
    pub(crate) fn end_of(&self, timeline: u32) -> Option<Lsn> {
        self.ends.iter().find(|(earlier, _)| *earlier == timeline).map(|(_, end)| *end)
    }
}

/// Reads a timeline history file: `timeline TAB end TAB reason` by line.
fn timeline_ends(text: &str) -> Vec<(u32, Lsn)> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// A connection that takes replication commands.
pub(crate) struct Replication {
    socket: Socket,
}

impl Replication {
    /// Connects and proves who we are.
    pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Self, WireError> {
        let patience = endpoint.config.get_connect_timeout().copied().unwrap_or(Duration::from_secs(10));
        tokio::time::timeout(patience, Self::connect_patiently(endpoint)).await.map_err(|_| WireError::TimedOut)?
    }

    async fn connect_patiently(endpoint: &Endpoint) -> Result<Self, WireError> {
        let mut socket = Socket::connect(endpoint).await?;
        let options = endpoint.options();
        let parameters = [
            ("user", endpoint.user()),
            ("database", endpoint.database.as_str()),
            ("replication", "database"),
            ("client_encoding", "UTF8"),
            ("application_name", endpoint.config.get_application_name().unwrap_or("penstock")),
            ("options", options.as_str()),
        ];
        let mut message = BytesMut::new();
        frontend::startup_message(parameters, &mut message)?;
        socket.write(&message).await?;
        authenticate(&mut socket, endpoint).await?;
        let mut connection = Self { socket };
        connection.until_ready("starting a session").await?;
        Ok(connection)
    }

    /// Asks the server who it is.
    pub(crate) async fn identify(&mut self) -> Result<Identity, WireError> {
        let rows = self.query("IDENTIFY_SYSTEM").await?;
        let field = |index: usize| rows.first().and_then(|row| row.get(index)?.as_deref());
        let wrong = || WireError::Protocol("IDENTIFY_SYSTEM answered something else".into());
        let system = field(0).and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        let timeline: u32 = field(1).and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        let mut ends = Vec::new();
        if timeline > 1 {
            // A server that has lost the file tells nothing; the slot is then judged without it.
            let rows = self.query(&format!("TIMELINE_HISTORY {timeline}")).await.unwrap_or_default();
            let content = rows.first().and_then(|row| row.get(1)?.as_deref());
            ends = content.map(timeline_ends).unwrap_or_default();
        }
        Ok(Identity { system, timeline, ends })
    }

    /// Starts reading the slot from what it has confirmed.
    pub(crate) async fn start(mut self, slot: &str, publication: &str) -> Result<CopyStream, WireError> {
        // The position 0/0 stands for the slot's confirmed_flush_lsn, below which the server never goes.
        self.send(&format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {}, messages 'true')",
            quoted(slot),
            literal(&quoted(publication)),
        ))
        .await?;
        loop {
            let (tag, body) = self.socket.message().await?;
            match tag {
                b'W' => return Ok(CopyStream::new(self.socket)),
                b'E' => return Err(WireError::from_body(&body)),
                b'N' | b'S' => {}
                other => return Err(WireError::unexpected(other, "starting replication")),
            }
        }
    }

    /// Runs one statement and returns its rows as text.
    pub(crate) async fn query(&mut self, statement: &str) -> Result<Vec<Vec<Option<String>>>, WireError> {
        self.send(statement).await?;
        self.until_ready("answering a command").await
    }

    async fn send(&mut self, statement: &str) -> Result<(), WireError> {
        let mut message = BytesMut::new();
        frontend::query(statement, &mut message)?;
        self.socket.write(&message).await
    }

    /// Reads up to ReadyForQuery; returns the rows that came by.
    async fn until_ready(&mut self, doing: &str) -> Result<Vec<Vec<Option<String>>>, WireError> {
        let (mut rows, mut failure) = (Vec::new(), None);
        loop {
            let (tag, body) = self.socket.message().await?;
            match tag {
                b'Z' => return failure.map_or(Ok(rows), Err),
                b'D' => rows.push(data_row(body)?),
                b'E' => {
                    let error = WireError::from_body(&body);
                    // Before the session stands, no ReadyForQuery follows an error: the server hangs up.
                    if doing == "starting a session" {
                        return Err(error);
                    }
                    failure = Some(error);
                }
                // Notices, parameter status, key data, row descriptions, command completions, notifications.
                b'N' | b'S' | b'K' | b'T' | b'C' | b'I' | b'A' | b'v' => {}
                other => return Err(WireError::unexpected(other, doing)),
            }
        }
    }
}

fn data_row(mut body: Bytes) -> Result<Vec<Option<String>>, WireError> {
    let cut_off = || WireError::Protocol("a row is cut off".into());
    let count = body.try_get_u16().map_err(|_| cut_off())?;
    (0..count)
        .map(|_| {
            let length = body.try_get_i32().map_err(|_| cut_off())?;
            let Ok(length) = usize::try_from(length) else { return Ok(None) };
            if body.remaining() < length {
                return Err(cut_off());
            }
            Ok(Some(String::from_utf8_lossy(&body.split_to(length)).into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeline_history_is_read_and_comments_are_left_out() {
        let text = "# comment\n1\t0/3000060\tno recovery target specified\n\n2\t1/A\tbefore 2000-01-01\n";
        assert_eq!(timeline_ends(text), [(1, Lsn(0x300_0060)), (2, Lsn(0x1_0000_000A))]);
    }
}
