//! Errors in Bulk API 1.0's form.

use super::super::job::Format;
use super::xml::{NAMESPACE, escape};
use crate::answer::{Request, Response};
use serde_json::{Value, json};

/// Turns an error of the REST API's form into one of Bulk API 1.0's.
pub fn error_of(request: &Request<'_>, response: Response) -> Response {
    let Ok(Value::Array(errors)) = serde_json::from_slice::<Value>(&response.body) else { return response };
    let text = |name: &str| errors.first().and_then(|error| error.get(name)).and_then(Value::as_str);
    let (code, message) = (text("errorCode").unwrap_or_default(), text("message").unwrap_or_default());
    let (code, message) = match code {
        "INVALID_SESSION_ID" => ("InvalidSessionId", "Invalid session id"),
        "REQUEST_LIMIT_EXCEEDED" | "EXCEEDEDQUOTA" => ("ExceededQuota", message),
        "NOT_FOUND" => ("InvalidJob", "Unable to find job"),
        "INVALIDENTITY" | "INVALIDJOB" => ("InvalidJob", message),
        "JSON_PARSER_ERROR" => ("InvalidJob", message),
        "INVALIDJOBSTATE" => ("InvalidJobState", message),
        "FEATURENOTENABLED" => ("FeatureNotEnabled", message),
        "CLIENTINPUTERROR" | "EXCEEDED_MAX_SIZE_REQUEST" => ("ClientInputError", message),
        "METHOD_NOT_ALLOWED" => ("MethodNotAllowed", message),
        other => (other, message),
    };
    let status = if response.status >= 500 { response.status } else { 400 };
    let headers = response.headers;
    let mut answer = match super::answer_format(request, None) {
        Format::Json => Response::value(status, &json!({ "exceptionCode": code, "exceptionMessage": message })),
        _ => {
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><error xmlns=\"{NAMESPACE}\">\n \
                 <exceptionCode>{}</exceptionCode>\n <exceptionMessage>{}</exceptionMessage>\n</error>\n",
                escape(code),
                escape(message)
            );
            Response::xml(status, body)
        }
    };
    answer.headers = headers;
    answer
}
