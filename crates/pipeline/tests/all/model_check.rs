//! Any script of faults and deaths against the serial model: each key's changes in order, once, but for the dead letters.

use super::target::{Fault, text};
use super::world::*;
use contract::{CrashPoint, OutBatch};
use model::{ErrorClass, Outcome};
use pipeline::spec::{Coalesce, Ordering};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    None,
    Lock(u8),
    Refuse(u8),
    Lose,
    Cut,
    Outage,
    Reject,
    Slow,
    Quota,
}

pub fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        4 => Just(Trouble::None),
        2 => any::<u8>().prop_map(Trouble::Lock),
        1 => any::<u8>().prop_map(Trouble::Refuse),
        1 => Just(Trouble::Lose),
        1 => Just(Trouble::Cut),
        1 => Just(Trouble::Outage),
        1 => Just(Trouble::Reject),
        1 => Just(Trouble::Slow),
        1 => Just(Trouble::Quota),
    ]
}

pub fn fault(trouble: Trouble, batch: &OutBatch) -> Option<Fault> {
    let row = |n: u8, class, code| {
        let key = text(batch.rows[usize::from(n) % batch.rows.len()].key.as_ref().unwrap());
        Some(Fault::Rows(vec![(key, class, code)]))
    };
    match trouble {
        Trouble::None => None,
        Trouble::Lock(n) => row(n, ErrorClass::Lock, "UNABLE_TO_LOCK_ROW"),
        Trouble::Refuse(n) => row(n, ErrorClass::BusinessRule, "NO"),
        Trouble::Lose => Some(Fault::LoseAnswer),
        Trouble::Cut => Some(Fault::Fail(ErrorClass::Unknown, None)),
        Trouble::Outage => Some(Fault::Fail(ErrorClass::Transient, None)),
        // Alone, a row that the whole call is refused for is a dead letter.
        Trouble::Reject => Some(Fault::Fail(ErrorClass::Permanent, Some("MALFORMED"))),
        Trouble::Slow => Some(Fault::Late(Duration::from_millis(40))),
        Trouble::Quota => Some(Fault::Fail(ErrorClass::Quota, None)),
    }
}

#[derive(Clone, Debug)]
struct Plan {
    /// Key of each change; the value is its number. `true`: a delete.
    changes: Vec<(u8, bool)>,
    troubles: Vec<Trouble>,
    /// Point and count of each death.
    deaths: Vec<(u8, u8)>,
    rows_max: usize,
    parallel: usize,
    coalesce: bool,
    fifo: bool,
    /// The changes are appended in this many parts, while the engine runs.
    parts: usize,
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        prop::collection::vec((0..8_u8, prop::bool::weighted(0.15)), 1..120),
        prop::collection::vec(trouble(), 0..40),
        prop::collection::vec((0..4_u8, 1..6_u8), 0..4),
        1..9_usize,
        1..5_usize,
        any::<bool>(),
        prop::bool::weighted(0.15),
        1..4_usize,
    )
        .prop_map(|(changes, troubles, deaths, rows_max, parallel, coalesce, fifo, parts)| Plan {
            changes,
            troubles,
            deaths,
            rows_max,
            parallel,
            coalesce,
            fifo,
            parts,
        })
}

const POINTS: [CrashPoint; 4] =
    [CrashPoint::AfterJournal, CrashPoint::AfterSend, CrashPoint::BeforeSettle, CrashPoint::InCheckpoint];

async fn carry_out(plan: &Plan) -> (World, Vec<Change>) {
    let mut route = item();
    route.parallel = plan.parallel;
    route.coalesce = if plan.coalesce { Coalesce::Latest } else { Coalesce::Never };
    route.ordering = if plan.fifo { Ordering::Fifo } else { Ordering::Key };
    let world = World::new(vec![route]).await;
    world.target.limits.lock().rows_max = plan.rows_max;
    let mut troubles = plan.troubles.clone().into_iter();
    world.target.script(move |batch| fault(troubles.next()?, batch));
    let changes: Vec<Change> = plan
        .changes
        .iter()
        .zip(1..)
        .map(|((key, gone), v)| if *gone { delete((*key).into()) } else { write((*key).into(), v) })
        .collect();
    let mut parts = changes.chunks(changes.len().div_ceil(plan.parts));
    let mut end = world.append(parts.next().unwrap_or_default()).await;
    for (point, nth) in &plan.deaths {
        let run = world.start_dying(POINTS[usize::from(*point)], u64::from(*nth));
        if let Some(part) = parts.next() {
            end = world.append(part).await;
        }
        run.died_before(end).await;
    }
    for part in parts {
        end = world.append(part).await;
    }
    world.run_through(end).await;
    (world, changes)
}

/// Without deletes of what is not there: a read-back finds such a row as it should be, so it need not be sent.
pub fn with_effect(values: Vec<Option<i64>>) -> Vec<Option<i64>> {
    let mut there = false;
    let mut kept = values;
    kept.retain(|value| std::mem::replace(&mut there, value.is_some()) || value.is_some());
    kept
}

/// Checks the target's history of each key against the changes and their settlements.
fn check(world: &World, changes: &[Change]) -> Result<(), TestCaseError> {
    let outcomes = world.outcomes();
    let mut applied: BTreeMap<i64, Vec<Option<i64>>> = BTreeMap::new();
    for (offset, change) in changes.iter().enumerate() {
        let found = outcomes.get(&("items".to_owned(), offset as u64)).cloned().unwrap_or_default();
        prop_assert_eq!(found.len(), 1, "offset {} is settled as {:?}", offset, found);
        if found[0] == Outcome::Applied {
            applied.entry(change.id).or_default().push((change.op != 'd').then_some(change.v));
        }
    }
    for key in 0..8 {
        let found = with_effect(world.target.values("Item__c", &key.to_string()));
        let expected = with_effect(applied.remove(&key).unwrap_or_default());
        prop_assert_eq!(found, expected, "key {}", key);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]
    #[test]
    fn any_script_of_faults_and_deaths_gives_the_serial_history(plan in plan()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (world, changes) = runtime.block_on(carry_out(&plan));
        check(&world, &changes)?;
    }
}
