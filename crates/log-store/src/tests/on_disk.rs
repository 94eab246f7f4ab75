//! The real file system: ends without warning, and what is left on the disk.

use super::*;
use std::process::Command;

/// Names the folder to write to, in the process that is going to be killed.
const CHILD: &str = "LOG_STORE_TEST_CHILD";

fn open_at(root: &Path) -> LogStore {
    LogStore::open(root, LogOptions { segment_bytes: 50_000, ..LogOptions::default() }, Arc::new(StepClock)).unwrap()
}

/// Run by the test below in a process of its own: appends and says what is durable until it is killed.
#[tokio::test]
async fn child_that_appends_until_it_is_killed() {
    let Some(root) = std::env::var_os(CHILD) else { return };
    let root = Path::new(&root);
    let log = open_at(&root.join("log"));
    let to = stream(&log).await;
    for first in log.bounds(&to).unwrap().durable.0.. {
        let appended = log.append(&to, numbered(first, 1, 0), Some(state("p", first))).await.unwrap();
        if first % 7 == 0 {
            log.until_durable(&to, appended.accepted()).await.unwrap();
            std::fs::write(root.join("said.tmp"), appended.end.0.to_string()).unwrap();
            std::fs::rename(root.join("said.tmp"), root.join("said")).unwrap();
        }
    }
}

#[tokio::test]
async fn killed_writer_loses_nothing_that_it_had_called_durable() {
    let dir = tempfile::tempdir().unwrap();
    let said = || std::fs::read_to_string(dir.path().join("said")).ok().and_then(|text| text.parse::<u64>().ok());
    for round in 1..=4u64 {
        let before = said().unwrap_or(0);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["tests::on_disk::child_that_appends_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // The child's own word is what is waited for; its end without one is a failure.
        while said().unwrap_or(0) < before + 100 * round {
            assert!(child.try_wait().unwrap().is_none(), "the writer ended by itself");
            tokio::task::yield_now().await;
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let durable = said().unwrap();
        let log = open_at(&dir.path().join("log"));
        let to = StreamPartition::first(StreamId::new("s"));
        let found = numbers(&read_all(&log, &to).await);
        assert!(found.len() as u64 >= durable, "{} of {durable} are left", found.len());
        assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
        let last = log.producer(&to, &ProducerId::new("p")).await.unwrap();
        assert_eq!(last, Some(state("p", found.len() as u64 - 1)));
    }
}

#[tokio::test]
async fn second_process_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_at(dir.path());
    let refused = LogStore::open(dir.path(), LogOptions::default(), Arc::new(StepClock));
    assert!(matches!(&refused, Err(LogError::Locked { path }) if path.ends_with("LOCK")), "{refused:?}");
    let reader = LogStore::open_read_only(dir.path(), LogOptions::default(), Arc::new(StepClock)).unwrap();
    let to = stream(&log).await;
    durably(&log, &to, numbered(0, 3, 0)).await;
    assert_eq!(numbers(&read_all(&reader, &to).await), [0, 1, 2]);
    drop(log);
    assert!(LogStore::open(dir.path(), LogOptions::default(), Arc::new(StepClock)).is_ok());
}
