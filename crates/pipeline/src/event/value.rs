//! One column's JSON in either value mode, read by its type into one scalar.
//!
//! The formats are those of `connector_postgres::values`. Both modes give the same scalar for the same source value, so
//! that mapping and keys do not depend on the mode, but for what Debezium's form does not hold: the zeros at the end of
//! a `numeric` without precision, NaN and infinities of `numeric` (null there), the parts of an interval, the length of
//! a bit string, the text of a point or an hstore. Reading is lenient in form (a zone may be written in any way that
//! ISO 8601 and PostgreSQL know) and strict in content: what is not of the column's type is refused, never guessed.

use super::calendar::{Day, Moment, parse_day, parse_moment, parse_time};
use super::decimal;
use super::scan::{Elements, member, string_inside, unescape};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{ColumnType, ValueMode};
use std::borrow::Cow;

/// A column's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    Null,
    Bool(bool),
    /// JSON number digits, exactly the source's.
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
    Day(Day),
    /// Microseconds of a day, UTC.
    Clock(i64),
    Moment(Moment),
    /// Base64.
    Bytes(Cow<'a, str>),
    /// JSON text.
    Json(Cow<'a, str>),
    List(Vec<Scalar<'a>>),
    Beyond(Beyond),
}

/// Values that have no finite number or date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    NotANumber,
    Infinity,
    MinusInfinity,
}

impl Beyond {
    /// PostgreSQL's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotANumber => "NaN",
            Self::Infinity => "infinity",
            Self::MinusInfinity => "-infinity",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        match word {
            "NaN" => Some(Self::NotANumber),
            "Infinity" | "infinity" => Some(Self::Infinity),
            "-Infinity" | "-infinity" => Some(Self::MinusInfinity),
            _ => None,
        }
    }
}

/// The JSON is not a value of the column's type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} is no value of type {kind}")]
pub struct NotOfType {
    pub kind: String,
    /// What stood there, shortened.
    pub found: String,
}

/// Reads the raw JSON of a column.
///
/// # Errors
/// `NotOfType` when the JSON cannot be a value of this type.
#[inline]
pub fn decode<'a>(raw: &'a [u8], kind: &ColumnType, mode: ValueMode) -> Result<Scalar<'a>, NotOfType> {
    decode_json(raw, kind, mode).ok_or_else(|| {
        let shown: String = String::from_utf8_lossy(raw).chars().take(60).collect();
        NotOfType { kind: kind.to_string(), found: shown }
    })
}

#[inline]
fn decode_json<'a>(raw: &'a [u8], kind: &ColumnType, mode: ValueMode) -> Option<Scalar<'a>> {
    match raw.first()? {
        b'n' if raw == b"null" => Some(Scalar::Null),
        b't' if raw == b"true" => Some(Scalar::Bool(true)),
        b'f' if raw == b"false" => Some(Scalar::Bool(false)),
        b'"' => decode_string(unescape(string_inside(raw)?)?, kind, mode),
        b'-' | b'0'..=b'9' => decode_number(std::str::from_utf8(raw).ok()?, kind, mode),
        b'[' => match kind {
            ColumnType::Array { of } => {
                let decoded = Elements::of(raw).ok()?.map(|element| {
                    let element = element.ok()?;
                    // The arrays of several dimensions nest; their type does not tell how deep.
                    let inner = element.first() == Some(&b'[');
                    decode_json(element, if inner { kind } else { of }, mode)
                });
                decoded.collect::<Option<Vec<_>>>().map(Scalar::List)
            }
            _ => std::str::from_utf8(raw).ok().map(|text| Scalar::Json(Cow::Borrowed(text))),
        },
        b'{' => match kind {
            ColumnType::Decimal { .. } | ColumnType::Money => decode_variable_scale(raw),
            _ => std::str::from_utf8(raw).ok().map(|text| Scalar::Json(Cow::Borrowed(text))),
        },
        _ => None,
    }
}

fn decode_string<'a>(text: Cow<'a, str>, kind: &ColumnType, mode: ValueMode) -> Option<Scalar<'a>> {
    match kind {
        ColumnType::Text { .. } | ColumnType::Enum { .. } | ColumnType::Uuid | ColumnType::Interval => {
            Some(Scalar::Text(text))
        }
        ColumnType::Other { name } if mode == ValueMode::Debezium && is_opaque(name) => {
            let bytes = STANDARD.decode(text.as_bytes()).ok()?;
            String::from_utf8(bytes).ok().map(|text| Scalar::Text(Cow::Owned(text)))
        }
        ColumnType::Other { .. } | ColumnType::Array { .. } => Some(Scalar::Text(text)),
        ColumnType::Json => Some(Scalar::Json(text)),
        ColumnType::Bytes => Some(Scalar::Bytes(text)),
        ColumnType::Decimal { scale, .. } => match Beyond::from_word(&text) {
            Some(beyond) => Some(Scalar::Beyond(beyond)),
            None if mode == ValueMode::Debezium => decode_base64(&text, i32::from(scale.unwrap_or(0))),
            None => decimal::is_plain(&text).then_some(Scalar::Number(text)),
        },
        ColumnType::Money if mode == ValueMode::Debezium => decode_base64(&text, 2),
        // The server writes money by its locale; what is no plain number stays text.
        ColumnType::Money if decimal::is_plain(&text) => Some(Scalar::Number(text)),
        ColumnType::Money => Some(Scalar::Text(text)),
        ColumnType::Bool => match &*text {
            "t" | "true" => Some(Scalar::Bool(true)),
            "f" | "false" => Some(Scalar::Bool(false)),
            _ => None,
        },
        ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => {
            text.parse::<i64>().is_ok().then_some(Scalar::Number(text))
        }
        ColumnType::Float32 | ColumnType::Float64 => match Beyond::from_word(&text) {
            Some(beyond) => Some(Scalar::Beyond(beyond)),
            None => text.parse::<model::Number>().is_ok().then_some(Scalar::Number(text)),
        },
        _ => decode_time_text(&text, kind),
    }
}

fn decode_time_text(text: &str, kind: &ColumnType) -> Option<Scalar<'static>> {
    if let Some(beyond) = Beyond::from_word(text) {
        return Some(Scalar::Beyond(beyond));
    }
    match kind {
        ColumnType::Date => parse_day(text).map(Scalar::Day),
        ColumnType::Time { .. } => parse_time(text).map(|(us, _)| Scalar::Clock(us)),
        ColumnType::TimeTz => parse_time(text)
            .map(|(us, zone_s)| Scalar::Clock(Moment::from_epoch_us(us - zone_s.unwrap_or(0) * 1_000_000).us)),
        ColumnType::Timestamp { .. } | ColumnType::TimestampTz { .. } => parse_moment(text).map(Scalar::Moment),
        _ => None,
    }
}

#[inline]
fn decode_number<'a>(digits: &'a str, kind: &ColumnType, mode: ValueMode) -> Option<Scalar<'a>> {
    let plain = || Some(Scalar::Number(Cow::Borrowed(digits)));
    if mode == ValueMode::Readable {
        return match kind {
            ColumnType::Date
            | ColumnType::Time { .. }
            | ColumnType::TimeTz
            | ColumnType::Timestamp { .. }
            | ColumnType::TimestampTz { .. }
            | ColumnType::Bool => None,
            _ => plain(),
        };
    }
    let integer = || digits.parse::<i64>().ok();
    match kind {
        ColumnType::Date => integer().map(|days| beyond_days(days).unwrap_or(Scalar::Day(Day(days)))),
        ColumnType::Time { precision: 0..=3 } => integer().map(|ms| Scalar::Clock(ms.saturating_mul(1_000))),
        ColumnType::Time { .. } => integer().map(Scalar::Clock),
        ColumnType::Timestamp { precision: 0..=3 } => {
            integer().map(|ms| beyond_moment(ms, true).unwrap_or_else(|| millis(ms)))
        }
        ColumnType::Timestamp { .. } => {
            integer().map(|us| beyond_moment(us, false).unwrap_or_else(|| Scalar::Moment(Moment::from_epoch_us(us))))
        }
        ColumnType::TimeTz | ColumnType::TimestampTz { .. } | ColumnType::Bool => None,
        _ => plain(),
    }
}

fn millis(ms: i64) -> Scalar<'static> {
    let day = Day(ms.div_euclid(86_400_000));
    Scalar::Moment(Moment::at(day, ms.rem_euclid(86_400_000) * 1_000))
}

/// Debezium's numbers for infinite timestamps, in the column's unit (its documentation gives those in microseconds).
fn beyond_moment(number: i64, milliseconds: bool) -> Option<Scalar<'static>> {
    let unit = if milliseconds { 1_000 } else { 1 };
    if number == 9_223_372_036_825_200_000 / unit {
        return Some(Scalar::Beyond(Beyond::Infinity));
    }
    (number == -9_223_372_036_832_400_000 / unit).then_some(Scalar::Beyond(Beyond::MinusInfinity))
}

/// Debezium's numbers for infinite dates: what is left of them in 32 bits.
fn beyond_days(days: i64) -> Option<Scalar<'static>> {
    match days {
        -2_147_472_692 => Some(Scalar::Beyond(Beyond::Infinity)),
        -2_147_472_691 => Some(Scalar::Beyond(Beyond::MinusInfinity)),
        _ => None,
    }
}

/// Types whose text Debezium does not know and gives in base64.
fn is_opaque(name: &str) -> bool {
    const PLAIN: [&str; 18] = [
        "xml",
        "inet",
        "cidr",
        "macaddr",
        "macaddr8",
        "tsvector",
        "ltree",
        "isbn",
        "hstore",
        "bit",
        "varbit",
        "point",
        "int4range",
        "int8range",
        "numrange",
        "tsrange",
        "tstzrange",
        "daterange",
    ];
    !PLAIN.contains(&name)
}

fn decode_base64(text: &str, scale: i32) -> Option<Scalar<'static>> {
    let bytes = STANDARD.decode(text).ok()?;
    decimal::from_twos_complement(&bytes, scale).map(|digits| Scalar::Number(Cow::Owned(digits)))
}

/// Debezium's `VariableScaleDecimal`: `{"scale": n, "value": base64}`.
fn decode_variable_scale(raw: &[u8]) -> Option<Scalar<'static>> {
    let scale = std::str::from_utf8(member(raw, "scale").ok()??).ok()?.parse().ok()?;
    decode_base64(&unescape(string_inside(member(raw, "value").ok()??)?)?, scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(raw: &str, kind: &ColumnType, mode: ValueMode) -> Option<String> {
        decode(raw.as_bytes(), kind, mode).ok().map(|scalar| format!("{scalar:?}"))
    }

    #[test]
    fn both_modes_give_the_same_scalar() {
        let decimal = ColumnType::Decimal { precision: Some(10), scale: Some(2) };
        let any_decimal = ColumnType::Decimal { precision: None, scale: None };
        let nested = ColumnType::Array { of: Box::new(ColumnType::Int32) };
        let bools = ColumnType::Array { of: Box::new(ColumnType::Date) };
        for (kind, readable, debezium) in [
            (&decimal, "\"12.34\"", "\"BNI=\""),
            (&any_decimal, "\"-0.01\"", r#"{"scale":2,"value":"/w=="}"#),
            (&any_decimal, "\"NaN\"", "\"NaN\""),
            (&ColumnType::Money, "\"12.34\"", "\"BNI=\""),
            (&ColumnType::Date, "\"1970-01-02\"", "1"),
            (&ColumnType::Time { precision: 3 }, "\"00:00:01.500\"", "1500"),
            (&ColumnType::Time { precision: 6 }, "\"00:00:01.500000\"", "1500000"),
            (&ColumnType::Timestamp { precision: 3 }, "\"1969-12-31T23:59:59.999\"", "-1"),
            (&ColumnType::Timestamp { precision: 6 }, "\"1970-01-01T00:00:00.000001\"", "1"),
            (&ColumnType::Timestamp { precision: 6 }, "\"infinity\"", "9223372036825200000"),
            (&ColumnType::Timestamp { precision: 3 }, "\"-infinity\"", "-9223372036832400"),
            (&ColumnType::Date, "\"-infinity\"", "-2147472691"),
            (&ColumnType::Date, "\"+12024-01-01\"", "3672148"),
            (&ColumnType::Date, "\"0000-12-31\"", "-719163"),
            (&ColumnType::Other { name: "pg_lsn".into() }, "\"0/1\"", "\"MC8x\""),
            (&ColumnType::Other { name: "inet".into() }, "\"10.0.0.1\"", "\"10.0.0.1\""),
            (&nested, "[[1,null],[2]]", "[[1,null],[2]]"),
            (&ColumnType::TimestampTz { precision: 6 }, "\"1970-01-01 01:00:00+01\"", "\"1970-01-01T00:00:00Z\""),
            (&ColumnType::TimeTz, "\"01:00:00+02:00\"", "\"23:00:00Z\""),
            (&ColumnType::Bytes, "\"AQID\"", "\"AQID\""),
            (&bools, "[\"1970-01-02\",null]", "[1, null]"),
        ] {
            let (r, d) = (read(readable, kind, ValueMode::Readable), read(debezium, kind, ValueMode::Debezium));
            assert!(r.is_some() && r == d, "{kind}: {readable} -> {r:?}, {debezium} -> {d:?}");
        }
    }

    #[test]
    fn json_of_another_type_is_refused() {
        for (kind, raw) in [
            (ColumnType::Date, "1"),
            (ColumnType::Date, "\"2024-02-30\""),
            (ColumnType::Int32, "\"x\""),
            (ColumnType::Decimal { precision: None, scale: None }, "\"1e5x\""),
            (ColumnType::Text { length: None }, "nul"),
            (ColumnType::Text { length: None }, "\"\\q\""),
        ] {
            assert!(decode(raw.as_bytes(), &kind, ValueMode::Readable).is_err(), "{kind} {raw}");
        }
        assert!(decode(b"\"?\"", &ColumnType::Money, ValueMode::Debezium).is_err());
    }

    proptest! {
        #[test]
        fn decimals_of_both_modes_have_the_same_digits(unscaled: i128, scale in 0_i16..30) {
            let kind = ColumnType::Decimal { precision: Some(40), scale: Some(scale) };
            let text = decimal::from_twos_complement(&unscaled.to_be_bytes(), i32::from(scale)).unwrap();
            let readable = format!("\"{text}\"");
            let debezium = format!("\"{}\"", STANDARD.encode(unscaled.to_be_bytes()));
            prop_assert_eq!(
                decode(readable.as_bytes(), &kind, ValueMode::Readable),
                decode(debezium.as_bytes(), &kind, ValueMode::Debezium)
            );
            let Ok(Scalar::Number(digits)) = decode(readable.as_bytes(), &kind, ValueMode::Readable) else { panic!() };
            prop_assert_eq!(digits.replace('.', "").parse::<i128>().unwrap(), unscaled);
        }
    }
}
