//! Dead letters: listed, shown, dropped, and retried without ever overwriting a newer value.

use super::target::Fault;
use super::world::*;
use contract::CrashPoint;
use model::{ErrorClass, Offset, Outcome};
use pipeline::dlq::{self, DlqEntry, DlqError, DlqFilter, DlqStatus};

/// Refuses the record at an offset, once.
async fn buried(changes: &[Change], offset: u64) -> World {
    let world = World::new(vec![item()]).await;
    let end = world.append(changes).await;
    refuse(&world, offset);
    world.run_through(end).await;
    world.target.script(|_| None);
    world
}

fn refuse(world: &World, offset: u64) {
    world.target.script(move |batch| {
        let row = batch.rows.iter().find(|row| row.position.offset.0 == offset)?;
        let key = super::target::text(row.key.as_ref()?);
        Some(Fault::Rows(vec![(key, ErrorClass::BusinessRule, "FIELD_CUSTOM_VALIDATION_EXCEPTION")]))
    });
}

async fn only(world: &World) -> DlqEntry {
    let listed = dlq::list(&world.state(), &DlqFilter::default(), 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    listed.into_iter().next().unwrap()
}

/// Lets a run take the retry, until it is decided.
async fn redrive(world: &World) -> DlqEntry {
    let id = only(world).await.id;
    dlq::retry(&world.state(), id).await.unwrap();
    let run = world.start();
    loop {
        let entry = only(world).await;
        if entry.status != DlqStatus::Retried {
            run.stop().await;
            return entry;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letter_keeps_the_originals_bytes_and_its_reason() {
    let world = buried(&[write(1, 1)], 0).await;
    let entry = only(&world).await;
    assert_eq!((entry.status, entry.code.as_str()), (DlqStatus::Open, "FIELD_CUSTOM_VALIDATION_EXCEPTION"));
    assert_eq!((entry.key.as_str(), entry.attempts), (r#"{"id":1}"#, 1));
    let run = world.start();
    let shown = dlq::show(&*run.log, &*run.state, entry.id).await.unwrap();
    run.stop().await;
    assert_eq!(shown.key.as_deref(), Some(br#"{"id":1}"#.as_slice()));
    assert!(String::from_utf8(shown.value.unwrap()).unwrap().contains(r#""v":1"#));
    assert_eq!(shown.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["op", "table"]);
    assert_eq!(shown.letter.position.offset, Offset(0));
}

#[tokio::test(start_paused = true)]
async fn retry_applies_a_dead_letter_that_nothing_newer_followed() {
    let world = buried(&[write(1, 1), write(2, 1)], 0).await;
    let entry = redrive(&world).await;
    assert_eq!((entry.status, entry.result.as_deref()), (DlqStatus::Resolved, Some("applied")));
    assert_eq!(world.target.values("Item__c", "1"), [Some(1)]);
    assert_eq!(world.outcomes()[&("items".into(), 0)], [Outcome::DeadLettered, Outcome::Applied]);
    // It is taken once.
    let run = world.start();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    run.stop().await;
    assert_eq!(world.target.values("Item__c", "1"), [Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn retry_never_overwrites_a_newer_value() {
    let world = buried(&[write(1, 1), write(1, 2)], 0).await;
    let entry = redrive(&world).await;
    assert_eq!(entry.status, DlqStatus::Resolved);
    assert!(entry.result.unwrap().starts_with("superseded"));
    assert_eq!(world.target.values("Item__c", "1"), [Some(2)]);
    assert_eq!(world.outcomes()[&("items".into(), 0)], [Outcome::DeadLettered, Outcome::Superseded]);
}

#[tokio::test(start_paused = true)]
async fn retry_applies_only_the_columns_that_stayed_unchanged_since() {
    let world = buried(&[write(1, 1), write(1, 2).without_note()], 0).await;
    let entry = redrive(&world).await;
    assert_eq!(entry.result.as_deref(), Some("applied"));
    let row = world.target.row("Item__c", "1").unwrap();
    assert_eq!((row["V__c"].as_deref(), row["Note__c"].as_deref()), (Some("2"), Some("n1")));
}

#[tokio::test(start_paused = true)]
async fn retry_does_not_bring_back_a_row_that_was_deleted_since() {
    let world = buried(&[write(1, 1), delete(1)], 0).await;
    redrive(&world).await;
    assert_eq!(world.target.row("Item__c", "1"), None);
}

#[tokio::test(start_paused = true)]
async fn newer_dead_letter_does_not_supersede_an_older_one() {
    let world = World::new(vec![item()]).await;
    let end = world.append(&[write(1, 1), write(1, 2)]).await;
    world.target.script(|_| Some(Fault::Rows(vec![("1".into(), ErrorClass::BusinessRule, "NO")])));
    world.run_through(end).await;
    world.target.script(|_| None);
    dlq::retry(&world.state(), Offset(0)).await.unwrap();
    let mut run = world.start();
    run.until(|_| world.target.row("Item__c", "1").is_some()).await;
    dlq::retry(&world.state(), Offset(1)).await.unwrap();
    run.until(|_| world.target.values("Item__c", "1").len() == 2).await;
    run.stop().await;
    assert_eq!(world.target.values("Item__c", "1"), [Some(1), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn retry_waits_behind_what_is_unsettled_of_its_key() {
    let world = buried(&[write(1, 1)], 0).await;
    world.target.open.send_replace(false);
    let end = world.append(&[write(1, 2)]).await;
    let mut run = world.start();
    run.until(|status| status.routes[0].lanes[1].in_flight == 1).await;
    dlq::retry(&world.state(), only(&world).await.id).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let after = world.append(&[write(1, 3)]).await;
    world.target.open.send_replace(true);
    run.settled(end.max(after)).await;
    while only(&world).await.status == DlqStatus::Retried {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    run.stop().await;
    assert_eq!(world.target.values("Item__c", "1"), [Some(2), Some(3)]);
}

#[tokio::test(start_paused = true)]
async fn retry_that_fails_is_open_again_with_the_newer_reason() {
    let world = buried(&[write(1, 1)], 0).await;
    world.target.script(|_| Some(Fault::Rows(vec![("1".into(), ErrorClass::BusinessRule, "OTHER")])));
    let entry = redrive(&world).await;
    assert_eq!((entry.status, entry.code.as_str(), entry.attempts), (DlqStatus::Open, "OTHER", 2));
    assert_eq!(world.dead_letters(), 1);
}

#[tokio::test(start_paused = true)]
async fn death_in_a_retry_applies_it_once() {
    for point in [CrashPoint::AfterJournal, CrashPoint::AfterSend] {
        let world = buried(&[write(1, 1)], 0).await;
        dlq::retry(&world.state(), Offset(0)).await.unwrap();
        let run = world.start_dying(point, 1);
        run.life.until_over().await;
        run.task.abort();
        let _ = run.task.await;
        let run = world.start();
        let decided = async {
            while only(&world).await.status == DlqStatus::Retried {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(600), decided).await.expect("the retry comes to an end");
        run.stop().await;
        assert_eq!(world.target.values("Item__c", "1"), [Some(1)], "{point:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_dead_letter_is_decided_for_good() {
    let world = buried(&[write(1, 1)], 0).await;
    dlq::drop(&world.state(), Offset(0)).await.unwrap();
    assert!(matches!(dlq::retry(&world.state(), Offset(0)).await, Err(DlqError::Decided { .. })));
    assert!(matches!(dlq::retry(&world.state(), Offset(9)).await, Err(DlqError::None { .. })));
    let open = DlqFilter { status: Some(DlqStatus::Open), ..DlqFilter::default() };
    assert!(dlq::list(&world.state(), &open, 10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn index_is_rebuilt_from_the_stream_when_a_run_starts() {
    let world = buried(&[write(1, 1), write(2, 1)], 1).await;
    let mut ops = Vec::new();
    for space in ["dlq", "dlq_at", "dlq_meta"] {
        use contract::StateStore;
        for (key, _) in world.state().scan(space, "", None, 10).await.unwrap() {
            ops.push(contract::StateOp::Delete { space, key });
        }
    }
    contract::StateStore::write(&world.state(), ops).await.unwrap();
    let mut run = world.start();
    run.until(|status| status.routes[0].settled_offset.0 == 2).await;
    run.stop().await;
    assert_eq!(only(&world).await.position.offset, Offset(1));
}
