//! Adding batches, and what became of them.

use super::super::blob::Blob;
use super::super::job::{Format, Job, Part, PartState, Results, State};
use super::super::ledger::NO_BATCHES;
use super::super::stream::{Slice, Stream};
use super::super::{create, ingest};
use super::{answer_format, content, info};
use crate::answer::{Request, Response};
use crate::ids::SfId;
use crate::org::Org;
use std::io;
use std::sync::Arc;

/// Batches of one job, so that a job's bookkeeping stays small.
const BATCHES_MAX: usize = 15_000;

/// Answers `POST /job/{id}/batch`.
pub fn add(org: &mut Org, now_ms: i64, number: u64, request: &Request<'_>) -> Response {
    let Some(job) = org.bulk.jobs.get(&number) else { return crate::rest::not_found() };
    if job.state != State::Open {
        return Response::error(400, "InvalidJobState", "Unable to create a batch: the job is not open");
    }
    if job.parts.len() >= BATCHES_MAX {
        return Response::error(400, "ExceededQuota", NO_BATCHES);
    }
    let (format, is_query, format_of_answer) =
        (job.format, job.operation.is_query(), answer_format(request, Some(job)));
    let upload = match create::uploaded(org, request) {
        Ok(upload) => upload,
        Err(response) => return response,
    };
    if upload.len() > org.config.bulk.batch_bytes_max {
        return Response::error(400, "ClientInputError", "The batch has more than 10 MB");
    }
    if !org.limits.bulk.take_batch(now_ms) {
        return Response::error(400, "ExceededQuota", NO_BATCHES);
    }
    let mut part = Part::new(org.bulk.batch_id(), now_ms);
    match read_content(org, &upload, format, is_query) {
        Ok(Content::Query(text)) => part.query = Some(text),
        Ok(Content::Rows(rows)) => part.upload = Some(rows),
        // A batch that cannot be read is there all the same, and says so.
        Err(message) => (part.state, part.message) = (PartState::Failed, Some(message)),
    }
    let Some(job) = org.bulk.jobs.get_mut(&number) else { return crate::rest::not_found() };
    job.parts.push(part);
    job.modified_ms = now_ms;
    let response = job.parts.last().map(|part| info::batch(job, part, format_of_answer, 201));
    org.bulk.activate(number);
    response.unwrap_or_else(crate::rest::not_found)
}

enum Content {
    Query(String),
    Rows(Arc<Blob>),
}

fn read_content(org: &Org, upload: &Arc<Blob>, format: Format, is_query: bool) -> Result<Content, String> {
    let failed = |error: io::Error| format!("UnknownException : {error}");
    if is_query {
        let text = String::from_utf8(all(upload).map_err(failed)?);
        return text.map(Content::Query).map_err(|_| "InvalidBatch : the query is not in UTF-8".to_owned());
    }
    let lines = match format {
        Format::Csv => return Ok(Content::Rows(upload.clone())),
        Format::Json => content::of_json(&all(upload).map_err(failed)?)?,
        Format::Xml => content::of_xml(&all(upload).map_err(failed)?)?,
    };
    Blob::of(org.bulk.spool(), &lines).and_then(Blob::finish).map(Content::Rows).map_err(failed)
}

fn all(blob: &Blob) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(blob.len() as usize);
    while (bytes.len() as u64) < blob.len() {
        bytes.extend_from_slice(&blob.read_at(bytes.len() as u64)?);
    }
    Ok(bytes)
}

/// Answers `GET …/request`: the batch as it was sent; JSON and XML come back as JSON's records.
pub fn sent(org: &Org, job: &Job, part: &Part) -> Response {
    let empty = org.bulk.empty.clone();
    match (&part.query, &part.upload) {
        (Some(query), _) => Response::stream(ingest::CSV, Stream::new(Slice::whole(query.clone().into(), empty))),
        (None, upload) if job.format == Format::Csv => {
            let blob = upload.clone().unwrap_or(empty);
            Response::stream(ingest::CSV, Stream::new(Slice::whole(Vec::new(), blob)))
        }
        (None, upload) => {
            let lines = upload.as_ref().map(|upload| all(upload)).transpose().ok().flatten().unwrap_or_default();
            let records: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
            let mut body = b"[".to_vec();
            body.extend_from_slice(&records.join(&b","[..]));
            body.push(b']');
            Response::json(200, body)
        }
    }
}

/// The id of a query's result, which goes by its batch's number.
pub fn result_id(part: &Part) -> SfId {
    SfId::new(*b"752", part.id.number().unwrap_or_default())
}

/// Answers `GET …/result`.
pub fn result(org: &Org, job: &Job, part: &Part, request: &Request<'_>) -> Response {
    if !part.state.is_end() || part.state == PartState::NotProcessed {
        return Response::error(400, "InvalidBatch", "Batch not completed");
    }
    if job.operation.is_query() {
        if part.state == PartState::Failed {
            return Response::error(400, "InvalidBatch", part.message.as_deref().unwrap_or("Batch failed"));
        }
        let id = result_id(part);
        return match answer_format(request, Some(job)) {
            Format::Json => Response::value(200, &serde_json::json!([id.as_str()])),
            _ => Response::xml(200, info::document("result-list", &format!("<result>{id}</result>"))),
        };
    }
    let blob = match &part.results {
        Results::InOrder(blob) => blob.clone(),
        _ => org.bulk.empty.clone(),
    };
    match job.format {
        Format::Csv => {
            let head = b"\"Id\",\"Success\",\"Created\",\"Error\"\n".to_vec();
            Response::stream(ingest::CSV, Stream::new(Slice::whole(head, blob)))
        }
        Format::Json => framed("application/json;charset=UTF-8", "[".into(), blob, "]"),
        Format::Xml => framed("application/xml;charset=UTF-8", open("results", ""), blob, "</results>"),
    }
}

/// Answers `GET …/result/{id}`: the rows of a query.
pub fn query_result(job: &Job, part: &Part, id: &str) -> Response {
    let known = SfId::parse(id) == Some(result_id(part));
    let (true, Results::Rows { header, lines, .. }) = (known, &part.results) else {
        return Response::error(400, "InvalidBatch", "Unable to find the result");
    };
    match job.format {
        Format::Csv => Response::stream(ingest::CSV, Stream::new(Slice::whole(header.clone(), lines.clone()))),
        Format::Json => framed("application/json;charset=UTF-8", "[".into(), lines.clone(), "]"),
        Format::Xml => {
            let xsi = " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";
            framed("application/xml;charset=UTF-8", open("queryResult", xsi), lines.clone(), "</queryResult>")
        }
    }
}

fn open(name: &str, more: &str) -> String {
    let namespace = super::xml::NAMESPACE;
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{name} xmlns=\"{namespace}\"{more}>")
}

fn framed(content_type: &'static str, head: String, blob: Arc<Blob>, tail: &'static str) -> Response {
    let slice = Slice { tail: Some(tail.into()), ..Slice::whole(head.into(), blob) };
    Response::stream(content_type, Stream::new(slice))
}
