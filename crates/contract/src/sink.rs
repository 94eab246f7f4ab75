//! Where rows go.

use async_trait::async_trait;
use model::{
    Api, BatchId, Cell, ErrorClass, ErrorCode, FieldValue, Finding, Lane, ObjectName, Position, Retry, RouteId,
};
use std::sync::Arc;
use std::time::Duration;

/// A target that takes batches of rows.
///
/// **Order.** The pipeline never has two batches with conflicting keys in flight, and never the same key twice in one
/// batch; a sink may send what it is given in parallel.
/// **Repetition.** A batch may be given again after a crash or an `Unknown` answer; the pipeline then asks `read_back`
/// first and resends only what is missing.
/// **Answers.** Every row gets exactly one answer, in the order of the rows.
/// **Permits.** The pipeline holds a governor's permit for the calls that it asks for; the sink reports what it spent.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Checks credentials, rights and reachability, changing nothing. Empty: all is well.
    async fn check(&self) -> Vec<Finding>;

    /// Describes an object; cached until `forget`.
    ///
    /// # Errors
    /// `SinkError` (class `Permanent` when there is no such object).
    async fn describe(&self, object: &ObjectName) -> Result<Arc<ObjectSchema>, SinkError>;

    /// Drops the cached description, after the target said that a field is unknown.
    fn forget(&self, object: &ObjectName);

    /// Limits of one batch by this way; none when the sink does not have it. Every sink has `Api::Collections`.
    fn limits(&self, api: Api) -> Option<SinkLimits>;

    /// The most that a batch of so many rows costs by this way.
    fn cost(&self, _api: Api, _op: OutOp, rows: usize) -> Spend {
        Spend::calls(u32::from(rows > 0))
    }

    /// What a batch of so many rows costs by this way when nothing goes wrong: what plans reckon with.
    fn typical_cost(&self, api: Api, op: OutOp, rows: usize) -> Spend {
        self.cost(api, op, rows)
    }

    /// False when this way cannot carry the row as it is (a text that CSV has no form for): it goes by another one.
    fn carries(&self, _api: Api, _row: &OutRow) -> bool {
        true
    }

    /// Applies a batch by its way, `Api::Bulk` excepted; every row is answered.
    ///
    /// # Errors
    /// `SinkError` when the batch as a whole was refused or got no answer; class `Unknown` when rows may have been applied.
    async fn apply(&self, batch: &OutBatch) -> Result<AppliedBatch, SinkError>;

    /// Applies a batch by a job that takes as long as it takes; every row is answered. The job's name is noted with `host`,
    /// durably, before anything is uploaded; each row is uploaded at most once. The rows are dropped as soon as they are
    /// uploaded: a job of many rows holds little memory while the target works (`host.uploaded()` tells).
    ///
    /// When `host.stopping()` ends, a job that is not handed over yet is aborted (class `Transient`: nothing was applied);
    /// one that the target works on is left to be adopted (class `Unknown`).
    ///
    /// # Errors
    /// As `apply`.
    async fn apply_job(&self, batch: OutBatch, _host: &dyn JobHost) -> Result<AppliedBatch, SinkError> {
        Err(SinkError::no_such_way(Api::Bulk, &batch))
    }

    /// Tells what became of the rows of a batch that a job was made for by a process that is gone (or whose answer was lost).
    /// Waits for the job's end; closes one that never got all of its rows. Answers in the order of the rows, which may be some
    /// of the job's.
    ///
    /// # Errors
    /// `SinkError`; nothing was changed, but that the job may be closed.
    async fn adopt(&self, batch: &OutBatch, _job: &str) -> Result<Adopted, SinkError> {
        Err(SinkError::no_such_way(Api::Bulk, batch))
    }

    /// Closes jobs of ours that were made for these objects since `since_ms` (Unix milliseconds), got no rows yet, and are
    /// not among `known`: their makers died before they could note them. Returns how many.
    ///
    /// # Errors
    /// `SinkError`; some may be closed.
    async fn close_leftovers(
        &self,
        _objects: &[ObjectName],
        _since_ms: i64,
        _known: &[String],
    ) -> Result<usize, SinkError> {
        Ok(0)
    }

    /// Applies parts (each of one object and operation) in order, all rows or none. Shape: one answer per part; when rows are
    /// refused, those at fault carry their own error and the others class `Collateral`.
    ///
    /// # Errors
    /// As `apply`, for all parts together.
    async fn apply_together(&self, parts: &[OutBatch]) -> Result<Vec<AppliedBatch>, SinkError> {
        Err(SinkError::no_such_way(Api::Graph, &parts[0]))
    }

    /// Tells for each row, in order, whether the target already holds its effect.
    ///
    /// # Errors
    /// `SinkError`; nothing was changed.
    async fn read_back(&self, batch: &OutBatch) -> Result<(Vec<ReadBack>, u32), SinkError>;

    /// Reads every allocation that the target tells of (`/limits`), freshly.
    ///
    /// # Errors
    /// `SinkError`.
    async fn allocations(&self) -> Result<Vec<AllocationReading>, SinkError>;

    /// The newest figures that came along with answers (`Sforce-Limit-Info`), newest last; emptied by the call.
    fn take_readings(&self) -> Vec<AllocationReading>;

    /// What `check` and `describe` have cost since the last time: nobody asks leave for them. Emptied by the call.
    fn take_unpaid(&self) -> Spend {
        Spend::default()
    }
}

/// What the target said of one of its allocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationReading {
    /// In the target's spelling: `DailyApiRequests`, ….
    pub allocation: Arc<str>,
    pub max: u64,
    pub used: u64,
    /// Unix milliseconds.
    pub at_ms: i64,
}

/// What a batch costs of the target's allocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spend {
    /// API requests.
    pub calls: u32,
    /// Batches of 10,000 rows that the target cuts a job into.
    pub bulk_batches: u32,
    /// Platform events published.
    pub events: u32,
}

impl Spend {
    /// A cost of API requests only.
    pub fn calls(calls: u32) -> Self {
        Self { calls, ..Self::default() }
    }

    /// True when it costs nothing.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl std::ops::Add for Spend {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            bulk_batches: self.bulk_batches.saturating_add(other.bulk_batches),
            events: self.events.saturating_add(other.events),
        }
    }
}

impl std::ops::AddAssign for Spend {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Who a job is carried for.
#[async_trait]
pub trait JobHost: Send + Sync {
    /// Writes down which job carries the batch; durable when it answers.
    ///
    /// # Errors
    /// `SinkError` (class `Transient`): it is not written down, so nothing may be uploaded.
    async fn note(&self, batch: BatchId, job: &str) -> Result<(), SinkError>;

    /// Says that the rows are uploaded and dropped: their memory may be used for the next job.
    fn uploaded(&self);

    /// Ends when the process is asked to stop.
    async fn stopping(&self);
}

/// Limits of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkLimits {
    pub rows_max: usize,
    /// Bytes of the request's body before compression.
    pub bytes_max: usize,
    /// Batches in flight that the sink takes at once.
    pub in_flight_max: usize,
}

/// What is done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutOp {
    /// Insert or update by external id.
    Upsert,
    /// Insert; the target gives the id.
    Create,
    /// Update an existing row, found by external id.
    Update,
    /// Delete an existing row, found by external id; one that is not there counts as applied.
    Delete,
}

/// Rows of one object and one operation, sent together.
#[derive(Clone, Debug)]
pub struct OutBatch {
    pub id: BatchId,
    /// The way that it goes.
    pub api: Api,
    pub route: RouteId,
    pub lane: Lane,
    pub object: ObjectName,
    pub op: OutOp,
    /// The field that rows are matched by; none only for `Create`.
    pub external_id: Option<Arc<str>>,
    /// A field that carries the row's position (`OutRow::position` as text), compared by `read_back` when it is there.
    pub position_field: Option<Arc<str>>,
    /// What the cells of each row mean, in order. Does not hold the external id itself.
    pub columns: Arc<[OutColumn]>,
    /// Never empty; keys are distinct.
    pub rows: Vec<OutRow>,
}

/// A target field that a column is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutColumn {
    /// The field's API name (`AccountId` for a lookup).
    pub field: Arc<str>,
    /// Set when the cell holds the parent's external id rather than the field's own value.
    pub reference: Option<ColumnReference>,
}

/// How a lookup is filled by the parent's external id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnReference {
    /// The relationship's name (`Account`, `Parent__r`).
    pub relationship: Arc<str>,
    pub object: ObjectName,
    pub external_id: Arc<str>,
    /// Set when the lookup may point to several objects: the type must then be named.
    pub polymorphic: bool,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct OutRow {
    pub position: Position,
    /// The external id's value; none only for `Create`.
    pub key: Option<FieldValue>,
    /// One for each column of the batch; empty for `Delete`.
    pub cells: Vec<Cell>,
}

/// A batch's answers.
#[derive(Clone, Debug)]
pub struct AppliedBatch {
    /// One for each row, in order.
    pub rows: Vec<RowResult>,
    pub spent: Spend,
}

/// What became of an adopted job's rows.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// One for each row, in order.
    pub rows: Vec<AdoptedRow>,
    pub spent: Spend,
}

/// What became of a row of an adopted job.
#[derive(Clone, Debug, PartialEq)]
pub enum AdoptedRow {
    /// The job has an answer for it.
    Answered(RowResult),
    /// It never came to the target; the row is to be sent.
    Missing,
    /// It cannot be told.
    Unknown,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowResult {
    Applied { id: Option<Arc<str>>, created: bool },
    Failed(RowError),
}

/// Why a row was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct RowError {
    pub class: ErrorClass,
    /// The target's own code.
    pub code: String,
    /// The target's sentence. Never holds a secret; may hold data of the row.
    pub message: String,
    pub fields: Vec<String>,
}

/// What a read-back found.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadBack {
    /// The target holds the row's effect (or a newer one, by the position field).
    Applied { id: Option<Arc<str>> },
    /// It does not; the row is to be sent.
    Missing,
    /// It cannot be told (a `Create` without external id): the caller decides.
    Unknown,
}

/// Why a call as a whole failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {place}: {message}")]
pub struct SinkError {
    /// Our code (`PS4…`).
    pub code: ErrorCode,
    pub class: ErrorClass,
    /// What was called, without secrets.
    pub place: String,
    /// The target's code and sentence where there were any, without secrets.
    pub message: String,
    /// The target's own code (`REQUEST_LIMIT_EXCEEDED`), if it gave one.
    pub target_code: Option<String>,
    /// When the target, or our error table, says how long to wait.
    pub retry_after: Option<Duration>,
    /// What was spent all the same.
    pub spent: Spend,
}

impl SinkError {
    /// The answer of a sink that is asked for a way that it does not have (`Sink::limits`).
    pub fn no_such_way(api: Api, batch: &OutBatch) -> Self {
        Self {
            code: ErrorCode("PS4109"),
            class: ErrorClass::Permanent,
            place: format!("{api} {}", batch.object),
            message: "the target does not take rows this way".to_owned(),
            target_code: None,
            retry_after: None,
            spent: Spend::default(),
        }
    }

    /// What to do next.
    pub fn retry(&self) -> Retry {
        match self.class {
            ErrorClass::Auth => Retry::AfterOperator,
            ErrorClass::Permanent | ErrorClass::BusinessRule => Retry::Never,
            _ => Retry::After(self.retry_after.unwrap_or(Duration::from_secs(1))),
        }
    }
}

/// An object of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSchema {
    pub name: ObjectName,
    pub createable: bool,
    pub updateable: bool,
    pub deletable: bool,
    pub queryable: bool,
    /// In the target's order.
    pub fields: Vec<FieldSchema>,
}

impl ObjectSchema {
    /// Finds a field by name; like the target, without regard to ASCII case.
    pub fn field(&self, name: &str) -> Option<&FieldSchema> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSchema {
    pub name: Arc<str>,
    pub kind: FieldKind,
    /// Characters, for text kinds; 0 when it has no length.
    pub length: u32,
    /// Digits in all, for numbers.
    pub precision: u32,
    /// Digits after the point, for numbers.
    pub scale: u32,
    pub nillable: bool,
    /// A required field may be left out when it has a default.
    pub defaulted_on_create: bool,
    pub createable: bool,
    pub updateable: bool,
    pub external_id: bool,
    pub id_lookup: bool,
    pub unique: bool,
    pub case_sensitive: bool,
    pub calculated: bool,
    /// Objects that a lookup may point to.
    pub reference_to: Vec<ObjectName>,
    pub relationship_name: Option<Arc<str>>,
    /// Active values of a picklist.
    pub picklist: Vec<String>,
    /// True when values outside `picklist` are refused.
    pub picklist_restricted: bool,
    /// True for a lookup whose parent owns the row: each write of the row locks the parent.
    pub master_detail: bool,
}

/// A field's type, as far as mapping and checks need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    Id,
    Boolean,
    Int,
    /// Number, percent.
    Double,
    Currency,
    Date,
    Datetime,
    Time,
    /// Short text: string, e-mail, phone, url, encrypted string, combobox.
    Text,
    Email,
    Phone,
    Url,
    TextArea,
    Picklist,
    MultiPicklist,
    Reference,
    Base64,
    /// Compound address or location: read only.
    Compound,
    Other,
}
