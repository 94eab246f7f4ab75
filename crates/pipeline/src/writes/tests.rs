use super::*;
use model::{Offset, OffsetRange, Partition, SettledRows, StreamPartition};
use proptest::prelude::*;
use std::collections::BTreeMap;

const ID: &str = "a00000000000001";

fn ledger(entries: usize, ttl_s: u64) -> WriteLedger {
    let schema = model::TableSchema {
        table: model::TableName { schema: "s".into(), name: "item".into() },
        columns: vec![],
        primary_key: vec![],
        replica_identity: model::ReplicaIdentity::Default,
        identity_columns: vec![],
    };
    let stream = StreamPartition::first("s".into());
    let route = RouteSpec::upsert("items", stream, schema, ("main".into(), "Item__c".into()), "Key__c");
    let config = WriteLedgerConfig {
        bytes_max: entries * ENTRY_BYTES,
        ttl: Duration::from_secs(ttl_s),
        ..WriteLedgerConfig::default()
    };
    WriteLedger::new(&[route], config, 0)
}

fn applied(at_ms: i64, rows: &[(u64, &str)]) -> Settlement {
    settled(Outcome::Applied, at_ms, rows)
}

fn settled(outcome: Outcome, at_ms: i64, rows: &[(u64, &str)]) -> Settlement {
    Settlement {
        route: "items".into(),
        stream: "s".into(),
        partition: Partition(0),
        batch: None,
        at_ms,
        attempts: 1,
        read_back: false,
        calls: 1,
        rows: vec![SettledRows {
            outcome,
            offsets: OffsetRange::pack(rows.iter().map(|(offset, _)| Offset(*offset))),
            target_ids: rows.iter().map(|(_, id)| (*id).to_owned()).collect(),
            by: None,
            code: None,
        }],
    }
}

fn whose(ledger: &WriteLedger, id: &str, committed_ms: i64, by_us: Option<bool>) -> Whose {
    ledger.whose((&"main".into(), &"item__C".into(), id), committed_ms, by_us)
}

fn written(offset: u64, at_ms: i64) -> Written {
    Written { position: Position { partition: Partition(0), offset: Offset(offset) }, at_ms }
}

#[test]
fn echo_of_a_write_is_ours_and_a_later_change_is_not() {
    let ledger = ledger(100, 86_400);
    ledger.note(&applied(100_000, &[(7, ID)]));
    // The long form of the id, and any case of the object.
    let long = format!("{ID}AAA");
    assert_eq!(whose(&ledger, &long, 99_000, None), Whose::Ours(written(7, 100_000)));
    assert_eq!(whose(&ledger, ID, 105_000, None), Whose::Ours(written(7, 100_000)));
    assert_eq!(whose(&ledger, ID, 105_001, None), Whose::Theirs);
    assert_eq!(whose(&ledger, "a00000000000002", 99_000, None), Whose::Theirs);
    let other = ledger.whose((&"second".into(), &"Item__c".into(), ID), 99_000, None);
    assert_eq!(other, Whose::Theirs);
}

#[test]
fn origin_of_the_change_decides_where_it_is_known() {
    let ledger = ledger(100, 86_400);
    ledger.note(&applied(100_000, &[(7, ID)]));
    assert_eq!(whose(&ledger, ID, 99_999, Some(false)), Whose::Theirs);
    assert_eq!(whose(&ledger, ID, 99_999, Some(true)), Whose::Ours(written(7, 100_000)));
    // Its echo was faster than its answer.
    assert_eq!(whose(&ledger, ID, 200_000, Some(true)), Whose::Unknown);
}

#[test]
fn only_applied_rows_count_and_the_newest_stays() {
    let ledger = ledger(100, 86_400);
    ledger.note(&settled(Outcome::DeadLettered, 1_000, &[(1, ID)]));
    ledger.note(&settled(Outcome::Filtered, 1_000, &[(2, ID)]));
    assert!(ledger.is_empty());
    ledger.note(&applied(2_000, &[(5, ID)]));
    ledger.note(&applied(1_000, &[(3, ID)]));
    assert_eq!(ledger.newest(&"main".into(), &"Item__c".into(), ID), Some(written(5, 2_000)));
    // A settlement without ids, and one of a route that is not there any more.
    ledger.note(&Settlement { route: "gone".into(), ..applied(9_000, &[(9, ID)]) });
    let mut nameless = applied(9_000, &[(9, ID)]);
    nameless.rows[0].target_ids.clear();
    ledger.note(&nameless);
    assert_eq!(ledger.newest(&"main".into(), &"Item__c".into(), ID), Some(written(5, 2_000)));
}

#[test]
fn what_is_forgotten_is_unknown_and_never_somebody_elses() {
    let ledger = ledger(2, 86_400);
    for (n, id) in ["a00000000000001", "a00000000000002", "a00000000000003"].iter().enumerate() {
        ledger.note(&applied(1_000 * (n as i64 + 1), &[(n as u64, id)]));
    }
    assert_eq!(ledger.len(), 2);
    assert_eq!(whose(&ledger, "a00000000000001", 1_000, None), Whose::Unknown);
    assert_eq!(whose(&ledger, "a00000000000009", 6_000, None), Whose::Unknown, "the org's clock may be ahead");
    assert_eq!(whose(&ledger, "a00000000000009", 6_001, None), Whose::Theirs);
    let ledger = self::ledger(100, 10);
    ledger.note(&applied(1_000, &[(1, ID)]));
    ledger.note(&applied(11_001, &[(2, "a00000000000002")]));
    assert_eq!((ledger.len(), whose(&ledger, ID, 900, None)), (1, Whose::Unknown));
}

proptest! {
    /// Against a map that forgets nothing, with settlements in any order (a rebuild brings old ones late): the newest records are
    /// remembered, as many as fit; an answer about another is right or `Unknown`; memory stays bounded.
    #[test]
    fn ledger_agrees_with_one_that_forgets_nothing(writes in prop::collection::vec((0..30_u8, 0..10_000_i64), 0..300), entries in 1..40_usize) {
        let ledger = ledger(entries, 86_400);
        let mut all: BTreeMap<u8, i64> = BTreeMap::new();
        for (offset, (id, at_ms)) in writes.iter().enumerate() {
            ledger.note(&applied(*at_ms, &[(offset as u64, &format!("a{id:014}"))]));
            let newest = all.entry(*id).or_insert(*at_ms);
            *newest = (*newest).max(*at_ms);
            let state = ledger.0.state.lock();
            prop_assert!(state.writes.len() <= entries && state.by_age.len() == state.writes.len());
        }
        let mut ages: Vec<i64> = all.values().copied().collect();
        ages.sort_unstable_by(|a, b| b.cmp(a));
        let surely_kept = ages.get(entries).copied().unwrap_or(i64::MIN);
        for (id, at_ms) in all {
            let asked = whose(&ledger, &format!("a{id:014}"), at_ms, None);
            let ours = matches!(asked, Whose::Ours(written) if written.at_ms == at_ms);
            prop_assert!(ours || asked == Whose::Unknown && at_ms <= surely_kept, "{asked:?}");
        }
    }
}
