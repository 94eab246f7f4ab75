//! The source's position as it stands in the log beside each append.

use bytes::{BufMut, Bytes, BytesMut};
use model::{Lsn, ProducerId, SourceId, SourcePosition};

/// Who appends live changes.
pub(crate) fn position_producer(source: &SourceId) -> ProducerId {
    ProducerId::new(source.as_str())
}

/// Who appends chunks of the first copy.
pub(crate) fn snapshot_producer(source: &SourceId) -> ProducerId {
    ProducerId::new(format!("{source}/snapshot"))
}

/// A position, and the slot's life that it belongs to. 24 bytes, big endian: commit LSN, number in the transaction, epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredPosition {
    pub(crate) position: SourcePosition,
    pub(crate) epoch: u64,
}

impl StoredPosition {
    pub(crate) fn to_bytes(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(24);
        bytes.put_u64(self.position.commit_lsn.0);
        bytes.put_u64(self.position.seq);
        bytes.put_u64(self.epoch);
        bytes.freeze()
    }

    /// None when these are not such bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<8>() else { return None };
        let &[commit, seq, epoch] = words else { return None };
        let commit_lsn = Lsn(u64::from_be_bytes(commit));
        let position = SourcePosition { commit_lsn, seq: u64::from_be_bytes(seq) };
        Some(Self { position, epoch: u64::from_be_bytes(epoch) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_gives_its_frozen_bytes_and_comes_back() {
        let stored = StoredPosition { position: SourcePosition { commit_lsn: Lsn(0x0102), seq: 3 }, epoch: 4 };
        let bytes = stored.to_bytes();
        assert_eq!(bytes.as_ref(), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(StoredPosition::parse(&bytes), Some(stored));
        assert_eq!(StoredPosition::parse(&bytes[1..]), None);
    }
}
