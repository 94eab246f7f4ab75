//! Which column types and expression results fit which fields.

use crate::mapping::fields::{FieldTarget, is_text};
use cel::Value;
use contract::FieldKind;
use model::ColumnType;

/// Whether values of one type can be held by a field of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    /// Held, but something of each value is left out: what.
    Loses(&'static str),
    No,
}

/// The matrix of column types and field kinds. Text is never parsed into another kind without a word of the
/// configuration.
pub(super) fn fit_of_column(column: &ColumnType, field: FieldKind) -> Fit {
    use ColumnType as C;
    use FieldKind as F;
    let yes = |fits: bool| if fits { Fit::Yes } else { Fit::No };
    match field {
        F::Boolean => yes(matches!(column, C::Bool)),
        F::Int => match column {
            C::Int16 | C::Int32 | C::Int64 | C::Decimal { .. } => Fit::Yes,
            _ => Fit::No,
        },
        F::Double | F::Currency => yes(matches!(
            column,
            C::Int16 | C::Int32 | C::Int64 | C::Decimal { .. } | C::Float32 | C::Float64 | C::Money
        )),
        F::Date => match column {
            C::Date => Fit::Yes,
            C::Timestamp { .. } | C::TimestampTz { .. } => {
                Fit::Loses("the time of day is left out, the day is that of UTC")
            }
            _ => Fit::No,
        },
        F::Datetime => yes(matches!(column, C::Date | C::Timestamp { .. } | C::TimestampTz { .. })),
        F::Time => yes(matches!(column, C::Time { .. } | C::TimeTz)),
        F::Base64 => yes(matches!(column, C::Bytes)),
        F::Compound => Fit::No,
        _ => Fit::Yes,
    }
}

/// As `fit_of_column`, for what an expression gives; a text result may be parsed, but only a literal is known to be
/// right.
pub(super) fn fit_of_value(value: &Value, field: FieldKind) -> Fit {
    use FieldKind as F;
    let fits = match value {
        Value::Null | Value::Map(_) if is_text(field) => true,
        Value::Null => true,
        // A json column's sample: its values may be anything.
        Value::Map(_) => true,
        Value::Bool(_) => field == F::Boolean || is_text(field),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => {
            matches!(field, F::Int | F::Double | F::Currency) || is_text(field)
        }
        Value::String(_) => is_text(field) || matches!(field, F::Time | F::Base64),
        Value::Timestamp(_) => matches!(field, F::Date | F::Datetime) || is_text(field),
        Value::Bytes(_) => field == F::Base64 || is_text(field),
        Value::List(_) => is_text(field),
        _ => false,
    };
    if fits { Fit::Yes } else { Fit::No }
}

/// A declared size that is over the field's: a code and what is too large.
pub(super) fn size_warning(column: &ColumnType, target: &FieldTarget) -> Option<(&'static str, String)> {
    let text = |chars: usize| {
        let over = target.length > 0 && chars > target.length as usize;
        over.then(|| ("PS5205", format!("up to {chars} characters, the field takes {}", target.length)))
    };
    let number = |whole: u32, fraction: u32| {
        let over =
            target.whole_digits.is_some_and(|most| whole > most) || target.scale.is_some_and(|most| fraction > most);
        let limits = match (target.whole_digits, target.scale) {
            (Some(most), Some(scale)) => format!("{most} before and {scale} after it"),
            (_, scale) => format!("{} after it", scale.unwrap_or_default()),
        };
        over.then(|| {
            (
                "PS5216",
                format!("up to {whole} digits before the point and {fraction} after it, the field takes {limits}"),
            )
        })
    };
    match column {
        _ if target.scale.is_none() && target.length == 0 => None,
        ColumnType::Text { length: Some(chars) } => text(*chars as usize),
        ColumnType::Uuid => text(36),
        ColumnType::Enum { labels } => text(labels.iter().map(|label| label.chars().count()).max().unwrap_or(0)),
        ColumnType::Int16 => number(5, 0),
        ColumnType::Int32 => number(10, 0),
        // A bigint may have 19 digits; hardly one has, and Number(18, 0) is the usual field for it.
        ColumnType::Int64 => number(18, 0),
        ColumnType::Decimal { precision: Some(precision), scale } => {
            let scale = i32::from(scale.unwrap_or(0));
            let whole = (i32::from(*precision) - scale).max(0);
            number(whole as u32, scale.max(0) as u32)
        }
        _ => None,
    }
}
