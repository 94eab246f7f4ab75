//! sObject Collections: up to 200 records in one call, each with its own result, always in the order of the request.

use super::Plan;
use crate::answer::{Request, Response, write_names};
use crate::dml::{RowError, Writer};
use crate::events::platform::enqueued;
use crate::faults::Operation;
use crate::ids::SfId;
use crate::json::{Json, write_text};
use crate::org::{Org, Ticket};
use crate::query::write_record;
use crate::store::{RowState, Store, index_key};
use hashbrown::HashSet;

/// Records of one call.
const RECORDS_MAX: usize = 200;

/// Runs of one type in a call that mixes types.
const CHUNKS_MAX: usize = 10;

/// Records that one call retrieves by POST.
const RETRIEVE_MAX: usize = 2000;

struct Applied {
    id: SfId,
    /// Only an upsert tells.
    created: Option<bool>,
}

struct Failed {
    /// Known for an update or delete that was rolled back.
    id: Option<SfId>,
    error: RowError,
}

type RowResult = Result<Applied, Failed>;

/// Answers `/composite/sobjects…`.
pub fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>) -> Response {
    let plan = &ticket.plan;
    match (plan.operation, request.method.as_str()) {
        (Operation::Read, "GET" | "POST") if plan.object.is_some() => retrieve(org, plan, request),
        (Operation::Read, _) => super::wrong_method(),
        _ => write(org, now_ms, ticket, request),
    }
}

fn write(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>) -> Response {
    let plan = &ticket.plan;
    let body = request.json.as_ref().and_then(|json| json.as_ref().ok());
    let all_or_none = match plan.operation {
        Operation::Delete => request.parameter("allOrNone").is_some_and(|value| value.eq_ignore_ascii_case("true")),
        _ => matches!(body.and_then(|body| body.get("allOrNone")), Some(Json::Bool(true))),
    };
    let records = match body.and_then(|body| body.get("records")).and_then(Json::items) {
        Some(records) => records,
        None if plan.operation == Operation::Delete => &[],
        None => return Response::error(400, "MISSING_ARGUMENT", "records is a required parameter"),
    };
    if let Err(response) = check_call(&org.store, plan, records) {
        return response;
    }
    let refuse_whole = org.config.unverified.collections_refuse_whole_call;
    let rows = if plan.operation == Operation::Delete { plan.ids.len() } else { records.len() };
    let mut writer = org.writer(ticket, now_ms, all_or_none || refuse_whole);
    let mut keys = HashSet::new();
    let mut results: Vec<RowResult> = Vec::with_capacity(rows);
    for row in 0..rows {
        let result = match ticket.row_fault(row) {
            Some(fault) => Err(Failed {
                id: None,
                error: RowError { code: fault.code.into(), message: fault.message, fields: fault.fields },
            }),
            None => one(&mut writer, plan, records.get(row), row, &mut keys),
        };
        results.push(result);
    }
    let malformed = |result: &&RowResult| match result {
        Err(failed) => failed.error.code == "JSON_PARSER_ERROR" || failed.error.message.starts_with("No such column"),
        Ok(_) => false,
    };
    if refuse_whole && let Some(Err(failed)) = results.iter().find(malformed) {
        let (code, message) = (failed.error.code.clone(), failed.error.message.clone());
        writer.rollback();
        return Response::error(400, &code, &message);
    }
    if all_or_none && results.iter().any(Result::is_err) {
        writer.rollback();
        roll_back_results(&mut results, plan.operation);
    } else {
        writer.commit();
    }
    Response::json(200, write_results(&results))
}

/// Checks what refuses the whole call.
fn check_call(store: &Store, plan: &Plan, records: &[Json<'_>]) -> Result<(), Response> {
    let rows = records.len().max(plan.ids.len());
    if rows > RECORDS_MAX {
        let message = "record limit reached. cannot submit more than 200 records into this operation";
        return Err(Response::error(400, "LIMIT_EXCEEDED", message));
    }
    if plan.operation == Operation::Delete && plan.ids.is_empty() {
        return Err(Response::error(400, "MISSING_ARGUMENT", "The ids parameter is required"));
    }
    if let (Some(object), Some(field)) = (&plan.object, &plan.key_field) {
        let table = store.find_table(object).ok_or_else(super::no_such_object)?;
        let object = &store.table(table).object;
        let is_key =
            store.visible_field(table, field).is_some_and(|number| object.fields[usize::from(number)].is_key());
        if !is_key || field.eq_ignore_ascii_case("Id") {
            let message = format!("Provided external ID field does not exist or is not accessible: {field}");
            return Err(Response::error(404, "NOT_FOUND", &message));
        }
        return Ok(());
    }
    let types = records.iter().map(record_type).chain(plan.ids.iter().map(|id| id.get(..3)));
    let mut chunks = 0;
    let mut last = None;
    for kind in types {
        if chunks == 0 || kind != last {
            chunks += 1;
        }
        last = kind;
    }
    if chunks > CHUNKS_MAX {
        let message = "Operation contains more than 10 chunks: sort the records by type";
        return Err(Response::error(400, "LIMIT_EXCEEDED", message));
    }
    Ok(())
}

fn record_type<'r>(record: &'r Json<'_>) -> Option<&'r str> {
    record.get("attributes")?.get("type")?.text()
}

fn one(
    writer: &mut Writer<'_>,
    plan: &Plan,
    record: Option<&Json<'_>>,
    row: usize,
    keys: &mut HashSet<Box<str>>,
) -> RowResult {
    let failed = |error| Failed { id: None, error };
    if plan.operation == Operation::Delete {
        let text = plan.ids.get(row).map_or("", String::as_str);
        let (table, id) = find_id(writer.store, text).map_err(failed)?;
        return match writer.delete(table, id) {
            Ok(()) => Ok(Applied { id, created: None }),
            Err(error) => Err(Failed { id: Some(id), error }),
        };
    }
    let members = record.and_then(Json::members).ok_or_else(|| {
        failed(RowError::new("JSON_PARSER_ERROR", "Cannot deserialize instance of sObject from this value"))
    })?;
    let named = record.and_then(record_type);
    match plan.operation {
        Operation::Create => {
            let table = table_of(writer.store, named).map_err(failed)?;
            writer.create(table, members).map(|id| Applied { id, created: None }).map_err(failed)
        }
        Operation::Upsert => upsert(writer, plan, named, members, keys).map_err(failed),
        _ => {
            let sent = members.iter().find(|(name, _)| name.eq_ignore_ascii_case("Id")).and_then(|(_, id)| id.text());
            let missing = || RowError::new("MISSING_ARGUMENT", "Id not specified in an update call");
            let (table, id) = find_id(writer.store, sent.ok_or_else(missing).map_err(failed)?).map_err(failed)?;
            if named.is_some_and(|named| !named.eq_ignore_ascii_case(&writer.store.table(table).object.name)) {
                return Err(failed(RowError::on("INVALID_TYPE", "the id belongs to another type", "Id")));
            }
            match writer.update(table, id, members) {
                Ok(()) => Ok(Applied { id, created: None }),
                Err(error) => Err(Failed { id: Some(id), error }),
            }
        }
    }
}

fn upsert(
    writer: &mut Writer<'_>,
    plan: &Plan,
    named: Option<&str>,
    members: &[(std::borrow::Cow<'_, str>, Json<'_>)],
    keys: &mut HashSet<Box<str>>,
) -> Result<Applied, RowError> {
    let object = plan.object.as_deref().unwrap_or_default();
    let table = table_of(writer.store, Some(object))?;
    if named.is_some_and(|named| !named.eq_ignore_ascii_case(object)) {
        return Err(RowError::new("INVALID_TYPE", format!("The record is no {object}")));
    }
    if members.iter().any(|(name, value)| name.eq_ignore_ascii_case("Id") && *value != Json::Null) {
        let message = "The Id field should not be specified in the sobject data.";
        return Err(RowError::on("INVALID_FIELD", message, "Id"));
    }
    let field = plan.key_field.as_deref().and_then(|field| writer.store.table(table).object.field(field));
    let field = field.ok_or_else(|| RowError::new("INVALID_FIELD", "the external id field does not exist"))?;
    let key = writer.key_of(table, field, members)?;
    let schema = &writer.store.table(table).object.fields[usize::from(field)];
    let text = index_key(schema, &key).unwrap_or_default();
    if !keys.insert(text.as_ref().into()) {
        return Err(RowError::on("DUPLICATE_VALUE", format!("Duplicate external id specified: {key}"), &schema.name));
    }
    let done = writer.upsert(table, field, key, members)?;
    Ok(Applied { id: done.id, created: Some(done.created) })
}

fn table_of(store: &Store, name: Option<&str>) -> Result<usize, RowError> {
    let name = name.ok_or_else(|| RowError::new("INVALID_TYPE", "Type is required in attributes of each record"))?;
    store
        .find_table(name)
        .ok_or_else(|| RowError::new("INVALID_TYPE", format!("sObject type '{name}' is not supported.")))
}

fn find_id(store: &Store, text: &str) -> Result<(usize, SfId), RowError> {
    let malformed = || RowError::on("MALFORMED_ID", format!("malformed id {text}"), "Id");
    let id = SfId::parse(text).ok_or_else(malformed)?;
    Ok((store.table_of(id).ok_or_else(malformed)?, id))
}

fn roll_back_results(results: &mut [RowResult], operation: Operation) {
    for result in results {
        if let Ok(applied) = result {
            // A delete that is rolled back still names its record; a create has none to name.
            let id = (operation == Operation::Delete).then_some(applied.id);
            let message =
                "Record rolled back because not all records were valid and the request was using AllOrNone header";
            *result = Err(Failed { id, error: RowError::new("ALL_OR_NONE_OPERATION_ROLLED_BACK", message) });
        }
    }
}

fn write_results(results: &[RowResult]) -> Vec<u8> {
    let mut out = Vec::with_capacity(results.len() * 80 + 2);
    out.push(b'[');
    for (row, result) in results.iter().enumerate() {
        if row > 0 {
            out.push(b',');
        }
        match result {
            Ok(applied) => {
                out.extend_from_slice(b"{\"id\":\"");
                out.extend_from_slice(applied.id.as_str().as_bytes());
                out.extend_from_slice(b"\",\"success\":true,\"errors\":[");
                if let Some(uuid) = enqueued(applied.id) {
                    out.extend_from_slice(b"{\"statusCode\":\"OPERATION_ENQUEUED\",\"message\":");
                    write_text(&mut out, &uuid);
                    out.extend_from_slice(b",\"fields\":[]}");
                }
                out.push(b']');
                match applied.created {
                    Some(true) => out.extend_from_slice(b",\"created\":true"),
                    Some(false) => out.extend_from_slice(b",\"created\":false"),
                    None => {}
                }
                out.push(b'}');
            }
            Err(failed) => write_failed(&mut out, failed),
        }
    }
    out.push(b']');
    out
}

fn write_failed(out: &mut Vec<u8>, failed: &Failed) {
    out.push(b'{');
    if let Some(id) = failed.id {
        out.extend_from_slice(b"\"id\":\"");
        out.extend_from_slice(id.as_str().as_bytes());
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(b"\"success\":false,\"errors\":[{\"statusCode\":");
    write_text(out, &failed.error.code);
    out.extend_from_slice(b",\"message\":");
    write_text(out, &failed.error.message);
    out.extend_from_slice(b",\"fields\":");
    write_names(out, &failed.error.fields);
    out.extend_from_slice(b"}]}");
}

/// Answers with one entry per id, null where there is no such live record.
fn retrieve(org: &Org, plan: &Plan, request: &Request<'_>) -> Response {
    let Some(number) = plan.object.as_deref().and_then(|object| org.store.find_table(object)) else {
        return super::no_such_object();
    };
    let table = org.store.table(number);
    let body = request.json.as_ref().and_then(|json| json.as_ref().ok());
    let listed = |name: &str| -> Option<Vec<String>> {
        let items = body?.get(name)?.items()?;
        Some(items.iter().filter_map(|item| item.text().map(str::to_owned)).collect())
    };
    let split = |text: String| text.split(',').map(|field| field.trim().to_owned()).collect::<Vec<_>>();
    let ids = listed("ids").unwrap_or_else(|| plan.ids.clone());
    let Some(names) = listed("fields").or_else(|| request.parameter("fields").map(split)) else {
        return Response::error(400, "MISSING_ARGUMENT", "The fields parameter is required");
    };
    if ids.len() > RETRIEVE_MAX {
        return Response::error(400, "LIMIT_EXCEEDED", "record limit reached. cannot retrieve more than 2000 records");
    }
    let mut fields = Vec::new();
    for name in names {
        match org.store.visible_field(number, &name) {
            Some(field) => fields.push(field),
            None => {
                let message = format!("No such column '{name}' on sobject of type {}", table.object.name);
                return Response::error(400, "INVALID_FIELD", &message);
            }
        }
    }
    let mut out = b"[".to_vec();
    for (at, id) in ids.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let row = SfId::parse(id).and_then(|id| table.row(table.slot_of(id)?));
        match row.filter(|row| row.state == RowState::Live) {
            Some(row) => write_record(&mut out, &table.object, row, plan.version, &fields),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b']');
    Response::json(200, out)
}
