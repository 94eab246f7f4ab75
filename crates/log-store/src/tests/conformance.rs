//! The contract's suite, on simulated and on real files, writing and followed.

use super::*;
use ::contract::conformance::log::{LogFixture, run_all};
use async_trait::async_trait;

struct Simulated {
    files: SimulatedFiles,
    options: LogOptions,
}

#[async_trait]
impl LogFixture for Simulated {
    async fn open(&mut self) -> Arc<dyn Log> {
        Arc::new(try_open(&self.files, self.options).expect("a fresh log"))
    }

    async fn crash(&mut self, log: Arc<dyn Log>) -> Option<Arc<dyn Log>> {
        self.files.crash();
        drop(log);
        Some(self.open().await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_conforms_over_power_cuts_with_small_segments() {
    for seed in 0..8 {
        run_all(|| Simulated { files: SimulatedFiles::new(seed), options: small() }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_conforms_over_power_cuts_with_default_options_and_each_codec() {
    for codec in [crate::Codec::None, crate::Codec::Lz4, crate::Codec::Zstd] {
        let options = LogOptions { codec, ..LogOptions::default() };
        run_all(|| Simulated { files: SimulatedFiles::new(1), options }).await;
    }
}

struct OnDisk {
    dir: tempfile::TempDir,
}

#[async_trait]
impl LogFixture for OnDisk {
    async fn open(&mut self) -> Arc<dyn Log> {
        Arc::new(LogStore::open(self.dir.path(), small(), Arc::new(StepClock)).expect("a fresh log"))
    }

    async fn crash(&mut self, log: Arc<dyn Log>) -> Option<Arc<dyn Log>> {
        drop(log);
        Some(self.open().await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_conforms_on_the_real_file_system() {
    run_all(|| OnDisk { dir: tempfile::tempdir().expect("a folder") }).await;
}
