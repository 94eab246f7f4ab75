//! Reads the bodies in which Salesforce says no.

use serde::Deserialize;

/// One error of a body, whatever its shape was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TargetError {
    pub code: String,
    pub message: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default, rename = "errorCode")]
    error_code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    /// REST: an array of errors.
    Array(Vec<Listed>),
    /// OAuth: one object.
    OAuth {
        error: String,
        #[serde(default)]
        error_description: String,
    },
    /// Some edges and Bulk v1 answer with one object.
    Single {
        #[serde(alias = "exceptionCode", rename = "errorCode")]
        error_code: String,
        #[serde(default, alias = "exceptionMessage")]
        message: String,
    },
}

/// Reads the first error of a body; none when it is HTML, empty, or another JSON.
pub(crate) fn read(body: &[u8]) -> Option<TargetError> {
    match serde_json::from_slice(body).ok()? {
        Shape::Array(errors) => {
            let first = errors.into_iter().next()?;
            (!first.error_code.is_empty() || !first.message.is_empty())
                .then_some(TargetError { code: first.error_code, message: first.message })
        }
        Shape::OAuth { error, error_description } => Some(TargetError { code: error, message: error_description }),
        Shape::Single { error_code, message } => Some(TargetError { code: error_code, message }),
    }
}

/// Describes a body that holds no error of Salesforce's, for people.
pub(crate) fn sketch(body: &[u8]) -> String {
    if body.is_empty() {
        return "an empty body".into();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    if let Some(title) = text.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()) {
        return format!("a web page titled {:?}", title.trim());
    }
    let line: String = text.chars().filter(|c| !c.is_control()).take(120).collect();
    format!("{} bytes that begin with {line:?}", body.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(body: &str) -> Option<String> {
        read(body.as_bytes()).map(|error| error.code)
    }

    #[test]
    fn every_shape_of_error_is_read() {
        assert_eq!(code(r#"[{"message":"m","errorCode":"NOT_FOUND"}]"#).as_deref(), Some("NOT_FOUND"));
        assert_eq!(code(r#"{"error":"invalid_grant","error_description":"d"}"#).as_deref(), Some("invalid_grant"));
        assert_eq!(
            code(r#"{"exceptionCode":"InvalidSessionId","exceptionMessage":"x"}"#).as_deref(),
            Some("InvalidSessionId")
        );
        assert_eq!(code("<html>"), None);
        assert_eq!(code("[]"), None);
        assert_eq!(code("[{}]"), None);
    }

    #[test]
    fn a_web_page_is_named_by_its_title() {
        assert_eq!(
            sketch(b"<html><title> Down for Maintenance </title>"),
            "a web page titled \"Down for Maintenance\""
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(body: Vec<u8>) {
            let _ = read(&body);
            let _ = sketch(&body);
        }
    }
}
