//! Jobs that nobody knows of: their makers died between making them and writing their ids down.

use super::job::{Job, State, is_job_id};
use crate::faults::{self, fault};
use crate::read::unix_nanos;
use crate::sink::SalesforceSink;
use crate::transport::Call;
use contract::SinkError;
use model::{ErrorClass, ObjectName};
use serde::Deserialize;

/// Pages of 1,000 jobs that are looked through.
const PAGES_MAX: usize = 200;

#[derive(Deserialize)]
struct Page {
    done: bool,
    records: Vec<Job>,
    #[serde(rename = "nextRecordsUrl", default)]
    next: Option<String>,
}

impl SalesforceSink {
    /// Aborts open jobs of our own user for these objects, made since `since_ms` and not among `known`
    /// (`Sink::close_leftovers`).
    ///
    /// # Errors
    /// As `Sink::close_leftovers`; one that cannot be aborted does not keep the others.
    pub(crate) async fn leftovers_closed(
        &self,
        objects: &[ObjectName],
        since_ms: i64,
        known: &[String],
        calls: &mut u32,
    ) -> Result<usize, SinkError> {
        let session = self.transport.sessions.current().await?;
        let Some(identity) = &session.identity else {
            tracing::warn!("the org did not tell who we are; jobs left open are not looked for");
            return Ok(0);
        };
        let is_leftover = |job: &Job| {
            // Dates of jobs are whole seconds.
            let made_ms = unix_nanos(&job.created_date).map(|nanos| (nanos / 1_000_000) as i64 + 999);
            job.state == State::Open
                && is_same_id(&job.created_by_id, &identity.user)
                && made_ms.is_some_and(|made_ms| made_ms >= since_ms)
                && objects.iter().any(|object| object.as_str().eq_ignore_ascii_case(&job.object))
                && !known.iter().any(|known| is_same_id(known, &job.id))
        };
        let mut left = Vec::new();
        let place = "list jobs";
        let mut path = format!("{}/jobs/ingest?jobType=V2Ingest", self.transport.data_path);
        for _ in 0..PAGES_MAX {
            let answer = self.transport.call(&Call::get(path, place), calls).await?;
            let page: Page = serde_json::from_slice(&answer.body)
                .map_err(|_| fault(faults::MALFORMED, ErrorClass::Transient, place, "the answer is no list of jobs"))?;
            left.extend(
                page.records.into_iter().filter(|job| is_leftover(job) && is_job_id(&job.id)).map(|job| job.id),
            );
            match page.next {
                Some(next) if !page.done && next.starts_with("/services/data/") => path = next,
                _ => break,
            }
        }
        let (mut closed, mut trouble) = (0, None);
        for id in left {
            match self.jobs().abort(&id, calls).await {
                Ok(()) => {
                    tracing::info!(job = id, "a job that nobody knew of is aborted");
                    closed += 1;
                }
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(closed), Err)
    }
}

/// Ids are equal by their first 15 characters; the other three are a checksum.
fn is_same_id(one: &str, other: &str) -> bool {
    matches!((one.get(..15), other.get(..15)), (Some(one), Some(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_of_both_lengths_are_the_same() {
        assert!(
            is_same_id("7505e000001Xyz1", "7505e000001Xyz1AAA") && !is_same_id("7505e000001Xyz1", "7505e000001XyZ1")
        );
        assert!(!is_same_id("", ""));
    }

    proptest! {
        #[test]
        fn any_page_is_read_or_refused(body: Vec<u8>) {
            let _ = serde_json::from_slice::<Page>(&body);
        }
    }
}
