//! From applied changes to events: gathers a transaction's changes and makes events of them when it is committed.
//!
//! ```text
//! history.append ─▶ pending ─ commit ─▶ one event per record ─ same change? merged ─▶ outbox ─▶ bus (numbers, keeps)
//!                      └ rollback: forgotten
//! ```
//!
//! Invariants:
//! 1. A change is in the outbox exactly when its transaction was committed and its object is selected.
//! 2. A transaction's events stand together and in the order of its first change to each record.
//! 3. What `pending` holds is bounded by the changes that a transaction may have before it overflows.

use super::change;
use super::config::EventsConfig;
use super::schema::{ChangeType, EventSchema};
use crate::dml::Cause;
use crate::history::HistoryOp;
use crate::ids::SfId;
use crate::schema::Object;
use crate::store::{Row, RowState};
use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Notify;

/// Who wrote, through what, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub at_ms: i64,
    pub user: SfId,
    pub api: &'static str,
    pub version: u32,
    pub client: Option<Box<str>>,
}

impl Source {
    /// `com/salesforce/api/rest/62.0;client=name`; empty for what the org does by itself.
    pub fn origin(&self) -> String {
        let api = match self.api {
            "setup" | "sim" => return String::new(),
            bulk if bulk.starts_with("bulk") => "bulkapi",
            _ => "rest",
        };
        let client = self.client.as_ref().map_or(String::new(), |client| format!(";client={client}"));
        format!("com/salesforce/api/{api}/{}.0{client}", self.version)
    }
}

/// A change to a record of a selected object.
#[derive(Debug)]
pub(super) struct Touch {
    pub schema: Arc<EventSchema>,
    pub id: SfId,
    pub change: ChangeType,
    /// From 1, over all changes of the transaction.
    pub sequence: i32,
    /// Numbers of the object's fields that an update changed.
    pub changed: Vec<u16>,
    /// Long texts as they were before an update.
    pub long: Vec<(u16, Box<str>)>,
    /// The row after the change.
    pub row: Row,
}

/// An event that has no place on the bus yet.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub schema: Arc<EventSchema>,
    /// None for a platform event.
    pub change: Option<ChangeType>,
    pub records: Arc<[SfId]>,
    pub payload: Bytes,
    pub uuid: Arc<str>,
    pub at_ms: i64,
}

/// A place to roll back to.
#[derive(Clone, Copy, Debug, Default)]
pub struct FeedMark {
    pending: usize,
    published: usize,
    overflowed: usize,
    sequence: i32,
    changes: u64,
}

/// The change to be told, all borrowed.
pub struct Told<'a> {
    pub object: &'a Object,
    pub row: &'a Row,
    pub old: Option<&'a Row>,
    pub change: ChangeType,
    pub kind: Kind,
}

/// Whether it is certain that Salesforce tells a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Usual,
    /// A row whose parent went or came back.
    Cleared,
    /// A live row that was deleted for good.
    HardDelete,
}

/// What of a change is told; none for the end of a row in the recycle bin.
pub fn told<'a>(
    op: HistoryOp,
    cause: Cause,
    object: &'a Object,
    row: &'a Row,
    old: Option<&'a Row>,
) -> Option<Told<'a>> {
    let change = match op {
        HistoryOp::Create => ChangeType::Create,
        HistoryOp::Update => ChangeType::Update,
        HistoryOp::Delete => ChangeType::Delete,
        HistoryOp::Undelete => ChangeType::Undelete,
        HistoryOp::Purge if old.is_some_and(|old| old.state == RowState::Live) => ChangeType::Delete,
        HistoryOp::Purge => return None,
    };
    let kind = match (op, cause) {
        (HistoryOp::Purge, _) => Kind::HardDelete,
        (HistoryOp::Update, Cause::Lookup) => Kind::Cleared,
        _ => Kind::Usual,
    };
    Some(Told { object, row, old, change, kind })
}

/// The feed of an org.
#[derive(Debug, Default)]
pub struct Feed {
    pub(super) config: EventsConfig,
    selected: HashSet<Arc<str>>,
    current: HashMap<Arc<str>, Arc<EventSchema>>,
    by_id: HashMap<Arc<str>, Arc<EventSchema>>,
    pub(super) pending: Vec<Touch>,
    pub(super) overflowed: Vec<Arc<EventSchema>>,
    published: Vec<Fresh>,
    source: Option<Source>,
    sequence: i32,
    changes: u64,
    pub(super) commits: u64,
    events: u64,
    /// Platform events that may still be published as records until the bus is asked again, and those that were.
    pub allowance: u64,
    pub used: u64,
    outbox: Vec<Fresh>,
    /// Told whenever the outbox got something.
    pub arrived: Arc<Notify>,
}

impl Feed {
    /// Makes a feed that tells nothing until objects are selected.
    pub fn new(config: EventsConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Numbers commits and platform events above a replay id that was never issued, so that no id comes again after a
    /// restart: neither is ever ahead of the replay ids.
    pub fn resume_after(&mut self, replay: u64) {
        (self.commits, self.events) = (replay, replay);
    }

    /// Selects the objects whose changes are told.
    pub fn select(&mut self, objects: HashSet<Arc<str>>) {
        self.selected = objects;
    }

    /// The schema of an object's events as it is now.
    pub fn schema(&mut self, object: &Object) -> Arc<EventSchema> {
        if let Some(known) = self.current.get(&object.name).filter(|known| known.fits(object)) {
            return known.clone();
        }
        let schema = Arc::new(EventSchema::new(object));
        // The newest of one id, so that it fits next time.
        self.by_id.insert(schema.id.clone(), schema.clone());
        self.current.insert(object.name.clone(), schema.clone());
        schema
    }

    /// A schema that was in use once.
    #[cfg_attr(not(feature = "pubsub"), allow(dead_code, reason = "only the Pub/Sub API asks"))]
    pub fn schema_by_id(&self, id: &str) -> Option<Arc<EventSchema>> {
        self.by_id.get(id).cloned()
    }

    /// Takes a change; it is told once the transaction is committed.
    pub fn tell(&mut self, source: impl FnOnce() -> Source, told: &Told<'_>) {
        self.sequence += 1;
        let silent = match told.kind {
            Kind::Usual => false,
            Kind::Cleared => !self.config.tell_cleared_lookups,
            Kind::HardDelete => !self.config.tell_hard_deletes,
        };
        if silent || !self.selected.contains(&told.object.name) {
            return;
        }
        self.source.get_or_insert_with(source);
        let by = told.old.is_some_and(|old| old.modified_by != told.row.modified_by);
        let (changed, long) = match told.change {
            ChangeType::Update => change::changes(told, by),
            _ => (Vec::new(), Vec::new()),
        };
        self.changes += (changed.len() as u64).max(1);
        let schema = self.schema(told.object);
        if self.changes > self.config.overflow_changes {
            if !self.overflowed.iter().any(|known| known.entity == schema.entity) {
                self.overflowed.push(schema);
            }
            return;
        }
        let touch = Touch {
            schema,
            id: told.row.id,
            change: told.change,
            sequence: self.sequence,
            changed,
            long,
            row: told.row.clone(),
        };
        self.pending.push(touch);
    }

    /// Publishes a platform event: at once, or when the transaction is committed.
    pub fn publish(&mut self, fresh: Fresh, at_once: bool) {
        if at_once {
            self.put([fresh]);
        } else {
            self.published.push(fresh);
        }
    }

    /// The number of the next platform event, from 1.
    pub fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// The place that `rollback` returns to.
    pub fn mark(&self) -> FeedMark {
        FeedMark {
            pending: self.pending.len(),
            published: self.published.len(),
            overflowed: self.overflowed.len(),
            sequence: self.sequence,
            changes: self.changes,
        }
    }

    /// Forgets what was told since `mark`; what was published at once stays published.
    pub fn rollback(&mut self, mark: FeedMark) {
        self.pending.truncate(mark.pending);
        self.published.truncate(mark.published);
        self.overflowed.truncate(mark.overflowed);
        (self.sequence, self.changes) = (mark.sequence, mark.changes);
        if mark.pending + mark.overflowed == 0 {
            self.source = None;
        }
    }

    /// Ends a transaction: makes its events.
    pub fn commit(&mut self) {
        (self.sequence, self.changes) = (0, 0);
        if let Some(source) = self.source.take() {
            self.commits += 1;
            let events = change::events(self, &source);
            self.pending.clear();
            self.overflowed.clear();
            self.put(events);
        }
        if !self.published.is_empty() {
            let published = std::mem::take(&mut self.published);
            self.put(published);
        }
    }

    fn put(&mut self, events: impl IntoIterator<Item = Fresh>) {
        let before = self.outbox.len();
        self.outbox.extend(events);
        if self.outbox.len() > before {
            self.arrived.notify_waiters();
        }
    }

    /// Tells that a change of these records cannot be told.
    pub fn gap(&mut self, source: &Source, object: &Object, records: &[SfId], change: ChangeType) {
        let schema = self.schema(object);
        self.commits += 1;
        let fresh = change::gap(self, source, &schema, records, change.gap());
        self.put([fresh]);
    }

    /// The gap that stands for an event that was made already.
    pub fn gap_of(&mut self, source: &Source, object: &Object, records: &[SfId], change: ChangeType) -> Fresh {
        let schema = self.schema(object);
        change::gap(self, source, &schema, records, change.gap())
    }

    /// What was made since the last call.
    pub fn take(&mut self) -> Vec<Fresh> {
        std::mem::take(&mut self.outbox)
    }

    /// Forgets everything but what is selected and the schemas.
    pub fn clear(&mut self) {
        self.rollback(FeedMark::default());
        self.outbox.clear();
    }
}
