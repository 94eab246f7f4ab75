//! The bytes of a frame's payload, all little-endian.
//!
//! | kind | what follows |
//! |---|---|
//! | 0 layout | tables: name, key prefix, fields' names; their positions are what the other kinds mean by numbers |
//! | 1 changes | last number of the history, number of the request, time, newest replay id, counters, rows, entries of the recycle bin |
//! | 2 objects | JSON of objects that were added while the org ran |
//! | 3 end | the snapshot is whole |
//!
//! A text is a u32 length and its UTF-8; a list is a u32 count and its items.

use crate::ids::SfId;
use crate::store::{Binned, Cleared, Row, RowState};
use crate::value::{Decimal, Value};

pub const LAYOUT: u8 = 0;
pub const CHANGES: u8 = 1;
pub const OBJECTS: u8 = 2;
pub const END: u8 = 3;

/// Appends numbers and texts to a payload.
pub trait Put {
    fn u8(&mut self, number: u8);
    fn u16(&mut self, number: u16);
    fn u32(&mut self, number: u32);
    fn u64(&mut self, number: u64);
    fn i64(&mut self, number: i64);
    fn text(&mut self, text: &str);
    fn id(&mut self, id: SfId);
}

impl Put for Vec<u8> {
    fn u8(&mut self, number: u8) {
        self.push(number);
    }

    fn u16(&mut self, number: u16) {
        self.extend_from_slice(&number.to_le_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.extend_from_slice(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.extend_from_slice(&number.to_le_bytes());
    }

    fn i64(&mut self, number: i64) {
        self.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.extend_from_slice(text.as_bytes());
    }

    fn id(&mut self, id: SfId) {
        self.extend_from_slice(id.short().as_bytes());
    }
}

/// Takes numbers and texts off a payload; none where it ends too early.
pub struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    pub fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    pub fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()?;
        std::str::from_utf8(self.bytes(length as usize)?).ok()
    }

    pub fn id(&mut self) -> Option<SfId> {
        SfId::parse(std::str::from_utf8(self.bytes(15)?).ok()?)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes a row without its id, which follows from its place.
pub fn put_row(out: &mut Vec<u8>, row: &Row) {
    out.u8(match row.state {
        RowState::Live => 0,
        RowState::Deleted => 1,
        RowState::Gone => 2,
    });
    for time in [row.created_ms, row.modified_ms, row.modstamp_ms] {
        out.i64(time);
    }
    out.id(row.created_by);
    out.id(row.modified_by);
    out.u32(row.cells().len() as u32);
    for (field, value) in row.cells() {
        out.u16(*field);
        put_value(out, value);
    }
}

/// Reads what `put_row` wrote; `field` gives the number that a stored field has now.
pub fn take_row(from: &mut Take<'_>, id: SfId, field: impl Fn(u16) -> Option<u16>) -> Option<Row> {
    let state = match from.u8()? {
        0 => RowState::Live,
        1 => RowState::Deleted,
        2 => RowState::Gone,
        _ => return None,
    };
    let (created_ms, modified_ms, modstamp_ms) = (from.i64()?, from.i64()?, from.i64()?);
    let created_by = from.id()?;
    let modified_by = from.id()?;
    let mut row = Row::new(id, created_by, created_ms);
    (row.state, row.modified_ms, row.modstamp_ms, row.modified_by) = (state, modified_ms, modstamp_ms, modified_by);
    for _ in 0..from.u32()? {
        let number = from.u16()?;
        let value = take_value(from)?;
        row.set(field(number)?, value);
    }
    row.shrink();
    Some(row)
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        // A compound is made when it is read, and null is no cell: neither is ever stored.
        Value::Null | Value::Compound(_) => out.u8(0),
        Value::Bool(false) => out.u8(1),
        Value::Bool(true) => out.u8(2),
        Value::Number(number) => {
            let (mantissa, scale) = number.parts();
            out.u8(3);
            out.i64(mantissa);
            out.u8(scale);
        }
        Value::Text(text) => {
            out.u8(4);
            out.text(text);
        }
        Value::Id(id) => {
            out.u8(5);
            out.id(*id);
        }
        Value::Date(days) => {
            out.u8(6);
            out.i64(i64::from(*days));
        }
        Value::Datetime(ms) => {
            out.u8(7);
            out.i64(*ms);
        }
        Value::Time(ms) => {
            out.u8(8);
            out.i64(i64::from(*ms));
        }
    }
}

fn take_value(from: &mut Take<'_>) -> Option<Value> {
    Some(match from.u8()? {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => {
            let mantissa = from.i64()?;
            Value::Number(Decimal::from_stored(mantissa, from.u8()?)?)
        }
        4 => Value::Text(from.text()?.into()),
        5 => Value::Id(from.id()?),
        6 => Value::Date(i32::try_from(from.i64()?).ok()?),
        7 => Value::Datetime(from.i64()?),
        8 => Value::Time(i32::try_from(from.i64()?).ok()?),
        _ => return None,
    })
}

/// Writes an entry of the recycle bin.
pub fn put_binned(out: &mut Vec<u8>, binned: &Binned) {
    let place = |out: &mut Vec<u8>, (table, slot): (usize, u32)| {
        out.u16(table as u16);
        out.u32(slot);
    };
    place(out, binned.root);
    out.i64(binned.at_ms);
    out.u32(binned.rows.len() as u32);
    for row in &binned.rows {
        place(out, *row);
    }
    out.u32(binned.cleared.len() as u32);
    for cleared in &binned.cleared {
        place(out, (cleared.table, cleared.slot));
        out.u16(cleared.field);
        out.id(cleared.parent);
    }
}

/// Reads what `put_binned` wrote; `table` and `field` give the numbers that stored ones have now.
pub fn take_binned(
    from: &mut Take<'_>,
    table: impl Fn(u16) -> Option<usize>,
    field: impl Fn(u16, u16) -> Option<u16>,
) -> Option<Binned> {
    let place = |from: &mut Take<'_>| {
        let stored = from.u16()?;
        Some((stored, (table(stored)?, from.u32()?)))
    };
    let (_, root) = place(from)?;
    let at_ms = from.i64()?;
    let mut binned = Binned { root, at_ms, rows: Vec::new(), cleared: Vec::new() };
    for _ in 0..from.u32()? {
        binned.rows.push(place(from)?.1);
    }
    for _ in 0..from.u32()? {
        let (stored, (table, slot)) = place(from)?;
        let field = field(stored, from.u16()?)?;
        binned.cleared.push(Cleared { table, slot, field, parent: from.id()? });
    }
    Some(binned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            (any::<i32>(), 0u8..6).prop_map(|(n, scale)| {
                Value::Number(Decimal::parse(&format!("{n}e-{scale}"), 18, 9).unwrap().unwrap())
            }),
            ".{1,20}".prop_map(|text| Value::Text(text.into())),
            any::<u32>().prop_map(|n| Value::Id(SfId::new(*b"001", n.into()))),
            any::<i32>().prop_map(Value::Date),
            any::<i64>().prop_map(Value::Datetime),
            any::<i32>().prop_map(Value::Time),
        ]
    }

    proptest! {
        #[test]
        fn rows_survive_a_round_trip(cells in prop::collection::btree_map(0u16..50, any_value(), 0..9), state in 0u8..3, times in any::<[i64; 3]>()) {
            let mut row = Row::new(SfId::new(*b"001", 7), SfId::new(*b"005", 1), times[0]);
            row.state = [RowState::Live, RowState::Deleted, RowState::Gone][usize::from(state)];
            (row.modified_ms, row.modstamp_ms, row.modified_by) = (times[1], times[2], SfId::new(*b"005", 2));
            for (field, value) in cells {
                row.set(field, value);
            }
            let mut out = Vec::new();
            put_row(&mut out, &row);
            let mut from = Take(&out);
            prop_assert_eq!(take_row(&mut from, row.id, Some), Some(row));
            prop_assert!(from.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = take_row(&mut Take(&bytes), SfId::new(*b"001", 1), Some);
            let _ = take_binned(&mut Take(&bytes), |table| Some(usize::from(table)), |_, field| Some(field));
        }
    }

    /// What was written by this version must be read by every later one.
    #[test]
    fn bytes_of_a_row_stay_as_they_are() {
        let mut row = Row::new(SfId::new(*b"001", 1), SfId::new(*b"005", 1), 1000);
        row.set(3, Value::Text("é".into()));
        row.set(4, Value::Number(Decimal::int(5)));
        let mut out = Vec::new();
        put_row(&mut out, &row);
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        let user = "303035487330303030303030303031";
        let time = "e803000000000000";
        assert_eq!(hex, format!("00{time}{time}{time}{user}{user}0200000003000402000000c3a9040003050000000000000000"));
    }
}
