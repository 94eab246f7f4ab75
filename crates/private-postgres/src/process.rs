//! The server process: started, found ready, signalled, awaited.

use crate::error::PrivatePostgresError;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// How long a start or a stop may take before it is an error.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a process that starts or ends: there is no event to wait on for a foreign server's readiness.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Sends a signal; a process that is already gone is no error.
pub(crate) fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, signal);
    }
}

/// Waits until the child has ended, `PATIENCE` at most.
pub(crate) async fn until_ended(child: &mut Child, dir: &str) -> Result<ExitStatus, PrivatePostgresError> {
    let ended = async {
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return status;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.map_err(|_| PrivatePostgresError::Slow {
        dir: dir.to_owned(),
        action: "stop",
        seconds: PATIENCE.as_secs(),
    })
}

/// Why a look at a starting server ended.
pub(crate) enum Readiness {
    Ready,
    /// The server process ended first.
    Ended,
    TooSlow,
}

/// Waits until the server takes connections (a refused password counts: it is up).
pub(crate) async fn until_ready(child: &mut Child, config: &tokio_postgres::Config) -> Readiness {
    let ready = async {
        loop {
            if !matches!(child.try_wait(), Ok(None)) {
                return Readiness::Ended;
            }
            match config.connect(tokio_postgres::NoTls).await {
                Ok((client, connection)) => {
                    drop(client);
                    let _closed = connection.await;
                    return Readiness::Ready;
                }
                // 57P03: the database system is starting up. Any other answer comes from a server that is up.
                Err(error) if error.code().is_some_and(|code| code.code() != "57P03") => return Readiness::Ready,
                Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.unwrap_or(Readiness::TooSlow)
}

/// Waits for the end in a destructor: at most five seconds, then the process is killed.
pub(crate) fn wait_blocking(child: &mut Child) {
    for _ in 0..500 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    let _gone = child.kill();
    let _reaped = child.wait();
}
