//! The values that a row holds, and how they are read from and written to JSON.

use crate::ids::SfId;
use crate::json::{write_int, write_text};
use std::cmp::Ordering;
use std::fmt;

/// A field's value; 24 bytes and the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Decimal),
    Text(Box<str>),
    Id(SfId),
    /// Days since 1970-01-01.
    Date(i32),
    /// Unix milliseconds.
    Datetime(i64),
    /// Milliseconds since midnight.
    Time(i32),
    /// An address: its members in the order in which they are written. Never in a cell.
    Compound(Box<[(&'static str, Value)]>),
}

/// A decimal number of at most 18 digits, without trailing zeros after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    mantissa: i64,
    scale: u8,
}

/// More digits than Salesforce keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Decimal {
    /// A whole number.
    pub fn int(number: i64) -> Self {
        Self { mantissa: number, scale: 0 }
    }

    /// Reads JSON's digits and rounds half up to `scale` digits after the point.
    ///
    /// Returns none when the text is no number.
    ///
    /// # Errors
    /// `TooLarge` when more than `precision` digits (at most 18) are needed.
    pub fn parse(text: &str, precision: u8, scale: u8) -> Option<Result<Self, TooLarge>> {
        let (body, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, body) = match body.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, body.strip_prefix('+').unwrap_or(body)),
        };
        let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
        if whole.len() + fraction.len() == 0 || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0');
        // The number is digits × 10^power; those below 10^-scale are rounded away.
        let power = exponent.checked_sub(fraction.len() as i32)?;
        let digits: Vec<u8> = digits.collect();
        if digits.is_empty() {
            return Some(Ok(Self::int(0)));
        }
        let drop = (-(power as i64) - i64::from(scale)).max(0);
        let kept = (digits.len() as i64 - drop).max(0) as usize;
        let mut mantissa: i128 = 0;
        for digit in &digits[..kept.min(38)] {
            mantissa = mantissa * 10 + i128::from(digit - b'0');
        }
        if kept > 38 {
            return Some(Err(TooLarge));
        }
        if drop > 0 && digits.len() as i64 >= drop && digits[kept] >= b'5' {
            mantissa += 1;
        }
        let power = power as i64 + drop;
        Some(Self::from_parts(if negative { -mantissa } else { mantissa }, power, precision))
    }

    fn from_parts(mut mantissa: i128, mut power: i64, precision: u8) -> Result<Self, TooLarge> {
        while power < 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            power += 1;
        }
        if mantissa == 0 {
            return Ok(Self::int(0));
        }
        if power > 18 {
            return Err(TooLarge);
        }
        while power > 0 {
            mantissa = mantissa.checked_mul(10).ok_or(TooLarge)?;
            power -= 1;
        }
        let scale = u8::try_from(-power).map_err(|_| TooLarge)?;
        if mantissa.unsigned_abs() >= 10u128.pow(u32::from(precision.min(18))) {
            return Err(TooLarge);
        }
        Ok(Self { mantissa: mantissa as i64, scale })
    }

    /// The digits as a whole number, and how many of them stand after the point.
    pub fn parts(self) -> (i64, u8) {
        (self.mantissa, self.scale)
    }

    /// Makes the number that `parts` gave; none for parts that it never gives.
    pub fn from_stored(mantissa: i64, scale: u8) -> Option<Self> {
        let whole = scale == 0 || mantissa % 10 != 0;
        (scale <= 18 && whole && mantissa.unsigned_abs() < 10u64.pow(18)).then_some(Self { mantissa, scale })
    }

    /// Digits before the point.
    pub fn whole_digits(self) -> u32 {
        let whole = self.mantissa.unsigned_abs() / 10u64.pow(u32::from(self.scale.min(19)));
        if whole == 0 { 0 } else { whole.ilog10() + 1 }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        let scaled = |number: &Self| i128::from(number.mantissa) * 10i128.pow(u32::from(scale - number.scale));
        scaled(self).cmp(&scaled(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.mantissa);
        }
        let digits = format!("{:0>width$}", self.mantissa.unsigned_abs(), width = usize::from(self.scale) + 1);
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(self.scale));
        write!(f, "{}{whole}.{fraction}", if self.mantissa < 0 { "-" } else { "" })
    }
}

impl Value {
    /// True for null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The text or the id's text, if this is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            Value::Id(id) => Some(id.as_str()),
            _ => None,
        }
    }

    /// Writes JSON in the REST API's form.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::Number(number) if number.scale == 0 => write_int(out, number.mantissa),
            Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Text(text) => write_text(out, text),
            Value::Id(id) => write_text(out, id.as_str()),
            Value::Date(_) | Value::Datetime(_) | Value::Time(_) => write_text(out, &self.to_string()),
            Value::Compound(members) => {
                out.push(b'{');
                for (at, (member, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_text(out, member);
                    out.push(b':');
                    value.write_json(out);
                }
                out.push(b'}');
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => Ok(()),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(text),
            Value::Id(id) => write!(f, "{id}"),
            Value::Date(days) => {
                let (year, month, day) = civil(i64::from(*days));
                write!(f, "{year:04}-{month:02}-{day:02}")
            }
            Value::Datetime(ms) => {
                let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
                let (year, month, day) = civil(days);
                write!(f, "{year:04}-{month:02}-{day:02}T")?;
                write_clock(f, rest)?;
                f.write_str("+0000")
            }
            Value::Time(ms) => {
                write_clock(f, i64::from(*ms))?;
                f.write_str("Z")
            }
            Value::Compound(members) => {
                for (at, (_, value)) in members.iter().filter(|(_, value)| !value.is_null()).enumerate() {
                    write!(f, "{}{value}", if at > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

fn write_clock(f: &mut fmt::Formatter<'_>, ms: i64) -> fmt::Result {
    write!(f, "{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
pub fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Reads `YYYY-MM-DD`, years 1700 to 4000 as in Salesforce; days since 1970-01-01.
pub fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&bytes[..4])?, digits(&bytes[5..7])?, digits(&bytes[8..])?);
    if !(1700..=4000).contains(&year) || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let days = days_from_civil(year, month, day);
    (civil(days) == (year, month, day)).then_some(days as i32)
}

/// Reads a date and time with zone (`Z`, `+01:00`, `+0100`), or a date alone (midnight UTC); Unix milliseconds.
pub fn parse_datetime(text: &str) -> Option<i64> {
    let date = i64::from(parse_date(text.get(..10)?)?) * 86_400_000;
    let Some(rest) = text[10..].strip_prefix('T') else {
        return (text.len() == 10).then_some(date);
    };
    let zone_at = rest.find(['Z', '+', '-'])?;
    let clock = parse_clock(&rest[..zone_at])?;
    let offset = match &rest.as_bytes()[zone_at..] {
        b"Z" => 0,
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] if *sign != b'Z' => {
            let minutes = digits(&[*h1, *h2])? * 60 + digits(&[*m1, *m2])?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some(date + clock - offset * 60_000)
}

/// Reads `hh:mm:ss` with optional fraction and `Z`; milliseconds since midnight.
pub fn parse_time(text: &str) -> Option<i32> {
    parse_clock(text.strip_suffix('Z').unwrap_or(text)).map(|ms| ms as i32)
}

fn parse_clock(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let bytes = clock.as_bytes();
    if !(bytes.len() == 8 && bytes[5] == b':' || bytes.len() == 5) || bytes[2] != b':' {
        return None;
    }
    let seconds = if bytes.len() == 8 { digits(&bytes[6..])? } else { 0 };
    let (hours, minutes) = (digits(&bytes[..2])?, digits(&bytes[3..5])?);
    if hours > 23 || minutes > 59 || seconds > 59 || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let mut ms = digits(fraction.as_bytes())?;
    for place in 0..9 {
        if place + fraction.len() < 9 {
            ms *= 10;
        }
    }
    Some((hours * 3600 + minutes * 60 + seconds) * 1000 + ms / 1_000_000)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    let mut number = 0;
    for byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(byte - b'0');
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> String {
        match Decimal::parse(text, 18, 2) {
            None => "none".into(),
            Some(Err(TooLarge)) => "too large".into(),
            Some(Ok(number)) => number.to_string(),
        }
    }

    #[test]
    fn decimals_round_half_up_and_keep_eighteen_digits() {
        for (text, expected) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("12.30", "12.3"),
            ("12.345", "12.35"),
            ("-12.345", "-12.35"),
            ("0.005", "0.01"),
            ("0.0049", "0"),
            ("1e3", "1000"),
            ("1.5e-1", "0.15"),
            ("9999999999999999.99", "9999999999999999.99"),
            ("99999999999999999999", "too large"),
            ("1e400", "too large"),
            ("1e-400", "0"),
            ("1e-2147483648", "0"),
            ("abc", "none"),
            ("", "none"),
            (".", "none"),
            ("--1", "none"),
        ] {
            assert_eq!(decimal(text), expected, "{text}");
        }
    }

    #[test]
    fn datetimes_are_read_in_every_zone_form_and_written_in_salesforce_form() {
        let ms = parse_datetime("2026-11-21T15:17:28.5+01:00").unwrap();
        assert_eq!(Value::Datetime(ms).to_string(), "2026-11-21T14:17:28.500+0000");
        assert_eq!(parse_datetime("2026-11-21T14:17:28.500Z"), Some(ms));
        assert_eq!(parse_datetime("2026-11-21T14:17:28.500+0000"), Some(ms));
        assert_eq!(parse_datetime("2026-02-29T14:17:28Z"), None);
        assert_eq!(parse_datetime("2026-11-21 14:17:28Z"), None);
        assert_eq!(Value::Date(parse_date("1700-01-01").unwrap()).to_string(), "1700-01-01");
        assert_eq!(Value::Time(parse_time("23:59:59.999Z").unwrap()).to_string(), "23:59:59.999Z");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,30}", digits in "[-+0-9.eE]{0,60}", stamp in "[0-9TZ:.+-]{0,30}") {
            for text in [&text, &digits, &stamp] {
                let _ = (parse_date(text), parse_datetime(text), parse_time(text), Decimal::parse(text, 18, 9));
            }
        }

        #[test]
        fn dates_survive_a_round_trip(days in -98_000i32..740_000) {
            prop_assert_eq!(parse_date(&Value::Date(days).to_string()), Some(days));
        }

        #[test]
        fn decimals_order_as_floats_do(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000, s in 0u8..6, t in 0u8..6) {
            let (x, y) = (format!("{a}e-{s}"), format!("{b}e-{t}"));
            let parse = |text: &str| Decimal::parse(text, 18, 9).unwrap().unwrap();
            let (fx, fy) = (a as f64 / 10f64.powi(s.into()), b as f64 / 10f64.powi(t.into()));
            prop_assert!(parse(&x).cmp(&parse(&y)) == fx.total_cmp(&fy) || (fx - fy).abs() < 1e-9);
            prop_assert_eq!(parse(&parse(&x).to_string()), parse(&x));
        }
    }
}
