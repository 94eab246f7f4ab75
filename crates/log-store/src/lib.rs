//! The embedded partitioned log: bytes and positions
