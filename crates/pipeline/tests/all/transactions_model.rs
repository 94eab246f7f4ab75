//! Any mix of transactions, faults and deaths: each transaction is settled as a whole, each key's history is the serial one.

use super::model_check::{Trouble, fault, trouble, with_effect};
use super::transactions::{parent, together, world};
use super::world::*;
use contract::CrashPoint;
use model::Outcome;
use pipeline::spec::TooLarge;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ROWS_MAX: usize = 6;

/// Whether it is of the second table, its key, and whether it is deleted.
type Row = (bool, u8, bool);

#[derive(Clone, Debug)]
struct Plan {
    /// For each transaction: its rows as (child?, key, deleted?), and whether its end is marked.
    transactions: Vec<(Vec<Row>, bool)>,
    troubles: Vec<Trouble>,
    deaths: Vec<(u8, u8)>,
    parallel: usize,
    by_key: bool,
    power: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let row = (any::<bool>(), 0..5_u8, prop::bool::weighted(0.15));
    let transaction = (prop::collection::vec(row, 1..9), prop::bool::weighted(0.8));
    (
        prop::collection::vec(transaction, 1..16),
        prop::collection::vec(trouble(), 0..20),
        prop::collection::vec((0..4_u8, 1..6_u8), 0..4),
        1..4_usize,
        any::<bool>(),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(transactions, troubles, deaths, parallel, by_key, power)| Plan {
            transactions,
            troubles,
            deaths,
            parallel,
            by_key,
            power,
        })
}

const POINTS: [CrashPoint; 4] =
    [CrashPoint::AfterJournal, CrashPoint::AfterSend, CrashPoint::BeforeSettle, CrashPoint::InCheckpoint];

/// The changes in the order of the stream; the value of each is its own number.
fn changes(plan: &Plan) -> Vec<Change> {
    let mut changes = Vec::new();
    for (tx, (rows, is_marked)) in (1..).zip(&plan.transactions) {
        for (child, key, gone) in rows {
            let (key, v) = (i64::from(*key), changes.len() as i64);
            // A row that comes and goes in one transaction leaves nothing that a read-back could miss.
            let touches = rows.iter().filter(|(of, other, _)| of == child && i64::from(*other) == key).count();
            let change = if *gone && touches == 1 { delete(key) } else { write(key, v) };
            changes.push(change.of(if *child { "other" } else { "parent" }).in_tx(tx));
        }
        if *is_marked {
            changes.push(Change::end(tx));
        }
    }
    // The last one always ends.
    changes.push(Change::end(plan.transactions.len() as u64));
    changes
}

async fn carry_out(plan: &Plan, changes: &[Change]) -> World {
    let mut routes = vec![together(parent()), together(route("others", "other", "Other__c"))];
    for route in &mut routes {
        route.parallel = plan.parallel;
        route.too_large = if plan.by_key { TooLarge::ByKey } else { TooLarge::Refuse };
    }
    let world = world(routes, ROWS_MAX).await;
    let mut troubles = plan.troubles.clone().into_iter();
    world.target.script(move |batch| fault(troubles.next()?, batch));
    let half = changes.len() / 2;
    let mut end = world.append(&changes[..half]).await;
    let mut rest = Some(&changes[half..]);
    for (point, nth) in &plan.deaths {
        let run = world.start_dying(POINTS[usize::from(*point)], u64::from(*nth));
        if let Some(rest) = rest.take() {
            end = world.append(rest).await;
        }
        run.died_before(end).await;
        if plan.power {
            world.disk.lose_power();
        }
    }
    if let Some(rest) = rest {
        end = world.append(rest).await;
    }
    world.run_through(end).await;
    world
}

fn check(plan: &Plan, world: &World, changes: &[Change]) -> Result<(), TestCaseError> {
    let outcomes = world.outcomes();
    let mut of_transaction: BTreeMap<u64, Vec<Outcome>> = BTreeMap::new();
    let mut applied: BTreeMap<(&str, i64), Vec<Option<i64>>> = BTreeMap::new();
    for (offset, change) in changes.iter().enumerate().filter(|(_, change)| change.op != 'e') {
        let (route, object) = if change.table == "parent" { ("parents", "Parent__c") } else { ("others", "Other__c") };
        let found = outcomes.get(&(route.to_owned(), offset as u64)).cloned().unwrap_or_default();
        // Without power a settlement may be lost and written again, the same.
        prop_assert!(found.len() == 1 || (plan.power && !found.is_empty()), "offset {offset} is settled as {found:?}");
        prop_assert!(found.iter().all(|outcome| *outcome == found[0]), "offset {offset} is settled as {found:?}");
        of_transaction.entry(change.tx.unwrap()).or_default().push(found[0]);
        if found[0] == Outcome::Applied {
            applied.entry((object, change.id)).or_default().push((change.op != 'd').then_some(change.v));
        }
    }
    for (tx, outcomes) in &of_transaction {
        let whole = outcomes.iter().all(|outcome| *outcome == outcomes[0]);
        prop_assert!(
            whole || (plan.by_key && outcomes.len() > ROWS_MAX),
            "transaction {tx} is settled as {outcomes:?}"
        );
        let refused = outcomes.len() > ROWS_MAX && !plan.by_key;
        prop_assert!(!refused || outcomes[0] == Outcome::DeadLettered, "transaction {tx} is too large");
    }
    for (object, key) in ["Parent__c", "Other__c"].into_iter().flat_map(|object| (0..5).map(move |key| (object, key))) {
        let found = with_effect(world.target.values(object, &key.to_string()));
        let expected = with_effect(applied.remove(&(object, key)).unwrap_or_default());
        prop_assert_eq!(found, expected, "{} {}", object, key);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn any_mix_of_transactions_faults_and_deaths_settles_each_as_a_whole(plan in plan()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let changes = changes(&plan);
        let world = runtime.block_on(carry_out(&plan, &changes));
        check(&plan, &world, &changes)?;
    }
}
