//! How much there is in the tables and how often they change: for a plan, before anything is captured.
//!
//! Counts come from the catalogue's statistics where a count would take long; nothing is written or locked, and every statement
//! has a time limit of its own.

use crate::config::PostgresConfig;
use crate::connect::{Endpoint, Sql};
use crate::refusal::{literal, quoted_table};
use contract::SourceError;
use model::TableName;
use serde::Deserialize;
use std::time::Duration;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

/// Of a larger table whole blocks are sampled: reading every row would take long.
const SAMPLED_BY_ROW_MAX: u64 = 2_000_000;

/// How much is in a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableVolume {
    pub table: TableName,
    pub rows: u64,
    /// False: by the catalogue's statistics.
    pub counted: bool,
    /// Rows inserted, updated and deleted since the server's statistics began: the difference of two looks is a rate.
    pub changes: Changes,
}

/// Cumulative counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
}

impl Changes {
    /// What happened since an earlier look; statistics that were reset in between count from zero.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            inserts: self.inserts.checked_sub(earlier.inserts).unwrap_or(self.inserts),
            updates: self.updates.checked_sub(earlier.updates).unwrap_or(self.updates),
            deletes: self.deletes.checked_sub(earlier.deletes).unwrap_or(self.deletes),
        }
    }
}

/// A connection that looks at tables' sizes.
#[derive(Debug)]
pub struct Survey {
    sql: Sql,
    tables: Vec<TableName>,
}

#[derive(Deserialize)]
struct Statistics {
    rows: i64,
    inserts: u64,
    updates: u64,
    deletes: u64,
}

impl Survey {
    /// Connects; no statement of the survey takes longer than `limit`.
    ///
    /// # Errors
    /// `SourceError` when the server cannot be reached or refuses.
    pub async fn connect(config: &PostgresConfig, limit: Duration) -> Result<Self, SourceError> {
        let sql = Sql::connect(&Endpoint::parse(&config.url, config.connect_timeout)?).await?;
        let limits = format!("SET statement_timeout = {}; SET lock_timeout = {}", limit.as_millis(), limit.as_millis());
        sql.batch_execute(&limits).await.map_err(sql.failed("setting a time limit"))?;
        Ok(Self { sql, tables: config.tables.clone() })
    }

    /// Looks at every configured table that is there, in configuration order. A table is counted row by row when its statistics tell of
    /// no more than `count_rows_max` rows, or of none.
    ///
    /// # Errors
    /// `SourceError` when the catalogue cannot be read.
    pub async fn volumes(&self, count_rows_max: u64) -> Result<Vec<TableVolume>, SourceError> {
        let mut volumes = Vec::with_capacity(self.tables.len());
        for table in &self.tables {
            let Some(known) = self.statistics(table).await? else { continue };
            let estimate = u64::try_from(known.rows).ok();
            let counted = match estimate {
                Some(rows) if rows > count_rows_max => None,
                _ => self.count(table).await?,
            };
            let changes = Changes { inserts: known.inserts, updates: known.updates, deletes: known.deletes };
            let rows = counted.or(estimate).unwrap_or_default();
            volumes.push(TableVolume { table: table.clone(), rows, counted: counted.is_some(), changes });
        }
        Ok(volumes)
    }

    /// The statistics of a table and all of its partitions; none when there is no such table. A table that was never
    /// analysed tells less than zero rows.
    async fn statistics(&self, table: &TableName) -> Result<Option<Statistics>, SourceError> {
        let name = literal(&quoted_table(table));
        let statement = format!(
            "SELECT json_build_object(
               'rows', CASE WHEN bool_or(c.reltuples < 0 AND c.relkind = 'r') THEN -1
                            ELSE coalesce(sum(greatest(c.reltuples, 0)) FILTER (WHERE c.relkind = 'r'), 0)::bigint END,
               'inserts', coalesce(sum(s.n_tup_ins), 0), 'updates', coalesce(sum(s.n_tup_upd), 0),
               'deletes', coalesce(sum(s.n_tup_del), 0))
             FROM (SELECT to_regclass({name}) AS oid UNION SELECT relid FROM pg_partition_tree(to_regclass({name}))) t
             JOIN pg_class c ON c.oid = t.oid
             LEFT JOIN pg_stat_user_tables s ON s.relid = t.oid
             HAVING count(*) > 0"
        );
        let text = self.sql.text(&statement, "reading a table's statistics").await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Counts a table; none when that takes too long.
    async fn count(&self, table: &TableName) -> Result<Option<u64>, SourceError> {
        let statement = format!("SELECT count(*) FROM {}", quoted_table(table));
        match self.sql.simple_query(&statement).await {
            Ok(messages) => Ok(messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                _ => None,
            })),
            Err(error) if took_too_long(&error) => Ok(None),
            Err(error) => Err(self.sql.failed("counting a table")(error)),
        }
    }

    /// Reads some rows as JSON objects, all of them when there are no more than `rows_max`; of a larger table some from all over
    /// it. Fewer when the time limit is met.
    ///
    /// # Errors
    /// `SourceError` when the table cannot be read.
    pub async fn sample(&self, volume: &TableVolume, rows_max: u32) -> Result<Vec<String>, SourceError> {
        let table = quoted_table(&volume.table);
        let part = (120.0 * f64::from(rows_max) / volume.rows.max(1) as f64).min(100.0);
        let sampling = match volume.rows {
            rows if rows <= u64::from(rows_max) => String::new(),
            rows if rows > SAMPLED_BY_ROW_MAX => format!(" TABLESAMPLE SYSTEM ({part:.6})"),
            _ => format!(" TABLESAMPLE BERNOULLI ({part:.6})"),
        };
        let statement = format!("SELECT to_json(t)::text FROM {table} AS t{sampling} LIMIT {rows_max}");
        let messages = match self.sql.simple_query(&statement).await {
            Ok(messages) => messages,
            Err(error) if took_too_long(&error) => return Ok(Vec::new()),
            Err(error) => return Err(self.sql.failed("reading a sample")(error)),
        };
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(rows.collect())
    }
}

fn took_too_long(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(code) if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::Changes;

    #[test]
    fn changes_since_a_look_and_after_a_reset() {
        let at = |inserts| Changes { inserts, updates: 5, deletes: 0 };
        assert_eq!(at(12).since(at(10)), Changes { inserts: 2, updates: 0, deletes: 0 });
        assert_eq!(at(3).since(at(10)).inserts, 3);
    }
}
