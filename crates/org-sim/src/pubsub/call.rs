//! One call: who makes it, its id, and what the fault rules do to it.

use super::code::{self, Code};
use crate::faults::{Operation, Seen};
use crate::server::Shared;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// An admitted call.
pub struct Call {
    pub shared: Arc<Shared>,
    pub method: &'static str,
    /// The rpc id, which errors and answers carry.
    pub id: String,
    token: String,
}

impl Call {
    /// Checks a call's headers and its session.
    ///
    /// # Errors
    /// The status for the caller.
    pub fn admit(shared: &Arc<Shared>, method: &'static str, headers: &MetadataMap) -> Result<Self, Status> {
        let now = shared.clock.now_ms();
        let mut org = shared.org.lock();
        let id = crate::events::uuid(format!("rpc/{}/{now}", org.next_request()).as_bytes());
        let header = |name: &'static str| {
            let value =
                headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.trim().is_empty());
            value.ok_or_else(|| {
                code::status(Code::Headers, &format!("The {name} header is missing or blank."), method, &id)
            })
        };
        let (token, _, tenant) = (header("accesstoken")?.to_owned(), header("instanceurl")?, header("tenantid")?);
        let ours = org.sessions.org_id;
        if tenant != ours.as_str() && tenant != ours.short() {
            return Err(code::status(Code::Auth, "The tenant ID is not the one of the session.", method, &id));
        }
        if org.sessions.use_token(Some(&format!("Bearer {token}")), now).is_none() {
            return Err(code::status(Code::Auth, "The session is expired or invalid.", method, &id));
        }
        Ok(Self { shared: shared.clone(), method, id, token })
    }

    /// Acts the fault rules out that meet this call or this part of its stream.
    ///
    /// # Errors
    /// The status that the call ends with. A stream that a rule stalls never comes back from here.
    pub async fn pass_faults(&self, operation: Operation, object: Option<&str>, rows: usize) -> Result<(), Status> {
        let decided = {
            let mut org = self.shared.org.lock();
            if org.faults.is_empty() {
                return Ok(());
            }
            let seen = Seen { api: crate::faults::Api::Pubsub, object, operation, client: None, keys: &[], rows };
            org.faults.set_now(self.shared.clock.now_ms());
            let decided = org.faults.decide(&seen);
            if decided.revoke {
                org.sessions.revoke(&self.token);
            }
            decided
        };
        let hang = Duration::from_millis(decided.hang_before_ms + decided.hang_after_ms);
        if !hang.is_zero() {
            tokio::time::sleep(hang).await;
        }
        if decided.stall {
            std::future::pending::<()>().await;
        }
        if decided.revoke {
            return Err(self.error(Code::Auth, "The session is expired or invalid."));
        }
        if let Some((suffix, grpc, message)) = &decided.grpc {
            return Err(code::named(suffix, *grpc, message, self.method, &self.id));
        }
        if decided.refuse.is_some() {
            return Err(code::named("service.unavailable", None, "The service is unavailable.", self.method, &self.id));
        }
        if decided.reset_stream || decided.cut_before || decided.cut_after || decided.cut_body {
            let mut status = Status::unavailable("reset");
            status.metadata_mut().insert(super::RESET, tonic::metadata::MetadataValue::from_static("1"));
            return Err(status);
        }
        Ok(())
    }

    /// The status of an error of this call.
    pub fn error(&self, code: Code, message: &str) -> Status {
        code::status(code, message, self.method, &self.id)
    }

    /// The status for a topic that is not there.
    pub fn no_topic(&self, name: &str) -> Status {
        self.error(Code::TopicNotFound, &format!("The topic {name} was not found."))
    }
}
