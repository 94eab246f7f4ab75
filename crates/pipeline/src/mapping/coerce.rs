//! One scalar into one field's cell.
//!
//! | field | takes | gives |
//! |---|---|---|
//! | boolean | bool; the texts `true`, `false` | JSON bool |
//! | int, double, currency | numbers; text that is a JSON number | the digits as they are; for int without a point |
//! | date | date, timestamp (its day in UTC) | `YYYY-MM-DD` |
//! | datetime | timestamp (without zone: UTC), date (midnight UTC) | `YYYY-MM-DDThh:mm:ss.SSSZ`; microseconds are cut to milliseconds, the finest that the target stores |
//! | time | time | `hh:mm:ss.SSSZ` |
//! | text, picklist, … | every scalar | its text; a list as JSON |
//! | multi-select picklist | list, text | values joined with `;` |
//! | base64 | bytea, text | base64 |
//!
//! Empty text becomes null, as the target itself stores it. Years are 1700 to 4000 (Salesforce, "Date and dateTime
//! fields").

use super::fields::FieldTarget;
use super::refusal::{RefusalKind as Kind, RowRefusal, shown};
use crate::event::calendar::{DAY_US, Day, Moment};
use crate::event::decimal::places;
use crate::event::value::Scalar;
use contract::FieldKind;
use model::{Cell, ColumnType, FieldValue, Number};
use std::borrow::Cow;

/// Turns a value into the field's cell.
///
/// # Errors
/// `RowRefusal` when the field cannot hold the value.
pub(super) fn coerce(scalar: Scalar<'_>, zoned: bool, field: &FieldTarget) -> Result<Cell, RowRefusal> {
    let value = match (field.kind, scalar) {
        (_, Scalar::Null) => return null(field),
        (FieldKind::Boolean, scalar) => boolean(&scalar, field)?,
        (FieldKind::Int | FieldKind::Double | FieldKind::Currency, scalar) => number(scalar, field)?,
        (FieldKind::Date, scalar) => FieldValue::Text(date(&scalar, field)?.into()),
        (FieldKind::Datetime, scalar) => FieldValue::Text(datetime(&scalar, field)?.into()),
        (FieldKind::Time, scalar) => FieldValue::Text(time(&scalar, field)?.into()),
        (FieldKind::MultiPicklist, Scalar::List(items)) => {
            return if items.is_empty() { null(field) } else { multi_picklist(&items, zoned, field) };
        }
        (FieldKind::Compound, scalar) => return Err(wrong_type(&scalar, field)),
        (_, scalar) => {
            let text = text_of(&scalar, zoned);
            if text.is_empty() {
                return null(field);
            }
            check_text(&text, field)?;
            FieldValue::Text(text.as_ref().into())
        }
    };
    Ok(Cell::Value(value))
}

/// True when the column's values carry a zone, so that their text ends in `Z`.
pub(super) fn is_zoned(kind: &ColumnType) -> bool {
    match kind {
        ColumnType::TimestampTz { .. } | ColumnType::TimeTz => true,
        ColumnType::Array { of } => is_zoned(of),
        _ => false,
    }
}

fn null(field: &FieldTarget) -> Result<Cell, RowRefusal> {
    if field.nillable {
        return Ok(Cell::Null);
    }
    Err(Kind::NullNotAllowed.of_field(&field.name, "the value is null or empty and the field takes no null"))
}

fn wrong_type(scalar: &Scalar<'_>, field: &FieldTarget) -> RowRefusal {
    let text = shown(&text_of(scalar, false));
    Kind::WrongType.of_field(&field.name, format!("{text} cannot become a {:?}", field.kind))
}

fn boolean(scalar: &Scalar<'_>, field: &FieldTarget) -> Result<FieldValue, RowRefusal> {
    match scalar {
        Scalar::Bool(value) => Ok(FieldValue::Bool(*value)),
        Scalar::Text(text) if text == "true" => Ok(FieldValue::Bool(true)),
        Scalar::Text(text) if text == "false" => Ok(FieldValue::Bool(false)),
        other => Err(wrong_type(other, field)),
    }
}

fn number(scalar: Scalar<'_>, field: &FieldTarget) -> Result<FieldValue, RowRefusal> {
    let (Scalar::Number(digits) | Scalar::Text(digits)) = &scalar else {
        return Err(match &scalar {
            Scalar::Beyond(beyond) => {
                Kind::NotFinite.of_field(&field.name, format!("{} is no finite number", beyond.as_str()))
            }
            other => wrong_type(other, field),
        });
    };
    let digits = digits.trim();
    let Some((whole, fraction)) = places(digits) else { return Err(wrong_type(&scalar, field)) };
    if field.whole_digits.is_some_and(|most| whole > most) || field.scale.is_some_and(|most| fraction > most) {
        let (most, scale) = (field.whole_digits.unwrap_or(u32::MAX), field.scale.unwrap_or(u32::MAX));
        let limits = match (most, scale) {
            (u32::MAX, scale) => format!("at most {scale} digits after the point"),
            (most, scale) => format!("at most {most} digits before and {scale} after the point"),
        };
        return Err(
            Kind::TooManyDigits.of_field(&field.name, format!("{} has too many digits: {limits}", shown(digits)))
        );
    }
    let digits = match digits.split_once('.') {
        // `places` found only zeros behind the point.
        Some((whole, fraction)) if field.kind == FieldKind::Int && !fraction.contains(['e', 'E']) => whole,
        _ => digits,
    };
    digits.parse::<Number>().map(FieldValue::Number).map_err(|_| wrong_type(&scalar, field))
}

fn out_of_calendar(shown_value: &str, field: &FieldTarget) -> RowRefusal {
    let why = format!("{shown_value} is outside of the target's calendar (years 1700 to 4000)");
    Kind::OutOfCalendar.of_field(&field.name, why)
}

fn moment_of(scalar: &Scalar<'_>, field: &FieldTarget) -> Result<Moment, RowRefusal> {
    use crate::event::calendar::{parse_day, parse_moment};
    let moment = match scalar {
        Scalar::Day(day) => Moment { day: *day, us: 0 },
        Scalar::Moment(moment) => *moment,
        Scalar::Beyond(beyond) => return Err(out_of_calendar(beyond.as_str(), field)),
        Scalar::Text(text) => parse_moment(text)
            .or_else(|| parse_day(text).map(|day| Moment { day, us: 0 }))
            .ok_or_else(|| wrong_type(scalar, field))?,
        other => return Err(wrong_type(other, field)),
    };
    let (year, ..) = moment.day.civil();
    if !(1_700..=4_000).contains(&year) {
        return Err(out_of_calendar(&text_of(scalar, false), field));
    }
    Ok(moment)
}

fn date(scalar: &Scalar<'_>, field: &FieldTarget) -> Result<String, RowRefusal> {
    moment_of(scalar, field).map(|moment| day_text(moment.day))
}

fn datetime(scalar: &Scalar<'_>, field: &FieldTarget) -> Result<String, RowRefusal> {
    let mut text = moment_text(moment_of(scalar, field)?, 3);
    text.push('Z');
    Ok(text)
}

fn time(scalar: &Scalar<'_>, field: &FieldTarget) -> Result<String, RowRefusal> {
    let us = match scalar {
        Scalar::Clock(us) => *us,
        Scalar::Text(text) => match crate::event::calendar::parse_time(text) {
            Some((us, zone_s)) => Moment::at(Day(0), us - zone_s.unwrap_or(0) * 1_000_000).us,
            None => return Err(wrong_type(scalar, field)),
        },
        other => return Err(wrong_type(other, field)),
    };
    if !(0..DAY_US).contains(&us) {
        return Err(Kind::OutOfCalendar.of_field(&field.name, "24:00 is no time of a day for the target"));
    }
    Ok(format!("{}Z", clock_text(us, 3)))
}

fn multi_picklist(items: &[Scalar<'_>], zoned: bool, field: &FieldTarget) -> Result<Cell, RowRefusal> {
    let mut joined = String::new();
    for item in items.iter().filter(|item| **item != Scalar::Null) {
        let text = text_of(item, zoned);
        if text.contains(';') {
            let why = format!("{} holds a ;, which separates the values of a multi-select picklist", shown(&text));
            return Err(Kind::WrongType.of_field(&field.name, why));
        }
        if !joined.is_empty() {
            joined.push(';');
        }
        joined.push_str(&text);
    }
    if joined.is_empty() {
        return null(field);
    }
    check_text(&joined, field)?;
    Ok(Cell::Value(FieldValue::Text(joined.into())))
}

fn check_text(text: &str, field: &FieldTarget) -> Result<(), RowRefusal> {
    if text.contains('\0') {
        return Err(Kind::BadCharacter.of_field(&field.name, "the text holds a NUL character"));
    }
    // A text has no more characters than bytes: most need not be counted.
    let length_max = field.length as usize;
    if length_max > 0 && text.len() > length_max {
        let chars = text.chars().count();
        if chars > length_max {
            let why = format!("the text has {chars} characters, the field takes {length_max}");
            return Err(Kind::TooLong.of_field(&field.name, why));
        }
    }
    if field.picklist.is_some() {
        let values = if field.kind == FieldKind::MultiPicklist { text.split(';').collect() } else { vec![text] };
        if let Some(value) = values.into_iter().find(|value| field.lacks(value)) {
            let why = format!("{} is not in the restricted picklist", shown(value));
            return Err(Kind::NotInPicklist.of_field(&field.name, why));
        }
    }
    Ok(())
}

/// The text of a value; equal for both value modes.
pub(super) fn text_of<'s>(scalar: &'s Scalar<'_>, zoned: bool) -> Cow<'s, str> {
    let zone = if zoned { "Z" } else { "" };
    match scalar {
        Scalar::Null => Cow::Borrowed(""),
        Scalar::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Scalar::Number(text) | Scalar::Text(text) | Scalar::Bytes(text) | Scalar::Json(text) => Cow::Borrowed(text),
        Scalar::Day(day) => Cow::Owned(day_text(*day)),
        Scalar::Clock(us) => Cow::Owned(format!("{}{zone}", clock_text(*us, 0))),
        Scalar::Moment(moment) => Cow::Owned(moment_text(*moment, 0) + zone),
        Scalar::Beyond(beyond) => Cow::Borrowed(beyond.as_str()),
        Scalar::List(items) => Cow::Owned(json_list(items, zoned)),
    }
}

fn json_list(items: &[Scalar<'_>], zoned: bool) -> String {
    let mut json = String::from("[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        match item {
            Scalar::Null => json.push_str("null"),
            Scalar::Bool(_) | Scalar::Number(_) | Scalar::List(_) | Scalar::Json(_) => {
                json.push_str(&text_of(item, zoned))
            }
            other => json.push_str(&serde_json::Value::from(text_of(other, zoned)).to_string()),
        }
    }
    json.push(']');
    json
}

/// `YYYY-MM-DD`; years before 0 and after 9999 with a sign, as ISO 8601 counts them.
fn day_text(day: Day) -> String {
    let (year, month, day) = day.civil();
    let mut text = String::with_capacity(24);
    match year {
        0..=9_999 => push_digits(&mut text, year, 4),
        ..0 => {
            text.push('-');
            text.push_str(&format!("{:04}", -year));
        }
        _ => text.push_str(&format!("+{year}")),
    }
    for part in [month, day] {
        text.push('-');
        push_digits(&mut text, i64::from(part), 2);
    }
    text
}

/// Appends `hh:mm:ss` with at least `places_min` (0 or 3) digits of fraction; 3 cuts to milliseconds, 0 writes as many
/// as there are.
fn push_clock(text: &mut String, us: i64, places_min: usize) {
    let (seconds, fraction) = (us / 1_000_000, us % 1_000_000);
    push_digits(text, seconds / 3_600, 2);
    text.push(':');
    push_digits(text, seconds / 60 % 60, 2);
    text.push(':');
    push_digits(text, seconds % 60, 2);
    if places_min == 3 {
        text.push('.');
        push_digits(text, fraction / 1_000, 3);
    } else if fraction != 0 {
        text.push('.');
        push_digits(text, fraction, 6);
        text.truncate(text.trim_end_matches('0').len());
    }
}

fn clock_text(us: i64, places_min: usize) -> String {
    let mut text = String::with_capacity(16);
    push_clock(&mut text, us, places_min);
    text
}

fn moment_text(moment: Moment, places_min: usize) -> String {
    let mut text = day_text(moment.day);
    text.push('T');
    push_clock(&mut text, moment.us, places_min);
    text
}

/// Appends the last `count` digits of a number that is not negative.
fn push_digits(text: &mut String, number: i64, count: u32) {
    for place in (0..count).rev() {
        text.push(char::from(b'0' + (number / 10_i64.pow(place) % 10) as u8));
    }
}

#[cfg(test)]
#[path = "coerce_tests.rs"]
mod tests;
