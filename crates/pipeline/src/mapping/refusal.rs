//! Why a row is not sent.

use model::ErrorCode;
use std::sync::Arc;

/// A row that cannot be mapped: a dead letter, class `Permanent`; sending it again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct RowRefusal {
    pub code: ErrorCode,
    /// May hold data of the row; never a secret.
    pub message: String,
    /// The target field, where one is to blame.
    pub field: Option<Arc<str>>,
}

/// The reasons; each has one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The record is no change event.
    Malformed,
    /// The value is not of the field's type and cannot become it.
    WrongType,
    TooLong,
    /// Outside of a restricted picklist.
    NotInPicklist,
    /// More digits before or after the point than the field has.
    TooManyDigits,
    /// A date or time that the target does not have (infinity, BC, before 1700, after 4000, 24:00).
    OutOfCalendar,
    /// A NUL character.
    BadCharacter,
    /// A CEL expression failed over this row.
    ExpressionFailed,
    /// The external id is null, empty or not known.
    NoKey,
    /// NaN or an infinity for a number.
    NotFinite,
    /// A truncate has no row.
    Truncate,
    /// The record lacks a column that the table had at start.
    MissingColumn,
    /// The lane's expression gave none of the three words.
    UnknownLane,
    /// Null for a field that takes none.
    NullNotAllowed,
    /// The filter reads a column whose value is not known since it did not change.
    FilterUnknown,
}

impl RefusalKind {
    /// The stable code.
    pub fn code(self) -> ErrorCode {
        ErrorCode(match self {
            Self::Malformed => "PS5001",
            Self::WrongType => "PS5301",
            Self::TooLong => "PS5302",
            Self::NotInPicklist => "PS5303",
            Self::TooManyDigits => "PS5304",
            Self::OutOfCalendar => "PS5305",
            Self::BadCharacter => "PS5306",
            Self::ExpressionFailed => "PS5307",
            Self::NoKey => "PS5308",
            Self::NotFinite => "PS5309",
            Self::Truncate => "PS5310",
            Self::MissingColumn => "PS5311",
            Self::UnknownLane => "PS5312",
            Self::NullNotAllowed => "PS5313",
            Self::FilterUnknown => "PS5314",
        })
    }

    /// Makes a refusal of a field's value.
    pub(super) fn of_field(self, field: &Arc<str>, message: impl Into<String>) -> RowRefusal {
        RowRefusal { code: self.code(), message: format!("{field}: {}", message.into()), field: Some(field.clone()) }
    }

    /// Makes a refusal of the row as a whole.
    pub(super) fn of_row(self, message: impl Into<String>) -> RowRefusal {
        RowRefusal { code: self.code(), message: message.into(), field: None }
    }
}

/// A value for a message: shortened.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
