//! `GET /query?explain=`: how the org would find the rows.

use super::{Prepared, eval};
use crate::answer::Response;
use crate::store::Store;
use serde_json::json;

/// Answers with the one plan that the org would follow.
pub fn answer(store: &Store, prepared: &Prepared) -> Response {
    let query = &prepared.query;
    let table = store.table(query.table);
    let found = query.filter.as_ref().and_then(|filter| eval::candidates(store, filter, query.table));
    let (kind, rows) = match &found {
        Some(slots) => ("Index", slots.len()),
        None => ("TableScan", table.live()),
    };
    let cost = rows as f64 / table.live().max(1) as f64;
    let plan = json!({
        "cardinality": rows,
        "fields": [],
        "leadingOperationType": kind,
        "notes": [],
        "relativeCost": if found.is_some() { cost } else { cost.max(1.0) },
        "sobjectCardinality": table.live(),
        "sobjectType": &*table.object.name,
    });
    Response::value(200, &json!({ "plans": [plan], "sourceQuery": null }))
}
