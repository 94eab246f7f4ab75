//! SQLite's errors in the contract's words.

use contract::StateError;
use rusqlite::ErrorCode;
use std::path::Path;
use std::time::Duration;

/// How long a call waits for other processes. A writer beside us holds the file for some milliseconds at a time.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(10);

/// Names the place of an SQLite error.
pub(crate) fn failed(path: &Path, error: &rusqlite::Error) -> StateError {
    let path = path.display().to_string();
    match error {
        error if is_busy(error) => StateError::Busy { path, waited: BUSY_WAIT },
        error => StateError::Store { path, cause: error.to_string() },
    }
}

/// Others have the file in use.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// A refusal in plain words.
pub(crate) fn refused(path: &Path, cause: impl Into<String>) -> StateError {
    StateError::Store { path: path.display().to_string(), cause: cause.into() }
}
