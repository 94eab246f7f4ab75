//! Publishing on streams (`PublishStream`): each carries one request at a time, so an answer is that of the request before it.
//!
//! ```text
//!   request ─▶ an idle stream of its topic, or a new one ─▶ answer ─▶ the stream is idle again
//!                                                        └▶ an error ends the stream
//! ```
//!
//! As many streams are open as requests are under way; a session is checked when a stream is opened, not at each request.
//!
//! Source: Pub/Sub API guide, "PublishStream RPC Method": the first request fixes the topic, any error ends the stream, and
//! a stream without requests for 70 s is closed.

use super::grpc::{Answers, Channel, framed, unanswered};
use super::wire::{PublishRequest, PublishResponse};
use crate::errors::whole::Effect;
use crate::faults::{self, fault};
use crate::session::Session;
use crate::transport::Transport;
use bytes::Bytes;
use contract::SinkError;
use model::ErrorClass;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const METHOD: &str = "PublishStream";
const PLACE: &str = "Pub/Sub PublishStream";
/// A stream that was idle for so long is not used again.
const IDLE_MAX: Duration = Duration::from_secs(50);
/// Idle streams of a topic that are kept.
const IDLE_STREAMS_MAX: usize = 16;
/// How the server says that it closed a stream since nothing came on it.
const CLOSED_AS_IDLE: &str = "publish.stream.sweeper.timeout";

/// The idle streams by topic, the last used last.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<String, Vec<Stream>>>);

struct Stream {
    requests: mpsc::Sender<Result<Bytes, Infallible>>,
    answers: Answers,
    /// The session that it was opened with.
    generation: u64,
    idle_since: Duration,
}

impl Streams {
    fn take(&self, topic: &str, generation: u64, now: Duration) -> Option<Stream> {
        let mut idle = self.0.lock();
        let idle = idle.get_mut(topic)?;
        idle.retain(|stream| stream.generation == generation && now.saturating_sub(stream.idle_since) < IDLE_MAX);
        while let Some(mut stream) = idle.pop() {
            if !stream.requests.is_closed() && stream.answers.is_quiet() {
                return Some(stream);
            }
        }
        None
    }

    fn give_back(&self, topic: String, stream: Stream) {
        let mut idle = self.0.lock();
        let idle = idle.entry(topic).or_default();
        if idle.len() < IDLE_STREAMS_MAX {
            idle.push(stream);
        }
    }
}

impl Channel {
    /// Publishes a request; renews the session and repeats it once when it has expired.
    ///
    /// # Errors
    /// `SinkError`; a lost answer is `Unknown`: the events may be published.
    pub async fn publish(
        &self,
        streams: &Streams,
        transport: &Transport,
        request: PublishRequest,
    ) -> Result<PublishResponse, SinkError> {
        let (topic, message) = (request.topic_name.clone(), framed(&request));
        let mut session = transport.sessions.current().await?;
        let mut renewed = false;
        loop {
            let now = transport.clock.monotonic();
            let idle = streams.take(&topic, session.generation, now);
            let was_idle = idle.is_some();
            let exchange = self.exchange_on(idle, &session, message.clone());
            let timed_out = || fault(faults::TIMED_OUT, ErrorClass::Unknown, PLACE, "no answer in time");
            match tokio::time::timeout(self.timeout, exchange).await.unwrap_or_else(|_| Err(timed_out())) {
                Ok((answer, mut stream)) => {
                    stream.idle_since = transport.clock.monotonic();
                    streams.give_back(topic, stream);
                    return Ok(answer);
                }
                Err(error) if error.code.0 == faults::SESSION && !renewed => {
                    session = transport.sessions.renew(session.generation).await?;
                    renewed = true;
                }
                // The server had closed it before the request came.
                Err(error) if was_idle && error.target_code.as_deref() == Some(CLOSED_AS_IDLE) => {}
                Err(mut error) => {
                    transport.clean(&mut error.message);
                    return Err(error);
                }
            }
        }
    }

    /// Sends a request on a stream, a new one where there is none, and waits for its answer.
    async fn exchange_on(
        &self,
        stream: Option<Stream>,
        session: &Session,
        message: Bytes,
    ) -> Result<(PublishResponse, Stream), SinkError> {
        let mut stream = match stream {
            Some(stream) => {
                // Nothing reads it any more: its end tells why.
                let _ = stream.requests.send(Ok(message)).await;
                stream
            }
            None => self.open(session, message).await?,
        };
        match stream.answers.next(Effect::Write, PLACE).await? {
            Some(answer) => Ok((answer, stream)),
            None => Err(fault(faults::CUT, ErrorClass::Unknown, PLACE, "the stream ended before the answer")),
        }
    }

    /// Opens a stream with its first request, which servers wait for before they answer anything.
    async fn open(&self, session: &Session, first: Bytes) -> Result<Stream, SinkError> {
        let (requests, body) = mpsc::channel(1);
        // There is room for one, and nobody has taken the other end away.
        let _ = requests.try_send(Ok(first));
        let body = reqwest::Body::wrap_stream(ReceiverStream::new(body));
        let sent = self.request(session, METHOD, PLACE)?.body(body).send().await;
        let response = sent.map_err(|error| unanswered(error, Effect::Write, PLACE))?;
        let answers = Answers::of(response, Effect::Write, PLACE)?;
        Ok(Stream { requests, answers, generation: session.generation, idle_since: Duration::ZERO })
    }
}

#[cfg(test)]
mod tests {
    use crate::pubsub::wire::{ProducerEvent, PublishRequest};
    use crate::sink::SalesforceSink;
    use crate::{Auth, SalesforceConfig, Secret};
    use contract::SystemClock;
    use org_sim::{OrgConfig, OrgSim};
    use std::sync::Arc;

    #[tokio::test]
    async fn requests_one_after_the_other_go_on_one_stream_and_at_once_on_as_many() {
        let objects = "objects: {Moved__e: {fields: {What__c: {type: text, length: 20}}}}";
        let objects = org_sim::parse_objects(objects, "test").unwrap();
        let org = OrgSim::start(OrgConfig { objects, ..OrgConfig::default() }).await.unwrap();
        let credentials = org.credentials();
        let client_secret = Secret::new(&credentials.client_secret);
        let auth = Auth::ClientCredentials { client_id: credentials.client_id, client_secret };
        let config = SalesforceConfig::new(org.url(), "62.0", auth);
        let sink = SalesforceSink::new(&config, Arc::new(SystemClock::new())).unwrap();
        // An event that the org refuses by itself is answered like any other.
        let event = ProducerEvent { id: "e".into(), schema_id: "gone".into(), payload: Vec::new().into() };
        let request = PublishRequest { topic_name: "/event/Moved__e".into(), events: vec![event] };
        let publish = || sink.channel.publish(&sink.streams, &sink.transport, request.clone());
        let ends = || -> Vec<_> {
            let idle = sink.streams.0.lock();
            idle["/event/Moved__e"].iter().map(|stream| stream.requests.clone()).collect()
        };
        publish().await.unwrap();
        let first = ends();
        for _ in 0..5 {
            publish().await.unwrap();
            assert!(ends().len() == 1 && ends()[0].same_channel(&first[0]), "the stream is used again");
        }
        futures::future::join_all((0..40).map(|_| publish())).await.into_iter().for_each(|done| drop(done.unwrap()));
        assert!(ends().len() > 1 && ends().len() <= super::IDLE_STREAMS_MAX, "{} streams are kept", ends().len());
    }
}
