//! A bounds-checked cursor over one message, and the error that says where it broke.

use model::{ErrorCode, Lsn, Retry};

/// Microseconds between the Unix epoch and PostgreSQL's (2000-01-01 00:00:00 UTC).
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Bytes that are no pgoutput message. The server's or our own fault, never the operator's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PS2001: the replication message {} breaks at byte {at}: {why}", Kind(*.kind))]
pub struct DecodeError {
    /// The message's first byte; 0 when it was empty.
    pub kind: u8,
    /// Byte offset in the message.
    pub at: usize,
    pub why: &'static str,
}

impl DecodeError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        ErrorCode("PS2001")
    }

    /// A reconnect reads the same WAL again and so meets the same bytes.
    pub fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Prints a message kind as its letter, or as a number where it is none.
struct Kind(u8);

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_ascii_graphic() { write!(f, "'{}'", self.0 as char) } else { write!(f, "0x{:02x}", self.0) }
    }
}

/// Reads big-endian fields from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Makes the error of this place.
    #[cold]
    pub(super) fn broken(&self, why: &'static str) -> DecodeError {
        DecodeError { kind: self.bytes.first().copied().unwrap_or(0), at: self.at, why }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes read since `start`.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize, why: &'static str) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(length).ok_or_else(|| self.broken(why))?;
        let slice = self.bytes.get(self.at..end).ok_or_else(|| self.broken(why))?;
        self.at = end;
        Ok(slice)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, why: &'static str) -> Result<[u8; N], DecodeError> {
        let slice = self.take(N, why)?;
        slice.try_into().map_err(|_| self.broken(why))
    }

    #[inline]
    pub(super) fn u8(&mut self, why: &'static str) -> Result<u8, DecodeError> {
        self.fixed::<1>(why).map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self, why: &'static str) -> Result<u16, DecodeError> {
        self.fixed(why).map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self, why: &'static str) -> Result<u32, DecodeError> {
        self.fixed(why).map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn i32(&mut self, why: &'static str) -> Result<i32, DecodeError> {
        self.fixed(why).map(i32::from_be_bytes)
    }

    pub(super) fn lsn(&mut self, why: &'static str) -> Result<Lsn, DecodeError> {
        self.fixed(why).map(|bytes| Lsn(u64::from_be_bytes(bytes)))
    }

    /// Reads a timestamp and turns it into Unix microseconds.
    pub(super) fn unix_us(&mut self, why: &'static str) -> Result<i64, DecodeError> {
        let since_2000 = self.fixed(why).map(i64::from_be_bytes)?;
        Ok(since_2000.saturating_add(POSTGRES_EPOCH_US))
    }

    /// Reads a NUL-terminated string.
    pub(super) fn string(&mut self, why: &'static str) -> Result<&'a str, DecodeError> {
        let rest = &self.bytes[self.at..];
        let length = memchr::memchr(0, rest).ok_or_else(|| self.broken(why))?;
        let text = std::str::from_utf8(&rest[..length]).map_err(|_| self.broken("a name is not UTF-8"))?;
        self.at += length + 1;
        Ok(text)
    }

    /// Refuses bytes after the last field.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.left() == 0 { Ok(()) } else { Err(self.broken("bytes follow the last field")) }
    }
}
