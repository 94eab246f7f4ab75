//! What every public error answers: a stable code, a place, a cause, what to do, and whether a retry helps.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A stable code such as `PS1203`; `penstock explain PS1203` prints its page.
///
/// The first digit names the area: 1 configuration, 2 PostgreSQL, 3 log and state, 4 Salesforce, 5 pipeline,
/// 6 governor, 7 simulated org and demo. Each code stands once in the catalogue of the `penstock` crate
/// (`cargo xtask tidy` checks that none is missing there).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ErrorCode(pub &'static str);

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What to do next about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call may succeed after this delay; nothing needs to be changed.
    After(Duration),
    /// Somebody must act first (credentials, permission, disk); the call may then be repeated.
    AfterOperator,
    /// The same call will fail again.
    Never,
}

/// How bad a finding of `penstock check` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Runs, but somebody should know.
    Warning,
    /// `penstock run` would refuse or lose its promise.
    Error,
}

/// One thing that a check found: code, place, cause and what to do. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: ErrorCode,
    pub severity: Severity,
    /// Where: a configuration path with line and column, a table, a field.
    pub place: String,
    pub cause: String,
    /// What to do, as a command or an edit where that is possible.
    pub fix: String,
}

impl Finding {
    /// Makes a finding that stops a run.
    pub fn error(
        code: &'static str,
        place: impl Into<String>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            code: ErrorCode(code),
            severity: Severity::Error,
            place: place.into(),
            cause: cause.into(),
            fix: fix.into(),
        }
    }

    /// Makes a finding that only warns.
    pub fn warning(
        code: &'static str,
        place: impl Into<String>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, place, cause, fix) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {} ({})", self.code, self.place, self.cause, self.fix)
    }
}
