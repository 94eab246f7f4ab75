//! What a column's type OID and modifier mean: the word for mapping (`model::ColumnType`) and the way to write its JSON.
//!
//! Built-in types are known by OID. Others (enums, domains, ranges, composites, extensions, and arrays of them) come
//! from the server's catalogue: `TYPE_CATALOGUE_SQL` reads it, `TypeCatalogue` holds it.

use model::{ColumnType, ErrorCode, ReplicaIdentity, Retry, TableName};
use std::collections::HashMap;

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
    Enum { labels: Vec<String> },
    Domain { base_oid: u32, base_typmod: i32 },
    Array { element_oid: u32, delimiter: u8 },
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
        let _ = row;
        todo!()
    }

    /// True when every type of these columns (and what those are made of) is known: else read the catalogue again.
    pub fn covers(&self, relation: &RelationDescription) -> bool {
        let _ = relation;
        todo!()
    }

    /// Names a column's type for mapping and checks; a domain is given as its base type.
    pub fn column_type(&self, type_oid: u32, typmod: i32) -> ColumnType {
        let _ = (type_oid, typmod);
        todo!()
    }
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
