//! Jobs and batches of Bulk API 1.0 as JSON and XML.

use super::super::info::time;
use super::super::job::{Format, Job, Part, PartState};
use super::xml::{NAMESPACE, escape};
use crate::answer::Response;
use serde_json::{Map, Value, json};

/// Answers with a job.
pub fn job(job: &Job, format: Format, status: u16) -> Response {
    answer("jobInfo", &job_fields(job), format, status)
}

/// Answers with a batch.
pub fn batch(job: &Job, part: &Part, format: Format, status: u16) -> Response {
    answer("batchInfo", &batch_fields(job, part), format, status)
}

/// Answers with every batch of a job.
pub fn batches(job: &Job, format: Format) -> Response {
    let all = job.parts.iter().map(|part| batch_fields(job, part));
    if format == Format::Json {
        return Response::value(200, &json!({ "batchInfo": all.map(Value::Object).collect::<Vec<_>>() }));
    }
    let inner: String = all.map(|fields| format!("<batchInfo>{}</batchInfo>", xml(&fields))).collect();
    Response::xml(200, document("batchInfoList", &inner))
}

/// A document in the namespace of the API.
pub fn document(name: &str, inner: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{name} xmlns=\"{NAMESPACE}\">{inner}</{name}>")
}

fn answer(name: &str, fields: &Map<String, Value>, format: Format, status: u16) -> Response {
    match format {
        Format::Json => Response::value(status, &Value::Object(fields.clone())),
        _ => Response::xml(status, document(name, &xml(fields))),
    }
}

fn xml(fields: &Map<String, Value>) -> String {
    let mut out = String::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let text = match value {
            // XML has its times in another form.
            Value::String(text) if name.ends_with("Date") || name == "systemModstamp" => text.replace("+0000", "Z"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        out.push_str(&format!("\n <{name}>{}</{name}>", escape(&text)));
    }
    out.push('\n');
    out
}

fn job_fields(job: &Job) -> Map<String, Value> {
    let count = |state: PartState| job.parts.iter().filter(|part| part.state == state).count();
    let active: i64 = job.parts.iter().map(|part| part.active_ms).sum();
    let total: i64 = job.parts.iter().map(total_ms).sum();
    let pairs = [
        ("id", json!(job.id.as_str())),
        ("operation", json!(job.operation.word())),
        ("object", json!(job.object)),
        ("createdById", json!(job.user.as_str())),
        ("createdDate", json!(time(job.created_ms))),
        ("systemModstamp", json!(time(job.modified_ms))),
        ("state", json!(job.state.word())),
        ("externalIdFieldName", json!(job.external_id)),
        ("concurrencyMode", json!(if job.serial { "Serial" } else { "Parallel" })),
        ("contentType", json!(job.format.word())),
        ("assignmentRuleId", json!(job.assignment_rule)),
        ("numberBatchesQueued", json!(count(PartState::Queued))),
        ("numberBatchesInProgress", json!(count(PartState::InProgress))),
        ("numberBatchesCompleted", json!(count(PartState::Completed))),
        ("numberBatchesFailed", json!(count(PartState::Failed))),
        ("numberBatchesTotal", json!(job.parts.len())),
        ("numberRecordsProcessed", json!(job.processed())),
        ("numberRetries", json!(job.retries)),
        ("apiVersion", json!(f64::from(job.version))),
        ("numberRecordsFailed", json!(job.failed())),
        ("totalProcessingTime", json!(total)),
        ("apiActiveProcessingTime", json!(active)),
        ("apexProcessingTime", json!(0)),
        ("fastPathEnabled", json!(false)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn batch_fields(job: &Job, part: &Part) -> Map<String, Value> {
    let pairs = [
        ("id", json!(part.id.as_str())),
        ("jobId", json!(job.id.as_str())),
        ("state", json!(part.state.word())),
        ("stateMessage", json!(part.message)),
        ("createdDate", json!(time(part.created_ms))),
        ("systemModstamp", json!(time(part.modified_ms))),
        ("numberRecordsProcessed", json!(part.processed)),
        ("numberRecordsFailed", json!(part.failed)),
        ("totalProcessingTime", json!(total_ms(part))),
        ("apiActiveProcessingTime", json!(part.active_ms)),
        ("apexProcessingTime", json!(0)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn total_ms(part: &Part) -> i64 {
    if part.state.is_end() { (part.modified_ms - part.started_ms).max(0) } else { 0 }
}
