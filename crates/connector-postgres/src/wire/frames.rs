//! The frames inside the copy stream: WAL data and keepalives.

use model::Lsn;

/// What the server sent, borrowed from the bytes read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// One message of the output plugin.
    Wal { start: Lsn, payload: &'a [u8] },
    /// The server is there; everything below `end` was sent.
    Keepalive { end: Lsn },
}

/// CopyData tag and length, then `w`, WAL start, WAL end, clock.
const WAL_HEADER_BYTES: usize = 5 + 1 + 8 + 8 + 8;
const KEEPALIVE_BYTES: usize = 5 + 1 + 8 + 8 + 1;

/// Iterates over whole CopyData messages, as `CopyStream::take` cuts them off. Unknown kinds are left out.
pub(crate) fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    Frames { bytes }.flatten()
}

struct Frames<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = Option<Frame<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_be_bytes(self.bytes.get(1..5)?.try_into().ok()?) as usize;
        let (message, rest) = self.bytes.split_at_checked(length + 1)?;
        self.bytes = rest;
        Some(parse(message))
    }
}

#[inline]
fn parse(message: &[u8]) -> Option<Frame<'_>> {
    match *message.get(5)? {
        b'w' => {
            let start = lsn_at(message, 6)?;
            Some(Frame::Wal { start, payload: message.get(WAL_HEADER_BYTES..)? })
        }
        b'k' => Some(Frame::Keepalive { end: lsn_at(message, 6)? }),
        _ => None,
    }
}

#[inline]
pub(super) fn lsn_at(message: &[u8], at: usize) -> Option<Lsn> {
    message.get(at..at + 8)?.try_into().ok().map(|bytes| Lsn(u64::from_be_bytes(bytes)))
}

/// True for a keepalive that wants an answer at once.
pub(super) fn wants_reply(message: &[u8]) -> bool {
    message.get(5) == Some(&b'k') && message.get(KEEPALIVE_BYTES - 1) == Some(&1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn copy_data(body: &[u8]) -> Vec<u8> {
        let mut message = vec![b'd'];
        message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        message.extend_from_slice(body);
        message
    }

    #[test]
    fn wal_and_keepalives_are_read_in_order_and_unknown_kinds_are_left_out() {
        let mut wal = vec![b'w'];
        wal.extend_from_slice(&7u64.to_be_bytes());
        wal.extend_from_slice(&[0; 16]);
        wal.extend_from_slice(b"payload");
        let mut keepalive = vec![b'k'];
        keepalive.extend_from_slice(&9u64.to_be_bytes());
        keepalive.extend_from_slice(&[0; 8]);
        keepalive.push(1);
        let bytes = [copy_data(&wal), copy_data(b"?"), copy_data(&keepalive)].concat();
        let read: Vec<_> = frames(&bytes).collect();
        assert_eq!(read, [Frame::Wal { start: Lsn(7), payload: b"payload" }, Frame::Keepalive { end: Lsn(9) }]);
        assert!(wants_reply(&copy_data(&keepalive)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _count = frames(&bytes).count();
            let _reply = wants_reply(&bytes);
        }
    }
}
