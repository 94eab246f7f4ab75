//! Makes the errors that leave this crate: code, class, place, a bounded sentence.

use contract::{SinkError, Spend};
use model::{ErrorClass, ErrorCode};

/// The org cannot be reached.
pub(crate) const UNREACHABLE: &str = "PS4001";
/// The token endpoint refused the credentials.
pub(crate) const CREDENTIALS: &str = "PS4002";
/// The token endpoint is down, throttled, or gave no usable answer.
pub(crate) const TOKEN_UNAVAILABLE: &str = "PS4003";
/// A fresh session was refused too.
pub(crate) const SESSION: &str = "PS4004";
/// The API version is retired or not there.
pub(crate) const VERSION: &str = "PS4005";
/// The API is off for the org or the user.
pub(crate) const API_DISABLED: &str = "PS4006";
/// `/limits` may not be read.
pub(crate) const LIMITS_HIDDEN: &str = "PS4007";
/// No such object.
pub(crate) const NO_OBJECT: &str = "PS4101";
/// The call was refused as it is.
pub(crate) const REFUSED: &str = "PS4102";
/// An allocation is spent.
pub(crate) const QUOTA: &str = "PS4103";
/// The org is busy, down or in maintenance.
pub(crate) const UNAVAILABLE: &str = "PS4104";
/// No answer in time.
pub(crate) const TIMED_OUT: &str = "PS4105";
/// The connection broke after the request was sent.
pub(crate) const CUT: &str = "PS4106";
/// The answer is no answer.
pub(crate) const MALFORMED: &str = "PS4107";
/// The answer is over the limit.
pub(crate) const TOO_LARGE: &str = "PS4108";
/// The batch asks for what Collections cannot do.
pub(crate) const IMPOSSIBLE: &str = "PS4109";
/// A permission of the user is missing.
pub(crate) const FORBIDDEN: &str = "PS4110";
/// The org is not sure whether a failed call was carried out.
pub(crate) const UNSURE: &str = "PS4111";
/// A job was given up before it was handed over: a stop.
pub(crate) const JOB_STOPPED: &str = "PS4112";
/// A job goes on in the org without us.
pub(crate) const JOB_LEFT: &str = "PS4113";
/// A job, or its results, are not there any more.
pub(crate) const JOB_GONE: &str = "PS4114";
/// A row that its job did not come to.
pub(crate) const ROW_UNPROCESSED: &str = "PS4115";
/// A row that has no result, or several.
pub(crate) const ROW_UNANSWERED: &str = "PS4116";
/// More rows, objects or operations belong together than a graph takes.
pub(crate) const TOO_MUCH_TOGETHER: &str = "PS4117";
/// A row that no graph can carry.
pub(crate) const NOT_IN_A_GRAPH: &str = "PS4118";

/// A sentence of the target longer than this is cut: it goes into logs, dead letters and tables.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Makes an error; `spent` is filled in where the call began, and the sentence is scrubbed and cut where it leaves
/// (`Transport::clean`: in that order, or a secret that is cut in half would stay).
pub(crate) fn fault(code: &'static str, class: ErrorClass, place: &str, message: impl AsRef<str>) -> SinkError {
    SinkError {
        code: ErrorCode(code),
        class,
        place: place.to_owned(),
        message: message.as_ref().to_owned(),
        target_code: None,
        retry_after: None,
        spent: Spend::default(),
    }
}

/// Cuts a text at a character boundary and says so.
pub(crate) fn bounded(text: &str) -> String {
    if text.len() <= MESSAGE_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = MESSAGE_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}… ({} bytes in all)", &text[..end], text.len())
}
