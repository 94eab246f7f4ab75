//! Row versions: which columns of a change are known, and their JSON.

use super::plan::RelationPlan;
use super::{EventError, Row};
use crate::pgoutput::{ColumnText, OldTuple};
use crate::values::Scratch;

/// One row version as the server sent it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Image<'a> {
    Whole(Row<'a>),
    /// Only the columns of the replica identity hold values.
    IdentityOnly(Row<'a>),
}

/// A row version to be written, and an older one of the same row that may know what it left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowImage<'a> {
    pub(super) image: Image<'a>,
    pub(super) known: Option<Image<'a>>,
}

impl<'a> Image<'a> {
    /// Takes the old tuple of an update or delete, after a check of its column count.
    pub(super) fn of_old(plan: &RelationPlan, old: OldTuple<'a>) -> Result<Option<Self>, EventError> {
        let image = match old {
            OldTuple::None => return Ok(None),
            OldTuple::Key(tuple) => Self::IdentityOnly(tuple.into()),
            OldTuple::Full(tuple) => Self::Whole(tuple.into()),
        };
        plan.check_columns(image.row())?;
        Ok(Some(image))
    }

    fn row(&self) -> Row<'a> {
        match self {
            Self::Whole(row) | Self::IdentityOnly(row) => *row,
        }
    }

    /// The column's value; `None` when this version does not know it.
    fn column(&self, plan: &RelationPlan, index: usize) -> Option<ColumnText<'a>> {
        let carried = matches!(self, Self::Whole(_)) || plan.columns[index].identity;
        let value = self.row().column(index).filter(|_| carried)?;
        (value != ColumnText::Unchanged).then_some(value)
    }
}

impl<'a> RowImage<'a> {
    /// A row version that stands alone.
    pub(super) fn of(image: Image<'a>) -> Self {
        Self { image, known: None }
    }

    /// The column's value, from the older version where this one left it out; `None` when neither knows it.
    pub(super) fn column(&self, plan: &RelationPlan, index: usize) -> Option<ColumnText<'a>> {
        let older = || self.known.and_then(|known| known.column(plan, index));
        self.image.column(plan, index).or_else(older)
    }

    /// Appends the business key as a JSON object; nothing when the table has none.
    pub(super) fn write_key(
        &self,
        out: &mut Vec<u8>,
        plan: &RelationPlan,
        scratch: &mut Scratch,
    ) -> Result<(), EventError> {
        for key in &plan.key {
            out.extend_from_slice(&key.label);
            match self.column(plan, key.index) {
                Some(ColumnText::Text(text)) => {
                    let column = &plan.columns[key.index];
                    column.codec.write(out, text, scratch).map_err(|cause| plan.broken_value(column, cause))?;
                }
                Some(ColumnText::Null) => out.extend_from_slice(b"null"),
                Some(ColumnText::Unchanged) | None => return Err(plan.key_not_carried(key.index)),
            }
        }
        if !plan.key.is_empty() {
            out.push(b'}');
        }
        Ok(())
    }

    /// Appends the row as a JSON object. Names of columns that nobody knows go to `unchanged` (`["a","b"` without its
    /// end) and not into the object.
    pub(super) fn write_object(
        &self,
        out: &mut Vec<u8>,
        plan: &RelationPlan,
        unchanged: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), EventError> {
        let identity_only = matches!(self.image, Image::IdentityOnly(_));
        out.push(b'{');
        let start = out.len();
        for (index, (column, value)) in plan.columns.iter().zip(self.image.row().columns()).enumerate() {
            let value = match value {
                ColumnText::Unchanged => match self.known.and_then(|known| known.column(plan, index)) {
                    Some(value) => value,
                    None => {
                        unchanged.push(if unchanged.is_empty() { b'[' } else { b',' });
                        unchanged.extend_from_slice(&column.label[..column.label.len() - 1]);
                        continue;
                    }
                },
                sent => sent,
            };
            let filler = match column.not_carried {
                _ if !identity_only || column.identity => None,
                Some(filler) => Some(filler),
                None => continue,
            };
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(&column.label);
            match (filler, value) {
                (Some(filler), _) => out.extend_from_slice(filler),
                (None, ColumnText::Text(text)) => {
                    column.codec.write(out, text, scratch).map_err(|cause| plan.broken_value(column, cause))?;
                }
                (None, _) => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
        Ok(())
    }
}
