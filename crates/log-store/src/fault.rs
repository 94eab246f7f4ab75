//! File errors with their place, and a form that can be told to many.

use crate::fs::is_full;
use contract::LogError;
use std::io;
use std::path::Path;

/// A failed file operation: kept, so that each waiter can be told.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    full: bool,
    action: &'static str,
    path: String,
    kind: io::ErrorKind,
    cause: String,
}

impl Failure {
    /// Notes a failed operation.
    pub(crate) fn new(action: &'static str, path: &Path, error: &io::Error) -> Self {
        Self {
            full: is_full(error),
            action,
            path: path.display().to_string(),
            kind: error.kind(),
            cause: error.to_string(),
        }
    }

    /// Makes the error that a caller gets.
    pub(crate) fn error(&self) -> LogError {
        if self.full {
            return LogError::Full { path: self.path.clone() };
        }
        let cause = io::Error::new(self.kind, self.cause.clone());
        LogError::Io { action: self.action, path: self.path.clone(), cause }
    }
}

/// Names the place of a file error.
pub(crate) fn at_path(action: &'static str, path: &Path, error: io::Error) -> LogError {
    if is_full(&error) {
        LogError::Full { path: path.display().to_string() }
    } else {
        LogError::Io { action, path: path.display().to_string(), cause: error }
    }
}

/// Makes a report of damage.
pub(crate) fn corrupt(path: &Path, at: u64, why: impl Into<String>) -> LogError {
    LogError::Corrupt { path: path.display().to_string(), at, why: why.into() }
}
