//! The message kinds. Times are Unix microseconds; `xid` on a row message is set inside a stream block only.

use super::reader::{DecodeError, Reader};
use super::tuple::Tuple;
use model::{Lsn, ReplicaIdentity};

/// A decoded message, borrowed from its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Begin(Begin),
    Commit(Commit),
    Origin(Origin<'a>),
    Relation(Relation<'a>),
    Type(TypeMessage<'a>),
    Insert(Insert<'a>),
    Update(Update<'a>),
    Delete(Delete<'a>),
    Truncate(Truncate<'a>),
    Logical(LogicalMessage<'a>),
    StreamStart(StreamStart),
    StreamStop,
    StreamCommit(StreamCommit),
    StreamAbort(StreamAbort),
    BeginPrepare(BeginPrepare<'a>),
    Prepare(Prepare<'a>),
    CommitPrepared(CommitPrepared<'a>),
    RollbackPrepared(RollbackPrepared<'a>),
    StreamPrepare(StreamPrepare<'a>),
}

/// A transaction starts; its changes follow. `final_lsn` is the commit record's LSN (`commit_lsn` of the Commit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    pub final_lsn: Lsn,
    pub commit_time_us: i64,
    pub xid: u32,
}

/// The transaction ended; `end_lsn` is what may be confirmed once everything of it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    pub commit_lsn: Lsn,
    pub end_lsn: Lsn,
    pub commit_time_us: i64,
}

/// The transaction came from another server by this origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    pub commit_lsn: Lsn,
    pub name: &'a str,
}

/// A table's shape, sent before its first change and after each change of shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    pub xid: Option<u32>,
    pub relation_id: u32,
    /// Empty for `pg_catalog`.
    pub namespace: &'a str,
    pub name: &'a str,
    pub replica_identity: ReplicaIdentity,
    pub columns: RelationColumns<'a>,
}

/// One column of a `Relation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// True when it is part of the replica identity (with `full`: always).
    pub identity: bool,
    pub name: &'a str,
    pub type_oid: u32,
    /// -1: none.
    pub typmod: i32,
}

/// The columns of a `Relation`, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationColumns<'a> {
    bytes: &'a [u8],
    count: u16,
}

impl<'a> RelationColumns<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.u16("the column count is cut off")?;
        let start = reader.at();
        for _ in 0..count {
            read_column(reader)?;
        }
        Ok(Self { bytes: reader.since(start), count })
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True for a table without columns.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Iterates in the table's order.
    pub fn iter(&self) -> impl Iterator<Item = RelationColumn<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| read_column(&mut reader).ok())
    }
}

fn read_column<'a>(reader: &mut Reader<'a>) -> Result<RelationColumn<'a>, DecodeError> {
    let flags = reader.u8("a column's flags are cut off")?;
    Ok(RelationColumn {
        identity: flags & 1 != 0,
        name: reader.string("a column's name is cut off")?,
        type_oid: reader.u32("a column's type is cut off")?,
        typmod: reader.i32("a column's type modifier is cut off")?,
    })
}

/// A type that is not built in, sent before the Relation that uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeMessage<'a> {
    pub xid: Option<u32>,
    pub type_oid: u32,
    /// Empty for `pg_catalog`.
    pub namespace: &'a str,
    pub name: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insert<'a> {
    pub xid: Option<u32>,
    pub relation_id: u32,
    pub new: Tuple<'a>,
}

/// The old row version, as far as the replica identity carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldTuple<'a> {
    /// Not sent: the identity columns did not change.
    None,
    /// Only the identity columns hold values; the others stand as null.
    Key(Tuple<'a>),
    /// Every column (`REPLICA IDENTITY FULL`).
    Full(Tuple<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    pub xid: Option<u32>,
    pub relation_id: u32,
    pub old: OldTuple<'a>,
    pub new: Tuple<'a>,
}

/// `old` is never `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    pub xid: Option<u32>,
    pub relation_id: u32,
    pub old: OldTuple<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncate<'a> {
    pub xid: Option<u32>,
    pub cascade: bool,
    pub restart_identity: bool,
    pub relations: RelationIds<'a>,
}

/// The relation ids of a `Truncate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationIds<'a>(pub(super) &'a [u8]);

impl<'a> RelationIds<'a> {
    /// Iterates in the server's order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (chunks, _) = self.0.as_chunks::<4>();
        chunks.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

/// What `pg_logical_emit_message` wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    pub xid: Option<u32>,
    pub transactional: bool,
    pub lsn: Lsn,
    pub prefix: &'a str,
    pub content: &'a [u8],
}

/// A block of a transaction still in progress begins (protocol 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    pub xid: u32,
    /// True for the transaction's first block.
    pub first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCommit {
    pub xid: u32,
    pub commit_lsn: Lsn,
    pub end_lsn: Lsn,
    pub commit_time_us: i64,
}

/// A streamed transaction, or one of its subtransactions when `subxid` differs, was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAbort {
    pub xid: u32,
    pub subxid: u32,
    /// LSN and time: sent from protocol 4 on, when streaming is `parallel`.
    pub abort: Option<(Lsn, i64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginPrepare<'a> {
    pub prepare_lsn: Lsn,
    pub end_lsn: Lsn,
    pub prepare_time_us: i64,
    pub xid: u32,
    pub gid: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepare<'a> {
    pub prepare_lsn: Lsn,
    pub end_lsn: Lsn,
    pub prepare_time_us: i64,
    pub xid: u32,
    pub gid: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPrepared<'a> {
    pub commit_lsn: Lsn,
    pub end_lsn: Lsn,
    pub commit_time_us: i64,
    pub xid: u32,
    pub gid: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollbackPrepared<'a> {
    pub prepare_end_lsn: Lsn,
    pub rollback_end_lsn: Lsn,
    pub prepare_time_us: i64,
    pub rollback_time_us: i64,
    pub xid: u32,
    pub gid: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPrepare<'a> {
    pub prepare_lsn: Lsn,
    pub end_lsn: Lsn,
    pub prepare_time_us: i64,
    pub xid: u32,
    pub gid: &'a str,
}
