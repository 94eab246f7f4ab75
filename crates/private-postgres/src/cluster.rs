//! The folder of a server: made once by `initdb`, configured at each start.

use crate::binaries::Binaries;
use crate::error::{PrivatePostgresError, io};
use crate::server::{Auth, Options, Tls};
use crate::user::RunAs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Files of one server below its folder.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
}

impl Layout {
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn server_log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// The last lines of the server's log, for an error.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read(self.server_log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(6)..].join(" | ")
    }
}

/// Runs `initdb` unless the folder already holds a cluster.
pub(crate) fn make(
    binaries: &Binaries,
    run_as: RunAs,
    layout: &Layout,
    options: &Options,
) -> Result<(), PrivatePostgresError> {
    let data = layout.data();
    std::fs::create_dir_all(&layout.dir).map_err(io("make", &layout.dir))?;
    run_as.own(&layout.dir)?;
    if data.join("PG_VERSION").exists() {
        return Ok(());
    }
    // C.UTF-8 compares like C and knows UTF-8; where the system lacks it, C with UTF-8 as encoding sorts the same.
    let locales: [&[&str]; 2] = [&["--locale=C.UTF-8"], &["--no-locale"]];
    let mut last = None;
    for locale in locales {
        let output = initdb(binaries, run_as, layout, options, locale)?;
        if output.status.success() {
            return Ok(());
        }
        last = Some(output);
    }
    let output = last.map(|output| text_of(&output)).unwrap_or_default();
    Err(PrivatePostgresError::Program { program: "initdb".into(), output })
}

fn initdb(
    binaries: &Binaries,
    run_as: RunAs,
    layout: &Layout,
    options: &Options,
    locale: &[&str],
) -> Result<Output, PrivatePostgresError> {
    let program = binaries.program("initdb");
    let mut command = run_as.command(&program);
    command.arg("-D").arg(layout.data()).args(["-U", "postgres", "--encoding=UTF8", "--no-instructions"]).args(locale);
    if !options.durable {
        command.arg("--no-sync");
    }
    let password_file = layout.dir.join("password");
    match &options.auth {
        Auth::Trust => {
            command.arg("--auth=trust");
        }
        Auth::Scram { password } => {
            std::fs::write(&password_file, password).map_err(io("write", &password_file))?;
            run_as.own(&password_file)?;
            command.arg("--auth=scram-sha-256").arg("--pwfile").arg(&password_file);
        }
    }
    let output = command.output().map_err(io("run", &program));
    if password_file.exists() {
        std::fs::remove_file(&password_file).map_err(io("remove", &password_file))?;
    }
    output
}

/// Copies the certificate and key into the data folder, where the server may read them.
pub(crate) fn install_tls(run_as: RunAs, layout: &Layout, tls: &Tls) -> Result<(), PrivatePostgresError> {
    for (from, name) in [(&tls.cert, "server.crt"), (&tls.key, "server.key")] {
        let to = layout.data().join(name);
        std::fs::copy(from, &to).map_err(io("copy", from))?;
        run_as.own(&to)?;
    }
    Ok(())
}

/// Stops a server that still runs in this folder because its owner and guardian were killed.
pub(crate) fn stop_leftover(binaries: &Binaries, run_as: RunAs, layout: &Layout) -> Result<(), PrivatePostgresError> {
    if !layout.data().join("postmaster.pid").exists() {
        return Ok(());
    }
    let pg_ctl = binaries.program("pg_ctl");
    let ctl = |args: &[&str]| -> Result<Output, PrivatePostgresError> {
        let mut command: Command = run_as.command(&pg_ctl);
        command.arg("-D").arg(layout.data()).args(args).output().map_err(io("run", &pg_ctl))
    };
    // Exit code 3 says that no server runs: the file is a rest of a crash, which the server itself clears.
    if !ctl(&["status"])?.status.success() {
        return Ok(());
    }
    let output = ctl(&["stop", "-m", "immediate", "-w", "-t", "30"])?;
    if output.status.success() || !ctl(&["status"])?.status.success() {
        return Ok(());
    }
    Err(PrivatePostgresError::Program { program: "pg_ctl stop".into(), output: text_of(&output) })
}

fn text_of(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if text.is_empty() {
        text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    }
    text.replace('\n', " | ")
}

/// The `-c name=value` arguments of a start: ours first, the caller's last, so that the caller's win.
pub(crate) fn settings(options: &Options, port: u16) -> Vec<String> {
    let mut settings: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| settings.push((name.into(), value.into()));
    set("listen_addresses", "127.0.0.1");
    set("unix_socket_directories", "");
    set("port", &port.to_string());
    set("max_wal_senders", "30");
    set("max_replication_slots", "30");
    set("log_timezone", "UTC");
    set("timezone", "UTC");
    if options.wal_level_logical {
        set("wal_level", "logical");
    }
    if !options.durable {
        set("fsync", "off");
        set("full_page_writes", "off");
    }
    if options.tls.is_some() {
        set("ssl", "on");
        set("ssl_cert_file", "server.crt");
        set("ssl_key_file", "server.key");
    }
    settings.extend(options.settings.iter().cloned());
    settings.into_iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect()
}

/// Reads the postmaster's process id as the server wrote it.
pub(crate) fn postmaster_pid(data: &Path) -> Option<i32> {
    std::fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}
