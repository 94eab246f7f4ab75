//! Reads one chunk: a key range in a transaction of its own, as PostgreSQL's text.

use super::shape::shape_sql;
use super::visibility::VisibleSnapshot;
use crate::connect::Sql;
use crate::refusal::{literal, quoted, quoted_table, transient};
use bytes::{BufMut, Bytes, BytesMut};
use contract::SourceError;
use model::TableName;
use tokio_postgres::error::SqlState;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

/// One fetch from the cursor asks for rows of about this many bytes in all.
const FETCH_BYTES: u64 = 256 << 10;
const FETCH_ROWS_MAX: u64 = 2_000;
/// The first fetch while nobody knows how wide a row is (the catalogue knows nothing of TOASTed values).
const FETCH_ROWS_FIRST: u64 = 16;

/// What to read.
#[derive(Clone, Debug)]
pub(super) struct ChunkQuery<'a> {
    pub(super) table: &'a TableName,
    pub(super) oid: u32,
    /// The columns as they were described; another shape is not read.
    pub(super) fingerprint: String,
    pub(super) partitioned: bool,
    /// Published columns in the table's order.
    pub(super) columns: &'a [String],
    pub(super) key: &'a [String],
    /// The last key of the chunk before.
    pub(super) after: Option<&'a [String]>,
    pub(super) row_filter: Option<&'a str>,
    pub(super) rows_max: u64,
    pub(super) bytes_max: usize,
    /// Of a row of the chunk before.
    pub(super) row_bytes: Option<u64>,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) snapshot: VisibleSnapshot,
    /// As `ChunkRows::rows`.
    pub(super) rows: Bytes,
    pub(super) count: u64,
    /// The key of the last row.
    pub(super) upper: Option<Vec<String>>,
    /// Nothing follows.
    pub(super) last: bool,
}

impl ChunkQuery<'_> {
    /// The statement, without a cursor around it.
    pub(super) fn statement(&self) -> String {
        let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let only = if self.partitioned { "" } else { "ONLY " };
        let key = list(self.key);
        // A literal of unknown type takes the column's type and collation, so that the comparison and the order agree.
        let after = self.after.map(|after| {
            let values: Vec<String> = after.iter().map(|text| literal(text)).collect();
            format!("ROW({key}) > ROW({})", values.join(", "))
        });
        let filter = self.row_filter.map(|filter| format!("({filter})"));
        let conditions: Vec<String> = after.into_iter().chain(filter).collect();
        let conditions =
            if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let columns = list(self.columns);
        format!(
            "SELECT {columns} FROM {only}{}{conditions} ORDER BY {key} LIMIT {}",
            quoted_table(self.table),
            self.rows_max
        )
    }

    /// Reads the chunk; the transaction has ended when it answers. None: the table has another shape now, or is gone.
    pub(super) async fn read(&self, sql: &Sql) -> Result<Option<Chunk>, SourceError> {
        let chunk = self.read_open(sql).await;
        // Also after an error, so that the connection can be used again.
        let ended = sql.batch_execute("ROLLBACK").await.map_err(sql.failed("ending a chunk"));
        let chunk = chunk?;
        ended.map(|()| chunk)
    }

    async fn read_open(&self, sql: &Sql) -> Result<Option<Chunk>, SourceError> {
        let doing = format!("copying table {}", self.table);
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_current_snapshot()::text; {}",
            shape_sql(self.oid)
        );
        let answers = sql.texts(&begin, &doing).await?;
        let snapshot = answers.first().and_then(|text| VisibleSnapshot::parse(text.as_deref()?));
        let snapshot = snapshot.ok_or_else(|| transient("PS2115", "pg_current_snapshot() answered something else"))?;
        if answers.get(1).and_then(Option::as_deref) != Some(self.fingerprint.as_str()) {
            return Ok(None);
        }
        let declare = format!("DECLARE penstock_chunk NO SCROLL CURSOR FOR {}", self.statement());
        if let Err(error) = sql.batch_execute(&declare).await {
            let altered = [SqlState::UNDEFINED_COLUMN, SqlState::UNDEFINED_TABLE];
            // Altered between the look and the statement.
            return match error.code() {
                Some(code) if altered.contains(code) => Ok(None),
                _ => Err(sql.failed(&doing)(error)),
            };
        }
        let key_places: Vec<usize> =
            self.key.iter().filter_map(|name| self.columns.iter().position(|column| column == name)).collect();
        let mut rows = Rows::default();
        let mut row_bytes = self.row_bytes;
        loop {
            let fitting = |bytes: u64| (FETCH_BYTES / bytes.max(1)).clamp(1, FETCH_ROWS_MAX);
            let ask = row_bytes.map_or(FETCH_ROWS_FIRST, fitting);
            let fetch = format!("FETCH FORWARD {ask} FROM penstock_chunk");
            let answer = sql.simple_query(&fetch).await.map_err(sql.failed(&doing))?;
            let got = rows.take(&answer, &key_places, self.columns.len()).map_err(sql.failed(&doing))?;
            let ended = got < ask;
            if ended || rows.bytes.len() >= self.bytes_max {
                let last = ended && rows.count < self.rows_max;
                let (bytes, count, upper) = (rows.bytes.freeze(), rows.count, rows.upper);
                return Ok(Some(Chunk { snapshot, rows: bytes, count, upper, last }));
            }
            row_bytes = Some(rows.bytes.len() as u64 / rows.count.max(1));
        }
    }
}

#[derive(Default)]
struct Rows {
    bytes: BytesMut,
    count: u64,
    upper: Option<Vec<String>>,
}

impl Rows {
    fn take(
        &mut self,
        answer: &[SimpleQueryMessage],
        key_places: &[usize],
        columns: usize,
    ) -> Result<u64, tokio_postgres::Error> {
        let mut last: Option<&SimpleQueryRow> = None;
        let before = self.count;
        for message in answer {
            let SimpleQueryMessage::Row(row) = message else { continue };
            for place in 0..columns {
                match row.try_get(place)? {
                    Some(text) => {
                        self.bytes.put_i32(text.len() as i32);
                        self.bytes.put_slice(text.as_bytes());
                    }
                    None => self.bytes.put_i32(-1),
                }
            }
            self.count += 1;
            last = Some(row);
        }
        if let Some(row) = last {
            let texts = key_places.iter().map(|place| Ok(row.try_get(*place)?.unwrap_or_default().to_owned()));
            self.upper = Some(texts.collect::<Result<_, tokio_postgres::Error>>()?);
        }
        Ok(self.count - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_quotes_names_and_values_and_compares_whole_keys() {
        let table = TableName { schema: "Größe".into(), name: "t\"x".into() };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (columns, key, after) = (names(&["a", "B c"]), names(&["B c", "a"]), names(&["it's", "5"]));
        let mut query = ChunkQuery {
            table: &table,
            oid: 1,
            fingerprint: String::new(),
            partitioned: false,
            columns: &columns,
            key: &key,
            after: Some(&after),
            row_filter: Some("a > 1"),
            rows_max: 10,
            bytes_max: 1,
            row_bytes: None,
        };
        assert_eq!(
            query.statement(),
            r#"SELECT "a", "B c" FROM ONLY "Größe"."t""x" WHERE ROW("B c", "a") > ROW('it''s', '5') AND (a > 1) ORDER BY "B c", "a" LIMIT 10"#
        );
        (query.after, query.row_filter, query.partitioned) = (None, None, true);
        assert_eq!(query.statement(), r#"SELECT "a", "B c" FROM "Größe"."t""x" ORDER BY "B c", "a" LIMIT 10"#);
    }
}
