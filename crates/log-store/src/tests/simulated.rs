//! A file system in memory that knows what a power cut would leave: the page cache above, the disk below.
//!
//! Writes go to the cache. A sync carries a file's outstanding operations to the disk. A crash keeps of each unsynced
//! write a random choice of its pages, of each unsynced length change either outcome, and of the unsynced names a random
//! prefix (metadata is journalled in order). A failed sync marks the pages clean without writing them, as Linux does.

use crate::fs::{Access, Files, LogFile};
use parking_lot::{Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Small, so that many crashes tear a frame in the middle.
const PAGE_BYTES: usize = 64;

/// A process's view; dead after the next crash, like its open files.
#[derive(Clone)]
pub(crate) struct SimulatedFiles(Arc<Mutex<State>>, u64);

struct State {
    /// Counts crashes: handles from before one are dead.
    life: u64,
    random: StdRng,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    names_pending: Vec<NameOp>,
    locks: BTreeSet<PathBuf>,
    pub(crate) faults: Faults,
}

/// What goes wrong next.
#[derive(Default)]
pub(crate) struct Faults {
    /// Bytes that may still be written until the disk is full; none: no limit.
    pub(crate) room: Option<usize>,
    /// So many of the next syncs of a file fail with EIO.
    pub(crate) failing_syncs: u32,
    /// So many of the next calls that cut a file fail with EIO.
    pub(crate) failing_cuts: u32,
    /// The next write stops half way with EIO.
    pub(crate) torn_write: bool,
}

#[derive(Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<FileOp>,
}

enum FileOp {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

enum NameOp {
    Link(PathBuf, usize),
    Unlink(PathBuf),
}

impl SimulatedFiles {
    pub(crate) fn new(seed: u64) -> Self {
        Self(
            Arc::new(Mutex::new(State {
                life: 0,
                random: StdRng::seed_from_u64(seed),
                inodes: Vec::new(),
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                names_pending: Vec::new(),
                locks: BTreeSet::new(),
                faults: Faults::default(),
            })),
            0,
        )
    }

    /// Starts another process on the same disk.
    pub(crate) fn process(&self) -> Self {
        let life = self.0.lock().life;
        Self(Arc::clone(&self.0), life)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.0.lock();
        if state.life == self.1 { Ok(state) } else { Err(io::Error::other("this process has crashed")) }
    }

    /// Sets what goes wrong next.
    pub(crate) fn set_faults(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut self.0.lock().faults);
    }

    /// Cuts the power: open handles die, unsynced things are lost in part.
    pub(crate) fn crash(&self) {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        state.life += 1;
        state.locks.clear();
        state.faults = Faults::default();
        let kept = state.random.random_range(0..=state.names_pending.len());
        for op in state.names_pending.drain(..).take(kept) {
            apply_name(&mut state.durable_names, op);
        }
        state.names = state.durable_names.clone();
        for inode in &mut state.inodes {
            for op in std::mem::take(&mut inode.pending) {
                tear(&mut state.random, &mut inode.durable, op);
            }
            inode.cached = inode.durable.clone();
        }
    }

    /// Flips one bit of a durable file.
    pub(crate) fn damage(&self, path: &Path, at: usize) {
        let mut state = self.0.lock();
        let inode = state.names[path];
        let Inode { cached, durable, .. } = &mut state.inodes[inode];
        cached[at] ^= 0x40;
        if let Some(byte) = durable.get_mut(at) {
            *byte ^= 0x40;
        }
    }

    /// Returns a file's bytes.
    pub(crate) fn content(&self, path: &Path) -> Vec<u8> {
        let state = self.0.lock();
        state.inodes[state.names[path]].cached.clone()
    }

    /// Lists every file.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }

    fn file(&self, inode: usize) -> Arc<dyn LogFile> {
        Arc::new(SimulatedFile { files: self.clone(), inode })
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, usize>, op: NameOp) {
    match op {
        NameOp::Link(path, inode) => drop(names.insert(path, inode)),
        NameOp::Unlink(path) => drop(names.remove(&path)),
    }
}

fn apply(bytes: &mut Vec<u8>, op: &FileOp) {
    match op {
        FileOp::Write { at, bytes: written } => {
            let end = at + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(written);
        }
        FileOp::SetLen(length) => bytes.resize(*length, 0),
    }
}

/// Applies what a power cut lets through of one operation.
fn tear(random: &mut StdRng, durable: &mut Vec<u8>, op: FileOp) {
    match op {
        FileOp::SetLen(_) if random.random_bool(0.5) => {}
        FileOp::SetLen(_) => apply(durable, &op),
        FileOp::Write { at, bytes } => {
            // Often all or nothing, so that later frames survive earlier ones; else page by page.
            let keep = [0.0, 1.0, 0.7][random.random_range(0..3)];
            for (page, chunk) in bytes.chunks(PAGE_BYTES).enumerate() {
                if random.random_bool(keep) {
                    apply(durable, &FileOp::Write { at: at + page * PAGE_BYTES, bytes: chunk.to_vec() });
                }
            }
        }
    }
}

impl Files for SimulatedFiles {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.alive()?;
        let inside = state.names.keys().filter_map(|path| path.strip_prefix(dir).ok()?.components().next());
        let names: BTreeSet<_> = inside.map(|name| name.as_os_str().to_string_lossy().into_owned()).collect();
        Ok(names.into_iter().collect())
    }

    fn open(&self, path: &Path, _access: Access) -> io::Result<Arc<dyn LogFile>> {
        let state = self.alive()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let mut guard = self.alive()?;
        let state = &mut *guard;
        if state.faults.room == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(path.to_owned(), inode);
        state.names_pending.push(NameOp::Link(path.to_owned(), inode));
        Ok(self.file(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut guard = self.alive()?;
        let state = &mut *guard;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        state.names_pending.push(NameOp::Link(to.to_owned(), inode));
        state.names_pending.push(NameOp::Unlink(from.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.names_pending.push(NameOp::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut guard = self.alive()?;
        let state = &mut *guard;
        for op in state.names_pending.drain(..) {
            apply_name(&mut state.durable_names, op);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = self.alive()?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held { files: self.clone(), path: path.to_owned() }))
    }
}

struct Held {
    files: SimulatedFiles,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Ok(mut state) = self.files.alive() {
            state.locks.remove(&self.path);
        }
    }
}

struct SimulatedFile {
    files: SimulatedFiles,
    inode: usize,
}

impl SimulatedFile {
    fn with<T>(&self, work: impl FnOnce(&mut Inode, &mut Faults) -> io::Result<T>) -> io::Result<T> {
        let mut guard = self.files.alive()?;
        let state = &mut *guard;
        work(&mut state.inodes[self.inode], &mut state.faults)
    }
}

impl LogFile for SimulatedFile {
    fn read_at(&self, at: u64, length: usize, out: &mut Vec<u8>) -> io::Result<()> {
        self.with(|inode, _| {
            let from = inode.cached.len().min(at as usize);
            let to = inode.cached.len().min(from.saturating_add(length));
            out.extend_from_slice(&inode.cached[from..to]);
            Ok(())
        })
    }

    fn write_at(&self, at: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.with(|inode, faults| {
            let mut bytes = parts.concat();
            let mut outcome = Ok(());
            if std::mem::take(&mut faults.torn_write) {
                bytes.truncate(bytes.len() / 2);
                outcome = Err(io::Error::from_raw_os_error(5));
            } else if let Some(room) = &mut faults.room {
                if bytes.len() > *room {
                    bytes.truncate(*room);
                    outcome = Err(io::ErrorKind::StorageFull.into());
                }
                *room -= bytes.len();
            }
            let op = FileOp::Write { at: at as usize, bytes };
            apply(&mut inode.cached, &op);
            inode.pending.push(op);
            outcome
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(|inode, faults| {
            if faults.failing_cuts > 0 {
                faults.failing_cuts -= 1;
                return Err(io::Error::from_raw_os_error(5));
            }
            let op = FileOp::SetLen(length as usize);
            apply(&mut inode.cached, &op);
            inode.pending.push(op);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|inode, faults| {
            let pending = std::mem::take(&mut inode.pending);
            if faults.failing_syncs > 0 {
                faults.failing_syncs -= 1;
                return Err(io::Error::from_raw_os_error(5));
            }
            for op in &pending {
                apply(&mut inode.durable, op);
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|inode, _| Ok(inode.cached.len() as u64))
    }
}
