//! A small shell process that outlives its owner just long enough to stop the server.
//!
//! It blocks on reading a pipe whose other end only this process holds. The kernel closes that end however this
//! process dies, SIGKILL included. `PR_SET_PDEATHSIG` was refused: it fires when the *thread* that started the server
//! ends, and it is Linux only.

use crate::error::{PrivatePostgresError, io};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `$1` is the server's process id, `$2` the folder to remove or nothing. A line on stdin is a farewell: nothing to do.
const SCRIPT: &str = r#"
read -r _ && exit 0
kill -QUIT "$1" 2>/dev/null
left=100
while kill -0 "$1" 2>/dev/null && [ "$left" -gt 0 ]; do left=$((left - 1)); sleep 0.1; done
[ -z "$2" ] || rm -rf -- "$2"
"#;

/// Watches over one server process.
#[derive(Debug)]
pub(crate) struct Guardian {
    child: Child,
}

impl Guardian {
    pub(crate) fn start(server_pid: u32, remove: Option<&Path>) -> Result<Self, PrivatePostgresError> {
        let shell = Path::new("/bin/sh");
        let child = Command::new(shell)
            .args(["-c", SCRIPT, "penstock-guardian", &server_pid.to_string()])
            .arg(remove.unwrap_or(Path::new("")))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io("run", shell))?;
        Ok(Self { child })
    }

    /// Tells the guardian that the server was stopped by its owner.
    pub(crate) fn dismiss(mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            // A guardian that is already gone needs no farewell.
            let _gone = stdin.write_all(b"done\n");
        }
        let _reaped = self.child.wait();
    }
}
