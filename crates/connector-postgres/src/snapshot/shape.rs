//! How a table is copied: its columns, its key, the plan to write its rows.

use crate::catalog::{CopyKey, Publication, ServerFacts, TableFacts, copy_key, load_table, load_types};
use crate::column_type::TypeCatalogue;
use crate::connect::Sql;
use crate::envelope::{EventSource, RelationPlan};
use crate::refusal::unwritable;
use contract::SourceError;
use model::TableName;
use std::sync::Arc;

/// A table as it is copied now.
#[derive(Clone, Debug)]
pub(crate) struct CopyShape {
    pub(crate) facts: TableFacts,
    /// Published columns in the table's order.
    pub(crate) columns: Arc<[String]>,
    pub(crate) row_filter: Option<String>,
    pub(crate) key: CopyKey,
    pub(crate) plan: Arc<RelationPlan>,
}

impl CopyShape {
    /// Plans the copy of a table into a stream with this business key.
    ///
    /// # Errors
    /// PS2134 when it has no usable key, PS2002 when it lacks a column of the business key.
    pub(crate) fn of(
        facts: &TableFacts,
        publication: &Publication,
        types: &TypeCatalogue,
        how: &Describing,
        business_key: &[String],
    ) -> Result<Self, SourceError> {
        let key = copy_key(facts, publication)?;
        let published = publication.tables.get(&facts.table).cloned().unwrap_or_default();
        let generated = how.version >= 180_000;
        let shape = facts.description(published.columns.as_deref(), generated);
        let plan = RelationPlan::compile(&shape, types, business_key, &how.source)
            .map_err(|error| unwritable(error.code(), error))?;
        Ok(Self {
            facts: facts.clone(),
            columns: shape.columns.into_iter().map(|column| column.name).collect(),
            row_filter: published.row_filter,
            key,
            plan: Arc::new(plan),
        })
    }

    /// The columns as `SHAPE_SQL` gives them.
    pub(super) fn fingerprint(&self) -> String {
        let columns = self.facts.columns.iter();
        let columns = columns.map(|column| format!("{}:{}:{}", column.name, column.type_oid, column.typmod));
        columns.collect::<Vec<_>>().join(",")
    }
}

/// The columns of a table as they are now, by its oid; nothing when it was dropped.
pub(super) fn shape_sql(oid: u32) -> String {
    format!(
        "SELECT coalesce(string_agg(attname::text || ':' || atttypid::int8 || ':' || atttypmod, ',' ORDER BY attnum), '') \
         FROM pg_catalog.pg_attribute WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped"
    )
}

/// What describing a table anew takes.
#[derive(Clone, Debug)]
pub(crate) struct Describing {
    pub(crate) publication: String,
    pub(crate) version: i32,
    pub(crate) source: EventSource,
}

impl Describing {
    pub(crate) fn new(server: &ServerFacts, publication: &str, source: &EventSource) -> Self {
        Self { publication: publication.to_owned(), version: server.version, source: source.clone() }
    }

    /// Describes a table as it is now; none when it or the publication is gone.
    pub(super) async fn again(
        &self,
        sql: &Sql,
        table: &TableName,
        business_key: &[String],
    ) -> Result<Option<CopyShape>, SourceError> {
        let Some(facts) = load_table(sql, table).await? else { return Ok(None) };
        let Some(publication) = Publication::load(sql, &self.publication, self.version).await? else { return Ok(None) };
        let types = load_types(sql).await?;
        CopyShape::of(&facts, &publication, &types, self, business_key).map(Some)
    }
}
