//! Unary gRPC over the HTTP client: a message in a frame, an answer in a frame, a status in the trailers.
//!
//! Source: gRPC over HTTP2 (grpc/grpc, `PROTOCOL-HTTP2.md`); error codes: Pub/Sub API guide, "Handling Errors".

use crate::errors::whole::Effect;
use crate::faults::{self, fault};
use crate::session::{Identity, Session};
use crate::transport::{Transport, cause};
use bytes::{BufMut, Bytes, BytesMut};
use contract::SinkError;
use http::HeaderMap;
use http_body_util::BodyExt;
use model::ErrorClass;
use prost::Message;
use std::time::Duration;

/// Bytes of an answer; a schema has some kilobytes, a result some tens of bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Where Salesforce serves all orgs.
const GLOBAL: &str = "https://api.pubsub.salesforce.com:7443";
const PREFIX: &str = "sfdc.platform.eventbus.grpc.";

/// The way to the Pub/Sub API.
pub(crate) struct Channel {
    client: reqwest::Client,
    /// Scheme, host and port; none: by the org's own address.
    endpoint: Option<String>,
    timeout: Duration,
}

impl Channel {
    /// Makes a channel over an HTTP/2 client; opens no connection.
    pub fn new(client: reqwest::Client, endpoint: Option<String>, timeout: Duration) -> Self {
        Self { client, endpoint, timeout }
    }

    /// Calls a method; renews the session and repeats the call once when it has expired.
    ///
    /// # Errors
    /// `SinkError`; a lost answer is `Unknown` for a write and `Transient` for a read.
    pub async fn call<A: Message + Default>(
        &self,
        transport: &Transport,
        method: &str,
        message: &impl Message,
        effect: Effect,
    ) -> Result<A, SinkError> {
        let mut session = transport.sessions.current().await?;
        let mut called = self.exchange(&session, method, message, effect).await;
        if called.as_ref().is_err_and(|error| error.code.0 == faults::SESSION) {
            session = transport.sessions.renew(session.generation).await?;
            called = self.exchange(&session, method, message, effect).await;
        }
        called.map_err(|mut error| {
            transport.clean(&mut error.message);
            error
        })
    }

    async fn exchange<A: Message + Default>(
        &self,
        session: &Session,
        method: &str,
        message: &impl Message,
        effect: Effect,
    ) -> Result<A, SinkError> {
        let place = format!("Pub/Sub {method}");
        let identity = identity(session, &place)?;
        let base = match &self.endpoint {
            Some(endpoint) => endpoint,
            // A simulated org serves it where it serves everything else.
            None if crate::config::is_loopback(&session.instance) => &session.instance,
            None => GLOBAL,
        };
        let request = self
            .client
            .post(format!("{base}/eventbus.v1.PubSub/{method}"))
            .timeout(self.timeout)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("accesstoken", session.token.expose())
            .header("instanceurl", &session.instance)
            .header("tenantid", &identity.org)
            .body(framed(message));
        let unanswered = |error: reqwest::Error| {
            let (code, class) = match () {
                () if error.is_connect() => (faults::UNREACHABLE, ErrorClass::Transient),
                () if error.is_timeout() => (faults::TIMED_OUT, effect.unanswered()),
                () => (faults::CUT, effect.unanswered()),
            };
            fault(code, class, &place, cause(error))
        };
        let response = request.send().await.map_err(unanswered)?;
        let status = response.status();
        if !status.is_success() {
            // No gRPC server answered: a proxy or load balancer did, which may have handed the request on.
            let class = if status.is_client_error() { ErrorClass::Transient } else { effect.unanswered() };
            return Err(fault(faults::UNAVAILABLE, class, &place, format!("HTTP {}", status.as_u16())));
        }
        let headers = response.headers().clone();
        let mut body = std::pin::pin!(reqwest::Body::from(response));
        let (mut data, mut trailers) = (BytesMut::new(), HeaderMap::new());
        while let Some(frame) = body.frame().await {
            match frame.map_err(unanswered)?.into_data() {
                Ok(piece) if data.len() + piece.len() > ANSWER_BYTES_MAX => {
                    return Err(fault(faults::TOO_LARGE, effect.unanswered(), &place, "the answer is too long"));
                }
                Ok(piece) => data.extend_from_slice(&piece),
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        // An answer without a message has its status among the headers.
        let told = if trailers.contains_key("grpc-status") { &trailers } else { &headers };
        match header(told, "grpc-status").and_then(|code| code.parse::<u32>().ok()) {
            Some(0) => {}
            Some(code) => return Err(refusal(code, told, effect, &place)),
            None => return Err(fault(faults::CUT, effect.unanswered(), &place, "the answer has no status")),
        }
        unframed(&data).ok_or_else(|| fault(faults::MALFORMED, effect.unanswered(), &place, "the answer is no message"))
    }
}

/// Who the session is of: the API wants the org's id in each call.
///
/// # Errors
/// Class `Auth` when the token endpoint did not tell.
pub(crate) fn identity<'s>(session: &'s Session, place: &str) -> Result<&'s Identity, SinkError> {
    let untold = || fault(faults::SESSION, ErrorClass::Auth, place, "the token endpoint did not tell the org's id");
    session.identity.as_ref().ok_or_else(untold)
}

fn framed(message: &impl Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.encoded_len() + 5);
    out.put_u8(0);
    out.put_u32(message.encoded_len() as u32);
    out.extend_from_slice(&message.encode_to_vec());
    out
}

/// Reads the one message of an answer, which is not compressed since nothing asked for that.
fn unframed<A: Message + Default>(data: &[u8]) -> Option<A> {
    let (head, message) = data.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    (head[0] == 0 && message.len() == length).then(|| A::decode(Bytes::copy_from_slice(message)).ok()).flatten()
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Classifies a status: by Salesforce's own code where there is one.
fn refusal(code: u32, told: &HeaderMap, effect: Effect, place: &str) -> SinkError {
    let own = header(told, "error-code").unwrap_or_default();
    let suffix = own.strip_prefix(PREFIX).unwrap_or(own);
    let message = header(told, "grpc-message").unwrap_or_default();
    let message = percent_encoding::percent_decode_str(message).decode_utf8_lossy();
    let (ours, class) = match suffix {
        "service.auth.error" => (faults::SESSION, ErrorClass::Auth),
        "topic.not.found" | "topic.validation.empty" => (faults::NO_OBJECT, ErrorClass::Auth),
        "service.tenant.license"
        | "topic.meta.permission"
        | "schema.meta.permission"
        | "service.auth.headers.invalid" => (faults::FORBIDDEN, ErrorClass::Auth),
        "publish.event.count.invalid" | "publish.topic.mismatch" | "publish.topic.validation.empty" => {
            (faults::REFUSED, ErrorClass::Permanent)
        }
        // Refusals at the door; the schema is asked for anew.
        _ if !suffix.is_empty() => (faults::UNAVAILABLE, ErrorClass::Transient),
        // gRPC's own numbers: 3 invalid argument, 5 not found, 7 permission denied, 8 exhausted, 16 unauthenticated.
        _ => match code {
            3 => (faults::REFUSED, ErrorClass::Permanent),
            5 => (faults::NO_OBJECT, ErrorClass::Auth),
            7 => (faults::FORBIDDEN, ErrorClass::Auth),
            8 => (faults::UNAVAILABLE, ErrorClass::Transient),
            16 => (faults::SESSION, ErrorClass::Auth),
            _ => (faults::UNSURE, effect.unanswered()),
        },
    };
    let mut error = fault(ours, class, place, format!("gRPC status {code} {suffix}: {message}"));
    error.target_code = (!suffix.is_empty()).then(|| faults::bounded(suffix));
    if suffix.contains("protection") || suffix.contains("limit") {
        error.retry_after = Some(Duration::from_secs(5));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pubsub::wire::{PublishResponse, TopicRequest};
    use proptest::prelude::*;

    #[test]
    fn codes_of_salesforce_win_over_grpcs() {
        let class = |code: u32, own: &str| {
            let mut told = HeaderMap::new();
            if !own.is_empty() {
                told.insert("error-code", format!("{PREFIX}{own}").parse().unwrap());
            }
            let error = refusal(code, &told, Effect::Write, "x");
            (error.code.0, error.class)
        };
        assert_eq!(class(13, "service.unavailable"), ("PS4104", ErrorClass::Transient));
        assert_eq!(class(16, "service.auth.error"), ("PS4004", ErrorClass::Auth));
        assert_eq!(class(5, "topic.not.found"), ("PS4101", ErrorClass::Auth));
        assert_eq!(class(14, ""), ("PS4111", ErrorClass::Unknown));
        assert_eq!(class(3, ""), ("PS4102", ErrorClass::Permanent));
    }

    proptest! {
        #[test]
        fn any_frame_is_a_message_or_refused(data: Vec<u8>) {
            let _ = unframed::<PublishResponse>(&data);
        }

        #[test]
        fn a_frame_is_read_as_it_was_written(topic_name in ".{0,40}") {
            let message = TopicRequest { topic_name };
            prop_assert_eq!(unframed::<TopicRequest>(&framed(&message)), Some(message));
        }
    }
}
