//! What a running pipeline leaves in its data folder so that other commands find it: process id and HTTP address.

use crate::wiring::DataDir;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// The content of `running.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    /// `host:port`; none when nothing is served.
    pub http: Option<String>,
}

/// Removes the file when the pipeline ends.
#[derive(Debug)]
pub struct RunningFile(PathBuf);

impl RunningFile {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(dir: &DataDir, running: &Running) -> std::io::Result<Self> {
        let path = dir.running();
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(running)?)?;
        std::fs::rename(&new, &path)?;
        Ok(Self(path))
    }
}

impl Drop for RunningFile {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.0);
    }
}

/// Reads who runs on this data folder; none when nobody does, or when the process that wrote it is gone.
pub fn find(dir: &DataDir) -> Option<Running> {
    let running: Running = serde_json::from_slice(&std::fs::read(dir.running()).ok()?).ok()?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(running.pid).ok()?)?;
    rustix::process::test_kill_process(pid).ok()?;
    Some(running)
}

/// Asks the running pipeline for its status; none when it does not answer within two seconds.
pub async fn ask_status(running: &Running) -> Option<Value> {
    let url = format!("http://{}/api/v1/status", running.http.as_ref()?);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build().ok()?;
    client.get(url).send().await.ok()?.json().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_pipeline_is_found_and_a_dead_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path());
        assert_eq!(find(&dir), None);
        let own = Running { pid: std::process::id(), http: Some("127.0.0.1:1".into()) };
        let file = RunningFile::write(&dir, &own).unwrap();
        assert_eq!(find(&dir), Some(own.clone()));
        drop(file);
        assert_eq!(find(&dir), None);
        let gone = Running { pid: i32::MAX as u32, ..own };
        let _file = RunningFile::write(&dir, &gone).unwrap();
        assert_eq!(find(&dir), None);
    }
}
