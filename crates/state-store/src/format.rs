//! The file's format: one table, its version in `user_version`, our mark in `application_id`.

use crate::answer::{BUSY_WAIT, failed, is_busy, refused};
use contract::StateError;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// The format that this program writes; it reads every one up to it.
pub(crate) const FORMAT_VERSION: i64 = 1;
/// "PENS".
const APPLICATION_ID: i64 = 0x5045_4e53;

/// A table with row ids rather than `WITHOUT ROWID`: a dead letter's value may be large, and large values in the key's
/// own tree would make every look-up walk over their pages. Keys compare as bytes (`BINARY`, the default).
const SCHEMA: &str = "
    CREATE TABLE entry (
        space TEXT NOT NULL,
        key   TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (space, key)
    ) STRICT;
";

/// Between two tries of what SQLite does not wait for itself.
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// Held while a file is made and opened: nobody else of this process has it open when the maker closes it.
static OPENING: Mutex<()> = Mutex::new(());

/// How a connection uses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Makes the file and its table if needed.
    Write,
    Read,
}

/// Opens a connection and checks, or makes, the format.
pub(crate) fn connect(path: &Path, mode: Mode) -> Result<Connection, StateError> {
    let fail = |error: rusqlite::Error| failed(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
        | match mode {
            Mode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Mode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
    let mut connection = {
        let _turn = OPENING.lock();
        if mode == Mode::Write {
            make_private_file(path)?;
        }
        Connection::open_with_flags(path, flags).map_err(fail)?
    };
    if mode == Mode::Write {
        use_wal(&connection, BUSY_WAIT).map_err(fail)?;
    }
    connection.busy_timeout(BUSY_WAIT).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(32);
    if mode == Mode::Write {
        connection.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
        create(&mut connection, path)?;
    }
    check(&connection, path)?;
    Ok(connection)
}

/// SQLite would make the file readable by everybody; it may hold rows of customers. Its WAL takes the same rights.
///
/// A file that is there is not opened: closing it would take away the locks that SQLite holds on it for this process.
fn make_private_file(path: &Path) -> Result<(), StateError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(refused(path, error.to_string())),
        _ => Ok(()),
    }
}

/// Changes the file to a write-ahead log; waits for others. SQLite itself fails at once where two are at the same change, and
/// waits for its own time where the file is locked: here it is asked not to, so that `wait` is all.
pub(crate) fn use_wal(connection: &Connection, wait: Duration) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    for _ in 0..wait.as_millis() / BETWEEN_TRIES.as_millis() {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) => std::thread::sleep(BETWEEN_TRIES),
            done => return done,
        }
    }
    connection.pragma_update(None, "journal_mode", "WAL")
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Makes the table in an empty file. The check stands inside the transaction, so that two processes that begin at the
/// same time make one table.
fn create(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    let fail = |error: rusqlite::Error| failed(path, &error);
    if version(connection).map_err(fail)? != 0 {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    if version(&transaction).map_err(fail)? == 0 && tables == 0 {
        transaction.execute_batch(SCHEMA).map_err(fail)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
        transaction.pragma_update(None, "user_version", FORMAT_VERSION).map_err(fail)?;
    }
    transaction.commit().map_err(fail)
}

fn check(connection: &Connection, path: &Path) -> Result<(), StateError> {
    let fail = |error: rusqlite::Error| failed(path, &error);
    let mark: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fail)?;
    if mark != APPLICATION_ID {
        return Err(refused(path, "it is not a state file of Penstock; name another data folder"));
    }
    let found = version(connection).map_err(fail)?;
    if found > FORMAT_VERSION {
        return Err(StateError::TooNew { path: path.display().to_string(), found, known: FORMAT_VERSION });
    }
    Ok(())
}
