//! Values that are never shown: columns that a route or its table calls secret.

use crate::event::scan::{Members, member, name_is, string_inside, unescape};
use model::Record;
use serde_json::Value;

/// What stands in a secret value's place.
pub const REDACTED: &str = "(secret)";
/// Shorter values cannot be looked for in a sentence without blotting out half of it.
const SEARCHED_CHARS_MIN: usize = 3;

/// Takes the record's secret values out of a sentence, such as a target's message that quotes what it refused. When a value is too
/// short to be looked for and stands in it, nothing of the sentence is left.
pub(crate) fn redact_message(message: &str, record: &Record<'_>, secret: &[String]) -> String {
    let mut text = message.to_owned();
    for value in secret_values(record, secret) {
        if value.chars().count() < SEARCHED_CHARS_MIN {
            if text.contains(&value) {
                return format!("{REDACTED}: the message may quote a secret value");
            }
            continue;
        }
        text = text.replace(&value, REDACTED);
    }
    text
}

/// The texts of the record's secret values, the longest first: both rows', as they stand and unescaped.
fn secret_values(record: &Record<'_>, secret: &[String]) -> Vec<String> {
    let mut values = Vec::new();
    for row in ["before", "after"] {
        let Ok(Some(row)) = member(record.value.unwrap_or_default(), row) else { continue };
        let Ok(members) = Members::of(row) else { continue };
        for (name, value) in members.flatten().filter(|(name, _)| secret.iter().any(|column| name_is(name, column))) {
            let _ = name;
            let plain = string_inside(value).and_then(unescape).map(std::borrow::Cow::into_owned);
            values.extend(plain.or_else(|| std::str::from_utf8(value).ok().map(str::to_owned)));
        }
    }
    values.retain(|value| !value.is_empty() && !["null", "true", "false"].contains(&value.as_str()));
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values
}

/// Puts `REDACTED` in the place of secret columns' values in a change event. Bytes that are no change event come back as none: nothing of
/// them can be shown.
pub fn redact_value(value: &[u8], secret: &[String]) -> Option<Vec<u8>> {
    if secret.is_empty() {
        return Some(value.to_vec());
    }
    let mut event: Value = serde_json::from_slice(value).ok()?;
    for row in ["before", "after"] {
        let Some(Value::Object(row)) = event.get_mut(row) else { continue };
        for (_, value) in row.iter_mut().filter(|(name, value)| secret.contains(name) && !value.is_null()) {
            *value = Value::from(REDACTED);
        }
    }
    serde_json::to_vec(&event).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{RecordBatch, RecordBatchBuilder};

    fn record(value: &str) -> RecordBatch {
        let mut batch = RecordBatchBuilder::default();
        batch.push(5, None, Some(value.as_bytes()), &[]).unwrap();
        batch.finish()
    }

    #[test]
    fn message_that_quotes_a_secret_is_blotted() {
        let batch = record(r#"{"before":{"ssn":"old-1"},"after":{"id":1,"ssn":"078-05-\"1120","pin":7,"name":"Ann"}}"#);
        let record = batch.iter().next().unwrap();
        let secret = ["ssn".to_owned(), "pin".to_owned()];
        let blotted = redact_message("bad value for Ann: 078-05-\"1120 (was old-1)", &record, &secret);
        assert_eq!(blotted, "bad value for Ann: (secret) (was (secret))");
        assert!(!redact_message("pin 7 is taken by Ann", &record, &secret).contains('7'));
        assert_eq!(redact_message("nothing of it", &record, &secret), "nothing of it");
        assert_eq!(redact_message("name Ann", &record, &[]), "name Ann");
    }

    #[test]
    fn shown_value_holds_no_secret_in_either_row() {
        let value = br#"{"before":{"ssn":"a","id":1},"after":{"ssn":"b","id":2,"n":null},"op":"u"}"#;
        let shown = redact_value(value, &["ssn".to_owned(), "n".to_owned()]).unwrap();
        let shown: Value = serde_json::from_slice(&shown).unwrap();
        assert_eq!((&shown["before"]["ssn"], &shown["after"]["ssn"]), (&Value::from(REDACTED), &Value::from(REDACTED)));
        assert_eq!((&shown["after"]["id"], &shown["after"]["n"]), (&Value::from(2), &Value::Null));
        assert_eq!(redact_value(b"no json", &["ssn".to_owned()]), None);
        assert_eq!(redact_value(b"no json", &[]).as_deref(), Some(b"no json".as_slice()));
    }
}
