//! HTTP/1.1 and HTTP/2 (with prior knowledge) in front of the org: compression, waiting, and connections that break.
//!
//! A request that was read is worked off even if its caller has gone: a killed client's last batch is applied, as in
//! the real org.

use crate::answer::{Request, Response};
use crate::bulk::{self, blob::Blob, stream::Stream};
use crate::clock::OrgClock;
use crate::config::OrgConfig;
use crate::control;
use crate::error::SimError;
use crate::faults::Decided;
use crate::org::{Begun, Org, Ticket};
use crate::tls;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Bytes of a request's body, compressed or not.
const BODY_BYTES_MAX: usize = 50 * 1024 * 1024;

/// Bytes of a request's headers; Salesforce answers 431 beyond.
const HEADER_BYTES_MAX: usize = 16_384;

/// Connections at once; further ones wait.
const CONNECTIONS_MAX: usize = 2048;

/// A client has this long for its TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Answers smaller than this are sent as they are.
const GZIP_BYTES_MIN: usize = 512;

/// The org and what its tasks share.
pub struct Shared {
    pub org: Mutex<Org>,
    pub clock: OrgClock,
    /// Locks were given back.
    pub released: Notify,
    /// There may be work on Bulk jobs.
    pub woken: Notify,
    /// Told whenever there may be a new event.
    pub arrived: Arc<Notify>,
}

impl Shared {
    /// Tells whoever works on Bulk jobs that a call may have brought some, or ended some that held locks.
    fn wake(&self, ticket: &Ticket) {
        if ticket.plan.bulk.is_some() {
            self.woken.notify_one();
            self.released.notify_waiters();
        }
    }
}

/// A listening server.
pub struct Server {
    pub address: SocketAddr,
    scheme: &'static str,
    pub shared: Arc<Shared>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    jobs: JoinHandle<()>,
}

impl Server {
    /// Binds, and serves until `stop`.
    ///
    /// # Errors
    /// `SimError` when the configuration or the address is unusable.
    pub async fn start(config: OrgConfig, clock: OrgClock) -> Result<Self, SimError> {
        let failed = |cause| SimError::Listen { place: config.listen.to_string(), cause };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let idle = Duration::from_secs(config.idle_connection_s.max(1));
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let org = Org::new(config, &format!("{scheme}://{address}"), clock.now_ms())?;
        // An org that comes back from a folder does not live its time twice.
        clock.advance_ms((org.started_ms - clock.now_ms()).max(0));
        let arrived = org.history.feed.arrived.clone();
        let (released, woken) = (Notify::new(), Notify::new());
        let shared = Arc::new(Shared { org: Mutex::new(org), clock, released, woken, arrived });
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept((listener, tls), shared.clone(), stop.clone(), idle));
        let jobs = tokio::spawn(bulk::drive(shared.clone(), stop.clone()));
        Ok(Self { address, scheme, shared, stop, task, jobs })
    }

    /// `http://127.0.0.1:40123`, or with `https`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Closes the listener and every connection, and writes the history out.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in [self.task, self.jobs] {
            if let Err(error) = task.await {
                tracing::error!(%error, "the simulated org's server ended badly");
            }
        }
        let mut org = self.shared.org.lock();
        org.history.flush();
        org.store.saver.iter().for_each(|saver| saver.sync());
    }
}

async fn accept(
    (listener, tls): (TcpListener, Option<TlsAcceptor>),
    shared: Arc<Shared>,
    stop: CancellationToken,
    idle: Duration,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of descriptors, most likely: some will come free.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        let (shared, tls) = (shared.clone(), tls.clone());
        connections.spawn(async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
            match tls {
                None => serve(stream, shared, idle).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                    Ok(Ok(stream)) => serve(stream, shared, idle).await,
                    Ok(Err(error)) => tracing::warn!(%error, "a client's TLS handshake failed"),
                    Err(_) => tracing::warn!("a client did not end its TLS handshake"),
                },
            }
            drop(slot);
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>, idle: Duration) {
    let service = service_fn(move |request| route(shared.clone(), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(512 * 1024);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(1000);
    // An error here is a connection that broke, which a caller may do and a fault rule may ask for.
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// The connection is to be closed without (the rest of) an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a fault rule cut the connection")
    }
}

impl std::error::Error for Cut {}

/// A body in one piece or produced while it is sent; it may break off.
struct Payload {
    bytes: Option<Bytes>,
    stream: Option<Stream>,
    /// What compresses the stream.
    encoder: Option<GzEncoder<Vec<u8>>>,
    cut: bool,
    flushed: bool,
    /// None when the length is not known before.
    announced: Option<u64>,
}

impl Payload {
    /// The next piece of a stream; none at its end, or after its first piece if it is to be cut.
    fn piece(&mut self) -> Result<Option<Bytes>, Cut> {
        while let Some(stream) = &self.stream {
            let piece = stream.next().map_err(|error| {
                tracing::error!(%error, "a result file cannot be read");
                Cut
            })?;
            // Writing to a Vec cannot fail.
            let out = match (piece, &mut self.encoder) {
                (Some(piece), None) => piece,
                (Some(piece), Some(encoder)) => {
                    encoder.write_all(&piece).map_err(|_| Cut)?;
                    std::mem::take(encoder.get_mut()).into()
                }
                (None, _) => {
                    self.stream = None;
                    self.encoder.take().map_or(Ok(Vec::new()), GzEncoder::finish).map_err(|_| Cut)?.into()
                }
            };
            if self.cut {
                self.stream = None;
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
        Ok(None)
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let next = match self.bytes.take() {
            Some(bytes) => Some(bytes),
            None => match self.piece() {
                Ok(piece) => piece,
                Err(cut) => return Poll::Ready(Some(Err(cut))),
            },
        };
        match next {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.cut && !self.flushed => {
                // The connection writes out what it has when a body is not ready; without this pause the error would
                // overtake the first half.
                self.flushed = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None if std::mem::take(&mut self.cut) => Poll::Ready(Some(Err(Cut))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.stream.is_none() && !self.cut
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.announced.map_or_else(hyper::body::SizeHint::default, hyper::body::SizeHint::with_exact)
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of any answer.
enum AnyBody {
    Rest(Payload),
    #[cfg(feature = "pubsub")]
    Call(crate::pubsub::CallBody),
}

impl Body for AnyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            AnyBody::Rest(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            #[cfg(feature = "pubsub")]
            AnyBody::Call(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            AnyBody::Rest(body) => body.size_hint(),
            #[cfg(feature = "pubsub")]
            AnyBody::Call(body) => body.size_hint(),
        }
    }

    // An answer without a body ends with its headers: callers of the Pub/Sub API read its status there.
    fn is_end_stream(&self) -> bool {
        match self {
            AnyBody::Rest(body) => body.is_end_stream(),
            #[cfg(feature = "pubsub")]
            AnyBody::Call(body) => body.is_end_stream(),
        }
    }
}

/// Tells calls of the Pub/Sub API from the others.
async fn route(shared: Arc<Shared>, request: http::Request<Incoming>) -> Result<http::Response<AnyBody>, BoxError> {
    let (parts, body) = request.into_parts();
    #[cfg(feature = "pubsub")]
    if crate::pubsub::is_call(&parts) {
        let answer = crate::pubsub::serve(shared, http::Request::from_parts(parts, body)).await?;
        return Ok(answer.map(AnyBody::Call));
    }
    Ok(handle(shared, http::Request::from_parts(parts, body)).await?.map(AnyBody::Rest))
}

async fn handle(shared: Arc<Shared>, request: http::Request<Incoming>) -> Result<http::Response<Payload>, Cut> {
    let (parts, body) = request.into_parts();
    let accepts_gzip = has_word(&parts.headers, http::header::ACCEPT_ENCODING, "gzip");
    let body = match read_sent(&shared, &parts, body).await {
        Ok(body) => body,
        Err(Some(response)) => {
            return Ok(write(bulk::dress(&to_request(&parts, &Sent::default()), response), accepts_gzip, false));
        }
        Err(None) => return Err(Cut),
    };
    if parts.uri.path().starts_with("/_sim") {
        let request = to_request(&parts, &body);
        return Ok(write(control::handle(&shared, &request), accepts_gzip, false));
    }
    if crate::cometd::is_path(parts.uri.path()) {
        let response =
            crate::cometd::serve(&shared, &parts, &body.bytes).await.map_err(|crate::cometd::Dropped| Cut)?;
        return Ok(write(response, accepts_gzip, false));
    }
    let begun = shared.org.lock().begin(shared.clock.now_ms(), &to_request(&parts, &body));
    match begun {
        Begun::Answer(response) => Ok(write(response, accepts_gzip, false)),
        Begun::Token(response, decided) => {
            let time = {
                let org = shared.org.lock();
                org.latency.time(org.latency.oauth, 1, 0.5)
            };
            pause(time + Duration::from_millis(decided.hang_before_ms)).await;
            deliver(response, &decided, accepts_gzip).await
        }
        Begun::Go(ticket) if is_quick(&ticket) => {
            let request = to_request(&parts, &body);
            let response = shared.org.lock().finish(shared.clock.now_ms(), &ticket, &request);
            shared.wake(&ticket);
            Ok(write(response, accepts_gzip, false))
        }
        Begun::Go(ticket) => {
            // A task of its own, so that the work is done even if the connection is gone meanwhile.
            let work = tokio::spawn(work(shared, parts, body, *ticket, accepts_gzip));
            work.await.unwrap_or(Err(Cut))
        }
    }
}

/// True when there is nothing to wait for and nothing to act out.
fn is_quick(ticket: &Ticket) -> bool {
    let decided = &ticket.decided;
    let waits = !ticket.time.is_zero() || decided.hang_before_ms + decided.hang_after_ms > 0;
    !(waits || decided.cut_before || decided.cut_after || decided.cut_body)
}

async fn work(
    shared: Arc<Shared>,
    parts: Parts,
    body: Sent,
    mut ticket: Ticket,
    accepts_gzip: bool,
) -> Result<http::Response<Payload>, Cut> {
    if ticket.decided.refuse.is_none() && !ticket.decided.cut_before {
        wait_for_locks(&shared, &mut ticket).await;
    }
    pause(ticket.time + Duration::from_millis(ticket.decided.hang_before_ms)).await;
    let response = {
        let request = to_request(&parts, &body);
        shared.org.lock().finish(shared.clock.now_ms(), &ticket, &request)
    };
    if !ticket.locks.is_empty() {
        shared.released.notify_waiters();
    }
    shared.wake(&ticket);
    deliver(response, &ticket.decided, accepts_gzip).await
}

async fn deliver(response: Response, decided: &Decided, gzip: bool) -> Result<http::Response<Payload>, Cut> {
    pause(Duration::from_millis(decided.hang_after_ms)).await;
    if decided.cut_before || decided.cut_after {
        return Err(Cut);
    }
    Ok(write(response, gzip, decided.cut_body))
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Waits until every lock is held or the time is up; what is missing then stays in `ticket.blocked`.
async fn wait_for_locks(shared: &Shared, ticket: &mut Ticket) {
    if ticket.locks.is_empty() {
        return;
    }
    let wait = Duration::from_millis(shared.org.lock().config.row_locks.wait_ms);
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let mut released = pin!(shared.released.notified());
        released.as_mut().enable();
        if shared.org.lock().lock(ticket) {
            return;
        }
        if tokio::time::timeout_at(deadline, released).await.is_err() {
            return;
        }
    }
}

/// What came with a request: bytes, or a file of a Bulk API.
#[derive(Default)]
struct Sent {
    bytes: Bytes,
    upload: Option<Arc<Blob>>,
}

fn to_request<'a>(parts: &'a Parts, sent: &'a Sent) -> Request<'a> {
    let query = parts.uri.query().unwrap_or_default();
    let mut request = Request::new(&parts.method, parts.uri.path(), query, &parts.headers, &sent.bytes);
    request.upload.clone_from(&sent.upload);
    request
}

/// Reads a body; none when the caller broke off.
async fn read_sent(shared: &Shared, parts: &Parts, body: Incoming) -> Result<Sent, Option<Response>> {
    check_headers(parts)?;
    if !bulk::upload::is_upload(parts) {
        return Ok(Sent { bytes: read_body(parts, body).await?, upload: None });
    }
    let (spool, config) = {
        let org = shared.org.lock();
        (org.bulk.spool().clone(), org.config.clone())
    };
    // Four characters of base64 for three bytes.
    let bytes_max = config.bulk.upload_base64_bytes_max / 4 * 3;
    let gzip = has_word(&parts.headers, http::header::CONTENT_ENCODING, "gzip");
    let upload = bulk::upload::read(body, gzip, &spool, bytes_max).await?;
    Ok(Sent { bytes: Bytes::new(), upload: Some(upload) })
}

fn check_headers(parts: &Parts) -> Result<(), Option<Response>> {
    let headers: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers > HEADER_BYTES_MAX {
        let message = "The combined size of the request's headers exceeds the 16,384 byte limit.";
        return Err(Some(Response::error(431, "REQUEST_HEADER_FIELDS_TOO_LARGE", message)));
    }
    Ok(())
}

/// Reads and decompresses a body; none when the caller broke off.
async fn read_body(parts: &Parts, body: Incoming) -> Result<Bytes, Option<Response>> {
    let too_large = || Response::error(413, "EXCEEDED_MAX_SIZE_REQUEST", "The request exceeds 50 MB.");
    let bytes = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(Some(too_large())),
        Err(_) => return Err(None),
    };
    if !has_word(&parts.headers, http::header::CONTENT_ENCODING, "gzip") {
        return Ok(bytes);
    }
    let mut plain = Vec::with_capacity(bytes.len() * 4);
    let mut decoder = GzDecoder::new(&bytes[..]).take(BODY_BYTES_MAX as u64 + 1);
    match decoder.read_to_end(&mut plain) {
        Ok(_) if plain.len() > BODY_BYTES_MAX => Err(Some(too_large())),
        Ok(_) => Ok(plain.into()),
        Err(_) => Err(Some(Response::error(400, "JSON_PARSER_ERROR", "The request's body is not in gzip format."))),
    }
}

fn has_word(headers: &HeaderMap, name: http::HeaderName, word: &str) -> bool {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(',').any(|part| part.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(word))
}

fn write(response: Response, gzip: bool, cut: bool) -> http::Response<Payload> {
    let mut body = response.body;
    let streamed = response.stream.is_some();
    let compressed = gzip && (streamed || body.len() >= GZIP_BYTES_MIN);
    let encoder = || GzEncoder::new(Vec::new(), Compression::fast());
    if compressed && !streamed {
        let mut encoder = encoder();
        // Writing to a Vec cannot fail.
        body = encoder.write_all(&body).and_then(|()| encoder.finish()).unwrap_or_default();
    }
    let announced = body.len() as u64;
    if cut {
        body.truncate(body.len() / 2);
    }
    let payload = Payload {
        bytes: (!body.is_empty()).then(|| Bytes::from(body)),
        encoder: (compressed && streamed).then(encoder),
        stream: response.stream,
        cut,
        flushed: false,
        announced: (!streamed).then_some(announced),
    };
    let mut answer = http::Response::new(payload);
    *answer.status_mut() =
        http::StatusCode::from_u16(response.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    if announced > 0 || streamed {
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    }
    if compressed {
        headers.insert(http::header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for (name, value) in response.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    answer
}
