//! The write ledger of a running engine, and of the one after it.

use super::target::id_of;
use super::world::*;
use pipeline::writes::Whose;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn engine_remembers_what_it_wrote_and_so_does_the_next_one() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&[write(1, 1), write(2, 1), write(1, 2)]).await;
    let mut run = world.start();
    run.settled(end).await;
    let id = id_of("1");
    let (org, object) = ("org".into(), "Item__c".into());
    let newest = run.handle.writes().newest(&org, &object, &id).expect("it was written");
    assert_eq!(newest.position.offset, model::Offset(2));
    run.stop().await;

    tokio::time::advance(Duration::from_secs(60)).await;
    let run = world.start();
    while run.handle.writes().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let writes = run.handle.writes();
    assert_eq!((writes.len(), writes.newest(&org, &object, &id)), (2, Some(newest)));
    assert_eq!(writes.whose((&org, &object, &id), newest.at_ms, None), Whose::Ours(newest));
    assert_eq!(writes.whose((&org, &object, &id), newest.at_ms + 30_000, None), Whose::Theirs);
    run.stop().await;
}
