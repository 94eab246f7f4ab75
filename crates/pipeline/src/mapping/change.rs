//! What a change says of itself, beside its columns.

use super::refusal::{RefusalKind as Kind, RowRefusal};
use crate::event::ChangeView;
use crate::event::calendar::{Day, Moment};
use crate::event::scan::first_value;
use crate::event::value::Scalar;
use crate::spec::ChangePart;
use model::{Op, header};
use std::borrow::Cow;

const DAY_MS: i64 = 86_400_000;

/// One part as a column's value would be; null where the record does not tell it.
///
/// # Errors
/// `RowRefusal` when the record is broken.
pub(super) fn part<'a>(view: &ChangeView<'a>, part: ChangePart) -> Result<Scalar<'a>, RowRefusal> {
    Ok(match part {
        ChangePart::Op => Scalar::Text(Cow::Borrowed(word(view.op()))),
        ChangePart::Table => view.record().header(header::TABLE).map_or(Ok(Scalar::Null), text)?,
        ChangePart::Key => view.key_json().map_or(Ok(Scalar::Null), text)?,
        ChangePart::Row => match view.row() {
            Some(row) => text(first_value(row).map_err(|broken| malformed(broken.why))?)?,
            None => Scalar::Null,
        },
        ChangePart::Time => {
            let ms = view.record().time_ms;
            Scalar::Moment(Moment::at(Day(ms.div_euclid(DAY_MS)), ms.rem_euclid(DAY_MS) * 1_000))
        }
    })
}

fn word(op: Op) -> &'static str {
    match op {
        Op::Create => "c",
        Op::Update => "u",
        Op::Delete => "d",
        Op::Read => "r",
        Op::Truncate => "t",
    }
}

fn text(bytes: &[u8]) -> Result<Scalar<'_>, RowRefusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
    Ok(Scalar::Text(Cow::Borrowed(text)))
}

fn malformed(why: &str) -> RowRefusal {
    Kind::Malformed.of_row(format!("the record is no change event: {why}"))
}
