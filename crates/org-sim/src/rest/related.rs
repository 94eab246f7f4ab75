//! `/sobjects/X/{id}/{relationship}`: the parent or the children of a record. And `/recent`.

use super::Plan;
use crate::answer::{Request, Response};
use crate::ids::SfId;
use crate::org::Org;
use crate::query::{self, write_record};
use crate::schema::children;
use crate::store::RowState;
use crate::value::Value;
use serde_json::json;

/// Records that the org remembers as viewed, of all users together.
pub const RECENT_MAX: usize = 200;

/// Answers `GET /sobjects/X/{id}/{relationship}`.
pub fn call(org: &mut Org, plan: &Plan, request: &Request<'_>, now_ms: i64) -> Response {
    let Some(table) = plan.object.as_deref().and_then(|object| org.store.find_table(object)) else {
        return super::no_such_object();
    };
    let id = plan.ids.first().and_then(|id| SfId::parse(id));
    let relationship = plan.key_value.as_deref().unwrap_or_default();
    let object = &org.store.table(table).object;
    let row = id.and_then(|id| org.store.table(table).row(org.store.table(table).slot_of(id)?));
    let Some(row) = row.filter(|row| row.state == RowState::Live) else { return super::not_found() };
    if let Some(lookup) = object.relationship(relationship).filter(|lookup| org.store.sees(table, *lookup)) {
        let parent = match row.value(object, lookup).as_ref() {
            Value::Id(id) => org.store.row_of(*id),
            _ => None,
        };
        let Some((table, _, parent)) = parent else { return super::not_found() };
        let object = &org.store.table(table).object;
        let mut out = Vec::new();
        return match fields(org, table, request) {
            Ok(fields) => {
                write_record(&mut out, object, parent, plan.version, &fields);
                Response::json(200, out)
            }
            Err(response) => response,
        };
    }
    let found = children::find(&org.store, table, relationship);
    let Some((table, field)) = found.filter(|(table, field)| org.store.sees(*table, *field)) else {
        return super::not_found();
    };
    let child = &org.store.table(table).object;
    let names = match fields(org, table, request) {
        Ok(fields) => {
            fields.iter().map(|field| &*child.fields[usize::from(*field)].name).collect::<Vec<_>>().join(", ")
        }
        Err(response) => return response,
    };
    let text =
        format!("SELECT {names} FROM {} WHERE {} = '{}'", child.name, child.fields[usize::from(field)].name, row.id);
    query::answer(org, plan, request, &text, now_ms)
}

/// The fields that `fields=` names, or all that the caller sees.
fn fields(org: &Org, table: usize, request: &Request<'_>) -> Result<Vec<u16>, Response> {
    let object = &org.store.table(table).object;
    let Some(names) = request.parameter("fields") else {
        return Ok((0..object.fields.len() as u16).filter(|field| org.store.sees(table, *field)).collect());
    };
    let field = |name: &str| {
        let message = || format!("No such column '{name}' on sobject of type {}", object.name);
        org.store.visible_field(table, name).ok_or_else(|| Response::error(400, "INVALID_FIELD", &message()))
    };
    names.split(',').map(|name| field(name.trim())).collect()
}

/// Answers `GET /recent`: what the caller's queries `FOR VIEW` or `FOR REFERENCE` found last, the newest first.
pub fn recent(org: &Org, user: SfId, plan: &Plan, request: &Request<'_>) -> Response {
    let limit = request.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(RECENT_MAX);
    let own = org.recent.iter().rev().filter(|(viewer, _)| *viewer == user).filter_map(|(_, id)| org.store.row_of(*id));
    let live = own.filter(|(_, _, row)| row.state == RowState::Live).take(limit);
    let entry = live.map(|(table, _, row)| {
        let object = &org.store.table(table).object;
        let named = (0..object.fields.len() as u16).find(|field| object.fields[usize::from(*field)].name_field);
        let name = named.or_else(|| object.field("Name")).map(|field| row.value(object, field).to_string());
        let url = format!("/services/data/v{}.0/sobjects/{}/{}", plan.version, object.name, row.id);
        json!({ "attributes": { "type": &*object.name, "url": url }, "Id": row.id.to_string(), "Name": name })
    });
    Response::value(200, &entry.collect())
}
