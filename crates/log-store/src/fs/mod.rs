//! The file operations that the log needs, as a seam where tests inject faults.
//!
//! What this module refuses to know: frames, offsets, streams. It moves bytes, names files, and says when they are safe.

mod disk;

pub(crate) use disk::DiskFiles;

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file system, as far as the log uses one.
pub(crate) trait Files: Send + Sync + 'static {
    /// Makes a folder and its parents; one that exists is well.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Lists the names in a folder, unsorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens an existing file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn LogFile>>;

    /// Makes an empty file to write, in the place of any that has the name.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;

    /// Renames a file over another one, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder survive a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the only writer's lock, held until the guard is dropped or the process ends.
    ///
    /// # Errors
    /// `WouldBlock` when somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// An open file; every call names its place, so that readers and the writer share no cursor.
pub(crate) trait LogFile: Send + Sync {
    /// Appends up to `length` bytes from `at` on to `out`; fewer only at the end of the file.
    fn read_at(&self, at: u64, length: usize, out: &mut Vec<u8>) -> io::Result<()>;

    /// Writes the parts one after the other from `at` on. An error may leave any prefix of them in the file.
    fn write_at(&self, at: u64, parts: &[&[u8]]) -> io::Result<()>;

    /// Cuts or extends the file.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes content and length survive a power cut. After an error nothing is known of what was not durable before.
    fn sync(&self) -> io::Result<()>;

    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
}

/// True when the error says that the disk, the quota or the file size is used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
