//! A call's answer on its way out; a status that stands for a reset becomes one.

use super::RESET;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type BoxError = Box<dyn Error + Send + Sync>;

/// The body of an answer.
pub struct CallBody(tonic::body::Body);

/// Takes an answer over.
///
/// # Errors
/// The stream's reset, if that is what the call ends with.
pub fn take(response: http::Response<tonic::body::Body>) -> Result<http::Response<CallBody>, BoxError> {
    if response.headers().contains_key(RESET) {
        return Err(reset());
    }
    Ok(response.map(CallBody))
}

/// RST_STREAM with NO_ERROR, as Salesforce's edge sends it.
fn reset() -> BoxError {
    h2::Error::from(h2::Reason::NO_ERROR).into()
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(context));
        let ends = |frame: &Frame<Bytes>| frame.trailers_ref().is_some_and(|trailers| trailers.contains_key(RESET));
        Poll::Ready(match frame {
            Some(Ok(frame)) if ends(&frame) => Some(Err(reset())),
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(status)) => Some(Err(status.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.size_hint()
    }
}
