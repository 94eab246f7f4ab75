//! What Penstock remembers between runs, in one SQLite file.
//!
//! ```text
//! write ──queue, bounded in bytes──▶ writer thread: BEGIN, a savepoint for each write, COMMIT ──▶ answers
//! get, scan ──▶ a reading connection on a blocking thread
//! ```
//!
//! What this crate refuses to know: what the values mean. Invariants:
//! 1. A write is answered only after its transaction is committed with `synchronous = FULL`.
//! 2. Writes that wait while one commits share the next transaction; a refused one is rolled back alone.
//! 3. Several processes may have the file open: every transaction begins `IMMEDIATE`, waits for the others, and a value
//!    is never cached between calls.
//! 4. A file of a newer format, or of another program, is refused and left as it is.

mod answer;
mod format;
mod read;
mod store;
mod write;

pub use store::StateStore;

#[cfg(test)]
mod tests;
