//! Parents that the target locks with their children.

use super::world::*;
use std::sync::atomic::Ordering as Atomic;

/// Children of three parents, of which the first is hot.
fn family() -> Vec<Change> {
    let parents = (1..=3).map(|id| write(id, 1).of("parent"));
    let child =
        |id: i64| Change { parent: Some(if id % 10 == 0 { 2 + id % 20 / 10 } else { 1 }), ..write(id, 1).of("child") };
    parents.chain((100..700).map(child)).collect()
}

async fn world(locks: Option<bool>) -> World {
    let mut child = child();
    child.references[0].locks = locks;
    child.batch.rows_max = 20;
    let world = World::new(vec![route("parents", "parent", "Parent__c"), child]).await;
    world.target.locks.store(true, Atomic::Relaxed);
    world
}

#[tokio::test(start_paused = true)]
async fn no_two_batches_share_a_parent_and_others_pass_the_hot_one() {
    let world = world(Some(true)).await;
    let changes = family();
    let end = world.append(&changes).await;
    let status = world.run_through(end).await;
    assert_eq!(world.target.lock_errors.load(Atomic::Relaxed), 0);
    assert_eq!(status.routes.iter().map(|route| route.applied).sum::<u64>(), changes.len() as u64);
    let history = world.target.history.lock();
    let place = |id: i64| history.iter().position(|effect| effect.key == id.to_string()).unwrap();
    assert!(place(690) < place(691), "the last child of a cool parent went before its neighbour of the hot one");
}

#[tokio::test(start_paused = true)]
async fn a_lock_error_teaches_the_route() {
    let world = world(None).await;
    let changes = family();
    let end = world.append(&changes).await;
    let status = world.run_through(end).await;
    let errors = world.target.lock_errors.load(Atomic::Relaxed);
    // The batches that were in flight when the first error came back, and those formed before it was judged.
    assert!((1..=100).contains(&errors), "{errors}");
    assert_eq!(status.routes.iter().map(|route| route.applied).sum::<u64>(), changes.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_configured_no_is_kept_whatever_comes_back() {
    let world = world(Some(false)).await;
    let end = world.append(&family()).await;
    world.run_through(end).await;
    assert!(world.target.lock_errors.load(Atomic::Relaxed) > 100);
}
