//! Messages written by hand after the documentation, for tests.

use proptest::prelude::*;

/// Writes big-endian fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

impl Encoder {
    pub(crate) fn kind(kind: u8) -> Self {
        Self(vec![kind])
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn string(self, text: &str) -> Self {
        self.bytes(text.as_bytes()).u8(0)
    }

    pub(crate) fn xid(self, xid: Option<u32>) -> Self {
        match xid {
            Some(xid) => self.u32(xid),
            None => self,
        }
    }

    pub(crate) fn tuple(self, kind: u8, columns: &[PlainColumn]) -> Self {
        let start = self.u8(kind).u16(columns.len() as u16);
        columns.iter().fold(start, |out, column| match column {
            PlainColumn::Null => out.u8(b'n'),
            PlainColumn::Unchanged => out.u8(b'u'),
            PlainColumn::Text(text) => out.u8(b't').u32(text.len() as u32).bytes(text),
        })
    }
}

/// A tuple's column, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlainColumn {
    Null,
    Unchanged,
    Text(Vec<u8>),
}

impl From<&str> for PlainColumn {
    fn from(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }
}

fn columns() -> impl Strategy<Value = Vec<PlainColumn>> {
    let column = prop_oneof![
        Just(PlainColumn::Null),
        Just(PlainColumn::Unchanged),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(PlainColumn::Text),
    ];
    prop::collection::vec(column, 0..6)
}

fn name() -> impl Strategy<Value = String> {
    "[^\0]{0,8}"
}

/// Row messages, with the transaction id where the session stands in a stream block.
fn row_message(xid: Option<u32>) -> impl Strategy<Value = Vec<u8>> {
    let relation_columns = prop::collection::vec((0u8..2, name(), any::<u32>(), any::<i32>()), 0..5);
    let old = prop_oneof![
        Just(None),
        columns().prop_map(|columns| Some((b'K', columns))),
        columns().prop_map(|columns| Some((b'O', columns))),
    ];
    let head = move |kind| Encoder::kind(kind).xid(xid);
    prop_oneof![
        (any::<u32>(), columns()).prop_map(move |(id, new)| head(b'I').u32(id).tuple(b'N', &new).0),
        (any::<u32>(), old, columns()).prop_map(move |(id, old, new)| {
            let start = head(b'U').u32(id);
            let start = match old {
                Some((kind, old)) => start.tuple(kind, &old),
                None => start,
            };
            start.tuple(b'N', &new).0
        }),
        (any::<u32>(), any::<bool>(), columns())
            .prop_map(move |(id, full, old)| head(b'D').u32(id).tuple(if full { b'O' } else { b'K' }, &old).0),
        (prop::collection::vec(any::<u32>(), 0..4), 0u8..4).prop_map(move |(ids, options)| {
            let start = head(b'T').u32(ids.len() as u32).u8(options);
            ids.iter().fold(start, |out, id| out.u32(*id)).0
        }),
        (any::<u32>(), name(), name(), prop::sample::select(b"dnfi".as_slice()), relation_columns).prop_map(
            move |(id, namespace, table, identity, columns)| {
                let start = head(b'R').u32(id).string(&namespace).string(&table).u8(identity);
                let start = start.u16(columns.len() as u16);
                columns
                    .iter()
                    .fold(start, |out, (flags, name, oid, typmod)| {
                        out.u8(*flags).string(name).u32(*oid).u32(*typmod as u32)
                    })
                    .0
            }
        ),
        (any::<u32>(), name(), name()).prop_map(move |(oid, namespace, name)| head(b'Y')
            .u32(oid)
            .string(&namespace)
            .string(&name)
            .0),
        (0u8..2, any::<u64>(), name(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(
            move |(flags, lsn, prefix, content)| {
                head(b'M').u8(flags).u64(lsn).string(&prefix).u32(content.len() as u32).bytes(&content).0
            }
        ),
    ]
}

/// Transaction messages.
fn frame_message() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u64; 4]>(), any::<u32>(), any::<u32>(), name(), 0u8..12).prop_map(|(fields, xid, subxid, text, kind)| {
        let [a, b, c, d] = fields;
        let two_phase = |kind| Encoder::kind(kind).u8(0).u64(a).u64(b).u64(c).u32(xid).string(&text);
        let encoder = match kind {
            0 => Encoder::kind(b'B').u64(a).u64(b).u32(xid),
            1 => Encoder::kind(b'C').u8(0).u64(a).u64(b).u64(c),
            2 => Encoder::kind(b'O').u64(a).string(&text),
            3 => Encoder::kind(b'S').u32(xid).u8((subxid & 1) as u8),
            4 => Encoder::kind(b'c').u32(xid).u8(0).u64(a).u64(b).u64(c),
            5 => Encoder::kind(b'A').u32(xid).u32(subxid),
            6 => Encoder::kind(b'A').u32(xid).u32(subxid).u64(a).u64(b),
            7 => Encoder::kind(b'b').u64(a).u64(b).u64(c).u32(xid).string(&text),
            8 => two_phase(b'P'),
            9 => two_phase(b'K'),
            10 => two_phase(b'p'),
            _ => Encoder::kind(b'r').u8(0).u64(a).u64(b).u64(c).u64(d).u32(xid).string(&text),
        };
        encoder.0
    })
}

/// Messages of a session, valid one after the other: outside stream blocks, or one block from its start to its stop.
pub(crate) fn session() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let outside = prop::collection::vec(
        prop_oneof![3 => row_message(None), 1 => frame_message().prop_filter("opens a block", |m| m[0] != b'S')],
        1..5,
    );
    let block = any::<u32>().prop_flat_map(|xid| {
        prop::collection::vec(row_message(Some(xid)), 0..4).prop_map(move |mut rows| {
            rows.insert(0, Encoder::kind(b'S').u32(xid).u8(1).0);
            rows.push(Encoder::kind(b'E').0);
            rows
        })
    });
    prop_oneof![outside, block]
}
