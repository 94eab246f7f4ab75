//! From a folder back to an org.

use super::codec::{CHANGES, END, LAYOUT, OBJECTS, Take, take_binned, take_row};
use super::frames::{self, FRAME_BYTES_MAX, Frames};
use super::{JOURNAL_BYTES_MIN, Position, Saver, journal_path, snapshot_path};
use crate::error::SimError;
use crate::history::History;
use crate::ids::SfId;
use crate::schema::build::free_prefix;
use crate::schema::spec::ObjectsSpec;
use crate::store::Store;
use hashbrown::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A folder that is taken and looked through, before its rows are read.
#[derive(Debug)]
pub struct Stored {
    folder: PathBuf,
    lock: File,
    /// None for a new folder.
    generation: Option<u64>,
    added: Vec<String>,
    prefixes: HashMap<String, String>,
    position: Position,
    snapshot_bytes: u64,
    journal_bytes: u64,
}

/// What a folder gave back.
#[derive(Debug)]
struct Resumed {
    saver: Saver,
    /// None for a new folder.
    position: Option<Position>,
}

/// Why reading stopped.
enum Stop {
    File(io::Error),
    /// A frame that is whole cannot be understood.
    Frame(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::File(error)
    }
}

impl Stored {
    /// Takes a folder, which is made if it is not there, and reads what objects it knows.
    ///
    /// # Errors
    /// `SimError::Folder` when another org has it, or it cannot be read or written.
    pub fn open(folder: &Path) -> Result<Self, SimError> {
        let failed = |cause: String| SimError::Folder { place: folder.display().to_string(), cause };
        let io_failed = |error: io::Error| failed(error.to_string());
        std::fs::create_dir_all(folder).map_err(io_failed)?;
        let lock = File::options().write(true).create(true).truncate(false).open(folder.join("lock"));
        let lock = lock.map_err(io_failed)?;
        lock.try_lock().map_err(|error| failed(format!("another org runs on it ({error})")))?;
        let mut stored = Self {
            folder: folder.to_owned(),
            lock,
            generation: newest(folder).map_err(io_failed)?,
            added: Vec::new(),
            prefixes: HashMap::new(),
            position: Position::default(),
            snapshot_bytes: 0,
            journal_bytes: 0,
        };
        if let Some(generation) = stored.generation {
            let scanned = stored.scan(generation);
            scanned.map_err(|stop| stop.into_error(folder))?;
        }
        Ok(stored)
    }

    /// Reads layouts, added objects and the position.
    fn scan(&mut self, generation: u64) -> Result<(), Stop> {
        let (snapshot, journal) = (snapshot_path(&self.folder, generation), journal_path(&self.folder, generation));
        let Self { added, prefixes, position, .. } = self;
        let mut each = |payload: &[u8]| -> Result<(), Stop> {
            let mut from = Take(payload);
            let understood = match from.u8() {
                Some(LAYOUT) => Names::take(&mut from).map(|names| {
                    prefixes.extend(names.tables.into_iter().map(|(name, prefix, _)| (name, prefix)));
                }),
                Some(CHANGES) => take_position(&mut from).map(|found| *position = found),
                Some(OBJECTS) => from.text().map(|json| added.push(json.to_owned())),
                Some(END) => Some(()),
                _ => None,
            };
            understood.ok_or_else(|| Stop::Frame("a frame of an unknown kind".into()))
        };
        self.snapshot_bytes = frames::read(&snapshot, &mut each)?;
        self.journal_bytes = match frames::read(&journal, &mut each) {
            Err(Stop::File(error)) if error.kind() == io::ErrorKind::NotFound => 0,
            read => read?,
        };
        Ok(())
    }

    /// Objects that were added while an earlier org ran, in order.
    ///
    /// # Errors
    /// `SimError::Folder` when their text is no longer understood.
    pub fn added(&self) -> Result<Vec<ObjectsSpec>, SimError> {
        let read = |json: &String| {
            serde_json::from_str(json).map_err(|error| Stop::Frame(error.to_string()).into_error(&self.folder))
        };
        self.added.iter().map(read).collect()
    }

    /// Gives objects the key prefixes that they have in the folder, and new ones such as the folder has not.
    pub fn keep_prefixes(&mut self, spec: &mut ObjectsSpec) {
        if self.generation.is_none() {
            return;
        }
        for (name, object) in &mut spec.objects.0 {
            if object.prefix.is_some() {
                continue;
            }
            if !self.prefixes.contains_key(name) {
                let taken = |prefix: [u8; 3]| self.prefixes.values().any(|known| *known.as_bytes() == prefix);
                let Some(prefix) = free_prefix(name, taken) else { continue };
                self.prefixes.insert(name.clone(), String::from_utf8_lossy(&prefix).into_owned());
            }
            object.prefix = self.prefixes.get(name).cloned();
        }
    }

    /// Reads the folder into an empty org; where it stands then, not before `now_ms`.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_into(self, store: &mut Store, history: &mut History, now_ms: i64) -> Result<Position, SimError> {
        let resumed = self.load(store)?;
        store.saver = Some(resumed.saver);
        let Some(position) = resumed.position else { return Ok(Position { at_ms: now_ms, ..Position::default() }) };
        history.resume(position.seq);
        Ok(Position { at_ms: position.at_ms.max(now_ms), ..position })
    }

    /// Reads every row into an empty store, and begins to save what changes from now on.
    ///
    /// # Errors
    /// `SimError::Folder` when the folder cannot be read or written, or has an object or a field that is not defined.
    fn load(self, store: &mut Store) -> Result<Resumed, SimError> {
        let folder = self.folder.clone();
        let read = self.generation.map_or(Ok(()), |generation| self.read_rows(generation, store));
        read.map_err(|stop| stop.into_error(&folder))?;
        let resumed = self.generation.is_some().then_some(self.position);
        let saver = self.into_saver(store);
        let saver = saver.map_err(|error| Stop::File(error).into_error(&folder))?;
        Ok(Resumed { saver, position: resumed })
    }

    fn read_rows(&self, generation: u64, store: &mut Store) -> Result<(), Stop> {
        let mut numbers = Numbers::default();
        let mut each = |payload: &[u8]| -> Result<(), Stop> {
            let mut from = Take(payload);
            match from.u8() {
                Some(LAYOUT) => {
                    let names = Names::take(&mut from).ok_or_else(|| Stop::Frame("a layout is broken".into()))?;
                    numbers = Numbers::find(&names, store).map_err(Stop::Frame)?;
                    Ok(())
                }
                Some(CHANGES) => {
                    let taken = take_changes(&mut from, &numbers, store);
                    taken.ok_or_else(|| Stop::Frame(format!("not defined any more: {}", numbers.missing.join(", "))))
                }
                _ => Ok(()),
            }
        };
        frames::read(&snapshot_path(&self.folder, generation), &mut each)?;
        match frames::read(&journal_path(&self.folder, generation), &mut each) {
            Err(Stop::File(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            read => read.map(|_| ()),
        }
    }

    fn into_saver(self, store: &mut Store) -> io::Result<Saver> {
        let generation = self.generation.unwrap_or(0);
        let mut saver = Saver {
            journal: Frames::append_after(&journal_path(&self.folder, generation), self.journal_bytes)?,
            folder: self.folder,
            generation,
            snapshot_bytes: self.snapshot_bytes,
            journal_bytes_min: JOURNAL_BYTES_MIN,
            frame_bytes_max: FRAME_BYTES_MAX,
            position: self.position,
            replay_saved: self.position.replay,
            added: self.added,
            unsaved: 0,
            _lock: self.lock,
        };
        store.track_changes();
        match self.generation {
            None => saver.snapshot(store)?,
            // The configuration may have brought objects and fields since.
            Some(_) => saver.journal.append(&super::layout(store))?,
        }
        Ok(saver)
    }
}

/// The newest snapshot that is whole.
fn newest(folder: &Path) -> io::Result<Option<u64>> {
    let mut found: Vec<u64> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_prefix("snapshot-")?.parse::<u64>().ok()));
    }
    found.sort_unstable();
    for generation in found.into_iter().rev() {
        let mut ended = false;
        frames::read::<io::Error>(&snapshot_path(folder, generation), |payload| {
            ended = payload == [END];
            Ok(())
        })?;
        if ended {
            return Ok(Some(generation));
        }
    }
    Ok(None)
}

/// A layout: objects with key prefix and fields.
struct Names {
    tables: Vec<(String, String, Vec<String>)>,
}

impl Names {
    fn take(from: &mut Take<'_>) -> Option<Self> {
        let mut tables = Vec::new();
        for _ in 0..from.u32()? {
            let name = from.text()?.to_owned();
            let prefix = [from.u8()?, from.u8()?, from.u8()?];
            let mut fields = Vec::new();
            for _ in 0..from.u32()? {
                fields.push(from.text()?.to_owned());
            }
            tables.push((name, String::from_utf8(prefix.to_vec()).ok()?, fields));
        }
        Some(Self { tables })
    }
}

/// The numbers that a layout's objects and fields have now.
#[derive(Default)]
struct Numbers {
    /// By stored number: the table and its fields by stored number; none for what is not there any more.
    tables: Vec<Option<(usize, Vec<Option<u16>>)>>,
    missing: Vec<String>,
}

impl Numbers {
    fn find(names: &Names, store: &Store) -> Result<Self, String> {
        let (mut tables, mut missing) = (Vec::new(), Vec::new());
        for (name, prefix, fields) in &names.tables {
            let Some(number) = store.find_table(name) else {
                missing.push(name.clone());
                tables.push(None);
                continue;
            };
            let object = &store.table(number).object;
            if object.prefix != *prefix.as_bytes() {
                return Err(format!("{name} has another key prefix by now ({prefix} in the folder)"));
            }
            let gone = fields.iter().filter(|field| object.field(field).is_none());
            missing.extend(gone.map(|field| format!("{name}.{field}")));
            tables.push(Some((number, fields.iter().map(|field| object.field(field)).collect())));
        }
        Ok(Self { tables, missing })
    }

    fn table(&self, stored: u16) -> Option<usize> {
        self.tables.get(usize::from(stored))?.as_ref().map(|(table, _)| *table)
    }

    fn field(&self, table: u16, stored: u16) -> Option<u16> {
        *self.tables.get(usize::from(table))?.as_ref()?.1.get(usize::from(stored))?
    }
}

fn take_position(from: &mut Take<'_>) -> Option<Position> {
    Some(Position { seq: from.u64()?, request: from.u64()?, at_ms: from.i64()?, replay: from.u64()? })
}

fn take_changes(from: &mut Take<'_>, numbers: &Numbers, store: &mut Store) -> Option<()> {
    take_position(from)?;
    for _ in 0..from.u32()? {
        let stored = from.u16()?;
        let field = from.u16()?;
        let last = from.u64()?;
        let (table, field) = (numbers.table(stored)?, numbers.field(stored, field)?);
        let counters = &mut store.table_mut(table).last_numbers;
        match counters.iter_mut().find(|(known, _)| *known == field) {
            Some((_, known)) => *known = last,
            None => counters.push((field, last)),
        }
    }
    for _ in 0..from.u32()? {
        let stored = from.u16()?;
        let slot = from.u32()?;
        let table = numbers.table(stored)?;
        let id = SfId::new(store.table(table).object.prefix, u64::from(slot) + 1);
        let row = take_row(from, id, |field| numbers.field(stored, field))?;
        store.table_mut(table).restore(slot, row)?;
    }
    for _ in 0..from.u32()? {
        let number = from.u64()?;
        store.bin.take(number);
        if from.u8()? == 1 {
            let binned = take_binned(from, |table| numbers.table(table), |table, field| numbers.field(table, field))?;
            store.bin.put(number, binned);
        }
    }
    from.is_empty().then_some(())
}

impl Stop {
    fn into_error(self, folder: &Path) -> SimError {
        let cause = match self {
            Stop::File(error) => error.to_string(),
            Stop::Frame(cause) => format!("its rows do not fit the objects: {cause}"),
        };
        SimError::Folder { place: folder.display().to_string(), cause }
    }
}
