//! Where the machine keeps PostgreSQL's programs.

use crate::error::PrivatePostgresError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest major version that is supported.
const MAJOR_MIN: u32 = 14;

/// The folder of a PostgreSQL's programs and its major version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    pub dir: PathBuf,
    pub major: u32,
}

impl Binaries {
    /// Finds a server: the folder given, `PENSTOCK_POSTGRES_BIN`, the `PATH`, then the newest in the usual places of
    /// Debian, RHEL, Homebrew and Postgres.app.
    ///
    /// # Errors
    /// `NotFound`; `TooOld` when the folder that was named holds a server before 14.
    pub fn find(given: Option<&Path>) -> Result<Self, PrivatePostgresError> {
        let named = given.map(Path::to_path_buf).or_else(|| std::env::var_os("PENSTOCK_POSTGRES_BIN").map(Into::into));
        if let Some(dir) = named {
            return match major_of(&dir) {
                Some((major, _)) if major >= MAJOR_MIN => Ok(Self { dir, major }),
                Some((_, found)) => {
                    Err(PrivatePostgresError::TooOld { program: dir.join("postgres").display().to_string(), found })
                }
                None => Err(PrivatePostgresError::NotFound { looked: dir.display().to_string() }),
            };
        }
        let path: Vec<PathBuf> =
            std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        let newest = |dirs: Vec<PathBuf>| {
            dirs.into_iter()
                .filter_map(|dir| major_of(&dir).map(|(major, _)| Self { dir, major }))
                .filter(|found| found.major >= MAJOR_MIN)
                .max_by_key(|found| found.major)
        };
        newest(path).or_else(|| newest(usual_places())).map(Self::resolved).ok_or_else(|| {
            PrivatePostgresError::NotFound {
                looked: "PATH, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, Homebrew, Postgres.app".into(),
            }
        })
    }

    /// Follows links in a folder of links (`/usr/local/bin`), which holds some of the programs only.
    fn resolved(self) -> Self {
        let real = std::fs::canonicalize(self.dir.join("postgres")).ok();
        let real = real.and_then(|postgres| Some(postgres.parent()?.to_owned()));
        match real.filter(|dir| dir.join("initdb").is_file()) {
            Some(dir) => Self { dir, ..self },
            None => self,
        }
    }

    /// Returns the path of one program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Folders that a distribution's packages use, each with one `*` for the version at most.
fn usual_places() -> Vec<PathBuf> {
    [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/local/pgsql", "bin", ""),
        ("/opt/homebrew/opt", "postgresql", "bin"),
        ("/usr/local/opt", "postgresql", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ]
    .into_iter()
    .flat_map(|(parent, prefix, rest)| {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        entries
            .filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(move |entry| entry.path().join(rest))
    })
    .collect()
}

/// Returns the major version and the whole version text of the server in `dir`, when there is a complete one.
fn major_of(dir: &Path) -> Option<(u32, String)> {
    if !dir.join("initdb").is_file() || !dir.join("postgres").is_file() {
        return None;
    }
    let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = version_of(&text)?;
    Some((version.0, version.1.to_owned()))
}

/// Reads `postgres (PostgreSQL) 15.20 (Debian …)`, `… 18beta1`.
fn version_of(text: &str) -> Option<(u32, &str)> {
    let version = text.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    Some((version[..digits].parse().ok()?, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_releases_and_betas() {
        assert_eq!(version_of("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"), Some((15, "15.20")));
        assert_eq!(version_of("postgres (PostgreSQL) 18beta1\n"), Some((18, "18beta1")));
        assert_eq!(version_of("something else"), None);
    }

    #[test]
    fn folder_without_a_server_is_named_in_the_error() {
        let error = Binaries::find(Some(Path::new("/nonexistent/bin"))).expect_err("there is none");
        assert!(error.to_string().contains("/nonexistent/bin"), "{error}");
        assert!(error.to_string().contains("apt-get install postgresql"), "{error}");
    }
}
