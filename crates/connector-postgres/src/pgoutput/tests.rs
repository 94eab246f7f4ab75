use super::encode::{Encoder, PlainColumn};
use super::*;
use model::{Lsn, ReplicaIdentity};

#[test]
fn begin_is_read_with_its_time_in_unix_microseconds() {
    let bytes = Encoder::kind(b'B').u64(0x16_B374_D848).u64(0).u32(7).0;
    let begin = Begin { final_lsn: Lsn(0x16_B374_D848), commit_time_us: 946_684_800_000_000, xid: 7 };
    assert_eq!(Decoder::new().decode(&bytes), Ok(Message::Begin(begin)));
}

#[test]
fn tuple_columns_are_slices_of_the_message() {
    let columns = ["a".into(), PlainColumn::Null, PlainColumn::Unchanged, "".into()];
    let bytes = Encoder::kind(b'I').u32(9).tuple(b'N', &columns).0;
    let message = Decoder::new().decode(&bytes);
    let Ok(Message::Insert(insert)) = message else { panic!("{message:?}") };
    let columns: Vec<_> = insert.new.columns().collect();
    assert_eq!(columns, [ColumnText::Text(b"a"), ColumnText::Null, ColumnText::Unchanged, ColumnText::Text(b"")]);
    let ColumnText::Text(text) = columns[0] else { unreachable!() };
    assert!(bytes.as_ptr_range().contains(&text.as_ptr()));
}

#[test]
fn row_messages_carry_their_transaction_inside_a_stream_block_only() {
    let mut decoder = Decoder::new();
    let row = |xid| Encoder::kind(b'I').xid(xid).u32(9).tuple(b'N', &[]).0;
    let xid = |message| match message {
        Ok(Message::Insert(insert)) => insert.xid,
        other => panic!("{other:?}"),
    };
    let bytes = row(None);
    assert_eq!(xid(decoder.decode(&bytes)), None);
    assert!(decoder.decode(&Encoder::kind(b'S').u32(5).u8(1).0).is_ok());
    assert!(decoder.in_stream());
    let bytes = row(Some(6));
    assert_eq!(xid(decoder.decode(&bytes)), Some(6));
    assert_eq!(decoder.decode(b"E"), Ok(Message::StreamStop));
    let bytes = row(None);
    assert_eq!(xid(decoder.decode(&bytes)), None);
}

#[test]
fn relation_names_columns_and_identity() {
    let start = Encoder::kind(b'R').u32(1).string("").string("größe").u8(b'i').u16(2);
    let bytes = start.u8(1).string("id").u32(23).u32(u32::MAX).u8(0).string("x\"y").u32(1700).u32(655_366).0;
    let message = Decoder::new().decode(&bytes);
    let Ok(Message::Relation(relation)) = message else { panic!("{message:?}") };
    assert_eq!((relation.namespace, relation.name), ("", "größe"));
    assert_eq!(relation.replica_identity, ReplicaIdentity::Index);
    let columns: Vec<_> = relation.columns.iter().map(|c| (c.identity, c.name, c.type_oid, c.typmod)).collect();
    assert_eq!(columns, [(true, "id", 23, -1), (false, "x\"y", 1700, 655_366)]);
}

#[test]
fn error_names_message_place_and_cause() {
    let refused = |bytes: &[u8]| Decoder::new().decode(bytes).expect_err("broken").to_string();
    assert_eq!(refused(b""), "PS2001: the replication message 0x00 breaks at byte 0: the message is empty");
    assert_eq!(refused(b"I\0\0\0\x01N\0\x01t\0\0"), {
        "PS2001: the replication message 'I' breaks at byte 9: a column's length is cut off"
    });
    assert_eq!(refused(b"E"), "PS2001: the replication message 'E' breaks at byte 0: no stream block is open");
    assert_eq!(refused(b"T\xff\xff\xff\xff\0"), {
        "PS2001: the replication message 'T' breaks at byte 6: the relation ids are cut off"
    });
}

#[test]
fn every_prefix_of_a_message_is_refused() {
    let columns = ["some text".into(), PlainColumn::Null, PlainColumn::Unchanged];
    let bytes = Encoder::kind(b'U').u32(9).tuple(b'O', &columns).tuple(b'N', &columns).0;
    assert!(Decoder::new().decode(&bytes).is_ok());
    for end in 0..bytes.len() {
        assert!(Decoder::new().decode(&bytes[..end]).is_err(), "{end}");
    }
}
