//! One private server, from start to removal.

use crate::binaries::Binaries;
use crate::cluster::{self, Layout};
use crate::error::{PrivatePostgresError, io};
use crate::guardian::Guardian;
use crate::process::{self, Readiness};
use crate::user::RunAs;
use rustix::process::Signal;
use std::fmt;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// How often a start is tried again when the chosen port was taken meanwhile or old shared memory is still in use.
const START_TRIES: u32 = 6;

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of PostgreSQL's programs; searched for when none.
    pub bin_dir: Option<PathBuf>,
    /// Where the server lives. It is kept when the server goes, and found again by the next start; none: a temporary one.
    pub dir: Option<PathBuf>,
    /// A free one when none.
    pub port: Option<u16>,
    /// Server settings, which win over ours.
    pub settings: Vec<(String, String)>,
    pub wal_level_logical: bool,
    /// False switches `fsync` off: faster, and safe against a killed process but not against a power cut.
    pub durable: bool,
    pub tls: Option<Tls>,
    pub auth: Auth,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bin_dir: None,
            dir: None,
            port: None,
            settings: Vec::new(),
            wal_level_logical: true,
            durable: false,
            tls: None,
            auth: Auth::Trust,
        }
    }
}

impl Options {
    /// Adds a server setting.
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A certificate for the server; PEM files that are copied into its folder.
#[derive(Clone, Debug)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// How clients prove who they are.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    Trust,
    /// SCRAM-SHA-256; the password of the user `postgres`.
    Scram {
        password: String,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trust => "Trust",
            Self::Scram { .. } => "Scram",
        })
    }
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Clients are disconnected, data is written.
    Fast,
    /// As a crash would: recovery at the next start.
    Immediate,
}

/// A running server; dropping it stops it, and removes its folder when that is a temporary one.
#[derive(Debug)]
pub struct Server {
    binaries: Binaries,
    run_as: RunAs,
    layout: Layout,
    options: Options,
    port: u16,
    running: Option<Running>,
    // Last: removed after the server has ended.
    temporary: Option<TempDir>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    guardian: Guardian,
}

impl Server {
    /// Makes the folder if need be, starts the server and waits until it takes connections.
    ///
    /// # Errors
    /// `NotFound`, `TooOld`, `NoUser` about the machine; `Start` with the end of the server's log; `Slow`.
    pub async fn start(options: Options) -> Result<Self, PrivatePostgresError> {
        let binaries = Binaries::find(options.bin_dir.as_deref())?;
        let run_as = RunAs::choose()?;
        let (layout, temporary) = match &options.dir {
            Some(dir) => (Layout { dir: std::path::absolute(dir).map_err(io("find", dir))? }, None),
            None => {
                let dir = tempfile::Builder::new()
                    .prefix("penstock-postgres-")
                    .tempdir()
                    .map_err(io("make a folder in", &std::env::temp_dir()))?;
                (Layout { dir: dir.path().to_owned() }, Some(dir))
            }
        };
        cluster::make(&binaries, run_as, &layout, &options)?;
        cluster::stop_leftover(&binaries, run_as, &layout)?;
        if let Some(tls) = &options.tls {
            cluster::install_tls(run_as, &layout, tls)?;
        }
        let port = options.port.unwrap_or(0);
        let mut server = Self { binaries, run_as, layout, options, port, running: None, temporary };
        server.launch().await?;
        Ok(server)
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.binaries.major
    }

    /// The programs that it was started from.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The folder that holds data and log.
    pub fn dir(&self) -> &Path {
        &self.layout.dir
    }

    /// A connection URL of the superuser for a database. Holds the password when there is one.
    pub fn url(&self, database: &str) -> String {
        let password = match &self.options.auth {
            Auth::Trust => String::new(),
            Auth::Scram { password } => format!(":{}", percent_encoded(password)),
        };
        format!("postgres://postgres{password}@127.0.0.1:{}/{}", self.port, percent_encoded(database))
    }

    /// Opens an unencrypted connection as superuser; its driver runs until the client is dropped.
    ///
    /// # Errors
    /// `Sql` with the server's answer.
    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client, PrivatePostgresError> {
        let (client, connection) =
            self.config(database).connect(tokio_postgres::NoTls).await.map_err(|error| sql(&error))?;
        tokio::spawn(async move {
            // The client's own calls report why a connection ended.
            let _ended = connection.await;
        });
        Ok(client)
    }

    /// Runs one or more statements in a connection of their own.
    ///
    /// # Errors
    /// `Sql` with the server's answer.
    pub async fn execute(&self, database: &str, statements: &str) -> Result<(), PrivatePostgresError> {
        self.connect(database).await?.batch_execute(statements).await.map_err(|error| sql(&error))
    }

    /// Stops the server and starts it again on the same port.
    ///
    /// # Errors
    /// As `stop` and `start`.
    pub async fn restart(&mut self, mode: StopMode) -> Result<(), PrivatePostgresError> {
        self.stop(mode).await?;
        self.launch().await
    }

    /// Stops the server; one that does not run is no error. `restart` starts it again.
    ///
    /// # Errors
    /// `Slow` when it does not end.
    pub async fn stop(&mut self, mode: StopMode) -> Result<(), PrivatePostgresError> {
        self.end(match mode {
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        })
        .await
    }

    /// Kills the server's main process with SIGKILL, as an out-of-memory killer would.
    ///
    /// # Errors
    /// `Slow`.
    pub async fn kill(&mut self) -> Result<(), PrivatePostgresError> {
        self.end(Signal::KILL).await
    }

    async fn end(&mut self, signal: Signal) -> Result<(), PrivatePostgresError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        process::signal(&running.child, signal);
        process::until_ended(&mut running.child, &self.layout.dir.display().to_string()).await?;
        if let Some(running) = self.running.take() {
            running.guardian.dismiss();
        }
        Ok(())
    }

    async fn launch(&mut self) -> Result<(), PrivatePostgresError> {
        let dir = self.layout.dir.display().to_string();
        let mut cause = String::new();
        for _ in 0..START_TRIES {
            if self.options.port.is_none() && self.port == 0 {
                self.port = free_port()?;
            }
            match self.launch_once().await? {
                Readiness::Ready => return Ok(()),
                Readiness::TooSlow => {
                    let seconds = process::PATIENCE.as_secs();
                    return Err(PrivatePostgresError::Slow { dir, action: "start", seconds });
                }
                Readiness::Ended => cause = self.layout.log_tail(),
            }
            let port_taken = cause.contains("Address already in use") || cause.contains("could not bind");
            // Backends of a killed server hold its shared memory for some moments.
            let old_memory = cause.contains("shared memory block") || cause.contains("lock file");
            if !(old_memory || port_taken && self.options.port.is_none()) {
                break;
            }
            if port_taken {
                self.port = 0;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        Err(PrivatePostgresError::Start { dir, cause })
    }

    async fn launch_once(&mut self) -> Result<Readiness, PrivatePostgresError> {
        let log_path = self.layout.server_log();
        let log = std::fs::File::create(&log_path).map_err(io("make", &log_path))?;
        let program = self.binaries.program("postgres");
        let mut command = self.run_as.command(&program);
        command.arg("-D").arg(self.layout.data()).args(cluster::settings(&self.options, self.port));
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(io("open", &log_path))?).stderr(log);
        let mut child = command.spawn().map_err(io("run", &program))?;
        let remove = self.temporary.as_ref().map(TempDir::path);
        let guardian = Guardian::start(child.id(), remove)?;
        let config = self.config("postgres");
        let readiness = process::until_ready(&mut child, &config).await;
        self.running = Some(Running { child, guardian });
        if !matches!(readiness, Readiness::Ready) {
            self.end(Signal::QUIT).await?;
        }
        Ok(readiness)
    }

    fn config(&self, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("postgres").dbname(database);
        config.connect_timeout(process::PATIENCE);
        if let Auth::Scram { password } = &self.options.auth {
            config.password(password);
        }
        config
    }

    /// The process id of the server, as it wrote it down; none when it does not run.
    pub fn pid(&self) -> Option<i32> {
        self.running.as_ref().and_then(|_| cluster::postmaster_pid(&self.layout.data()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let signal = if self.temporary.is_some() { Signal::QUIT } else { Signal::INT };
            process::signal(&running.child, signal);
            process::wait_blocking(&mut running.child);
            running.guardian.dismiss();
        }
    }
}

fn free_port() -> Result<u16, PrivatePostgresError> {
    let place = Path::new("127.0.0.1:0");
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(io("listen on", place))?;
    Ok(listener.local_addr().map_err(io("listen on", place))?.port())
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

fn sql(error: &tokio_postgres::Error) -> PrivatePostgresError {
    let cause = error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned());
    PrivatePostgresError::Sql { cause }
}
