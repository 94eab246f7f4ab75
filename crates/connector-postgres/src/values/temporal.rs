//! Dates, times and timestamps.

use super::ValueError;
use super::calendar::{Day, Text, TimeOfDay, US_PER_DAY};
use super::json_text::write_string;
use super::number::write_number;

/// Units of a Debezium time or timestamp: by the column's precision, adaptive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Micros,
}

impl Unit {
    /// Debezium's `time.precision.mode=adaptive`.
    pub(crate) fn adaptive(precision: u8) -> Self {
        if precision <= 3 { Self::Millis } else { Self::Micros }
    }
}

fn is_infinite(text: &[u8]) -> bool {
    matches!(text, b"infinity" | b"-infinity")
}

pub(super) fn write_date_iso(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    if is_infinite(text) {
        write_string(out, text);
        return Ok(());
    }
    let day = parse_date(text)?;
    out.push(b'"');
    write_day(out, day);
    out.push(b'"');
    Ok(())
}

/// Debezium: days since 1970-01-01. Its infinities are `LocalDate.parse("-5877611-06-21")` and the day after.
pub(super) fn write_date_days(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    let days = match text {
        b"infinity" => -2_147_472_692,
        b"-infinity" => -2_147_472_691,
        _ => parse_date(text)?.days_since_epoch(),
    };
    write_number(out, days);
    Ok(())
}

pub(super) fn write_time_iso(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    parse_time(text)?;
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
    Ok(())
}

pub(super) fn write_time_number(out: &mut Vec<u8>, text: &[u8], unit: Unit) -> Result<(), ValueError> {
    let us = parse_time(text)?.us;
    write_number(out, if unit == Unit::Millis { us / 1000 } else { us });
    Ok(())
}

/// Keeps the offset of the value: `13:14:15.5+02:00`, `Z` at offset zero.
pub(super) fn write_timetz_iso(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    let (time, offset) = parse_timetz(text)?;
    out.push(b'"');
    write_clock(out, time);
    if offset == 0 {
        out.push(b'Z');
    } else {
        out.push(if offset < 0 { b'-' } else { b'+' });
        let offset = offset.abs();
        write_pair(out, offset / 3600);
        out.push(b':');
        write_pair(out, offset / 60 % 60);
        if offset % 60 != 0 {
            out.push(b':');
            write_pair(out, offset % 60);
        }
    }
    out.push(b'"');
    Ok(())
}

/// Debezium: the same instant of the day at UTC, the fraction without trailing zeros.
pub(super) fn write_timetz_utc(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    let (time, offset) = parse_timetz(text)?;
    let us = (time.us - offset * 1_000_000).rem_euclid(US_PER_DAY);
    out.push(b'"');
    write_time_of_day(out, us / 1_000_000);
    let fraction = us % 1_000_000;
    if fraction != 0 {
        let (mut fraction, mut digits) = (fraction, 6);
        while fraction % 10 == 0 {
            fraction /= 10;
            digits -= 1;
        }
        out.push(b'.');
        write_padded(out, fraction, digits);
    }
    out.extend_from_slice(b"Z\"");
    Ok(())
}

pub(super) fn write_timestamp_iso(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    if let Some((local, fraction)) = split_plain(text) {
        write_plain(out, local, fraction);
        out.push(b'"');
        return Ok(());
    }
    if is_infinite(text) {
        write_string(out, text);
        return Ok(());
    }
    let (day, time) = parse_timestamp(text)?;
    out.push(b'"');
    write_day(out, day);
    out.push(b'T');
    write_clock(out, time);
    out.push(b'"');
    Ok(())
}

/// In UTC with `Z`. The session's zone is UTC; another offset is converted, not trusted to be absent.
pub(super) fn write_timestamptz_iso(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    if let Some((local, fraction)) = text.strip_suffix(b"+00").and_then(split_plain) {
        write_plain(out, local, fraction);
        out.extend_from_slice(b"Z\"");
        return Ok(());
    }
    if is_infinite(text) {
        write_string(out, text);
        return Ok(());
    }
    let (day, time, offset) = parse_timestamptz(text)?;
    out.push(b'"');
    if offset == 0 {
        write_day(out, day);
        out.push(b'T');
        write_clock(out, time);
    } else {
        write_utc_seconds(out, day, time, offset);
        if !time.fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(time.fraction);
        }
    }
    out.extend_from_slice(b"Z\"");
    Ok(())
}

/// Debezium: UTC with exactly `digits` fraction digits.
pub(super) fn write_timestamptz_utc(out: &mut Vec<u8>, text: &[u8], digits: u8) -> Result<(), ValueError> {
    if is_infinite(text) {
        write_string(out, text);
        return Ok(());
    }
    let (day, time, offset) = parse_timestamptz(text)?;
    out.push(b'"');
    write_utc_seconds(out, day, time, offset);
    if digits > 0 {
        out.push(b'.');
        let kept = &time.fraction[..time.fraction.len().min(usize::from(digits))];
        out.extend_from_slice(kept);
        out.resize(out.len() + usize::from(digits) - kept.len(), b'0');
    }
    out.extend_from_slice(b"Z\"");
    Ok(())
}

/// Debezium: epoch milliseconds or microseconds. Its infinities are the JDBC driver's `DATE_POSITIVE_INFINITY` and
/// `DATE_NEGATIVE_INFINITY` taken as microseconds. Past 64 bits it saturates, then adds the fraction with wrap-around
/// (`Conversions.toEpochMicros`); that is repeated here so that both show the same number.
pub(super) fn write_timestamp_number(out: &mut Vec<u8>, text: &[u8], unit: Unit) -> Result<(), ValueError> {
    let us = match text {
        b"infinity" => 9_223_372_036_825_200_000,
        b"-infinity" => -9_223_372_036_832_400_000,
        _ => {
            let (day, time) = parse_timestamp(text)?;
            let seconds = day.days_since_epoch() * 86_400 + time.us.div_euclid(1_000_000);
            let fraction = time.us.rem_euclid(1_000_000);
            if unit == Unit::Millis {
                write_number(out, seconds * 1000 + fraction / 1000);
                return Ok(());
            }
            seconds.saturating_mul(1_000_000).wrapping_add(fraction)
        }
    };
    write_number(out, if unit == Unit::Millis { us / 1000 } else { us });
    Ok(())
}

/// Splits `YYYY-MM-DD HH:MM:SS` from its fraction: nearly every timestamp there is. The form is checked, not the calendar:
/// the text comes from PostgreSQL and goes on as it is.
#[inline]
fn split_plain(text: &[u8]) -> Option<(&[u8; 19], &[u8])> {
    const FORM: &[u8; 19] = b"0000-00-00 00:00:00";
    let (local, fraction) = text.split_first_chunk::<19>()?;
    let fits = local
        .iter()
        .zip(FORM)
        .fold(true, |fits, (byte, form)| fits & if *form == b'0' { byte.is_ascii_digit() } else { byte == form });
    let digits = fraction.strip_prefix(b".").unwrap_or(fraction);
    let has_point = digits.len() < fraction.len();
    let plain = fits && fraction.len() <= 7 && has_point != digits.is_empty();
    (plain && digits.iter().all(u8::is_ascii_digit)).then_some((local, fraction))
}

/// Appends the opening quote, day, `T`, clock and fraction.
#[inline]
fn write_plain(out: &mut Vec<u8>, local: &[u8; 19], fraction: &[u8]) {
    let mut iso = [0u8; 20];
    iso[0] = b'"';
    iso[1..].copy_from_slice(local);
    iso[11] = b'T';
    out.extend_from_slice(&iso);
    out.extend_from_slice(fraction);
}

fn parse_date(text: &[u8]) -> Result<Day, ValueError> {
    let mut rest = Text(text);
    rest.day().and_then(|day| rest.era(day)).ok_or_else(|| ValueError::of("date", text))
}

fn parse_time(text: &[u8]) -> Result<TimeOfDay<'_>, ValueError> {
    let mut rest = Text(text);
    rest.time_of_day().filter(|_| rest.is_empty()).ok_or_else(|| ValueError::of("time", text))
}

fn parse_timetz(text: &[u8]) -> Result<(TimeOfDay<'_>, i64), ValueError> {
    let mut rest = Text(text);
    let parts = rest.time_of_day().and_then(|time| Some((time, rest.offset()?)));
    parts.filter(|_| rest.is_empty()).ok_or_else(|| ValueError::of("time with time zone", text))
}

fn parse_timestamp(text: &[u8]) -> Result<(Day, TimeOfDay<'_>), ValueError> {
    let parse = || {
        let mut rest = Text(text);
        let day = rest.day()?;
        rest.eat(b' ')?;
        let time = rest.time_of_day()?;
        Some((rest.era(day)?, time))
    };
    parse().ok_or_else(|| ValueError::of("timestamp", text))
}

fn parse_timestamptz(text: &[u8]) -> Result<(Day, TimeOfDay<'_>, i64), ValueError> {
    let parse = || {
        let mut rest = Text(text);
        let day = rest.day()?;
        rest.eat(b' ')?;
        let time = rest.time_of_day()?;
        let offset = rest.offset()?;
        Some((rest.era(day)?, time, offset))
    };
    parse().ok_or_else(|| ValueError::of("timestamp with time zone", text))
}

/// ISO 8601; years outside 0 to 9999 in the expanded form, with their sign.
fn write_day(out: &mut Vec<u8>, day: Day) {
    if day.year < 0 {
        out.push(b'-');
    } else if day.year > 9999 {
        out.push(b'+');
    }
    let year = day.year.abs();
    if year > 9999 {
        write_number(out, year);
    } else {
        write_padded(out, year, 4);
    }
    out.push(b'-');
    write_pair(out, i64::from(day.month));
    out.push(b'-');
    write_pair(out, i64::from(day.day));
}

/// The time as PostgreSQL printed it.
fn write_clock(out: &mut Vec<u8>, time: TimeOfDay<'_>) {
    out.extend_from_slice(time.clock);
    if !time.fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(time.fraction);
    }
}

/// Day, `T` and clock without fraction, moved to UTC.
fn write_utc_seconds(out: &mut Vec<u8>, day: Day, time: TimeOfDay<'_>, offset: i64) {
    let seconds = day.days_since_epoch() * 86_400 + time.us / 1_000_000 - offset;
    write_day(out, Day::from_days_since_epoch(seconds.div_euclid(86_400)));
    out.push(b'T');
    write_time_of_day(out, seconds.rem_euclid(86_400));
}

fn write_time_of_day(out: &mut Vec<u8>, seconds: i64) {
    write_pair(out, seconds / 3600);
    out.push(b':');
    write_pair(out, seconds / 60 % 60);
    out.push(b':');
    write_pair(out, seconds % 60);
}

fn write_pair(out: &mut Vec<u8>, number: i64) {
    write_padded(out, number, 2);
}

/// Writes a number that has at most `digits` digits, with leading zeros.
fn write_padded(out: &mut Vec<u8>, number: i64, digits: usize) {
    let at = out.len();
    out.resize(at + digits, b'0');
    let mut left = number;
    for place in out[at..].iter_mut().rev() {
        *place = b'0' + (left % 10) as u8;
        left /= 10;
    }
}
