//! Reads, on connections of their own.

use crate::answer::failed;
use crate::format::{Mode, connect};
use contract::StateError;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::PathBuf;

/// Idle reading connections that are kept; more are opened when more reads run at once.
const IDLE_MAX: usize = 4;

/// The reading connections of one store.
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Makes an empty pool.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
    }

    fn with<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StateError> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, Mode::Read)?,
        };
        let value = read(&connection).map_err(|error| failed(&self.path, &error))?;
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        Ok(value)
    }

    /// Reads one value; blocks.
    pub(crate) fn get(&self, space: &str, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        self.with(|connection| select(connection, space, key))
    }

    /// Reads entries in key order; blocks.
    pub(crate) fn scan(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        self.with(|connection| {
            let sql =
                "SELECT key, value FROM entry WHERE space = ?1 AND key >= ?2 AND (?3 IS NULL OR key > ?3) ORDER BY key";
            // The larger bound decides where the index is entered: of a long prefix range only the rest is walked.
            let from = after.map_or(prefix, |after| after.max(prefix));
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![space, from, after])?;
            let mut found = Vec::new();
            while found.len() < limit
                && let Some(row) = rows.next()?
            {
                let key: String = row.get(0)?;
                if !key.starts_with(prefix) {
                    break;
                }
                found.push((key, row.get(1)?));
            }
            Ok(found)
        })
    }
}

/// Reads one value on any connection.
pub(crate) fn select(connection: &Connection, space: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT value FROM entry WHERE space = ?1 AND key = ?2")?
        .query_row(params![space, key], |row| row.get(0))
        .optional()
}
