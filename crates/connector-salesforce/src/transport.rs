//! One HTTP exchange with the org: session, headers, compression, bounds, and the class of what went wrong.

use crate::config::{ConfigError, Proxy, SalesforceConfig, ValidConfig, is_loopback};
use crate::errors::{body, whole};
use crate::faults::{self, fault};
use crate::readings::Readings;
use crate::session::{Login, Session, Sessions};
use bytes::{Bytes, BytesMut};
use contract::{Clock, SinkError};
use flate2::Compression;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, IF_MODIFIED_SINCE, LAST_MODIFIED, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use model::ErrorClass;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
pub(crate) use whole::Effect;

/// Under what a load balancer keeps an idle connection: a request on a closed one would have an unknown fate.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);

/// A body up to this size is compressed where it stands (about 1 ms); a longer one would hold up the other tasks of its
/// thread.
const COMPRESS_INLINE_BYTES_MAX: usize = 128 * 1024;

/// The connections to one org.
pub(crate) struct Transport {
    client: reqwest::Client,
    pub sessions: Sessions,
    pub readings: Readings,
    pub clock: Arc<dyn Clock>,
    /// One for each connection, so that the pool never grows past its bound.
    permits: Semaphore,
    pub data_path: String,
    call_options: HeaderValue,
    request_timeout: Duration,
    compress_over_bytes: Option<usize>,
    response_bytes_max: usize,
}

/// One call.
pub(crate) struct Call<'a> {
    pub method: Method,
    /// Path and query below the host, encoded.
    pub path: String,
    pub body: Option<Bytes>,
    pub effect: Effect,
    /// What is called, in a few words, for errors and logs (`upsert Account`).
    pub place: &'a str,
    pub if_modified_since: Option<&'a str>,
    pub content_type: &'static str,
    /// When it is another than the configuration's.
    pub timeout: Option<Duration>,
}

/// The body of most calls.
const JSON: &str = "application/json; charset=UTF-8";

impl<'a> Call<'a> {
    /// Makes a call without a body.
    pub fn new(method: Method, path: String, effect: Effect, place: &'a str) -> Self {
        Self { method, path, body: None, effect, place, if_modified_since: None, content_type: JSON, timeout: None }
    }

    /// Makes a GET.
    pub fn get(path: String, place: &'a str) -> Self {
        Self::new(Method::GET, path, Effect::Read, place)
    }

    /// Makes a call that may change something, with a JSON body.
    pub fn write(method: Method, path: String, body: Option<Bytes>, place: &'a str) -> Self {
        Self { body, ..Self::new(method, path, Effect::Write, place) }
    }
}

/// A successful answer (2xx or 304).
pub(crate) struct Answer {
    pub status: StatusCode,
    pub last_modified: Option<String>,
    /// `Sforce-Locator`: where the next page begins; none on the last one.
    pub locator: Option<String>,
    /// Empty when it went to a `Chunks`.
    pub body: Bytes,
}

/// Takes the body of a successful answer piece by piece, decompressed.
pub(crate) type Chunks<'c> = dyn FnMut(&[u8]) + Send + 'c;

impl Transport {
    /// Makes the client; opens no connection.
    ///
    /// # Errors
    /// `ConfigError`.
    pub fn new(config: &SalesforceConfig, valid: ValidConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let client = client(config, &valid.base)?;
        let login = Login::new(client.clone(), Arc::clone(&clock), valid.base, config)?;
        Ok(Self {
            client,
            sessions: Sessions::new(login),
            readings: Readings::default(),
            clock,
            permits: Semaphore::new(config.in_flight_max),
            data_path: valid.data_path,
            call_options: valid.call_options,
            request_timeout: config.request_timeout,
            compress_over_bytes: config.compress_over_bytes,
            response_bytes_max: config.response_bytes_max,
        })
    }

    /// Makes a call; renews the session and repeats it once when the org says that the session has expired.
    ///
    /// `spent` counts every request that counts against the org's allocation.
    ///
    /// # Errors
    /// `SinkError` with a class by `whole::refusal`; a lost answer is `Unknown` for a write and `Transient` for a read.
    pub async fn call(&self, call: &Call<'_>, spent: &mut u32) -> Result<Answer, SinkError> {
        self.call_into(call, None, spent).await
    }

    /// Makes a call as `call` does; a successful answer's body goes to `chunks` when there is one. When the answer breaks
    /// off, `chunks` has got the beginning of it.
    ///
    /// # Errors
    /// As `call`.
    pub async fn call_into(
        &self,
        call: &Call<'_>,
        chunks: Option<&mut Chunks<'_>>,
        spent: &mut u32,
    ) -> Result<Answer, SinkError> {
        let made = self.call_with_renewal(call, chunks, spent).await;
        made.map_err(|mut error| {
            self.clean(&mut error.message);
            if let Some(code) = &mut error.target_code {
                self.clean(code);
            }
            error
        })
    }

    /// Makes the target's text fit to be shown: without secrets, of bounded length.
    pub fn clean(&self, text: &mut String) {
        self.sessions.scrub(text);
        *text = faults::bounded(text);
    }

    async fn call_with_renewal(
        &self,
        call: &Call<'_>,
        mut chunks: Option<&mut Chunks<'_>>,
        spent: &mut u32,
    ) -> Result<Answer, SinkError> {
        let body = match &call.body {
            None => None,
            Some(body) => Some(self.packed(body).await),
        };
        let mut session = self.sessions.current().await?;
        let mut renewed = false;
        loop {
            let chunks = chunks.as_deref_mut();
            let (status, headers, bytes) = self.exchange(call, body.as_ref(), &session, chunks, spent).await?;
            if status.is_success() || status == StatusCode::NOT_MODIFIED {
                let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
                // The last page says so with the word `null`.
                let locator = header("sforce-locator").filter(|locator| locator != "null" && !locator.is_empty());
                return Ok(Answer { status, last_modified: header(LAST_MODIFIED.as_str()), locator, body: bytes });
            }
            if !renewed && is_expired_session(status, &bytes) {
                tracing::debug!(place = call.place, "the session has expired");
                session = self.sessions.renew(session.generation).await?;
                renewed = true;
                continue;
            }
            if status.is_redirection() && status != StatusCode::MULTIPLE_CHOICES || status.as_u16() == 420 {
                self.sessions.forget(session.generation);
            }
            let wait = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let wait = wait.and_then(|value| whole::retry_after(value, self.clock.now_ms()));
            return Err(whole::refusal(status, wait, &bytes, call.effect, call.place));
        }
    }

    async fn exchange(
        &self,
        call: &Call<'_>,
        body: Option<&(Bytes, bool)>,
        session: &Session,
        chunks: Option<&mut Chunks<'_>>,
        spent: &mut u32,
    ) -> Result<(StatusCode, HeaderMap, Bytes), SinkError> {
        let url = format!("{}{}", session.instance, call.path);
        let mut request = self
            .client
            .request(call.method.clone(), url)
            .timeout(call.timeout.unwrap_or(self.request_timeout))
            .header(http::header::AUTHORIZATION, session.bearer.clone())
            .header("sforce-call-options", self.call_options.clone());
        if let Some(since) = call.if_modified_since {
            request = request.header(IF_MODIFIED_SINCE, since);
        }
        if let Some((bytes, compressed)) = body {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static(call.content_type));
            if *compressed {
                request = request.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            request = request.body(bytes.clone());
        }
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| fault(faults::UNAVAILABLE, ErrorClass::Transient, call.place, "the sink is closed"))?;
        let sent_at = self.clock.monotonic();
        let answered = request.send().await;
        // A refused connection spends nothing; everything that may have arrived counts.
        if !answered.as_ref().is_err_and(reqwest::Error::is_connect) {
            *spent += 1;
        }
        let mut response = answered.map_err(|error| unanswered(error, call))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        self.readings.note(&headers, self.clock.now_ms());
        let read = match chunks.filter(|_| status.is_success()) {
            Some(chunks) => read_into(&mut response, chunks).await.map(|()| Bytes::new()),
            None => read_bounded(&mut response, self.response_bytes_max).await,
        };
        metrics::counter!("penstock_salesforce_calls_total", "status" => status_class(status)).increment(1);
        metrics::histogram!("penstock_salesforce_call_seconds")
            .record(self.clock.monotonic().saturating_sub(sent_at).as_secs_f64());
        let bytes = read.map_err(|trouble| {
            // A refusal at the door is one without its body too; after a success or a 500 the rows' fate is not known.
            let refused = status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE;
            let class = if refused { ErrorClass::Transient } else { call.effect.unanswered() };
            let message = format!("HTTP {}: {trouble}", status.as_u16());
            fault(trouble.code(), class, call.place, message)
        })?;
        Ok((status, headers, bytes))
    }

    /// Compresses a body over the threshold; says whether it did.
    async fn packed(&self, body: &Bytes) -> (Bytes, bool) {
        if self.compress_over_bytes.is_none_or(|threshold| body.len() <= threshold) {
            return (body.clone(), false);
        }
        let packed = match body.len() {
            ..COMPRESS_INLINE_BYTES_MAX => gzip(body),
            _ => {
                let body = body.clone();
                tokio::task::spawn_blocking(move || gzip(&body)).await.unwrap_or(None)
            }
        };
        packed.map_or_else(|| (body.clone(), false), |packed| (packed, true))
    }
}

fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).ok().map(Bytes::from)
}

/// Makes the HTTP client: HTTP/1.1 (Salesforce's REST hosts), keep-alive, no redirects, bounded pool.
fn client(config: &SalesforceConfig, base: &str) -> Result<reqwest::Client, ConfigError> {
    let builder = builder(config, base)?
        .http1_only()
        .pool_max_idle_per_host(config.in_flight_max)
        .pool_idle_timeout(IDLE_CONNECTION)
        .gzip(true);
    builder.build().map_err(|error| ConfigError::Client { cause: cause(error) })
}

/// Makes the HTTP client for gRPC: HTTP/2 on one connection, kept alive by pings, since a silent one may be half open.
///
/// # Errors
/// `ConfigError`.
pub(crate) fn http2_client(config: &SalesforceConfig, base: &str) -> Result<reqwest::Client, ConfigError> {
    let builder = builder(config, base)?
        .http2_prior_knowledge()
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(Duration::from_secs(20))
        .gzip(false);
    builder.build().map_err(|error| ConfigError::Client { cause: cause(error) })
}

fn builder(config: &SalesforceConfig, base: &str) -> Result<reqwest::ClientBuilder, ConfigError> {
    // The program installs the provider in `main`; a test or another program that did not would panic in rustls.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _lost_the_race = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let builder = reqwest::Client::builder()
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .connect_timeout(config.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")));
    Ok(match &config.proxy {
        // What is on this machine is never asked for through a proxy, whatever NO_PROXY says.
        Proxy::System if is_loopback(base) => builder.no_proxy(),
        Proxy::System => builder,
        Proxy::Direct => builder.no_proxy(),
        Proxy::Url(url) => builder.proxy(
            reqwest::Proxy::all(url.expose())
                .map_err(|_| ConfigError::Client { cause: "the proxy's URL cannot be read".into() })?,
        ),
    })
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// True when a new session may help.
///
/// Not for the two bodies after which signing in again gives the same answer for ever (jsforce, `http-api.ts`).
fn is_expired_session(status: StatusCode, bytes: &[u8]) -> bool {
    let target = body::read(bytes);
    let code = target.as_ref().map(|target| target.code.as_str());
    if status != StatusCode::UNAUTHORIZED && code != Some("INVALID_SESSION_ID") {
        return false;
    }
    let message = target.as_ref().map_or("", |target| target.message.as_str());
    code != Some("INVALID_AUTH_HEADER")
        && !message.contains("Connected app is not attached to Agent")
        && !message.contains("This session is not valid for use with the REST API")
}

/// Classifies a call without an answer.
fn unanswered(error: reqwest::Error, call: &Call<'_>) -> SinkError {
    let (code, class) = match () {
        () if error.is_connect() => (faults::UNREACHABLE, ErrorClass::Transient),
        () if error.is_builder() => (faults::REFUSED, ErrorClass::Permanent),
        () if error.is_timeout() => (faults::TIMED_OUT, call.effect.unanswered()),
        () => (faults::CUT, call.effect.unanswered()),
    };
    fault(code, class, call.place, cause(error))
}

/// Tells an HTTP error's causes in one line, without the URL (a query holds keys of rows).
pub(crate) fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyTrouble {
    #[error("the answer is longer than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the answer did not end in time")]
    TimedOut,
    #[error("the answer broke off: {cause}")]
    Cut { cause: String },
}

impl BodyTrouble {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => faults::TOO_LARGE,
            Self::TimedOut => faults::TIMED_OUT,
            Self::Cut { .. } => faults::CUT,
        }
    }
}

/// Reads a decompressed body of at most `limit` bytes.
pub(crate) async fn read_bounded(response: &mut reqwest::Response, limit: usize) -> Result<Bytes, BodyTrouble> {
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = next_chunk(response).await? {
        length += chunk.len();
        if length > limit {
            return Err(BodyTrouble::TooLarge { limit });
        }
        match first.take() {
            None if all.is_empty() => first = Some(chunk),
            held => {
                all.extend_from_slice(&held.unwrap_or_default());
                all.extend_from_slice(&chunk);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// Hands a decompressed body on as it comes.
async fn read_into(response: &mut reqwest::Response, chunks: &mut Chunks<'_>) -> Result<(), BodyTrouble> {
    while let Some(chunk) = next_chunk(response).await? {
        chunks(&chunk);
    }
    Ok(())
}

async fn next_chunk(response: &mut reqwest::Response) -> Result<Option<Bytes>, BodyTrouble> {
    response.chunk().await.map_err(|error| match error.is_timeout() {
        true => BodyTrouble::TimedOut,
        false => BodyTrouble::Cut { cause: cause(error) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_not_renewed_for_bodies_that_never_change() {
        let body = |code: &str, message: &str| format!(r#"[{{"message":"{message}","errorCode":"{code}"}}]"#);
        let expired =
            |status: u16, body: String| is_expired_session(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert!(expired(401, body("INVALID_SESSION_ID", "Session expired or invalid")));
        assert!(expired(403, body("INVALID_SESSION_ID", "Session expired or invalid")));
        assert!(expired(401, "<html>".into()));
        assert!(!expired(401, body("INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")));
        assert!(!expired(401, body("INVALID_SESSION_ID", "This session is not valid for use with the REST API")));
        assert!(!expired(401, body("X", "Connected app is not attached to Agent")));
        assert!(!expired(403, body("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")));
    }
}
