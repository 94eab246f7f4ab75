//! gRPC over the HTTP client: messages and answers in frames, a status in the trailers.
//!
//! Source: gRPC over HTTP2 (grpc/grpc, `PROTOCOL-HTTP2.md`); error codes: Pub/Sub API guide, "Handling Errors".

use crate::errors::whole::Effect;
use crate::faults::{self, fault};
use crate::session::{Identity, Session};
use crate::transport::{Transport, cause};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use contract::SinkError;
use futures::FutureExt;
use http::HeaderMap;
use http_body_util::BodyExt;
use model::ErrorClass;
use prost::Message;
use std::pin::Pin;
use std::time::Duration;

/// Bytes of an answer; a schema has some kilobytes, a result some tens of bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes before a message: whether it is compressed, and its length.
const HEAD: usize = 5;
/// Where Salesforce serves all orgs.
const GLOBAL: &str = "https://api.pubsub.salesforce.com:7443";
const PREFIX: &str = "sfdc.platform.eventbus.grpc.";

/// The way to the Pub/Sub API.
pub(crate) struct Channel {
    client: reqwest::Client,
    /// Scheme, host and port; none: by the org's own address.
    endpoint: Option<String>,
    pub(super) timeout: Duration,
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
        let request = self.request(session, method, &place)?.timeout(self.timeout).body(framed(message));
        let unanswered = |error| unanswered(error, effect, &place);
        let response = request.send().await.map_err(unanswered)?;
        let mut answers = Answers::of(response, effect, &place)?;
        let answer = answers.next(effect, &place).await?;
        answers.end(effect, &place).await?;
        answer.ok_or_else(|| fault(faults::MALFORMED, effect.unanswered(), &place, "the answer is no message"))
    }

    /// A call without its body.
    ///
    /// # Errors
    /// As `identity`.
    pub fn request(&self, session: &Session, method: &str, place: &str) -> Result<reqwest::RequestBuilder, SinkError> {
        let identity = identity(session, place)?;
        let base = match &self.endpoint {
            Some(endpoint) => endpoint,
            // A simulated org serves it where it serves everything else.
            None if crate::config::is_loopback(&session.instance) => &session.instance,
            None => GLOBAL,
        };
        let request = self.client.post(format!("{base}/eventbus.v1.PubSub/{method}"));
        Ok(request
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("accesstoken", session.token.expose())
            .header("instanceurl", &session.instance)
            .header("tenantid", &identity.org))
    }
}

/// What a lost answer means.
pub(crate) fn unanswered(error: reqwest::Error, effect: Effect, place: &str) -> SinkError {
    let (code, class) = match () {
        () if error.is_connect() => (faults::UNREACHABLE, ErrorClass::Transient),
        () if error.is_timeout() => (faults::TIMED_OUT, effect.unanswered()),
        () => (faults::CUT, effect.unanswered()),
    };
    fault(code, class, place, cause(error))
}

/// The messages of an answer, one after the other.
pub(crate) struct Answers {
    headers: HeaderMap,
    body: Pin<Box<reqwest::Body>>,
    /// Received and not yet handed out.
    data: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Answers {
    /// # Errors
    /// When it was no gRPC server that answered.
    pub fn of(response: reqwest::Response, effect: Effect, place: &str) -> Result<Self, SinkError> {
        let status = response.status();
        if !status.is_success() {
            // A proxy or load balancer, which may have handed the request on.
            let class = if status.is_client_error() { ErrorClass::Transient } else { effect.unanswered() };
            return Err(fault(faults::UNAVAILABLE, class, place, format!("HTTP {}", status.as_u16())));
        }
        let headers = response.headers().clone();
        Ok(Self { headers, body: Box::pin(response.into()), data: BytesMut::new(), trailers: None })
    }

    /// The next message; none when the answer has ended well. Not cancel-safe.
    ///
    /// # Errors
    /// The status that it ended with, or what kept it from being read.
    pub async fn next<A: Message + Default>(&mut self, effect: Effect, place: &str) -> Result<Option<A>, SinkError> {
        loop {
            if let Some(message) = self.take(effect, place)? {
                return Ok(Some(message));
            }
            if !self.receive(effect, place).await? {
                self.status(effect, place)?;
                return match self.data.is_empty() {
                    true => Ok(None),
                    false => Err(malformed(effect, place)),
                };
            }
        }
    }

    /// Waits for the end behind the last message.
    ///
    /// # Errors
    /// As `next`; also when there is another message.
    async fn end(&mut self, effect: Effect, place: &str) -> Result<(), SinkError> {
        while self.receive(effect, place).await? {}
        self.status(effect, place)?;
        if self.data.is_empty() { Ok(()) } else { Err(malformed(effect, place)) }
    }

    /// True when nothing has come that nobody asked for, the end included. Does not wait.
    pub fn is_quiet(&mut self) -> bool {
        self.data.is_empty() && self.body.frame().now_or_never().is_none()
    }

    /// Takes in a piece; false: there is no more.
    async fn receive(&mut self, effect: Effect, place: &str) -> Result<bool, SinkError> {
        let Some(frame) = self.body.frame().await else { return Ok(false) };
        match frame.map_err(|error| unanswered(error, effect, place))?.into_data() {
            Ok(piece) if self.data.len() + piece.len() > ANSWER_BYTES_MAX => {
                return Err(fault(faults::TOO_LARGE, effect.unanswered(), place, "the answer is too long"));
            }
            Ok(piece) => self.data.extend_from_slice(&piece),
            Err(frame) => self.trailers = frame.into_trailers().ok(),
        }
        Ok(true)
    }

    /// What the server says of the whole. An answer without a message says it among the headers.
    fn status(&self, effect: Effect, place: &str) -> Result<(), SinkError> {
        let trailers = self.trailers.as_ref().filter(|trailers| trailers.contains_key("grpc-status"));
        let told = trailers.unwrap_or(&self.headers);
        match header(told, "grpc-status").and_then(|code| code.parse::<u32>().ok()) {
            Some(0) => Ok(()),
            Some(code) => Err(refusal(code, told, effect, place)),
            None => Err(fault(faults::CUT, effect.unanswered(), place, "the answer has no status")),
        }
    }

    /// A message that is there as a whole; not compressed, since nothing asked for that.
    fn take<A: Message + Default>(&mut self, effect: Effect, place: &str) -> Result<Option<A>, SinkError> {
        let Some(length) = message_length(&self.data).map_err(|()| malformed(effect, place))? else { return Ok(None) };
        self.data.advance(HEAD);
        let message = self.data.split_to(length).freeze();
        A::decode(message).map(Some).map_err(|_| malformed(effect, place))
    }
}

fn malformed(effect: Effect, place: &str) -> SinkError {
    fault(faults::MALFORMED, effect.unanswered(), place, "the answer is no message")
}

/// The length of the first message, when it is there as a whole; an error where none can begin.
fn message_length(data: &[u8]) -> Result<Option<usize>, ()> {
    let Some((head, rest)) = data.split_first_chunk::<HEAD>() else { return Ok(None) };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    match head[0] {
        0 if length <= ANSWER_BYTES_MAX => Ok((rest.len() >= length).then_some(length)),
        _ => Err(()),
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

/// A message in its frame.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut out = BytesMut::with_capacity(message.encoded_len() + HEAD);
    out.put_u8(0);
    out.put_u32(message.encoded_len() as u32);
    out.extend_from_slice(&message.encode_to_vec());
    out.freeze()
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

    fn read<A: Message + Default>(pieces: Vec<Bytes>) -> Vec<Result<A, &'static str>> {
        let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)));
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())]);
        let mut answers = Answers { headers, body: Box::pin(body), data: BytesMut::new(), trailers: None };
        let all = async {
            let mut read = Vec::new();
            loop {
                match answers.next(Effect::Write, "x").await {
                    Ok(Some(message)) => read.push(Ok(message)),
                    Ok(None) => return read,
                    Err(error) => {
                        read.push(Err(error.code.0));
                        return read;
                    }
                }
            }
        };
        all.now_or_never().expect("all pieces are there")
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_refused(pieces: Vec<Vec<u8>>) {
            let _ = read::<PublishResponse>(pieces.into_iter().map(Bytes::from).collect());
        }

        #[test]
        fn messages_are_read_as_they_were_written_however_they_are_cut(names in prop::collection::vec(".{0,40}", 0..5), cut in 1..60_usize) {
            let messages: Vec<_> = names.into_iter().map(|topic_name| TopicRequest { topic_name }).collect();
            let bytes: Vec<u8> = messages.iter().flat_map(framed).collect();
            let pieces = bytes.chunks(cut).map(Bytes::copy_from_slice).collect();
            prop_assert_eq!(read::<TopicRequest>(pieces), messages.into_iter().map(Ok).collect::<Vec<_>>());
            if bytes.len() > 1 {
                let short = read::<TopicRequest>(vec![Bytes::copy_from_slice(&bytes[..bytes.len() - 1])]);
                prop_assert_eq!(short.last(), Some(&Err(faults::MALFORMED)));
            }
        }
    }
}
