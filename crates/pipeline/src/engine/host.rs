//! What a sink is given to carry a job: the journal, the stop, and leave to upload.

use super::dispatch::Carrier;
use super::job::Upload;
use async_trait::async_trait;
use contract::{CrashPoint, JobHost, SinkError, Spend};
use model::{BatchId, BatchIntent, ErrorClass, ErrorCode};
use parking_lot::Mutex;
use std::sync::Arc;

/// One job's ticket.
pub(super) struct Ticket<'a> {
    carrier: &'a Carrier,
    intent: BatchIntent,
    job: Mutex<Option<Arc<str>>>,
    upload: Mutex<Option<Arc<Upload>>>,
}

impl<'a> Ticket<'a> {
    /// Makes the ticket of a batch that is journalled without its job's name.
    pub fn new(carrier: &'a Carrier, intent: BatchIntent, upload: Option<Arc<Upload>>) -> Self {
        Self { carrier, intent, job: Mutex::default(), upload: Mutex::new(upload) }
    }

    /// The job's name, once it is journalled.
    pub fn job(&self) -> Option<Arc<str>> {
        self.job.lock().clone()
    }
}

#[async_trait]
impl JobHost for Ticket<'_> {
    async fn note(&self, batch: BatchId, job: &str) -> Result<(), SinkError> {
        assert_eq!(batch, self.intent.batch, "a ticket is for one batch");
        let intent = BatchIntent { job: Some(job.to_owned()), ..self.intent.clone() };
        self.carrier.journal.write(&[intent]).await.map_err(|error| SinkError {
            code: ErrorCode(error.code().0),
            class: ErrorClass::Transient,
            place: format!("write down job {job}"),
            message: error.to_string(),
            target_code: None,
            retry_after: None,
            spent: Spend::default(),
        })?;
        *self.job.lock() = Some(Arc::from(job));
        self.carrier.crash.reach(CrashPoint::AfterJobNoted);
        Ok(())
    }

    fn uploaded(&self) {
        drop(self.upload.lock().take());
        self.carrier.crash.reach(CrashPoint::AfterUpload);
    }

    async fn stopping(&self) {
        self.carrier.stop.cancelled().await;
    }
}
