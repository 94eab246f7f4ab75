//! The real file system.

use super::{Access, Files, LogFile};
use rustix::fs::FlockOperation;
use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// The log holds the source's rows: nobody but its owner reads them.
const OWNER_ONLY: u32 = 0o600;
const OWNER_ONLY_DIR: u32 = 0o700;

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskFiles;

impl Files for DiskFiles {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(OWNER_ONLY_DIR).create(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(access == Access::Write).open(path)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(OWNER_ONLY).open(path)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY).open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(Held(file)))
    }
}

/// A lock that is given back when this is dropped. Closing the file alone would not do: a process that is being started at
/// that moment has a copy of the descriptor until it runs its own program.
struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked when the last copy is closed.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

struct DiskFile(File);

impl LogFile for DiskFile {
    fn read_at(&self, at: u64, length: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let end = out.len() + length;
        out.reserve_exact(length);
        while out.len() < end {
            let done = length - (end - out.len());
            let spare = out.capacity() - out.len();
            let got = if spare == end - out.len() {
                rustix::io::pread(&self.0, rustix::buffer::spare_capacity(out), at + done as u64)
            } else {
                // The buffer came with more room than was asked for: read through a slice of the right size.
                read_exactly_sized(&self.0, at + done as u64, end, out)
            };
            match got {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write_at(&self, at: u64, parts: &[&[u8]]) -> io::Result<()> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut written = 0;
        while written < total {
            match rustix::io::pwritev(&self.0, &rest_of(parts, written), at + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

fn read_exactly_sized(file: &File, at: u64, end: usize, out: &mut Vec<u8>) -> rustix::io::Result<usize> {
    let start = out.len();
    out.resize(end, 0);
    let got = rustix::io::pread(file, &mut out[start..], at);
    out.truncate(start + *got.as_ref().unwrap_or(&0));
    got
}

/// The parts without their first `skip` bytes.
fn rest_of<'a>(parts: &[&'a [u8]], mut skip: usize) -> Vec<IoSlice<'a>> {
    let mut rest = Vec::with_capacity(parts.len());
    for part in parts {
        if skip >= part.len() {
            skip -= part.len();
        } else {
            rest.push(IoSlice::new(&part[skip..]));
            skip = 0;
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_and_read_back_at_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = DiskFiles.create(&dir.path().join("f")).unwrap();
        file.write_at(3, &[b"ab", b"", b"cde"]).unwrap();
        for capacity in [0, 2, 5, 64] {
            let mut out = Vec::with_capacity(capacity);
            file.read_at(3, 5, &mut out).unwrap();
            assert_eq!(out, b"abcde");
            file.read_at(6, 100, &mut out).unwrap();
            assert_eq!(out, b"abcdede");
        }
        assert_eq!(file.len().unwrap(), 8);
    }

    #[test]
    fn files_and_folders_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        DiskFiles.create_dir_all(&log).unwrap();
        DiskFiles.create(&log.join("0.log")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&log), mode(&log.join("0.log"))), (0o700, 0o600));
    }

    #[test]
    fn lock_is_free_at_once_though_another_process_has_a_copy_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let held = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        let _copy = held.try_clone().unwrap();
        drop(Held(held));
        DiskFiles.lock(&path).unwrap();
    }

    #[test]
    fn lock_is_refused_while_held_and_given_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let held = DiskFiles.lock(&path).unwrap();
        assert_eq!(DiskFiles.lock(&path).err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
        drop(held);
        assert!(DiskFiles.lock(&path).is_ok());
    }
}
