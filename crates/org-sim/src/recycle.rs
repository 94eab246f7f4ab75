//! Undelete, merge and the emptying of the recycle bin, for which REST has no calls: `/_sim/undelete`, `/_sim/merge`,
//! `/_sim/purge`; and the end of what lay in the bin for too long.

use crate::answer::{Request, Response};
use crate::dml::{Cause, Origin, RowError, Unverified, Writer};
use crate::error::SimError;
use crate::history::History;
use crate::ids::SfId;
use crate::json::Json;
use crate::org::Org;
use crate::store::Store;
use serde_json::{Value as J, json};
use std::borrow::Cow;

/// Rows that one control request names, at most.
const ROWS_MAX: usize = 10_000;

/// The org's first user, who does what no caller does.
fn setup_user() -> SfId {
    SfId::new(*b"005", 1)
}

/// Makes final what was deleted more than the configured number of days ago.
pub fn expire(store: &mut Store, history: &mut History, unverified: &Unverified, now_ms: i64) {
    let oldest = now_ms - unverified.recycle_bin_days * 86_400_000;
    if store.bin.expired(oldest).is_none() {
        return;
    }
    let origin = Origin { now_ms, user: setup_user(), api: "setup", request: 0, version: 0, client: None };
    let mut writer = Writer::begin(store, history, unverified, origin, false);
    while let Some(number) = writer.store.bin.expired(oldest) {
        writer.purge(number, Cause::Expired);
    }
    writer.commit();
}

impl Org {
    /// Answers a control request about deleted rows: `undelete`, `purge` or `merge`, without a session.
    ///
    /// # Errors
    /// `SimError::Control` when the body is unusable. Rows that are refused are told in the answer.
    pub fn recycle(&mut self, now_ms: i64, what: &str, request: &Request<'_>) -> Result<Response, SimError> {
        match what {
            "merge" => merge(self, request, now_ms),
            _ => restore_or_purge(self, request, what == "undelete", now_ms),
        }
    }
}

/// Answers `{"ids": [id, …]}`: each id has its own result. With `"hard": true` a purge takes live rows too.
fn restore_or_purge(org: &mut Org, request: &Request<'_>, restore: bool, now_ms: i64) -> Result<Response, SimError> {
    let body = request.json.as_ref().and_then(|json| json.as_ref().ok());
    let ids = ids(request, body.and_then(|body| body.get("ids")))?;
    let hard = body.and_then(|body| body.get("hard")) == Some(&Json::Bool(true));
    let number = org.next_request();
    let origin =
        Origin { now_ms, user: setup_user(), api: "sim", request: number, version: 0, client: request.client() };
    let mut writer = org.writer_as(origin, false);
    let mut results = Vec::with_capacity(ids.len());
    for id in &ids {
        let done = match writer.store.table_of(*id) {
            None => Err(RowError::on("MALFORMED_ID", format!("malformed id {id}"), "Id")),
            Some(table) if restore => writer.undelete(table, *id),
            Some(table) if hard => writer.hard_delete(table, *id),
            Some(table) => writer.empty_from_bin(table, *id),
        };
        results.push(match done {
            Ok(()) => json!({ "id": id.as_str(), "success": true, "errors": [] }),
            Err(error) => json!({ "id": id.as_str(), "success": false, "errors": [error_json(&error)] }),
        });
    }
    writer.commit();
    Ok(Response::value(200, &json!({ "results": results })))
}

/// Answers `{"winner": id, "losers": [id, …], "fields": {…}}`.
fn merge(org: &mut Org, request: &Request<'_>, now_ms: i64) -> Result<Response, SimError> {
    let body = request.json.as_ref().and_then(|json| json.as_ref().ok());
    let wrong = |cause: &str| SimError::control(request.path, cause);
    let winner = body.and_then(|body| body.get("winner")).and_then(Json::text).and_then(SfId::parse);
    let winner = winner.ok_or_else(|| wrong("`winner` is the id of the record that stays"))?;
    let losers = ids(request, body.and_then(|body| body.get("losers")))?;
    let members: &[(Cow<'_, str>, Json<'_>)] =
        body.and_then(|body| body.get("fields")).and_then(Json::members).unwrap_or_default();
    let table = org.store.table_of(winner).ok_or_else(|| wrong("`winner` is the id of no object"))?;
    let number = org.next_request();
    let origin =
        Origin { now_ms, user: setup_user(), api: "sim", request: number, version: 0, client: request.client() };
    let mut writer = org.writer_as(origin, false);
    let result = writer.merge(table, winner, &losers, members);
    writer.commit();
    let texts = |ids: &[SfId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    Ok(Response::value(
        200,
        &match result {
            Ok(merged) => json!({
                "id": merged.id.as_str(), "success": true, "errors": [],
                "mergedRecordIds": texts(&merged.merged), "updatedRelatedIds": texts(&merged.updated_related),
            }),
            Err(error) => json!({ "id": winner.as_str(), "success": false, "errors": [error_json(&error)] }),
        },
    ))
}

fn ids(request: &Request<'_>, json: Option<&Json<'_>>) -> Result<Vec<SfId>, SimError> {
    let wrong = || SimError::control(request.path, format!("a list of at most {ROWS_MAX} record ids is missing"));
    let items = json.and_then(Json::items).filter(|items| items.len() <= ROWS_MAX).ok_or_else(wrong)?;
    items.iter().map(|item| item.text().and_then(SfId::parse).ok_or_else(wrong)).collect()
}

fn error_json(error: &RowError) -> J {
    json!({ "statusCode": error.code, "message": error.message, "fields": error.fields })
}
