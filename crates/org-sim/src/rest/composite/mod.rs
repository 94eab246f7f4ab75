//! Several calls in one: Composite, Batch, Graph and Tree.
//!
//! ```text
//! composite   subrequests in order, each may use what earlier ones answered; with allOrNone one transaction
//! batch       subrequests in order, independent of each other
//! graph       many composites, each one transaction
//! tree        records and their children, one transaction
//! ```
//!
//! A subrequest goes through the same code as a call of its own: it meets fault rules (errors of the call and of its
//! rows; waiting and cut connections concern the call as a whole) and stands in the history under its own API word.

mod batch;
mod graph;
mod references;
mod series;
mod tree;

use super::{Action, Plan, Target};
use crate::answer::{Request, Response};
use crate::faults::Operation;
use crate::json::{Json, write_text};
use crate::org::{Org, Ticket};
use crate::rest;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::time::Duration;

/// Answers `/composite`, `/composite/batch`, `/composite/graph` and `/composite/tree/X`.
pub fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>) -> Response {
    let body = match &request.json {
        Some(Ok(body)) => body,
        Some(Err(error)) => {
            let message = format!("{} at [line:{}, column:{}]", error.cause, error.line, error.column);
            return Response::error(400, "JSON_PARSER_ERROR", &message);
        }
        None => {
            let message = "The HTTP entity body is required, but this request has no entity body.";
            return Response::error(400, "JSON_PARSER_ERROR", message);
        }
    };
    let answered = match ticket.plan.action {
        Action::Batch => batch::call(org, now_ms, ticket, body),
        Action::Graph => graph::call(org, now_ms, ticket, body),
        Action::Tree => tree::call(org, now_ms, ticket, body),
        _ => series::call(org, now_ms, ticket, body),
    };
    answered.unwrap_or_else(|refused| refused)
}

/// Answers `GET /composite`: what there is below it.
pub fn resources(version: u32) -> Response {
    let path = |name: &str| format!("/services/data/v{version}.0/composite/{name}");
    let names = ["tree", "batch", "sobjects", "graph"];
    Response::value(
        200,
        &names.iter().map(|name| ((*name).to_owned(), path(name).into())).collect::<serde_json::Map<_, _>>().into(),
    )
}

/// How many subrequests or records a body holds, for the time that the call takes.
pub fn size(action: Action, body: &Json<'_>) -> usize {
    let list = |name: &str| body.get(name).and_then(Json::items).map_or(0, <[_]>::len);
    match action {
        Action::Batch => list("batchRequests"),
        Action::Tree => list("records"),
        Action::Graph => {
            let graphs = body.get("graphs").and_then(Json::items).unwrap_or_default();
            let nodes = |graph: &Json<'_>| graph.get("compositeRequest").and_then(Json::items).map_or(0, <[_]>::len);
            graphs.iter().map(nodes).sum()
        }
        _ => list("compositeRequest"),
    }
}

/// A subrequest as its JSON tells it.
struct Part<'r, 'a> {
    method: Method,
    url: &'r str,
    /// Empty in a batch.
    reference: &'r str,
    body: Option<&'r Json<'a>>,
    headers: Option<&'r Json<'a>>,
}

impl<'r, 'a> Part<'r, 'a> {
    fn read(json: &'r Json<'a>, body: &str) -> Result<Self, Response> {
        let text = |name: &str| json.get(name).and_then(Json::text);
        let missing =
            |name: &str| invalid(&format!("The {name} parameter is required in each subrequest, but one lacks it."));
        let method = text("method").ok_or_else(|| missing("method"))?.to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| invalid("A subrequest has no valid method."))?;
        Ok(Self {
            method,
            url: text("url").ok_or_else(|| missing("url"))?,
            reference: text("referenceId").unwrap_or_default(),
            body: json.get(body).filter(|body| **body != Json::Null),
            headers: json.get("httpHeaders"),
        })
    }

    /// The segments behind the version, and the version, of a URL in any of the forms that are taken.
    fn resource(&self) -> (Option<&'r str>, Vec<&'r str>) {
        let path = self.url.split('?').next().unwrap_or_default().trim_start_matches('/');
        let path = path.strip_prefix("services/data/").unwrap_or(path);
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        (segments.next(), segments.collect())
    }
}

fn invalid(message: &str) -> Response {
    Response::error(400, "INVALID_INPUT", message)
}

fn too_many(message: &str) -> Response {
    Response::error(400, "LIMIT_EXCEEDED", message)
}

/// Does a subrequest whose URL and body have no references any more.
fn perform(
    org: &mut Org,
    now_ms: i64,
    ticket: &Ticket,
    part: &Part<'_, '_>,
    url: &str,
    body: Option<Json<'_>>,
) -> Done {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let path = match path.strip_prefix("services/data/").or_else(|| path.strip_prefix("/services/data/")) {
        Some(rest) => format!("/services/data/{rest}"),
        None => format!("/services/data/{}", path.trim_start_matches('/')),
    };
    let headers = headers_of(part.headers);
    let request = Request {
        method: &part.method,
        path: &path,
        query,
        headers: &headers,
        body: &[],
        json: body.map(Ok),
        upload: None,
    };
    let plan = match rest::target(&request) {
        Target::Call(plan) => *plan,
        Target::Answer(response) => return Done::of(response, false),
        _ => return Done::of(Response::error(404, "NOT_FOUND", "The requested resource does not exist"), false),
    };
    if !may_be_nested(&plan) {
        let message = "This resource cannot be used in a composite request";
        return Done::of(Response::error(400, "INVALID_INPUT", message), false);
    }
    let decided = org.decide(&plan, &request);
    let rows = plan.action == Action::Many && plan.operation != Operation::Read;
    let ticket = Ticket {
        request: ticket.request,
        plan,
        caller: ticket.caller.clone(),
        client: ticket.client.clone(),
        decided,
        time: Duration::ZERO,
        locks: Vec::new(),
        blocked: Vec::new(),
    };
    Done::of(rest::answer(org, now_ms, &ticket, &request), rows)
}

fn may_be_nested(plan: &Plan) -> bool {
    !matches!(plan.action, Action::Series | Action::Batch | Action::Graph | Action::Tree | Action::Bulk)
}

fn headers_of(json: Option<&Json<'_>>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in json.and_then(Json::members).unwrap_or_default() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Some(Ok(value))) = (name, value.text().map(HeaderValue::from_str)) {
            headers.insert(name, value);
        }
    }
    headers
}

/// A subrequest's answer.
struct Done {
    response: Response,
    failed: bool,
}

impl Done {
    /// `rows`: the answer is a list of results, of which none may have failed.
    fn of(response: Response, rows: bool) -> Self {
        let row_failed = |body: &[u8]| {
            let body = Json::parse(body);
            let results = body.as_ref().ok().and_then(Json::items).unwrap_or_default();
            results.iter().any(|result| result.get("success") == Some(&Json::Bool(false)))
        };
        let failed = response.status >= 300 && response.status != 304 || rows && row_failed(&response.body);
        Self { response, failed }
    }

    /// The answer of a subrequest that was taken back, or not begun, because of another one.
    fn halted() -> Self {
        let message = "The transaction was rolled back since another operation in the same transaction failed.";
        Self { response: Response::error(400, "PROCESSING_HALTED", message), failed: true }
    }
}

/// Writes the member of `compositeResponse` for one subrequest.
fn write_done(out: &mut Vec<u8>, done: &Done, reference: &str) {
    out.extend_from_slice(b"{\"body\":");
    write_body(out, &done.response);
    out.extend_from_slice(b",\"httpHeaders\":{");
    if let Some((_, location)) = done.response.headers.iter().find(|(name, _)| *name == "location") {
        out.extend_from_slice(b"\"Location\":");
        write_text(out, location);
    }
    out.extend_from_slice(format!("}},\"httpStatusCode\":{},\"referenceId\":", done.response.status).as_bytes());
    write_text(out, reference);
    out.push(b'}');
}

/// Writes an answer's body as a JSON value: null for none, text for what is no JSON.
fn write_body(out: &mut Vec<u8>, response: &Response) {
    if response.body.is_empty() {
        out.extend_from_slice(b"null");
    } else if response.content_type.starts_with("application/json") {
        out.extend_from_slice(&response.body);
    } else {
        write_text(out, &String::from_utf8_lossy(&response.body));
    }
}
