//! The byte stream below the protocol: TCP, a Unix socket, either under TLS, and whole messages read from it.

use super::error::WireError;
use crate::connect::{Endpoint, TlsMode, client_config};
use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::config::{Host, SslNegotiation};
use tokio_rustls::TlsConnector;

/// A message's tag and length.
pub(super) const HEADER_BYTES: usize = 5;
/// One read takes at most this much; large enough that a system call costs little per row.
const READ_BYTES: usize = 256 << 10;
/// A field of PostgreSQL holds at most 1 GiB, so that no message is larger than some of them; what claims more is no message.
const MESSAGE_BYTES_MAX: usize = 0x7fff_fff0;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connected socket with what was read and not yet taken.
pub(super) struct Socket {
    stream: Box<dyn Stream>,
    pub(super) buffer: BytesMut,
}

impl Socket {
    /// Connects to the first host that answers, with TLS as the endpoint asks.
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, WireError> {
        let mut last = WireError::Protocol("the connection string names no host".into());
        for (index, host) in hosts(endpoint).into_iter().enumerate() {
            let ports = endpoint.config.get_ports();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match Self::connect_to(endpoint, &host, port).await {
                Ok(stream) => return Ok(Self { stream, buffer: BytesMut::new() }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(endpoint: &Endpoint, host: &Host, port: u16) -> Result<Box<dyn Stream>, WireError> {
        match host {
            #[cfg(unix)]
            Host::Unix(dir) => {
                // A local socket takes no TLS, whatever sslmode says: libpq does the same.
                let stream = tokio::net::UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await?;
                Ok(Box::new(stream))
            }
            Host::Tcp(name) => {
                let stream = TcpStream::connect((name.as_str(), port)).await?;
                stream.set_nodelay(true)?;
                encrypted(endpoint, stream, name).await
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Reads more bytes into the buffer. Cancel-safe.
    pub(super) async fn fill(&mut self) -> Result<(), WireError> {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
            self.buffer.reserve(READ_BYTES);
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(WireError::Closed),
            _ => Ok(()),
        }
    }

    /// Reads one whole message: its tag and body. Cancel-safe.
    pub(super) async fn message(&mut self) -> Result<(u8, Bytes), WireError> {
        loop {
            if let Some((tag, total)) = head(&self.buffer)?
                && self.buffer.len() >= total
            {
                let mut message = self.buffer.split_to(total).freeze();
                message.advance(HEADER_BYTES);
                return Ok((tag, message));
            }
            self.fill().await?;
        }
    }
}

/// Reads a message's tag and its whole length, when both are there.
#[inline]
pub(super) fn head(bytes: &[u8]) -> Result<Option<(u8, usize)>, WireError> {
    let Some((head, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        return Err(WireError::Protocol(format!("a message claims a length of {length} bytes")));
    }
    Ok(Some((head[0], length + 1)))
}

fn hosts(endpoint: &Endpoint) -> Vec<Host> {
    let hosts = endpoint.config.get_hosts();
    let addresses = endpoint.config.get_hostaddrs();
    if hosts.is_empty() {
        return addresses.iter().map(|address| Host::Tcp(address.to_string())).collect();
    }
    hosts.to_vec()
}

async fn encrypted(endpoint: &Endpoint, mut stream: TcpStream, host: &str) -> Result<Box<dyn Stream>, WireError> {
    let Some(config) = client_config(endpoint).map_err(WireError::Refused)? else { return Ok(Box::new(stream)) };
    if endpoint.config.get_ssl_negotiation() != SslNegotiation::Direct {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).await?;
        match stream.read_u8().await? {
            b'S' => {}
            b'N' if endpoint.tls == TlsMode::Prefer => return Ok(Box::new(stream)),
            _ => {
                return Err(WireError::Auth("the server does not take TLS connections, which sslmode asks for".into()));
            }
        }
    }
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())
        .map_err(|_| WireError::Protocol(format!("{host:?} is no host name")))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(Box::new(stream))
}
