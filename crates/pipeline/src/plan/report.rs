//! A plan as data: what `--json` prints, what a run stores, what `--actual` compares with.

use super::facts::{AllocationKind, Counted};
use contract::Spend;
use model::{Api, Lane, ObjectName, OrgId, RouteId};
use serde::{Deserialize, Serialize};

/// A plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// In configuration order.
    pub routes: Vec<RoutePlan>,
    pub orgs: Vec<OrgPlan>,
    pub burst: Option<BurstPlan>,
    /// What cannot be; empty: every goal can be kept.
    pub problems: Vec<Problem>,
    pub window_bytes_max: u64,
}

impl Plan {
    /// True when every goal can be kept.
    pub fn is_possible(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Records and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    pub records: f64,
    /// Calls of Collections and the like, or jobs of Bulk.
    pub batches: f64,
    pub calls: f64,
    pub bulk_batches: f64,
    pub events: f64,
}

impl Work {
    /// So many batches, each of which costs `spend`.
    pub fn of(records: f64, batches: f64, spend: Spend) -> Self {
        Self {
            records,
            batches,
            calls: batches * f64::from(spend.calls),
            bulk_batches: batches * f64::from(spend.bulk_batches),
            events: batches * f64::from(spend.events),
        }
    }

    /// So many times as much.
    pub fn times(self, factor: f64) -> Self {
        Self {
            records: self.records * factor,
            batches: self.batches * factor,
            calls: self.calls * factor,
            bulk_batches: self.bulk_batches * factor,
            events: self.events * factor,
        }
    }

    /// What it takes of an allocation; deliveries are counted by subscribers, elsewhere.
    pub fn spends(&self, kind: AllocationKind) -> f64 {
        match kind {
            AllocationKind::ApiRequests => self.calls,
            AllocationKind::BulkBatches => self.bulk_batches,
            AllocationKind::EventsPublished => self.events,
            AllocationKind::EventsDelivered => 0.0,
        }
    }
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.batches += other.batches;
        self.calls += other.calls;
        self.bulk_batches += other.bulk_batches;
        self.events += other.events;
    }
}

impl std::iter::Sum for Work {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |mut sum, work| {
            sum += work;
            sum
        })
    }
}

/// One route.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoutePlan {
    pub id: RouteId,
    pub org: OrgId,
    pub table: String,
    pub object: ObjectName,
    pub deadline_ms: u64,
    pub copy: CopyPlan,
    /// None: nobody said how often the table changes.
    pub live: Option<LivePlan>,
}

/// What goes by one API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiWork {
    pub api: Api,
    pub lane: Lane,
    pub work: Work,
    /// Why this way, in the router's words.
    pub reason: String,
}

/// The first copy of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyPlan {
    /// How the rows were counted; none: they were not, and nothing is planned for them.
    pub counted: Option<Counted>,
    pub by: Vec<ApiWork>,
    pub total: Work,
    /// How long the org takes for it.
    pub seconds: f64,
}

/// Live changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LivePlan {
    pub counted: Counted,
    /// By lane; lanes without traffic are left out.
    pub lanes: Vec<LaneLive>,
    /// Per day: the least with which the deadlines hold, what is expected, and what it would be with no quota to spare.
    pub least: Work,
    pub expected: Work,
    pub freely: Work,
    /// The most records per second that the route can send.
    pub capacity: f64,
    pub rate: f64,
}

/// Live changes of one lane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaneLive {
    pub lane: Lane,
    pub api: Api,
    pub rate: f64,
    /// Per day.
    pub least: Work,
    pub expected: Work,
    pub freely: Work,
    /// From commit to applied, when it is sent at once.
    pub soonest_ms: u64,
    pub reason: String,
}

/// One org.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrgPlan {
    pub id: OrgId,
    /// False: the figures are assumed.
    pub is_told: bool,
    pub allocations: Vec<AllocationPlan>,
    /// Calls that each start costs beside the rows.
    pub start_calls: u64,
    pub fan_out: Option<FanOut>,
}

/// One allocation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AllocationPlan {
    pub kind: AllocationKind,
    pub span_s: u64,
    pub max: u64,
    pub used: u64,
    pub share: f64,
    pub budget: u64,
    /// Left for this pipeline now.
    pub room: u64,
    /// The first copy.
    pub copy: f64,
    /// Spans until the first copy has got what it needs; 1: it fits.
    pub copy_spans: f64,
    /// Live changes, per span.
    pub least: f64,
    pub expected: f64,
    pub freely: f64,
    /// When it would run out if nothing were paced, from now; none: it does not.
    pub runs_out_s: Option<f64>,
    /// The route that spends most of it, and its part.
    pub most: Option<(RouteId, f64)>,
}

/// Events and those who read them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FanOut {
    pub events_per_day: f64,
    pub subscribers: u64,
    pub delivered_per_day: f64,
    /// What the org delivers to all clients in 24 hours; none: not known.
    pub max: Option<u64>,
}

/// A burst.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BurstPlan {
    pub rate: f64,
    pub seconds: f64,
    pub records: f64,
    /// Records that wait at the worst moment, and their bytes in the log, before compression.
    pub waiting: f64,
    pub bytes: f64,
    /// Memory of the windows for them.
    pub window_bytes: f64,
    /// From the burst's end until nothing waits; none: never at this rate.
    pub drain_s: Option<f64>,
    /// What may be sent per second, by speed and by quota.
    pub capacity: f64,
    pub calls: f64,
    pub bulk_batches: f64,
    /// The log's limit, when it is smaller than `bytes`.
    pub overflows: Option<u64>,
    /// What bounds the drain.
    pub bound: String,
}

/// What cannot be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    pub kind: ProblemKind,
    /// The route or `org/allocation`.
    pub subject: String,
    pub what: String,
    pub why: String,
    /// Changes of which each by itself would make it possible; worked out, not guessed.
    pub remedies: Vec<String>,
}

/// Kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// Even a record that is sent at once comes too late.
    DeadlineTooShort,
    /// More changes than the route can send.
    TooFast,
    /// The share of an allocation is smaller than the least that the deadlines need.
    QuotaTooSmall,
    /// More deliveries of events than the org makes.
    DeliveryTooSmall,
    /// The burst does not fit into the log.
    BufferTooSmall,
    /// No way takes the rows.
    NoWay,
}
