//! What a pipeline is made of: the program maps its configuration to these plain structs.
//!
//! Nothing here is checked; `mapping::Mapper::compile` checks a route against its table and its target objects.

mod retry;

pub use retry::{RetryPolicy, RetrySpec};

use crate::overflow::StreamLimit;
use crate::router::{ApiSetting, RouterSpec};
use model::{
    ColumnType, Lane, ObjectName, OrgId, PipelineId, RouteId, StreamPartition, TableName, TableSchema, ValueMode,
};
use std::time::Duration;

/// One pipeline: its routes and the bounds that they share.
#[derive(Clone, Debug)]
pub struct PipelineSpec {
    pub id: PipelineId,
    /// In configuration order; ids are distinct.
    pub routes: Vec<RouteSpec>,
    /// Memory of one route's window, in bytes; a full window stops reading, it never drops.
    pub window_bytes_max: usize,
    /// Bytes of record bytes that one route holds for batches being formed and in flight.
    pub batch_bytes_in_memory_max: usize,
    /// How long settlements may wait for the next checkpoint.
    pub checkpoint_every: Duration,
    /// A checkpoint is also written after this many settlements.
    pub checkpoint_settlements_max: u64,
    /// How long a graceful stop waits for batches in flight.
    pub stop_wait_max: Duration,
    /// How long after a batch without an answer its rows are read back, at least: a request that was cut off may still be
    /// under way in the target. A target whose calls take longer is given twice what they take.
    pub recovery_grace: Duration,
    pub router: RouterSpec,
    /// Streams with a size limit.
    pub stream_limits: Vec<StreamLimit>,
}

impl PipelineSpec {
    /// Makes a pipeline with the default bounds.
    pub fn new(id: PipelineId, routes: Vec<RouteSpec>) -> Self {
        Self {
            id,
            routes,
            // 2,000,000 entries of some 32 bytes: the backlog that the design promises to look through.
            window_bytes_max: 64 << 20,
            batch_bytes_in_memory_max: 16 << 20,
            checkpoint_every: Duration::from_millis(500),
            checkpoint_settlements_max: 50_000,
            stop_wait_max: Duration::from_secs(10),
            recovery_grace: Duration::from_secs(2),
            stream_limits: Vec::new(),
            router: RouterSpec::default(),
        }
    }

    /// Groups the routes that must look at each other's windows, as indices into `routes`.
    pub fn relation_groups(&self) -> Vec<Vec<usize>> {
        relation_groups(&self.routes)
    }
}

/// One way from a table in a stream to an object of a sink.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    pub id: RouteId,
    pub stream: StreamPartition,
    pub table: TableName,
    /// The source's description of the table at start.
    pub schema: TableSchema,
    /// How column values stand in the stream's JSON.
    pub value_mode: ValueMode,
    /// The business key: the columns that order is promised for. Never empty.
    pub key: Vec<String>,
    pub org: OrgId,
    pub object: ObjectName,
    pub operation: Operation,
    /// The field that rows are matched by; none only for `Create`.
    pub external_id: Option<String>,
    /// A field that takes the row's position as text, so that a read-back can tell newer from older.
    pub position_field: Option<String>,
    /// Target field and where its value comes from, in configuration order. Holds the external id's field, too.
    pub map: Vec<(String, MapSource)>,
    pub references: Vec<ReferenceSpec>,
    /// CEL text; rows for which it is false are settled as filtered.
    pub filter: Option<String>,
    pub deletes: DeletePolicy,
    pub truncate: TruncatePolicy,
    pub lane: LaneSpec,
    /// From commit to applied.
    pub deadline: Duration,
    pub ordering: Ordering,
    /// With `Ordering::Transaction`: what happens to a transaction that the target cannot take as one.
    pub too_large: TooLarge,
    pub coalesce: Coalesce,
    pub batch: BatchSpec,
    /// The API that its rows go by.
    pub api: ApiSetting,
    /// Batches in flight at once, at least 1.
    pub parallel: usize,
    pub retry: RetrySpec,
    /// Columns whose values are shown nowhere: not in dead letters, errors or the status. None is part of the business key.
    pub secret: Vec<String>,
}

impl RouteSpec {
    /// Makes a route that upserts by `external_id`, with every other setting at its default and nothing mapped.
    pub fn upsert(
        id: impl Into<RouteId>,
        stream: StreamPartition,
        schema: TableSchema,
        target: (OrgId, ObjectName),
        external_id: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            stream,
            table: schema.table.clone(),
            key: schema.primary_key.clone(),
            schema,
            value_mode: ValueMode::default(),
            org: target.0,
            object: target.1,
            operation: Operation::Upsert,
            external_id: Some(external_id.into()),
            position_field: None,
            map: Vec::new(),
            references: Vec::new(),
            filter: None,
            deletes: DeletePolicy::default(),
            truncate: TruncatePolicy::default(),
            lane: LaneSpec::default(),
            deadline: Duration::from_secs(60),
            ordering: Ordering::default(),
            too_large: TooLarge::default(),
            coalesce: Coalesce::default(),
            batch: BatchSpec::default(),
            api: ApiSetting::default(),
            parallel: 4,
            retry: RetrySpec::default(),
            secret: Vec::new(),
        }
    }

    /// Where the value of a target field comes from; names compare without regard to ASCII case, as in the target.
    pub fn source_of(&self, field: &str) -> Option<&MapSource> {
        self.map.iter().find(|(name, _)| name.eq_ignore_ascii_case(field)).map(|(_, source)| source)
    }

    /// The type of a column of the table.
    pub fn column_type(&self, name: &str) -> Option<&ColumnType> {
        self.schema.column(name).map(|column| &column.kind)
    }
}

/// What a route does with a created, updated or read row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Insert or update by external id.
    #[default]
    Upsert,
    /// Insert each change as a new row.
    Create,
    /// Update rows that are there, by external id; a missing one is refused by the target.
    Update,
}

/// Where a target field's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum MapSource {
    Column(String),
    /// A JSON string, number, bool or null.
    Constant(serde_json::Value),
    /// A CEL expression over the table's columns.
    Cel(String),
    /// What the change says of itself, for events and audit fields.
    Change(ChangePart),
}

/// A part of a change beside its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangePart {
    /// `c`, `u`, `d`, or `r` for a row of the first copy.
    Op,
    /// `schema.table`.
    Table,
    /// The business key as JSON.
    Key,
    /// The row after the change as JSON; of a deleted row what the source told of it.
    Row,
    /// When it was committed.
    Time,
}

impl ChangePart {
    /// Every part.
    pub const ALL: [ChangePart; 5] = [Self::Op, Self::Table, Self::Key, Self::Row, Self::Time];

    /// Returns the configuration's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Op => "op",
            Self::Table => "table",
            Self::Key => "key",
            Self::Row => "row",
            Self::Time => "time",
        }
    }

    /// Parses the configuration's word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == word)
    }
}

/// A lookup that is filled by the parent's external id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceSpec {
    /// The parent object.
    pub object: ObjectName,
    /// The parent's external id field.
    pub external_id: String,
    /// This table's column that holds the parent's external id value.
    pub from: String,
    /// The table that feeds the parent.
    pub table: TableName,
    /// The lookup field; none: the only lookup of the object that points to the parent.
    pub field: Option<String>,
    /// Whether a write of the row locks this parent; none: as the target describes it, or as lock errors tell.
    pub locks: Option<bool>,
}

/// What happens to the target's row when the source's row is deleted.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum DeletePolicy {
    /// The target's row is deleted; one that is not there counts as applied.
    #[default]
    Delete,
    /// The change is settled as filtered.
    Ignore,
    /// The target's row stays and one field is set (`Status__c: Closed`).
    Set { field: String, value: serde_json::Value },
    /// A delete creates a row like any other change, from what the source told of the deleted one: for events and
    /// histories. Only with `Operation::Create`.
    Create,
}

/// What happens when the source's table is truncated. A truncate names no keys, so it can never be carried out as row
/// deletes without a search of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TruncatePolicy {
    /// The route stops with a reason; an operator decides (empty the object, then skip the record; or only skip it).
    #[default]
    Refuse,
    /// The record is settled as filtered; the target keeps its rows.
    Ignore,
}

/// How a record's lane is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneSpec {
    Constant(Lane),
    /// A CEL expression that gives `critical`, `standard` or `bulk`.
    Cel(String),
}

impl Default for LaneSpec {
    fn default() -> Self {
        Self::Constant(Lane::Standard)
    }
}

/// What order a route keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ordering {
    /// Source commit order for each business key, and parents before children.
    #[default]
    Key,
    /// One record at a time, the whole stream in order.
    Fifo,
    /// As `Key`, and the changes of one source transaction are applied together or not at all.
    Transaction,
    /// No conflicts.
    None,
}

/// What becomes of a source transaction that has more rows or bytes than the target applies as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TooLarge {
    /// All of its changes become dead letters, with the reason.
    #[default]
    Refuse,
    /// They are applied as with `Ordering::Key`, and their settlements say so.
    ByKey,
}

/// Whether waiting updates of one key merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coalesce {
    #[default]
    Never,
    /// Waiting updates of one key merge column by column into the newest.
    Latest,
}

/// How batches are formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSpec {
    /// Rows of one batch; the sink's own limit holds as well.
    pub rows_max: usize,
    /// Record bytes of one batch.
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more rows while other batches are in flight; with nothing in flight
    /// it goes at once.
    pub linger: Duration,
}

impl Default for BatchSpec {
    fn default() -> Self {
        // 200 is the row limit of one sObject Collections call.
        Self { rows_max: 200, bytes_max: 1 << 20, linger: Duration::from_millis(3) }
    }
}

/// True when records of the two routes may conflict: they read one stream and write the same object of one org, or one
/// of them refers to the other's object; or when they take part in the same transactions.
pub fn are_related(a: &RouteSpec, b: &RouteSpec) -> bool {
    a.stream.stream == b.stream.stream
        && a.org == b.org
        && (same_object(&a.object, &b.object)
            || refers(a, &b.object)
            || refers(b, &a.object)
            || (a.ordering == Ordering::Transaction && b.ordering == Ordering::Transaction))
}

/// Groups routes by relation, transitively. Shape: every index is in exactly one group; indices ascend inside a group,
/// groups ascend by their first index.
pub fn relation_groups(routes: &[RouteSpec]) -> Vec<Vec<usize>> {
    let mut group_of: Vec<usize> = (0..routes.len()).collect();
    for i in 0..routes.len() {
        for j in 0..i {
            if are_related(&routes[i], &routes[j]) && group_of[i] != group_of[j] {
                let (keep, gone) = (group_of[i].min(group_of[j]), group_of[i].max(group_of[j]));
                group_of.iter_mut().filter(|group| **group == gone).for_each(|group| *group = keep);
            }
        }
    }
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); routes.len()];
    for (index, group) in group_of.into_iter().enumerate() {
        groups[group].push(index);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

fn refers(route: &RouteSpec, object: &ObjectName) -> bool {
    route.references.iter().any(|reference| same_object(&reference.object, object))
}

/// Salesforce compares API names without regard to ASCII case.
fn same_object(a: &ObjectName, b: &ObjectName) -> bool {
    a.as_str().eq_ignore_ascii_case(b.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ReplicaIdentity, StreamId};

    fn route(stream: &str, object: &str, parents: &[&str]) -> RouteSpec {
        let table = TableName { schema: "s".into(), name: object.to_lowercase() };
        let schema = TableSchema {
            table: table.clone(),
            columns: vec![],
            primary_key: vec![],
            replica_identity: ReplicaIdentity::Default,
            identity_columns: vec![],
        };
        let stream = StreamPartition::first(StreamId::from(stream));
        let mut route = RouteSpec::upsert(object, stream, schema, ("main".into(), object.into()), "Key__c");
        route.references = parents
            .iter()
            .map(|parent| ReferenceSpec {
                object: ObjectName::from(*parent),
                external_id: "Key__c".into(),
                from: "parent".into(),
                table: table.clone(),
                field: None,
                locks: None,
            })
            .collect();
        route
    }

    #[test]
    fn routes_are_grouped_by_object_and_reference_transitively() {
        let routes = [
            route("s", "Account", &[]),
            route("s", "Product2", &[]),
            route("s", "OrderItem", &["Order"]),
            route("s", "Order", &["account"]),
            route("other", "Account", &[]),
            route("s", "PRODUCT2", &[]),
        ];
        assert_eq!(relation_groups(&routes), vec![vec![0, 2, 3], vec![1, 5], vec![4]]);
        assert!(relation_groups(&[]).is_empty());
    }

    #[test]
    fn routes_that_are_ordered_by_transaction_are_related_inside_one_org_and_stream() {
        let mut routes = [route("s", "A", &[]), route("s", "B", &[]), route("s", "C", &[]), route("t", "D", &[])];
        for at in [0, 2, 3] {
            routes[at].ordering = Ordering::Transaction;
        }
        assert_eq!(relation_groups(&routes), vec![vec![0, 2], vec![1], vec![3]]);
        routes[2].org = "second".into();
        assert_eq!(relation_groups(&routes), vec![vec![0], vec![1], vec![2], vec![3]]);
    }

    #[test]
    fn routes_to_the_same_object_of_different_orgs_are_not_related() {
        let (a, mut b) = (route("s", "Account", &[]), route("s", "Account", &[]));
        b.org = "second".into();
        assert!(!are_related(&a, &b));
    }
}
