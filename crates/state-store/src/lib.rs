//! What Penstock remembers: checkpoints, ledgers, indexes, in SQLite
