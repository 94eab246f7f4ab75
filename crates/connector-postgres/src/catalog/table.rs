//! One table as the catalogue describes it now.

use crate::column_type::{RelationDescription, RelationField, TypeCatalogue};
use crate::connect::Sql;
use contract::SourceError;
use model::{Column, ReplicaIdentity, TableName, TableSchema};

/// A table's catalogue facts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TableFacts {
    pub(crate) oid: u32,
    pub(crate) table: TableName,
    /// `pg_class.relkind`: `r` ordinary, `p` partitioned; others cannot be captured.
    pub(crate) kind: u8,
    /// Unlogged and temporary tables write no WAL.
    pub(crate) logged: bool,
    pub(crate) may_select: bool,
    /// A row-level security policy would hide rows from this role.
    pub(crate) hidden_rows: bool,
    pub(crate) identity: ReplicaIdentity,
    pub(crate) columns: Vec<ColumnFacts>,
    pub(crate) primary_key: Vec<String>,
    /// Unique indexes over columns that are all `NOT NULL`, the primary key first; columns in index order.
    pub(crate) unique_keys: Vec<Vec<String>>,
    /// Columns that an old row is sure to carry: of a partitioned table, in every partition.
    pub(crate) identity_columns: Vec<String>,
    pub(crate) rows_estimated: u64,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnFacts {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) typmod: i32,
    pub(crate) not_null: bool,
    pub(crate) generated: bool,
}

impl TableFacts {
    pub(crate) fn partitioned(&self) -> bool {
        self.kind == b'p'
    }

    /// The table for mapping and checks.
    pub(crate) fn schema(&self, types: &TypeCatalogue) -> TableSchema {
        let columns = self.columns.iter().map(|column| Column {
            name: column.name.clone(),
            kind: types.column_type(column.type_oid, column.typmod),
            nullable: !column.not_null,
        });
        TableSchema {
            table: self.table.clone(),
            columns: columns.collect(),
            primary_key: self.primary_key.clone(),
            replica_identity: self.identity,
            identity_columns: self.identity_columns.clone(),
        }
    }

    /// The table's published columns, as a Relation message would describe them. `published`: their names; none: all that
    /// the server publishes by itself. `generated`: whether it publishes generated columns at all (PostgreSQL 18 on;
    /// before, the list of published columns names them and the stream leaves them out).
    pub(crate) fn description(&self, published: Option<&[String]>, generated: bool) -> RelationDescription {
        let columns = self.columns.iter().filter(|column| match published {
            Some(names) => names.contains(&column.name) && (generated || !column.generated),
            None => !column.generated,
        });
        RelationDescription {
            relation_id: self.oid,
            table: self.table.clone(),
            replica_identity: self.identity,
            columns: columns
                .map(|column| RelationField {
                    name: column.name.clone(),
                    type_oid: column.type_oid,
                    typmod: column.typmod,
                    identity: self.identity_columns.contains(&column.name),
                    not_null: column.not_null,
                })
                .collect(),
        }
    }
}

const TABLE_SQL: &str = "\
SELECT c.oid::int8, c.relkind::text, c.relpersistence::text = 'p', has_table_privilege(c.oid, 'SELECT'), \
c.relreplident::text, row_security_active(c.oid) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE n.nspname = $1 AND c.relname = $2";

const COLUMNS_SQL: &str = "\
SELECT a.attname::text, a.atttypid::int8, a.atttypmod, a.attnotnull, a.attgenerated::text <> '' \
FROM pg_catalog.pg_attribute a WHERE a.attrelid::int8 = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// The table's own unique indexes that can tell every row apart.
const KEYS_SQL: &str = "\
SELECT i.indisprimary, (SELECT array_agg(a.attname::text ORDER BY k.place) \
FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place) \
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts) \
FROM pg_catalog.pg_index i WHERE i.indrelid::int8 = $1 AND i.indisunique AND i.indimmediate AND i.indisvalid \
AND i.indpred IS NULL AND i.indexprs IS NULL \
AND NOT EXISTS (SELECT 1 FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place) \
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
WHERE k.place <= i.indnkeyatts AND NOT a.attnotnull) \
ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid";

/// The leaves that hold rows (the table itself unless it is partitioned): identity, its columns, rows.
const LEAVES_SQL: &str = "\
WITH leaves AS (SELECT p.relid FROM pg_catalog.pg_partition_tree($1::int8::oid::regclass) p WHERE p.isleaf \
UNION SELECT $1::int8::oid::regclass WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_partition_tree($1::int8::oid::regclass))) \
SELECT c.relreplident::text, (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_index i \
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[]) \
WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END), \
greatest(c.reltuples, 0)::float8 FROM leaves JOIN pg_catalog.pg_class c ON c.oid = leaves.relid";

/// Reads a table's facts; none when there is no such table.
pub(crate) async fn load_table(sql: &Sql, table: &TableName) -> Result<Option<TableFacts>, SourceError> {
    let doing = format!("describing table {table}");
    let failed = sql.failed(&doing);
    let Some(row) = sql.query_opt(TABLE_SQL, &[&table.schema, &table.name]).await.map_err(&failed)? else {
        return Ok(None);
    };
    let oid: i64 = row.try_get(0).map_err(&failed)?;
    let kind: String = row.try_get(1).map_err(&failed)?;
    let own_identity: String = row.try_get(4).map_err(&failed)?;
    let columns = load_columns(sql, oid, &doing).await?;
    let (primary_key, unique_keys) = load_keys(sql, oid, &doing).await?;
    let leaves = load_leaves(sql, oid, &doing).await?;
    let identity = leaves.iter().fold(None, |found, leaf| weaker(found, &leaf.identity)).unwrap_or(own_identity);
    let names = columns.iter().map(|column| column.name.clone());
    let identity_columns =
        names.filter(|name| !leaves.is_empty() && leaves.iter().all(|leaf| leaf.carries(name))).collect();
    let rows: f64 = leaves.iter().map(|leaf| leaf.rows).sum();
    Ok(Some(TableFacts {
        oid: oid as u32,
        table: table.clone(),
        kind: kind.bytes().next().unwrap_or(b'?'),
        logged: row.try_get(2).map_err(&failed)?,
        may_select: row.try_get(3).map_err(&failed)?,
        hidden_rows: row.try_get(5).map_err(&failed)?,
        identity: identity_of(&identity),
        columns,
        primary_key,
        unique_keys,
        identity_columns,
        rows_estimated: rows as u64,
    }))
}

async fn load_columns(sql: &Sql, oid: i64, doing: &str) -> Result<Vec<ColumnFacts>, SourceError> {
    let failed = sql.failed(doing);
    let rows = sql.query(COLUMNS_SQL, &[&oid]).await.map_err(&failed)?;
    rows.iter()
        .map(|row| {
            Ok(ColumnFacts {
                name: row.try_get(0).map_err(&failed)?,
                type_oid: row.try_get::<_, i64>(1).map_err(&failed)? as u32,
                typmod: row.try_get(2).map_err(&failed)?,
                not_null: row.try_get(3).map_err(&failed)?,
                generated: row.try_get(4).map_err(&failed)?,
            })
        })
        .collect()
}

async fn load_keys(sql: &Sql, oid: i64, doing: &str) -> Result<(Vec<String>, Vec<Vec<String>>), SourceError> {
    let failed = sql.failed(doing);
    let (mut primary_key, mut unique_keys) = (Vec::new(), Vec::new());
    for row in sql.query(KEYS_SQL, &[&oid]).await.map_err(&failed)? {
        let columns: Vec<String> = row.try_get(1).map_err(&failed)?;
        if row.try_get(0).map_err(&failed)? {
            primary_key.clone_from(&columns);
        }
        unique_keys.push(columns);
    }
    Ok((primary_key, unique_keys))
}

struct Leaf {
    identity: String,
    key: Vec<String>,
    rows: f64,
}

impl Leaf {
    fn carries(&self, column: &str) -> bool {
        match self.identity.as_str() {
            "f" => true,
            "n" => false,
            _ => self.key.iter().any(|name| name == column),
        }
    }
}

async fn load_leaves(sql: &Sql, oid: i64, doing: &str) -> Result<Vec<Leaf>, SourceError> {
    let failed = sql.failed(doing);
    let rows = sql.query(LEAVES_SQL, &[&oid]).await.map_err(&failed)?;
    rows.iter()
        .map(|row| {
            Ok(Leaf {
                identity: row.try_get(0).map_err(&failed)?,
                key: row.try_get::<_, Option<Vec<String>>>(1).map_err(&failed)?.unwrap_or_default(),
                rows: row.try_get(2).map_err(&failed)?,
            })
        })
        .collect()
}

/// The identity that promises less: nothing, then index or primary key, then full.
fn weaker(found: Option<String>, other: &str) -> Option<String> {
    let strength = |identity: &str| match identity {
        "n" => 0,
        "f" => 2,
        _ => 1,
    };
    match found {
        Some(found) if strength(&found) <= strength(other) => Some(found),
        _ => Some(other.to_owned()),
    }
}

fn identity_of(letter: &str) -> ReplicaIdentity {
    match letter {
        "f" => ReplicaIdentity::Full,
        "i" => ReplicaIdentity::Index,
        "n" => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    }
}
