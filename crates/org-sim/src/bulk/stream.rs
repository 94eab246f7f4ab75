//! Answers that are produced while they are sent.

use super::blob::Blob;
use bytes::Bytes;
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Something that gives its bytes piece by piece.
pub trait Source: Send {
    /// The next piece; none at the end. A piece may be empty.
    ///
    /// # Errors
    /// When a file of the org cannot be read.
    fn next(&mut self) -> io::Result<Option<Bytes>>;

    /// About how many bytes there are in all.
    fn bytes(&self) -> u64;
}

/// A body that is produced while it is sent. Clones share their place.
#[derive(Clone)]
pub struct Stream(Arc<Mutex<Box<dyn Source>>>);

impl Stream {
    /// Makes a body of `source`.
    pub fn new(source: impl Source + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(source))))
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// As `Source::next`.
    pub fn next(&self) -> io::Result<Option<Bytes>> {
        self.0.lock().next()
    }

    /// About how many bytes there are in all.
    pub fn bytes(&self) -> u64 {
        self.0.lock().bytes()
    }
}

impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Stream {}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// A first part, a part of a blob, and a last part.
pub struct Slice {
    pub head: Option<Bytes>,
    pub blob: Arc<Blob>,
    /// The next byte to send, and the first one not to send.
    pub from: u64,
    pub to: u64,
    pub tail: Option<Bytes>,
}

impl Slice {
    /// `head` and then the whole blob.
    pub fn whole(head: Vec<u8>, blob: Arc<Blob>) -> Self {
        let to = blob.len();
        Self { head: Some(head.into()), blob, from: 0, to, tail: None }
    }
}

impl Source for Slice {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        if self.from >= self.to {
            return Ok(self.tail.take());
        }
        let piece = self.blob.read_at(self.from)?;
        let wanted = (self.to - self.from).min(piece.len() as u64) as usize;
        if wanted == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.from += wanted as u64;
        Ok(Some(Bytes::copy_from_slice(&piece[..wanted])))
    }

    fn bytes(&self) -> u64 {
        self.head.as_ref().map_or(0, Bytes::len) as u64 + self.to - self.from
    }
}

/// A body that ends in its middle as if that were its end.
pub struct Truncated {
    pub inner: Stream,
    pub left: u64,
}

impl Source for Truncated {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut piece = self.inner.next()?;
        if let Some(piece) = &mut piece {
            piece.truncate(self.left as usize);
            self.left -= piece.len() as u64;
        }
        Ok(piece)
    }

    fn bytes(&self) -> u64 {
        self.left
    }
}

/// A body with a NUL byte in the first value after its first line.
pub struct WithNul {
    pub inner: Stream,
    pub header_passed: bool,
    pub done: bool,
}

impl Source for WithNul {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(piece) = self.inner.next()? else { return Ok(None) };
        if self.done || piece.is_empty() {
            return Ok(Some(piece));
        }
        let line_end =
            if self.header_passed { Some(0) } else { piece.iter().position(|b| *b == b'\n').map(|at| at + 1) };
        let Some(from) = line_end else { return Ok(Some(piece)) };
        self.header_passed = true;
        if from >= piece.len() {
            return Ok(Some(piece));
        }
        self.done = true;
        let at = if piece[from] == b'"' { from + 1 } else { from };
        let mut with = piece[..at].to_vec();
        with.push(0);
        with.extend_from_slice(&piece[at..]);
        Ok(Some(with.into()))
    }

    fn bytes(&self) -> u64 {
        self.inner.bytes() + 1
    }
}
