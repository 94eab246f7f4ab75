//! From a JSON value to a field's value: type, length, list and range checks with Salesforce's codes and sentences.

use super::RowError;
use crate::ids::SfId;
use crate::json::Json;
use crate::schema::{Field, Kind};
use crate::value::{Decimal, Value, parse_date, parse_datetime, parse_time};

/// Values of a multi-select picklist, at most.
const SELECTED_MAX: usize = 100;

/// Converts what a caller sent for `field`.
///
/// Null and empty text are null. Whether the field may be null or written at all is not looked at here, nor whether
/// an id exists.
///
/// # Errors
/// `RowError` as Salesforce words it.
pub fn convert(field: &Field, json: &Json<'_>) -> Result<Value, RowError> {
    match (field.kind, json) {
        (_, Json::Null) => Ok(Value::Null),
        (Kind::Boolean, Json::Bool(value)) => Ok(Value::Bool(*value)),
        (Kind::Boolean, Json::Text(text)) if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
        (Kind::Boolean, Json::Text(text)) if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
        (_, Json::Text(text)) if text.is_empty() && field.kind != Kind::Boolean => Ok(Value::Null),
        (kind, Json::Number(digits)) if kind.is_number() => number(field, json, digits),
        (kind, Json::Text(text)) if kind.is_number() => number(field, json, text.trim()),
        (kind, Json::Text(value)) if kind.is_text() => text(field, value),
        (Kind::Date, Json::Text(text)) => {
            let days = parse_date(text).or_else(|| parse_datetime(text).map(|ms| ms.div_euclid(86_400_000) as i32));
            days.map(Value::Date).ok_or_else(|| wrong_type(field, json))
        }
        (Kind::Datetime, Json::Text(text)) => {
            parse_datetime(text).map(Value::Datetime).ok_or_else(|| wrong_type(field, json))
        }
        (Kind::Time, Json::Text(text)) => parse_time(text).map(Value::Time).ok_or_else(|| wrong_type(field, json)),
        (Kind::Reference | Kind::Id, Json::Text(text)) => SfId::parse(text).map(Value::Id).ok_or_else(|| {
            RowError::on("MALFORMED_ID", format!("{}: id value of incorrect type: {text}", field.label), &field.name)
        }),
        _ => Err(wrong_type(field, json)),
    }
}

fn wrong_type(field: &Field, json: &Json<'_>) -> RowError {
    let value = match json {
        Json::Text(text) => format!(" value {text}"),
        Json::Number(digits) => format!(" value {digits}"),
        Json::Bool(value) => format!(" value {value}"),
        _ => String::new(),
    };
    RowError::on(
        "JSON_PARSER_ERROR",
        format!(
            "Cannot deserialize instance of {} from {}{value} or request may be missing a required field",
            field.kind.word(),
            json.token()
        ),
        &field.name,
    )
}

fn number(field: &Field, json: &Json<'_>, digits: &str) -> Result<Value, RowError> {
    let out_of_range = || {
        RowError::on(
            "NUMBER_OUTSIDE_VALID_RANGE",
            format!("{}: value outside of valid range on numeric field: {digits}", field.label),
            &field.name,
        )
    };
    if field.kind == Kind::Int && digits.contains(['.', 'e', 'E']) {
        return Err(wrong_type(field, json));
    }
    match Decimal::parse(digits, 18, field.scale) {
        None => Err(wrong_type(field, json)),
        Some(Err(_)) => Err(out_of_range()),
        Some(Ok(number)) if number.whole_digits() > u32::from(field.precision - field.scale) => Err(out_of_range()),
        Some(Ok(number)) => Ok(Value::Number(number)),
    }
}

fn text(field: &Field, value: &str) -> Result<Value, RowError> {
    if value.len() > field.length as usize && value.chars().count() > field.length as usize {
        let shown: String = value.chars().take(255).collect();
        return Err(RowError::on(
            "STRING_TOO_LONG",
            format!("{}: data value too large: {shown} (max length={})", field.label, field.length),
            &field.name,
        ));
    }
    match field.kind {
        Kind::Picklist if field.restricted && !field.values.iter().any(|known| known == value) => Err(RowError::on(
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            format!("{}: bad value for restricted picklist field: {value}", field.label),
            &field.name,
        )),
        Kind::MultiPicklist => selected(field, value),
        Kind::Email if !looks_like_email(value) => Err(RowError::on(
            "INVALID_EMAIL_ADDRESS",
            format!("{}: invalid email address: {value}", field.label),
            &field.name,
        )),
        _ => Ok(Value::Text(value.into())),
    }
}

fn selected(field: &Field, value: &str) -> Result<Value, RowError> {
    let chosen: Vec<&str> = value.split(';').map(str::trim).filter(|word| !word.is_empty()).collect();
    if chosen.len() > SELECTED_MAX {
        return Err(RowError::on(
            "TOO_MANY_ENUM_VALUE",
            format!("{}: more than {SELECTED_MAX} values", field.label),
            &field.name,
        ));
    }
    if field.restricted
        && let Some(bad) = chosen.iter().find(|word| !field.values.iter().any(|known| known == *word))
    {
        return Err(RowError::on(
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            format!("{}: bad value for restricted picklist field: {bad}", field.label),
            &field.name,
        ));
    }
    Ok(if chosen.is_empty() { Value::Null } else { Value::Text(chosen.join(";").into()) })
}

fn looks_like_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let good = |part: &str| !part.is_empty() && !part.contains([' ', '@', ',', ';', '<', '>', '"', '\t']);
    good(local) && good(domain) && !domain.starts_with('.') && !domain.ends_with('.') && domain.contains('.')
}

/// Reads the key of an upsert or a relationship from a URL's text; none if it cannot be a value of the field.
pub fn parse_key(field: &Field, text: &str) -> Option<Value> {
    let json = Json::Text(text.into());
    convert(field, &json).ok().filter(|value| !value.is_null())
}
