//! What a column's type OID and modifier mean: the word for mapping (`model::ColumnType`) and the way to write its JSON.
//!
//! Built-in types are known by OID. Others (enums, domains, ranges, composites, extensions, and arrays of them) come
//! from the server's catalogue: `TYPE_CATALOGUE_SQL` reads it, `TypeCatalogue` holds it.

use crate::values::{Codec, Unit};
use model::{ColumnType, ErrorCode, ReplicaIdentity, Retry, TableName, ValueMode};
use std::collections::HashMap;
use tokio_postgres::types::{Kind, Type};

/// One row per type that is not built in (OID 16384 and up): oid, schema, name, kind, base oid, base typmod,
/// array element oid, array delimiter, enum labels. `TypeCatalogue::insert_row` takes its rows.
pub const TYPE_CATALOGUE_SQL: &str = "\
SELECT t.oid::int8, n.nspname::text, t.typname::text, t.typtype::text, t.typbasetype::int8, t.typtypmod, \
CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem ELSE 0 END::int8, \
coalesce((SELECT e.typdelim FROM pg_catalog.pg_type e WHERE e.oid = t.typelem), ',')::text, \
(SELECT array_agg(l.enumlabel::text ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid) \
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE t.oid >= 16384";

/// What the catalogue says of a type that is not built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeFacts {
    pub name: String,
    pub kind: TypeKind,
}

/// The kinds of `pg_type.typtype`, as far as they change what a value looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// Labels in their sort order.
    Enum {
        labels: Vec<String>,
    },
    Domain {
        base_oid: u32,
        base_typmod: i32,
    },
    Array {
        element_oid: u32,
        delimiter: u8,
    },
    /// Ranges, composites, extension types: PostgreSQL's text (`hstore`, `citext` and such go by their name).
    Other,
}

/// The types of one database that are not built in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeCatalogue {
    types: HashMap<u32, TypeFacts>,
}

impl TypeCatalogue {
    /// Adds or replaces a type.
    pub fn insert(&mut self, oid: u32, facts: TypeFacts) {
        self.types.insert(oid, facts);
    }

    /// Adds a row of `TYPE_CATALOGUE_SQL`.
    ///
    /// # Errors
    /// The client's error when the row is not of that query.
    pub fn insert_row(&mut self, row: &tokio_postgres::Row) -> Result<(), tokio_postgres::Error> {
        let kind: String = row.try_get(3)?;
        let element_oid: i64 = row.try_get(6)?;
        let delimiter: String = row.try_get(7)?;
        let labels: Option<Vec<String>> = row.try_get(8)?;
        let kind = match (kind.as_str(), labels) {
            ("e", labels) => TypeKind::Enum { labels: labels.unwrap_or_default() },
            ("d", _) => TypeKind::Domain { base_oid: oid(row.try_get(4)?), base_typmod: row.try_get(5)? },
            _ if element_oid != 0 => {
                TypeKind::Array { element_oid: oid(element_oid), delimiter: delimiter.bytes().next().unwrap_or(b',') }
            }
            _ => TypeKind::Other,
        };
        self.insert(oid(row.try_get(0)?), TypeFacts { name: row.try_get(2)?, kind });
        Ok(())
    }

    /// True when every type of these columns (and what those are made of) is known: else read the catalogue again.
    pub fn covers(&self, relation: &RelationDescription) -> bool {
        relation
            .columns
            .iter()
            .all(|column| !matches!(self.resolve(column.type_oid, column.typmod), Resolved::Unknown(_)))
    }

    /// Names a column's type for mapping and checks; a domain is given as its base type.
    pub fn column_type(&self, type_oid: u32, typmod: i32) -> ColumnType {
        self.resolve(type_oid, typmod).column_type()
    }

    /// Chooses how a column's text becomes JSON.
    pub(crate) fn codec(&self, type_oid: u32, typmod: i32, mode: ValueMode) -> Codec {
        self.resolve(type_oid, typmod).codec(mode)
    }

    fn resolve(&self, type_oid: u32, typmod: i32) -> Resolved {
        // Domains over domains over arrays …: PostgreSQL forbids a circle, a stale catalogue must not make one.
        const DEPTH_MAX: u8 = 32;
        self.resolve_within(type_oid, typmod, DEPTH_MAX)
    }

    fn resolve_within(&self, type_oid: u32, typmod: i32, depth: u8) -> Resolved {
        let array = |element: Resolved, delimiter| match element {
            Resolved::Unknown(oid) => Resolved::Unknown(oid),
            known => Resolved::Array { element: Box::new(known), delimiter },
        };
        if depth == 0 {
            return Resolved::Unknown(type_oid);
        }
        if let Some(known) = Type::from_oid(type_oid) {
            return match known.kind() {
                // Their text is not an array literal: `1 2 3`.
                _ if matches!(known, Type::INT2_VECTOR | Type::OID_VECTOR) => Resolved::BuiltIn(known, typmod),
                Kind::Array(element) => {
                    let delimiter = if *element == Type::BOX { b';' } else { b',' };
                    array(self.resolve_within(element.oid(), typmod, depth - 1), delimiter)
                }
                _ => Resolved::BuiltIn(known, typmod),
            };
        }
        match self.types.get(&type_oid) {
            None => Resolved::Unknown(type_oid),
            Some(TypeFacts { kind: TypeKind::Enum { labels }, .. }) => Resolved::Enum(labels.clone()),
            Some(TypeFacts { kind: TypeKind::Domain { base_oid, base_typmod }, .. }) => {
                self.resolve_within(*base_oid, *base_typmod, depth - 1)
            }
            Some(TypeFacts { kind: TypeKind::Array { element_oid, delimiter }, .. }) => {
                array(self.resolve_within(*element_oid, typmod, depth - 1), *delimiter)
            }
            Some(TypeFacts { name, kind: TypeKind::Other }) => Resolved::Named(name.clone()),
        }
    }
}

/// An OID as the query casts it (int8, since SQL clients have no unsigned number).
fn oid(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// A type with domains taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resolved {
    BuiltIn(Type, i32),
    Enum(Vec<String>),
    Array {
        element: Box<Resolved>,
        delimiter: u8,
    },
    /// Not built in, neither enum, domain nor array.
    Named(String),
    /// Neither built in nor in the catalogue.
    Unknown(u32),
}

impl Resolved {
    fn column_type(&self) -> ColumnType {
        let (built_in, typmod) = match self {
            Self::BuiltIn(built_in, typmod) => (built_in, *typmod),
            Self::Enum(labels) => return ColumnType::Enum { labels: labels.clone() },
            Self::Array { element, .. } => return ColumnType::Array { of: Box::new(element.column_type()) },
            Self::Named(name) if name == "citext" => return ColumnType::Text { length: None },
            Self::Named(name) => return ColumnType::Other { name: name.clone() },
            Self::Unknown(oid) => return ColumnType::Other { name: format!("type {oid}") },
        };
        match *built_in {
            Type::BOOL => ColumnType::Bool,
            Type::INT2 => ColumnType::Int16,
            Type::INT4 => ColumnType::Int32,
            Type::INT8 | Type::OID => ColumnType::Int64,
            Type::FLOAT4 => ColumnType::Float32,
            Type::FLOAT8 => ColumnType::Float64,
            Type::NUMERIC => match numeric_modifier(typmod) {
                Some((precision, scale)) => ColumnType::Decimal { precision: Some(precision), scale: Some(scale) },
                None => ColumnType::Decimal { precision: None, scale: None },
            },
            Type::MONEY => ColumnType::Money,
            Type::VARCHAR | Type::BPCHAR => ColumnType::Text { length: character_length(typmod) },
            Type::TEXT => ColumnType::Text { length: None },
            Type::NAME => ColumnType::Text { length: Some(63) },
            Type::CHAR => ColumnType::Text { length: Some(1) },
            Type::UUID => ColumnType::Uuid,
            Type::JSON | Type::JSONB => ColumnType::Json,
            Type::BYTEA => ColumnType::Bytes,
            Type::DATE => ColumnType::Date,
            Type::TIME => ColumnType::Time { precision: fraction_digits(typmod) },
            Type::TIMETZ => ColumnType::TimeTz,
            Type::TIMESTAMP => ColumnType::Timestamp { precision: fraction_digits(typmod) },
            Type::TIMESTAMPTZ => ColumnType::TimestampTz { precision: fraction_digits(typmod) },
            Type::INTERVAL => ColumnType::Interval,
            _ => ColumnType::Other { name: built_in.name().to_owned() },
        }
    }

    fn codec(&self, mode: ValueMode) -> Codec {
        match (self, mode) {
            (Self::Array { element, delimiter }, _) => {
                Codec::Array { element: Box::new(element.codec(mode)), delimiter: *delimiter }
            }
            (Self::Enum(_), _) => Codec::Text,
            (Self::BuiltIn(built_in, _), ValueMode::Readable) => readable_codec(built_in),
            (Self::Named(_) | Self::Unknown(_), ValueMode::Readable) => Codec::Text,
            (Self::BuiltIn(built_in, typmod), ValueMode::Debezium) => debezium_codec(built_in, *typmod),
            (Self::Named(name), ValueMode::Debezium) => match name.as_str() {
                "citext" | "ltree" | "isbn" => Codec::Text,
                "hstore" => Codec::DebeziumHstore,
                _ => Codec::DebeziumOpaque,
            },
            (Self::Unknown(_), ValueMode::Debezium) => Codec::DebeziumOpaque,
        }
    }
}

fn readable_codec(built_in: &Type) -> Codec {
    match *built_in {
        Type::BOOL => Codec::Bool,
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => Codec::Integer,
        Type::FLOAT4 | Type::FLOAT8 => Codec::Float,
        Type::NUMERIC => Codec::Digits,
        Type::MONEY => Codec::MoneyDigits,
        Type::BYTEA => Codec::Base64,
        Type::DATE => Codec::DateIso,
        Type::TIME => Codec::TimeIso,
        Type::TIMETZ => Codec::TimeTzIso,
        Type::TIMESTAMP => Codec::TimestampIso,
        Type::TIMESTAMPTZ => Codec::TimestampTzIso,
        Type::INTERVAL => Codec::IntervalIso,
        _ => Codec::Text,
    }
}

fn debezium_codec(built_in: &Type, typmod: i32) -> Codec {
    match *built_in {
        Type::NUMERIC => match numeric_modifier(typmod) {
            Some((_, scale)) => Codec::DebeziumScaled { scale },
            None => Codec::DebeziumVariable,
        },
        Type::MONEY => Codec::DebeziumMoney,
        Type::DATE => Codec::DebeziumDays,
        Type::TIME => Codec::DebeziumTime(Unit::adaptive(fraction_digits(typmod))),
        Type::TIMETZ => Codec::DebeziumTimeTz,
        Type::TIMESTAMP => Codec::DebeziumTimestamp(Unit::adaptive(fraction_digits(typmod))),
        Type::TIMESTAMPTZ => Codec::DebeziumTimestampTz { digits: fraction_digits(typmod) },
        Type::INTERVAL => Codec::DebeziumInterval,
        Type::BIT | Type::VARBIT if typmod == 1 => Codec::DebeziumBit,
        Type::BIT | Type::VARBIT => Codec::DebeziumBits,
        Type::POINT => Codec::DebeziumPoint,
        Type::BOOL
        | Type::INT2
        | Type::INT4
        | Type::INT8
        | Type::OID
        | Type::FLOAT4
        | Type::FLOAT8
        | Type::BYTEA
        | Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::CHAR
        | Type::NAME
        | Type::UUID
        | Type::JSON
        | Type::JSONB
        | Type::XML
        | Type::INET
        | Type::CIDR
        | Type::MACADDR
        | Type::MACADDR8
        | Type::INT4_RANGE
        | Type::INT8_RANGE
        | Type::NUM_RANGE
        | Type::TS_RANGE
        | Type::TSTZ_RANGE
        | Type::DATE_RANGE
        | Type::TS_VECTOR => readable_codec(built_in),
        _ => Codec::DebeziumOpaque,
    }
}

/// Precision and scale of `numeric(p,s)`.
///
/// Source: PostgreSQL `numeric.c`, `make_numeric_typmod`: `((p << 16) | (s & 0x7ff)) + VARHDRSZ`, the scale in 11 bits
/// with sign from version 15 on (before, it was never negative and below 1024, so the same reading holds).
fn numeric_modifier(typmod: i32) -> Option<(u16, i16)> {
    let packed = typmod.checked_sub(4).filter(|packed| *packed >= 0)?;
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    Some(((packed >> 16) as u16, scale as i16))
}

/// `varchar(n)` and `char(n)` keep n + 4.
fn character_length(typmod: i32) -> Option<u32> {
    u32::try_from(typmod.checked_sub(4)?).ok()
}

/// Fraction digits of times and timestamps; 6 when none are declared.
fn fraction_digits(typmod: i32) -> u8 {
    u8::try_from(typmod).unwrap_or(6).min(6)
}

/// A table's columns as the stream (a Relation message) or the catalogue (a snapshot) describes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationDescription {
    pub relation_id: u32,
    pub table: TableName,
    pub replica_identity: ReplicaIdentity,
    pub columns: Vec<RelationField>,
}

/// One column of a `RelationDescription`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationField {
    pub name: String,
    pub type_oid: u32,
    pub typmod: i32,
    /// Part of the replica identity.
    pub identity: bool,
    /// Declared `NOT NULL` (or part of the primary key). A Relation message does not say; the catalogue does. Only
    /// `ValueMode::Debezium` looks at it: it writes a filler there for what a key-only old row does not carry.
    pub not_null: bool,
}

impl RelationDescription {
    /// Takes a Relation message. `not_null` is false everywhere until `set_not_null` says otherwise.
    pub fn from_message(relation: &crate::pgoutput::Relation<'_>) -> Self {
        let namespace = if relation.namespace.is_empty() { "pg_catalog" } else { relation.namespace };
        Self {
            relation_id: relation.relation_id,
            table: TableName { schema: namespace.to_owned(), name: relation.name.to_owned() },
            replica_identity: relation.replica_identity,
            columns: relation
                .columns
                .iter()
                .map(|column| RelationField {
                    name: column.name.to_owned(),
                    type_oid: column.type_oid,
                    typmod: column.typmod,
                    identity: column.identity,
                    not_null: false,
                })
                .collect(),
        }
    }

    /// Marks the named columns as `NOT NULL`.
    pub fn set_not_null<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            for column in self.columns.iter_mut().filter(|column| column.name == name) {
                column.not_null = true;
            }
        }
    }
}

/// A relation's plan could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PS2002: table {table} has no column {column:?}, which is part of its business key")]
pub struct PlanError {
    pub table: TableName,
    pub column: String,
}

impl PlanError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        ErrorCode("PS2002")
    }

    /// The table or the configuration must change first.
    pub fn retry(&self) -> Retry {
        Retry::AfterOperator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOOD: u32 = 20_000;
    const MOODS: u32 = 20_001;
    const AMOUNT: u32 = 20_002;
    const CODES: u32 = 20_003;
    const LOOP: u32 = 20_004;

    fn catalogue() -> TypeCatalogue {
        let mut catalogue = TypeCatalogue::default();
        let mut add = |oid, kind| catalogue.insert(oid, TypeFacts { name: format!("t{oid}"), kind });
        add(MOOD, TypeKind::Enum { labels: vec!["ok".into()] });
        add(MOODS, TypeKind::Array { element_oid: MOOD, delimiter: b',' });
        add(AMOUNT, TypeKind::Domain { base_oid: Type::NUMERIC.oid(), base_typmod: (10 << 16 | 2) + 4 });
        add(CODES, TypeKind::Domain { base_oid: Type::VARCHAR_ARRAY.oid(), base_typmod: 7 });
        add(LOOP, TypeKind::Domain { base_oid: LOOP, base_typmod: -1 });
        catalogue
    }

    fn relation_of(type_oid: u32) -> RelationDescription {
        RelationDescription {
            relation_id: 1,
            table: TableName { schema: "s".into(), name: "t".into() },
            replica_identity: ReplicaIdentity::Default,
            columns: vec![RelationField { name: "c".into(), type_oid, typmod: -1, identity: true, not_null: false }],
        }
    }

    #[test]
    fn modifiers_give_length_precision_and_scale() {
        let of = |built_in: Type, typmod| catalogue().column_type(built_in.oid(), typmod).to_string();
        assert_eq!(of(Type::VARCHAR, 24), "text(20)");
        assert_eq!(of(Type::VARCHAR, -1), "text");
        assert_eq!(of(Type::NUMERIC, (10 << 16 | 2) + 4), "numeric(10,2)");
        // numeric(5,-2): 11 bits of two's complement.
        assert_eq!(of(Type::NUMERIC, (5 << 16 | 0x7fe) + 4), "numeric(5,-2)");
        assert_eq!(of(Type::NUMERIC, -1), "numeric");
        assert_eq!(catalogue().column_type(Type::TIME.oid(), 3), ColumnType::Time { precision: 3 });
        assert_eq!(catalogue().column_type(Type::TIMESTAMP.oid(), -1), ColumnType::Timestamp { precision: 6 });
        assert_eq!(of(Type::OID, -1), "bigint");
        assert_eq!(of(Type::INT4_RANGE, -1), "int4range");
    }

    #[test]
    fn domains_give_their_base_and_arrays_their_element() {
        let of = |oid| catalogue().column_type(oid, -1);
        assert_eq!(of(AMOUNT), ColumnType::Decimal { precision: Some(10), scale: Some(2) });
        assert_eq!(of(MOODS), ColumnType::Array { of: Box::new(ColumnType::Enum { labels: vec!["ok".into()] }) });
        assert_eq!(of(CODES), ColumnType::Array { of: Box::new(ColumnType::Text { length: Some(3) }) });
    }

    #[test]
    fn type_that_the_catalogue_lacks_is_not_covered_and_a_circle_ends() {
        let catalogue = catalogue();
        for (oid, covered) in [(MOODS, true), (Type::JSONB.oid(), true), (29_999, false), (LOOP, false)] {
            assert_eq!(catalogue.covers(&relation_of(oid)), covered, "{oid}");
        }
        assert_eq!(catalogue.column_type(29_999, -1).to_string(), "type 29999");
    }
}
