//! `pg_walstream`'s decoder reads the same bytes: both must say the same.

use super::encode::session;
use super::*;
use pg_walstream::{ColumnData, LogicalReplicationMessage, LogicalReplicationParser, TupleData};
use proptest::prelude::*;

const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

fn our_tuple(tuple: &Tuple<'_>) -> String {
    let column = |column| match column {
        ColumnText::Null => "null".to_owned(),
        ColumnText::Unchanged => "unchanged".to_owned(),
        ColumnText::Text(text) => format!("{text:?}"),
    };
    tuple.columns().map(column).collect::<Vec<_>>().join("|")
}

fn their_tuple(tuple: &TupleData) -> String {
    let column = |column: &ColumnData| match column {
        column if column.is_null() => "null".to_owned(),
        column if column.is_unchanged() => "unchanged".to_owned(),
        column => format!("{:?}", column.as_bytes()),
    };
    tuple.columns.iter().map(column).collect::<Vec<_>>().join("|")
}

fn our_old(old: &OldTuple<'_>) -> String {
    match old {
        OldTuple::None => "-".to_owned(),
        OldTuple::Key(tuple) => format!("K{}", our_tuple(tuple)),
        OldTuple::Full(tuple) => format!("O{}", our_tuple(tuple)),
    }
}

fn ours(message: &Message<'_>) -> String {
    match message {
        Message::Begin(m) => format!("B {} {} {}", m.final_lsn.0, m.commit_time_us, m.xid),
        Message::Commit(m) => format!("C {} {} {}", m.commit_lsn.0, m.end_lsn.0, m.commit_time_us),
        Message::Origin(m) => format!("O {} {:?}", m.commit_lsn.0, m.name),
        Message::Relation(m) => {
            let columns: Vec<_> =
                m.columns.iter().map(|c| format!("{} {:?} {} {}", c.identity, c.name, c.type_oid, c.typmod)).collect();
            assert_eq!(columns.len(), m.columns.len());
            format!("R {} {:?} {:?} {:?} {columns:?}", m.relation_id, m.namespace, m.name, m.replica_identity)
        }
        Message::Type(m) => format!("Y {} {:?} {:?}", m.type_oid, m.namespace, m.name),
        Message::Insert(m) => format!("I {} {}", m.relation_id, our_tuple(&m.new)),
        Message::Update(m) => format!("U {} {} {}", m.relation_id, our_old(&m.old), our_tuple(&m.new)),
        Message::Delete(m) => format!("D {} {}", m.relation_id, our_old(&m.old)),
        Message::Truncate(m) => {
            format!("T {:?} {} {}", m.relations.iter().collect::<Vec<_>>(), m.cascade, m.restart_identity)
        }
        Message::Logical(m) => format!("M {} {} {:?} {:?}", m.transactional, m.lsn.0, m.prefix, m.content),
        Message::StreamStart(m) => format!("S {} {}", m.xid, m.first),
        Message::StreamStop => "E".to_owned(),
        Message::StreamCommit(m) => format!("c {} {} {} {}", m.xid, m.commit_lsn.0, m.end_lsn.0, m.commit_time_us),
        Message::StreamAbort(m) => format!("A {} {} {:?}", m.xid, m.subxid, m.abort.map(|(lsn, us)| (lsn.0, us))),
        Message::BeginPrepare(m) => {
            format!("b {} {} {} {} {:?}", m.prepare_lsn.0, m.end_lsn.0, m.prepare_time_us, m.xid, m.gid)
        }
        Message::Prepare(m) => {
            format!("P {} {} {} {} {:?}", m.prepare_lsn.0, m.end_lsn.0, m.prepare_time_us, m.xid, m.gid)
        }
        Message::StreamPrepare(m) => {
            format!("p {} {} {} {} {:?}", m.prepare_lsn.0, m.end_lsn.0, m.prepare_time_us, m.xid, m.gid)
        }
        Message::CommitPrepared(m) => {
            format!("K {} {} {} {} {:?}", m.commit_lsn.0, m.end_lsn.0, m.commit_time_us, m.xid, m.gid)
        }
        Message::RollbackPrepared(m) => {
            let times = (m.prepare_time_us, m.rollback_time_us);
            format!("r {} {} {times:?} {} {:?}", m.prepare_end_lsn.0, m.rollback_end_lsn.0, m.xid, m.gid)
        }
    }
}

fn unix_us(since_2000: i64) -> i64 {
    since_2000.saturating_add(POSTGRES_EPOCH_US)
}

fn theirs(message: &LogicalReplicationMessage) -> String {
    use LogicalReplicationMessage as M;
    match message {
        M::Begin { final_lsn, timestamp, xid } => format!("B {final_lsn} {} {xid}", unix_us(*timestamp)),
        M::Commit { commit_lsn, end_lsn, timestamp, .. } => {
            format!("C {commit_lsn} {end_lsn} {}", unix_us(*timestamp))
        }
        M::Origin { origin_lsn, origin_name } => format!("O {origin_lsn} {origin_name:?}"),
        M::Relation { relation_id, namespace, relation_name, replica_identity, columns } => {
            let identity = match replica_identity {
                b'd' => model::ReplicaIdentity::Default,
                b'n' => model::ReplicaIdentity::Nothing,
                b'f' => model::ReplicaIdentity::Full,
                _ => model::ReplicaIdentity::Index,
            };
            let columns: Vec<_> = columns
                .iter()
                .map(|c| format!("{} {:?} {} {}", c.is_key(), c.name, c.type_id, c.type_modifier))
                .collect();
            format!("R {relation_id} {namespace:?} {relation_name:?} {identity:?} {columns:?}")
        }
        M::Type { type_id, namespace, type_name } => format!("Y {type_id} {namespace:?} {type_name:?}"),
        M::Insert { relation_id, tuple } => format!("I {relation_id} {}", their_tuple(tuple)),
        M::Update { relation_id, old_tuple, new_tuple, key_type } => {
            let old = match (key_type, old_tuple) {
                (Some(kind), Some(old)) => format!("{kind}{}", their_tuple(old)),
                _ => "-".to_owned(),
            };
            format!("U {relation_id} {old} {}", their_tuple(new_tuple))
        }
        M::Delete { relation_id, old_tuple, key_type } => {
            format!("D {relation_id} {key_type}{}", their_tuple(old_tuple))
        }
        M::Truncate { relation_ids, flags } => format!("T {relation_ids:?} {} {}", flags & 1 != 0, flags & 2 != 0),
        M::Message { flags, lsn, prefix, content } => {
            format!("M {} {lsn} {prefix:?} {:?}", flags & 1 != 0, content.as_ref())
        }
        M::StreamStart { xid, first_segment } => format!("S {xid} {first_segment}"),
        M::StreamStop => "E".to_owned(),
        M::StreamCommit { xid, commit_lsn, end_lsn, timestamp, .. } => {
            format!("c {xid} {commit_lsn} {end_lsn} {}", unix_us(*timestamp))
        }
        M::StreamAbort { xid, subtransaction_xid, abort_lsn, abort_timestamp } => {
            let abort = abort_lsn.zip(abort_timestamp.map(unix_us));
            format!("A {xid} {subtransaction_xid} {abort:?}")
        }
        M::BeginPrepare { prepare_lsn, end_lsn, timestamp, xid, gid } => {
            format!("b {prepare_lsn} {end_lsn} {} {xid} {gid:?}", unix_us(*timestamp))
        }
        M::Prepare { prepare_lsn, end_lsn, timestamp, xid, gid, .. } => {
            format!("P {prepare_lsn} {end_lsn} {} {xid} {gid:?}", unix_us(*timestamp))
        }
        M::StreamPrepare { prepare_lsn, end_lsn, timestamp, xid, gid, .. } => {
            format!("p {prepare_lsn} {end_lsn} {} {xid} {gid:?}", unix_us(*timestamp))
        }
        M::CommitPrepared { commit_lsn, end_lsn, timestamp, xid, gid, .. } => {
            format!("K {commit_lsn} {end_lsn} {} {xid} {gid:?}", unix_us(*timestamp))
        }
        M::RollbackPrepared {
            prepare_end_lsn,
            rollback_end_lsn,
            prepare_timestamp,
            rollback_timestamp,
            xid,
            gid,
            ..
        } => {
            let times = (unix_us(*prepare_timestamp), unix_us(*rollback_timestamp));
            format!("r {prepare_end_lsn} {rollback_end_lsn} {times:?} {xid} {gid:?}")
        }
    }
}

/// What ours refuses and the oracle lets pass: it does not look at the end of a message, nor at some of its letters.
const STRICTER: [&str; 8] = [
    "bytes follow the last field",
    "a column is in binary form, which was not asked for",
    "the replica identity is none of d, n, f, i",
    "a delete's tuple is neither of kind K nor O",
    "the abort LSN is cut off",
    "the time is cut off",
    "a stream block starts inside another",
    "no stream block is open",
];

fn compare(bytes: &[u8], ours_: &mut Decoder, theirs_: &mut LogicalReplicationParser) -> Result<bool, TestCaseError> {
    let their_message = theirs_.parse_wal_message(bytes);
    match (ours_.decode(bytes), their_message) {
        (Ok(our), Ok(their)) => {
            prop_assert_eq!(ours(&our), theirs(&their.message));
            if let Message::Insert(Insert { xid, .. }) | Message::Update(Update { xid, .. }) = our {
                prop_assert_eq!(xid, their.xid);
            }
            Ok(true)
        }
        (Ok(our), Err(error)) => Err(TestCaseError::fail(format!("only ours takes {bytes:?}: {our:?}, {error}"))),
        (Err(error), Ok(_)) => {
            prop_assert!(STRICTER.contains(&error.why), "only the oracle takes {:?}: {}", bytes, error);
            Ok(false)
        }
        (Err(error), Err(_)) => {
            prop_assert!(error.at <= bytes.len());
            Ok(false)
        }
    }
}

proptest! {
    #[test]
    fn valid_sessions_are_decoded_alike(messages in session()) {
        let (mut ours, mut theirs) = (Decoder::new(), LogicalReplicationParser::with_protocol_version(4));
        for message in &messages {
            prop_assert!(compare(message, &mut ours, &mut theirs)?, "refused: {message:?}");
        }
    }

    #[test]
    fn mutated_messages_are_decoded_alike_or_refused(
        messages in session(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in 0usize..4,
        tail in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        for message in &messages {
            let mut message = message.clone();
            for (at, byte) in &flips {
                let at = at.index(message.len());
                message[at] = *byte;
            }
            message.truncate(message.len().saturating_sub(cut));
            message.extend_from_slice(&tail);
            // Fresh decoders: the first message that is refused ends a session.
            compare(&message, &mut Decoder::new(), &mut LogicalReplicationParser::with_protocol_version(4))?;
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in prop::sample::select(b"BCORYIUDTMSEcAbPKrp".as_slice()), mut rest: Vec<u8>) {
        rest.insert(0, kind);
        compare(&rest, &mut Decoder::new(), &mut LogicalReplicationParser::with_protocol_version(4))?;
    }
}
