//! Calls for query jobs: results and their pages.

use super::blob::Blob;
use super::ingest::{CSV, spoil};
use super::job::{Job, Kind, Results, State};
use super::route::{with_job, wrong_state};
use super::stream::{Slice, Stream};
use crate::answer::{Request, Response};
use crate::org::Org;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::json;
use std::sync::Arc;

/// Pages that one call names.
const PAGES: usize = 5;

/// The place of a page: the number of its first row. `MTAwMDA` is row 10,000.
fn locator(row: usize) -> String {
    STANDARD_NO_PAD.encode(row.to_string())
}

fn read_locator(text: &str) -> Option<usize> {
    String::from_utf8(STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?).ok()?.parse().ok()
}

/// Answers `GET /jobs/query/{id}/results`.
pub fn results(org: &mut Org, version: u32, id: &str, request: &Request<'_>) -> Response {
    let response = with_job(org, Kind::Query, id, Some(version), |org, job| {
        let rows_max = match request.parameter("maxRecords") {
            None => org.config.bulk.page_rows,
            Some(text) => match text.parse() {
                Ok(rows) if rows > 0 => rows,
                _ => return Response::error(400, "INVALID_QUERY_PARAMETER", "maxRecords is a whole number above 0"),
            },
        };
        page(org, job, request.parameter("locator").as_deref(), rows_max)
    });
    spoil(org, Kind::Query, id, response)
}

/// A finished query: its first line, its rows, and how long each of them is.
struct Finished<'j> {
    header: &'j [u8],
    lines: &'j Arc<Blob>,
    lengths: &'j [u32],
}

fn finished(job: &Job) -> Result<Finished<'_>, Response> {
    match job.parts.first().map(|part| &part.results) {
        Some(Results::Rows { header, lines, lengths }) if job.state == State::JobComplete => {
            Ok(Finished { header, lines, lengths })
        }
        _ => Err(wrong_state(&format!("Results are not available: the job is {}", job.state.word()))),
    }
}

fn first_row(text: Option<&str>, rows: usize) -> Result<usize, Response> {
    let Some(text) = text else { return Ok(0) };
    let row = read_locator(text).filter(|row| *row < rows.max(1));
    row.ok_or_else(|| Response::error(400, "INVALID_LOCATOR", &format!("The locator is invalid: {text}")))
}

fn page(org: &Org, job: &Job, place: Option<&str>, rows_max: usize) -> Response {
    let Finished { header, lines, lengths } = match finished(job) {
        Ok(finished) => finished,
        Err(response) => return response,
    };
    let first = match first_row(place, lengths.len()) {
        Ok(first) => first,
        Err(response) => return response,
    };
    let from: u64 = lengths[..first].iter().map(|bytes| u64::from(*bytes)).sum();
    let rows = rows_of(&lengths[first..], rows_max, org.config.bulk.page_bytes_max);
    let to = from + lengths[first..first + rows].iter().map(|bytes| u64::from(*bytes)).sum::<u64>();
    let next = first + rows;
    let next = if next < lengths.len() { locator(next) } else { "null".to_owned() };
    let head = Some(header.to_vec().into());
    let stream = Stream::new(Slice { head, blob: lines.clone(), from, to, tail: None });
    Response::stream(CSV, stream).with("sforce-locator", next).with("sforce-numberofrecords", rows.to_string())
}

/// Rows of a page that begins with the first of `lengths`; one at least, if there is one.
fn rows_of(lengths: &[u32], rows_max: usize, bytes_max: u64) -> usize {
    let mut bytes = 0;
    let fits = |length: &&u32| {
        bytes += u64::from(**length);
        bytes <= bytes_max
    };
    lengths.iter().take(rows_max).take_while(fits).count().max(1).min(lengths.len())
}

/// Answers `GET /jobs/query/{id}/resultPages`: up to five pages that can be fetched side by side.
pub fn pages(org: &mut Org, version: u32, id: &str, request: &Request<'_>) -> Response {
    with_job(org, Kind::Query, id, Some(version), |org, job| {
        let lengths = match finished(job) {
            Ok(finished) => finished.lengths,
            Err(response) => return response,
        };
        let mut at = match first_row(request.parameter("locator").as_deref(), lengths.len()) {
            Ok(first) => first,
            Err(response) => return response,
        };
        let base = format!("/services/data/v{version}.0/jobs/query/{}", job.id);
        let mut urls = Vec::new();
        while urls.len() < PAGES && (at < lengths.len() || urls.is_empty()) {
            urls.push(json!({ "resultUrl": format!("{base}/results?locator={}", locator(at)) }));
            at += rows_of(&lengths[at..], org.config.bulk.page_rows, org.config.bulk.page_bytes_max).max(1);
        }
        let done = at >= lengths.len();
        let mut body = json!({ "resultPages": urls, "done": done });
        if !done {
            body["nextRecordsUrl"] = json!(format!("{base}/resultPages?locator={}", locator(at)));
        }
        Response::value(200, &body)
    })
}
