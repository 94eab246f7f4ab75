//! The contract's suite, several processes' view, foreign and old files.

use crate::StateStore;
use crate::format::FORMAT_VERSION;
use async_trait::async_trait;
use contract::conformance::state::{StateFixture, run_all};
use contract::{StateError, StateOp, StateStore as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

struct Fixture(TempDir);

impl Fixture {
    fn path(&self) -> PathBuf {
        self.0.path().join("state.sqlite")
    }
}

#[async_trait]
impl StateFixture for Fixture {
    async fn open(&mut self) -> Arc<dyn contract::StateStore> {
        Arc::new(StateStore::open(&self.path()).expect("a store that opens"))
    }

    async fn reopen(&mut self, store: Arc<dyn contract::StateStore>) -> Option<Arc<dyn contract::StateStore>> {
        drop(store);
        Some(self.open().await)
    }
}

fn fixture() -> Fixture {
    Fixture(tempfile::tempdir().expect("a folder"))
}

fn put(key: &str, value: &[u8]) -> StateOp {
    StateOp::Put { space: "s", key: key.to_owned(), value: value.to_vec() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_conforms() {
    run_all(fixture).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_together_share_commits_and_are_refused_alone() {
    let fixture = fixture();
    let store = Arc::new(StateStore::open(&fixture.path()).unwrap());
    let writes = (0..300).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut ops = vec![put(&format!("k{n}"), b"v")];
            if n % 3 == 0 {
                ops.push(StateOp::Expect { space: "s", key: "absent".to_owned(), value: Some(vec![1]) });
            }
            (n, store.write(ops).await)
        })
    });
    for write in writes.collect::<Vec<_>>() {
        let (n, outcome) = write.await.unwrap();
        assert_eq!(matches!(outcome, Err(StateError::Conflict { .. })), n % 3 == 0, "write {n}: {outcome:?}");
        assert_eq!(store.get("s", &format!("k{n}")).await.unwrap().is_none(), n % 3 == 0);
    }
    assert!(store.commits() < 300, "{} commits for 300 writes", store.commits());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_file_see_each_other_and_only_one_wins_an_expectation() {
    let fixture = fixture();
    let a = Arc::new(StateStore::open(&fixture.path()).unwrap());
    let b = Arc::new(StateStore::open(&fixture.path()).unwrap());
    let reader = StateStore::open_read_only(&fixture.path()).unwrap();
    for round in 0..20u8 {
        let key = format!("lease{round}");
        let take = |store: Arc<StateStore>, who: u8| {
            let key = key.clone();
            tokio::spawn(async move {
                let free = StateOp::Expect { space: "s", key: key.clone(), value: None };
                store.write(vec![free, put(&key, &[who])]).await
            })
        };
        let (first, second) = (take(Arc::clone(&a), 1), take(Arc::clone(&b), 2));
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert_ne!(first.is_ok(), second.is_ok(), "{first:?} {second:?}");
        let winner = if first.is_ok() { 1 } else { 2 };
        for store in [&*a, &*b, &reader] {
            assert_eq!(store.get("s", &key).await.unwrap(), Some(vec![winner]));
        }
    }
}

#[tokio::test]
async fn read_only_store_refuses_writes_and_a_missing_file() {
    let fixture = fixture();
    assert!(matches!(StateStore::open_read_only(&fixture.path()), Err(StateError::Store { .. })));
    assert!(!fixture.path().exists(), "a reader makes no file");
    drop(StateStore::open(&fixture.path()).unwrap());
    let reader = StateStore::open_read_only(&fixture.path()).unwrap();
    assert!(matches!(reader.write(vec![put("k", b"v")]).await, Err(StateError::Store { .. })));
}

#[tokio::test]
async fn closed_store_refuses_writes_and_still_reads() {
    let fixture = fixture();
    let store = StateStore::open(&fixture.path()).unwrap();
    store.write(vec![put("k", b"v")]).await.unwrap();
    store.close();
    store.close();
    assert!(matches!(store.write(vec![put("k", b"w")]).await, Err(StateError::Closed)));
    assert_eq!(store.get("s", "k").await.unwrap(), Some(b"v".to_vec()));
}

#[tokio::test]
async fn write_larger_than_the_queue_goes_through_alone() {
    let fixture = fixture();
    let store = StateStore::open(&fixture.path()).unwrap();
    let value = vec![7; 20 << 20];
    store.write(vec![put("large", &value)]).await.unwrap();
    assert_eq!(store.get("s", "large").await.unwrap().map(|v| v.len()), Some(value.len()));
}

#[test]
fn newer_format_is_refused_and_left_as_it_is() {
    let fixture = fixture();
    drop(StateStore::open(&fixture.path()).unwrap());
    set_version(&fixture.path(), FORMAT_VERSION + 1);
    for opened in [StateStore::open(&fixture.path()), StateStore::open_read_only(&fixture.path())] {
        assert!(matches!(opened, Err(StateError::TooNew { found: 2, known: 1, .. })), "{opened:?}");
    }
}

fn set_version(path: &Path, version: i64) {
    rusqlite::Connection::open(path).unwrap().pragma_update(None, "user_version", version).unwrap();
}

#[test]
fn foreign_files_are_refused_and_left_as_they_are() {
    let fixture = fixture();
    let other = fixture.0.path().join("other.sqlite");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    let text = fixture.0.path().join("text");
    std::fs::write(&text, "this is no database, it is a long line of text that somebody put in the place of one")
        .unwrap();
    for path in [&other, &text] {
        assert!(matches!(StateStore::open(path), Err(StateError::Store { .. })), "{}", path.display());
    }
    let tables: i64 = rusqlite::Connection::open(&other)
        .unwrap()
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn processes_that_begin_together_make_one_file() {
    for round in 0..100 {
        let fixture = fixture();
        let (path, together) = (fixture.path(), std::sync::Barrier::new(4));
        std::thread::scope(|scope| {
            let openers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        together.wait();
                        StateStore::open(&path).map(drop)
                    })
                })
                .collect();
            for opener in openers {
                let opened = opener.join().unwrap();
                assert!(opened.is_ok(), "round {round}: {opened:?}");
            }
        });
    }
}

#[test]
fn a_locked_file_is_waited_for_no_longer_than_said() {
    use contract::{Clock, SystemClock};
    use std::time::Duration;
    let fixture = fixture();
    let other = rusqlite::Connection::open(fixture.path()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE; CREATE TABLE mine (x)").unwrap();
    let ours = rusqlite::Connection::open(fixture.path()).unwrap();
    let (clock, wait) = (SystemClock::new(), Duration::from_millis(100));
    let begun = clock.monotonic();
    let refused = crate::format::use_wal(&ours, wait).unwrap_err();
    let took = clock.monotonic() - begun;
    assert!(crate::answer::is_busy(&refused), "{refused}");
    assert!(
        took >= wait && took < Duration::from_secs(4),
        "{took:?}: SQLite's own wait, 5 s, is not on top of each try"
    );
    other.execute_batch("ROLLBACK").unwrap();
    crate::format::use_wal(&ours, wait).unwrap();
}

/// SQLite's locks belong to the process and go when it closes any handle of the file.
#[test]
#[cfg(target_os = "linux")]
fn another_opening_leaves_the_locks_of_the_first() {
    use std::os::unix::fs::MetadataExt;
    let fixture = fixture();
    let locks = || {
        let inode = format!(":{} ", std::fs::metadata(fixture.path()).unwrap().ino());
        std::fs::read_to_string("/proc/locks").unwrap().lines().filter(|line| line.contains(&inode)).count()
    };
    let first = StateStore::open(&fixture.path()).unwrap();
    let held = locks();
    assert!(held > 0, "SQLite holds the file");
    let second = StateStore::open(&fixture.path()).unwrap();
    assert_eq!(locks(), held);
    drop(second);
    assert_eq!(locks(), held);
    drop(first);
    assert_eq!(locks(), 0);
}

#[test]
fn file_is_private_to_its_user() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = fixture();
    let _store = StateStore::open(&fixture.path()).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", fixture.path().display());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}

#[tokio::test]
async fn file_of_format_1_stays_readable() {
    let fixture = fixture();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/state-v1.sqlite");
    std::fs::copy(sample, fixture.path()).unwrap();
    let store = StateStore::open(&fixture.path()).unwrap();
    let found = store.scan("checkpoint", "", None, 10).await.unwrap();
    assert_eq!(found, [("route/a".to_owned(), b"12".to_vec()), ("route/ä".to_owned(), vec![0, 255])]);
    assert_eq!(store.get("slot", "city").await.unwrap(), Some(Vec::new()));
}

/// Writes the sample for the format of this program. Run once for each new format; old samples never change.
#[tokio::test]
#[ignore = "writes into testdata"]
async fn freeze_a_sample() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/state-v{FORMAT_VERSION}.sqlite"));
    assert!(!path.exists(), "a frozen sample never changes");
    let store = StateStore::open(&path).unwrap();
    let put = |space, key: &str, value: &[u8]| StateOp::Put { space, key: key.to_owned(), value: value.to_vec() };
    let ops =
        vec![put("checkpoint", "route/a", b"12"), put("checkpoint", "route/ä", &[0, 255]), put("slot", "city", b"")];
    store.write(ops).await.unwrap();
}
