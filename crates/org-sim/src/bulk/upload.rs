//! Uploads as they come in: into a blob, piece by piece, before the org looks at the call.

use super::blob::{Blob, Spool};
use crate::answer::Response;
use bytes::Buf as _;
use flate2::write::MultiGzDecoder;
use http::Method;
use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::io::{self, Write};
use std::sync::Arc;

/// True for a call whose body is kept as a file: an upload of Bulk API 2.0 or a batch of 1.0.
pub fn is_upload(parts: &Parts) -> bool {
    let words: Vec<&str> = parts.uri.path().split('/').skip(1).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        ["services", "data", _, "jobs", "ingest", _, last] => {
            parts.method == Method::PUT && last.eq_ignore_ascii_case("batches")
        }
        ["services", "async", _, "job", _, "batch"] => parts.method == Method::POST,
        _ => false,
    }
}

/// Writes to a blob, up to a limit.
struct Sink {
    blob: Blob,
    left: u64,
    full: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) if !self.full => {
                self.left = left;
                self.blob.write(bytes)?;
            }
            // The rest is read and thrown away, so that the caller gets an answer and not a broken connection.
            _ => self.full = true,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a body into a blob of at most `bytes_max` bytes, which is finished.
///
/// # Errors
/// The answer that refuses it; none when the caller broke off.
pub async fn read(
    mut body: Incoming,
    gzip: bool,
    spool: &Arc<Spool>,
    bytes_max: u64,
) -> Result<Arc<Blob>, Option<Response>> {
    let failed = |error: io::Error| Some(Response::error(500, "UNKNOWN_EXCEPTION", &error.to_string()));
    let sink = Sink { blob: Blob::new(spool), left: bytes_max, full: false };
    let mut decoder = if gzip { Writer::Gzip(Box::new(MultiGzDecoder::new(sink))) } else { Writer::Plain(sink) };
    let not_gzip = || Some(Response::error(400, "CLIENTINPUTERROR", "The request's body is not in gzip format."));
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(None) };
        let Ok(mut data) = frame.into_data() else { continue };
        while data.has_remaining() {
            let piece = data.chunk();
            let taken = piece.len();
            match &mut decoder {
                Writer::Plain(sink) => sink.write_all(piece).map_err(failed)?,
                Writer::Gzip(decoder) => decoder.write_all(piece).map_err(|_| not_gzip())?,
            }
            data.advance(taken);
        }
    }
    let sink = match decoder {
        Writer::Plain(sink) => sink,
        Writer::Gzip(decoder) => decoder.finish().map_err(|_| not_gzip())?,
    };
    if sink.full {
        let message = format!("The upload has more than {bytes_max} bytes.");
        return Err(Some(Response::error(413, "EXCEEDED_MAX_SIZE_REQUEST", &message)));
    }
    sink.blob.finish().map_err(failed)
}

enum Writer {
    Plain(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
}
