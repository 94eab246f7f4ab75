//! How a log is opened.

use std::fmt;

/// How frames are compressed. A frame that does not shrink is stored as it is, whatever is chosen here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    None,
    /// Costs least; the default.
    #[default]
    Lz4,
    /// Level 1: smaller files for about three times the work.
    Zstd,
}

/// Sizes and limits of a log. The defaults are for one machine with a handful of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment that has reached this size is sealed and a new one begun. A soft limit: what was accepted while the
    /// segment was being sealed still goes into it.
    pub segment_bytes: u64,
    pub codec: Codec,
    /// Decoded frames kept for followers and for re-reads, over all partitions.
    pub cache_bytes: usize,
    /// Accepted bytes per partition that are not yet durable; an appender beyond it waits.
    pub unsynced_bytes_max: u64,
    /// The largest batch, packed; a larger one is refused.
    pub batch_bytes_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            codec: Codec::default(),
            cache_bytes: 16 << 20,
            unsynced_bytes_max: 32 << 20,
            batch_bytes_max: 256 << 20,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::None => "none",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        })
    }
}
