use super::*;
use crate::router::{ApiSetting, RouterSpec};
use crate::spec::{BatchSpec, Coalesce, Ordering};
use async_trait::async_trait;
use contract::{
    AllocationReading, AppliedBatch, ObjectSchema, OutBatch, OutOp, ReadBack, SinkError, SinkLimits, Spend,
};
use model::{Api, Finding, Lane, ObjectName, TableName};
use proptest::prelude::*;
use std::time::Duration;

/// Limits and costs as the manuals give them.
struct Manual;

#[async_trait]
impl Sink for Manual {
    async fn check(&self) -> Vec<Finding> {
        unreachable!("a plan asks nobody")
    }
    async fn describe(&self, _: &ObjectName) -> Result<Arc<ObjectSchema>, SinkError> {
        unreachable!("a plan asks nobody")
    }
    fn forget(&self, _: &ObjectName) {}
    fn limits(&self, api: Api) -> Option<SinkLimits> {
        let limits = |rows_max| SinkLimits { rows_max, bytes_max: 6 << 20, in_flight_max: 8 };
        match api {
            Api::Collections | Api::Event => Some(limits(200)),
            Api::Bulk => Some(SinkLimits { bytes_max: 100 << 20, ..limits(10_000) }),
            _ => None,
        }
    }
    fn cost(&self, api: Api, op: OutOp, rows: usize) -> Spend {
        match (api, op) {
            (Api::Bulk, _) => Spend { calls: 8, bulk_batches: rows.div_ceil(10_000) as u32, events: 0 },
            (Api::Event, _) => Spend { calls: 1, bulk_batches: 0, events: rows as u32 },
            (_, OutOp::Update | OutOp::Delete) => Spend::calls(2),
            _ => Spend::calls(1),
        }
    }
    async fn apply(&self, _: &OutBatch) -> Result<AppliedBatch, SinkError> {
        unreachable!("a plan sends nothing")
    }
    async fn read_back(&self, _: &OutBatch) -> Result<(Vec<ReadBack>, u32), SinkError> {
        unreachable!("a plan sends nothing")
    }
    async fn allocations(&self) -> Result<Vec<AllocationReading>, SinkError> {
        unreachable!("a plan asks nobody")
    }
    fn take_readings(&self) -> Vec<AllocationReading> {
        Vec::new()
    }
}

fn sinks() -> Sinks {
    let sink: Arc<dyn Sink> = Arc::new(Manual);
    HashMap::from([(OrgId::new("main"), sink)])
}

fn org() -> OrgFacts {
    let entitlement = Entitlement { edition: Edition::Enterprise, licences: 0, ..Entitlement::default() };
    let allocation = |kind: AllocationKind| AllocationFacts { kind, max: kind.max(&entitlement), used: 0, share: 0.5 };
    OrgFacts {
        id: "main".into(),
        allocations: AllocationKind::ALL.map(allocation).to_vec(),
        entitlement,
        reserved: [0.2, 0.5, 0.3],
        in_flight_max: 8,
        start_calls: 3,
        subscribers: 1,
        is_told: false,
    }
}

fn route(rows: u64, rate: f64, deadline: Duration) -> RouteFacts {
    RouteFacts {
        id: "requests".into(),
        org: "main".into(),
        object: "Case".into(),
        table: TableName { schema: "city".into(), name: "request".into() },
        op: OutOp::Upsert,
        delete: Some(OutOp::Delete),
        copy_lanes: LaneParts::all(Lane::Bulk),
        live_lanes: LaneParts::all(Lane::Standard),
        passes: 1.0,
        deadline,
        ordering: Ordering::Key,
        coalesce: Coalesce::Never,
        batch: BatchSpec::default(),
        parallel: 4,
        setting: ApiSetting::Auto,
        rows: Some(RowCount { rows, counted: Counted::Exactly }),
        rate: Some(ChangeRate { inserts: rate / 2.0, updates: rate / 2.0, deletes: 0.0, counted: Counted::Given }),
        record_bytes: 1_000,
        row_bytes: 500,
    }
}

fn inputs(route: RouteFacts) -> PlanInputs {
    PlanInputs {
        routes: vec![route],
        orgs: vec![org()],
        burst: None,
        buffer: Buffer { log_bytes_max: None, window_bytes_max: 64 << 20 },
        router: RouterSpec::default(),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_small_copy_goes_by_collections_two_hundred_rows_a_call() {
    let plan = plan(&inputs(RouteFacts { rate: None, ..route(1_001, 0.0, MINUTE) }), &sinks());
    let copy = &plan.routes[0].copy;
    assert_eq!((copy.total.records, copy.total.batches, copy.total.calls), (1_001.0, 6.0, 6.0));
    assert!(plan.routes[0].live.is_none());
    assert!(plan.is_possible(), "{:?}", plan.problems);
}

#[test]
fn a_large_copy_goes_by_bulk_and_its_rest_by_collections() {
    let plan = plan(&inputs(RouteFacts { rate: None, ..route(20_400, 0.0, MINUTE) }), &sinks());
    let by: Vec<_> =
        plan.routes[0].copy.by.iter().map(|part| (part.api, part.work.calls, part.work.bulk_batches)).collect();
    assert_eq!(by, [(Api::Bulk, 16.0, 2.0), (Api::Collections, 2.0, 0.0)]);
}

#[test]
fn rows_of_several_lanes_never_share_a_batch() {
    let lanes = LaneParts::of_counts([100, 900, 0]);
    let plan = plan(&inputs(RouteFacts { copy_lanes: lanes, rate: None, ..route(1_000, 0.0, MINUTE) }), &sinks());
    assert_eq!(plan.routes[0].copy.total.calls, 1.0 + 5.0);
}

#[test]
fn a_lone_record_goes_at_once_and_a_patient_one_waits_for_company() {
    // One change in ten seconds: freely each has a call of its own; with a minute's patience four or five share one.
    let plan = plan(&inputs(route(0, 0.1, MINUTE)), &sinks());
    let live = plan.routes[0].live.as_ref().unwrap();
    assert!((live.freely.calls - 8_640.0).abs() < 100.0, "{live:?}");
    assert!(live.least.calls < 8_640.0 / 4.0, "{live:?}");
    assert_eq!(live.expected.calls, live.freely.calls, "the share suffices");
}

#[test]
fn what_the_share_does_not_permit_is_gathered_into_larger_batches() {
    let plan = plan(&inputs(route(0, 5.0, MINUTE)), &sinks());
    let row = &plan.orgs[0].allocations[0];
    assert!(row.freely > row.budget as f64, "{row:?}");
    assert!((row.expected - row.budget as f64).abs() < 1.0, "{row:?}");
    assert!(row.runs_out_s.is_some_and(|seconds| seconds < 86_400.0));
    assert!(plan.is_possible(), "{:?}", plan.problems);
}

#[test]
fn an_impossible_quota_names_changes_that_were_tried() {
    // 40 changes a second with a deadline of two seconds: some 490,000 calls a day are needed, 300,000 are the share.
    let mut inputs = inputs(route(100, 40.0, Duration::from_secs(2)));
    inputs.routes[0].parallel = 8;
    inputs.orgs[0].in_flight_max = 8;
    inputs.orgs[0].allocations[0].max = 600_000;
    let plan = plan(&inputs, &sinks());
    let problem = plan.problems.iter().find(|problem| problem.kind == ProblemKind::QuotaTooSmall);
    let problem = problem.unwrap_or_else(|| panic!("{:?} {:?}", plan.problems, plan.routes[0].live));
    assert!(problem.remedies.iter().any(|remedy| remedy.contains("share")), "{problem:?}");
    assert!(problem.remedies.iter().any(|remedy| remedy.contains("deadline")), "{problem:?}");
    for remedy in ["share", "deadline"] {
        let told = problem.remedies.iter().find(|told| told.contains(remedy)).unwrap();
        assert!(told.contains("main") || told.contains("requests"), "{told}");
    }
}

#[test]
fn a_deadline_below_one_call_is_impossible_and_a_longer_one_remedies_it() {
    let plan = plan(&inputs(route(0, 1.0, Duration::from_millis(50))), &sinks());
    let problem = &plan.problems[0];
    assert_eq!(problem.kind, ProblemKind::DeadlineTooShort);
    assert!(problem.remedies.iter().any(|remedy| remedy == "routes.requests.deadline: 5s"), "{problem:?}");
}

#[test]
fn more_changes_than_the_route_can_send_are_impossible() {
    let plan = plan(&inputs(RouteFacts { ordering: Ordering::Fifo, parallel: 1, ..route(0, 50.0, MINUTE) }), &sinks());
    assert!(plan.problems.iter().any(|problem| problem.kind == ProblemKind::TooFast), "{:?}", plan.problems);
}

#[test]
fn events_fan_out_to_every_subscriber() {
    let mut inputs =
        inputs(RouteFacts { object: "City__e".into(), op: OutOp::Create, delete: None, ..route(0, 0.2, MINUTE) });
    inputs.orgs[0].subscribers = 3;
    let plan = plan(&inputs, &sinks());
    let fan_out = plan.orgs[0].fan_out.unwrap();
    assert!((fan_out.events_per_day - 17_280.0).abs() < 1.0);
    assert!((fan_out.delivered_per_day - 51_840.0).abs() < 3.0);
    let problem = &plan.problems[0];
    assert_eq!(problem.kind, ProblemKind::DeliveryTooSmall);
    assert!(problem.remedies.iter().any(|remedy| remedy.contains("add-on")), "{problem:?}");
    assert!(problem.remedies.iter().any(|remedy| remedy.contains("1 subscriber")), "{problem:?}");
}

#[test]
fn a_burst_leaves_what_cannot_be_sent_and_drains_with_the_rest_of_the_speed() {
    let mut inputs = inputs(route(0, 10.0, Duration::from_secs(3600)));
    inputs.burst = Some(Burst { rate: 5_000.0, length: Duration::from_secs(600), table: None });
    let plan = plan(&inputs, &sinks());
    let burst = plan.burst.unwrap();
    assert_eq!(burst.records, 3_000_000.0);
    assert!((burst.waiting - (5_010.0 - burst.capacity) * 600.0).abs() < 1.0, "{burst:?}");
    assert!((burst.bytes - burst.waiting * 1_000.0).abs() < 1.0);
    assert!(burst.drain_s.is_some_and(|seconds| seconds >= burst.waiting / burst.capacity), "{burst:?}");
    inputs.buffer.log_bytes_max = Some(1 << 20);
    let plan = super::plan(&inputs, &sinks());
    assert!(plan.problems.iter().any(|problem| problem.kind == ProblemKind::BufferTooSmall));
}

#[test]
fn coalescing_bounds_a_hot_table_by_its_rows() {
    let hot = |coalesce| RouteFacts { coalesce, ..route(10, 100.0, Duration::from_secs(60)) };
    let calls = |coalesce| plan(&inputs(hot(coalesce)), &sinks()).routes[0].live.as_ref().unwrap().least.records;
    // Half of the changes are inserts: they never merge.
    assert!(calls(Coalesce::Never) > 8_000_000.0);
    assert!(calls(Coalesce::Latest) < 4_400_000.0);
}

#[test]
fn an_edition_changes_what_is_permitted_and_not_what_is_used() {
    let mut inputs = inputs(route(0, 1.0, MINUTE));
    inputs.orgs[0].allocations[0].used = 77;
    Change::parse("edition=unlimited").unwrap().apply(&mut inputs).unwrap();
    Change::parse("licences=500").unwrap().apply(&mut inputs).unwrap();
    let api = inputs.orgs[0].allocation(AllocationKind::ApiRequests).unwrap();
    assert_eq!((api.max, api.used), (2_600_000, 77));
    assert!(Change::parse("deadline=nowhere:5s").unwrap().apply(&mut inputs).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn least_is_below_expected_is_below_freely(
        rows in 0u64..3_000_000, rate in 0.001f64..5_000.0, deadline_ms in 100u64..90_000_000, deletes in 0.0f64..1.0,
        parallel in 1usize..20, max in 0u64..10_000_000, used in 0u64..100_000, coalesce: bool, fifo: bool,
    ) {
        let mut route = route(rows, rate, Duration::from_millis(deadline_ms));
        route.rate = route.rate.map(|known| ChangeRate { deletes: deletes * rate, ..known });
        (route.parallel, route.coalesce) = (parallel, if coalesce { Coalesce::Latest } else { Coalesce::Never });
        route.ordering = if fifo { Ordering::Fifo } else { Ordering::Key };
        let mut inputs = inputs(route);
        inputs.orgs[0].allocations[0].max = max;
        inputs.orgs[0].allocations[0].used = used;
        inputs.burst = Some(Burst { rate: rate * 10.0, length: MINUTE, table: None });
        let plan = plan_without_remedies(&inputs, &sinks());
        let copied: f64 = plan.routes[0].copy.by.iter().map(|part| part.work.records).sum();
        prop_assert_eq!(copied, rows as f64);
        let live = plan.routes[0].live.as_ref().unwrap();
        for lane in &live.lanes {
            prop_assert!(lane.least.calls <= lane.expected.calls + 1e-6 && lane.expected.calls <= lane.freely.calls + 1e-6, "{:?}", lane);
            prop_assert!(lane.least.records <= lane.freely.records * (1.0 + 1e-9));
        }
        for row in &plan.orgs[0].allocations {
            prop_assert!(row.least <= row.expected + 1e-6 && row.expected <= row.freely + 1e-6, "{:?}", row);
            prop_assert!(row.runs_out_s.is_none_or(|seconds| seconds >= 0.0 && seconds.is_finite()));
        }
        let text = serde_json::to_string(&plan).unwrap();
        prop_assert!(serde_json::from_str::<Plan>(&text).is_ok(), "{}", text);
    }
}
