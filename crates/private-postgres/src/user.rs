//! Who the server runs as.

use crate::error::{PrivatePostgresError, io};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The user that the server runs as: another one when the caller is root, since PostgreSQL refuses root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunAs {
    Caller,
    Other { uid: u32, gid: u32 },
}

impl RunAs {
    /// Chooses `postgres`, else `nobody`, when the caller is root.
    pub(crate) fn choose() -> Result<Self, PrivatePostgresError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Caller);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some(Self::Other { uid: id("-u", name)?, gid: id("-g", name)? }))
            .ok_or(PrivatePostgresError::NoUser)
    }

    /// Makes the folder belong to the user and closes it to others, as PostgreSQL demands.
    pub(crate) fn own(self, path: &Path) -> Result<(), PrivatePostgresError> {
        use std::os::unix::fs::PermissionsExt;
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(io("chmod", path))?;
        if let Self::Other { uid, gid } = self {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(io("chown", path))?;
        }
        Ok(())
    }

    /// Makes a command run as the user, in a process group of its own so that a terminal's Ctrl-C does not reach it.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").process_group(0).env_remove("PGDATA").env_remove("PGHOST").env_remove("PGPORT");
        // initdb and the server must not depend on the caller's language.
        command.env("LC_ALL", "C").env_remove("LANGUAGE");
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn id(flag: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").arg(flag).arg(name).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
