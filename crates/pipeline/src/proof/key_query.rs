//! What an operator means by KEY in `penstock trace KEY`.

use serde_json::Value;

/// A business key, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyQuery {
    wanted: Wanted,
    /// A text that every matching key holds, byte for byte: most records are told apart by it alone.
    needle: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    /// Every named column has this value: `{"id":7}`.
    Columns(Vec<(String, Value)>),
    /// One column of the key has this value: `7`, `AB-1`.
    Any(String),
}

/// A text that names no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyQueryError {
    #[error("PS5712: {text:?} is no key: {cause}; write 7, id=7 or {{\"id\":7}}")]
    Malformed { text: String, cause: String },
}

impl KeyQueryError {
    /// The stable code.
    pub fn code(&self) -> model::ErrorCode {
        model::ErrorCode("PS5712")
    }
}

impl KeyQuery {
    /// Parses `{"id":7}` (JSON: these columns with these values), `id=7` (one column), or `7` (any column of the key). Without
    /// JSON a value is compared as text, so `7` finds the number and the string.
    ///
    /// # Errors
    /// `Malformed` for an empty text, broken JSON, or a column without a name.
    pub fn parse(text: &str) -> Result<Self, KeyQueryError> {
        let malformed = |cause: String| KeyQueryError::Malformed { text: text.into(), cause };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(malformed("it is empty".into()));
        }
        if trimmed.starts_with('{') {
            let object: serde_json::Map<String, Value> =
                serde_json::from_str(trimmed).map_err(|error| malformed(error.to_string()))?;
            if object.is_empty() {
                return Err(malformed("it names no column".into()));
            }
            return Ok(Self { wanted: Wanted::Columns(object.into_iter().collect()), needle: None });
        }
        let (wanted, value) = match trimmed.split_once('=') {
            Some((column, _)) if column.trim().is_empty() => return Err(malformed("the column has no name".into())),
            Some((column, value)) => {
                let value = value.trim().to_owned();
                (Wanted::Columns(vec![(column.trim().into(), Value::String(value.clone()))]), value)
            }
            None => (Wanted::Any(trimmed.into()), trimmed.to_owned()),
        };
        // Inside JSON only such a text surely stands as it is.
        let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" .:-_@+".contains(&byte));
        let needle = (plain && !value.is_empty()).then(|| value.into_bytes());
        Ok(Self { wanted, needle })
    }

    /// True when a record's key (JSON) is meant.
    pub fn matches(&self, key: &[u8]) -> bool {
        if let Some(needle) = &self.needle
            && memchr::memmem::find(key, needle).is_none()
        {
            return false;
        }
        let Ok(key) = serde_json::from_slice::<Value>(key) else { return false };
        match &self.wanted {
            Wanted::Columns(columns) => {
                columns.iter().all(|(name, wanted)| key.get(name).is_some_and(|v| same(v, wanted)))
            }
            Wanted::Any(wanted) => match &key {
                Value::Object(columns) => columns.values().any(|value| text_of(value) == *wanted),
                Value::Array(values) => values.iter().any(|value| text_of(value) == *wanted),
                value => text_of(value) == *wanted,
            },
        }
    }
}

fn same(value: &Value, wanted: &Value) -> bool {
    value == wanted || text_of(value) == text_of(wanted)
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn key_query_finds_by_json_column_or_bare_value() {
        let key = br#"{"unique_key":7,"agency":"FD NY"}"#;
        for text in [r#"{"unique_key":7}"#, r#"{"agency":"FD NY","unique_key":7}"#, "unique_key=7", "7", "FD NY"] {
            assert!(KeyQuery::parse(text).expect("valid").matches(key), "{text}");
        }
        for text in [r#"{"unique_key":8}"#, "agency=7", "FD", "77", r#"{"other":7}"#] {
            assert!(!KeyQuery::parse(text).expect("valid").matches(key), "{text}");
        }
        assert!(KeyQuery::parse(r#"name=O"Neil"#).expect("valid").matches(br#"{"name":"O\"Neil"}"#));
        assert!(KeyQuery::parse("7").expect("valid").matches(b"7"));
        for text in ["", "  ", "{", "{}", "=7"] {
            assert!(KeyQuery::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn key_query_takes_any_text_and_any_key_without_panic(text: String, key: Vec<u8>, value: String) {
            if let Ok(query) = KeyQuery::parse(&text) {
                query.matches(&key);
            }
            // What stands in a key is found by its value.
            let key = serde_json::json!({ "k": value.trim() }).to_string();
            if let Ok(query) = KeyQuery::parse(&format!("k={value}")) {
                prop_assert!(query.matches(key.as_bytes()));
            }
        }
    }
}
