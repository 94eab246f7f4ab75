//! Calls for ingest jobs: upload, close, results.

use super::apply::result_header;
use super::blob::Blob;
use super::job::{Job, Kind, Part, Results, State};
use super::route::{File, find, with_job, wrong_state};
use super::run::Unprocessed;
use super::stream::{Slice, Stream, Truncated, WithNul};
use super::{create, csv};
use crate::answer::{Request, Response};
use crate::faults::{Api, Effect, Part as FaultPart, Seen};
use crate::org::Org;
use std::sync::Arc;

/// The content type of files.
pub const CSV: &str = "text/csv";

/// Answers `PUT /jobs/ingest/{id}/batches`: one upload, no more.
pub fn upload(org: &mut Org, now_ms: i64, version: u32, id: &str, request: &Request<'_>) -> Response {
    let number = match find(org, Kind::Ingest, id, Some(version)) {
        Ok(number) => number,
        Err(response) => return response,
    };
    let content_type = request.header("content-type").unwrap_or(CSV);
    if !content_type.to_ascii_lowercase().starts_with(CSV) {
        return Response::error(415, "UNSUPPORTED_MEDIA_TYPE", "The Content-Type of an upload is text/csv");
    }
    let Some(job) = org.bulk.jobs.get(&number) else { return crate::rest::not_found() };
    if job.state != State::Open {
        return wrong_state(&format!("Adding to already {} Job not allowed", job.state.past()));
    }
    if !job.parts.is_empty() {
        let message = format!(
            "Found multiple contents for job: <{}>, please 'Close' / 'Abort' / 'Delete' the current Job then create a new Job and make sure you only do 'PUT' once on a given Job.",
            job.id
        );
        return Response::error(400, "BULK_API_ERROR", &message);
    }
    match create::uploaded(org, request) {
        Ok(blob) => store(org, number, blob, now_ms),
        Err(response) => return response,
    }
    Response::empty(201)
}

/// Keeps a job's upload.
pub fn store(org: &mut Org, number: u64, blob: Arc<Blob>, now_ms: i64) {
    let Some(job) = org.bulk.jobs.get_mut(&number) else { return };
    let mut part = Part::new(job.id, now_ms);
    part.upload = Some(blob);
    job.parts = vec![part];
    job.modified_ms = now_ms;
}

/// Hands a job to the work.
pub fn close(org: &mut Org, number: u64, now_ms: i64) {
    let delay = org.config.bulk.start_delay_ms as i64;
    let Some(job) = org.bulk.jobs.get_mut(&number) else { return };
    if job.parts.is_empty() {
        job.parts.push(Part::new(job.id, now_ms));
    }
    job.enter(State::UploadComplete, now_ms);
    job.due_ms = now_ms + delay;
    org.bulk.activate(number);
}

/// Answers the three files of a job that has ended.
pub fn results(org: &mut Org, version: u32, id: &str, file: File) -> Response {
    let empty = org.bulk.empty.clone();
    let response = with_job(org, Kind::Ingest, id, Some(version), |_, job| {
        if !job.state.is_end() {
            return wrong_state(&format!("The job is {}: results are available once it has ended", job.state.word()));
        }
        let stream = match file {
            File::Unprocessed => unprocessed(job, empty),
            File::Successful | File::Failed => split(job, file == File::Successful, empty),
        };
        Response::stream(CSV, stream)
    });
    spoil(org, Kind::Ingest, id, response)
}

fn split(job: &Job, successful: bool, empty: Arc<Blob>) -> Stream {
    let (blob, columns) = match job.parts.first().map(|part| &part.results) {
        Some(Results::Split { columns, success, failed, .. }) => {
            (if successful { success.clone() } else { failed.clone() }, columns.as_slice())
        }
        _ => (empty, &[][..]),
    };
    Stream::new(Slice::whole(result_header(job, successful, columns), blob))
}

fn unprocessed(job: &Job, empty: Arc<Blob>) -> Stream {
    let Some(part) = job.parts.first() else { return Stream::new(Slice::whole(Vec::new(), empty)) };
    let (columns, settled, cut_off) = match &part.results {
        Results::Split { columns, settled, cut_off, .. } => (columns.as_slice(), settled.clone(), *cut_off),
        _ => (&[][..], Vec::new(), None),
    };
    match &part.upload {
        Some(upload) => Stream::new(Unprocessed::new(upload.clone(), job.dialect, settled, cut_off)),
        None => {
            let mut header = Vec::new();
            if !columns.is_empty() {
                csv::write_line(&mut header, job.dialect, columns.iter().map(String::as_str));
            }
            Stream::new(Slice::whole(header, empty))
        }
    }
}

/// Lets fault rules at a result file.
pub fn spoil(org: &mut Org, kind: Kind, id: &str, mut response: Response) -> Response {
    let Some(stream) = response.stream.take() else { return response };
    let number = org.bulk.find(id);
    let Org { bulk, faults, .. } = org;
    let job = number.and_then(|number| bulk.jobs.get(&number)).filter(|job| job.kind == kind);
    let mut stream = stream;
    if let (Some(job), false) = (job, faults.is_empty()) {
        let seen = Seen {
            api: Api::Bulk,
            object: Some(&job.object),
            operation: job.operation.seen(),
            client: job.client.as_deref(),
            keys: &[],
            rows: 0,
        };
        for effect in faults.effects(&seen, FaultPart::Results) {
            stream = match effect {
                Effect::TruncateResults { fraction } => {
                    let left = (stream.bytes() as f64 * fraction.clamp(0.0, 1.0)) as u64;
                    Stream::new(Truncated { inner: stream, left })
                }
                Effect::NulByte => Stream::new(WithNul { inner: stream, header_passed: false, done: false }),
                _ => stream,
            };
        }
    }
    response.stream = Some(stream);
    response
}
