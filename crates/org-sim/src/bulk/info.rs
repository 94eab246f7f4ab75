//! Jobs as JSON.

use super::job::{Job, Kind, State};
use crate::answer::Response;
use crate::value::Value as Cell;
use serde_json::{Map, Value, json};

/// A time as jobs show it: `2018-12-18T22:51:58.000+0000`, to the second.
pub fn time(ms: i64) -> String {
    Cell::Datetime(ms - ms.rem_euclid(1000)).to_string()
}

/// What the calls that create and change a job answer with.
pub fn brief(job: &Job) -> Response {
    Response::value(200, &Value::Object(common(job)))
}

/// What is known of a job.
pub fn full(job: &Job) -> Response {
    Response::value(200, &Value::Object(entry(job)))
}

/// A job with its counts.
pub fn entry(job: &Job) -> Map<String, Value> {
    let mut map = common(job);
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("jobType", json!(job.kind.word()));
    put("numberRecordsProcessed", json!(job.processed()));
    if job.kind != Kind::Query {
        put("numberRecordsFailed", json!(job.failed()));
    }
    put("retries", json!(job.retries));
    let started = job.parts.iter().filter(|part| part.run.is_some() || part.state.is_end()).map(|p| p.started_ms).min();
    let total = started.map_or(0, |started| (job.modified_ms - started).max(0));
    put("totalProcessingTime", json!(total));
    if job.kind != Kind::Query {
        let active: i64 = job.parts.iter().map(|part| part.active_ms).sum();
        put("apiActiveProcessingTime", json!(active));
        put("apexProcessingTime", json!(0));
    }
    let chunked = job.kind == Kind::Query && job.parts.iter().any(|part| splits(part.query.as_deref()));
    put("isPkChunkingSupported", json!(chunked));
    if let (Some(error), State::Failed) = (&job.error, job.state) {
        put("errorMessage", json!(error));
    }
    map
}

/// A query that Salesforce may cut by primary key: `ORDER BY` and `LIMIT` forbid it.
fn splits(query: Option<&str>) -> bool {
    query.is_some_and(|query| {
        let query = query.to_ascii_uppercase();
        !query.contains("ORDER BY") && !query.contains(" LIMIT ")
    })
}

fn common(job: &Job) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("id", json!(job.id.as_str()));
    put("operation", json!(job.operation.word()));
    put("object", json!(job.object));
    put("createdById", json!(job.user.as_str()));
    put("createdDate", json!(time(job.created_ms)));
    put("systemModstamp", json!(time(job.modified_ms)));
    put("state", json!(job.state.word()));
    if let Some(field) = &job.external_id {
        put("externalIdFieldName", json!(field));
    }
    put("concurrencyMode", json!(if job.serial { "Serial" } else { "Parallel" }));
    put("contentType", json!(job.format.word()));
    put("apiVersion", json!(f64::from(job.version)));
    if let Some(rule) = &job.assignment_rule {
        put("assignmentRuleId", json!(rule));
    }
    if job.kind == Kind::Ingest && job.state == State::Open {
        put("contentUrl", json!(format!("services/data/v{}.0/jobs/ingest/{}/batches", job.version, job.id)));
    }
    if job.kind != Kind::Classic {
        put("lineEnding", json!(job.dialect.line_ending.word()));
        put("columnDelimiter", json!(job.dialect.delimiter.word()));
    }
    map
}
