//! An org in a folder: its rows, deleted ones too, its counters, its recycle bin and the objects that were added survive
//! the process.
//!
//! ```text
//! folder/lock                     held while an org runs on the folder
//!        snapshot-0000000007      everything at one moment, ends with an end frame
//!        journal-0000000007       one frame per committed transaction since then
//! ```
//!
//! Invariants:
//! 1. What a transaction changed is in one frame: after a crash it is there whole or not at all.
//! 2. A frame is written before the caller gets its answer. It is handed to the system, not forced to the disk: a killed
//!    process loses nothing, a machine without power may lose the last moments.
//! 3. A snapshot counts when its end frame is there; the older pair is removed only after that.
//! 4. A row keeps its place: ids are never used twice, also those of rows that were rolled back and saved since.
//!
//! Not kept: sessions, faults, allocations, events, field-level security set while the org ran, and the history's text
//! (its numbers go on).

mod codec;
mod frames;
mod load;
#[cfg(test)]
mod tests;

use crate::error::SimError;
use crate::schema::spec::ObjectsSpec;
use crate::store::{Store, Table};
use codec::{CHANGES, END, LAYOUT, OBJECTS, Put, put_binned, put_row};
use frames::Frames;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use load::Stored;

/// A journal smaller than this is not worth a snapshot.
const JOURNAL_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// How far above the last known replay id an org that comes back goes on: no id is issued twice.
pub const REPLAYS_AHEAD: u64 = 1_000_000;

/// Rows of one frame of a snapshot; few enough for the longest rows that there can be.
const SNAPSHOT_ROWS: u32 = 200;

/// Where the org stands, for the numbers that must go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Last number of the history.
    pub seq: u64,
    pub request: u64,
    /// Unix milliseconds of the org's clock.
    pub at_ms: i64,
    /// The newest replay id of the event bus that is known.
    pub replay: u64,
}

/// Writes what is committed to a folder.
#[derive(Debug)]
pub struct Saver {
    folder: PathBuf,
    generation: u64,
    journal: Frames,
    snapshot_bytes: u64,
    journal_bytes_min: u64,
    frame_bytes_max: usize,
    position: Position,
    replay_saved: u64,
    /// Objects that were added while the org ran, as JSON.
    added: Vec<String>,
    /// Transactions whose frame could not be written yet.
    pub unsaved: u64,
    /// Held for as long as the org runs.
    _lock: File,
}

impl Saver {
    /// Where the org stood when it was last saved.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Saves what changed since the last call as one frame; makes a snapshot when the journal has grown long.
    ///
    /// An error is logged and counted, and the changes stay with the store: the next call saves them too.
    pub fn save(&mut self, store: &mut Store, position: Position) {
        if store.has_changes() {
            self.position = Position { replay: self.position.replay, ..position };
            let payload = changes(store, self.position);
            // A snapshot takes what no frame holds (a cascade over a whole table), and is whole or not there as well.
            let written = match payload.len() > self.frame_bytes_max {
                true => self.snapshot(store),
                false => self.journal.append(&payload),
            };
            if let Err(error) = written {
                self.unsaved += 1;
                tracing::error!(%error, folder = %self.folder.display(), "the org's journal cannot be written; it is tried again");
                return;
            }
            self.unsaved = 0;
            store.forget_changes();
        }
        if self.journal.bytes() > self.snapshot_bytes.max(self.journal_bytes_min)
            && let Err(error) = self.snapshot(store)
        {
            tracing::error!(%error, folder = %self.folder.display(), "the org's snapshot cannot be written; the journal goes on");
        }
    }

    /// Keeps how far the event bus has counted, for `REPLAYS_AHEAD` to be enough when the org comes back.
    pub fn note_replay(&mut self, store: &Store, last: u64) {
        self.position.replay = last;
        if last < self.replay_saved + REPLAYS_AHEAD / 4 {
            return;
        }
        match self.journal.append(&payload_of(store, self.position, &[], &[])) {
            Ok(()) => self.replay_saved = last,
            Err(error) => {
                tracing::error!(%error, folder = %self.folder.display(), "the org's journal cannot be written; it is tried again");
            }
        }
    }

    /// Keeps objects that were added while the org runs.
    ///
    /// # Errors
    /// `SimError::Folder` when the journal cannot be written; the objects are not kept then.
    pub fn add_objects(&mut self, store: &Store, spec: &ObjectsSpec) -> Result<(), SimError> {
        let json = serde_json::to_string(spec).map_err(|error| self.failed(io::Error::other(error)))?;
        let mut payload = vec![OBJECTS];
        payload.text(&json);
        let written = self.journal.append(&payload).and_then(|()| self.journal.append(&layout(store)));
        written.map_err(|cause| self.failed(cause))?;
        self.added.push(json);
        Ok(())
    }

    /// Writes everything anew and begins an empty journal.
    ///
    /// # Errors
    /// The files' error; the older snapshot and its journal stay then.
    pub fn snapshot(&mut self, store: &mut Store) -> io::Result<()> {
        let next = self.generation + 1;
        let unfinished = self.folder.join("snapshot.tmp");
        let mut frames = Frames::create(&unfinished)?;
        for json in &self.added {
            let mut payload = vec![OBJECTS];
            payload.text(json);
            frames.append(&payload)?;
        }
        frames.append(&layout(store))?;
        for (number, table) in store.tables().iter().enumerate() {
            let mut first = 0;
            while first < table.slots() {
                let last = table.slots().min(first + SNAPSHOT_ROWS);
                let rows: Vec<(usize, u32)> = (first..last).map(|slot| (number, slot)).collect();
                frames.append(&payload_of(store, self.position, &rows, &[]))?;
                first = last;
            }
        }
        let bins: Vec<u64> = store.bin.entries().map(|(number, _)| number).collect();
        frames.append(&payload_of(store, self.position, &[], &bins))?;
        frames.append(&[END])?;
        frames.sync()?;
        let journal = Frames::create(&journal_path(&self.folder, next))?;
        std::fs::rename(&unfinished, snapshot_path(&self.folder, next))?;
        File::open(&self.folder)?.sync_all()?;
        let old = std::mem::replace(&mut self.generation, next);
        (self.journal, self.snapshot_bytes) = (journal, frames.bytes());
        store.forget_changes();
        self.unsaved = 0;
        for path in [snapshot_path(&self.folder, old), journal_path(&self.folder, old)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "an old file of the org cannot be removed");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Begins anew after a reset: nothing of before is kept but the objects.
    ///
    /// # Errors
    /// `SimError::Folder` when the files cannot be written.
    pub fn restart(&mut self, store: &mut Store, position: Position) -> Result<(), SimError> {
        self.position = Position { replay: self.position.replay, ..position };
        self.snapshot(store).map_err(|cause| self.failed(cause))
    }

    /// Waits until the journal is on disk.
    pub fn sync(&self) {
        if let Err(error) = self.journal.sync() {
            tracing::error!(%error, folder = %self.folder.display(), "the org's journal could not be forced to the disk");
        }
    }

    fn failed(&self, cause: io::Error) -> SimError {
        SimError::Folder { place: self.folder.display().to_string(), cause: cause.to_string() }
    }
}

fn snapshot_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("snapshot-{generation:010}"))
}

fn journal_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("journal-{generation:010}"))
}

/// Which number stands for which object and field.
fn layout(store: &Store) -> Vec<u8> {
    let mut out = vec![LAYOUT];
    out.u32(store.tables().len() as u32);
    for table in store.tables() {
        out.text(&table.object.name);
        out.extend_from_slice(&table.object.prefix);
        out.u32(table.object.fields.len() as u32);
        for field in &table.object.fields {
            out.text(&field.name);
        }
    }
    out
}

/// What changed in the store, with the counters of the tables that it touched.
fn changes(store: &Store, position: Position) -> Vec<u8> {
    let (mut rows, mut bins) = (store.changed_rows().to_vec(), store.bin.changed().to_vec());
    rows.sort_unstable();
    rows.dedup();
    bins.sort_unstable();
    bins.dedup();
    payload_of(store, position, &rows, &bins)
}

fn payload_of(store: &Store, position: Position, rows: &[(usize, u32)], bins: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + rows.len() * 200);
    out.u8(CHANGES);
    out.u64(position.seq);
    out.u64(position.request);
    out.i64(position.at_ms);
    out.u64(position.replay);
    let mut touched: Vec<usize> = rows.iter().map(|(table, _)| *table).collect();
    touched.dedup();
    let counters = |number: usize, table: &Table| -> Vec<_> {
        table.last_numbers.iter().map(|(field, last)| (number, *field, *last)).collect()
    };
    let counters: Vec<_> = touched.iter().flat_map(|number| counters(*number, store.table(*number))).collect();
    out.u32(counters.len() as u32);
    for (table, field, last) in counters {
        out.u16(table as u16);
        out.u16(field);
        out.u64(last);
    }
    out.u32(rows.len() as u32);
    for (table, slot) in rows {
        out.u16(*table as u16);
        out.u32(*slot);
        put_row(&mut out, store.table(*table).row_or_gone(*slot));
    }
    out.u32(bins.len() as u32);
    for number in bins {
        out.u64(*number);
        match store.bin.get(*number) {
            None => out.u8(0),
            Some(binned) => {
                out.u8(1);
                put_binned(&mut out, binned);
            }
        }
    }
    out
}
