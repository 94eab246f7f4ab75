//! A column's text, as PostgreSQL prints it, to its JSON, in two modes.
//!
//! The session prints with `DateStyle=ISO, IntervalStyle=postgres, TimeZone=UTC, extra_float_digits=3,
//! bytea_output=hex, lc_monetary=C`; the writers here read exactly that. SQL null is JSON `null` everywhere, an unchanged
//! TOASTed column is absent (see `envelope`).
//!
//! # What each type looks like
//!
//! | `ColumnType` | PostgreSQL | `readable` | `debezium` |
//! |---|---|---|---|
//! | `Bool` | boolean | `true`, `false` | the same |
//! | `Int16`, `Int32`, `Int64` | smallint, integer, bigint; oid as `Int64` | number | the same |
//! | `Float32`, `Float64` | real, double precision | number in PostgreSQL's shortest digits; `"NaN"`, `"Infinity"`, `"-Infinity"` | the same |
//! | `Decimal` with precision | numeric(p,s) | string of PostgreSQL's digits, `"12.30"`; `"NaN"`, `"Infinity"`, `"-Infinity"` | base64 of the unscaled number, two's complement, big endian, at scale s; NaN and infinities: `null` |
//! | `Decimal` without | numeric | as above | `{"scale":s,"value":base64}` without trailing zeros, s ≥ 0; NaN and infinities: `null` |
//! | `Money` | money | string of plain digits, `"-1234.50"` | base64 as numeric(_,2) |
//! | `Text` | text, varchar, char(n) (blank-padded), name, "char", citext | string | the same |
//! | `Enum` | enum | string (the label) | the same |
//! | `Uuid` | uuid | string, lower case with hyphens | the same |
//! | `Json` | json, jsonb | string holding the JSON text as PostgreSQL prints it | the same |
//! | `Bytes` | bytea | string, base64 (standard alphabet, padded) | the same |
//! | `Date` | date | `"2024-05-06"`; 44 BC is `"-0043-03-15"` and 1 BC `"0000-…"`, years over 9999 `"+12024-01-01"` (ISO 8601 expanded); `"infinity"`, `"-infinity"` | days since 1970-01-01; infinities: -2147472692, -2147472691 |
//! | `Time` | time(p) | `"13:14:15.123456"`, trailing zeros of the fraction left out; may be `"24:00:00"` | p ≤ 3: milliseconds of the day; else microseconds |
//! | `TimeTz` | timetz | `"13:14:15.5+02:00"`, `"…Z"` at offset zero | string in UTC, `"11:14:15.5Z"` |
//! | `Timestamp` | timestamp(p) | `"2024-05-06T07:08:09.123456"`, years as for date; `"infinity"`, `"-infinity"` | p ≤ 3: epoch milliseconds; else microseconds; infinities: ±9223372036825200000 and -9223372036832400000 µs (a thousandth of it in ms); beyond 64 bits it wraps as Debezium's does |
//! | `TimestampTz` | timestamptz(p) | the same in UTC with `Z` | string in UTC with exactly p fraction digits (6 without p), `"2024-05-06T05:08:09.123456Z"`; `"infinity"`, `"-infinity"` |
//! | `Interval` | interval | ISO 8601 duration, each part with its sign: `"P1Y2M3DT4H5M6.789S"`, `"P-1Y3DT-4H"`, `"PT0S"` | microseconds, a month counted as 30.4375 days, saturating |
//! | `Array` | t[] | array of the element's form, nested by dimension; elements may be `null`; lower bounds other than 1 are not kept | the same |
//! | `Other("bit")`, `Other("varbit")` | bit(n), varbit(n) | string of `0` and `1` | n = 1: boolean; else base64, little endian, without leading zero bits |
//! | `Other("point")` | point | string, `"(1.5,-2.25)"` | `{"x":1.5,"y":-2.25,"wkb":base64,"srid":null}` |
//! | `Other("hstore")` | hstore | string, PostgreSQL's text | string holding a JSON object |
//! | `Other`: xml, inet, cidr, macaddr, macaddr8, ranges, tsvector, ltree, isbn | | string, PostgreSQL's text | the same |
//! | `Other`: every other type (composites, multiranges, pg_lsn, tsquery, box, circle, …) | | string, PostgreSQL's text | base64 of PostgreSQL's text |
//!
//! A domain is written as its base type. Source of the right-hand column: Debezium 3.6.3, PostgreSQL connector, defaults
//! with schemas off and `include.unknown.datatypes=true` (its default would leave such columns out, and Penstock drops no
//! column in silence). Deliberate differences from Debezium, each seen in `cargo xtask debezium-diff`:
//!
//! 1. an unchanged TOASTed column is absent, not `__debezium_unavailable_value`;
//! 2. a null in a column with a default stays `null` (Debezium's JSON converter writes the default instead), and the old
//!    row of a delete under a key-only replica identity never shows a column's default;
//! 3. box, lseg, path, polygon, circle and line are base64 of PostgreSQL's text, not of Java's rendering of it, and
//!    PostGIS and pgvector values are handled like any other unknown type;
//! 4. arrays keep what Debezium loses: the microseconds of time and timetz, NaN beside numbers (Debezium: the whole array
//!    is null), dates BC and infinite (shifted or without their era), several dimensions (nulls), elements of a domain
//!    (base64 of their text); arrays of money, name, interval, bit, xml and point are written, not left out;
//! 5. numeric with a negative scale is written at that scale (Debezium reads numeric(5,-2) as a scale of 2046);
//! 6. tombstones are not written.
//!
//! Bytes that are not UTF-8 (a database in `SQL_ASCII`) stand as U+FFFD and are counted.

mod array;
mod binary;
mod calendar;
mod codec;
mod decimal;
mod hstore;
mod interval;
mod json_text;
mod number;
mod point;
mod temporal;

#[cfg(test)]
mod tests;

pub(crate) use codec::{Codec, Scratch};
pub(crate) use json_text::write_string;
pub(crate) use number::write_number;
pub(crate) use temporal::Unit;

/// A text that is not what its column's type prints. Never holds the value itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its value of {bytes} bytes is no {expected} as PostgreSQL prints it")]
pub struct ValueError {
    pub expected: &'static str,
    pub bytes: usize,
}

impl ValueError {
    #[cold]
    fn of(expected: &'static str, text: &[u8]) -> Self {
        Self { expected, bytes: text.len() }
    }
}
