//! The embedded partitioned log: bytes and positions, never a record's inside.
//!
//! ```text
//! root/LOCK                                   one writing process
//! root/<stream>/stream.json                   partitions, retention
//! root/<stream>/<partition>/<first offset>.log    segments: header, frames
//! root/<stream>/<partition>/<first offset>.index  sparse index; can always be made again
//! ```
//!
//! What this crate refuses to know: keys, values, sources, routes. It keeps batches as they were given, whole or not at
//! all, and says from where to where they stand and what of it survives a power cut.
//!
//! Invariants, beside those of `contract::Log`:
//! 1. Nothing that was durable is ever cut: a torn tail is cut only where no frame and no clean mark says that the bytes
//!    had been durable; anything else is `Corrupt`, with file and byte.
//! 2. A segment gets its name only when its header is durable, and only after the segment before it is durable to its end.
//! 3. Index files hold nothing that the segments do not.
//! 4. No lock is held over a sync; readers take none that is held over a write.
//!
//! Limits: one writing process per folder; about 50 open segment files; memory is the cache, the accepted bytes that are
//! not yet durable, and the sparse indexes of the segments that were read (about 12 KB for each).

mod buffers;
mod cache;
mod fault;
mod follower;
mod format;
mod fs;
mod options;
mod partition;
mod pool;
mod scan;
mod shelf;
mod store;
mod stream;
#[cfg(test)]
mod tests;

pub use options::{Codec, LogOptions};
pub use store::LogStore;
