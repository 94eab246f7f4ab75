//! The REST API: which path means what, and who answers it.

mod collections;
mod composite;
mod describe;
pub mod limits;
pub mod related;
mod replication;
mod single;

use crate::answer::{Request, Response, decoded};
use crate::faults::{Api, Operation, Refusal};
use crate::ids::SfId;
use crate::json::Json;
use crate::oauth::Caller;
use crate::org::{Org, Ticket};
use crate::query;
use crate::store::Store;
use http::Method;
use serde_json::json;

/// The versions that the org speaks; older ones are gone, newer ones unknown.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 31..=66;

/// Bytes of a URI that Salesforce takes.
const URI_BYTES_MAX: usize = 16_384;

/// What a request is aimed at.
pub enum Target {
    /// It is answered by its form alone.
    Answer(Response),
    /// A call that needs no session.
    Oauth(LogIn),
    /// `/id/…`.
    Identity,
    Versions,
    /// A counted call.
    Call(Box<Plan>),
}

/// A way to come by a session, or to end one.
pub enum LogIn {
    /// A token endpoint, by its last segment.
    Oauth(String),
    /// The partner (`u`) or enterprise (`c`) SOAP API.
    Soap { kind: &'static str, version: String },
}

/// What a call wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Resources,
    Limits,
    DescribeGlobal,
    ObjectInfo,
    Describe,
    Query,
    QueryAll,
    QueryMore,
    Updated,
    Deleted,
    /// The parent or the children of a record.
    Related,
    Recent,
    /// One record, by method; the id or the key field and value are in the plan.
    One,
    Create,
    /// Collections, by method.
    Many,
    /// `/composite`
    Series,
    Batch,
    Graph,
    Tree,
    CompositeInfo,
    /// A call of a Bulk API; which one is in the plan.
    Bulk,
}

/// A call as its path and body describe it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub version: u32,
    pub action: Action,
    pub api: Api,
    pub operation: Operation,
    pub object: Option<String>,
    /// The upsert's key.
    pub key_field: Option<String>,
    /// The upsert's value in a single call's path, or a query's locator.
    pub key_value: Option<String>,
    /// Records that are named by id in the path or the query.
    pub ids: Vec<String>,
    /// How many records the call is about.
    pub rows: usize,
    /// What a call of a Bulk API wants.
    pub bulk: Option<crate::bulk::Route>,
}

impl Plan {
    pub(crate) fn new(version: u32, action: Action, api: Api) -> Self {
        Self {
            version,
            action,
            api,
            operation: Operation::Read,
            object: None,
            key_field: None,
            key_value: None,
            ids: Vec::new(),
            rows: 1,
            bulk: None,
        }
    }

    /// The records in the body: those of Collections, or the one of a single call.
    pub fn records<'r, 'a>(&self, request: &'r Request<'a>) -> impl Iterator<Item = &'r Json<'a>> + use<'r, 'a> {
        let body = request.json.as_ref().and_then(|json| json.as_ref().ok());
        let many = matches!(self.action, Action::Many | Action::Tree);
        let list = body.filter(|_| many).and_then(|body| body.get("records")).and_then(Json::items);
        list.unwrap_or_default().iter().chain(body.filter(|_| !many))
    }
}

/// Reads a request's path and method.
pub fn target(request: &Request<'_>) -> Target {
    if request.path.len() + request.query.len() >= URI_BYTES_MAX {
        return Target::Answer(Response::error(
            414,
            "URI_TOO_LONG",
            "The length of the URI exceeds the 16,384 byte limit.",
        ));
    }
    let mut segments: Vec<String> = request.path.split('/').skip(1).map(|part| decoded(part).into_owned()).collect();
    if segments.last().is_some_and(String::is_empty) {
        segments.pop();
    }
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["services", "oauth2", what] => Target::Oauth(LogIn::Oauth((*what).to_owned())),
        ["services", "Soap", kind @ ("u" | "c"), version] | ["services", "Soap", kind @ ("u" | "c"), version, _] => {
            let kind = if *kind == "u" { "u" } else { "c" };
            Target::Oauth(LogIn::Soap { kind, version: (*version).to_owned() })
        }
        ["id", _, _] => Target::Identity,
        ["services", "async", rest @ ..] => crate::bulk::async_plan(request, rest),
        ["services", "data"] => Target::Versions,
        ["services", "data", version, rest @ ..] => call_target(request, version, rest),
        _ => Target::Answer(not_found()),
    }
}

fn call_target(request: &Request<'_>, version: &str, rest: &[&str]) -> Target {
    let number = version.strip_prefix('v').and_then(|number| number.strip_suffix(".0")).and_then(|n| n.parse().ok());
    let version = match number {
        Some(version) if VERSIONS.contains(&version) => version,
        Some(version) if (7..*VERSIONS.start()).contains(&version) => {
            return Target::Answer(Response::error(410, "GONE", "The requested API version has been retired."));
        }
        _ => return Target::Answer(not_found()),
    };
    match plan(request, version, rest) {
        Ok(plan) => Target::Call(Box::new(plan)),
        Err(response) => Target::Answer(response),
    }
}

fn plan(request: &Request<'_>, version: u32, rest: &[&str]) -> Result<Plan, Response> {
    let get = request.method == Method::GET || request.method == Method::HEAD;
    let metadata = |action| Plan::new(version, action, Api::Metadata);
    let (plan, allowed) = match rest {
        [] => (metadata(Action::Resources), get),
        ["limits"] => (metadata(Action::Limits), get),
        ["query" | "queryAll", locator] => {
            let mut plan = Plan::new(version, Action::QueryMore, Api::Query);
            plan.key_value = Some((*locator).to_owned());
            (plan, get)
        }
        [word @ ("query" | "queryAll")] => {
            let action = if *word == "query" { Action::Query } else { Action::QueryAll };
            (Plan::new(version, action, Api::Query), get)
        }
        ["recent"] => (metadata(Action::Recent), get),
        ["sobjects"] => (Plan::new(version, Action::DescribeGlobal, Api::Describe), get),
        ["jobs", rest @ ..] => return crate::bulk::plan(request, version, rest),
        ["sobjects", rest @ ..] => return object_plan(request, version, rest, get),
        ["composite", "sobjects", rest @ ..] if rest.len() <= 2 => return Ok(many_plan(request, version, rest)),
        ["composite"] if get => (metadata(Action::CompositeInfo), true),
        ["composite", rest @ ..] => return composite_plan(request, version, rest),
        _ => return Err(not_found()),
    };
    if allowed { Ok(plan) } else { Err(wrong_method()) }
}

fn object_plan(request: &Request<'_>, version: u32, rest: &[&str], get: bool) -> Result<Plan, Response> {
    let (post, patch, delete) =
        (request.method == Method::POST, request.method == Method::PATCH, request.method == Method::DELETE);
    let (mut plan, object) = match rest {
        [object] if get => (Plan::new(version, Action::ObjectInfo, Api::Describe), object),
        [object] if post => (Plan::new(version, Action::Create, Api::Single), object),
        [object, "describe"] if get => (Plan::new(version, Action::Describe, Api::Describe), object),
        [object, "updated"] if get => (Plan::new(version, Action::Updated, Api::Query), object),
        [object, "deleted"] if get => (Plan::new(version, Action::Deleted, Api::Query), object),
        [object, id, relationship] if get && SfId::parse(id).is_some() => {
            let mut plan = Plan::new(version, Action::Related, Api::Query);
            plan.ids.push((*id).to_owned());
            plan.key_value = Some((*relationship).to_owned());
            (plan, object)
        }
        [object, id] if get || patch || delete => {
            let mut plan = Plan::new(version, Action::One, Api::Single);
            plan.ids.push((*id).to_owned());
            (plan, object)
        }
        [object, field, value] if get || patch || delete || post => {
            let mut plan = Plan::new(version, Action::One, Api::Single);
            (plan.key_field, plan.key_value) = (Some((*field).to_owned()), Some((*value).to_owned()));
            (plan, object)
        }
        [_] | [_, _] | [_, _, _] => return Err(wrong_method()),
        _ => return Err(not_found()),
    };
    plan.object = Some((*object).to_owned());
    plan.operation = match plan.action {
        Action::Create => Operation::Create,
        Action::One if get => Operation::Read,
        Action::One if delete => Operation::Delete,
        Action::One if plan.key_field.is_some() => Operation::Upsert,
        Action::One => Operation::Update,
        _ => Operation::Read,
    };
    Ok(plan)
}

fn many_plan(request: &Request<'_>, version: u32, rest: &[&str]) -> Plan {
    let mut plan = Plan::new(version, Action::Many, Api::Collections);
    plan.object = rest.first().map(|object| (*object).to_owned());
    plan.key_field = rest.get(1).map(|field| (*field).to_owned());
    plan.operation = match (request.method.as_str(), rest.len()) {
        ("POST", 0) => Operation::Create,
        ("PATCH", 0) => Operation::Update,
        ("PATCH", 2) => Operation::Upsert,
        ("DELETE", 0) => Operation::Delete,
        _ => Operation::Read,
    };
    if plan.operation == Operation::Delete || plan.operation == Operation::Read {
        let listed = request.parameter("ids").unwrap_or_default();
        plan.ids = listed.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect();
    }
    plan.rows = plan.ids.len().max(plan.records(request).count());
    plan
}

fn composite_plan(request: &Request<'_>, version: u32, rest: &[&str]) -> Result<Plan, Response> {
    let action = match rest {
        [] => Action::Series,
        ["batch"] => Action::Batch,
        ["graph"] => Action::Graph,
        ["tree", _] => Action::Tree,
        _ => return Err(not_found()),
    };
    if request.method != Method::POST {
        return Err(wrong_method());
    }
    let mut plan = Plan::new(version, action, Api::Composite);
    plan.rows =
        request.json.as_ref().and_then(|json| json.as_ref().ok()).map_or(0, |body| composite::size(action, body));
    if action == Action::Tree {
        plan.object = rest.get(1).map(|object| (*object).to_owned());
        plan.operation = Operation::Create;
    }
    Ok(plan)
}

/// The key of each row, for fault rules: the upsert's key, any external id that is sent, or the id.
pub fn row_keys(store: &Store, plan: &Plan, request: &Request<'_>) -> Vec<String> {
    if let Some(value) = &plan.key_value {
        return vec![value.clone()];
    }
    if !plan.ids.is_empty() && plan.action == Action::Many {
        return plan.ids.iter().map(|id| key_of_row(store, id)).collect();
    }
    let key_of = |record: &Json<'_>| {
        let typed = record.get("attributes").and_then(|attributes| attributes.get("type")).and_then(Json::text);
        let table = plan.object.as_deref().or(typed).and_then(|name| store.find_table(name))?;
        let object = &store.table(table).object;
        let is_key = |name: &str| match &plan.key_field {
            Some(field) => field.eq_ignore_ascii_case(name),
            None => object.field(name).is_some_and(|number| object.fields[usize::from(number)].external_id),
        };
        let members = record.members().unwrap_or_default();
        let text = |value: &Json<'_>| match value {
            Json::Text(text) => Some(text.to_string()),
            Json::Number(digits) => Some((*digits).to_owned()),
            _ => None,
        };
        let sent = members.iter().find(|(name, _)| is_key(name)).and_then(|(_, value)| text(value));
        sent.or_else(|| record.get("id").or(record.get("Id")).and_then(Json::text).map(|id| key_of_row(store, id)))
    };
    let mut keys: Vec<String> = plan.records(request).map(|record| key_of(record).unwrap_or_default()).collect();
    if plan.action == Action::One && keys.is_empty() {
        keys = plan.ids.iter().map(|id| key_of_row(store, id)).collect();
    }
    keys
}

/// The first external id of the row with this id, or the id.
fn key_of_row(store: &Store, id: &str) -> String {
    let found = crate::ids::SfId::parse(id).and_then(|id| store.row_of(id));
    let key = found.and_then(|(table, _, row)| {
        let fields = store.table(table).object.fields.iter().enumerate();
        let mut keys = fields.filter(|(_, field)| field.external_id).map(|(number, _)| row.cell(number as u16));
        keys.find(|value| !value.is_null()).map(ToString::to_string)
    });
    key.unwrap_or_else(|| id.to_owned())
}

/// Answers an admitted call, or a part of one: with its fault if it has one, else by doing what it wants.
pub fn answer(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>) -> Response {
    match &ticket.decided.refuse {
        Some(Refusal::Http { status, code, message }) => Response::error(*status, code, message),
        Some(Refusal::Html503) => Response::html_503(),
        None => {
            let response = call(org, now_ms, ticket, request);
            match &ticket.decided.replace {
                Some(Refusal::Http { status, code, message }) => Response::error(*status, code, message),
                _ => response,
            }
        }
    }
}

/// Does what an admitted call wants.
fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>) -> Response {
    let plan = &ticket.plan;
    org.store.access.act_as(ticket.caller.user);
    if plan.action == Action::Bulk {
        return crate::bulk::call(org, now_ms, ticket, request);
    }
    let writes = plan.operation != Operation::Read;
    if let (true, Some(Err(error))) = (writes, &request.json) {
        let message = format!("{} at [line:{}, column:{}]", error.cause, error.line, error.column);
        return Response::error(400, "JSON_PARSER_ERROR", &message);
    }
    if writes && plan.operation != Operation::Delete && request.json.is_none() {
        let message = "The HTTP entity body is required, but this request has no entity body.";
        return Response::error(400, "JSON_PARSER_ERROR", message);
    }
    match plan.action {
        Action::Resources => resources(org, &ticket.caller, plan.version, request),
        Action::Limits => Response::value(200, &limits::body(org, plan.version, now_ms)),
        Action::DescribeGlobal => describe::global(org, plan.version, request),
        Action::ObjectInfo => describe::info(org, plan),
        Action::Describe => describe::object(org, plan, request),
        Action::Query => query::start(org, ticket, request, false, now_ms),
        Action::QueryAll => query::start(org, ticket, request, true, now_ms),
        Action::QueryMore => query::more(org, plan, now_ms),
        Action::Updated => replication::updated(org, plan, request, now_ms),
        Action::Deleted => replication::deleted(org, plan, request, now_ms),
        Action::Related => related::call(org, plan, request, now_ms),
        Action::Recent => related::recent(org, ticket.caller.user, plan, request),
        Action::One | Action::Create => single::call(org, now_ms, ticket, request),
        Action::Many => collections::call(org, now_ms, ticket, request),
        Action::Series | Action::Batch | Action::Graph | Action::Tree => composite::call(org, now_ms, ticket, request),
        Action::CompositeInfo => composite::resources(plan.version),
        Action::Bulk => not_found(),
    }
}

/// The list of versions: needs no session and counts nothing.
pub fn versions() -> Response {
    let season = ["Spring", "Summer", "Winter"];
    let list = VERSIONS.map(|version| {
        // v31 was Summer '14; three releases a year, and a winter release carries the next year's number.
        let since = version - 31 + 1;
        let year = 14 + since / 3 + u32::from(since % 3 == 2);
        json!({
            "label": format!("{} '{year}", season[(since % 3) as usize]),
            "url": format!("/services/data/v{version}.0"),
            "version": format!("{version}.0"),
        })
    });
    Response::value(200, &list.collect())
}

fn resources(org: &Org, caller: &Caller, version: u32, request: &Request<'_>) -> Response {
    let path = |name: &str| format!("/services/data/v{version}.0/{name}");
    let names = ["sobjects", "query", "queryAll", "limits", "composite", "jobs", "recent"];
    let mut list: serde_json::Map<String, serde_json::Value> =
        names.iter().map(|name| ((*name).to_owned(), path(name).into())).collect();
    let base = org.own_address(request);
    list.insert("identity".into(), format!("{base}/id/{}/{}", org.sessions.org_id, caller.user).into());
    Response::value(200, &list.into())
}

pub(crate) fn not_found() -> Response {
    Response::error(404, "NOT_FOUND", "The requested resource does not exist")
}

pub(crate) fn wrong_method() -> Response {
    Response::error(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed for this resource")
}

/// The answer for an object that the org does not have.
fn no_such_object() -> Response {
    not_found()
}
