//! A change event's parts, found lazily.

use super::scan::{Broken, Members, member, string_inside, unescape};
use model::{ErrorCode, Op, Record, TableName, header};
use std::cell::Cell;

/// A record that is no change event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PS5001: the record is no change event: {why}")]
pub struct MalformedChange {
    pub why: &'static str,
}

impl MalformedChange {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        ErrorCode("PS5001")
    }
}

impl From<Broken> for MalformedChange {
    fn from(broken: Broken) -> Self {
        Self { why: broken.why }
    }
}

/// One change event, borrowed from its record. Making one costs a look at the headers; the value is scanned when a
/// column is asked for.
#[derive(Clone, Debug)]
pub struct ChangeView<'a> {
    record: Record<'a>,
    op: Op,
    table: Option<&'a [u8]>,
    unchanged: Option<&'a [u8]>,
    old_key: Option<&'a [u8]>,
    new_key: Option<&'a [u8]>,
    /// Where `before` and `after` begin, once they were looked for.
    rows: Cell<Option<Rows<'a>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rows<'a> {
    before: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
    broken: Option<Broken>,
}

impl<'a> ChangeView<'a> {
    /// Reads the headers; the op falls back to the envelope.
    ///
    /// # Errors
    /// `MalformedChange` when the record has no value or no op.
    #[inline]
    pub fn parse(record: &Record<'a>) -> Result<Self, MalformedChange> {
        let value = record.value.ok_or(MalformedChange { why: "it has no value" })?;
        let (mut op, mut table, mut unchanged, mut old_key, mut new_key) = (None, None, None, None, None);
        for (name, value) in record.headers() {
            // The first header of a name counts, as in `Record::header`.
            let slot = match name {
                b"op" => &mut op,
                b"table" => &mut table,
                b"unchanged" => &mut unchanged,
                b"oldkey" => &mut old_key,
                b"newkey" => &mut new_key,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        let letter = match op {
            Some([letter]) => Some(*letter),
            Some(_) => None,
            None => envelope_op(value)?,
        };
        let op = letter.and_then(Op::from_letter).ok_or(MalformedChange { why: "its op is unknown" })?;
        Ok(Self { record: *record, op, table, unchanged, old_key, new_key, rows: Cell::new(None) })
    }

    /// What happened to the row.
    pub fn op(&self) -> Op {
        self.op
    }

    /// The record that it was read from.
    pub fn record(&self) -> &Record<'a> {
        &self.record
    }

    /// The JSON of the business key, if the record has one.
    pub fn key_json(&self) -> Option<&'a [u8]> {
        self.record.key
    }

    /// On the `c` half of an update that changed the key: the JSON of the old key.
    pub fn old_key_json(&self) -> Option<&'a [u8]> {
        self.old_key
    }

    /// On the `d` half of an update that changed the key: the JSON of the new key.
    pub fn new_key_json(&self) -> Option<&'a [u8]> {
        self.new_key
    }

    /// The text from `before` on; `None` when it is absent or null. It may go on behind the object's end.
    #[inline]
    pub fn before(&self) -> Option<&'a [u8]> {
        self.rows().before
    }

    /// The text from `after` on; `None` when it is absent or null. It may go on behind the object's end.
    #[inline]
    pub fn after(&self) -> Option<&'a [u8]> {
        self.rows().after
    }

    /// The row as it is now, or as it last was: `after`, for a delete `before`.
    pub fn row(&self) -> Option<&'a [u8]> {
        if self.op == Op::Delete { self.before() } else { self.after() }
    }

    /// Says whether the envelope could be scanned up to `after`.
    ///
    /// # Errors
    /// `MalformedChange` with the reason.
    pub fn whole(&self) -> Result<(), MalformedChange> {
        self.rows().broken.map_or(Ok(()), |broken| Err(broken.into()))
    }

    /// The raw JSON of a column in `after`.
    #[inline]
    pub fn after_column(&self, name: &str) -> Option<&'a [u8]> {
        self.after().and_then(|row| member(row, name).ok().flatten())
    }

    /// The raw JSON of a column in `before`. With the default replica identity a column outside of the identity may
    /// stand there as null although it was not: see `TableSchema::identity_columns`.
    #[inline]
    pub fn before_column(&self, name: &str) -> Option<&'a [u8]> {
        self.before().and_then(|row| member(row, name).ok().flatten())
    }

    /// The raw JSON of a column of the record's key.
    #[inline]
    pub fn key_column(&self, name: &str) -> Option<&'a [u8]> {
        self.record.key.and_then(|key| member(key, name).ok().flatten())
    }

    /// True when the source said that the column is unchanged (and so absent from `after`).
    pub fn is_unchanged(&self, name: &str) -> bool {
        let Some(names) = self.unchanged else { return false };
        super::scan::Elements::of(names).is_ok_and(|elements| {
            elements.flatten().any(|name_json| string_inside(name_json).is_some_and(|n| super::scan::name_is(n, name)))
        })
    }

    /// True when the source left at least one column out as unchanged.
    pub fn has_unchanged(&self) -> bool {
        self.unchanged.is_some()
    }

    #[inline]
    fn rows(&self) -> Rows<'a> {
        if let Some(rows) = self.rows.get() {
            return rows;
        }
        let rows = find_rows(self.record.value.unwrap_or_default());
        self.rows.set(Some(rows));
        rows
    }
}

/// Finds `before` and `after` and stops there. Our own writer puts them first, so that little is scanned.
#[inline]
fn find_rows(value: &[u8]) -> Rows<'_> {
    let mut rows = Rows::default();
    let mut left = 2;
    let mut scan = || -> Result<(), Broken> {
        let mut members = Members::of(value)?;
        while let Some(name) = members.name()? {
            let rest = members.rest();
            let row = (rest.first() == Some(&b'{')).then_some(rest);
            match name {
                b"after" => {
                    rows.after = row;
                    left -= 1;
                }
                b"before" => {
                    left -= 1;
                    rows.before = row;
                }
                _ => {}
            }
            if left == 0 {
                return Ok(());
            }
            members.value()?;
        }
        Ok(())
    };
    let broken = scan().err();
    rows.broken = broken;
    rows
}

fn envelope_op(value: &[u8]) -> Result<Option<u8>, MalformedChange> {
    Ok(member(value, "op")?.and_then(string_inside).and_then(|inside| match inside {
        [letter] => Some(*letter),
        _ => None,
    }))
}

/// Tells a table's records from others by the header, or by the envelope's `source` where there is no header.
#[derive(Clone, Debug)]
pub struct TableMatcher {
    table: TableName,
    header: Box<[u8]>,
}

impl TableMatcher {
    /// Prepares the comparison.
    pub fn new(table: &TableName) -> Self {
        Self { table: table.clone(), header: format!("{}.{}", table.schema, table.name).into_bytes().into() }
    }

    /// True when the record is of this table. Costs a look at the headers.
    #[inline]
    pub fn takes(&self, record: &Record<'_>) -> bool {
        match record.header(header::TABLE) {
            Some(name) => *name == *self.header,
            None => record.value.is_some_and(|value| self.takes_envelope(value)),
        }
    }

    /// As `takes`, for a view.
    #[inline]
    pub fn takes_view(&self, view: &ChangeView<'_>) -> bool {
        match view.table {
            Some(name) => *name == *self.header,
            None => view.record.value.is_some_and(|value| self.takes_envelope(value)),
        }
    }

    fn takes_envelope(&self, value: &[u8]) -> bool {
        let Ok(Some(source)) = member(value, "source") else { return false };
        let is = |name: &str, wanted: &str| {
            member(source, name)
                .ok()
                .flatten()
                .and_then(string_inside)
                .and_then(unescape)
                .is_some_and(|text| text == wanted)
        };
        is("schema", &self.table.schema) && is("table", &self.table.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::RecordBatchBuilder;
    use proptest::prelude::*;

    fn with_record<T>(value: Option<&[u8]>, headers: &[(&str, &[u8])], look: impl FnOnce(&Record<'_>) -> T) -> T {
        let mut builder = RecordBatchBuilder::default();
        builder.push(0, Some(b"{\"id\":7}"), value, headers).unwrap();
        let batch = builder.finish();
        look(&batch.iter().next().unwrap())
    }

    const UPDATE: &[u8] = br#" { "before" : {"id":7,"note":null} , "after":{"id":7,"a\"b":"x"},"source":{"schema":"s","table":"t"},"op":"u"}"#;

    #[test]
    fn columns_are_found_in_both_rows_and_the_key() {
        with_record(Some(UPDATE), &[("op", b"u"), ("unchanged", br#"["note"]"#)], |record| {
            let view = ChangeView::parse(record).unwrap();
            assert_eq!(view.op(), Op::Update);
            assert_eq!(view.after_column("a\"b"), Some(b"\"x\"".as_slice()));
            assert_eq!(view.before_column("note"), Some(b"null".as_slice()));
            assert_eq!(view.key_column("id"), Some(b"7".as_slice()));
            assert_eq!(view.after_column("none"), None);
            assert!(view.is_unchanged("note") && !view.is_unchanged("id"));
            assert_eq!(view.whole(), Ok(()));
        });
    }

    #[test]
    fn headers_missing_fall_back_to_the_envelope() {
        with_record(Some(UPDATE), &[], |record| {
            assert_eq!(ChangeView::parse(record).unwrap().op(), Op::Update);
            let table = |name: &str| TableMatcher::new(&TableName { schema: "s".into(), name: name.into() });
            assert!(table("t").takes(record));
            assert!(!table("u").takes(record));
        });
        with_record(Some(UPDATE), &[("table", b"s.other")], |record| {
            assert!(!TableMatcher::new(&TableName { schema: "s".into(), name: "t".into() }).takes(record));
        });
    }

    #[test]
    fn record_without_value_or_op_is_malformed() {
        assert!(with_record(None, &[], |record| ChangeView::parse(record).is_err()));
        assert!(with_record(Some(b"{}"), &[], |record| ChangeView::parse(record).is_err()));
        assert!(with_record(Some(b"{}"), &[("op", b"x")], |record| ChangeView::parse(record).is_err()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_viewed_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..80), op in "[cudrt]") {
            with_record(Some(&value), &[("op", op.as_bytes()), ("unchanged", &value)], |record| {
                let view = ChangeView::parse(record).unwrap();
                let _ = (view.after_column("a"), view.before_column("a"), view.is_unchanged("a"), view.whole());
            });
        }
    }
}
