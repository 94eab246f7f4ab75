//! The suite that every implementer of `StateStore` runs.

use crate::{StateError, StateOp, StateStore};
use async_trait::async_trait;
use std::sync::Arc;

const SPACE: &str = "suite";

/// A store for one case.
#[async_trait]
pub trait StateFixture: Send {
    /// Opens the store for the first time.
    async fn open(&mut self) -> Arc<dyn StateStore>;

    /// Ends this instance and opens what it kept; `None` when this kind of store keeps nothing.
    async fn reopen(&mut self, store: Arc<dyn StateStore>) -> Option<Arc<dyn StateStore>>;
}

/// Runs every case, each with a fresh fixture; panics at the first broken promise.
pub async fn run_all<F: StateFixture>(mut fresh: impl FnMut() -> F) {
    values_come_back_and_can_be_replaced_and_deleted(&mut fresh()).await;
    spaces_are_apart(&mut fresh()).await;
    scan_gives_a_prefix_in_byte_order(&mut fresh()).await;
    scan_goes_on_after_a_key(&mut fresh()).await;
    write_is_atomic_when_an_expectation_fails(&mut fresh()).await;
    operations_happen_in_order(&mut fresh()).await;
    expectation_tells_absent_from_empty(&mut fresh()).await;
    only_one_of_many_wins_an_expectation(&mut fresh()).await;
    writes_are_seen_by_reads_that_begin_later(&mut fresh()).await;
    values_survive_a_reopen(&mut fresh()).await;
}

fn put(key: &str, value: &[u8]) -> StateOp {
    StateOp::Put { space: SPACE, key: key.to_owned(), value: value.to_vec() }
}

fn delete(key: &str) -> StateOp {
    StateOp::Delete { space: SPACE, key: key.to_owned() }
}

fn expect(key: &str, value: Option<&[u8]>) -> StateOp {
    StateOp::Expect { space: SPACE, key: key.to_owned(), value: value.map(<[u8]>::to_vec) }
}

async fn write(store: &dyn StateStore, ops: Vec<StateOp>) {
    store.write(ops).await.expect("a write");
}

async fn get(store: &dyn StateStore, key: &str) -> Option<Vec<u8>> {
    store.get(SPACE, key).await.expect("a read")
}

async fn keys(store: &dyn StateStore, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let entries = store.scan(SPACE, prefix, after, limit).await.expect("a scan");
    entries.into_iter().map(|(key, _)| key).collect()
}

async fn values_come_back_and_can_be_replaced_and_deleted(fixture: &mut impl StateFixture) {
    let store = fixture.open().await;
    assert_eq!(get(&*store, "k").await, None);
    let every_byte: Vec<u8> = (0..=255).collect();
    for value in [&b"one"[..], b"", &every_byte] {
        write(&*store, vec![put("k", value)]).await;
        assert_eq!(get(&*store, "k").await.as_deref(), Some(value));
    }
    write(&*store, vec![delete("k"), delete("never there")]).await;
    assert_eq!(get(&*store, "k").await, None);
    write(&*store, Vec::new()).await;
}

async fn spaces_are_apart(fixture: &mut impl StateFixture) {
    let store = fixture.open().await;
    let other = StateOp::Put { space: "other", key: "k".to_owned(), value: b"2".to_vec() };
    write(&*store, vec![put("k", b"1"), other]).await;
    write(&*store, vec![delete("k")]).await;
    assert_eq!(store.get("other", "k").await.expect("a read"), Some(b"2".to_vec()));
    assert!(keys(&*store, "", None, 10).await.is_empty());
}

async fn scan_gives_a_prefix_in_byte_order(fixture: &mut impl StateFixture) {
    let store = fixture.open().await;
    let unsorted = ["b", "a/2", "a/10", "a", "A", "a0", "a/", "ä", "a/\u{10ffff}", "", "a.", "a/é"];
    write(&*store, unsorted.iter().map(|key| put(key, key.as_bytes())).collect()).await;
    let mut sorted = unsorted.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(keys(&*store, "", None, 100).await, sorted);
    assert_eq!(keys(&*store, "a/", None, 100).await, ["a/", "a/10", "a/2", "a/é", "a/\u{10ffff}"]);
    assert_eq!(keys(&*store, "a/", None, 2).await, ["a/", "a/10"]);
    assert!(keys(&*store, "c", None, 100).await.is_empty());
    assert!(keys(&*store, "", None, 0).await.is_empty());
    for (key, value) in store.scan(SPACE, "a", None, 100).await.expect("a scan") {
        assert_eq!(key.as_bytes(), value);
    }
}

async fn scan_goes_on_after_a_key(fixture: &mut impl StateFixture) {
    let store = fixture.open().await;
    let all: Vec<String> = (0..25).map(|n| format!("p/{n:03}")).collect();
    write(&*store, all.iter().map(|key| put(key, b"")).chain([put("o", b""), put("q", b"")]).collect()).await;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = keys(&*store, "p/", after.as_deref(), 10).await;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        found.extend(page);
    }
    assert_eq!(found, all);
    assert_eq!(keys(&*store, "p/", Some("a"), 1).await, ["p/000"], "a key before the prefix");
    assert!(keys(&*store, "p/", Some("z"), 1).await.is_empty(), "a key behind the prefix");
    assert_eq!(keys(&*store, "p/", Some("p/0000"), 1).await, ["p/001"], "a key that is not there");
}

async fn write_is_atomic_when_an_expectation_fails(fixture: &mut impl StateFixture) {
    let store = fixture.open().await;
    write(&*store, vec![put("a", b"1"), put("b", b"1")]).await;
    let ops = vec![put("a", b"2"), delete("b"), put("c", b"2"), expect("a", Some(b"1")), put("d", b"2")];
    let refused = store.write(ops).await;
    assert!(
        matches!(&refused, Err(StateError::Conflict { space, key }) if space == SPACE && key == "a"),
        "{refused:?}"
    );
    assert_eq!(get(&*store, "a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(keys(&*store, "", None, 10).await, ["a", "b"]);
}

async fn operations_happen_in_order(fixture: &mut impl StateFixture) {
    let store = fixture.open().await;
    let ops = vec![
        expect("k", None),
        put("k", b"1"),
        expect("k", Some(b"1")),
        delete("k"),
        expect("k", None),
        put("k", b"2"),
        put("k", b"3"),
    ];
    write(&*store, ops).await;
    assert_eq!(get(&*store, "k").await.as_deref(), Some(&b"3"[..]));
}

async fn expectation_tells_absent_from_empty(fixture: &mut impl StateFixture) {
    let store = fixture.open().await;
    assert!(store.write(vec![expect("k", Some(b""))]).await.is_err());
    write(&*store, vec![put("k", b""), expect("k", Some(b""))]).await;
    assert!(store.write(vec![expect("k", None)]).await.is_err());
}

async fn only_one_of_many_wins_an_expectation(fixture: &mut impl StateFixture) {
    let store = fixture.open().await;
    let attempts: Vec<_> = (0..20u8)
        .map(|who| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.write(vec![expect("lease", None), put("lease", &[who])]).await.is_ok() })
        })
        .collect();
    let mut winners = Vec::new();
    for (who, attempt) in attempts.into_iter().enumerate() {
        if attempt.await.expect("no panic") {
            winners.push(who as u8);
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(get(&*store, "lease").await, Some(winners));
}

async fn writes_are_seen_by_reads_that_begin_later(fixture: &mut impl StateFixture) {
    let store = fixture.open().await;
    for n in 0..50u32 {
        write(&*store, vec![put("k", &n.to_be_bytes())]).await;
        assert_eq!(get(&*store, "k").await, Some(n.to_be_bytes().to_vec()));
    }
}

async fn values_survive_a_reopen(fixture: &mut impl StateFixture) {
    let mut store = fixture.open().await;
    for round in 0..3u8 {
        write(&*store, vec![put(&format!("k{round}"), &[round]), put("last", &[round])]).await;
        store = match fixture.reopen(store).await {
            Some(store) => store,
            None => return,
        };
        assert_eq!(get(&*store, "last").await, Some(vec![round]));
        assert_eq!(keys(&*store, "k", None, 10).await.len(), usize::from(round) + 1);
    }
}
