//! Requests and answers without sockets.

use crate::bulk::blob::Blob;
use crate::bulk::stream::Stream;
use crate::json::{Json, JsonError, write_text};
use http::{HeaderMap, Method};
use std::borrow::Cow;
use std::sync::Arc;

/// A request, its body already decompressed and read as JSON.
pub struct Request<'a> {
    pub method: &'a Method,
    /// The path as it was sent, still percent-encoded.
    pub path: &'a str,
    /// What stands after the question mark.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// None for an empty body or one that is not JSON by its path.
    pub json: Option<Result<Json<'a>, JsonError>>,
    /// The body of an upload that the server has stored; `body` is empty then.
    pub(crate) upload: Option<Arc<Blob>>,
}

impl<'a> Request<'a> {
    /// Makes a request; reads the body unless it is empty or a form.
    pub fn new(method: &'a Method, path: &'a str, query: &'a str, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        let is_json = !body.is_empty() && !path.starts_with("/services/oauth2/");
        Self { method, path, query, headers, body, json: is_json.then(|| Json::parse(body)), upload: None }
    }

    /// What says whose session it is: `Authorization`, or `X-SFDC-Session` for Bulk API 1.0.
    pub fn authorization(&self) -> Option<Cow<'_, str>> {
        match self.header("x-sfdc-session") {
            Some(token) if self.path.starts_with("/services/async/") => Some(Cow::Owned(format!("Bearer {token}"))),
            _ => self.header("authorization").map(Cow::Borrowed),
        }
    }

    /// A header's text, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        form(self.query).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The name that the caller gives itself in `Sforce-Call-Options`.
    pub fn client(&self) -> Option<&str> {
        let options = self.header("sforce-call-options")?;
        options.split(',').find_map(|option| option.trim().strip_prefix("client="))
    }
}

/// Reads `a=b&c=d`, percent and plus signs decoded.
pub fn form(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |part: &str| decoded(&part.replace('+', " ")).into_owned();
        (decode(name), decode(value))
    })
}

/// Percent-decodes; bytes that are no UTF-8 become replacement characters.
pub fn decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// A body that is produced while it is sent; `body` is empty then.
    pub(crate) stream: Option<Stream>,
}

const JSON: &str = "application/json;charset=UTF-8";

impl Response {
    /// A JSON answer.
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, content_type: JSON, headers: Vec::new(), body, stream: None }
    }

    /// An answer with a body that is produced while it is sent.
    pub(crate) fn stream(content_type: &'static str, stream: Stream) -> Self {
        Self { status: 200, content_type, headers: Vec::new(), body: Vec::new(), stream: Some(stream) }
    }

    /// An XML answer.
    pub fn xml(status: u16, body: String) -> Self {
        let content_type = "application/xml;charset=UTF-8";
        Self { status, content_type, headers: Vec::new(), body: body.into_bytes(), stream: None }
    }

    /// The whole body, wherever it comes from.
    ///
    /// # Errors
    /// When a file of the org cannot be read.
    pub fn into_bytes(self) -> std::io::Result<Vec<u8>> {
        let mut bytes = self.body;
        if let Some(stream) = self.stream {
            while let Some(piece) = stream.next()? {
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(bytes)
    }

    /// A JSON answer from a value.
    pub fn value(status: u16, body: &serde_json::Value) -> Self {
        Self::json(status, body.to_string().into_bytes())
    }

    /// An answer without body.
    pub fn empty(status: u16) -> Self {
        Self::json(status, Vec::new())
    }

    /// An error of the REST API: an array with one member.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::error_on(status, code, message, &[])
    }

    /// An error of the REST API about fields.
    pub fn error_on(status: u16, code: &str, message: &str, fields: &[String]) -> Self {
        let mut body = b"[{\"message\":".to_vec();
        write_text(&mut body, message);
        body.extend_from_slice(b",\"errorCode\":");
        write_text(&mut body, code);
        if !fields.is_empty() {
            body.extend_from_slice(b",\"fields\":");
            write_names(&mut body, fields);
        }
        body.extend_from_slice(b"}]");
        Self::json(status, body)
    }

    /// Salesforce's page for a server that is down.
    pub fn html_503() -> Self {
        let body = "<html><head><title>Service Unavailable</title></head><body><h1>We are down for maintenance.</h1>\
                    <p>Sorry for the inconvenience. We'll be back shortly.</p></body></html>";
        Self {
            status: 503,
            content_type: "text/html;charset=UTF-8",
            headers: Vec::new(),
            body: body.into(),
            stream: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Writes a JSON array of texts.
pub fn write_names(out: &mut Vec<u8>, names: &[String]) {
    out.push(b'[');
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(out, name);
    }
    out.push(b']');
}
