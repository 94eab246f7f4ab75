//! `coalesce: latest`: waiting changes of one key go as one.

use super::target::Fault;
use super::world::*;
use model::{ErrorClass, Outcome};
use pipeline::spec::Coalesce;
use std::time::Duration;

fn coalescing() -> pipeline::spec::RouteSpec {
    let mut route = item();
    route.coalesce = Coalesce::Latest;
    route
}

#[tokio::test(start_paused = true)]
async fn waiting_updates_merge_column_by_column() {
    let world = World::new(vec![coalescing()]).await;
    let end = world.append(&[write(1, 1), write(1, 2).without_note(), write(1, 3).without_note(), write(2, 1)]).await;
    let status = world.run_through(end).await;
    assert_eq!(world.target.values("Item__c", "1"), [Some(3)]);
    assert_eq!(world.target.row("Item__c", "1").unwrap()["Note__c"], Some("n1".into()));
    assert_eq!((status.routes[0].applied, status.routes[0].superseded), (2, 2));
    assert_eq!(world.outcomes()[&("items".into(), 0)], [Outcome::Superseded]);
    assert_eq!(world.outcomes()[&("items".into(), 2)], [Outcome::Applied]);
    world.assert_settled_once("items", 0..end.0);
}

#[tokio::test(start_paused = true)]
async fn merged_row_that_is_refused_comes_apart() {
    let world = World::new(vec![coalescing()]).await;
    let end = world.append(&[write(1, 1), write(1, 2), write(1, 3)]).await;
    // The second value is what the target refuses; merged, the third hides it, so refuse the first try as well.
    let mut first = true;
    world.target.script(move |batch| {
        let refuse = std::mem::take(&mut first) || batch.rows.iter().any(|row| row.position.offset.0 == 1);
        refuse.then(|| Fault::Rows(vec![("1".into(), ErrorClass::BusinessRule, "NO")]))
    });
    let status = world.run_through(end).await;
    assert_eq!((status.routes[0].applied, status.routes[0].dead_lettered), (2, 1));
    assert_eq!(world.target.values("Item__c", "1"), [Some(1), Some(3)]);
    world.assert_settled_once("items", 0..end.0);
}

#[tokio::test(start_paused = true)]
async fn merged_row_whose_answer_is_lost_is_read_back_as_it_was_sent() {
    let mut world = World::new(vec![coalescing()]).await;
    world.spec.recovery_grace = Duration::from_secs(1);
    world.append(&[write(1, 1), write(1, 2)]).await;
    let mut first = true;
    world.target.script(move |_| std::mem::take(&mut first).then_some(Fault::LoseAnswer));
    let mut run = world.start();
    run.until(|status| status.routes[0].suspects == 2).await;
    let end = world.append(&[write(1, 3)]).await;
    run.settled(end).await;
    run.stop().await;
    assert_eq!(world.target.values("Item__c", "1"), [Some(2), Some(3)]);
    world.assert_settled_once("items", 0..end.0);
}

#[tokio::test(start_paused = true)]
async fn without_coalescing_every_change_is_sent() {
    let world = World::new(vec![item()]).await;
    world.target.script(|_| Some(Fault::Late(Duration::from_millis(20))));
    let changes: Vec<_> = (1..10).map(|v| write(1, v)).collect();
    let end = world.append(&changes).await;
    world.run_through(end).await;
    assert_in_order(&world.target, "Item__c", &changes);
}
