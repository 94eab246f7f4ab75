//! Files of jobs: compressed as they come, in memory up to a limit that all files share, beyond it in a file without a name.
//!
//! ```text
//! write → open chunk ─ full ─▶ LZ4 ─┬▶ memory, while all blobs together stay below the limit
//!                                   └▶ temporary file of this blob, gone with it
//! ```

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Large enough to compress well, small enough to be held by each of many readers.
const CHUNK_BYTES: usize = 256 * 1024;

/// The memory that all blobs of an org may take together.
#[derive(Debug)]
pub struct Spool {
    memory_bytes_max: usize,
    used: AtomicUsize,
}

impl Spool {
    /// Makes the limit.
    pub fn new(memory_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { memory_bytes_max, used: AtomicUsize::new(0) })
    }

    /// Compressed bytes in memory.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
enum Chunk {
    Memory(Box<[u8]>),
    File { offset: u64, bytes: usize },
}

/// A file; written once from the front, read from any place.
#[derive(Debug)]
pub struct Blob {
    spool: Arc<Spool>,
    chunks: Vec<Chunk>,
    /// Where each chunk begins in the uncompressed text.
    starts: Vec<u64>,
    open: Vec<u8>,
    sealed_bytes: u64,
    file: Option<File>,
    file_bytes: u64,
    chunk_bytes: usize,
}

impl Blob {
    /// Makes an empty one.
    pub fn new(spool: &Arc<Spool>) -> Self {
        Self::with_chunks(spool, CHUNK_BYTES)
    }

    /// Makes an empty one whose pieces have this size.
    pub fn with_chunks(spool: &Arc<Spool>, chunk_bytes: usize) -> Self {
        Self {
            chunk_bytes,
            spool: spool.clone(),
            chunks: Vec::new(),
            starts: Vec::new(),
            open: Vec::new(),
            sealed_bytes: 0,
            file: None,
            file_bytes: 0,
        }
    }

    /// Makes one that holds `bytes`.
    ///
    /// # Errors
    /// As `write`.
    pub fn of(spool: &Arc<Spool>, bytes: &[u8]) -> io::Result<Self> {
        let mut blob = Self::new(spool);
        blob.write(bytes)?;
        Ok(blob)
    }

    /// Uncompressed bytes.
    pub fn len(&self) -> u64 {
        self.sealed_bytes + self.open.len() as u64
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// When the temporary file cannot be made or written.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.chunk_bytes - self.open.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.open.extend_from_slice(now);
            bytes = later;
            if self.open.len() == self.chunk_bytes {
                self.seal()?;
            }
        }
        Ok(())
    }

    /// Compresses what is open, so that a finished blob takes no more than it must.
    ///
    /// # Errors
    /// As `write`.
    pub fn finish(mut self) -> io::Result<Arc<Self>> {
        if !self.open.is_empty() {
            self.seal()?;
        }
        self.open = Vec::new();
        Ok(Arc::new(self))
    }

    fn seal(&mut self) -> io::Result<()> {
        let lz4 = lz4_flex::block::compress_prepend_size(&self.open);
        let used = self.spool.used.fetch_add(lz4.len(), Ordering::Relaxed);
        let chunk = if used + lz4.len() <= self.spool.memory_bytes_max {
            Chunk::Memory(lz4.into())
        } else {
            self.spool.used.fetch_sub(lz4.len(), Ordering::Relaxed);
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(tempfile::tempfile()?),
            };
            file.write_all_at(&lz4, self.file_bytes)?;
            let offset = self.file_bytes;
            self.file_bytes += lz4.len() as u64;
            Chunk::File { offset, bytes: lz4.len() }
        };
        self.chunks.push(chunk);
        self.starts.push(self.sealed_bytes);
        self.sealed_bytes += self.open.len() as u64;
        self.open.clear();
        Ok(())
    }

    /// The bytes from `offset` to the end of the chunk that they lie in; empty at the end of the blob.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn read_at(&self, offset: u64) -> io::Result<Cow<'_, [u8]>> {
        if offset >= self.sealed_bytes {
            return Ok(Cow::Borrowed(self.open.get((offset - self.sealed_bytes) as usize..).unwrap_or_default()));
        }
        let at = self.starts.partition_point(|start| *start <= offset) - 1;
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut text = match &self.chunks[at] {
            Chunk::Memory(lz4) => lz4_flex::block::decompress_size_prepended(lz4).map_err(broken)?,
            Chunk::File { offset, bytes } => {
                let mut lz4 = vec![0; *bytes];
                self.file.as_ref().ok_or(io::ErrorKind::NotFound)?.read_exact_at(&mut lz4, *offset)?;
                lz4_flex::block::decompress_size_prepended(&lz4).map_err(broken)?
            }
        };
        text.drain(..(offset - self.starts[at]) as usize);
        Ok(Cow::Owned(text))
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        let in_memory = self.chunks.iter().map(|chunk| match chunk {
            Chunk::Memory(lz4) => lz4.len(),
            Chunk::File { .. } => 0,
        });
        self.spool.used.fetch_sub(in_memory.sum(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(bytes: usize, mut seed: u64) -> Vec<u8> {
        let next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        std::iter::repeat_with(next).take(bytes).collect()
    }

    #[test]
    fn blob_gives_back_what_was_written_from_memory_and_from_its_file() {
        for memory in [usize::MAX / 2, 300_000, 0] {
            let spool = Spool::new(memory);
            let text = noise(1_000_003, 7);
            let mut blob = Blob::new(&spool);
            for piece in text.chunks(7_001) {
                blob.write(piece).unwrap();
            }
            assert_eq!(blob.len(), text.len() as u64);
            let blob = blob.finish().unwrap();
            assert!(spool.used() <= memory);
            for from in [0, 1, 262_143, 262_144, 999_999, 1_000_003] {
                let mut read = Vec::new();
                while read.len() + from < text.len() {
                    read.extend_from_slice(&blob.read_at((from + read.len()) as u64).unwrap());
                }
                assert!(read == text[from..], "from {from}");
                assert!(blob.read_at(text.len() as u64).unwrap().is_empty());
            }
            drop(blob);
            assert_eq!(spool.used(), 0);
        }
    }
}
