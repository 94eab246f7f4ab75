//! Bulk API 1.0 (`/services/async/XX.X/job…`) as far as its clients use it: jobs and batches in JSON, XML and CSV.
//!
//! Left out: zipped batches with binary attachments, PK chunking by header, transformation specifications.

mod batch;
mod calls;
mod content;
mod error;
mod info;
pub mod records;
pub mod xml;

pub use calls::call;
pub use content::RECORDS_MAX;
pub use error::error_of;

use super::job::{Format, Job};
use crate::answer::Request;
use crate::faults::BulkCall;

/// What a call wants; texts are ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Create,
    Info(String),
    Change(String),
    AddBatch(String),
    Batches(String),
    Batch(String, String),
    /// The batch as it was uploaded.
    Sent(String, String),
    Result(String, String),
    QueryResult(String, String, String),
}

impl Route {
    /// Reads what comes after the version.
    pub fn read(request: &Request<'_>, rest: &[&str]) -> Option<Self> {
        let text = |at: usize| rest.get(at).map(|word| (*word).to_owned()).unwrap_or_default();
        Some(match (request.method.as_str(), rest) {
            ("POST", ["job"]) => Self::Create,
            ("GET", ["job", _]) => Self::Info(text(1)),
            ("POST", ["job", _]) => Self::Change(text(1)),
            ("POST", ["job", _, "batch"]) => Self::AddBatch(text(1)),
            ("GET", ["job", _, "batch"]) => Self::Batches(text(1)),
            ("GET", ["job", _, "batch", _]) => Self::Batch(text(1), text(3)),
            ("GET", ["job", _, "batch", _, "request"]) => Self::Sent(text(1), text(3)),
            ("GET", ["job", _, "batch", _, "result"]) => Self::Result(text(1), text(3)),
            ("GET", ["job", _, "batch", _, "result", _]) => Self::QueryResult(text(1), text(3), text(5)),
            _ => return None,
        })
    }

    /// The job that the path names.
    pub fn job(&self) -> Option<&str> {
        match self {
            Self::Create => None,
            Self::Info(id) | Self::Change(id) | Self::AddBatch(id) | Self::Batches(id) => Some(id),
            Self::Batch(id, _) | Self::Sent(id, _) | Self::Result(id, _) | Self::QueryResult(id, _, _) => Some(id),
        }
    }

    /// The call as fault rules know it.
    pub fn seen(&self, body: &[u8]) -> BulkCall {
        match self {
            Self::Create => BulkCall::Create,
            Self::Info(_) | Self::Batch(..) | Self::Sent(..) => BulkCall::Info,
            Self::Change(_) if memchr::memmem::find(body, b"Aborted").is_some() => BulkCall::Abort,
            Self::Change(_) => BulkCall::Close,
            Self::AddBatch(_) => BulkCall::Upload,
            Self::Batches(_) => BulkCall::List,
            Self::Result(..) | Self::QueryResult(..) => BulkCall::Results,
        }
    }
}

/// How an answer is written: as the caller writes, else as the job's batches are; XML for those in CSV.
pub fn answer_format(request: &Request<'_>, job: Option<&Job>) -> Format {
    let says = |name: &str| request.header(name).is_some_and(|value| value.to_ascii_lowercase().contains("json"));
    if says("content-type") || says("accept") || job.is_some_and(|job| job.format == Format::Json) {
        return Format::Json;
    }
    Format::Xml
}
