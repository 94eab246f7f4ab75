//! Dead letters: listed, shown, dropped, and retried without ever overwriting a newer value.

use super::target::Fault;
use super::world::*;
use contract::CrashPoint;
use model::{ErrorClass, Offset, Outcome};
use pipeline::dlq::{self, Decision, Deed, DlqEntry, DlqError, DlqFilter, DlqStatus, Operator, RetryOptions};
use pipeline::proof::KeyQuery;
use std::time::Duration;

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

fn ann(why: &str) -> Operator {
    Operator { who: "ann".into(), at_ms: 1_700_000_000_000, why: Some(why.into()) }
}

async fn retry(world: &World, id: Offset) -> Result<u64, DlqError> {
    dlq::decide(&world.state(), &[id], &Decision::Retry(RetryOptions::default()), &ann("mended")).await
}

async fn only(world: &World) -> DlqEntry {
    let listed = dlq::list(&world.state(), &DlqFilter::default(), 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    listed.into_iter().next().unwrap()
}

/// Lets a run take the retry, until it is decided.
async fn redrive(world: &World) -> DlqEntry {
    let id = only(world).await.id;
    retry(world, id).await.unwrap();
    let run = world.start();
    loop {
        let entry = only(world).await;
        if entry.status != DlqStatus::Retried {
            run.stop().await;
            return entry;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letter_keeps_the_originals_bytes_and_its_reason() {
    let world = buried(&[write(1, 1)], 0).await;
    let entry = only(&world).await;
    assert_eq!((entry.status, entry.code.as_str()), (DlqStatus::Open, "FIELD_CUSTOM_VALIDATION_EXCEPTION"));
    assert_eq!((entry.key.as_str(), entry.attempts), (r#"{"id":1}"#, 1));
    let run = world.start();
    let shown = dlq::show(&*run.log, &*run.state, entry.id, &[]).await.unwrap();
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
    tokio::time::sleep(Duration::from_secs(3)).await;
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
    retry(&world, Offset(0)).await.unwrap();
    let mut run = world.start();
    run.until(|_| world.target.row("Item__c", "1").is_some()).await;
    retry(&world, Offset(1)).await.unwrap();
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
    retry(&world, only(&world).await.id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = world.append(&[write(1, 3)]).await;
    world.target.open.send_replace(true);
    run.settled(end.max(after)).await;
    while only(&world).await.status == DlqStatus::Retried {
        tokio::time::sleep(Duration::from_millis(20)).await;
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
        retry(&world, Offset(0)).await.unwrap();
        let run = world.start_dying(point, 1);
        run.life.until_over().await;
        run.task.abort();
        let _ = run.task.await;
        let run = world.start();
        let decided = async {
            while only(&world).await.status == DlqStatus::Retried {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(600), decided).await.expect("the retry comes to an end");
        run.stop().await;
        assert_eq!(world.target.values("Item__c", "1"), [Some(1)], "{point:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_dead_letter_is_decided_for_good() {
    let world = buried(&[write(1, 1)], 0).await;
    dlq::decide(&world.state(), &[Offset(0)], &Decision::Drop, &ann("wrong row")).await.unwrap();
    assert!(matches!(retry(&world, Offset(0)).await, Err(DlqError::Decided { .. })));
    assert!(matches!(retry(&world, Offset(9)).await, Err(DlqError::None { .. })));
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

/// Changes of keys 0 to `keys`, all of them dead letters.
async fn all_buried(changes: &[Change]) -> World {
    let world = World::new(vec![item()]).await;
    let end = world.append(changes).await;
    world.target.script(|batch| {
        let keys = batch.rows.iter().map(|row| super::target::text(row.key.as_ref().unwrap()));
        Some(Fault::Rows(keys.map(|key| (key, ErrorClass::BusinessRule, "NO")).collect()))
    });
    world.run_through(end).await;
    world.target.script(|_| None);
    world.target.batches.lock().clear();
    world
}

async fn count(world: &World, status: DlqStatus) -> usize {
    let filter = DlqFilter { status: Some(status), ..DlqFilter::default() };
    dlq::list(&world.state(), &filter, usize::MAX).await.unwrap().len()
}

async fn until_resolved(world: &World, letters: usize) {
    let resolved = async {
        while count(world, DlqStatus::Resolved).await < letters {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(600), resolved).await.expect("the retries come to an end");
}

#[tokio::test(start_paused = true)]
async fn many_retries_go_in_batches_and_in_the_order_of_their_keys() {
    // Twice each key, so that half of the letters wait for the other half.
    let changes: Vec<_> = (0..1_500).map(|n| write(n % 750, n)).collect();
    let world = all_buried(&changes).await;
    let all = Decision::Retry(RetryOptions::default());
    let decided = dlq::decide_all(&world.state(), &DlqFilter::default(), &all, &ann("mended")).await.unwrap();
    assert_eq!(decided, 1_500);
    let run = world.start();
    until_resolved(&world, 1_500).await;
    run.stop().await;
    assert_in_order(&world.target, "Item__c", &changes);
    let calls = world.target.batches.lock().len();
    assert!(calls <= 20, "{calls} calls for 1,500 letters");
    assert!(world.target.history.lock().iter().rev().take(1_500).all(|effect| effect.lane == model::Lane::Bulk));
    // Pages of 500: the acts tell of every one of them.
    let acts = dlq::acts(&world.state(), 100, |_| true).await.unwrap();
    assert_eq!(acts.len(), 3);
    assert!((0..1_500).all(|id| acts.iter().any(|act| act.concerns(Offset(id)))));
}

#[tokio::test(start_paused = true)]
async fn retries_keep_to_the_rate_that_was_asked_for() {
    let world = all_buried(&(0..100).map(|id| write(id, 1)).collect::<Vec<_>>()).await;
    let slow = Decision::Retry(RetryOptions { rate: Some(10.0), ..RetryOptions::default() });
    dlq::decide_all(&world.state(), &DlqFilter::default(), &slow, &ann("mended")).await.unwrap();
    let from = tokio::time::Instant::now();
    let run = world.start();
    until_resolved(&world, 100).await;
    let took = from.elapsed();
    run.stop().await;
    assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(13), "{took:?}");
    assert!(world.target.batches.lock().iter().all(|(_, rows)| rows.len() <= 10));
}

#[tokio::test(start_paused = true)]
async fn letter_that_breaks_the_target_does_not_take_the_others_along() {
    let world = all_buried(&(0..50).map(|id| write(id, 1)).collect::<Vec<_>>()).await;
    world.target.script(|batch| {
        let poisoned = batch.rows.iter().any(|row| super::target::text(row.key.as_ref().unwrap()) == "17");
        poisoned.then_some(Fault::Fail(ErrorClass::Permanent, Some("JSON_PARSER_ERROR")))
    });
    let all = Decision::Retry(RetryOptions::default());
    dlq::decide_all(&world.state(), &DlqFilter::default(), &all, &ann("mended")).await.unwrap();
    let run = world.start();
    until_resolved(&world, 49).await;
    while count(&world, DlqStatus::Retried).await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run.stop().await;
    assert_eq!(count(&world, DlqStatus::Open).await, 1);
    assert!(world.target.row("Item__c", "17").is_none());
}

#[tokio::test(start_paused = true)]
async fn edited_value_is_applied_and_the_original_bytes_stay() {
    let world = buried(&[write(1, 1), write(2, 1)], 0).await;
    let (id, state) = (only(&world).await.id, world.state());
    let run = world.start();
    let edit = |column: &str, text: &str| vec![(column.to_owned(), text.to_owned())];
    let key = ["id".to_owned()];
    for (wrong, why) in
        [(edit("id", "7"), "business key"), (edit("nope", "7"), "no column"), (edit("v", "seven"), "JSON")]
    {
        let refused = dlq::edit(&*run.log, &state, id, (&wrong, &key), &ann("typo")).await.unwrap_err();
        assert!(matches!(&refused, DlqError::BadEdit { cause, .. } if cause.contains(why)), "{refused}");
    }
    dlq::edit(&*run.log, &state, id, (&edit("v", "42"), &key), &ann("typo")).await.unwrap();
    let shown = dlq::show(&*run.log, &state, id, &["v".to_owned()]).await.unwrap();
    let value = String::from_utf8(shown.value.unwrap()).unwrap();
    assert!(value.contains(r#""v":"(secret)""#) && value.contains("n1"), "{value}");
    assert_eq!(shown.entry.edit.unwrap().columns["v"].get(), r#""(secret)""#);
    retry(&world, id).await.unwrap();
    until_resolved(&world, 1).await;
    let shown = dlq::show(&*run.log, &state, id, &[]).await.unwrap();
    run.stop().await;
    assert_eq!(world.target.values("Item__c", "1"), [Some(42)]);
    assert!(String::from_utf8(shown.value.unwrap()).unwrap().contains(r#""v":1"#));
    let acts = dlq::acts(&state, 10, |act| act.concerns(id)).await.unwrap();
    let deeds: Vec<_> = acts.iter().map(|act| (&act.who[..], act.why.as_deref(), &act.deed)).collect();
    assert!(matches!(
        deeds[..],
        [("ann", Some("typo"), Deed::Edit { .. }), ("ann", Some("mended"), Deed::Retry { .. })]
    ));
}

#[tokio::test(start_paused = true)]
async fn filters_choose_by_everything_that_is_known() {
    let mut changes = vec![write(1, 1), write(2, 1)];
    changes.push(write(12, 2));
    let world = all_buried(&changes).await;
    let state = world.state();
    let found = async |filter: DlqFilter| dlq::list(&state, &filter, 10).await.unwrap().len();
    let all = DlqFilter::default;
    assert_eq!(found(DlqFilter { code: Some("no".into()), ..all() }).await, 3);
    assert_eq!(found(DlqFilter { code: Some("yes".into()), ..all() }).await, 0);
    assert_eq!(found(DlqFilter { class: Some(ErrorClass::BusinessRule), ..all() }).await, 3);
    assert_eq!(found(DlqFilter { class: Some(ErrorClass::Lock), ..all() }).await, 0);
    assert_eq!(found(DlqFilter { table: Some("s.item".into()), ..all() }).await, 3);
    assert_eq!(found(DlqFilter { table: Some("s.other".into()), ..all() }).await, 0);
    assert_eq!(found(DlqFilter { key: Some(KeyQuery::parse("2").unwrap()), ..all() }).await, 1);
    let at_ms = dlq::list(&state, &all(), 1).await.unwrap()[0].at_ms;
    assert_eq!(found(DlqFilter { since_ms: Some(at_ms), until_ms: Some(at_ms + 1), ..all() }).await, 3);
    assert_eq!(found(DlqFilter { until_ms: Some(at_ms), ..all() }).await, 0);
    // What a drop chooses by a filter, it drops for good, with the reason.
    let key = DlqFilter { key: Some(KeyQuery::parse("id=12").unwrap()), ..all() };
    assert_eq!(dlq::decide_all(&state, &key, &Decision::Drop, &ann("test row")).await.unwrap(), 1);
    let dropped = dlq::list(&state, &DlqFilter { status: Some(DlqStatus::Dropped), ..all() }, 10).await.unwrap();
    assert_eq!(dropped[0].result.as_deref(), Some("dropped by ann: test row"));
}

#[tokio::test(start_paused = true)]
async fn secret_value_stands_in_no_message_and_no_status() {
    let mut world = World::new(vec![item()]).await;
    world.spec.routes[0].secret = vec!["note".into()];
    let end = world.append(&[Change { note: Some("078-05-1120".into()), ..write(1, 1) }]).await;
    world
        .target
        .script(|_| Some(Fault::Quote(ErrorClass::BusinessRule, "BAD", "bad value: 078-05-1120 is no note".into())));
    let status = world.run_through(end).await;
    let entry = only(&world).await;
    assert_eq!(entry.message, "bad value: (secret) is no note");
    assert!(!format!("{status:?}").contains("1120"), "{status:?}");
    let letters = world.disk.texts("_dead_letters");
    assert!(letters.iter().all(|header| !header.contains("1120")), "{letters:?}");
    // The same when a retry fails.
    retry(&world, entry.id).await.unwrap();
    let run = world.start();
    while only(&world).await.status == DlqStatus::Retried {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = run.stop().await;
    assert!(!format!("{status:?} {:?}", only(&world).await).contains("1120"));
}
