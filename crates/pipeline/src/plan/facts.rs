//! What a plan is made from.

use crate::router::{ApiSetting, RouterSpec};
use crate::spec::{BatchSpec, Coalesce, Ordering};
use contract::OutOp;
use governor::Entitlement;
use model::{Lane, ObjectName, OrgId, RouteId, TableName};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Everything that a plan depends on.
#[derive(Clone, Debug)]
pub struct PlanInputs {
    /// In configuration order.
    pub routes: Vec<RouteFacts>,
    pub orgs: Vec<OrgFacts>,
    pub burst: Option<Burst>,
    pub buffer: Buffer,
    pub router: RouterSpec,
}

impl PlanInputs {
    /// Finds an org; none when no facts of it are known.
    pub fn org(&self, id: &OrgId) -> Option<&OrgFacts> {
        self.orgs.iter().find(|org| org.id == *id)
    }
}

/// What is known of a route.
#[derive(Clone, Debug)]
pub struct RouteFacts {
    pub id: RouteId,
    pub org: OrgId,
    pub object: ObjectName,
    pub table: TableName,
    /// What a created, updated or copied row becomes.
    pub op: OutOp,
    /// What a delete becomes; none: it is filtered.
    pub delete: Option<OutOp>,
    /// How rows of the first copy share out among the lanes.
    pub copy_lanes: LaneParts,
    /// How live changes do.
    pub live_lanes: LaneParts,
    /// The part of the rows that pass the filter, 0 to 1.
    pub passes: f64,
    /// From commit to applied.
    pub deadline: Duration,
    pub ordering: Ordering,
    pub coalesce: Coalesce,
    pub batch: BatchSpec,
    pub parallel: usize,
    /// The way that the configuration names, or that the router chooses.
    pub setting: ApiSetting,
    /// Rows that the first copy still has to bring; none: not known.
    pub rows: Option<RowCount>,
    /// Changes of the table; none: not known.
    pub rate: Option<ChangeRate>,
    /// Bytes of a record in the log.
    pub record_bytes: u64,
    /// Bytes of a row as it is sent.
    pub row_bytes: u64,
}

/// Parts of a whole by lane (critical, standard, bulk); they add up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaneParts(pub [f64; 3]);

impl LaneParts {
    /// Everything in one lane.
    pub fn all(lane: Lane) -> Self {
        let mut parts = [0.0; 3];
        parts[lane as usize] = 1.0;
        Self(parts)
    }

    /// Shares out by counts; with no count at all, everything is `standard`.
    pub fn of_counts(counts: [u64; 3]) -> Self {
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return Self::all(Lane::Standard);
        }
        Self(counts.map(|count| count as f64 / total as f64))
    }

    /// One lane's part.
    pub fn of(&self, lane: Lane) -> f64 {
        self.0[lane as usize]
    }
}

/// How a number was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    Exactly,
    /// By the catalogue's statistics.
    Estimated,
    /// Measured over a short interval.
    Measured,
    /// By the command line or the configuration.
    Given,
}

/// Rows of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowCount {
    pub rows: u64,
    pub counted: Counted,
}

/// Changes per second of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangeRate {
    pub inserts: f64,
    pub updates: f64,
    pub deletes: f64,
    pub counted: Counted,
}

impl ChangeRate {
    /// All changes per second.
    pub fn total(&self) -> f64 {
        self.inserts + self.updates + self.deletes
    }

    /// So many times as many.
    pub fn times(self, factor: f64) -> Self {
        Self {
            inserts: self.inserts * factor,
            updates: self.updates * factor,
            deletes: self.deletes * factor,
            counted: self.counted,
        }
    }
}

/// What is known of an org.
#[derive(Clone, Debug)]
pub struct OrgFacts {
    pub id: OrgId,
    pub allocations: Vec<AllocationFacts>,
    /// What edition and add-ons give; `what_if` changes it, `allocations` hold what the org told.
    pub entitlement: Entitlement,
    /// The lanes' reserved parts of the share, 0 to 1.
    pub reserved: [f64; 3],
    /// Calls in flight at once.
    pub in_flight_max: usize,
    /// Calls that each start costs beside the rows: descriptions of objects, the org's limits.
    pub start_calls: u64,
    /// Clients that subscribe to the events that this pipeline publishes.
    pub subscribers: u64,
    /// False: the figures are assumed, the org was not asked.
    pub is_told: bool,
}

impl OrgFacts {
    /// Finds an allocation.
    pub fn allocation(&self, kind: AllocationKind) -> Option<&AllocationFacts> {
        self.allocations.iter().find(|allocation| allocation.kind == kind)
    }
}

/// The allocations that a plan counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllocationKind {
    ApiRequests,
    BulkBatches,
    EventsPublished,
    EventsDelivered,
}

impl AllocationKind {
    /// Every kind, in the order in which plans show them.
    pub const ALL: [AllocationKind; 4] =
        [Self::ApiRequests, Self::BulkBatches, Self::EventsPublished, Self::EventsDelivered];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::ApiRequests => "API requests",
            Self::BulkBatches => "Bulk batches",
            Self::EventsPublished => "events published",
            Self::EventsDelivered => "events delivered",
        }
    }

    /// In the org's spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiRequests => "DailyApiRequests",
            Self::BulkBatches => "DailyBulkApiBatches",
            Self::EventsPublished => "HourlyPublishedPlatformEvents",
            Self::EventsDelivered => "DailyDeliveredPlatformEvents",
        }
    }

    /// What an entitlement permits in a span.
    pub fn max(self, entitlement: &Entitlement) -> u64 {
        entitlement.max_of(self.name()).unwrap_or(0)
    }

    /// True for its name in the org's spelling, in any version's.
    pub fn is_named(self, name: &str) -> bool {
        name == self.name() || (self == Self::BulkBatches && name == "DailyBulkApiRequests")
    }

    /// The rolling span that it counts in.
    pub fn span(self) -> Duration {
        match self {
            Self::EventsPublished => Duration::from_secs(3600),
            _ => Duration::from_secs(86_400),
        }
    }
}

/// One allocation of an org.
#[derive(Clone, Debug, PartialEq)]
pub struct AllocationFacts {
    pub kind: AllocationKind,
    /// What the org permits in a span.
    pub max: u64,
    /// What everybody has used in the span until now.
    pub used: u64,
    /// The pipeline's part, 0 to 1.
    pub share: f64,
}

impl AllocationFacts {
    /// What the pipeline may spend in a span.
    pub fn budget(&self) -> u64 {
        (self.max as f64 * self.share.clamp(0.0, 1.0)).floor() as u64
    }

    /// What the pipeline may spend now, if what is used was used by others.
    pub fn room(&self) -> u64 {
        self.budget().min(self.max.saturating_sub(self.used))
    }
}

/// A burst that the buffer must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Burst {
    /// Records per second, on top of the usual changes.
    pub rate: f64,
    pub length: Duration,
    /// The table that bursts; none: all, in the proportions of their usual changes.
    pub table: Option<TableName>,
}

/// What the log and the window may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// The log's limit in bytes; none: the disk.
    pub log_bytes_max: Option<u64>,
    /// Memory of a window.
    pub window_bytes_max: u64,
}
