//! Calls for one record.

use super::Plan;
use crate::answer::{Request, Response};
use crate::dml::{RowError, Upserted, parse_key};
use crate::events::platform::enqueued;
use crate::faults::Operation;
use crate::ids::SfId;
use crate::json::Json;
use crate::org::{Org, Ticket};
use crate::query::write_record;
use crate::schema::Storage;
use crate::store::RowState;
use std::borrow::Cow;

/// Answers `/sobjects/X`, `/sobjects/X/{id}` and `/sobjects/X/{field}/{value}`.
pub fn call(org: &mut Org, now_ms: i64, ticket: &Ticket, request: &Request<'_>) -> Response {
    let plan = &ticket.plan;
    let Some(table) = plan.object.as_deref().and_then(|object| org.store.find_table(object)) else {
        return super::no_such_object();
    };
    if plan.operation != Operation::Read
        && let Some(fault) = ticket.row_fault(0)
    {
        return Response::error_on(400, &fault.code, &fault.message, &fault.fields);
    }
    let body = request.json.as_ref().and_then(|json| json.as_ref().ok());
    let members: &[(Cow<'_, str>, Json<'_>)] = match (body, plan.operation) {
        (_, Operation::Read | Operation::Delete) => &[],
        (Some(Json::Object(members)), _) => members,
        _ => {
            return Response::error(400, "JSON_PARSER_ERROR", "Cannot deserialize instance of sObject from this value");
        }
    };
    if plan.operation == Operation::Create {
        let mut writer = org.writer(ticket, now_ms, false);
        let result = writer.create(table, members);
        writer.commit();
        return match result {
            Ok(id) => created(plan, id, None),
            Err(error) => refused(org, &error),
        };
    }
    let target = match locate(org, ticket, table) {
        Ok(target) => target,
        Err(response) => return response,
    };
    match (plan.operation, target) {
        (Operation::Upsert, target) => upsert(org, now_ms, ticket, request, table, target, members),
        (_, Located::Nothing) => super::not_found(),
        (Operation::Read, Located::Row(id)) => read(org, plan, request, table, id),
        (Operation::Delete, Located::Row(id)) => {
            let mut writer = org.writer(ticket, now_ms, false);
            let result = writer.delete(table, id);
            writer.commit();
            done(org, result)
        }
        (_, Located::Row(id)) => {
            if members.iter().any(|(name, _)| name.eq_ignore_ascii_case("Id")) {
                let message = "The Id field should not be specified in the sobject data.";
                return Response::error_on(400, "INVALID_FIELD", message, &["Id".to_owned()]);
            }
            let mut writer = org.writer(ticket, now_ms, false);
            let result = writer.update(table, id, members);
            writer.commit();
            done(org, result)
        }
    }
}

enum Located {
    Row(SfId),
    Nothing,
}

/// Finds the record that the path names.
fn locate(org: &Org, ticket: &Ticket, table: usize) -> Result<Located, Response> {
    let plan = &ticket.plan;
    let by_key = plan.key_field.as_deref().filter(|field| !field.eq_ignore_ascii_case("Id"));
    let Some(field) = by_key else {
        let text = plan.ids.first().or(plan.key_value.as_ref()).map_or("", String::as_str);
        let Some(id) = SfId::parse(text) else {
            return Err(Response::error(
                404,
                "NOT_FOUND",
                &format!("Provided external ID field does not exist or is not accessible: {text}"),
            ));
        };
        let table = org.store.table(table);
        let row = table.slot_of(id).and_then(|slot| table.row(slot));
        return match row.map(|row| row.state) {
            Some(RowState::Live) => Ok(Located::Row(id)),
            Some(_) => {
                let status = org.config.unverified.entity_is_deleted_status;
                Err(Response::error(status, "ENTITY_IS_DELETED", "entity is deleted"))
            }
            None => Ok(Located::Nothing),
        };
    };
    let object = &org.store.table(table).object;
    let number = org.store.visible_field(table, field);
    let number = number.filter(|number| object.fields[usize::from(*number)].is_key());
    let Some(number) = number else {
        let message = format!("Provided external ID field does not exist or is not accessible: {field}");
        return Err(Response::error(404, "NOT_FOUND", &message));
    };
    let schema = &object.fields[usize::from(number)];
    let Some(key) = parse_key(schema, plan.key_value.as_deref().unwrap_or_default()) else {
        return Ok(Located::Nothing);
    };
    let found = org.store.table(table).find(number, &key).unwrap_or(&[]);
    let live = |slot: &u32| org.store.table(table).row(*slot).filter(|row| row.state == RowState::Live);
    let ids: Vec<SfId> = found.iter().filter_map(live).map(|row| row.id).collect();
    match ids.as_slice() {
        [] => Ok(Located::Nothing),
        [id] => Ok(Located::Row(*id)),
        several => Err(several_matches(plan, &object.name, several)),
    }
}

fn several_matches(plan: &Plan, object: &str, ids: &[SfId]) -> Response {
    let url = |id: &SfId| format!("/services/data/v{}.0/sobjects/{object}/{id}", plan.version);
    Response::value(300, &ids.iter().map(url).collect())
}

fn upsert(
    org: &mut Org,
    now_ms: i64,
    ticket: &Ticket,
    request: &Request<'_>,
    table: usize,
    target: Located,
    members: &[(Cow<'_, str>, Json<'_>)],
) -> Response {
    let plan = &ticket.plan;
    let field = plan.key_field.as_deref().unwrap_or_default();
    if members.iter().any(|(name, _)| name.eq_ignore_ascii_case(field) || name.eq_ignore_ascii_case("Id")) {
        let message = format!("The {field} field should not be specified in the sobject data.");
        return Response::error_on(400, "INVALID_FIELD", &message, &[field.to_owned()]);
    }
    let update_only = request.parameter("updateOnly").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let object = &org.store.table(table).object;
    // `Id` is a key in the path only: it finds a row and never makes one.
    let number = object.field(field).filter(|number| object.fields[usize::from(*number)].storage == Storage::Cell);
    let value = plan.key_value.as_deref().unwrap_or_default();
    let key = number.and_then(|number| Some((number, parse_key(&object.fields[usize::from(number)], value)?)));
    let mut writer = org.writer(ticket, now_ms, false);
    let result = match (target, key) {
        (Located::Nothing, None) => return super::not_found(),
        (Located::Nothing, Some(_)) if update_only => return super::not_found(),
        (_, Some((number, key))) => writer.upsert(table, number, key, members),
        (Located::Row(id), None) => writer.update(table, id, members).map(|()| Upserted { id, created: false }),
    };
    writer.commit();
    match result {
        Ok(done) if done.created => created(plan, done.id, Some(true)),
        // Up to version 45 an update had no body.
        Ok(_) if plan.version <= 45 => Response::empty(204),
        Ok(done) => Response::json(200, success(done.id, Some(false))),
        Err(error) => refused(org, &error),
    }
}

fn read(org: &Org, plan: &Plan, request: &Request<'_>, table: usize, id: SfId) -> Response {
    let number = table;
    let table = org.store.table(table);
    let Some(row) = table.slot_of(id).and_then(|slot| table.row(slot)) else { return super::not_found() };
    let all = 0..table.object.fields.len() as u16;
    let mut fields: Vec<u16> = all.filter(|field| org.store.sees(number, *field)).collect();
    if let Some(names) = request.parameter("fields") {
        fields.clear();
        for name in names.split(',').map(str::trim) {
            match org.store.visible_field(number, name) {
                Some(field) => fields.push(field),
                None => {
                    let message = format!("No such column '{name}' on sobject of type {}", table.object.name);
                    return Response::error(400, "INVALID_FIELD", &message);
                }
            }
        }
    }
    let mut out = Vec::new();
    write_record(&mut out, &table.object, row, plan.version, &fields);
    Response::json(200, out)
}

fn success(id: SfId, created: Option<bool>) -> Vec<u8> {
    if let Some(uuid) = enqueued(id) {
        let error = format!("{{\"statusCode\":\"OPERATION_ENQUEUED\",\"message\":\"{uuid}\",\"fields\":[]}}");
        return format!("{{\"id\":\"{id}\",\"success\":true,\"errors\":[{error}]}}").into();
    }
    match created {
        Some(created) => format!("{{\"id\":\"{id}\",\"success\":true,\"errors\":[],\"created\":{created}}}").into(),
        None => format!("{{\"id\":\"{id}\",\"success\":true,\"errors\":[]}}").into(),
    }
}

fn created(plan: &Plan, id: SfId, created: Option<bool>) -> Response {
    let object = plan.object.as_deref().unwrap_or_default();
    let body = success(id, created.filter(|_| plan.version >= 46));
    let location = format!("/services/data/v{}.0/sobjects/{object}/{id}", plan.version);
    Response::json(201, body).with("location", location)
}

fn done(org: &Org, result: Result<(), RowError>) -> Response {
    match result {
        Ok(()) => Response::empty(204),
        Err(error) => refused(org, &error),
    }
}

fn refused(org: &Org, error: &RowError) -> Response {
    let status = match &*error.code {
        "ENTITY_IS_DELETED" if error.fields.is_empty() => org.config.unverified.entity_is_deleted_status,
        "INSUFFICIENT_ACCESS_OR_READONLY" => 403,
        _ => 400,
    };
    Response::error_on(status, &error.code, &error.message, &error.fields)
}
