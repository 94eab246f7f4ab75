//! The compiled way from a column's text to its JSON.

use super::json_text::write_string;
use super::temporal::Unit;
use super::{ValueError, array, binary, decimal, hstore, interval, number, point, temporal};

/// Room that codecs reuse from row to row, and what they count.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(super) element: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    /// Values whose bytes were not UTF-8.
    pub(crate) invalid_utf8: u64,
}

/// How a column's text becomes JSON. `Debezium…` forms belong to that mode only; the others serve both or `readable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Bool,
    Integer,
    Float,
    Text,
    Digits,
    MoneyDigits,
    Base64,
    DateIso,
    TimeIso,
    TimeTzIso,
    TimestampIso,
    TimestampTzIso,
    IntervalIso,
    Array {
        element: Box<Codec>,
        delimiter: u8,
    },
    DebeziumScaled {
        scale: i16,
    },
    DebeziumVariable,
    DebeziumMoney,
    DebeziumDays,
    DebeziumTime(Unit),
    DebeziumTimeTz,
    DebeziumTimestamp(Unit),
    DebeziumTimestampTz {
        digits: u8,
    },
    DebeziumInterval,
    DebeziumBit,
    DebeziumBits,
    DebeziumPoint,
    DebeziumHstore,
    /// A type that Debezium does not know: base64 of its text.
    DebeziumOpaque,
}

impl Codec {
    /// Appends the JSON of a value that is not null.
    ///
    /// # Errors
    /// `ValueError` when the text is not of the type; what was appended by then is the caller's to cut off.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>, text: &[u8], scratch: &mut Scratch) -> Result<(), ValueError> {
        match self {
            Self::Text => {
                scratch.invalid_utf8 += u64::from(write_string(out, text));
                Ok(())
            }
            Self::Integer => number::write_integer(out, text),
            Self::Bool => write_bool(out, text),
            Self::Digits => decimal::write_digits(out, text),
            Self::TimestampIso => temporal::write_timestamp_iso(out, text),
            Self::TimestampTzIso => temporal::write_timestamptz_iso(out, text),
            _ => self.write_rarer(out, text, scratch),
        }
    }

    fn write_rarer(&self, out: &mut Vec<u8>, text: &[u8], scratch: &mut Scratch) -> Result<(), ValueError> {
        match self {
            Self::Float => number::write_float(out, text),
            Self::MoneyDigits => {
                scratch.invalid_utf8 += u64::from(decimal::write_money_digits(out, text));
                Ok(())
            }
            Self::Base64 => binary::write_bytea(out, text, &mut scratch.bytes),
            Self::DateIso => temporal::write_date_iso(out, text),
            Self::TimeIso => temporal::write_time_iso(out, text),
            Self::TimeTzIso => temporal::write_timetz_iso(out, text),
            Self::IntervalIso => interval::write_iso(out, text),
            Self::Array { element, delimiter } => array::write(out, text, element, *delimiter, scratch),
            Self::DebeziumScaled { scale } => decimal::write_scaled(out, text, *scale),
            Self::DebeziumVariable => decimal::write_variable(out, text),
            Self::DebeziumMoney => decimal::write_money_scaled(out, text),
            Self::DebeziumDays => temporal::write_date_days(out, text),
            Self::DebeziumTime(unit) => temporal::write_time_number(out, text, *unit),
            Self::DebeziumTimeTz => temporal::write_timetz_utc(out, text),
            Self::DebeziumTimestamp(unit) => temporal::write_timestamp_number(out, text, *unit),
            Self::DebeziumTimestampTz { digits } => temporal::write_timestamptz_utc(out, text, *digits),
            Self::DebeziumInterval => interval::write_micros(out, text),
            Self::DebeziumBit => binary::write_bit(out, text),
            Self::DebeziumBits => binary::write_bits(out, text, &mut scratch.bytes),
            Self::DebeziumPoint => point::write_struct(out, text),
            Self::DebeziumHstore => hstore::write_object(out, text, scratch),
            Self::DebeziumOpaque => {
                binary::write_base64(out, text);
                Ok(())
            }
            Self::Text | Self::Integer | Self::Bool | Self::Digits | Self::TimestampIso | Self::TimestampTzIso => {
                self.write(out, text, scratch)
            }
        }
    }

    /// What Debezium writes for a `NOT NULL` column that a key-only old row does not carry (its converters' fallbacks).
    pub(crate) fn debezium_filler(&self) -> &'static [u8] {
        match self {
            Self::Bool | Self::DebeziumBit => b"false",
            Self::Integer
            | Self::DebeziumDays
            | Self::DebeziumTime(_)
            | Self::DebeziumTimestamp(_)
            | Self::DebeziumInterval => b"0",
            Self::Float => b"0.0",
            Self::DebeziumScaled { .. } | Self::DebeziumMoney => b"\"AA==\"",
            Self::DebeziumVariable => b"{\"scale\":0,\"value\":\"AA==\"}",
            Self::DebeziumTimeTz => b"\"00:00:00Z\"",
            Self::DebeziumTimestampTz { .. } => b"\"1970-01-01T00:00:00Z\"",
            Self::Array { .. } => b"[]",
            Self::DebeziumHstore => b"\"{}\"",
            Self::DebeziumPoint => b"{\"x\":0.0,\"y\":0.0,\"wkb\":\"AQEAAAAAAAAAAAAAAAAAAAAAAAAA\",\"srid\":null}",
            _ => b"\"\"",
        }
    }
}

fn write_bool(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    match text {
        b"t" => out.extend_from_slice(b"true"),
        b"f" => out.extend_from_slice(b"false"),
        _ => return Err(ValueError::of("boolean", text)),
    }
    Ok(())
}
