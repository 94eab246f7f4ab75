//! `/_sim/…`: looking into the org and steering it. Needs no session and counts nothing.

use crate::answer::{Request, Response};
use crate::bulk::ledger::Allocation;
use crate::error::SimError;
use crate::faults::FaultRule;
use crate::history::write_page;
use crate::ids::SfId;
use crate::latency::LatencyModel;
use crate::org::Org;
use crate::rest::{VERSIONS, limits};
use crate::schema::spec::ObjectsSpec;
use crate::security;
use crate::server::Shared;
use crate::store::{Row, RowState, Table};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// Changes or records of one page, at most.
const PAGE_MAX: usize = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct SetLimits {
    max: Option<u64>,
    used: Option<u64>,
    bulk_batches: Allocation,
    bulk_query_jobs: Allocation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetSessions {
    timeout_s: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SetLatency {
    Profile { profile: String },
    Model(LatencyModel),
}

/// Answers a control request.
pub fn handle(shared: &Shared, request: &Request<'_>) -> Response {
    match route(shared, request) {
        Ok(response) => response,
        Err(error) => Response::value(400, &json!({ "error": error.to_string(), "code": error.code().0 })),
    }
}

fn route(shared: &Shared, request: &Request<'_>) -> Result<Response, SimError> {
    let mut org = shared.org.lock();
    let now = shared.clock.now_ms();
    org.tick(now);
    let words: Vec<&str> = request.path.split('/').skip(2).filter(|word| !word.is_empty()).collect();
    let done = || Ok(Response::value(200, &json!({ "ok": true })));
    match (request.method.as_str(), words.as_slice()) {
        ("GET", []) => Ok(status(&org)),
        ("GET", ["history"]) => {
            let number = |name: &str| request.parameter(name).and_then(|text| text.parse::<u64>().ok());
            let limit = number("limit").unwrap_or(1000).min(PAGE_MAX as u64) as usize;
            Ok(Response::json(200, write_page(&org.history, number("after").unwrap_or(0), limit)))
        }
        ("POST", ["history", "flush"]) => {
            org.history.flush();
            done()
        }
        ("GET", ["records", object]) => records(&org, object, request),
        (_, ["events", rest @ ..]) => crate::events::control::handle(&mut org, request, rest, now),
        ("POST", ["reset"]) => {
            org.reset(now)?;
            done()
        }
        ("POST", [what @ ("undelete" | "purge" | "merge")]) => org.recycle(now, what, request),
        ("GET", ["limits"]) => Ok(Response::value(200, &limits::body(&mut org, *VERSIONS.end(), now))),
        ("POST", ["limits"]) => {
            let set: SetLimits = body(request)?;
            org.limits.set_requests(set.max, set.used, now);
            org.limits.bulk.set_batches(&set.bulk_batches, now);
            org.limits.bulk.set_query_jobs(&set.bulk_query_jobs, now);
            Ok(Response::value(200, &limits::body(&mut org, *VERSIONS.end(), now)))
        }
        ("GET" | "POST", ["field-security"]) => security::control(&mut org, request, now),
        ("GET", ["rules"]) => Ok(security::rules(&org)),
        ("GET", ["objects"]) => {
            let names: Vec<&str> = org.store.tables().iter().map(|table| &*table.object.name).collect();
            Ok(Response::value(200, &json!({ "objects": names })))
        }
        ("POST", ["objects"]) => {
            let spec: ObjectsSpec = body(request)?;
            let count = org.add_objects(&spec, now)?;
            Ok(Response::value(200, &json!({ "objects": count })))
        }
        ("POST", ["sessions", "revoke"]) => Ok(Response::value(200, &json!({ "revoked": org.sessions.revoke_all() }))),
        ("POST", ["sessions"]) => {
            org.sessions.set_timeout_s(body::<SetSessions>(request)?.timeout_s);
            done()
        }
        (_, ["faults", rest @ ..]) => fault_rules(&mut org, request, rest),
        ("POST", ["latency"]) => {
            org.latency = match body::<SetLatency>(request)? {
                SetLatency::Profile { profile } => LatencyModel::from_word(&profile)
                    .ok_or_else(|| SimError::control("/_sim/latency", "a profile is none or realistic"))?,
                SetLatency::Model(model) => model,
            };
            done()
        }
        ("POST", ["clock"]) => {
            shared.clock.advance_ms(body::<Advance>(request)?.advance_ms.max(0));
            shared.arrived.notify_waiters();
            Ok(Response::value(200, &json!({ "now_ms": shared.clock.now_ms() })))
        }
        _ => Err(unknown(request)),
    }
}

fn unknown(request: &Request<'_>) -> SimError {
    SimError::control(request.path, format!("there is no such control request ({})", request.method))
}

/// Answers `/_sim/faults` and `/_sim/faults/{id}`.
fn fault_rules(org: &mut Org, request: &Request<'_>, rest: &[&str]) -> Result<Response, SimError> {
    match (request.method.as_str(), rest) {
        ("GET", []) => Ok(Response::value(200, &json!({ "faults": org.faults.report() }))),
        ("POST", []) => {
            let id = org.add_fault(body::<FaultRule>(request)?);
            Ok(Response::value(201, &json!({ "id": id })))
        }
        ("DELETE", []) => Ok(Response::value(200, &json!({ "removed": org.faults.remove(None) }))),
        ("DELETE", [id]) => {
            let id = id.parse().map_err(|_| SimError::control("/_sim/faults", "a rule's number is a whole number"))?;
            Ok(Response::value(200, &json!({ "removed": org.faults.remove(Some(id)) })))
        }
        _ => Err(unknown(request)),
    }
}

fn body<T: DeserializeOwned>(request: &Request<'_>) -> Result<T, SimError> {
    serde_json::from_slice(request.body).map_err(|error| SimError::control(request.path, error.to_string()))
}

fn status(org: &Org) -> Response {
    let tables = org.store.tables().iter().filter(|table| table.live() > 0);
    let records: serde_json::Map<String, serde_json::Value> =
        tables.map(|table| (table.object.name.to_string(), table.live().into())).collect();
    Response::value(
        200,
        &json!({
            "org_id": org.sessions.org_id.to_string(),
            "records": records,
            "recycle_bin": org.store.bin.entries().map(|(_, binned)| binned.rows.len()).sum::<usize>(),
            "purged": org.store.tables().iter().map(|table| table.purged().count()).sum::<usize>(),
            "history": {
                "last": org.history.last_seq(),
                "dropped": org.history.dropped(),
                "memory_bytes": org.history.memory_bytes(),
            },
            "faults": org.faults.report().len(),
            "bulk": org.bulk.status(),
            "folder": org.store.saver.as_ref().map(|saver| json!({ "unsaved": saver.unsaved, "seq": saver.position().seq })),
        }),
    )
}

fn records(org: &Org, object: &str, request: &Request<'_>) -> Result<Response, SimError> {
    let missing = || SimError::control(request.path, format!("there is no object {object}"));
    let table = org.store.table(org.store.find_table(object).ok_or_else(missing)?);
    let after = request.parameter("after").and_then(|id| SfId::parse(&id));
    let limit = request.parameter("limit").and_then(|text| text.parse().ok()).unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let deleted = request.parameter("deleted").is_some_and(|value| value == "true");
    let mut out = b"{\"records\":[".to_vec();
    let mut last = None;
    let rows = table.rows().map(|(_, row)| row).filter(|row| deleted || row.state == RowState::Live);
    let rows = rows.filter(|row| after.is_none_or(|after| row.id.number() > after.number()));
    for (at, row) in rows.take(limit).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_row(&mut out, table, row);
        last = Some(row.id);
    }
    out.extend_from_slice(b"],\"live\":");
    crate::json::write_int(&mut out, table.live() as i64);
    if let Some(last) = last {
        out.extend_from_slice(format!(",\"last\":\"{last}\"").as_bytes());
    }
    out.push(b'}');
    Ok(Response::json(200, out))
}

/// Writes a row with its id, its deletion and every value that is not null.
pub fn write_row(out: &mut Vec<u8>, table: &Table, row: &Row) {
    out.extend_from_slice(format!("{{\"Id\":\"{}\"", row.id).as_bytes());
    if row.state == RowState::Deleted {
        out.extend_from_slice(b",\"IsDeleted\":true");
    }
    for (field, value) in row.cells() {
        out.push(b',');
        crate::json::write_text(out, &table.object.fields[usize::from(*field)].name);
        out.push(b':');
        value.write_json(out);
    }
    out.push(b'}');
}
