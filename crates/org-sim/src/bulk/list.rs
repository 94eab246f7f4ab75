//! Lists of jobs: at most 1,000 a page, in no order that a client should rely on.

use super::info;
use super::job::{Job, Kind};
use crate::answer::{Request, Response};
use crate::org::Org;
use serde_json::{Value, json};

const PAGE_JOBS: usize = 1_000;

/// Answers `GET /jobs/ingest` and `GET /jobs/query`.
///
/// The list of ingest jobs includes those of Bulk API 1.0, the list of query jobs the queries among them.
pub fn call(org: &Org, version: u32, request: &Request<'_>, kind: Kind) -> Response {
    let after = match request.parameter("queryLocator") {
        None => u64::MAX,
        Some(text) => match org.bulk.find(&text).or_else(|| text.parse().ok()) {
            Some(number) => number,
            None => return Response::error(400, "INVALID_QUERY_LOCATOR", "invalid query locator"),
        },
    };
    let of_type = request.parameter("jobType");
    let chunked = request.parameter("isPkChunkingEnabled").map(|text| text.eq_ignore_ascii_case("true"));
    let mode = request.parameter("concurrencyMode");
    let known = [Kind::Ingest, Kind::Query, Kind::Classic].map(Kind::word);
    if let Some(word) = of_type.as_deref().filter(|word| !known.contains(word) && *word != "BigObjectIngest") {
        return Response::error(400, "INVALID_QUERY_PARAMETER", &format!("jobType is unknown: {word}"));
    }
    let shown = |job: &&Job| {
        let listed = match job.kind {
            Kind::Classic => job.operation.is_query() == (kind == Kind::Query),
            of => of == kind,
        };
        listed
            && of_type.as_deref().is_none_or(|word| word == job.kind.word())
            && mode.as_deref().is_none_or(|mode| mode.eq_ignore_ascii_case(if job.serial { "serial" } else { "parallel" }))
            // No job of this org asks for chunking by header: that is Bulk API 1.0's.
            && chunked != Some(true)
    };
    let mut jobs = org.bulk.jobs.range(..after).rev().map(|(_, job)| job).filter(shown);
    let page: Vec<&Job> = jobs.by_ref().take(PAGE_JOBS).collect();
    let done = jobs.next().is_none();
    let records: Vec<Value> = page.iter().map(|job| Value::Object(info::entry(job))).collect();
    let mut body = json!({ "done": done, "records": records, "nextRecordsUrl": null });
    if let (false, Some(last)) = (done, page.last()) {
        let word = if kind == Kind::Query { "query" } else { "ingest" };
        let mut url = format!("/services/data/v{version}.0/jobs/{word}?queryLocator={}", last.id);
        for (name, value) in crate::answer::form(request.query).filter(|(name, _)| name != "queryLocator") {
            url.push_str(&format!("&{name}={value}"));
        }
        body["nextRecordsUrl"] = json!(url);
    }
    Response::value(200, &body)
}
