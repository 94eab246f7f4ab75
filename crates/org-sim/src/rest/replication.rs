//! getUpdated and getDeleted: which records changed or went in a span of time.
//!
//! Times count to the minute, as in Salesforce. A record that was deleted for good is not told: its row is gone.

use super::Plan;
use crate::answer::{Request, Response};
use crate::org::Org;
use crate::store::RowState;
use crate::value::{Value, parse_datetime};
use serde_json::json;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// How far back changes and deletions can be asked for.
const UPDATED_DAYS: i64 = 30;
const DELETED_DAYS: i64 = 15;

/// Ids that one answer may hold.
const IDS_MAX: usize = 600_000;

/// From inclusive, to exclusive, Unix milliseconds of whole minutes.
struct Span {
    from: i64,
    to: i64,
    covered: i64,
}

/// Answers `/sobjects/X/updated?start&end`.
pub fn updated(org: &Org, plan: &Plan, request: &Request<'_>, now_ms: i64) -> Response {
    let Some(table) = plan.object.as_deref().and_then(|object| org.store.find_table(object)) else {
        return super::no_such_object();
    };
    let span = match span(request, UPDATED_DAYS, now_ms) {
        Ok(span) => span,
        Err(response) => return response,
    };
    let changed =
        |row: &&crate::store::Row| row.state == RowState::Live && (span.from..span.to).contains(&row.modstamp_ms);
    let rows = org.store.table(table).rows().map(|(_, row)| row).filter(changed);
    let ids: Vec<String> = rows.map(|row| row.id.to_string()).take(IDS_MAX + 1).collect();
    if ids.len() > IDS_MAX {
        return too_many();
    }
    let covered = Value::Datetime(span.covered).to_string();
    Response::value(200, &json!({ "ids": ids, "latestDateCovered": covered }))
}

/// Answers `/sobjects/X/deleted?start&end`.
pub fn deleted(org: &Org, plan: &Plan, request: &Request<'_>, now_ms: i64) -> Response {
    let Some(table) = plan.object.as_deref().and_then(|object| org.store.find_table(object)) else {
        return super::no_such_object();
    };
    let span = match span(request, DELETED_DAYS, now_ms) {
        Ok(span) => span,
        Err(response) => return response,
    };
    let gone =
        |row: &&crate::store::Row| row.state == RowState::Deleted && (span.from..span.to).contains(&row.modstamp_ms);
    let rows = org.store.table(table).rows().map(|(_, row)| row).filter(gone);
    let entry = |row: &crate::store::Row| json!({ "deletedDate": Value::Datetime(row.modstamp_ms).to_string(), "id": row.id.to_string() });
    let records: Vec<serde_json::Value> = rows.map(entry).take(IDS_MAX + 1).collect();
    if records.len() > IDS_MAX {
        return too_many();
    }
    let earliest = org.store.bin.entries().map(|(_, binned)| binned.at_ms).min();
    let earliest = earliest.unwrap_or(now_ms - DELETED_DAYS * DAY_MS);
    Response::value(
        200,
        &json!({
            "deletedRecords": records,
            "earliestDateAvailable": Value::Datetime(minute(earliest)).to_string(),
            "latestDateCovered": Value::Datetime(span.covered).to_string(),
        }),
    )
}

fn too_many() -> Response {
    Response::error(400, "EXCEEDED_ID_LIMIT", "exceeded maximum number of ids; narrow the span of time")
}

fn minute(ms: i64) -> i64 {
    ms - ms.rem_euclid(MINUTE_MS)
}

fn span(request: &Request<'_>, days_max: i64, now_ms: i64) -> Result<Span, Response> {
    let read = |name: &str| {
        let text = request
            .parameter(name)
            .ok_or_else(|| Response::error(400, "MISSING_ARGUMENT", &format!("The {name} parameter is required")))?;
        // A plus sign that was not encoded has become a space.
        let ms = parse_datetime(&text.trim().replace(' ', "+"));
        ms.map(minute).ok_or_else(|| {
            let message = format!("Invalid datetime for the {name} parameter: {text}");
            Response::error(400, "ILLEGAL_QUERY_PARAMETER_VALUE", &message)
        })
    };
    let (from, to) = (read("start")?, read("end")?);
    let refused = |message: &str| Err(Response::error(400, "INVALID_REPLICATION_DATE", message));
    if to <= from {
        return refused("startDate must be before endDate, at least by one minute");
    }
    if from < minute(now_ms - days_max * DAY_MS) {
        return refused(&format!("startDate is more than {days_max} days ago"));
    }
    if from > now_ms {
        return refused("startDate is in the future");
    }
    Ok(Span { from, to, covered: to.min(minute(now_ms)) })
}
