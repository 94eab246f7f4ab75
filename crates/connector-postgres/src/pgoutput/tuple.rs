//! The columns of one row version, as slices of the message.

use super::reader::{DecodeError, Reader};

/// One column's value as the server sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnText<'a> {
    Null,
    /// An unchanged TOASTed value that the server left out.
    Unchanged,
    /// PostgreSQL's text output.
    Text(&'a [u8]),
}

impl<'a> ColumnText<'a> {
    /// Takes a snapshot's SQL value.
    pub fn from_sql(value: Option<&'a [u8]>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }
}

/// The columns of a row version, in the table's order; every length in it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<'a> {
    bytes: &'a [u8],
    count: u16,
}

impl<'a> Tuple<'a> {
    /// Walks the tuple at the reader's place and steps behind it.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.u16("the column count is cut off")?;
        let start = reader.at();
        for _ in 0..count {
            match reader.u8("a column's kind is cut off")? {
                b'n' | b'u' => {}
                b't' => {
                    let length = reader.u32("a column's length is cut off")?;
                    reader.take(length as usize, "a column's value is cut off")?;
                }
                b'b' => return Err(reader.broken("a column is in binary form, which was not asked for")),
                _ => return Err(reader.broken("a column's kind is none of n, u, t")),
            }
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
    pub fn columns(&self) -> TupleColumns<'a> {
        TupleColumns { bytes: self.bytes }
    }
}

/// The columns of a `Tuple`.
#[derive(Clone, Debug)]
pub struct TupleColumns<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for TupleColumns<'a> {
    type Item = ColumnText<'a>;

    #[inline]
    fn next(&mut self) -> Option<ColumnText<'a>> {
        let (kind, rest) = self.bytes.split_first()?;
        match kind {
            b'n' => {
                self.bytes = rest;
                Some(ColumnText::Null)
            }
            b'u' => {
                self.bytes = rest;
                Some(ColumnText::Unchanged)
            }
            _ => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                self.bytes = rest;
                Some(ColumnText::Text(text))
            }
        }
    }
}
