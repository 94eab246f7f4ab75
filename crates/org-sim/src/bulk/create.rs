//! Creating jobs of Bulk API 2.0.

use super::blob::Blob;
use super::csv::{Delimiter, Dialect, LineEnding};
use super::job::{Fate, Format, Job, Kind, Operation, Part, State};
use super::ledger::NO_BATCHES;
use super::{info, ingest, multipart};
use crate::answer::{Request, Response};
use crate::org::{Org, Ticket};
use crate::query::bulk;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    operation: String,
    object: Option<String>,
    query: Option<String>,
    external_id_field_name: Option<String>,
    content_type: Option<String>,
    column_delimiter: Option<Delimiter>,
    line_ending: Option<LineEnding>,
    assignment_rule_id: Option<String>,
    #[serde(rename = "concurrencyMode")]
    _concurrency_mode: Option<String>,
}

/// Answers `POST /jobs/ingest` and `POST /jobs/query`.
pub fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>, kind: Kind) -> Response {
    match create(org, now_ms, ticket, request, kind) {
        Ok(number) => match org.bulk.jobs.get(&number) {
            Some(job) => info::brief(job),
            None => crate::rest::not_found(),
        },
        Err(response) => response,
    }
}

fn create(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>, kind: Kind) -> Result<u64, Response> {
    let content_type = request.header("content-type").unwrap_or_default();
    let (json, content) = match multipart::boundary(content_type) {
        Some(boundary) if kind == Kind::Ingest => {
            let parts = multipart::read(request.body, &boundary);
            let (json, content) =
                parts.map_err(|message| Response::error(400, "INVALIDJOB", &format!("InvalidJob : {message}")))?;
            (json, Some(content))
        }
        _ => (request.body, None),
    };
    let wanted: Wanted =
        serde_json::from_slice(json).map_err(|error| Response::error(400, "JSON_PARSER_ERROR", &error.to_string()))?;
    let mut job = match kind {
        Kind::Query => query_job(org, now_ms, ticket, wanted)?,
        _ => ingest_job(org, now_ms, ticket, wanted)?,
    };
    if org.bulk.jobs.len() >= org.config.bulk.jobs_max {
        return Err(Response::error(400, "EXCEEDEDQUOTA", "ApiBatchItems Limit exceeded."));
    }
    let (number, id) = org.bulk.job_id();
    job.id = id;
    let due = job.state == State::UploadComplete;
    org.bulk.jobs.insert(number, job);
    if due {
        org.bulk.activate(number);
    }
    if let Some(content) = content {
        let blob = Blob::of(org.bulk.spool(), content).and_then(Blob::finish);
        let blob = blob.map_err(|error| Response::error(500, "UNKNOWN_EXCEPTION", &error.to_string()))?;
        ingest::store(org, number, blob, now_ms);
        ingest::close(org, number, now_ms);
    }
    Ok(number)
}

fn invalid(message: &str) -> Response {
    Response::error(400, "INVALIDJOB", &format!("InvalidJob : {message}"))
}

fn job(now_ms: i64, ticket: &Ticket, kind: Kind, operation: Operation, wanted: &Wanted) -> Job {
    Job {
        id: crate::ids::SfId::new(*b"750", 0),
        kind,
        version: ticket.plan.version,
        operation,
        object: String::new(),
        external_id: None,
        format: Format::Csv,
        dialect: Dialect {
            delimiter: wanted.column_delimiter.unwrap_or_default(),
            line_ending: wanted.line_ending.unwrap_or_default(),
            lenient: false,
        },
        assignment_rule: wanted.assignment_rule_id.clone(),
        serial: false,
        user: ticket.caller.user,
        client: ticket.client.clone(),
        state: State::Open,
        error: None,
        created_ms: now_ms,
        modified_ms: now_ms,
        due_ms: now_ms,
        retries: 0,
        parts: Vec::new(),
        fate: Fate::default(),
    }
}

fn ingest_job(org: &mut Org, now_ms: i64, ticket: &Ticket, wanted: Wanted) -> Result<Job, Response> {
    let operation = Operation::from_word(&wanted.operation).filter(|operation| !operation.is_query());
    let operation = operation.ok_or_else(|| invalid(&format!("operation is not supported: {}", wanted.operation)))?;
    if wanted.content_type.as_deref().is_some_and(|word| word != "CSV") {
        return Err(invalid("contentType must be CSV"));
    }
    if wanted.query.is_some() {
        return Err(invalid("an ingest job has no query"));
    }
    let name = wanted.object.as_deref().ok_or_else(|| invalid("object is required"))?;
    let object = check(org, operation, name, wanted.external_id_field_name.as_deref())?;
    if org.limits.bulk.batches_left(now_ms) == 0 {
        return Err(Response::error(400, "EXCEEDEDQUOTA", NO_BATCHES));
    }
    let mut job = job(now_ms, ticket, Kind::Ingest, operation, &wanted);
    job.object = object;
    job.external_id = wanted.external_id_field_name;
    Ok(job)
}

/// Checks what an ingest job of either API must be right about; the object's name as it is spelled.
///
/// # Errors
/// The answer that refuses the job.
pub fn check(org: &Org, operation: Operation, name: &str, external_id: Option<&str>) -> Result<String, Response> {
    let table = org.store.find_table(name);
    let table =
        table.ok_or_else(|| Response::error(400, "INVALIDENTITY", &format!("Unable to find object: {name}")))?;
    let object = &org.store.table(table).object;
    match (operation, external_id) {
        (Operation::Upsert, None) => return Err(invalid("External ID was blank for the upsert")),
        (Operation::Upsert, Some(field)) => {
            let number = object.field(field);
            let key = number.is_some_and(|number| object.fields[usize::from(number)].is_key());
            if !key {
                let message = format!(
                    "Field name provided, {field} does not match an External ID, Salesforce Id, or indexed field for {name}"
                );
                return Err(invalid(&message));
            }
        }
        (_, Some(_)) => return Err(invalid("externalIdFieldName is for upserts only")),
        _ => {}
    }
    if operation == Operation::HardDelete && !org.config.bulk.hard_delete {
        let message = "FeatureNotEnabled : hardDelete is not enabled for this user";
        return Err(Response::error(400, "FEATURENOTENABLED", message));
    }
    Ok(object.name.to_string())
}

fn query_job(org: &mut Org, now_ms: i64, ticket: &Ticket, wanted: Wanted) -> Result<Job, Response> {
    let operation = Operation::from_word(&wanted.operation).filter(|operation| operation.is_query());
    let operation = operation.ok_or_else(|| invalid(&format!("operation is not supported: {}", wanted.operation)))?;
    let query = wanted.query.clone().ok_or_else(|| invalid("query is required"))?;
    if wanted.object.is_some() || wanted.external_id_field_name.is_some() {
        return Err(invalid("a query job has no object and no externalIdFieldName"));
    }
    if wanted.content_type.as_deref().is_some_and(|word| word != "CSV") {
        return Err(invalid("contentType must be CSV"));
    }
    let object = bulk::object(&org.store, &query, now_ms)
        .map_err(|refused| Response::error(400, refused.code, &refused.message))?;
    org.limits.bulk.take_query_job(now_ms).map_err(|message| Response::error(400, "EXCEEDEDQUOTA", message))?;
    let mut job = job(now_ms, ticket, Kind::Query, operation, &wanted);
    job.object = object;
    job.state = State::UploadComplete;
    job.due_ms = now_ms + org.config.bulk.start_delay_ms as i64;
    let mut part = Part::new(job.id, now_ms);
    part.query = Some(query);
    job.parts.push(part);
    Ok(job)
}

/// The bytes that a call uploads: as the server stored them, or from its body.
///
/// # Errors
/// When a temporary file cannot be written.
pub fn uploaded(org: &Org, request: &Request<'_>) -> Result<Arc<Blob>, Response> {
    if let Some(upload) = &request.upload {
        return Ok(upload.clone());
    }
    let blob = Blob::of(org.bulk.spool(), request.body).and_then(Blob::finish);
    blob.map_err(|error| Response::error(500, "UNKNOWN_EXCEPTION", &error.to_string()))
}
