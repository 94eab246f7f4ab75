//! The small values of a configuration: durations, shares, sizes, secrets, mapped fields.

use pipeline::spec::ChangePart;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A length of time: `250ms`, `5s`, `10m`, `2h`, `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl Time {
    /// Parses a number with a unit.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not a length of time; write a number with ms, s, m, h or d, for example 250ms");
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = text[..split].parse().map_err(|_| wrong())?;
        let factor = match text[split..].trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(wrong)
    }
}

/// A part of a whole, `0%` (exclusive) to `100%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl Percent {
    /// Parses a number with `%`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a share; write a percentage above 0% and up to 100%, for example 50%");
        let number: f64 = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim().parse().map_err(|_| wrong())?;
        if number > 0.0 && number <= 100.0 { Ok(Self(number)) } else { Err(wrong()) }
    }
}

/// A size in bytes: `64MiB`, `512KiB`, `1GiB`, `900B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// Parses a whole number with a binary unit.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not a size; write a whole number with B, KiB, MiB or GiB, for example 64MiB");
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = text[..split].parse().map_err(|_| wrong())?;
        let shift = match text[split..].trim() {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(wrong()),
        };
        number.checked_shl(shift).filter(|n| n >> shift == number).map(Self).ok_or_else(wrong)
    }
}

/// One of so many: `1 of 10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneOf(pub u64);

impl OneOf {
    /// Parses `1 of N`, N from 2 on.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_prefix('1').map(str::trim_start).and_then(|rest| rest.strip_prefix("of"));
        let number = number.and_then(|number| number.trim().parse::<u64>().ok()).filter(|number| *number >= 2);
        number.map(Self).ok_or_else(|| format!("{text:?} is not one of so many; write for example \"1 of 10\""))
    }
}

macro_rules! from_text {
    ($name:ident, $schema_name:literal, $pattern:literal, $doc:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $schema_name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "description": $doc})
            }
        }
    };
}

/// How often something happens, per second: `20/s`, `90/m`, `5000/h`, `2/d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

impl Rate {
    /// Parses a number and a unit of time.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a rate; write a number per s, m, h or d, for example 20/s");
        let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        if !number.is_finite() || !(0.0..=1e9).contains(&number) {
            return Err(wrong());
        }
        Ok(Self(number / seconds))
    }
}

from_text!(Rate, "Rate", r"^[0-9]+(\.[0-9]+)?/(s|m|h|d)$", "How often: 20/s, 90/m, 5000/h, 2/d");
from_text!(Time, "Time", r"^[0-9]+(ms|s|m|h|d)$", "A length of time: 250ms, 5s, 10m, 2h, 1d");
from_text!(Percent, "Percent", r"^[0-9]+(\.[0-9]+)?%$", "A share: 50%");
from_text!(OneOf, "OneOf", r"^1 of [0-9]+$", "One of so many: 1 of 10");
from_text!(Size, "Size", r"^[0-9]+(B|KiB|MiB|GiB)$", "A size: 64MiB");

/// A text that may name secrets: `${env:NAME}` and `${file:PATH}` are replaced when it is used, never before.
///
/// `Debug` prints the text as it is written in the file, so a secret never shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps the text as written in a configuration.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it is written in the file.
    pub fn written(&self) -> &str {
        &self.0
    }

    /// True when all of it comes from outside the file.
    pub fn is_reference(&self) -> bool {
        self.0.starts_with("${") && self.0.ends_with('}') && self.0.matches("${").count() == 1
    }

    /// Replaces the references.
    ///
    /// # Errors
    /// A sentence that names the variable or the file, never its content.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        let (mut out, mut rest) = (String::new(), self.0.as_str());
        while let Some(start) = rest.find("${") {
            out.push_str(&rest[..start]);
            let after = &rest[start + 2..];
            let end = after.find('}').ok_or_else(|| "a ${ is not closed with }".to_owned())?;
            out.push_str(&resolve_one(&after[..end], env)?);
            rest = &after[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn resolve_one(reference: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    match reference.split_once(':') {
        Some(("env", name)) => env(name).ok_or_else(|| format!("the environment variable {name} is not set")),
        Some(("file", path)) => std::fs::read_to_string(path)
            .map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
            .map_err(|error| format!("the file {path} cannot be read: {error}")),
        _ => Err(format!("${{{reference}}} is neither ${{env:NAME}} nor ${{file:PATH}}")),
    }
}

/// An address, or `off`, which YAML may read as the boolean.
pub(super) fn address_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Switch(bool),
    }
    match Written::deserialize(deserializer) {
        Ok(Written::Text(text)) => Ok(text),
        Ok(Written::Switch(false)) => Ok("off".to_owned()),
        _ => Err(D::Error::custom("write host:port, or off")),
    }
}

/// Where a target field's value comes from: a column's name, `{const: …}` or `{cel: '…'}`.
#[derive(Clone, Debug, PartialEq)]
pub enum MapValue {
    Column(String),
    Constant(serde_json::Value),
    Cel(String),
    Change(ChangePart),
}

/// A word, or an expression that gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WordOrCel {
    Word(String),
    Cel(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CelOnly {
    cel: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CelOrConstant {
    cel: Option<String>,
    change: Option<String>,
    #[serde(rename = "const", default, deserialize_with = "present")]
    constant: Option<serde_json::Value>,
}

/// Tells `const: null` from no `const` at all.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(Some)
}

fn change<E: Error>(part: String) -> Result<MapValue, E> {
    ChangePart::from_word(&part).map(MapValue::Change).ok_or_else(|| {
        let known: Vec<&str> = ChangePart::ALL.into_iter().map(ChangePart::as_str).collect();
        E::custom(format!("{part:?} is no part of a change; write one of {}", known.join(", ")))
    })
}

impl<'de> Deserialize<'de> for MapValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = MapValue;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a column's name, {const: value}, {cel: 'expression'} or {change: part}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<MapValue, E> {
                Ok(MapValue::Column(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MapValue, A::Error> {
                match CelOrConstant::deserialize(MapAccessDeserializer::new(map))? {
                    CelOrConstant { cel: Some(text), constant: None, change: None } => Ok(MapValue::Cel(text)),
                    CelOrConstant { cel: None, constant: Some(value), change: None } => Ok(MapValue::Constant(value)),
                    CelOrConstant { cel: None, constant: None, change: Some(part) } => change(part),
                    _ => Err(A::Error::custom("write one of const, cel and change")),
                }
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

impl JsonSchema for MapValue {
    fn schema_name() -> Cow<'static, str> {
        "MapValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A column's name, {const: value}, {cel: 'expression'}, or {change: op|table|key|row|time}",
            "oneOf": [
                {"type": "string"},
                {"type": "object", "properties": {"const": true}, "required": ["const"], "additionalProperties": false},
                {"type": "object", "properties": {"cel": {"type": "string"}}, "required": ["cel"], "additionalProperties": false},
                {"type": "object", "properties": {"change": {"enum": ["op", "table", "key", "row", "time"]}}, "required": ["change"], "additionalProperties": false}
            ]
        })
    }
}

impl<'de> Deserialize<'de> for WordOrCel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = WordOrCel;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a word or {cel: 'expression'}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<WordOrCel, E> {
                Ok(WordOrCel::Word(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WordOrCel, A::Error> {
                CelOnly::deserialize(MapAccessDeserializer::new(map)).map(|found| WordOrCel::Cel(found.cel))
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

impl JsonSchema for WordOrCel {
    fn schema_name() -> Cow<'static, str> {
        "WordOrCel".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A word or {cel: 'expression'}",
            "oneOf": [
                {"type": "string"},
                {"type": "object", "properties": {"cel": {"type": "string"}}, "required": ["cel"], "additionalProperties": false}
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_shares_and_sizes_parse_and_refuse() {
        assert_eq!(Time::parse("250ms").unwrap().0, Duration::from_millis(250));
        assert_eq!(Time::parse("2h").unwrap().0, Duration::from_secs(7200));
        for wrong in ["", "5", "s", "5 parsecs", "-1s", "99999999999999999999s", "9999999999999999d"] {
            assert!(Time::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Percent::parse("12.5%").unwrap().0, 12.5);
        for wrong in ["50", "0%", "101%", "x%", "NaN%"] {
            assert!(Percent::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Rate::parse("90/m").unwrap().0, 1.5);
        for wrong in ["", "5", "/s", "5/y", "-1/s", "NaN/s", "inf/s", "1e30/s"] {
            assert!(Rate::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(OneOf::parse("1 of 10"), Ok(OneOf(10)));
        for wrong in ["", "10", "1 of 1", "2 of 10", "1 of", "1 of x"] {
            assert!(OneOf::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Size::parse("64MiB").unwrap().0, 64 << 20);
        for wrong in ["64", "64MB", "MiB", "99999999999999GiB"] {
            assert!(Size::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_resolve_late_and_never_show() {
        let env = |name: &str| (name == "PW").then(|| "hunter2".to_owned());
        let text = SecretText::new("postgres://u:${env:PW}@h/db");
        assert_eq!(text.resolve(&env).unwrap(), "postgres://u:hunter2@h/db");
        assert!(!format!("{text:?}").contains("hunter2"));
        assert!(!text.is_reference());
        assert!(SecretText::new("${env:PW}").is_reference());
        let missing = SecretText::new("${env:NOPE}").resolve(&env).unwrap_err();
        assert_eq!(missing, "the environment variable NOPE is not set");
        assert!(SecretText::new("${vault:x}").resolve(&env).is_err());
        assert!(SecretText::new("${env:PW").resolve(&env).is_err());
    }

    #[test]
    fn map_values_tell_columns_constants_and_expressions_apart() {
        let parse = |text: &str| serde_json::from_str::<MapValue>(text);
        assert_eq!(parse(r#""name""#).unwrap(), MapValue::Column("name".into()));
        assert_eq!(parse(r#"{"const": null}"#).unwrap(), MapValue::Constant(serde_json::Value::Null));
        assert_eq!(parse(r#"{"cel": "a + b"}"#).unwrap(), MapValue::Cel("a + b".into()));
        assert!(parse(r#"{"cel": "a", "const": 1}"#).is_err());
        assert_eq!(parse(r#"{"change": "row"}"#).unwrap(), MapValue::Change(ChangePart::Row));
        assert!(parse(r#"{"change": "colour"}"#).is_err());
        assert!(parse(r#"{"change": "op", "cel": "a"}"#).is_err());
        assert!(parse(r#"{"sql": "a"}"#).is_err());
        assert!(parse("{}").is_err());
    }
}
