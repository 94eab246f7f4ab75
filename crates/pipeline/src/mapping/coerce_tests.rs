use super::*;
use crate::event::value::{Beyond, decode};
use contract::FieldSchema;
use model::ValueMode;

pub(super) fn field(kind: FieldKind) -> FieldTarget {
    FieldTarget::new(&schema(kind))
}

fn schema(kind: FieldKind) -> FieldSchema {
    FieldSchema {
        name: "F__c".into(),
        kind,
        length: 10,
        precision: if kind == FieldKind::Int { 0 } else { 8 },
        scale: if kind == FieldKind::Int { 0 } else { 2 },
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
        picklist: vec!["Open".into(), "Closed".into()],
        picklist_restricted: true,
        master_detail: false,
    }
}

/// The cell's JSON, or the refusal's code.
fn put(raw: &str, kind: ColumnType, into: FieldKind) -> String {
    let scalar = decode(raw.as_bytes(), &kind, ValueMode::Readable).unwrap();
    match coerce(scalar, is_zoned(&kind), &field(into)) {
        Ok(Cell::Value(value)) => serde_json::to_string(&value).unwrap(),
        Ok(Cell::Null) => "null".into(),
        Ok(Cell::Unchanged) => "unchanged".into(),
        Err(refusal) => refusal.code.0.into(),
    }
}

const TEXT: ColumnType = ColumnType::Text { length: None };
const DECIMAL: ColumnType = ColumnType::Decimal { precision: None, scale: None };
const STAMP: ColumnType = ColumnType::Timestamp { precision: 6 };
const STAMP_TZ: ColumnType = ColumnType::TimestampTz { precision: 6 };

#[test]
fn numbers_keep_their_digits_and_are_refused_when_there_are_too_many() {
    for (raw, wanted) in [
        ("\"12.30\"", "12.30"),
        ("\"-0.010\"", "-0.010"),
        ("\"123456.78\"", "123456.78"),
        ("\"0000000.5\"", "PS5301"),
        ("\"1234567\"", "PS5304"),
        ("\"1.234\"", "PS5304"),
        ("\"1.2300000\"", "1.2300000"),
        ("\"NaN\"", "PS5309"),
        ("\"Infinity\"", "PS5309"),
    ] {
        let kind = if raw.contains("0000000.5") { TEXT } else { DECIMAL };
        assert_eq!(put(raw, kind, FieldKind::Double), wanted, "{raw}");
    }
    assert_eq!(put("\"7.000\"", DECIMAL, FieldKind::Int), "7");
    assert_eq!(put("\"7.5\"", DECIMAL, FieldKind::Int), "PS5304");
    assert_eq!(put("9007199254740993", ColumnType::Int64, FieldKind::Int), "9007199254740993");
    assert_eq!(put("1e300", ColumnType::Float64, FieldKind::Double), "PS5304");
}

#[test]
fn text_is_refused_when_too_long_and_never_cut() {
    assert_eq!(put("\"éééééééééé\"", TEXT, FieldKind::Text), "\"éééééééééé\"");
    assert_eq!(put("\"ééééééééééx\"", TEXT, FieldKind::Text), "PS5302");
    assert_eq!(put("\"a\\u0000b\"", TEXT, FieldKind::Text), "PS5306");
    assert_eq!(put("\"\"", TEXT, FieldKind::Text), "null");
    assert_eq!(put("null", TEXT, FieldKind::Text), "null");
    assert_eq!(put("\"12.30\"", DECIMAL, FieldKind::Text), "\"12.30\"");
    assert_eq!(put("true", ColumnType::Bool, FieldKind::Text), "\"true\"");
}

#[test]
fn picklists_take_their_values_in_any_case_and_no_others() {
    assert_eq!(put("\"open\"", TEXT, FieldKind::Picklist), "\"open\"");
    assert_eq!(put("\"Opened\"", TEXT, FieldKind::Picklist), "PS5303");
    let list = || ColumnType::Array { of: Box::new(TEXT) };
    assert_eq!(put("[\"Open\",\"X\"]", list(), FieldKind::MultiPicklist), "PS5303");
    assert_eq!(put("[\"Open\",null]", list(), FieldKind::MultiPicklist), "\"Open\"");
    assert_eq!(put("[\"a;b\"]", list(), FieldKind::MultiPicklist), "PS5301");
    assert_eq!(put("[]", list(), FieldKind::MultiPicklist), "null");
    assert_eq!(put("[\"a\",1]", list(), FieldKind::Text), "\"[\\\"a\\\",1]\"");
}

#[test]
fn dates_and_times_take_the_targets_form_and_calendar() {
    assert_eq!(put("\"2024-02-29T23:59:59.999999\"", STAMP, FieldKind::Datetime), "\"2024-02-29T23:59:59.999Z\"");
    assert_eq!(put("\"2024-02-29T00:30:00+01:00\"", STAMP_TZ, FieldKind::Datetime), "\"2024-02-28T23:30:00.000Z\"");
    assert_eq!(put("\"2024-02-29T23:59:59\"", STAMP, FieldKind::Date), "\"2024-02-29\"");
    assert_eq!(put("\"2024-02-29\"", ColumnType::Date, FieldKind::Datetime), "\"2024-02-29T00:00:00.000Z\"");
    assert_eq!(put("\"13:14:15.5\"", ColumnType::Time { precision: 6 }, FieldKind::Time), "\"13:14:15.500Z\"");
    assert_eq!(put("\"24:00:00\"", ColumnType::Time { precision: 6 }, FieldKind::Time), "PS5305");
    for (raw, kind) in [
        ("\"infinity\"", STAMP),
        ("\"-infinity\"", ColumnType::Date),
        ("\"-0043-03-15\"", ColumnType::Date),
        ("\"1699-12-31T23:59:59\"", STAMP),
        ("\"4001-01-01\"", ColumnType::Date),
        ("\"+12024-01-01\"", ColumnType::Date),
    ] {
        assert_eq!(put(raw, kind, FieldKind::Datetime), "PS5305", "{raw}");
    }
    assert_eq!(put("\"1700-01-01\"", ColumnType::Date, FieldKind::Date), "\"1700-01-01\"");
    assert_eq!(put("\"4000-12-31\"", ColumnType::Date, FieldKind::Date), "\"4000-12-31\"");
}

#[test]
fn text_of_dates_is_that_of_the_readable_mode() {
    for (raw, kind) in [
        ("\"2024-02-29T23:59:59.120\"", STAMP),
        ("\"infinity\"", STAMP),
        ("\"-0043-03-15\"", ColumnType::Date),
        ("\"0000-03-15\"", ColumnType::Date),
        ("\"+12024-01-01\"", ColumnType::Date),
        ("\"01:02:03\"", ColumnType::Time { precision: 6 }),
        ("\"2024-05-06T07:08:09.123456Z\"", STAMP_TZ),
    ] {
        let scalar = decode(raw.as_bytes(), &kind, ValueMode::Readable).unwrap();
        let text = text_of(&scalar, is_zoned(&kind)).into_owned();
        assert_eq!(format!("\"{text}\"").replace(".12\"", ".120\""), raw);
    }
}

#[test]
fn other_types_are_refused_and_null_only_where_it_is_taken() {
    assert_eq!(put("1", ColumnType::Int32, FieldKind::Boolean), "PS5301");
    assert_eq!(put("true", ColumnType::Bool, FieldKind::Double), "PS5301");
    assert_eq!(put("\"x\"", TEXT, FieldKind::Date), "PS5301");
    assert_eq!(put("1", ColumnType::Int32, FieldKind::Date), "PS5301");
    assert_eq!(put("\"x\"", TEXT, FieldKind::Compound), "PS5301");
    let required = FieldTarget { nillable: false, ..field(FieldKind::Text) };
    for scalar in [Scalar::Null, Scalar::Text("".into())] {
        assert_eq!(coerce(scalar, false, &required).unwrap_err().code.0, "PS5313");
    }
    let beyond = coerce(Scalar::Beyond(Beyond::Infinity), false, &field(FieldKind::Boolean));
    assert_eq!(beyond.unwrap_err().code.0, "PS5301");
}
