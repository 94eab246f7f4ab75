//! Intervals in `IntervalStyle=postgres`: `1 year 2 mons -3 days +04:05:06.789`.

use super::ValueError;
use super::calendar::{fraction_us, number};
use super::json_text::write_string;
use super::number::write_number;

/// Parts with their own signs; hours, minutes and the fraction share the time's sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Interval {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    us: i64,
}

/// Appends an ISO 8601 duration in which each part carries its sign, as PostgreSQL's `iso_8601` style prints it.
pub(super) fn write_iso(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    if matches!(text, b"infinity" | b"-infinity") {
        write_string(out, text);
        return Ok(());
    }
    let interval = Interval::parse(text).ok_or_else(|| ValueError::of("interval", text))?;
    if interval == Interval::default() {
        out.extend_from_slice(b"\"PT0S\"");
        return Ok(());
    }
    out.extend_from_slice(b"\"P");
    let mut part = |value: i64, unit: u8| {
        if value != 0 {
            write_number(out, value);
            out.push(unit);
        }
    };
    part(interval.years, b'Y');
    part(interval.months, b'M');
    part(interval.days, b'D');
    if interval.hours != 0 || interval.minutes != 0 || interval.seconds != 0 || interval.us != 0 {
        out.push(b'T');
        interval.write_time(out);
    }
    out.push(b'"');
    Ok(())
}

/// Appends Debezium's microseconds: `MicroDuration.durationMicros` with a month of 365.25 / 12 days, in the same
/// floating-point steps, so that both round alike; Java's cast saturates as Rust's does.
pub(super) fn write_micros(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    const DAYS_PER_MONTH: f64 = 365.25 / 12.0;
    let us = match text {
        b"infinity" => i64::MAX,
        b"-infinity" => i64::MIN,
        _ => {
            let interval = Interval::parse(text).ok_or_else(|| ValueError::of("interval", text))?;
            let days = (interval.years * 12 + interval.months) as f64 * DAYS_PER_MONTH + interval.days as f64;
            let hours = days * 24.0 + interval.hours as f64;
            let seconds = interval.seconds as f64 + interval.us as f64 / 1e6;
            let seconds = (hours * 60.0 + interval.minutes as f64) * 60.0 + seconds;
            (seconds * 1e6) as i64
        }
    };
    write_number(out, us);
    Ok(())
}

impl Interval {
    fn write_time(&self, out: &mut Vec<u8>) {
        if self.hours != 0 {
            write_number(out, self.hours);
            out.push(b'H');
        }
        if self.minutes != 0 {
            write_number(out, self.minutes);
            out.push(b'M');
        }
        if self.seconds != 0 || self.us != 0 {
            if self.seconds < 0 || self.us < 0 {
                out.push(b'-');
            }
            write_number(out, self.seconds.abs());
            if self.us != 0 {
                let (mut fraction, mut digits) = (self.us.abs(), 6);
                while fraction % 10 == 0 {
                    fraction /= 10;
                    digits -= 1;
                }
                out.push(b'.');
                let at = out.len();
                write_number(out, fraction);
                let missing = digits - (out.len() - at);
                out.splice(at..at, std::iter::repeat_n(b'0', missing));
            }
            out.push(b'S');
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut interval = Self::default();
        let mut words = text.split(|byte| *byte == b' ').peekable();
        if text.is_empty() {
            return None;
        }
        while let Some(word) = words.next() {
            if word.contains(&b':') {
                interval.parse_time(word)?;
                return words.next().is_none().then_some(interval);
            }
            let count = parse_signed(word)?;
            match words.next()? {
                b"year" | b"years" => interval.years = count,
                b"mon" | b"mons" => interval.months = count,
                b"day" | b"days" => interval.days = count,
                _ => return None,
            }
        }
        Some(interval)
    }

    /// `[+-]HH:MM:SS[.ffffff]`; hours may have many digits.
    fn parse_time(&mut self, word: &[u8]) -> Option<()> {
        let negative = word.first() == Some(&b'-');
        let unsigned = word.strip_prefix(b"-").or(word.strip_prefix(b"+")).unwrap_or(word);
        let mut parts = unsigned.splitn(3, |byte| *byte == b':');
        let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
        let (seconds, fraction) = match memchr::memchr(b'.', seconds) {
            Some(point) => (&seconds[..point], &seconds[point + 1..]),
            None => (seconds, &[][..]),
        };
        if fraction.len() > 6 || !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let sign = if negative { -1 } else { 1 };
        self.hours = sign * parse_unsigned(hours)?;
        self.minutes = sign * parse_unsigned(minutes)?;
        self.seconds = sign * parse_unsigned(seconds)?;
        self.us = sign * fraction_us(fraction);
        Some(())
    }
}

fn parse_signed(word: &[u8]) -> Option<i64> {
    match word.split_first()? {
        (b'-', digits) => parse_unsigned(digits).map(|count| -count),
        (b'+', digits) => parse_unsigned(digits),
        _ => parse_unsigned(word),
    }
}

/// At most 12 digits: PostgreSQL's parts have 10.
fn parse_unsigned(digits: &[u8]) -> Option<i64> {
    ((1..=12).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)).then(|| number(digits))
}
