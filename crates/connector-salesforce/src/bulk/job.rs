//! The calls for one job.
//!
//! Source: Bulk API 2.0 Developer Guide, "Bulk API 2.0 Ingest".

use super::outcomes::{Match, Outcome, Reading, ResultFile};
use super::settings::BulkSettings;
use crate::faults::{self, fault};
use crate::transport::{Call, Effect, Transport};
use bytes::Bytes;
use contract::{OutBatch, OutOp, SinkError};
use http::Method;
use model::ErrorClass;
use serde::Deserialize;
use serde_json::json;

/// Pages of a result file that are followed; a page holds 100,000 rows and more.
const PAGES_MAX: usize = 10_000;

/// Where a job stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum State {
    /// Takes a file.
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
    /// A word of a later release: the job is looked at again.
    #[default]
    #[serde(other)]
    Other,
}

impl State {
    /// True when nothing more happens.
    pub fn is_end(self) -> bool {
        matches!(self, Self::JobComplete | Self::Failed | Self::Aborted)
    }
}

/// What the org tells of a job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Job {
    pub id: String,
    pub state: State,
    pub object: String,
    pub created_by_id: String,
    pub created_date: String,
    pub job_type: String,
    #[serde(rename = "numberRecordsProcessed")]
    pub processed: u64,
    #[serde(rename = "numberRecordsFailed")]
    pub failed: u64,
    pub error_message: Option<String>,
    /// Milliseconds.
    pub total_processing_time: u64,
}

/// The jobs of an org.
pub(crate) struct Jobs<'a> {
    pub transport: &'a Transport,
    pub settings: &'a BulkSettings,
}

impl Jobs<'_> {
    /// Makes a job; it takes a file.
    ///
    /// # Errors
    /// `SinkError`. After class `Unknown` there may be a job without a file, which nobody knows of.
    pub async fn create(&self, batch: &OutBatch, calls: &mut u32) -> Result<Job, SinkError> {
        let place = format!("create a job for {}", batch.object);
        let operation = match batch.op {
            OutOp::Upsert => "upsert",
            OutOp::Create => "insert",
            OutOp::Update => "update",
            OutOp::Delete => "delete",
        };
        let mut body = json!({
            "object": batch.object.as_str(), "operation": operation, "contentType": "CSV",
            "columnDelimiter": "COMMA", "lineEnding": "LF",
        });
        if let (OutOp::Upsert, Some(field)) = (batch.op, &batch.external_id) {
            body["externalIdFieldName"] = json!(&**field);
        }
        let path = format!("{}/jobs/ingest", self.transport.data_path);
        let call = Call::write(Method::POST, path, Some(body.to_string().into()), &place);
        let answer = self.transport.call(&call, calls).await?;
        read(&answer.body, &place, ErrorClass::Unknown)
    }

    /// Uploads the file; a job takes one.
    ///
    /// # Errors
    /// `SinkError`. Nothing is worked off before `close`.
    pub async fn upload(&self, id: &str, file: Bytes, calls: &mut u32) -> Result<(), SinkError> {
        let place = format!("upload to job {id}");
        let call = Call {
            content_type: "text/csv; charset=UTF-8",
            timeout: Some(self.settings.transfer_timeout),
            ..Call::write(Method::PUT, format!("{}/batches", self.path(id)), Some(file), &place)
        };
        self.transport.call(&call, calls).await.map(|_| ())
    }

    /// Hands the job over to the org.
    ///
    /// # Errors
    /// `SinkError`.
    pub async fn close(&self, id: &str, calls: &mut u32) -> Result<(), SinkError> {
        self.set(id, "UploadComplete", "close", calls).await
    }

    /// Ends the job; rows that were applied stay.
    ///
    /// # Errors
    /// `SinkError`; also when it has ended already.
    pub async fn abort(&self, id: &str, calls: &mut u32) -> Result<(), SinkError> {
        self.set(id, "Aborted", "abort", calls).await
    }

    async fn set(&self, id: &str, state: &str, verb: &str, calls: &mut u32) -> Result<(), SinkError> {
        let place = format!("{verb} job {id}");
        let body = json!({ "state": state }).to_string();
        let call = Call::write(Method::PATCH, self.path(id), Some(body.into()), &place);
        self.transport.call(&call, calls).await.map(|_| ())
    }

    /// Looks at the job; none when it is not there (any more).
    ///
    /// # Errors
    /// `SinkError`.
    pub async fn look(&self, id: &str, calls: &mut u32) -> Result<Option<Job>, SinkError> {
        let place = format!("look at job {id}");
        if !is_job_id(id) {
            return Ok(None);
        }
        match self.transport.call(&Call::get(self.path(id), &place), calls).await {
            Ok(answer) => read(&answer.body, &place, ErrorClass::Transient).map(Some),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a result file, page by page, in bounded memory but for what it says of each row; and whether it was whole.
    ///
    /// # Errors
    /// `SinkError`; `PS4114` when the results are not there any more.
    pub async fn results(
        &self,
        id: &str,
        file: ResultFile,
        by: &Match,
        calls: &mut u32,
    ) -> Result<(Vec<(u128, Outcome)>, bool), SinkError> {
        let place = format!("read {} of job {id}", file.path());
        let mut reading = Reading::new(file, by);
        let mut path = format!("{}/{}/", self.path(id), file.path());
        for _ in 0..PAGES_MAX {
            let call = Call {
                timeout: Some(self.settings.transfer_timeout),
                ..Call::new(Method::GET, path, Effect::Read, &place)
            };
            let mut push = |bytes: &[u8]| reading.push(bytes);
            let answer = self
                .transport
                .call_into(&call, Some(&mut push), calls)
                .await
                .map_err(|error| if is_gone(&error) { gone(id, &place) } else { error })?;
            let Some(locator) = answer.locator else { return Ok(reading.finish()) };
            if !reading.next_page() {
                return Ok((reading.finish().0, false));
            }
            let locator = percent_encoding::utf8_percent_encode(&locator, percent_encoding::NON_ALPHANUMERIC);
            path = format!("{}/{}/?locator={locator}", self.path(id), file.path());
        }
        Err(fault(faults::MALFORMED, ErrorClass::Transient, &place, "the results have no end"))
    }

    fn path(&self, id: &str) -> String {
        format!("{}/jobs/ingest/{id}", self.transport.data_path)
    }
}

/// The error of a job, or its results, that the org has thrown away.
pub(crate) fn gone(id: &str, place: &str) -> SinkError {
    fault(faults::JOB_GONE, ErrorClass::Unknown, place, format!("job {id} or its results are not there any more"))
}

/// True for the answer to a job that is not there.
fn is_gone(error: &SinkError) -> bool {
    error.target_code.as_deref() == Some("NOT_FOUND")
}

/// True for the answer to closing or aborting a job whose state does not allow it (any more).
pub(crate) fn is_wrong_state(error: &SinkError) -> bool {
    error.target_code.as_deref().is_some_and(|code| code.eq_ignore_ascii_case("INVALIDJOBSTATE"))
}

/// True for what can stand in a path as a job's id.
pub(crate) fn is_job_id(id: &str) -> bool {
    matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn read(body: &[u8], place: &str, class: ErrorClass) -> Result<Job, SinkError> {
    let job: Job =
        serde_json::from_slice(body).map_err(|_| fault(faults::MALFORMED, class, place, "the answer is no job"))?;
    match is_job_id(&job.id) {
        true => Ok(job),
        false => Err(fault(faults::MALFORMED, class, place, "the job has no id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_job_is_read_with_unknown_states_and_missing_counts() {
        let job =
            read(br#"{"id":"7505e000001XyzAAAA","state":"Sleeping","apiVersion":62.0}"#, "x", ErrorClass::Unknown);
        let job = job.unwrap();
        assert_eq!((job.state, job.processed), (State::Other, 0));
        assert!(read(br#"{"id":"../x","state":"Open"}"#, "x", ErrorClass::Unknown).is_err());
    }

    proptest! {
        #[test]
        fn any_body_is_a_job_or_refused(body: Vec<u8>) {
            let _ = read(&body, "x", ErrorClass::Transient);
        }
    }
}
