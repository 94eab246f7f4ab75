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

/// Reads `A;B`: each value once, in the order in which the field defines them, unknown ones last.
fn selected(field: &Field, value: &str) -> Result<Value, RowError> {
    let mut chosen: Vec<&str> = Vec::new();
    for word in value.split(';').map(str::trim).filter(|word| !word.is_empty()) {
        if !chosen.contains(&word) && chosen.len() <= SELECTED_MAX {
            chosen.push(word);
        }
    }
    chosen.sort_by_key(|word| field.values.iter().position(|known| known == word).unwrap_or(usize::MAX));
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
    let sign = |letter: char| letter.is_alphanumeric() || "!#$%&'*/=?^_+-`{|}~.".contains(letter);
    let dots = |part: &str| part.starts_with('.') || part.ends_with('.') || part.contains("..");
    let label = |label: &str| {
        let edge = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && !edge && label.chars().all(|letter| letter.is_alphanumeric() || letter == '-')
    };
    let local_fits = !local.is_empty() && local.len() <= 64 && !dots(local) && local.chars().all(sign);
    local_fits && domain.contains('.') && domain.split('.').all(label)
}

/// Reads the key of an upsert or a relationship from a URL's text; none if it cannot be a value of the field.
pub fn parse_key(field: &Field, text: &str) -> Option<Value> {
    let json = Json::Text(text.into());
    convert(field, &json).ok().filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Object;
    use crate::schema::build::{extend, parse_yaml, standard};
    use proptest::prelude::*;

    fn object() -> Object {
        let fields = "
objects:
  All__c:
    fields:
      Text__c: {length: 5}
      Long__c: {type: long_text_area, length: 300}
      Pick__c: {type: picklist, values: [A, B], restricted: true}
      Many__c: {type: multi_picklist, values: [B, A, C], restricted: true}
      Any__c: {type: multi_picklist, values: [B, A]}
      Check__c: {type: checkbox}
      Int__c: {type: int, precision: 4}
      Number__c: {type: number, precision: 6, scale: 2}
      Currency__c: {type: currency}
      Percent__c: {type: percent}
      Date__c: {type: date}
      At__c: {type: datetime}
      Time__c: {type: time}
      Email__c: {type: email}
      Phone__c: {type: phone}
      Url__c: {type: url}
      Account__c: {type: lookup, to: Account}
";
        let base = extend(&[], &standard().unwrap(), 0).unwrap();
        extend(&base, &parse_yaml(fields, "test").unwrap(), 0).unwrap().pop().unwrap()
    }

    /// The stored value as text, or the error's code.
    fn stored(object: &Object, field: &str, json: &str) -> String {
        let field = &object.fields[usize::from(object.field(field).unwrap())];
        match convert(field, &Json::parse(json.as_bytes()).unwrap()) {
            Ok(Value::Null) => "null".into(),
            Ok(value) => value.to_string(),
            Err(error) => {
                assert_eq!(error.fields, [field.name.to_string()]);
                error.code.into_owned()
            }
        }
    }

    #[test]
    fn each_type_takes_its_values_and_refuses_others_with_its_code() {
        let object = object();
        let many: Vec<String> = (0..101).map(|n| format!("v{n}")).collect();
        let many = format!("\"{}\"", many.join(";"));
        let long = format!("\"{}\"", "é".repeat(301));
        for (field, json, expected) in [
            ("Text__c", "\"abcdé\"", "abcdé"),
            ("Text__c", "\"abcdef\"", "STRING_TOO_LONG"),
            ("Text__c", "\"\"", "null"),
            ("Text__c", "1", "JSON_PARSER_ERROR"),
            ("Long__c", &long, "STRING_TOO_LONG"),
            ("Pick__c", "\"A\"", "A"),
            ("Pick__c", "\"D\"", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
            ("Many__c", "\" A ;B;A;\"", "B;A"),
            ("Many__c", "\";\"", "null"),
            ("Many__c", "\"A;D\"", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
            ("Any__c", "\"z;A;y;B\"", "B;A;z;y"),
            ("Any__c", &many, "TOO_MANY_ENUM_VALUE"),
            ("Check__c", "true", "true"),
            ("Check__c", "\"FALSE\"", "false"),
            ("Check__c", "1", "JSON_PARSER_ERROR"),
            ("Int__c", "1234", "1234"),
            ("Int__c", "12345", "NUMBER_OUTSIDE_VALID_RANGE"),
            ("Int__c", "1.5", "JSON_PARSER_ERROR"),
            ("Number__c", "1234.565", "1234.57"),
            ("Number__c", "\"-9999.99\"", "-9999.99"),
            ("Number__c", "10000", "NUMBER_OUTSIDE_VALID_RANGE"),
            ("Number__c", "\"x\"", "JSON_PARSER_ERROR"),
            ("Currency__c", "9999999999999999.99", "9999999999999999.99"),
            ("Percent__c", "12.5", "12.5"),
            ("Date__c", "\"2024-02-29\"", "2024-02-29"),
            ("Date__c", "\"2023-02-29\"", "JSON_PARSER_ERROR"),
            ("At__c", "\"2024-02-29T01:00:00+01:00\"", "2024-02-29T00:00:00.000+0000"),
            ("At__c", "\"noon\"", "JSON_PARSER_ERROR"),
            ("Time__c", "\"13:05:00\"", "13:05:00.000Z"),
            ("Time__c", "\"24:00:00.000Z\"", "JSON_PARSER_ERROR"),
            ("Email__c", "\"o'neil+tag@sub.example.co\"", "o'neil+tag@sub.example.co"),
            ("Phone__c", "\"+44 (0) 20\"", "+44 (0) 20"),
            ("Url__c", "\"example.com\"", "example.com"),
            ("Account__c", "\"x\"", "MALFORMED_ID"),
        ] {
            assert_eq!(stored(&object, field, json), expected, "{field} {json}");
        }
        for bad in ["a", "a@b", "@b.co", "a@.co", "a@b..co", "a b@c.co", "a@b_c.co", ".a@b.co", "a..b@c.co", "a@-b.co"]
        {
            assert_eq!(stored(&object, "Email__c", &format!("\"{bad}\"")), "INVALID_EMAIL_ADDRESS", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_stored_or_refused_and_stored_text_is_stable(field in 0usize..30, text in ".{0,40}") {
            let object = object();
            let field = &object.fields[field % object.fields.len()];
            if let Ok(value) = convert(field, &Json::Text(text.into()))
                && !value.is_null()
                && field.kind != Kind::Address
            {
                let again = convert(field, &Json::Text(value.to_string().into())).unwrap();
                prop_assert_eq!(again, value);
            }
        }
    }
}
