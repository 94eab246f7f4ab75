//! Which path means what.

use super::job::{Job, Kind, Operation, State};
use super::{create, info, ingest, list, query, settle, v1};
use crate::answer::{Request, Response};
use crate::faults::{Api, BulkCall};
use crate::org::{Org, Ticket};
use crate::rest::{Action, Plan, Target, VERSIONS};
use serde_json::Value;

/// A result file of an ingest job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Successful,
    Failed,
    Unprocessed,
}

/// What a call wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Create(Kind),
    List(Kind),
    Info(Kind, String),
    Upload(String),
    /// To close or to abort.
    Change(Kind, String),
    Delete(Kind, String),
    Results(String, File),
    QueryResults(String),
    ResultPages(String),
    Classic(v1::Route),
}

impl Route {
    /// The job that the path names.
    fn job(&self) -> Option<&str> {
        match self {
            Self::Create(_) | Self::List(_) => None,
            Self::Info(_, id) | Self::Change(_, id) | Self::Delete(_, id) => Some(id),
            Self::Upload(id) | Self::Results(id, _) | Self::QueryResults(id) | Self::ResultPages(id) => Some(id),
            Self::Classic(route) => route.job(),
        }
    }

    /// The call as fault rules know it.
    pub fn seen(&self, body: &[u8]) -> BulkCall {
        match self {
            Self::Create(_) => BulkCall::Create,
            Self::List(_) => BulkCall::List,
            Self::Info(..) => BulkCall::Info,
            Self::Upload(_) => BulkCall::Upload,
            Self::Change(..) if memchr::memmem::find(body, b"Aborted").is_some() => BulkCall::Abort,
            Self::Change(..) => BulkCall::Close,
            Self::Delete(..) => BulkCall::Delete,
            Self::Results(..) | Self::QueryResults(_) | Self::ResultPages(_) => BulkCall::Results,
            Self::Classic(route) => route.seen(body),
        }
    }
}

/// Reads what comes after `/services/data/vXX.X/jobs`.
///
/// # Errors
/// The answer to a path or method that does not exist.
pub fn plan(request: &Request<'_>, version: u32, rest: &[&str]) -> Result<Plan, Response> {
    let (kind, rest) = match rest.split_first() {
        Some((&"ingest", rest)) => (Kind::Ingest, rest),
        Some((&"query", rest)) => (Kind::Query, rest),
        _ => return Err(crate::rest::not_found()),
    };
    let ingest = kind == Kind::Ingest;
    let id = || rest.first().map(|id| (*id).to_owned()).unwrap_or_default();
    let last = rest.get(1).map(|word| word.to_ascii_lowercase());
    let route = match (request.method.as_str(), rest.len(), last.as_deref()) {
        ("POST", 0, _) => Route::Create(kind),
        ("GET", 0, _) => Route::List(kind),
        ("GET", 1, _) => Route::Info(kind, id()),
        ("PATCH", 1, _) => Route::Change(kind, id()),
        ("DELETE", 1, _) => Route::Delete(kind, id()),
        ("PUT", 2, Some("batches")) if ingest => Route::Upload(id()),
        ("GET", 2, Some("successfulresults")) if ingest => Route::Results(id(), File::Successful),
        ("GET", 2, Some("failedresults")) if ingest => Route::Results(id(), File::Failed),
        ("GET", 2, Some("unprocessedrecords")) if ingest => Route::Results(id(), File::Unprocessed),
        ("GET", 2, Some("results")) if !ingest => Route::QueryResults(id()),
        ("GET", 2, Some("resultpages")) if !ingest => match version >= RESULT_PAGES_SINCE {
            true => Route::ResultPages(id()),
            false => return Err(crate::rest::not_found()),
        },
        (_, 0 | 1, _) => return Err(crate::rest::wrong_method()),
        (_, 2, Some("batches" | "successfulresults" | "failedresults" | "unprocessedrecords")) if ingest => {
            return Err(crate::rest::wrong_method());
        }
        (_, 2, Some("results" | "resultpages")) if !ingest => return Err(crate::rest::wrong_method()),
        _ => return Err(crate::rest::not_found()),
    };
    let mut plan = Plan::new(version, Action::Bulk, Api::Bulk);
    plan.rows = 0;
    plan.bulk = Some(route);
    Ok(plan)
}

/// The first version with `resultPages`.
const RESULT_PAGES_SINCE: u32 = 58;

/// Reads what comes after `/services/async`.
pub fn async_plan(request: &Request<'_>, rest: &[&str]) -> Target {
    let Some((version, rest)) = rest.split_first() else { return Target::Answer(crate::rest::not_found()) };
    let version = version.strip_suffix(".0").and_then(|number| number.parse().ok());
    let version = version.filter(|version| VERSIONS.contains(version));
    let (Some(version), Some(route)) = (version, v1::Route::read(request, rest)) else {
        return Target::Answer(Response::error(400, "InvalidUrl", "Destination URL not reset. The URL is invalid."));
    };
    let mut plan = Plan::new(version, Action::Bulk, Api::Bulk);
    plan.rows = 0;
    plan.bulk = Some(Route::Classic(route));
    Target::Call(Box::new(plan))
}

/// Adds what the job knows to a call's plan, so that fault rules can look at it.
pub fn complete(org: &Org, plan: &mut Plan, request: &Request<'_>) {
    let Some(route) = &plan.bulk else { return };
    if let Some(job) = route.job().and_then(|id| org.bulk.find(id)).and_then(|number| org.bulk.jobs.get(&number)) {
        plan.object = Some(job.object.clone());
        plan.operation = job.operation.seen();
        return;
    }
    if let Ok(body) = serde_json::from_slice::<Value>(request.body) {
        plan.object = body.get("object").and_then(Value::as_str).map(str::to_owned);
        let word = body.get("operation").and_then(Value::as_str).and_then(Operation::from_word);
        plan.operation = word.map_or(plan.operation, Operation::seen);
    }
}

/// Does what an admitted call wants.
pub fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>) -> Response {
    org.bulk.tidy(&org.config.bulk, now_ms);
    let version = ticket.plan.version;
    let Some(route) = &ticket.plan.bulk else { return crate::rest::not_found() };
    match route {
        Route::Create(kind) => create::call(org, now_ms, ticket, request, *kind),
        Route::List(kind) => list::call(org, version, request, *kind),
        Route::Classic(route) => v1::call(org, now_ms, ticket, request, route),
        Route::Info(kind, id) => with_job(org, *kind, id, None, |_, job| info::full(job)),
        Route::Upload(id) => ingest::upload(org, now_ms, version, id, request),
        Route::Change(kind, id) => change(org, now_ms, version, *kind, id, request),
        Route::Delete(kind, id) => delete(org, *kind, id),
        Route::Results(id, file) => ingest::results(org, version, id, *file),
        Route::QueryResults(id) => query::results(org, version, id, request),
        Route::ResultPages(id) => query::pages(org, version, id, request),
    }
}

/// Answers for a job that is there, of this kind, and of this version.
pub fn with_job(
    org: &Org,
    kind: Kind,
    id: &str,
    version: Option<u32>,
    answer: impl FnOnce(&Org, &Job) -> Response,
) -> Response {
    match find(org, kind, id, version) {
        Ok(number) => match org.bulk.jobs.get(&number) {
            Some(job) => answer(org, job),
            None => crate::rest::not_found(),
        },
        Err(response) => response,
    }
}

/// Finds a job by its id.
///
/// # Errors
/// 404 for an unknown one, 409 for one of another version.
pub fn find(org: &Org, kind: Kind, id: &str, version: Option<u32>) -> Result<u64, Response> {
    let number = org.bulk.find(id).ok_or_else(crate::rest::not_found)?;
    let job = org.bulk.jobs.get(&number).filter(|job| job.kind == kind).ok_or_else(crate::rest::not_found)?;
    if let Some(version) = version.filter(|version| *version != job.version) {
        let message = format!(
            "The API version of the request ({version}.0) is not the one that the job was created with ({}.0).",
            job.version
        );
        return Err(Response::error(409, "INVALID_API_VERSION", &message));
    }
    Ok(number)
}

/// Closes or aborts a job.
fn change(org: &mut Org, now_ms: i64, version: u32, kind: Kind, id: &str, request: &Request<'_>) -> Response {
    let number = match find(org, kind, id, Some(version)) {
        Ok(number) => number,
        Err(response) => return response,
    };
    let body = serde_json::from_slice::<Value>(request.body).unwrap_or_default();
    let wanted = body.get("state").and_then(Value::as_str).unwrap_or_default();
    let Some(state) = org.bulk.jobs.get(&number).map(|job| job.state) else { return crate::rest::not_found() };
    match wanted {
        "UploadComplete" if kind == Kind::Ingest => {
            if state != State::Open {
                return wrong_state(&format!("Closing already {} Job not allowed", state.past()));
            }
            ingest::close(org, number, now_ms);
        }
        "Aborted" => {
            if state.is_end() {
                return wrong_state(&format!("Aborting already {} Job not allowed", state.past()));
            }
            settle::abort(org, number, now_ms);
        }
        other => return wrong_state(&format!("The job cannot be set to the state '{other}'")),
    }
    match org.bulk.jobs.get(&number) {
        Some(job) => info::brief(job),
        None => crate::rest::not_found(),
    }
}

fn delete(org: &mut Org, kind: Kind, id: &str) -> Response {
    let number = match find(org, kind, id, None) {
        Ok(number) => number,
        Err(response) => return response,
    };
    let state = org.bulk.jobs.get(&number).map(|job| job.state);
    if let Some(state @ (State::Open | State::InProgress)) = state {
        return wrong_state(&format!("Deleting a Job in the state {} is not allowed", state.word()));
    }
    org.bulk.remove(number);
    Response::empty(204)
}

/// The refusal of a call that does not fit the job's state.
pub fn wrong_state(message: &str) -> Response {
    Response::error(400, "INVALIDJOBSTATE", message)
}

/// Puts an answer of Bulk API 1.0 into that API's form.
pub fn dress(request: &Request<'_>, response: Response) -> Response {
    if request.path.starts_with("/services/async/") && response.status >= 400 {
        return v1::error_of(request, response);
    }
    response
}
