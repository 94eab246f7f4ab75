//! Calls of Bulk API 1.0.

use super::super::csv::Dialect;
use super::super::job::{Fate, Format, Job, Kind, Operation, Part, State};
use super::super::{create, ingest, settle};
use super::{Route, answer_format, batch, info, xml};
use crate::answer::{Request, Response};
use crate::org::{Org, Ticket};
use serde_json::Value;

/// Does what an admitted call wants; errors have the REST API's form.
pub fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>, route: &Route) -> Response {
    let Some(id) = route.job() else { return create(org, now_ms, ticket, request) };
    let number = org.bulk.find(id);
    let Some((number, job)) = number.and_then(|number| org.bulk.jobs.get(&number).map(|job| (number, job))) else {
        return Response::error(400, "InvalidJob", &format!("Unable to find job id: {id}"));
    };
    if job.kind != Kind::Classic {
        return Response::error(400, "InvalidJob", "The job is one of Bulk API 2.0");
    }
    let format = answer_format(request, Some(job));
    match route {
        Route::Create | Route::Info(_) => info::job(job, format, 200),
        Route::Batches(_) => info::batches(job, format),
        Route::Batch(_, batch) => with(job, batch, |part| info::batch(job, part, format, 200)),
        Route::Sent(_, batch) => with(job, batch, |part| batch::sent(org, job, part)),
        Route::Result(job_id, batch) => {
            let response = with(job, batch, |part| batch::result(org, job, part, request));
            ingest::spoil(org, Kind::Classic, job_id, response)
        }
        Route::QueryResult(job_id, batch, result) => {
            let response = with(job, batch, |part| batch::query_result(job, part, result));
            ingest::spoil(org, Kind::Classic, job_id, response)
        }
        Route::AddBatch(_) => batch::add(org, now_ms, number, request),
        Route::Change(_) => change(org, now_ms, number, request),
    }
}

fn with(job: &Job, batch: &str, answer: impl FnOnce(&Part) -> Response) -> Response {
    let id = crate::ids::SfId::parse(batch);
    match job.parts.iter().find(|part| Some(part.id) == id) {
        Some(part) => answer(part),
        None => Response::error(400, "InvalidBatch", &format!("Unable to find batch id: {batch}")),
    }
}

/// The fields of a job as it was sent, in JSON or XML.
fn fields(request: &Request<'_>) -> Option<impl Fn(&str) -> Option<String> + use<>> {
    let json = serde_json::from_slice::<Value>(request.body).ok();
    let document = match json {
        Some(_) => None,
        None => Some(xml::parse(std::str::from_utf8(request.body).ok()?.trim())?),
    };
    Some(move |name: &str| match (&json, &document) {
        (Some(json), _) => match json.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        },
        (_, Some(document)) => document.child(name).map(str::to_owned),
        _ => None,
    })
}

fn create(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>) -> Response {
    let Some(field) = fields(request) else {
        return Response::error(400, "InvalidJob", "The request's body is neither JSON nor XML");
    };
    let word = field("operation").unwrap_or_default();
    let Some(operation) = Operation::from_word(&word) else {
        return Response::error(400, "InvalidJob", &format!("Unable to parse Job: operation is unknown: {word}"));
    };
    let format = match field("contentType").as_deref() {
        None | Some("XML") => Format::Xml,
        Some("CSV") => Format::Csv,
        Some("JSON") => Format::Json,
        Some(other) => {
            return Response::error(400, "InvalidJob", &format!("The content type is not supported: {other}"));
        }
    };
    let external_id = field("externalIdFieldName").filter(|name| !name.is_empty());
    let object = match create::check(org, operation, &field("object").unwrap_or_default(), external_id.as_deref()) {
        Ok(object) => object,
        Err(response) => return response,
    };
    if org.bulk.jobs.len() >= org.config.bulk.jobs_max {
        return Response::error(400, "ExceededQuota", "too many jobs are kept");
    }
    let (number, id) = org.bulk.job_id();
    let job = Job {
        id,
        kind: Kind::Classic,
        version: ticket.plan.version,
        operation,
        object,
        external_id,
        format,
        dialect: Dialect { lenient: true, ..Dialect::default() },
        assignment_rule: field("assignmentRuleId"),
        // Some clients send the mode as a number.
        serial: field("concurrencyMode").is_some_and(|mode| mode.eq_ignore_ascii_case("serial") || mode == "1"),
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
    };
    let response = info::job(&job, answer_format(request, Some(&job)), 201);
    org.bulk.jobs.insert(number, job);
    response
}

/// Closes or aborts a job.
fn change(org: &mut Org, now_ms: i64, number: u64, request: &Request<'_>) -> Response {
    let wanted = fields(request).and_then(|field| field("state")).unwrap_or_default();
    let Some(job) = org.bulk.jobs.get_mut(&number) else { return crate::rest::not_found() };
    let refused = |word: &str, state: State| {
        Response::error(400, "InvalidJobState", &format!("{word} already {} Job not allowed", state.past()))
    };
    match wanted.as_str() {
        "Closed" if job.state == State::Open => job.enter(State::Closed, now_ms),
        "Closed" => return refused("Closing", job.state),
        "Aborted" if job.state.is_end() => return refused("Aborting", job.state),
        "Aborted" => settle::abort(org, number, now_ms),
        other => {
            return Response::error(400, "InvalidJobState", &format!("The job cannot be set to the state '{other}'"));
        }
    }
    match org.bulk.jobs.get(&number) {
        Some(job) => info::job(job, answer_format(request, Some(job)), 200),
        None => crate::rest::not_found(),
    }
}
