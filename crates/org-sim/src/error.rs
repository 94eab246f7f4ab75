//! What can be wrong with the simulated org's own configuration.
//!
//! Errors that the org *simulates* are not errors of this crate: they are answers.

use model::{ErrorCode, Retry};

/// Why a simulated org could not be made, started or changed.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The YAML or JSON text could not be read.
    #[error(
        "PS7001 at {place}: the text cannot be read: {cause}; correct it, `penstock schema` prints what is allowed"
    )]
    Unreadable { place: String, cause: String },
    /// An object or a field contradicts itself or another one.
    #[error("PS7002 at {place}: {cause}; correct the object's definition")]
    Definition { place: String, cause: String },
    /// An application, its key or its user is unusable.
    #[error("PS7003 at {place}: {cause}; correct the application's entry")]
    Application { place: String, cause: String },
    /// The address could not be taken.
    #[error(
        "PS7004 at {place}: the org cannot listen there: {cause}; choose another address, 127.0.0.1:0 takes a free port"
    )]
    Listen { place: String, cause: std::io::Error },
    /// The history's file could not be written.
    #[error("PS7005 at {place}: the history's file cannot be written: {cause}; check the folder and the disk's space")]
    History { place: String, cause: std::io::Error },
    /// The folder that the org is kept in is unusable.
    #[error(
        "PS7007 at {place}: the org cannot be kept there: {cause}; choose another folder, or give the objects that it was made with"
    )]
    Folder { place: String, cause: String },
    /// Certificate or key of the listener are unusable.
    #[error(
        "PS7008 at {place}: TLS cannot be served: {cause}; give a PEM certificate and the PEM key that belongs to it"
    )]
    Tls { place: String, cause: String },
    /// A fault rule or another control request is unusable.
    #[error("PS7006 at {place}: {cause}; see docs/org-sim.md for the control requests")]
    Control { place: String, cause: String },
}

impl SimError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        ErrorCode(match self {
            Self::Unreadable { .. } => "PS7001",
            Self::Definition { .. } => "PS7002",
            Self::Application { .. } => "PS7003",
            Self::Listen { .. } => "PS7004",
            Self::History { .. } => "PS7005",
            Self::Control { .. } => "PS7006",
            Self::Folder { .. } => "PS7007",
            Self::Tls { .. } => "PS7008",
        })
    }

    /// What to do next: somebody must act, whichever it is.
    pub fn retry(&self) -> Retry {
        Retry::AfterOperator
    }

    pub(crate) fn definition(place: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::Definition { place: place.into(), cause: cause.into() }
    }

    pub(crate) fn control(place: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::Control { place: place.into(), cause: cause.into() }
    }
}
