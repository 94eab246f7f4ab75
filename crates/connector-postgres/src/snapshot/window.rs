//! The capture loop's side of the copy: which keys changed between a chunk's watermarks, and which rows came whole by the
//! stream since the session began, so that the copy need not send them again.

use super::delivered::Delivered;
use super::ledger::LedgerEntry;
use super::visibility::{Horizon, VisibleSnapshot};
use crate::column_type::RelationDescription;
use crate::envelope::RelationPlan;
use crate::pgoutput::{ColumnText, Tuple};
use bytes::Bytes;
use contract::{AcceptedEnd, ProducerState};
use model::Lsn;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use xxhash_rust::xxh3::Xxh3;

/// Changed keys remembered at most (some 32 MB); with more the chunk is given up and read again.
const TOUCHED_MAX: usize = 1_000_000;

/// What the copier tells the capture loop. Each is sent before the watermark that it belongs to is written, so that it is
/// there when the watermark is read from the stream.
#[derive(Debug)]
pub(crate) enum CopyMessage {
    Announce(Announced),
    Rows(Box<ChunkRows>),
    /// Nothing is left to copy in this session.
    Finished,
}

/// A chunk is about to be read.
#[derive(Debug)]
pub(crate) struct Announced {
    /// The text of its low watermark.
    pub(crate) low: String,
    pub(crate) oid: u32,
    /// The copy key's columns.
    pub(crate) key: Vec<String>,
    /// A new baseline, when one was asked for or the old one is to be given up.
    pub(crate) baseline: Option<VisibleSnapshot>,
    pub(crate) baseline_released: bool,
}

/// A chunk's rows.
#[derive(Debug)]
pub(crate) struct ChunkRows {
    /// The text of its high watermark.
    pub(crate) high: String,
    /// Which of the source's streams it goes to.
    pub(crate) outlet: usize,
    pub(crate) plan: Arc<RelationPlan>,
    /// Places of the key's columns in a row.
    pub(crate) key_places: Arc<[usize]>,
    /// Names of a row's columns.
    pub(crate) columns: Arc<[String]>,
    /// Rows one after the other; per column a big-endian `i32` length (-1: null) and the text.
    pub(crate) rows: Bytes,
    pub(crate) count: u64,
    pub(crate) snapshot: VisibleSnapshot,
    pub(crate) entry: LedgerEntry,
    pub(crate) state: ProducerState,
    pub(crate) reply: oneshot::Sender<ChunkOutcome>,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkOutcome {
    /// `superseded`: rows that a change in the window has taken out.
    Appended { end: AcceptedEnd, superseded: u64 },
    /// A transaction before the chunk is not visible to it yet.
    Hidden { xid: u32 },
    /// Too much was seen since: send a new baseline.
    NeedsBaseline,
    /// More keys changed than can be remembered, or the table was altered: read it again.
    Spoiled,
}

/// The capture loop's side of the copy.
#[derive(Debug)]
pub(crate) struct Window {
    messages: Option<mpsc::Receiver<CopyMessage>>,
    pub(crate) horizon: Horizon,
    open: Option<Open>,
    delivered: Delivered,
}

#[derive(Debug)]
struct Open {
    announced: Announced,
    low: Lsn,
    touched: HashSet<u128>,
    /// The table was emptied: no row that was read before stands any more.
    truncated: bool,
    spoiled: bool,
    /// Places of the key's columns in the table's tuples, of its present shape.
    places: Option<Vec<usize>>,
}

/// What is to be done at a high watermark.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) rows: Box<ChunkRows>,
    pub(crate) low: Lsn,
    /// None: the rows may be appended.
    pub(crate) verdict: Option<ChunkOutcome>,
    touched: HashSet<u128>,
    truncated: bool,
}

impl Closed {
    /// True when a row of the chunk still stands as it was read.
    pub(crate) fn stands(&self, key: u128) -> bool {
        !self.truncated && !self.touched.contains(&key)
    }

    /// The key of one of its rows.
    pub(crate) fn key_of(&self, columns: &[ColumnText<'_>]) -> u128 {
        key_hash(self.rows.key_places.iter().map(|place| columns[*place]))
    }
}

impl Window {
    /// Nothing is copied.
    pub(crate) fn closed() -> Self {
        let mut window =
            Self { messages: None, horizon: Horizon::default(), open: None, delivered: Delivered::default() };
        window.finish();
        window
    }

    /// `tables`: what is to be copied, by relation id and key columns; one that goes to several streams stands several times.
    pub(crate) fn new(
        messages: mpsc::Receiver<CopyMessage>,
        baseline: &VisibleSnapshot,
        tables: impl IntoIterator<Item = (u32, Vec<String>)>,
    ) -> Self {
        let mut horizon = Horizon::default();
        horizon.set_baseline(baseline);
        Self { messages: Some(messages), horizon, open: None, delivered: Delivered::of(tables) }
    }

    /// True when changes of this relation must be told to `touch`: it is being copied, or will be.
    #[inline]
    pub(crate) fn watches(&self, relation_id: u32) -> bool {
        self.messages.is_some() && self.delivered.watches(relation_id)
    }

    /// True when the row of this key stands whole in the log already, from the stream of this session.
    pub(crate) fn has_whole(&self, relation_id: u32, key: u128) -> bool {
        self.delivered.has(relation_id, key)
    }

    /// A table's copy into one stream is done.
    pub(crate) fn copied(&mut self, relation_id: u32) {
        self.delivered.copied(relation_id);
    }

    /// A low watermark was read.
    pub(crate) fn low(&mut self, text: &[u8], lsn: Lsn, shape: impl FnOnce(u32) -> Option<RelationDescription>) {
        self.horizon.low();
        self.open = None;
        while let Some(message) = self.next_message() {
            if let CopyMessage::Announce(announced) = message
                && announced.low.as_bytes() == text
            {
                if let Some(baseline) = &announced.baseline {
                    self.horizon.set_baseline(baseline);
                }
                if announced.baseline_released {
                    self.horizon.release_baseline();
                }
                let shape = shape(announced.oid);
                let places = shape.and_then(|shape| places_of(&announced.key, &shape));
                let (touched, truncated, spoiled) = (HashSet::new(), false, false);
                self.open = Some(Open { announced, low: lsn, touched, truncated, spoiled, places });
                return;
            }
        }
    }

    /// A high watermark was read; none when no chunk waits for it.
    pub(crate) fn high(&mut self, text: &[u8]) -> Option<Closed> {
        let open = self.open.take();
        while let Some(message) = self.next_message() {
            let CopyMessage::Rows(rows) = message else { continue };
            if rows.high.as_bytes() != text {
                continue;
            }
            let Some(open) = open else {
                return Some(Closed {
                    rows,
                    low: Lsn(0),
                    verdict: Some(ChunkOutcome::Spoiled),
                    touched: HashSet::new(),
                    truncated: true,
                });
            };
            let verdict = if open.spoiled {
                Some(ChunkOutcome::Spoiled)
            } else if self.horizon.overflown() {
                Some(ChunkOutcome::NeedsBaseline)
            } else {
                self.horizon.hidden(&rows.snapshot).map(|xid| ChunkOutcome::Hidden { xid })
            };
            return Some(Closed { rows, low: open.low, verdict, touched: open.touched, truncated: open.truncated });
        }
        None
    }

    fn next_message(&mut self) -> Option<CopyMessage> {
        let message = self.messages.as_mut()?.try_recv().ok()?;
        if matches!(message, CopyMessage::Finished) {
            self.finish();
        }
        Some(message)
    }

    /// Looks whether the copier has finished, when no watermark will tell.
    pub(crate) fn look(&mut self) {
        if self.open.is_none()
            && self.messages.as_ref().is_some_and(|messages| messages.is_closed() && messages.is_empty())
        {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.horizon.switch_off();
        self.messages = None;
        self.delivered = Delivered::default();
    }

    /// The watched table's shape was sent again.
    pub(crate) fn reshaped(&mut self, shape: &RelationDescription) {
        self.delivered.reshaped(shape);
        if let Some(open) = self.open.as_mut().filter(|open| open.announced.oid == shape.relation_id) {
            open.places = places_of(&open.announced.key, shape);
            open.spoiled |= open.places.is_none();
        }
    }

    /// A row of a watched table was changed: its old and new versions, as far as sent.
    pub(crate) fn touch(&mut self, relation_id: u32, old: Option<Tuple<'_>>, new: Option<Tuple<'_>>) {
        self.delivered.change(relation_id, new);
        let Some(open) = self.open.as_mut().filter(|open| open.announced.oid == relation_id) else { return };
        let Some(places) = &open.places else {
            open.spoiled = true;
            return;
        };
        let old_key = old.map(|tuple| key_columns(tuple, places));
        if let Some(old) = &old_key {
            open.touched.insert(key_hash(old.iter().copied()));
        }
        if let Some(new) = new {
            let new_key = key_columns(new, places);
            // A key column that is too wide to be sent again stands in the old row.
            let whole = new_key.iter().enumerate().map(|(place, column)| match (column, &old_key) {
                (ColumnText::Unchanged, Some(old)) => old.get(place).copied().unwrap_or(ColumnText::Unchanged),
                (column, _) => *column,
            });
            let whole: Vec<ColumnText<'_>> = whole.collect();
            open.spoiled |= whole.contains(&ColumnText::Unchanged);
            open.touched.insert(key_hash(whole.into_iter()));
        }
        if open.touched.len() > TOUCHED_MAX {
            open.touched = HashSet::new();
            open.spoiled = true;
        }
    }

    /// A table was emptied.
    pub(crate) fn truncated(&mut self, relation_id: u32) {
        if let Some(open) = self.open.as_mut().filter(|open| open.announced.oid == relation_id) {
            open.truncated = true;
        }
    }
}

pub(super) fn places_of(key: &[String], shape: &RelationDescription) -> Option<Vec<usize>> {
    key.iter().map(|name| shape.columns.iter().position(|column| column.name == *name)).collect()
}

/// The key's columns of a tuple, in key order.
pub(super) fn key_columns<'a>(tuple: Tuple<'a>, places: &[usize]) -> Vec<ColumnText<'a>> {
    let columns: Vec<ColumnText<'a>> = tuple.columns().collect();
    places.iter().map(|place| columns.get(*place).copied().unwrap_or(ColumnText::Unchanged)).collect()
}

/// Hashes a key's text; 128 bits, so that two keys of one window never meet in practice.
pub(crate) fn key_hash<'a>(columns: impl Iterator<Item = ColumnText<'a>>) -> u128 {
    let mut hash = Xxh3::new();
    for column in columns {
        match column {
            ColumnText::Text(text) => {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            ColumnText::Null => hash.update(&u64::MAX.to_le_bytes()),
            ColumnText::Unchanged => hash.update(&(u64::MAX - 1).to_le_bytes()),
        }
    }
    hash.digest128()
}
