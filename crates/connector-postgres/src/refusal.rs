//! What this connector refuses or cannot do now, each with its code, place, cause and way out.

use contract::SourceError;
use model::{ErrorCode, Finding, TableName};
use std::fmt;

/// Something that an operator must decide or change first. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: &'static str,
    pub place: String,
    pub cause: String,
    /// What to do; exact SQL where there is any.
    pub fix: String,
}

impl Refusal {
    pub(crate) fn new(
        code: &'static str,
        place: impl Into<String>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { code, place: place.into(), cause: cause.into(), fix: fix.into() }
    }

    /// A refusal about one table.
    pub(crate) fn table(
        code: &'static str,
        table: &TableName,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(code, format!("table {table}"), cause, fix)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {} ({})", self.code, self.place, self.cause, self.fix)
    }
}

impl From<Refusal> for SourceError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            code: ErrorCode(refusal.code),
            message: format!("{}: {}", refusal.place, refusal.cause),
            fix: refusal.fix,
        }
    }
}

impl From<Refusal> for Finding {
    fn from(refusal: Refusal) -> Self {
        Self::error(refusal.code, refusal.place, refusal.cause, refusal.fix)
    }
}

/// Makes the error of something that passes by itself.
pub(crate) fn transient(code: &'static str, message: impl Into<String>) -> SourceError {
    SourceError::Transient { code: ErrorCode(code), message: message.into() }
}

/// Quotes a name as SQL does.
pub(crate) fn quoted(name: &str) -> String {
    postgres_protocol::escape::escape_identifier(name)
}

/// Quotes a text value as SQL does.
pub(crate) fn literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text)
}

/// Writes a table's name as SQL does.
pub(crate) fn quoted_table(table: &TableName) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}

/// Makes a refusal of a change event that cannot be written.
pub(crate) fn unwritable(code: ErrorCode, message: impl fmt::Display) -> SourceError {
    // The error's own text already starts with its code.
    let text = message.to_string();
    let message = text.strip_prefix(code.0).map_or(text.as_str(), |rest| rest.trim_start_matches(": ")).to_owned();
    SourceError::Refused { code, message, fix: format!("see `penstock explain {code}`") }
}
