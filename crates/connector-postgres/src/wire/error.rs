//! Why the wire broke.

use crate::refusal::Refusal;

/// An error of the replication connection. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("no answer in time")]
    TimedOut,
    #[error("{message} (SQLSTATE {sqlstate})")]
    Server { sqlstate: String, message: String },
    #[error("{0}")]
    Auth(String),
    #[error("{0}")]
    Protocol(String),
    #[error("{0}")]
    Refused(Refusal),
}

impl WireError {
    pub(super) fn unexpected(tag: u8, doing: &str) -> Self {
        Self::Protocol(format!("message {:?} came while {doing}", char::from(tag)))
    }

    /// Reads the body of an ErrorResponse: `(type, text, NUL)*, NUL`.
    pub(super) fn from_body(body: &[u8]) -> Self {
        let (mut sqlstate, mut message) = (String::new(), String::new());
        for field in body.split(|byte| *byte == 0) {
            match field.split_first() {
                Some((b'C', text)) => sqlstate = String::from_utf8_lossy(text).into_owned(),
                Some((b'M', text)) => message = String::from_utf8_lossy(text).into_owned(),
                Some((b'D', text)) => message = format!("{message} ({})", String::from_utf8_lossy(text)),
                _ => {}
            }
        }
        Self::Server { sqlstate, message }
    }
}
