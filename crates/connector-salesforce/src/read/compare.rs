//! Does a field hold what a cell would write into it?
//!
//! Says yes only when it is sure: kinds that the org rewrites in ways we do not know are never equal, so their rows are
//! sent again, which is harmless.

use super::{decimal::Decimal, instant};
use crate::DatetimePrecision;
use contract::{FieldKind, FieldSchema};
use model::{Cell, FieldValue};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A value's text: a number's digits, `true`/`false`, the text itself.
pub(crate) fn value_text(value: &FieldValue) -> Cow<'_, str> {
    match value {
        FieldValue::Bool(true) => Cow::Borrowed("true"),
        FieldValue::Bool(false) => Cow::Borrowed("false"),
        FieldValue::Number(number) => Cow::Borrowed(number.as_str()),
        FieldValue::Text(text) => Cow::Borrowed(text),
    }
}

/// A JSON scalar's text; none for null, objects and arrays.
pub(crate) fn raw_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let json = raw.get();
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

/// True when `found`, the field's value in the org, is what writing `cell` would leave there.
pub(crate) fn holds(cell: &Cell, field: &FieldSchema, found: &RawValue, precision: DatetimePrecision) -> bool {
    let is_null = found.get() == "null";
    let value = match cell {
        Cell::Unchanged => return true,
        Cell::Null => return is_null,
        Cell::Value(value) => value,
    };
    let wanted = value_text(value);
    if is_null {
        // The org stores an empty text as null.
        return is_text(field.kind) && wanted.trim().is_empty();
    }
    let Some(found) = raw_text(found) else { return false };
    match field.kind {
        FieldKind::Boolean => wanted.eq_ignore_ascii_case(&found) && matches!(&*found, "true" | "false"),
        FieldKind::Int | FieldKind::Double | FieldKind::Currency => numbers(&wanted, &found, field.scale),
        FieldKind::Date => wanted.len() == 10 && wanted == found,
        FieldKind::Datetime => datetimes(&wanted, &found, precision),
        FieldKind::Time => instant::day_millis(&wanted).is_some_and(|ms| Some(ms) == instant::day_millis(&found)),
        FieldKind::Id | FieldKind::Reference => ids(&wanted, &found),
        FieldKind::MultiPicklist => choices(&wanted) == choices(&found),
        kind if is_text(kind) => texts(&wanted, &found),
        _ => false,
    }
}

/// True when a parent's external id, as the org gives it, is the one that a reference cell names.
pub(crate) fn names(cell: &FieldValue, found: &RawValue) -> bool {
    let Some(text) = raw_text(found) else { return false };
    let wanted = value_text(cell);
    match found.get().starts_with('"') {
        true => !text.is_empty() && texts(&wanted, &text),
        false => numbers(&wanted, &text, u32::MAX >> 1),
    }
}

fn is_text(kind: FieldKind) -> bool {
    matches!(
        kind,
        FieldKind::Text
            | FieldKind::TextArea
            | FieldKind::Email
            | FieldKind::Phone
            | FieldKind::Url
            | FieldKind::Picklist
            | FieldKind::MultiPicklist
    )
}

fn numbers(wanted: &str, found: &str, scale: u32) -> bool {
    match (Decimal::parse(wanted), Decimal::parse(found)) {
        (Some(wanted), Some(found)) => wanted == found || wanted.rounded(scale) == found,
        _ => false,
    }
}

fn datetimes(wanted: &str, found: &str, precision: DatetimePrecision) -> bool {
    let unit = match precision {
        DatetimePrecision::Milliseconds => 1_000_000,
        DatetimePrecision::Seconds => 1_000_000_000,
    };
    match (instant::unix_nanos(wanted), instant::unix_nanos(found)) {
        (Some(wanted), Some(found)) => wanted.div_euclid(unit) == found.div_euclid(unit),
        _ => false,
    }
}

/// The org trims text on both ends and may give line ends in either form.
fn texts(wanted: &str, found: &str) -> bool {
    let (wanted, found) = (wanted.trim(), found.trim());
    wanted == found || (wanted.contains('\n') && wanted.replace("\r\n", "\n") == found.replace("\r\n", "\n"))
}

/// Ids are equal by their first 15 characters; the other three are a checksum.
fn ids(wanted: &str, found: &str) -> bool {
    let short = |id: &str| matches!(id.len(), 15 | 18).then(|| id.get(..15).map(str::to_owned)).flatten();
    short(wanted.trim()).is_some_and(|wanted| Some(wanted) == short(found))
}

fn choices(text: &str) -> BTreeSet<&str> {
    text.split(';').map(str::trim).filter(|choice| !choice.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(kind: FieldKind, scale: u32) -> FieldSchema {
        FieldSchema {
            name: "F".into(),
            kind,
            length: 255,
            precision: 18,
            scale,
            nillable: true,
            defaulted_on_create: false,
            createable: true,
            updateable: true,
            external_id: false,
            id_lookup: false,
            unique: false,
            case_sensitive: false,
            calculated: false,
            reference_to: vec![],
            relationship_name: None,
            picklist: vec![],
            picklist_restricted: false,
            master_detail: false,
        }
    }

    fn same(kind: FieldKind, cell: &str, found: &str) -> bool {
        let found = RawValue::from_string(found.into()).unwrap();
        holds(&Cell::Value(FieldValue::Text(cell.into())), &field(kind, 2), &found, DatetimePrecision::Milliseconds)
    }

    #[test]
    fn text_is_compared_as_the_org_stores_it() {
        assert!(same(FieldKind::Text, " a ", r#""a""#));
        assert!(same(FieldKind::Text, "", "null"));
        assert!(same(FieldKind::TextArea, "a\nb", r#""a\r\nb""#));
        assert!(!same(FieldKind::Text, "a", "null"));
        assert!(!same(FieldKind::Text, "a", r#""A""#));
        assert!(!same(FieldKind::Text, "abc", r#""ab""#));
        assert!(same(FieldKind::MultiPicklist, "b;a", r#""a;b""#));
        assert!(!same(FieldKind::MultiPicklist, "b", r#""a;b""#));
    }

    #[test]
    fn numbers_dates_and_ids_are_compared_by_value() {
        assert!(same(FieldKind::Double, "1.5", "1.50"));
        assert!(same(FieldKind::Currency, "1.005", "1.01"));
        assert!(!same(FieldKind::Double, "1.5", "1.51"));
        assert!(!same(FieldKind::Double, "", "0"));
        assert!(same(FieldKind::Date, "2024-02-29", r#""2024-02-29""#));
        assert!(!same(FieldKind::Date, "2024-02-29T01:00:00Z", r#""2024-02-29""#));
        assert!(same(FieldKind::Datetime, "2024-02-29T01:00:00.123456Z", r#""2024-02-29T01:00:00.123+0000""#));
        assert!(!same(FieldKind::Datetime, "2024-02-29T01:00:00.123Z", r#""2024-02-29T01:00:00.000+0000""#));
        assert!(same(FieldKind::Reference, "001000000000001", r#""001000000000001AAA""#));
        assert!(same(FieldKind::Boolean, "true", "true"));
        assert!(!same(FieldKind::Boolean, "yes", "true"));
    }

    #[test]
    fn kinds_that_are_not_understood_are_never_equal() {
        assert!(!same(FieldKind::Base64, "YQ==", r#""YQ==""#));
        assert!(!same(FieldKind::Other, "a", r#""a""#));
        assert!(!same(FieldKind::Compound, "a", r#"{"a":1}"#));
    }

    #[test]
    fn whole_seconds_are_compared_only_where_the_org_is_known_to_drop_fractions() {
        let found = RawValue::from_string(r#""2024-02-29T01:00:00.000+0000""#.into()).unwrap();
        let cell = Cell::Value(FieldValue::Text("2024-02-29T01:00:00.9Z".into()));
        assert!(holds(&cell, &field(FieldKind::Datetime, 0), &found, DatetimePrecision::Seconds));
        assert!(!holds(&cell, &field(FieldKind::Datetime, 0), &found, DatetimePrecision::Milliseconds));
    }

    #[test]
    fn null_and_unchanged_are_told_apart() {
        let null = RawValue::from_string("null".into()).unwrap();
        let one = RawValue::from_string("1".into()).unwrap();
        let number = field(FieldKind::Double, 0);
        assert!(holds(&Cell::Null, &number, &null, DatetimePrecision::Milliseconds));
        assert!(!holds(&Cell::Null, &number, &one, DatetimePrecision::Milliseconds));
        assert!(holds(&Cell::Unchanged, &number, &one, DatetimePrecision::Milliseconds));
    }

    proptest! {
        #[test]
        fn different_trimmed_texts_are_never_the_same(a in "[a-zA-Z0-9 ]{0,12}", b in "[a-zA-Z0-9 ]{0,12}") {
            let found = serde_json::to_string(&b).unwrap();
            prop_assert_eq!(same(FieldKind::Text, &a, &found), a.trim() == b.trim());
        }

        #[test]
        fn different_numbers_are_never_the_same(a in -100_000i64..100_000, b in -100_000i64..100_000) {
            let text = |n: i64| format!("{n}e-2");
            prop_assert_eq!(same(FieldKind::Double, &text(a), &text(b)), a == b);
        }
    }
}
