//! Classifies a call that failed as a whole.

use super::{body, table};
use crate::faults::{self, fault};
use contract::SinkError;
use http::StatusCode;
use model::ErrorClass;
use std::time::Duration;

/// Whether a call may have changed something when its answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

impl Effect {
    /// The class of a call whose fate is not known.
    pub fn unanswered(self) -> ErrorClass {
        match self {
            Effect::Read => ErrorClass::Transient,
            Effect::Write => ErrorClass::Unknown,
        }
    }
}

/// Longer waits that a server asks for are cut to this: an operator should see something move.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Codes that stand for "something broke in the middle": after a write nobody knows how far it came.
const UNSURE_CODES: [&str; 5] =
    ["UNKNOWN_EXCEPTION", "INTERNAL_ERROR", "INVALID_SERVER_ERROR", "REQUEST_RUNNING_TOO_LONG", "QUERY_TIMEOUT"];

/// Makes the error of an answer whose status is no success.
///
/// By the code in its body where there is one, else by the status. 503, 420 and 429 are refusals at the door (`Transient`
/// for writes too); 500, 502 and 504 may come after the work was done (`Unknown` for writes). A 4xx without a code that we
/// know is `Permanent`: the pipeline splits the batch to find the row.
pub(crate) fn refusal(
    status: StatusCode,
    retry_after: Option<Duration>,
    bytes: &[u8],
    effect: Effect,
    place: &str,
) -> SinkError {
    let mut error = match body::read(bytes) {
        Some(target) => by_code(status, &target, effect, place),
        None => {
            let (code, class) = by_status(status, effect);
            fault(code, class, place, format!("HTTP {} with {}", status.as_u16(), body::sketch(bytes)))
        }
    };
    if let Some(asked) = retry_after {
        error.retry_after = Some(asked.min(RETRY_AFTER_MAX));
    }
    error
}

fn by_code(status: StatusCode, target: &body::TargetError, effect: Effect, place: &str) -> SinkError {
    let verdict = table::classify(&target.code, &target.message);
    let (code, class) = match verdict.class {
        _ if status == StatusCode::GONE => (faults::VERSION, ErrorClass::Auth),
        _ if !verdict.known => by_status(status, effect),
        ErrorClass::Transient if effect == Effect::Write && UNSURE_CODES.contains(&target.code.as_str()) => {
            (faults::UNSURE, ErrorClass::Unknown)
        }
        ErrorClass::Transient | ErrorClass::Lock | ErrorClass::Unknown => (faults::UNAVAILABLE, verdict.class),
        ErrorClass::Quota => (faults::QUOTA, ErrorClass::Quota),
        ErrorClass::Auth if target.code == "INVALID_SESSION_ID" => (faults::SESSION, ErrorClass::Auth),
        ErrorClass::Auth => (faults::API_DISABLED, ErrorClass::Auth),
        // A whole call that lacks access is the user's missing permission, not one row's trouble.
        ErrorClass::BusinessRule if target.code.starts_with("INSUFFICIENT_ACCESS") => {
            (faults::FORBIDDEN, ErrorClass::Auth)
        }
        class => (faults::REFUSED, class),
    };
    let sentence = match (target.code.is_empty(), target.message.is_empty()) {
        (false, false) => format!("HTTP {} {}: {}", status.as_u16(), target.code, target.message),
        (false, true) => format!("HTTP {} {}", status.as_u16(), target.code),
        (true, _) => format!("HTTP {}: {}", status.as_u16(), target.message),
    };
    let mut error = fault(code, class, place, sentence);
    error.target_code = (!target.code.is_empty()).then(|| faults::bounded(&target.code));
    error.retry_after = verdict.retry_after;
    error
}

fn by_status(status: StatusCode, effect: Effect) -> (&'static str, ErrorClass) {
    match status.as_u16() {
        // A redirect is not followed (the token would travel on): a new session names the new host.
        300 => (faults::REFUSED, ErrorClass::Permanent),
        301..=399 | 408 | 420 | 429 | 503 => (faults::UNAVAILABLE, ErrorClass::Transient),
        401 => (faults::SESSION, ErrorClass::Auth),
        403 => (faults::FORBIDDEN, ErrorClass::Auth),
        407 => (faults::UNREACHABLE, ErrorClass::Transient),
        410 => (faults::VERSION, ErrorClass::Auth),
        400..=499 => (faults::REFUSED, ErrorClass::Permanent),
        500..=599 if effect == Effect::Write => (faults::UNSURE, ErrorClass::Unknown),
        500..=599 => (faults::UNAVAILABLE, ErrorClass::Transient),
        _ => (faults::MALFORMED, effect.unanswered()),
    }
}

/// Reads `Retry-After` in seconds or as a date.
pub(crate) fn retry_after(value: &str, now_ms: i64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = value.strip_suffix("GMT").map(|rest| format!("{rest}+0000"))?;
    let at = time::OffsetDateTime::parse(&date, &time::format_description::well_known::Rfc2822).ok()?;
    let wait_ms = (at.unix_timestamp_nanos() / 1_000_000) as i64 - now_ms;
    Some(Duration::from_millis(wait_ms.max(0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, body: &str, effect: Effect) -> ErrorClass {
        refusal(StatusCode::from_u16(status).unwrap(), None, body.as_bytes(), effect, "here").class
    }

    #[test]
    fn pages_and_bare_statuses_are_classified_by_status() {
        let page = "<html><title>We'll be back</title>";
        assert_eq!(class(503, page, Effect::Write), ErrorClass::Transient);
        assert_eq!(class(429, "", Effect::Write), ErrorClass::Transient);
        assert_eq!(class(420, "", Effect::Write), ErrorClass::Transient);
        assert_eq!(class(502, page, Effect::Write), ErrorClass::Unknown);
        assert_eq!(class(502, page, Effect::Read), ErrorClass::Transient);
        assert_eq!(class(414, page, Effect::Read), ErrorClass::Permanent);
        assert_eq!(class(431, "", Effect::Write), ErrorClass::Permanent);
        assert_eq!(class(413, "", Effect::Write), ErrorClass::Permanent);
    }

    #[test]
    fn codes_win_over_statuses() {
        let body = |code: &str| format!(r#"[{{"message":"TotalRequests Limit exceeded.","errorCode":"{code}"}}]"#);
        assert_eq!(class(403, &body("REQUEST_LIMIT_EXCEEDED"), Effect::Write), ErrorClass::Quota);
        assert_eq!(class(500, &body("UNKNOWN_EXCEPTION"), Effect::Write), ErrorClass::Unknown);
        assert_eq!(class(500, &body("UNKNOWN_EXCEPTION"), Effect::Read), ErrorClass::Transient);
        assert_eq!(class(400, &body("JSON_PARSER_ERROR"), Effect::Write), ErrorClass::Permanent);
        assert_eq!(class(403, &body("API_DISABLED_FOR_ORG"), Effect::Read), ErrorClass::Auth);
        assert_eq!(class(403, &body("INSUFFICIENT_ACCESS"), Effect::Read), ErrorClass::Auth);
        assert_eq!(class(410, &body("GONE"), Effect::Read), ErrorClass::Auth);
        assert_eq!(class(500, &body("NEVER_SEEN"), Effect::Write), ErrorClass::Unknown);
        assert_eq!(class(400, &body("NEVER_SEEN"), Effect::Write), ErrorClass::Permanent);
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        assert_eq!(retry_after("120", 0), Some(Duration::from_secs(120)));
        let now_ms = 1_445_412_480_000;
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:30 GMT", now_ms), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:27:00 GMT", now_ms), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", 0), None);
    }
}
