//! Every applied change, in order: what a test compares a pipeline's promises with.
//!
//! A change is one line of JSON. Lines are gathered into chunks; a full chunk is compressed (LZ4) and kept in memory up
//! to a limit, and is written to a file as plain lines if one is configured.
//!
//! ```text
//! append → open chunk ─ full ─▶ sealed chunks (LZ4, oldest first) ─ over the limit ─▶ dropped: in the file, or counted
//!                         └────▶ file (JSON lines)
//! ```
//!
//! Invariants:
//! 1. Sequence numbers start at 1, or go on where the org's folder ends, and have no holes.
//! 2. A chunk is sealed only by `commit`, so a rollback never has to reach beyond the open chunk.
//! 3. What is neither in memory nor in the file is counted in `dropped`.

use crate::error::SimError;
use crate::events::Feed;
use crate::events::feed::{FeedMark, Source, Told};
use crate::ids::SfId;
use crate::json::{write_int, write_text};
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Large enough to compress well, small enough that reading one line of an old chunk is cheap.
const CHUNK_BYTES: usize = 256 * 1024;

/// What was done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryOp {
    Create,
    Update,
    /// Into the recycle bin.
    Delete,
    /// Back from the recycle bin.
    Undelete,
    /// Gone for good, from the recycle bin or at once.
    Purge,
}

impl HistoryOp {
    fn word(self) -> &'static str {
        match self {
            HistoryOp::Create => "create",
            HistoryOp::Update => "update",
            HistoryOp::Delete => "delete",
            HistoryOp::Undelete => "undelete",
            HistoryOp::Purge => "purge",
        }
    }
}

/// An applied change as `GET /_sim/history` gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// From 1, without holes.
    pub seq: u64,
    /// Unix milliseconds.
    pub at: i64,
    pub api: String,
    /// The number of the request that did it; the rows of one call share it.
    pub request: u64,
    /// The name from `Sforce-Call-Options`, if the caller gave one.
    #[serde(default)]
    pub client: Option<String>,
    pub object: String,
    pub id: String,
    /// The field by which the record is known outside: the key of an upsert, else the object's first external id.
    #[serde(default)]
    pub external_id_field: Option<String>,
    #[serde(default)]
    pub external_id: Option<String>,
    pub op: HistoryOp,
    /// Why the org changed a row that the caller did not name: `cascade`, `lookup`, `merge` or `expired`.
    #[serde(default)]
    pub cause: Option<String>,
    /// The fields that the caller sent, in its order; empty for effects of the org itself (cleared lookups, cascades).
    pub sent: Vec<String>,
    /// The fields whose value changed; empty if the caller sent what was there already.
    pub changes: serde_json::Map<String, serde_json::Value>,
}

impl HistoryEntry {
    /// The value of a field before the change; none if the field did not change.
    pub fn before(&self, field: &str) -> Option<&serde_json::Value> {
        self.changes.get(field)?.get("before")
    }

    /// The value of a field after the change; none if the field did not change.
    pub fn after(&self, field: &str) -> Option<&serde_json::Value> {
        self.changes.get(field)?.get("after")
    }
}

/// A change about to be recorded, all borrowed.
pub struct Draft<'a> {
    pub at_ms: i64,
    pub api: &'static str,
    pub request: u64,
    pub client: Option<&'a str>,
    pub object: &'a str,
    pub id: SfId,
    pub external_id: Option<(&'a str, &'a Value)>,
    pub op: HistoryOp,
    pub cause: Option<&'static str>,
    pub sent: &'a [&'a str],
    pub user: SfId,
    /// The API's version.
    pub version: u32,
    /// What change events are made of; none for what they do not tell.
    pub told: Option<Told<'a>>,
    /// Field, before, after.
    pub changes: &'a [(&'a str, &'a Value, &'a Value)],
}

struct Sealed {
    first: u64,
    lz4: Vec<u8>,
    count: u32,
}

struct Filed {
    first: u64,
    offset: u64,
    bytes: u32,
}

/// A place to roll back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    lines: usize,
    feed: FeedMark,
}

/// The history of an org.
pub struct History {
    /// Makes events of what is committed.
    pub feed: Feed,
    open: Vec<u8>,
    /// Where each line of the open chunk ends.
    ends: Vec<u32>,
    open_first: u64,
    sealed: VecDeque<Sealed>,
    sealed_bytes: usize,
    memory_bytes_max: usize,
    file: Option<File>,
    file_bytes: u64,
    filed: Vec<Filed>,
    dropped: u64,
}

impl History {
    /// Starts an empty history; a file at `path` is emptied.
    ///
    /// # Errors
    /// `SimError::History` when the file cannot be made.
    pub fn new(memory_bytes_max: usize, path: Option<&Path>) -> Result<Self, SimError> {
        let file = match path {
            Some(path) => Some(open_file(path)?),
            None => None,
        };
        Ok(Self {
            feed: Feed::default(),
            open: Vec::new(),
            ends: Vec::new(),
            open_first: 1,
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            memory_bytes_max,
            file,
            file_bytes: 0,
            filed: Vec::new(),
            dropped: 0,
        })
    }

    /// The number of the newest change; 0 if there is none.
    pub fn last_seq(&self) -> u64 {
        self.open_first + self.ends.len() as u64 - 1
    }

    /// Begins after what an earlier history of the same org has told; that cannot be read here.
    pub fn resume(&mut self, last_seq: u64) {
        self.clear();
        (self.open_first, self.dropped) = (last_seq + 1, last_seq);
    }

    /// Changes that can no longer be read.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.sealed_bytes + self.open.capacity()
    }

    /// Adds a change; it counts once `commit` is called.
    pub fn append(&mut self, draft: &Draft<'_>) {
        let seq = self.last_seq() + 1;
        write_line(&mut self.open, seq, draft);
        self.ends.push(self.open.len() as u32);
        if let Some(told) = &draft.told {
            let source = || Source {
                at_ms: draft.at_ms,
                user: draft.user,
                api: draft.api,
                version: draft.version,
                client: draft.client.map(Into::into),
            };
            self.feed.tell(source, told);
        }
    }

    /// The place that `rollback` returns to.
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.open.len(), lines: self.ends.len(), feed: self.feed.mark() }
    }

    /// Forgets what was added since `mark`, which must not be older than the last commit.
    pub fn rollback(&mut self, mark: Mark) {
        self.open.truncate(mark.bytes);
        self.ends.truncate(mark.lines);
        self.feed.rollback(mark.feed);
    }

    /// Makes what was added count, and seals the chunk if it is full.
    pub fn commit(&mut self) {
        self.feed.commit();
        if self.open.len() >= CHUNK_BYTES {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        self.write_to_file();
        let lz4 = lz4_flex::block::compress_prepend_size(&self.open);
        self.sealed_bytes += lz4.len();
        self.sealed.push_back(Sealed { first: self.open_first, lz4, count: self.ends.len() as u32 });
        self.open_first += self.ends.len() as u64;
        self.open.clear();
        self.ends.clear();
        while self.sealed_bytes > self.memory_bytes_max {
            let Some(oldest) = self.sealed.pop_front() else { break };
            self.sealed_bytes -= oldest.lz4.len();
            if !self.filed.iter().any(|filed| filed.first == oldest.first) {
                self.dropped += u64::from(oldest.count);
            }
        }
    }

    fn write_to_file(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.write_all_at(&self.open, self.file_bytes) {
            Ok(()) => {
                let bytes = self.open.len() as u32;
                self.filed.push(Filed { first: self.open_first, offset: self.file_bytes, bytes });
                self.file_bytes += u64::from(bytes);
            }
            Err(error) => {
                tracing::error!(%error, "the history's file cannot be written; what memory cannot hold is dropped and counted");
            }
        }
    }

    /// Writes the open chunk to the file as well, if there is one.
    pub fn flush(&mut self) {
        if self.file.is_some() {
            self.seal();
        }
    }

    /// Empties the history; sequence numbers start at 1 again.
    pub fn clear(&mut self) {
        if let Some(file) = &self.file
            && let Err(error) = file.set_len(0)
        {
            tracing::error!(%error, "the history's file cannot be emptied");
        }
        self.feed.clear();
        self.open.clear();
        self.ends.clear();
        self.sealed.clear();
        self.filed.clear();
        (self.open_first, self.sealed_bytes, self.file_bytes, self.dropped) = (1, 0, 0, 0);
    }

    /// Reads at most `limit` changes with a number above `after`, as JSON lines in order.
    ///
    /// Numbers that were dropped are left out: the first line tells where it begins.
    pub fn lines(&self, after: u64, limit: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut next = after + 1;
        while out.len() < limit && next <= self.last_seq() {
            let Some((first, text)) = self.chunk_with(next) else {
                match self.first_available(next) {
                    Some(first) => next = first,
                    None => break,
                }
                continue;
            };
            let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let before = out.len();
            for line in lines.skip((next - first) as usize).take(limit - before) {
                out.push(line.to_vec());
            }
            if out.len() == before {
                break;
            }
            next += (out.len() - before) as u64;
        }
        out
    }

    /// Reads changes as values.
    pub fn entries(&self, after: u64, limit: usize) -> Vec<HistoryEntry> {
        self.lines(after, limit).iter().filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    fn first_available(&self, from: u64) -> Option<u64> {
        let sealed = self.sealed.iter().map(|chunk| chunk.first);
        let filed = self.filed.iter().map(|chunk| chunk.first);
        sealed.chain(filed).chain([self.open_first]).filter(|first| *first > from).min()
    }

    fn chunk_with(&self, seq: u64) -> Option<(u64, std::borrow::Cow<'_, [u8]>)> {
        if seq >= self.open_first {
            return Some((self.open_first, self.open.as_slice().into()));
        }
        let at = self.sealed.partition_point(|chunk| chunk.first <= seq);
        if let Some(chunk) = at.checked_sub(1).and_then(|at| self.sealed.get(at))
            && seq < chunk.first + u64::from(chunk.count)
        {
            return lz4_flex::block::decompress_size_prepended(&chunk.lz4).ok().map(|text| (chunk.first, text.into()));
        }
        let at = self.filed.partition_point(|chunk| chunk.first <= seq);
        let chunk = at.checked_sub(1).and_then(|at| self.filed.get(at))?;
        let mut text = vec![0; chunk.bytes as usize];
        self.file.as_ref()?.read_exact_at(&mut text, chunk.offset).ok()?;
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        (seq < chunk.first + lines).then_some((chunk.first, text.into()))
    }
}

fn open_file(path: &Path) -> Result<File, SimError> {
    let failed = |cause| SimError::History { place: path.display().to_string(), cause };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    File::options().read(true).write(true).create(true).truncate(true).open(path).map_err(failed)
}

fn write_line(out: &mut Vec<u8>, seq: u64, draft: &Draft<'_>) {
    // Writing to a Vec cannot fail.
    let _ =
        write!(out, "{{\"seq\":{seq},\"at\":{},\"api\":\"{}\",\"request\":{}", draft.at_ms, draft.api, draft.request);
    if let Some(client) = draft.client {
        out.extend_from_slice(b",\"client\":");
        write_text(out, client);
    }
    let _ = write!(out, ",\"object\":\"{}\",\"id\":\"{}\"", draft.object, draft.id);
    if let Some((field, value)) = draft.external_id {
        let _ = write!(out, ",\"external_id_field\":\"{field}\",\"external_id\":");
        write_text(out, &value.to_string());
    }
    let _ = write!(out, ",\"op\":\"{}\"", draft.op.word());
    if let Some(cause) = draft.cause {
        let _ = write!(out, ",\"cause\":\"{cause}\"");
    }
    out.extend_from_slice(b",\"sent\":[");
    for (at, field) in draft.sent.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(out, field);
    }
    out.extend_from_slice(b"],\"changes\":{");
    for (at, (field, before, after)) in draft.changes.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(out, field);
        out.extend_from_slice(b":{\"before\":");
        before.write_json(out);
        out.extend_from_slice(b",\"after\":");
        after.write_json(out);
        out.push(b'}');
    }
    out.extend_from_slice(b"}}\n");
}

/// Writes `{"entries":[…],"last":n,"dropped":n}`.
pub fn write_page(history: &History, after: u64, limit: usize) -> Vec<u8> {
    let mut out = b"{\"entries\":[".to_vec();
    for (at, line) in history.lines(after, limit).iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b"],\"last\":");
    write_int(&mut out, history.last_seq() as i64);
    out.extend_from_slice(b",\"dropped\":");
    write_int(&mut out, history.dropped() as i64);
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(history: &mut History, text: &str) {
        let value = Value::Text(text.into());
        history.append(&Draft {
            at_ms: 1,
            api: "single",
            request: 7,
            client: Some("a\"b"),
            object: "Account",
            id: SfId::new(*b"001", 1),
            external_id: None,
            cause: None,
            op: HistoryOp::Create,
            sent: &["Name"],
            user: SfId::new(*b"005", 1),
            version: 62,
            told: None,
            changes: &[("Name", &Value::Null, &value)],
        });
        history.commit();
    }

    fn noise(seed: u32) -> String {
        (0..2000u32).map(|at| char::from(b'a' + ((at * 7919 + seed * 104_729) / 13 % 26) as u8)).collect()
    }

    #[test]
    fn entries_are_read_back_across_chunks_from_any_place() {
        let folder = tempfile::tempdir().unwrap();
        for path in [None, Some(folder.path().join("h/history.jsonl"))] {
            let mut history = History::new(if path.is_some() { 1 } else { usize::MAX }, path.as_deref()).unwrap();
            for seed in 0..500 {
                add(&mut history, &noise(seed));
            }
            assert!(!history.sealed.is_empty() || path.is_some());
            for (after, limit) in [(0, 1000), (3, 1), (130, 200), (499, 9), (500, 9), (700, 1)] {
                let entries = history.entries(after, limit);
                assert_eq!(entries.len(), limit.min(500usize.saturating_sub(after as usize)));
                for (at, entry) in entries.iter().enumerate() {
                    assert_eq!(entry.seq, after + 1 + at as u64);
                    assert_eq!(entry.after("Name").unwrap(), &noise(entry.seq as u32 - 1));
                    assert_eq!(entry.client.as_deref(), Some("a\"b"));
                }
            }
            assert_eq!(history.dropped(), 0);
        }
    }

    #[test]
    fn history_without_file_drops_the_oldest_over_the_limit_and_counts_them() {
        let mut history = History::new(1, None).unwrap();
        for seed in 0..300 {
            add(&mut history, &noise(seed));
        }
        assert!(history.dropped() > 0);
        let entries = history.entries(0, 1000);
        assert_eq!(entries[0].seq, history.dropped() + 1);
        assert_eq!(entries.last().unwrap().seq, 300);
    }

    #[test]
    fn rollback_forgets_exactly_what_came_after_the_mark() {
        let mut history = History::new(usize::MAX, None).unwrap();
        add(&mut history, "a");
        let mark = history.mark();
        add(&mut history, "b");
        history.rollback(mark);
        add(&mut history, "c");
        let entries = history.entries(0, 9);
        assert_eq!(entries.iter().map(|entry| entry.after("Name").unwrap().clone()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(history.last_seq(), 2);
    }

    #[test]
    fn flushed_file_holds_every_line_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut history = History::new(usize::MAX, Some(&path)).unwrap();
        for seed in 0..200 {
            add(&mut history, &noise(seed));
        }
        history.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        let seqs = text.lines().map(|line| serde_json::from_str::<HistoryEntry>(line).unwrap().seq);
        assert!(seqs.eq(1..=200));
        history.clear();
        add(&mut history, "x");
        assert_eq!(history.entries(0, 9)[0].seq, 1);
    }
}
