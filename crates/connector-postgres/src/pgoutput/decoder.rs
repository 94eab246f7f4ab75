//! Bytes to messages.

use super::message::{
    Begin, BeginPrepare, Commit, CommitPrepared, Delete, Insert, LogicalMessage, Message, OldTuple, Origin, Prepare,
    Relation, RelationColumns, RelationIds, RollbackPrepared, StreamAbort, StreamCommit, StreamPrepare, StreamStart,
    Truncate, TypeMessage, Update,
};
use super::reader::{DecodeError, Reader};
use super::tuple::Tuple;
use model::ReplicaIdentity;

/// Decodes the messages of one replication session, in order.
///
/// It remembers one thing: whether the session stands inside a stream block, where row messages carry their
/// transaction's id. A message that breaks leaves that as it was.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    in_stream: bool,
}

impl Decoder {
    /// Starts a session, outside any stream block.
    pub fn new() -> Self {
        Self::default()
    }

    /// True between StreamStart and StreamStop.
    pub fn in_stream(&self) -> bool {
        self.in_stream
    }

    /// Decodes one message (the payload of an XLogData).
    ///
    /// # Errors
    /// `DecodeError` when the bytes are not exactly one message of protocol 1 to 4 in text form. No retry helps.
    pub fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8("the message is empty")?;
        let message = match kind {
            b'I' => self.insert(&mut reader).map(Message::Insert),
            b'U' => self.update(&mut reader).map(Message::Update),
            b'D' => self.delete(&mut reader).map(Message::Delete),
            b'B' => begin(&mut reader).map(Message::Begin),
            b'C' => commit(&mut reader).map(Message::Commit),
            b'R' => self.relation(&mut reader).map(Message::Relation),
            b'Y' => self.type_message(&mut reader).map(Message::Type),
            b'T' => self.truncate(&mut reader).map(Message::Truncate),
            b'M' => self.logical(&mut reader).map(Message::Logical),
            b'O' => origin(&mut reader).map(Message::Origin),
            b'S' => stream_start(&mut reader).map(Message::StreamStart),
            b'E' => Ok(Message::StreamStop),
            b'c' => stream_commit(&mut reader).map(Message::StreamCommit),
            b'A' => stream_abort(&mut reader).map(Message::StreamAbort),
            b'b' => begin_prepare(&mut reader).map(Message::BeginPrepare),
            b'P' => prepare(&mut reader).map(Message::Prepare),
            b'K' => commit_prepared(&mut reader).map(Message::CommitPrepared),
            b'r' => rollback_prepared(&mut reader).map(Message::RollbackPrepared),
            b'p' => stream_prepare(&mut reader).map(Message::StreamPrepare),
            _ => Err(DecodeError { kind, at: 0, why: "it is of no kind that protocol 4 knows" }),
        }?;
        reader.end()?;
        match kind {
            b'S' if self.in_stream => {
                return Err(DecodeError { kind, at: 0, why: "a stream block starts inside another" });
            }
            b'S' => self.in_stream = true,
            b'E' if !self.in_stream => return Err(DecodeError { kind, at: 0, why: "no stream block is open" }),
            b'E' => self.in_stream = false,
            _ => {}
        }
        Ok(message)
    }

    #[inline]
    fn xid(&self, reader: &mut Reader<'_>) -> Result<Option<u32>, DecodeError> {
        if self.in_stream { reader.u32("the transaction id is cut off").map(Some) } else { Ok(None) }
    }

    fn insert<'a>(&self, reader: &mut Reader<'a>) -> Result<Insert<'a>, DecodeError> {
        let xid = self.xid(reader)?;
        let relation_id = reader.u32("the relation id is cut off")?;
        match reader.u8("the tuple's kind is cut off")? {
            b'N' => Ok(Insert { xid, relation_id, new: Tuple::read(reader)? }),
            _ => Err(reader.broken("an insert's tuple is not of kind N")),
        }
    }

    fn update<'a>(&self, reader: &mut Reader<'a>) -> Result<Update<'a>, DecodeError> {
        let xid = self.xid(reader)?;
        let relation_id = reader.u32("the relation id is cut off")?;
        let mut kind = reader.u8("the tuple's kind is cut off")?;
        let old = match kind {
            b'K' => OldTuple::Key(Tuple::read(reader)?),
            b'O' => OldTuple::Full(Tuple::read(reader)?),
            _ => OldTuple::None,
        };
        if !matches!(old, OldTuple::None) {
            kind = reader.u8("the new tuple's kind is cut off")?;
        }
        if kind != b'N' {
            return Err(reader.broken("an update's new tuple is not of kind N"));
        }
        Ok(Update { xid, relation_id, old, new: Tuple::read(reader)? })
    }

    fn delete<'a>(&self, reader: &mut Reader<'a>) -> Result<Delete<'a>, DecodeError> {
        let xid = self.xid(reader)?;
        let relation_id = reader.u32("the relation id is cut off")?;
        let old = match reader.u8("the tuple's kind is cut off")? {
            b'K' => OldTuple::Key(Tuple::read(reader)?),
            b'O' => OldTuple::Full(Tuple::read(reader)?),
            _ => return Err(reader.broken("a delete's tuple is neither of kind K nor O")),
        };
        Ok(Delete { xid, relation_id, old })
    }

    fn relation<'a>(&self, reader: &mut Reader<'a>) -> Result<Relation<'a>, DecodeError> {
        Ok(Relation {
            xid: self.xid(reader)?,
            relation_id: reader.u32("the relation id is cut off")?,
            namespace: reader.string("the schema's name is cut off")?,
            name: reader.string("the table's name is cut off")?,
            replica_identity: match reader.u8("the replica identity is cut off")? {
                b'd' => ReplicaIdentity::Default,
                b'n' => ReplicaIdentity::Nothing,
                b'f' => ReplicaIdentity::Full,
                b'i' => ReplicaIdentity::Index,
                _ => return Err(reader.broken("the replica identity is none of d, n, f, i")),
            },
            columns: RelationColumns::read(reader)?,
        })
    }

    fn type_message<'a>(&self, reader: &mut Reader<'a>) -> Result<TypeMessage<'a>, DecodeError> {
        Ok(TypeMessage {
            xid: self.xid(reader)?,
            type_oid: reader.u32("the type id is cut off")?,
            namespace: reader.string("the schema's name is cut off")?,
            name: reader.string("the type's name is cut off")?,
        })
    }

    fn truncate<'a>(&self, reader: &mut Reader<'a>) -> Result<Truncate<'a>, DecodeError> {
        let xid = self.xid(reader)?;
        let count = reader.u32("the relation count is cut off")? as usize;
        let options = reader.u8("the options are cut off")?;
        let length = count.checked_mul(4).ok_or_else(|| reader.broken("the relation count is too large"))?;
        Ok(Truncate {
            xid,
            cascade: options & 1 != 0,
            restart_identity: options & 2 != 0,
            relations: RelationIds(reader.take(length, "the relation ids are cut off")?),
        })
    }

    fn logical<'a>(&self, reader: &mut Reader<'a>) -> Result<LogicalMessage<'a>, DecodeError> {
        let xid = self.xid(reader)?;
        let flags = reader.u8("the flags are cut off")?;
        let lsn = reader.lsn("the LSN is cut off")?;
        let prefix = reader.string("the prefix is cut off")?;
        let length = reader.u32("the content's length is cut off")?;
        let content = reader.take(length as usize, "the content is cut off")?;
        Ok(LogicalMessage { xid, transactional: flags & 1 != 0, lsn, prefix, content })
    }
}

fn begin(reader: &mut Reader<'_>) -> Result<Begin, DecodeError> {
    Ok(Begin {
        final_lsn: reader.lsn("the LSN is cut off")?,
        commit_time_us: reader.unix_us("the time is cut off")?,
        xid: reader.u32("the transaction id is cut off")?,
    })
}

fn commit(reader: &mut Reader<'_>) -> Result<Commit, DecodeError> {
    reader.u8("the flags are cut off")?;
    Ok(Commit {
        commit_lsn: reader.lsn("the commit LSN is cut off")?,
        end_lsn: reader.lsn("the end LSN is cut off")?,
        commit_time_us: reader.unix_us("the time is cut off")?,
    })
}

fn origin<'a>(reader: &mut Reader<'a>) -> Result<Origin<'a>, DecodeError> {
    Ok(Origin { commit_lsn: reader.lsn("the LSN is cut off")?, name: reader.string("the name is cut off")? })
}

fn stream_start(reader: &mut Reader<'_>) -> Result<StreamStart, DecodeError> {
    Ok(StreamStart {
        xid: reader.u32("the transaction id is cut off")?,
        first: reader.u8("the segment flag is cut off")? != 0,
    })
}

fn stream_commit(reader: &mut Reader<'_>) -> Result<StreamCommit, DecodeError> {
    let xid = reader.u32("the transaction id is cut off")?;
    reader.u8("the flags are cut off")?;
    Ok(StreamCommit {
        xid,
        commit_lsn: reader.lsn("the commit LSN is cut off")?,
        end_lsn: reader.lsn("the end LSN is cut off")?,
        commit_time_us: reader.unix_us("the time is cut off")?,
    })
}

/// The LSN and time are there from protocol 4 on, but only with `streaming 'parallel'`, so the length decides.
fn stream_abort(reader: &mut Reader<'_>) -> Result<StreamAbort, DecodeError> {
    let xid = reader.u32("the transaction id is cut off")?;
    let subxid = reader.u32("the subtransaction id is cut off")?;
    let abort = match reader.left() {
        0 => None,
        _ => Some((reader.lsn("the abort LSN is cut off")?, reader.unix_us("the time is cut off")?)),
    };
    Ok(StreamAbort { xid, subxid, abort })
}

fn begin_prepare<'a>(reader: &mut Reader<'a>) -> Result<BeginPrepare<'a>, DecodeError> {
    Ok(BeginPrepare {
        prepare_lsn: reader.lsn("the prepare LSN is cut off")?,
        end_lsn: reader.lsn("the end LSN is cut off")?,
        prepare_time_us: reader.unix_us("the time is cut off")?,
        xid: reader.u32("the transaction id is cut off")?,
        gid: reader.string("the global id is cut off")?,
    })
}

fn prepare<'a>(reader: &mut Reader<'a>) -> Result<Prepare<'a>, DecodeError> {
    reader.u8("the flags are cut off")?;
    Ok(Prepare {
        prepare_lsn: reader.lsn("the prepare LSN is cut off")?,
        end_lsn: reader.lsn("the end LSN is cut off")?,
        prepare_time_us: reader.unix_us("the time is cut off")?,
        xid: reader.u32("the transaction id is cut off")?,
        gid: reader.string("the global id is cut off")?,
    })
}

fn commit_prepared<'a>(reader: &mut Reader<'a>) -> Result<CommitPrepared<'a>, DecodeError> {
    reader.u8("the flags are cut off")?;
    Ok(CommitPrepared {
        commit_lsn: reader.lsn("the commit LSN is cut off")?,
        end_lsn: reader.lsn("the end LSN is cut off")?,
        commit_time_us: reader.unix_us("the time is cut off")?,
        xid: reader.u32("the transaction id is cut off")?,
        gid: reader.string("the global id is cut off")?,
    })
}

fn rollback_prepared<'a>(reader: &mut Reader<'a>) -> Result<RollbackPrepared<'a>, DecodeError> {
    reader.u8("the flags are cut off")?;
    Ok(RollbackPrepared {
        prepare_end_lsn: reader.lsn("the prepare end LSN is cut off")?,
        rollback_end_lsn: reader.lsn("the rollback end LSN is cut off")?,
        prepare_time_us: reader.unix_us("the prepare time is cut off")?,
        rollback_time_us: reader.unix_us("the rollback time is cut off")?,
        xid: reader.u32("the transaction id is cut off")?,
        gid: reader.string("the global id is cut off")?,
    })
}

fn stream_prepare<'a>(reader: &mut Reader<'a>) -> Result<StreamPrepare<'a>, DecodeError> {
    reader.u8("the flags are cut off")?;
    Ok(StreamPrepare {
        prepare_lsn: reader.lsn("the prepare LSN is cut off")?,
        end_lsn: reader.lsn("the end LSN is cut off")?,
        prepare_time_us: reader.unix_us("the time is cut off")?,
        xid: reader.u32("the transaction id is cut off")?,
        gid: reader.string("the global id is cut off")?,
    })
}
