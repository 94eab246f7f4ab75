//! Why a private server could not be had.

/// Why a private server did not start, stop or answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivatePostgresError {
    #[error(
        "PS2101: no PostgreSQL server was found (looked in {looked}); install one (Debian and Ubuntu: `apt-get install postgresql`) or name its folder of programs in PENSTOCK_POSTGRES_BIN"
    )]
    NotFound { looked: String },
    #[error("PS2102: {program} is PostgreSQL {found}; 14 or later is needed")]
    TooOld { program: String, found: String },
    #[error(
        "PS2103: PostgreSQL refuses to run as root and there is no user `postgres` or `nobody` to run it as; run as an ordinary user"
    )]
    NoUser,
    #[error("PS2104: {action} {path} failed: {cause}")]
    Io { action: &'static str, path: String, cause: std::io::Error },
    #[error("PS2105: {program} failed: {output}")]
    Program { program: String, output: String },
    #[error("PS2106: the private PostgreSQL in {dir} did not start: {cause}")]
    Start { dir: String, cause: String },
    #[error("PS2107: the private PostgreSQL in {dir} did not {action} within {seconds} s")]
    Slow { dir: String, action: &'static str, seconds: u64 },
    #[error("PS2108: the private PostgreSQL answered: {cause}")]
    Sql { cause: String },
}

impl PrivatePostgresError {
    /// The stable code. All of these need somebody to look: no retry helps.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "PS2101",
            Self::TooOld { .. } => "PS2102",
            Self::NoUser => "PS2103",
            Self::Io { .. } => "PS2104",
            Self::Program { .. } => "PS2105",
            Self::Start { .. } => "PS2106",
            Self::Slow { .. } => "PS2107",
            Self::Sql { .. } => "PS2108",
        }
    }
}

/// Makes an I/O error with its place.
pub(crate) fn io(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> PrivatePostgresError + use<> {
    let path = path.display().to_string();
    move |cause| PrivatePostgresError::Io { action, path, cause }
}
