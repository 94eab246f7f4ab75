//! The sink itself: `contract::Sink` over REST.

use crate::bulk::{self, Bulk};
use crate::config::{ConfigError, DatetimePrecision, SalesforceConfig};
use crate::describe::{Descriptions, is_api_name};
use crate::faults::{self, fault};
use crate::pubsub::{self, Channel, Streams, Topics};
use crate::read::{self, IdCache, Target};
use crate::transport::{Call, Transport};
use crate::{cost, graph, readings, transport, write};
use async_trait::async_trait;
use contract::{
    Adopted, AdoptedRow, AllocationReading, AppliedBatch, Clock, JobHost, ObjectSchema, OutBatch, OutOp, OutRow,
    ReadBack, RowError, RowResult, Sink, SinkError, SinkLimits, Spend,
};
use http::Method;
use model::{Api, ErrorClass, FieldValue, Finding, ObjectName};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a body before compression: far under REST's 50 MB, and small enough that a batch that fails whole is cheap to
/// split.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A Salesforce org as a sink, by every API that takes rows.
///
/// **Batches that fail whole.** When the org refuses a call as it stands (`JSON_PARSER_ERROR`, `MALFORMED_…`,
/// `EXCEEDED_MAX_SIZE_REQUEST`, HTTP 400, 413, 414), the error's class is `Permanent`: nothing was applied, and the
/// pipeline splits the batch until the row at fault stands alone.
///
/// **Update and delete** match by external id with a lookup before the call (`batch_cost` tells the price); ids are cached
/// for minutes in bounded memory. Deleting what is not there counts as applied.
///
/// **Cancel safety.** A call that is dropped has the fate of a cut connection: its rows are to be read back.
pub struct SalesforceSink {
    pub(crate) transport: Transport,
    pub(crate) descriptions: Descriptions,
    pub(crate) bulk: Bulk,
    pub(crate) channel: Channel,
    pub(crate) topics: Topics,
    pub(crate) streams: Streams,
    /// Our name in the org.
    pub(crate) client_name: String,
    ids: IdCache,
    /// Calls of `check` and `describe`.
    unpaid: AtomicU32,
    limits: SinkLimits,
    datetime_precision: DatetimePrecision,
    host: String,
    version: String,
}

impl SalesforceSink {
    /// Makes a sink; connects to nothing.
    ///
    /// # Errors
    /// `ConfigError`: what is wrong with the configuration by itself.
    pub fn new(config: &SalesforceConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let valid = config.validate()?;
        let host = valid.base.clone();
        let pubsub = valid.pubsub.clone();
        let http2 = transport::http2_client(config, pubsub.as_deref().unwrap_or(&host))?;
        Ok(Self {
            channel: Channel::new(http2, pubsub, config.request_timeout),
            topics: Topics::default(),
            streams: Streams::default(),
            client_name: config.client_name.clone(),
            transport: Transport::new(config, valid, clock)?,
            descriptions: Descriptions::default(),
            bulk: Bulk::new(config.bulk.clone()),
            ids: IdCache::new(config.id_cache_bytes_max),
            unpaid: AtomicU32::new(0),
            limits: SinkLimits {
                rows_max: write::ROWS_MAX,
                bytes_max: BODY_BYTES_MAX,
                in_flight_max: config.in_flight_max,
            },
            datetime_precision: config.datetime_precision,
            host,
            version: config.api_version.trim_start_matches('v').to_owned(),
        })
    }

    /// Checks that each object is there and can be seen: one finding for each that is not.
    pub async fn check_objects(&self, objects: &[ObjectName]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for object in objects {
            if let Err(error) = self.describe(object).await {
                findings.push(self.finding(&error));
            }
        }
        findings
    }

    pub(crate) async fn create_or_upsert(
        &self,
        batch: &OutBatch,
        all_or_none: bool,
        spent: &mut u32,
    ) -> Result<Vec<RowResult>, SinkError> {
        let upsert = batch.op == OutOp::Upsert;
        let place = format!("{} {}", if upsert { "upsert" } else { "create" }, batch.object);
        let base = &self.transport.data_path;
        let (method, path) = match (&batch.external_id, upsert) {
            (Some(field), true) if field.eq_ignore_ascii_case("Id") => {
                return Err(write::impossible(
                    &place,
                    "Collections cannot upsert by record id; use an external id field",
                ));
            }
            (Some(field), true) if is_api_name(field) => {
                (Method::PATCH, format!("{base}/composite/sobjects/{}/{field}", batch.object))
            }
            (Some(field), true) => return Err(write::impossible(&place, format!("{field:?} is no field's API name"))),
            (None, true) => return Err(write::impossible(&place, "an upsert needs an external id field")),
            (_, false) => (Method::POST, format!("{base}/composite/sobjects")),
        };
        let body = Some(write::create_or_upsert_body(batch, all_or_none));
        let call = Call::write(method, path, body, &place);
        let answer = self.transport.call(&call, spent).await.map_err(no_such_place)?;
        let mut results = write::read_answers(&answer.body, batch.rows.len(), !upsert, &place)?;
        if upsert {
            results.iter_mut().for_each(|result| retry_lost_race(result, batch.external_id.as_deref()));
        }
        if self.ids.keeps(&batch.object) {
            self.learn(batch, &results).await;
        }
        Ok(results)
    }

    /// Keeps the ids that came with an upsert, so that a later update or delete of the rows needs no lookup.
    async fn learn(&self, batch: &OutBatch, results: &[RowResult]) {
        let mut nothing_spent = 0;
        let Ok(schema) = self.descriptions.get(&self.transport, &batch.object, &mut nothing_spent).await else {
            return;
        };
        let Some(field) = batch.external_id.as_deref().and_then(|name| schema.field(name)) else { return };
        let target = Target { transport: &self.transport, cache: &self.ids, object: &batch.object, field };
        let now = self.transport.clock.monotonic();
        for (row, result) in batch.rows.iter().zip(results) {
            if let (RowResult::Applied { id: Some(id), .. }, Some(key)) = (result, &row.key)
                && let Some(key) = target.canonical_key(key)
            {
                self.ids.put(&batch.object, &key, id, now);
            }
        }
    }

    async fn by_lookup(&self, batch: &OutBatch, spent: &mut u32) -> Result<Vec<RowResult>, SinkError> {
        let schema = self.descriptions.get(&self.transport, &batch.object, spent).await?;
        let target = self.target(&schema, batch)?;
        write::update_or_delete(&target, batch, spent).await
    }

    pub(crate) fn target<'a>(&'a self, schema: &'a ObjectSchema, batch: &'a OutBatch) -> Result<Target<'a>, SinkError> {
        let place = format!("look up {}", batch.object);
        let name = batch.external_id.as_deref().unwrap_or_default();
        let field = schema.field(name).ok_or_else(|| {
            write::impossible(&place, format!("{} has no field {name:?} to match rows by", batch.object))
        })?;
        Ok(Target { transport: &self.transport, cache: &self.ids, object: &batch.object, field })
    }

    pub(crate) async fn applied(&self, batch: &OutBatch, spent: &mut u32) -> Result<Vec<RowResult>, SinkError> {
        if !is_api_name(batch.object.as_str()) {
            return Err(write::impossible("apply", format!("{:?} is no object's API name", batch.object.as_str())));
        }
        match (batch.api, batch.op) {
            (Api::Graph, _) => self.as_graphs(named(batch)?, spent).await,
            (Api::Rest, _) => self.one_by_one(named(batch)?, spent).await,
            (Api::Bulk, _) => Err(write::impossible("apply", "a job is applied with a host")),
            (Api::Event, OutOp::Create) => self.create_or_upsert(batch, false, spent).await,
            (Api::PubSub, OutOp::Create) => self.publish(batch).await,
            (Api::Event | Api::PubSub, _) => Err(write::impossible("publish", "an event can only be created")),
            (Api::Collections, OutOp::Upsert | OutOp::Create) => self.create_or_upsert(batch, false, spent).await,
            (Api::Collections, OutOp::Update | OutOp::Delete) => self.by_lookup(batch, spent).await,
        }
    }

    /// Makes the answer to a batch: refusals without secrets, and what it cost.
    fn answered(
        &self,
        applied: Result<Vec<RowResult>, SinkError>,
        spent: Spend,
        rows: usize,
    ) -> Result<AppliedBatch, SinkError> {
        match applied {
            Ok(mut rows) => {
                for row in &mut rows {
                    if let RowResult::Failed(error) = row {
                        self.clean(error);
                    }
                }
                Ok(AppliedBatch { rows, spent })
            }
            Err(error) => Err(SinkError { spent, ..to_split(error, rows) }),
        }
    }

    fn clean(&self, error: &mut RowError) {
        self.transport.clean(&mut error.message);
        self.transport.clean(&mut error.code);
    }

    pub(crate) async fn held(&self, batch: &OutBatch, spent: &mut u32) -> Result<Vec<ReadBack>, SinkError> {
        if batch.external_id.is_none() {
            return Ok(vec![ReadBack::Unknown; batch.rows.len()]);
        }
        let schema = self.descriptions.get(&self.transport, &batch.object, spent).await?;
        let target = self.target(&schema, batch)?;
        read::read_back(&target, &schema, batch, self.datetime_precision, spent).await
    }

    async fn read_limits(&self, spent: &mut u32) -> Result<Vec<AllocationReading>, SinkError> {
        let place = "read /limits";
        let call = Call::get(format!("{}/limits", self.transport.data_path), place);
        let answer = self.transport.call(&call, spent).await?;
        readings::limits(&answer.body, self.transport.clock.now_ms())
            .ok_or_else(|| fault(faults::MALFORMED, ErrorClass::Transient, place, "the answer is no table of limits"))
    }

    /// Tells whether the org serves the configured API version; none: it does.
    async fn check_version(&self) -> Option<Finding> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let number = |version: &str| version.split_once('.').and_then(|(major, _)| major.parse::<u32>().ok());
        let answer = match self.transport.call(&Call::get("/services/data".into(), "list API versions"), &mut 0).await {
            Ok(answer) => answer,
            Err(error) => return Some(self.finding(&error)),
        };
        let Ok(versions) = serde_json::from_slice::<Vec<Version>>(&answer.body) else {
            let error = fault(faults::MALFORMED, ErrorClass::Transient, "list API versions", "the answer is no list");
            return Some(self.finding(&error));
        };
        let served: Vec<u32> = versions.iter().filter_map(|v| number(&v.version)).collect();
        if number(&self.version).is_some_and(|wanted| served.contains(&wanted)) {
            return None;
        }
        let range = match (served.iter().min(), served.iter().max()) {
            (Some(min), Some(max)) => format!("it serves {min}.0 to {max}.0"),
            _ => "it names none".into(),
        };
        let cause = format!("the org does not serve API version {}; {range}", self.version);
        Some(Finding::error(faults::VERSION, self.host.clone(), cause, "write one of these as api_version"))
    }

    /// Turns an error into what `penstock check` shows.
    fn finding(&self, error: &SinkError) -> Finding {
        let fix = match error.code.0 {
            faults::UNREACHABLE => "check the url, the network and the proxy",
            faults::CREDENTIALS => {
                "check client id and secret (or user name and key), that the app has the flow enabled, a run-as user or \
                 pre-authorised users, and the scope api"
            }
            faults::VERSION => "write a version that the org serves as api_version",
            faults::API_DISABLED | faults::SESSION => "give the integration user the permission API Enabled",
            faults::FORBIDDEN => "give the integration user access; check IP ranges and session policies",
            faults::NO_OBJECT => "check the object's API name, and that the integration user may see it",
            _ => "run the check again; if it stays, see penstock explain",
        };
        Finding::error(error.code.0, format!("{}: {}", self.host, error.place), error.message.clone(), fix)
    }
}

#[async_trait]
impl Sink for SalesforceSink {
    async fn check(&self) -> Vec<Finding> {
        if let Err(error) = self.transport.sessions.current().await {
            return vec![self.finding(&error)];
        }
        // The list of versions costs nothing.
        if let Some(finding) = self.check_version().await {
            return vec![finding];
        }
        let mut calls = 0;
        let limits = self.read_limits(&mut calls).await;
        self.unpaid.fetch_add(calls, Ordering::Relaxed);
        match limits {
            Ok(_) => Vec::new(),
            Err(error) if error.code.0 == faults::FORBIDDEN => vec![Finding::warning(
                faults::LIMITS_HIDDEN,
                format!("{}: {}", self.host, error.place),
                error.message,
                "give the integration user the permission View Setup and Configuration, so that the budget starts from the \
                 org's own figures",
            )],
            Err(error) => vec![self.finding(&error)],
        }
    }

    async fn describe(&self, object: &ObjectName) -> Result<Arc<ObjectSchema>, SinkError> {
        let mut spent = 0;
        let described = self.descriptions.get(&self.transport, object, &mut spent).await;
        self.unpaid.fetch_add(spent, Ordering::Relaxed);
        described.map_err(|error| SinkError { spent: Spend::calls(spent), ..error })
    }

    fn forget(&self, object: &ObjectName) {
        self.topics.forget(object);
        self.descriptions.forget(object);
    }

    fn limits(&self, api: Api) -> Option<SinkLimits> {
        let rows = |rows_max| Some(SinkLimits { rows_max, ..self.limits });
        match api {
            Api::Collections | Api::Event => Some(self.limits),
            Api::Graph => rows(graph::NODES_MAX),
            Api::Rest => rows(1),
            Api::Bulk => Some(SinkLimits {
                rows_max: self.bulk.settings.rows_max,
                // Quotes may double a text in the file.
                bytes_max: self.bulk.settings.file_bytes_max / 2,
                in_flight_max: self.bulk.settings.jobs_max,
            }),
            Api::PubSub => {
                Some(SinkLimits { rows_max: pubsub::EVENTS_MAX, bytes_max: pubsub::REQUEST_BYTES_MAX, ..self.limits })
            }
        }
    }

    fn cost(&self, api: Api, op: OutOp, rows: usize) -> Spend {
        cost::most(api, op, rows)
    }

    fn typical_cost(&self, api: Api, op: OutOp, rows: usize) -> Spend {
        cost::typical(self.cost(api, op, rows), api, op, rows)
    }

    fn carries(&self, api: Api, row: &OutRow) -> bool {
        match api {
            Api::Bulk => bulk::carries(row),
            Api::Graph => graph::carries(row),
            // A URL's reader takes these for "here" and "one up", however they are written.
            Api::Rest => row.key.as_ref().is_none_or(|key| !matches!(&*read::value_text(key), "." | "..")),
            Api::Collections | Api::Event | Api::PubSub => true,
        }
    }

    async fn apply(&self, batch: &OutBatch) -> Result<AppliedBatch, SinkError> {
        assert_sound(batch, self.limits(batch.api).map_or(write::ROWS_MAX, |limits| limits.rows_max));
        let mut calls = 0;
        let applied = self.applied(batch, &mut calls).await;
        let events =
            if matches!(batch.api, Api::Event | Api::PubSub) { published(&applied, batch.rows.len()) } else { 0 };
        self.answered(applied, Spend { calls, bulk_batches: 0, events }, batch.rows.len())
    }

    async fn apply_together(&self, parts: &[OutBatch]) -> Result<Vec<AppliedBatch>, SinkError> {
        assert!(!parts.is_empty() && parts.iter().all(|part| !part.rows.is_empty()), "no part is empty");
        let mut calls = 0;
        let applied = match parts.iter().try_for_each(|part| named(part).map(|_| ())) {
            Ok(()) => self.together(parts, &mut calls).await,
            Err(error) => Err(error),
        };
        let mut spent = Spend::calls(calls);
        let answered = |rows: Vec<RowResult>| {
            let count = rows.len();
            self.answered(Ok(rows), std::mem::take(&mut spent), count)
        };
        match applied {
            Ok(parts) => parts.into_iter().map(answered).collect(),
            Err(error) => Err(SinkError { spent, ..error }),
        }
    }

    async fn apply_job(&self, batch: OutBatch, host: &dyn JobHost) -> Result<AppliedBatch, SinkError> {
        assert_sound(&batch, usize::MAX);
        let (mut spent, rows) = (Spend::default(), batch.rows.len());
        let applied = self.by_job(batch, host, &mut spent).await;
        self.answered(applied, spent, rows)
    }

    async fn adopt(&self, batch: &OutBatch, job: &str) -> Result<Adopted, SinkError> {
        assert_sound(batch, usize::MAX);
        let mut calls = 0;
        match self.adopted(batch, job, &mut calls).await {
            Ok(mut rows) => {
                for row in &mut rows {
                    if let AdoptedRow::Answered(RowResult::Failed(error)) = row {
                        self.clean(error);
                    }
                }
                Ok(Adopted { rows, spent: Spend::calls(calls) })
            }
            Err(error) => Err(SinkError { spent: Spend::calls(calls), ..error }),
        }
    }

    async fn close_leftovers(
        &self,
        objects: &[ObjectName],
        since_ms: i64,
        known: &[String],
    ) -> Result<usize, SinkError> {
        let mut calls = 0;
        let closed = self.leftovers_closed(objects, since_ms, known, &mut calls).await;
        closed.map_err(|error| SinkError { spent: Spend::calls(calls), ..error })
    }

    async fn read_back(&self, batch: &OutBatch) -> Result<(Vec<ReadBack>, u32), SinkError> {
        assert_sound(batch, usize::MAX);
        let mut spent = 0;
        match self.held(batch, &mut spent).await {
            Ok(rows) => Ok((rows, spent)),
            Err(error) => Err(SinkError { spent: Spend::calls(spent), ..error }),
        }
    }

    async fn allocations(&self) -> Result<Vec<AllocationReading>, SinkError> {
        let mut spent = 0;
        let read = self.read_limits(&mut spent).await;
        read.map_err(|error| SinkError { spent: Spend::calls(spent), ..error })
    }

    fn take_readings(&self) -> Vec<AllocationReading> {
        self.transport.readings.take()
    }

    fn take_unpaid(&self) -> Spend {
        Spend::calls(self.unpaid.swap(0, Ordering::Relaxed))
    }
}

impl std::fmt::Debug for SalesforceSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SalesforceSink")
            .field("host", &self.host)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Checks that object and external id field can stand in a path as they are.
fn named(batch: &OutBatch) -> Result<&OutBatch, SinkError> {
    let names = [Some(batch.object.as_str()), batch.external_id.as_deref()];
    match names.into_iter().flatten().find(|name| !is_api_name(name)) {
        None => Ok(batch),
        Some(name) => Err(write::impossible("apply", format!("{name:?} is no API name"))),
    }
}

/// Events that count against the org's allocation: those that were taken, and those that may have been.
fn published(applied: &Result<Vec<RowResult>, SinkError>, rows: usize) -> u32 {
    let count = match applied {
        Ok(rows) => rows.iter().filter(|row| matches!(row, RowResult::Applied { .. })).count(),
        Err(error) if error.class == ErrorClass::Unknown => rows,
        Err(_) => 0,
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// An object or external id field that is gone is no row's fault: the route stops, and its rows stay until somebody acts.
pub(crate) fn no_such_place(error: SinkError) -> SinkError {
    match error.target_code.as_deref() {
        Some("NOT_FOUND" | "INVALID_EXTERNAL_ID_FIELD_NAME") => {
            SinkError { class: ErrorClass::Auth, code: model::ErrorCode(faults::NO_OBJECT), ..error }
        }
        _ => error,
    }
}

/// A refusal of the whole call that speaks of one row: `Permanent` while there are several, so that the batch is split; the
/// row that then stands alone gets the error's own class.
fn to_split(error: SinkError, rows: usize) -> SinkError {
    match error.class {
        ErrorClass::ParentMissing | ErrorClass::BusinessRule | ErrorClass::Collateral if rows > 1 => {
            SinkError { class: ErrorClass::Permanent, ..error }
        }
        _ => error,
    }
}

/// An upsert that lost a race: somebody inserted the same external id between the org's look and its insert. Sent again it
/// is an update. (A record in the recycle bin keeps its value too; then the attempts end in a dead letter.)
pub(crate) fn retry_lost_race(result: &mut RowResult, external_id: Option<&str>) {
    if let (RowResult::Failed(error), Some(field)) = (result, external_id)
        && error.code == "DUPLICATE_VALUE"
        && (error.message.contains(&format!("duplicate value found: {field} duplicates"))
            || matches!(&error.fields[..], [only] if only.eq_ignore_ascii_case(field)))
    {
        error.class = ErrorClass::Transient;
    }
}

/// Checks what the pipeline promises of every batch.
///
/// # Panics
/// When a promise is broken: sending on would apply one key twice in an order that the org chooses.
fn assert_sound(batch: &OutBatch, rows_max: usize) {
    assert!(!batch.rows.is_empty(), "a batch is never empty");
    assert!(batch.rows.len() <= rows_max, "a batch holds at most {rows_max} rows");
    let mut texts = HashSet::with_capacity(batch.rows.len());
    for row in &batch.rows {
        let width = if batch.op == OutOp::Delete { row.cells.len() } else { batch.columns.len() };
        assert_eq!(row.cells.len(), width, "a row has one cell for each column");
        let distinct = match &row.key {
            Some(FieldValue::Text(text)) => texts.insert(&**text),
            Some(FieldValue::Number(number)) => texts.insert(number.as_str()),
            Some(FieldValue::Bool(flag)) => texts.insert(if *flag { "true" } else { "false" }),
            None => {
                assert!(batch.op == OutOp::Create, "every row but a create has a key");
                true
            }
        };
        assert!(distinct, "a key stands once in a batch");
    }
}
