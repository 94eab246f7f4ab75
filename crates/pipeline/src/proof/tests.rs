//! A run with planted faults: what is planted is found, and nothing else.

use super::*;
use crate::settle::{BATCHES, DEAD_LETTERS, SETTLEMENTS};
use contract::{Log, StreamSpec, SystemClock};
use log_store::{LogOptions, LogStore};
use model::{
    BatchId, BatchIntent, DeadLetter, ErrorClass, Offset, OffsetRange, Op, Outcome, Partition, Position,
    RecordBatchBuilder, RouteId, SettledRows, Settlement, StreamId, StreamPartition, header,
};
use proptest::prelude::*;
use std::sync::Arc;

struct Bench {
    log: LogStore,
    _folder: tempfile::TempDir,
    settlements: Vec<Settlement>,
    letters: Vec<DeadLetter>,
}

fn route(name: &str, table: &str, settled_to: u64) -> ProofRoute {
    ProofRoute {
        id: name.into(),
        stream: StreamPartition::first("shop".into()),
        table: table.into(),
        ordered: true,
        from: Offset(0),
        settled_to: Offset(settled_to),
    }
}

fn rows(outcome: Outcome, offsets: &[u64]) -> SettledRows {
    let mut offsets = offsets.to_vec();
    offsets.sort_unstable();
    SettledRows {
        outcome,
        offsets: OffsetRange::pack(offsets.iter().copied().map(Offset)),
        target_ids: vec![],
        by: None,
        code: None,
    }
}

impl Bench {
    /// A stream of `(table, key)`.
    async fn new(records: &[(&str, u64)]) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let options = LogOptions { segment_bytes: 1 << 16, ..LogOptions::default() };
        let log = LogStore::open(folder.path(), options, Arc::new(SystemClock::new())).expect("log");
        for stream in ["shop", SETTLEMENTS, BATCHES, DEAD_LETTERS] {
            log.create_stream(&StreamId::from(stream), StreamSpec::default()).await.expect("stream");
        }
        let mut batch = RecordBatchBuilder::default();
        for (at, (table, key)) in records.iter().enumerate() {
            let key = format!("{{\"id\":{key}}}");
            let value = format!("{{\"source\":{{\"lsn\":{},\"txId\":7}},\"op\":\"u\"}}", 1000 + at);
            let headers: [(&str, &[u8]); 2] = [(header::OP, b"u"), (header::TABLE, table.as_bytes())];
            batch.push(at as i64, Some(key.as_bytes()), Some(value.as_bytes()), &headers).expect("small");
        }
        let bench = Self { log, _folder: folder, settlements: Vec::new(), letters: Vec::new() };
        bench.append("shop", batch).await;
        bench
    }

    async fn append(&self, stream: &str, mut batch: RecordBatchBuilder) {
        let to = StreamPartition::first(stream.into());
        let appended = self.log.append(&to, batch.finish(), None).await.expect("append");
        self.log.until_durable(&to, appended.accepted()).await.expect("durable");
    }

    fn settle(&mut self, route: &str, outcome: Outcome, offsets: &[u64]) -> &mut Settlement {
        let batch = BatchId(self.settlements.len() as u64);
        self.settlements.push(Settlement {
            route: route.into(),
            stream: "shop".into(),
            partition: Partition(0),
            batch: Some(batch),
            at_ms: 5,
            attempts: 1,
            read_back: false,
            calls: 1,
            rows: vec![rows(outcome, offsets)],
        });
        self.settlements.last_mut().expect("pushed")
    }

    fn letter(&mut self, route: &str, offset: u64) {
        self.letters.push(DeadLetter {
            route: route.into(),
            stream: "shop".into(),
            position: Position { partition: Partition(0), offset: Offset(offset) },
            class: ErrorClass::Permanent,
            code: "STRING_TOO_LONG".into(),
            message: "too long".into(),
            fields: vec![],
            attempts: 1,
            at_ms: 6,
        });
    }

    async fn write(&self) {
        let mut batch = RecordBatchBuilder::default();
        for settlement in &self.settlements {
            let json = serde_json::to_vec(settlement).expect("json");
            batch.push(settlement.at_ms, None, Some(&json), &[]).expect("small");
        }
        self.append(SETTLEMENTS, batch).await;
        let mut batch = RecordBatchBuilder::default();
        for letter in &self.letters {
            let json = serde_json::to_vec(letter).expect("json");
            batch.push(6, None, None, &[(DeadLetter::HEADER, &json)]).expect("small");
        }
        self.append(DEAD_LETTERS, batch).await;
    }

    async fn prove(&self, routes: &[ProofRoute]) -> ProofReport {
        self.write().await;
        prove(&self.log, routes, 1 << 30).await.expect("readable")
    }
}

const TABLES: [(&str, u64); 8] = [
    ("s.orders", 1),
    ("s.customers", 1),
    ("s.orders", 2),
    ("s.orders", 1),
    ("s.customers", 2),
    ("s.orders", 2),
    ("s.orders", 3),
    ("s.orders", 1),
];

fn faults(report: &ProofReport) -> Vec<(FaultKind, u64)> {
    report.faults.iter().map(|fault| (fault.kind, fault.position.offset.0)).collect()
}

#[tokio::test]
async fn a_run_that_kept_its_promises_is_proved() {
    let mut bench = Bench::new(&TABLES).await;
    bench.settle("orders", Outcome::Applied, &[0, 2]);
    bench.settle("customers", Outcome::Applied, &[4]);
    bench.settle("orders", Outcome::Filtered, &[3]);
    bench.settle("orders", Outcome::Applied, &[5]);
    bench.settle("customers", Outcome::DeadLettered, &[1]);
    bench.letter("customers", 1);
    let report = bench.prove(&[route("orders", "s.orders", 6), route("customers", "s.customers", 8)]).await;
    assert!(report.holds(), "{report:?}");
    assert_eq!(report.faults, vec![]);
    let orders = &report.routes[0];
    assert_eq!((orders.records, orders.applied, orders.filtered, orders.pending), (6, 3, 1, 2));
    assert_eq!((report.routes[1].applied, report.routes[1].dead_lettered), (1, 1));
    assert_eq!(report.settlements, 5);
}

#[tokio::test]
async fn a_lost_record_is_found() {
    let mut bench = Bench::new(&TABLES).await;
    bench.settle("orders", Outcome::Applied, &[0, 2, 5]);
    bench.settle("orders", Outcome::Applied, &[6, 7]);
    let report = bench.prove(&[route("orders", "s.orders", 8)]).await;
    assert_eq!(faults(&report), vec![(FaultKind::Lost, 3)]);
    assert_eq!(report.routes[0].lost, 1);
    assert_eq!(report.faults[0].key.as_deref(), Some("{\"id\":1}"));
    assert!(!report.holds());
}

#[tokio::test]
async fn two_swapped_settlements_of_one_key_are_found() {
    let mut bench = Bench::new(&TABLES).await;
    bench.settle("orders", Outcome::Applied, &[0, 2]);
    bench.settle("orders", Outcome::Applied, &[7]);
    bench.settle("orders", Outcome::Applied, &[3, 5, 6]);
    let report = bench.prove(&[route("orders", "s.orders", 8)]).await;
    assert_eq!(faults(&report), vec![(FaultKind::OutOfOrder, 7)]);
    assert_eq!((report.routes[0].out_of_order, report.faults[0].settlement), (1, Some(Offset(1))));
    let unordered = ProofRoute { ordered: false, ..route("orders", "s.orders", 8) };
    let report = prove(&bench.log, &[unordered], 1 << 30).await.expect("readable");
    assert!(report.holds(), "a route with `ordering: none` promises no order");
}

#[tokio::test]
async fn a_repeated_settlement_is_found_and_an_echo_is_told_apart() {
    let mut bench = Bench::new(&TABLES).await;
    bench.settle("orders", Outcome::Applied, &[0, 2, 6]);
    let echo = bench.settlements[0].clone();
    bench.settlements.push(echo);
    bench.settle("orders", Outcome::Applied, &[3, 5]);
    bench.settle("orders", Outcome::Applied, &[2, 7]);
    bench.settle("orders", Outcome::Applied, &[5]).read_back = true;
    let report = bench.prove(&[route("orders", "s.orders", 8)]).await;
    assert_eq!(report.routes[0].repeated, 1);
    assert!(faults(&report).contains(&(FaultKind::Repeated, 2)), "{report:?}");
    assert_eq!((report.echoes, report.routes[0].confirmed), (1, 1));
    // Sent again after 5 of the same key was applied: an older value over a newer one.
    assert!(faults(&report).contains(&(FaultKind::OutOfOrder, 5)));
}

#[tokio::test]
async fn an_applied_row_that_is_dead_lettered_later_is_repeated() {
    let mut bench = Bench::new(&TABLES).await;
    bench.settle("orders", Outcome::Applied, &[0]);
    bench.settle("orders", Outcome::DeadLettered, &[0]);
    let report = bench.prove(&[route("orders", "s.orders", 1)]).await;
    assert_eq!(faults(&report), vec![(FaultKind::Repeated, 0), (FaultKind::DeadLetterMissing, 0)]);
}

#[tokio::test]
async fn a_dead_letter_without_its_record_is_found_and_a_redrive_is_not_a_fault() {
    let mut bench = Bench::new(&TABLES).await;
    bench.settle("orders", Outcome::DeadLettered, &[0, 2]);
    bench.letter("orders", 2);
    bench.settle("orders", Outcome::Applied, &[5]);
    bench.settle("orders", Outcome::Superseded, &[2]);
    let report = bench.prove(&[route("orders", "s.orders", 3)]).await;
    assert_eq!(faults(&report), vec![(FaultKind::DeadLetterMissing, 0)]);
    assert_eq!((report.routes[0].redriven, report.routes[0].superseded), (1, 1));
}

#[tokio::test]
async fn a_redrive_that_overwrites_a_newer_value_is_out_of_order() {
    let mut bench = Bench::new(&TABLES).await;
    bench.settle("orders", Outcome::DeadLettered, &[2]);
    bench.letter("orders", 2);
    bench.settle("orders", Outcome::Applied, &[5]);
    bench.settle("orders", Outcome::Applied, &[2]);
    let report = bench.prove(&[route("orders", "s.orders", 0)]).await;
    assert_eq!(faults(&report), vec![(FaultKind::OutOfOrder, 5)]);
}

#[tokio::test]
async fn a_settlement_of_another_tables_record_is_stray() {
    let mut bench = Bench::new(&TABLES).await;
    bench.settle("orders", Outcome::Applied, &[0, 1, 99]);
    let report = bench.prove(&[route("orders", "s.orders", 1)]).await;
    assert_eq!(faults(&report), vec![(FaultKind::Stray, 1)]);
}

#[tokio::test]
async fn an_empty_log_without_internal_streams_is_proved() {
    let folder = tempfile::tempdir().expect("folder");
    let log = LogStore::open(folder.path(), LogOptions::default(), Arc::new(SystemClock::new())).expect("log");
    let report = prove(&log, &[route("orders", "s.orders", 0)], 0).await.expect("readable");
    assert!(report.holds() && report.routes[0].records == 0);
    assert_eq!(trace(&log, &[], &KeyQuery::parse("7").expect("key"), 10).await.expect("readable"), Trace::default());
}

#[tokio::test]
async fn a_broken_settlement_is_counted_and_does_not_stop_the_proof() {
    let mut bench = Bench::new(&TABLES).await;
    let mut batch = RecordBatchBuilder::default();
    batch.push(0, None, Some(b"{\"route\":"), &[]).expect("small");
    bench.append(SETTLEMENTS, batch).await;
    bench.settle("orders", Outcome::Applied, &[0]);
    let report = bench.prove(&[route("orders", "s.orders", 1)]).await;
    assert_eq!((report.malformed_settlements, report.routes[0].applied), (1, 1));
    assert!(!report.holds());
}

#[tokio::test]
async fn trace_tells_each_record_of_a_key_with_batches_and_outcomes() {
    let mut bench = Bench::new(&TABLES).await;
    let intent = BatchIntent {
        batch: BatchId(0),
        route: "orders".into(),
        stream: "shop".into(),
        partition: Partition(0),
        object: "Order__c".into(),
        api: "collections".into(),
        offsets: rows(Outcome::Applied, &[0, 2]).offsets,
        attempt: 1,
        at_ms: 4,
        job: None,
        reason: None,
    };
    let mut batch = RecordBatchBuilder::default();
    // A job's batch is written again with the job's name.
    let noted = BatchIntent { job: Some("750A".into()), reason: Some("cheap".into()), ..intent.clone() };
    for intent in [&BatchIntent { reason: noted.reason.clone(), ..intent.clone() }, &noted] {
        batch.push(4, None, Some(&serde_json::to_vec(intent).expect("json")), &[]).expect("small");
    }
    bench.append(BATCHES, batch).await;
    bench.settle("orders", Outcome::Applied, &[0, 2]).rows[0].target_ids = vec!["a01".into(), "a02".into()];
    bench.settle("orders", Outcome::DeadLettered, &[5]);
    bench.letter("orders", 5);
    bench.write().await;
    let routes = [route("orders", "s.orders", 8), route("customers", "s.customers", 8)];
    let query = KeyQuery::parse("id=2").expect("key");
    let trace_of = |max| trace(&bench.log, &routes, &query, max);
    let found = trace_of(10).await.expect("readable");
    let at: Vec<u64> = found.records.iter().map(|record| record.position.offset.0).collect();
    assert_eq!(at, [2, 4, 5]);
    let first = &found.records[0];
    assert_eq!((first.op, first.lsn, first.tx_id), (Some(Op::Update), Some(1002), Some(7)));
    assert_eq!(first.routes[0].intents[0].batch, BatchId(0));
    let sent = &first.routes[0].intents[0];
    assert_eq!((sent.records, sent.job.as_deref(), sent.reason.as_deref()), (2, Some("750A"), Some("cheap")));
    assert_eq!(first.routes[0].intents.len(), 1, "one batch, though it is written twice");
    assert_eq!(first.routes[0].settlements[0].target_id.as_deref(), Some("a02"));
    assert_eq!(found.records[1].routes[0].route, RouteId::from("customers"));
    assert!(found.records[1].routes[0].settlements.is_empty(), "it waits");
    assert_eq!(found.records[2].routes[0].dead_letters[0].code, "STRING_TOO_LONG");
    let newest = trace_of(1).await.expect("readable");
    assert_eq!((newest.records.len(), newest.left_out, newest.records[0].position.offset), (1, 2, Offset(5)));
}

/// What the proof should find, told from the definition: quadratic, over all pairs.
fn expected(records: &[(&str, u64)], settled: &[(u64, Outcome)], settled_to: u64) -> (u64, u64, u64) {
    let of = |offset: u64| settled.iter().position(|(at, _)| *at == offset).map(|at| (at, settled[at].1));
    let own: Vec<u64> = (0..records.len() as u64).filter(|at| records[*at as usize].0 == "s.orders").collect();
    let lost = own.iter().filter(|at| **at < settled_to && of(**at).is_none()).count();
    let pending = own.iter().filter(|at| **at >= settled_to && of(**at).is_none()).count();
    let out_of_order = own.iter().filter(|later| {
        let Some((place, Outcome::Applied)) = of(**later) else { return false };
        own.iter().any(|earlier| {
            earlier < later
                && records[*earlier as usize].1 == records[**later as usize].1
                && of(*earlier).is_some_and(|(before, outcome)| {
                    before > place && matches!(outcome, Outcome::Applied | Outcome::DeadLettered)
                })
        })
    });
    (lost as u64, pending as u64, out_of_order.count() as u64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn the_proof_finds_what_the_definition_says_in_any_number_of_passes(
        records in prop::collection::vec((prop::sample::select(vec!["s.orders", "s.customers"]), 0u64..4), 1..40),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0usize..4), 0..40),
        settled_to in 0u64..41,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let (expected, reports) = runtime.block_on(async {
            let mut bench = Bench::new(&records).await;
            let mut settled: Vec<(u64, Outcome)> = Vec::new();
            let outcomes = [Outcome::Applied, Outcome::Superseded, Outcome::Filtered, Outcome::DeadLettered];
            for (pick, outcome) in &picks {
                let offset = pick.index(records.len()) as u64;
                if records[offset as usize].0 == "s.orders" && settled.iter().all(|(at, _)| *at != offset) {
                    settled.push((offset, outcomes[*outcome]));
                    bench.settle("orders", outcomes[*outcome], &[offset]);
                    bench.letter("orders", offset);
                }
            }
            bench.write().await;
            let routes = [route("orders", "s.orders", settled_to)];
            let one = prove(&bench.log, &routes, 1 << 30).await.expect("readable");
            let many = prove(&bench.log, &routes, 64).await.expect("readable");
            (expected(&records, &settled, settled_to), [one, many])
        });
        for report in &reports {
            let found = &report.routes[0];
            prop_assert_eq!((found.lost, found.pending, found.out_of_order), expected);
        }
        prop_assert_eq!(&reports[0].routes, &reports[1].routes);
        prop_assert!(reports[1].passes >= reports[0].passes);
    }
}
