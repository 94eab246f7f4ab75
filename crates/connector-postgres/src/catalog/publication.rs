//! The publication: what of which tables the server sends.

use super::table::TableFacts;
use crate::config::PostgresConfig;
use crate::connect::Sql;
use crate::refusal::{Refusal, quoted, quoted_table};
use contract::SourceError;
use model::TableName;
use std::collections::BTreeMap;

/// A publication as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) insert: bool,
    pub(crate) update: bool,
    pub(crate) delete: bool,
    pub(crate) truncate: bool,
    pub(crate) via_root: bool,
    pub(crate) tables: BTreeMap<TableName, PublishedTable>,
}

/// What is sent of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PublishedTable {
    /// Column names; none: all but generated ones (before PostgreSQL 15 there is no choice).
    pub(crate) columns: Option<Vec<String>>,
    /// An SQL condition on the row.
    pub(crate) row_filter: Option<String>,
}

const PUBLICATION_SQL: &str = "\
SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_catalog.pg_publication WHERE pubname = $1";

impl Publication {
    /// Reads a publication; none when there is none of this name.
    pub(crate) async fn load(sql: &Sql, name: &str, version: i32) -> Result<Option<Self>, SourceError> {
        let failed = sql.failed("reading the publication");
        let Some(row) = sql.query_opt(PUBLICATION_SQL, &[&name]).await.map_err(&failed)? else { return Ok(None) };
        let lists = if version >= 150_000 { "attnames::text[], rowfilter" } else { "NULL::text[], NULL::text" };
        let tables_sql = format!(
            "SELECT schemaname::text, tablename::text, {lists} FROM pg_catalog.pg_publication_tables WHERE pubname = $1"
        );
        let mut tables = BTreeMap::new();
        for row in sql.query(&tables_sql, &[&name]).await.map_err(&failed)? {
            let table = TableName { schema: row.try_get(0).map_err(&failed)?, name: row.try_get(1).map_err(&failed)? };
            let columns = row.try_get(2).map_err(&failed)?;
            let row_filter = row.try_get(3).map_err(&failed)?;
            tables.insert(table, PublishedTable { columns, row_filter });
        }
        Ok(Some(Self {
            insert: row.try_get(0).map_err(&failed)?,
            update: row.try_get(1).map_err(&failed)?,
            delete: row.try_get(2).map_err(&failed)?,
            truncate: row.try_get(3).map_err(&failed)?,
            via_root: row.try_get(4).map_err(&failed)?,
            tables,
        }))
    }

    /// What a publication that we make is like.
    pub(crate) fn of_ours(tables: impl IntoIterator<Item = TableName>) -> Self {
        let tables = tables.into_iter().map(|table| (table, PublishedTable::default())).collect();
        Self { insert: true, update: true, delete: true, truncate: true, via_root: true, tables }
    }

    /// The statement that makes it.
    pub(crate) fn create_statement(config: &PostgresConfig) -> String {
        let tables: Vec<String> = config.tables.iter().map(quoted_table).collect();
        format!(
            "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true);",
            quoted(&config.publication),
            tables.join(", ")
        )
    }

    /// The configured tables that it lacks.
    pub(crate) fn missing(&self, facts: &[TableFacts]) -> Vec<TableName> {
        facts.iter().map(|facts| facts.table.clone()).filter(|table| !self.tables.contains_key(table)).collect()
    }

    /// Says why a partitioned table's changes would come under its partitions' names.
    pub(crate) fn partition_refusal(&self, facts: &TableFacts, publication: &str) -> Option<Refusal> {
        (facts.partitioned() && !self.via_root).then(|| {
            Refusal::table(
                "PS2144",
                &facts.table,
                format!(
                    "it is partitioned, and publication {publication:?} publishes its partitions by their own names"
                ),
                format!("ALTER PUBLICATION {} SET (publish_via_partition_root = true);", quoted(publication)),
            )
        })
    }

    /// The statement that adds tables.
    pub(crate) fn add_statement(publication: &str, tables: &[TableName]) -> String {
        let tables: Vec<String> = tables.iter().map(quoted_table).collect();
        format!("ALTER PUBLICATION {} ADD TABLE {};", quoted(publication), tables.join(", "))
    }
}

/// Makes the publication, or adds what it lacks, as far as the configuration allows; returns it with the tables that were
/// not in it before: their earlier changes were never sent.
pub(crate) async fn ensure_publication(
    sql: &Sql,
    config: &PostgresConfig,
    facts: &[TableFacts],
    version: i32,
) -> Result<(Publication, Vec<TableName>), SourceError> {
    let name = &config.publication;
    let place = format!("publication {name}");
    let mut added = Vec::new();
    let found = match Publication::load(sql, name, version).await? {
        Some(found) => found,
        None => {
            let statement = Publication::create_statement(config);
            if !config.create_publication {
                return Err(Refusal::new("PS2140", place, "there is no such publication", statement).into());
            }
            alter(sql, &place, &statement).await?;
            added = config.tables.clone();
            loaded(sql, name, version).await?
        }
    };
    for facts in facts {
        if let Some(refusal) = found.partition_refusal(facts, name) {
            return Err(refusal.into());
        }
    }
    let missing = found.missing(facts);
    if missing.is_empty() {
        return Ok((found, added));
    }
    let statement = Publication::add_statement(name, &missing);
    if !config.create_publication {
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        return Err(Refusal::new("PS2142", place, format!("it lacks {}", names.join(", ")), statement).into());
    }
    alter(sql, &place, &statement).await?;
    added.extend(missing);
    Ok((loaded(sql, name, version).await?, added))
}

async fn loaded(sql: &Sql, name: &str, version: i32) -> Result<Publication, SourceError> {
    let found = Publication::load(sql, name, version).await?;
    found.ok_or_else(|| crate::refusal::transient("PS2140", format!("publication {name} was dropped just now")))
}

async fn alter(sql: &Sql, place: &str, statement: &str) -> Result<(), SourceError> {
    let Err(error) = sql.batch_execute(statement).await else { return Ok(()) };
    if error.code().is_some_and(|code| code.code() == "42501") {
        let cause = error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned());
        let fix = format!("let the tables' owner run: {statement}");
        return Err(Refusal::new("PS2141", place, format!("this role may not make or change it: {cause}"), fix).into());
    }
    Err(sql.failed("making the publication")(error))
}
