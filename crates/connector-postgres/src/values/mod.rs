//! A column's text, as PostgreSQL prints it, to its JSON, in two modes.

/// A text that is not what its column's type prints. Never holds the value itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its value of {bytes} bytes is no {expected} as PostgreSQL prints it")]
pub struct ValueError {
    pub expected: &'static str,
    pub bytes: usize,
}
