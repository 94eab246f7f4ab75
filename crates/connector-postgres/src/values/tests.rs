//! Vectors of every type in both modes. The Debezium column was read off Debezium 3.6.3 itself.

use super::Scratch;
use crate::column_type::{TypeCatalogue, TypeFacts, TypeKind};
use model::ValueMode;
use proptest::prelude::*;
use tokio_postgres::types::Type;

const MOOD: u32 = 20_000;
const MOODS: u32 = 20_001;
const PRICE: u32 = 20_002;
const DEEP_PRICE: u32 = 20_003;
const PAIR: u32 = 20_004;
const HSTORE: u32 = 20_005;
const CITEXT: u32 = 20_006;

fn catalogue() -> TypeCatalogue {
    let mut catalogue = TypeCatalogue::default();
    let mut add = |oid, name: &str, kind| catalogue.insert(oid, TypeFacts { name: name.into(), kind });
    add(MOOD, "mood", TypeKind::Enum { labels: vec!["sad".into(), "ok".into()] });
    add(MOODS, "_mood", TypeKind::Array { element_oid: MOOD, delimiter: b',' });
    add(PRICE, "price", TypeKind::Domain { base_oid: Type::NUMERIC.oid(), base_typmod: numeric(10, 2) });
    add(DEEP_PRICE, "deep_price", TypeKind::Domain { base_oid: PRICE, base_typmod: -1 });
    add(PAIR, "pair", TypeKind::Other);
    add(HSTORE, "hstore", TypeKind::Other);
    add(CITEXT, "citext", TypeKind::Other);
    catalogue
}

const fn numeric(precision: i32, scale: i32) -> i32 {
    (precision << 16 | (scale & 0x7ff)) + 4
}

fn write(mode: ValueMode, oid: u32, typmod: i32, text: &[u8]) -> Result<String, super::ValueError> {
    let mut out = Vec::new();
    catalogue().codec(oid, typmod, mode).write(&mut out, text, &mut Scratch::default())?;
    let json = String::from_utf8(out).expect("JSON is UTF-8");
    serde_json::from_str::<serde_json::Value>(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
    Ok(json)
}

/// Each row: the text as PostgreSQL prints it, its JSON in `readable` and in `debezium`.
#[track_caller]
fn assert_vectors(oid: u32, typmod: i32, rows: &[(&str, &str, &str)]) {
    for (text, readable, debezium) in rows {
        let wrote = |mode| write(mode, oid, typmod, text.as_bytes()).unwrap_or_else(|error| error.to_string());
        assert_eq!(wrote(ValueMode::Readable), *readable, "readable of {text}");
        assert_eq!(wrote(ValueMode::Debezium), *debezium, "debezium of {text}");
    }
}

fn assert_built_in(built_in: &Type, typmod: i32, rows: &[(&str, &str, &str)]) {
    assert_vectors(built_in.oid(), typmod, rows);
}

#[test]
fn booleans_integers_and_oids_are_bare() {
    assert_built_in(&Type::BOOL, -1, &[("t", "true", "true"), ("f", "false", "false")]);
    assert_built_in(&Type::INT2, -1, &[("-32768", "-32768", "-32768")]);
    assert_built_in(&Type::INT8, -1, &[("-9223372036854775808", "-9223372036854775808", "-9223372036854775808")]);
    assert_built_in(&Type::OID, -1, &[("4294967295", "4294967295", "4294967295"), ("0", "0", "0")]);
}

#[test]
fn floats_keep_the_shortest_digits_and_name_what_json_cannot() {
    let rows = [
        ("0.1", "0.1", "0.1"),
        ("-0", "-0", "-0"),
        ("1e-45", "1e-45", "1e-45"),
        ("1.7976931348623157e+308", "1.7976931348623157e+308", "1.7976931348623157e+308"),
        ("NaN", "\"NaN\"", "\"NaN\""),
        ("Infinity", "\"Infinity\"", "\"Infinity\""),
        ("-Infinity", "\"-Infinity\"", "\"-Infinity\""),
    ];
    assert_built_in(&Type::FLOAT8, -1, &rows);
    assert_built_in(&Type::FLOAT4, -1, &rows);
}

#[test]
fn numeric_with_scale_keeps_its_digits_or_becomes_unscaled_bytes() {
    assert_built_in(
        &Type::NUMERIC,
        numeric(10, 2),
        &[
            ("12345678.90", "\"12345678.90\"", "\"SZYC0g==\""),
            ("-99999999.99", "\"-99999999.99\"", "\"/av0HAE=\""),
            ("0.01", "\"0.01\"", "\"AQ==\""),
            ("-0.01", "\"-0.01\"", "\"/w==\""),
            ("2.50", "\"2.50\"", "\"APo=\""),
            ("0.00", "\"0.00\"", "\"AA==\""),
            ("5", "\"5\"", "\"AfQ=\""),
            ("NaN", "\"NaN\"", "null"),
            ("Infinity", "\"Infinity\"", "null"),
        ],
    );
    assert_built_in(
        &Type::NUMERIC,
        numeric(38, 10),
        &[(
            "1234567890123456789012345678.0123456789",
            "\"1234567890123456789012345678.0123456789\"",
            "\"CUmw9vACMxPESZBOzGdFFQ==\"",
        )],
    );
    // numeric(5,-2) and numeric(3,5): the scale may lie outside the digits.
    assert_built_in(&Type::NUMERIC, numeric(5, -2), &[("12300", "\"12300\"", "\"ew==\""), ("0", "\"0\"", "\"AA==\"")]);
    assert_built_in(&Type::NUMERIC, numeric(3, 5), &[("0.00123", "\"0.00123\"", "\"ew==\"")]);
}

#[test]
fn numeric_without_scale_becomes_a_struct_without_trailing_zeros() {
    let long = "123456789012345678901234567890.123456789000";
    assert_built_in(
        &Type::NUMERIC,
        -1,
        &[
            (long, &format!("\"{long}\""), "{\"scale\":9,\"value\":\"XODppWAV/sWq36MorjmBFQ==\"}"),
            ("0", "\"0\"", "{\"scale\":0,\"value\":\"AA==\"}"),
            ("100000000000000000000", "\"100000000000000000000\"", "{\"scale\":0,\"value\":\"BWvHXi1jEAAA\"}"),
            ("-123.450", "\"-123.450\"", "{\"scale\":2,\"value\":\"z8c=\"}"),
            ("0.00000000000000000001", "\"0.00000000000000000001\"", "{\"scale\":20,\"value\":\"AQ==\"}"),
            ("NaN", "\"NaN\"", "null"),
        ],
    );
}

#[test]
fn money_is_plain_digits_or_a_decimal_of_scale_two() {
    assert_built_in(
        &Type::MONEY,
        -1,
        &[
            ("$1,234,567.89", "\"1234567.89\"", "\"B1vNFQ==\""),
            ("-$0.01", "\"-0.01\"", "\"/w==\""),
            ("-$92,233,720,368,547,758.08", "\"-92233720368547758.08\"", "\"gAAAAAAAAAA=\""),
        ],
    );
    let text = "1.234,50 €";
    assert_eq!(write(ValueMode::Readable, Type::MONEY.oid(), -1, text.as_bytes()), Ok(format!("\"{text}\"")));
    assert!(write(ValueMode::Debezium, Type::MONEY.oid(), -1, text.as_bytes()).is_err());
}

#[test]
fn texts_are_strings_in_both_modes() {
    let types = [
        Type::TEXT,
        Type::VARCHAR,
        Type::BPCHAR,
        Type::CHAR,
        Type::NAME,
        Type::UUID,
        Type::JSON,
        Type::JSONB,
        Type::XML,
        Type::INET,
        Type::CIDR,
        Type::MACADDR,
        Type::MACADDR8,
        Type::INT4_RANGE,
        Type::TSTZ_RANGE,
        Type::TS_VECTOR,
    ];
    for built_in in types {
        assert_built_in(
            &built_in,
            -1,
            &[
                ("", "\"\"", "\"\""),
                ("ab   ", "\"ab   \"", "\"ab   \""),
                ("q\" b\\ n\n t\t \u{7}", "\"q\\\" b\\\\ n\\n t\\t \\u0007\"", "\"q\\\" b\\\\ n\\n t\\t \\u0007\""),
                ("ünïcödé 🚀", "\"ünïcödé 🚀\"", "\"ünïcödé 🚀\""),
            ],
        );
    }
    assert_vectors(MOOD, -1, &[("it's \"great\"", "\"it's \\\"great\\\"\"", "\"it's \\\"great\\\"\"")]);
    assert_vectors(CITEXT, -1, &[("CiText", "\"CiText\"", "\"CiText\"")]);
}

#[test]
fn domains_are_written_as_their_base_type() {
    assert_vectors(PRICE, -1, &[("19.99", "\"19.99\"", "\"B88=\"")]);
    assert_vectors(DEEP_PRICE, -1, &[("5.50", "\"5.50\"", "\"AiY=\"")]);
}

#[test]
fn types_that_debezium_does_not_know_are_text_or_its_base64() {
    assert_vectors(PAIR, -1, &[("(1,\"x y\")", "\"(1,\\\"x y\\\")\"", "\"KDEsInggeSIp\"")]);
    assert_built_in(&Type::PG_LSN, -1, &[("16/B374D848", "\"16/B374D848\"", "\"MTYvQjM3NEQ4NDg=\"")]);
    assert_built_in(&Type::INT4MULTI_RANGE, -1, &[("{[1,3),[5,8)}", "\"{[1,3),[5,8)}\"", "\"e1sxLDMpLFs1LDgpfQ==\"")]);
}

#[test]
fn bytea_is_base64() {
    assert_built_in(
        &Type::BYTEA,
        -1,
        &[("\\x00ff10deadbeef", "\"AP8Q3q2+7w==\"", "\"AP8Q3q2+7w==\""), ("\\x", "\"\"", "\"\"")],
    );
}

#[test]
fn bit_strings_are_digits_or_little_endian_bytes() {
    assert_built_in(&Type::BIT, 1, &[("1", "\"1\"", "true"), ("0", "\"0\"", "false")]);
    assert_built_in(&Type::BIT, 3, &[("101", "\"101\"", "\"BQ==\""), ("000", "\"000\"", "\"\"")]);
    assert_built_in(&Type::BIT, 20, &[("10000000000000000001", "\"10000000000000000001\"", "\"AQAI\"")]);
    assert_built_in(&Type::VARBIT, -1, &[("1011", "\"1011\"", "\"Cw==\""), ("", "\"\"", "\"\"")]);
    assert_built_in(&Type::VARBIT, 1, &[("1", "\"1\"", "true")]);
    let long = "100000000000000000000000000000001";
    assert_built_in(&Type::VARBIT, 33, &[(long, &format!("\"{long}\""), "\"AQAAAAE=\"")]);
}

#[test]
fn dates_reach_from_4713_bc_to_infinity() {
    assert_built_in(
        &Type::DATE,
        -1,
        &[
            ("2024-05-06", "\"2024-05-06\"", "19849"),
            ("0001-01-01", "\"0001-01-01\"", "-719162"),
            ("0001-12-31 BC", "\"0000-12-31\"", "-719163"),
            ("0044-03-15 BC", "\"-0043-03-15\"", "-735160"),
            ("4713-01-01 BC", "\"-4712-01-01\"", "-2440550"),
            ("12024-01-01", "\"+12024-01-01\"", "3672148"),
            ("5874897-12-31", "\"+5874897-12-31\"", "2145042905"),
            ("infinity", "\"infinity\"", "-2147472692"),
            ("-infinity", "\"-infinity\"", "-2147472691"),
        ],
    );
}

#[test]
fn times_are_text_or_units_by_precision() {
    let rows = [
        ("13:14:15.123456", "\"13:14:15.123456\"", "47655123456"),
        ("24:00:00", "\"24:00:00\"", "86400000000"),
        ("00:00:00", "\"00:00:00\"", "0"),
    ];
    assert_built_in(&Type::TIME, -1, &rows);
    assert_built_in(&Type::TIME, 6, &rows);
    assert_built_in(&Type::TIME, 3, &[("13:14:15.123", "\"13:14:15.123\"", "47655123")]);
    assert_built_in(&Type::TIME, 0, &[("13:14:15", "\"13:14:15\"", "47655000")]);
}

#[test]
fn times_with_zone_keep_their_offset_or_move_to_utc() {
    assert_built_in(
        &Type::TIMETZ,
        -1,
        &[
            ("13:14:15.123456+02", "\"13:14:15.123456+02:00\"", "\"11:14:15.123456Z\""),
            ("13:14:15.12-05:30", "\"13:14:15.12-05:30\"", "\"18:44:15.12Z\""),
            ("00:00:00+00", "\"00:00:00Z\"", "\"00:00:00Z\""),
            ("00:30:00+01", "\"00:30:00+01:00\"", "\"23:30:00Z\""),
            ("24:00:00+00", "\"24:00:00Z\"", "\"00:00:00Z\""),
            ("10:00:00.000001-15:59:59", "\"10:00:00.000001-15:59:59\"", "\"01:59:59.000001Z\""),
        ],
    );
}

#[test]
fn timestamps_are_iso_or_epoch_units_by_precision() {
    assert_built_in(
        &Type::TIMESTAMP,
        -1,
        &[
            ("2024-05-06 07:08:09.123456", "\"2024-05-06T07:08:09.123456\"", "1714979289123456"),
            ("1969-12-31 23:59:59.9999", "\"1969-12-31T23:59:59.9999\"", "-100"),
            ("0044-03-15 12:00:00 BC", "\"-0043-03-15T12:00:00\"", "-63517780800000000"),
            ("294276-12-31 23:59:59.999999", "\"+294276-12-31T23:59:59.999999\"", "-9223372036853775810"),
            ("infinity", "\"infinity\"", "9223372036825200000"),
            ("-infinity", "\"-infinity\"", "-9223372036832400000"),
        ],
    );
    assert_built_in(
        &Type::TIMESTAMP,
        3,
        &[
            ("2024-05-06 07:08:09.123", "\"2024-05-06T07:08:09.123\"", "1714979289123"),
            ("1969-12-31 23:59:59.999", "\"1969-12-31T23:59:59.999\"", "-1"),
            ("0044-03-15 12:00:00.5 BC", "\"-0043-03-15T12:00:00.5\"", "-63517780799500"),
            ("infinity", "\"infinity\"", "9223372036825200"),
            ("-infinity", "\"-infinity\"", "-9223372036832400"),
        ],
    );
    assert_built_in(&Type::TIMESTAMP, 4, &[("2024-05-06 07:08:09", "\"2024-05-06T07:08:09\"", "1714979289000000")]);
}

#[test]
fn timestamps_with_zone_are_in_utc_with_as_many_digits_as_declared() {
    assert_built_in(
        &Type::TIMESTAMPTZ,
        -1,
        &[
            ("2024-05-06 05:08:09.123456+00", "\"2024-05-06T05:08:09.123456Z\"", "\"2024-05-06T05:08:09.123456Z\""),
            ("2024-01-01 10:00:00.1+00", "\"2024-01-01T10:00:00.1Z\"", "\"2024-01-01T10:00:00.100000Z\""),
            ("0001-01-01 00:00:00+00", "\"0001-01-01T00:00:00Z\"", "\"0001-01-01T00:00:00.000000Z\""),
            ("0044-03-15 12:00:00+00 BC", "\"-0043-03-15T12:00:00Z\"", "\"-0043-03-15T12:00:00.000000Z\""),
            ("12024-01-01 00:00:00+00", "\"+12024-01-01T00:00:00Z\"", "\"+12024-01-01T00:00:00.000000Z\""),
            // Not from a session in UTC: still the right instant.
            ("2024-01-01 00:30:00.5+02", "\"2023-12-31T22:30:00.5Z\"", "\"2023-12-31T22:30:00.500000Z\""),
            ("1883-11-18 12:00:00-00:53:28", "\"1883-11-18T12:53:28Z\"", "\"1883-11-18T12:53:28.000000Z\""),
            ("infinity", "\"infinity\"", "\"infinity\""),
        ],
    );
    assert_built_in(
        &Type::TIMESTAMPTZ,
        3,
        &[("2024-05-06 10:38:09.12+00", "\"2024-05-06T10:38:09.12Z\"", "\"2024-05-06T10:38:09.120Z\"")],
    );
    assert_built_in(
        &Type::TIMESTAMPTZ,
        0,
        &[("2024-05-06 07:08:09+00", "\"2024-05-06T07:08:09Z\"", "\"2024-05-06T07:08:09Z\"")],
    );
}

#[test]
fn intervals_are_durations_with_signs_or_microseconds() {
    assert_built_in(
        &Type::INTERVAL,
        -1,
        &[
            ("1 year 2 mons 3 days 04:05:06.789012", "\"P1Y2M3DT4H5M6.789012S\"", "37091106789012"),
            ("-1 years -2 mons +3 days -04:05:06.789", "\"P-1Y-2M3DT-4H-5M-6.789S\"", "-36572706789000"),
            ("00:00:00", "\"PT0S\"", "0"),
            ("1 mon", "\"P1M\"", "2629800000000"),
            ("-1 days -00:00:00.000001", "\"P-1DT-0.000001S\"", "-86400000001"),
            ("00:00:00.5", "\"PT0.5S\"", "500000"),
            ("00:00:00.05", "\"PT0.05S\"", "50000"),
            ("100000:00:00", "\"PT100000H\"", "360000000000000"),
            ("1 year -1 days", "\"P1Y-1D\"", "31471200000000"),
            ("-3 mons +5 days 10:11:12.123456", "\"P-3M5DT10H11M12.123456S\"", "-7420727876544"),
            ("-178000000 years", "\"P-178000000Y\"", "-9223372036854775808"),
            ("178956970 years 7 mons", "\"P178956970Y7M\"", "9223372036854775807"),
            ("infinity", "\"infinity\"", "9223372036854775807"),
        ],
    );
}

#[test]
fn points_are_text_or_a_struct_with_well_known_binary() {
    assert_built_in(
        &Type::POINT,
        -1,
        &[(
            "(1.5,-2.25)",
            "\"(1.5,-2.25)\"",
            "{\"x\":1.5,\"y\":-2.25,\"wkb\":\"AQEAAAAAAAAAAAD4PwAAAAAAAALA\",\"srid\":null}",
        )],
    );
}

#[test]
fn hstore_is_text_or_a_string_of_json() {
    assert_vectors(
        HSTORE,
        -1,
        &[
            (
                r#""a"=>"1", "b c"=>NULL, "q\"uote"=>"v\\alue""#,
                r#""\"a\"=>\"1\", \"b c\"=>NULL, \"q\\\"uote\"=>\"v\\\\alue\"""#,
                r#""{\"a\":\"1\",\"b c\":null,\"q\\\"uote\":\"v\\\\alue\"}""#,
            ),
            ("", "\"\"", "\"{}\""),
        ],
    );
}

#[test]
fn arrays_nest_quote_and_hold_nulls() {
    assert_built_in(
        &Type::INT4_ARRAY,
        -1,
        &[
            ("{1,NULL,-3}", "[1,null,-3]", "[1,null,-3]"),
            ("{}", "[]", "[]"),
            ("{{1,2},{3,NULL}}", "[[1,2],[3,null]]", "[[1,2],[3,null]]"),
            ("[0:1]={7,8}", "[7,8]", "[7,8]"),
            ("[2:2][-1:0]={{7,8}}", "[[7,8]]", "[[7,8]]"),
        ],
    );
    let texts = r#"["a","b c","q\"q","back\\slash",null,"NULL","",", {}"]"#;
    assert_built_in(
        &Type::TEXT_ARRAY,
        -1,
        &[(r#"{a,"b c","q\"q","back\\slash",NULL,"NULL","",", {}"}"#, texts, texts)],
    );
    assert_vectors(MOODS, -1, &[("{sad,NULL}", "[\"sad\",null]", "[\"sad\",null]")]);
    assert_built_in(
        &Type::NUMERIC_ARRAY,
        numeric(10, 2),
        &[("{1.50,2.25,NULL}", "[\"1.50\",\"2.25\",null]", "[\"AJY=\",\"AOE=\",null]")],
    );
    assert_built_in(&Type::BYTEA_ARRAY, -1, &[(r#"{"\\x00ff",NULL}"#, "[\"AP8=\",null]", "[\"AP8=\",null]")]);
    assert_built_in(
        &Type::TIMESTAMP_ARRAY,
        3,
        &[(r#"{"2024-05-06 07:08:09.123"}"#, "[\"2024-05-06T07:08:09.123\"]", "[1714979289123]")],
    );
    assert_built_in(
        &Type::BOX_ARRAY,
        -1,
        &[(
            "{(3,4),(1,2);(1,1),(0,0)}",
            "[\"(3,4),(1,2)\",\"(1,1),(0,0)\"]",
            "[\"KDMsNCksKDEsMik=\",\"KDEsMSksKDAsMCk=\"]",
        )],
    );
    assert_built_in(&Type::INT2_VECTOR, -1, &[("1 2 3", "\"1 2 3\"", "\"MSAyIDM=\"")]);
}

#[test]
fn text_that_is_not_of_its_type_is_refused_without_showing_it() {
    let cases: &[(&Type, &[&str])] = &[
        (&Type::BOOL, &["", "true", "tf"]),
        (&Type::INT4, &["", "-", "+1", "01", "1.5", "1e3", "secret"]),
        (&Type::FLOAT8, &["", "nan", "1.", ".5", "+1", "0x1"]),
        (&Type::NUMERIC, &["", ".5", "1e5", "1,5", "--1"]),
        (&Type::DATE, &["", "2024-5-6", "2024-13-01", "2024-00-01", "2024-05-06 AD", "20240506"]),
        (&Type::TIME, &["", "25:00:00", "1:2:3", "10:00:00.1234567"]),
        (&Type::TIMETZ, &["10:00:00", "10:00:00Z"]),
        (&Type::TIMESTAMP, &["2024-05-06", "2024-05-06T07:08:09", "2024-05-06 07:08:09+00"]),
        (&Type::TIMESTAMPTZ, &["2024-05-06 07:08:09", "2024-05-06 07:08:09+"]),
        (&Type::INTERVAL, &["", "1", "1 fortnight", "1:2", "1 day 01:00:00 ago"]),
        (&Type::BYTEA, &["", "\\xabc", "\\xzz", "abc"]),
        (
            &Type::INT4_ARRAY,
            &["", "{", "{1", "{1,}", "{,1}", "{1}}", "{1}{2}", "1", "{x}", "{\"1}", "[1:2", "{{{{{{{1}}}}}}}"],
        ),
    ];
    for (built_in, texts) in cases {
        for text in *texts {
            let error = write(ValueMode::Readable, built_in.oid(), -1, text.as_bytes());
            let error = error.expect_err(&format!("{built_in} {text:?}")).to_string();
            assert!(text.is_empty() || text.len() < 6 || !error.contains(text), "{error}");
        }
    }
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_and_counted() {
    let (mut out, mut scratch) = (Vec::new(), Scratch::default());
    let codec = catalogue().codec(Type::TEXT_ARRAY.oid(), -1, ValueMode::Readable);
    codec.write(&mut out, b"{caf\xe9,ok}", &mut scratch).expect("written");
    assert_eq!(String::from_utf8(out).expect("UTF-8"), "[\"caf\u{fffd}\",\"ok\"]");
    assert_eq!(scratch.invalid_utf8, 1);
}

/// A PostgreSQL array literal of texts, as `array_out` quotes it.
fn array_literal(elements: &[Option<String>]) -> String {
    let quoted = elements.iter().map(|element| match element {
        None => "NULL".to_owned(),
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    });
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

fn any_codec() -> impl Strategy<Value = (u32, i32)> {
    let oids: Vec<u32> = (16..6200).filter(|oid| Type::from_oid(*oid).is_some()).chain(MOOD..=CITEXT).collect();
    (prop::sample::select(oids), prop_oneof![Just(-1), 0i32..8, Just(numeric(10, 2)), any::<i32>()])
}

proptest! {
    #[test]
    fn text_arrays_come_back_from_a_json_parser(elements: Vec<Option<String>>) {
        let json = write(ValueMode::Readable, Type::TEXT_ARRAY.oid(), -1, array_literal(&elements).as_bytes());
        let parsed: Vec<Option<String>> = serde_json::from_str(&json.expect("written")).expect("JSON");
        prop_assert_eq!(parsed, elements);
    }

    #[test]
    fn bytea_comes_back_from_base64(bytes: Vec<u8>) {
        use base64::Engine;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let json = write(ValueMode::Debezium, Type::BYTEA.oid(), -1, format!("\\x{hex}").as_bytes()).expect("written");
        let text: String = serde_json::from_str(&json).expect("JSON");
        prop_assert_eq!(base64::engine::general_purpose::STANDARD.decode(text).expect("base64"), bytes);
    }

    #[test]
    fn any_bytes_of_any_type_give_json_or_an_error(
        (oid, typmod) in any_codec(),
        text in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[-+0-9:. BC{}\",\\\\=>()xTZefniatyNULsmodr]{0,40}".prop_map(String::into_bytes),
        ],
        debezium: bool,
    ) {
        let mode = if debezium { ValueMode::Debezium } else { ValueMode::Readable };
        // `write` parses what comes out.
        let _ = write(mode, oid, typmod, &text);
    }
}
