//! What the APIs ask of an org's events: topics, reading after a place, publishing, and the control requests.

use super::avro::Datum;
use super::bitmap;
use super::bus::Bus;
use super::channel::{Member, Topic};
use super::feed::{Fresh, Source};
use super::schema::{ChangeType, EventSchema};
use crate::faults::{Api, Operation, Seen};
use crate::ids::SfId;
use crate::org::Org;
use crate::store::{RowState, Store};
use bytes::Bytes;
use std::sync::Arc;

/// A place in a topic: what was delivered last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to this id was delivered.
    pub after: u64,
    /// And so many parts of the event after it: an enriched channel cuts a merged event into one for each record.
    pub parts: usize,
}

/// An event on its way to a subscriber.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub replay: u64,
    pub uuid: Arc<str>,
    pub schema: Arc<EventSchema>,
    pub payload: Bytes,
}

/// An event as a test in the same process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEntry {
    pub replay: u64,
    /// The EventUuid.
    pub id: String,
    pub schema_id: String,
    /// The Avro schema that the payload was written with.
    pub schema: Arc<str>,
    /// One Avro datum in binary form.
    pub payload: Bytes,
}

/// Why a topic cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The deliveries of the day are used up.
    Limit,
}

/// Bytes of the events of one page.
const PAGE_BYTES_MAX: usize = 2_900_000;

impl Org {
    /// Brings what was committed to the bus; fault rules for `events` are heeded here.
    pub fn pump_events(&mut self, now_ms: i64) {
        let due = self.bus.due(now_ms);
        for event in due {
            self.bus.put(event, now_ms);
        }
        for event in self.history.feed.take() {
            self.put_event(event, now_ms);
        }
        self.bus.trim(now_ms);
        let used = std::mem::take(&mut self.history.feed.used);
        self.bus.published.take(now_ms, used);
        self.history.feed.allowance = self.bus.published.left(now_ms);
        self.store.note_replay(self.bus.last());
    }

    fn put_event(&mut self, event: Fresh, now_ms: i64) {
        if self.faults.is_empty() {
            self.bus.put(event, now_ms);
            return;
        }
        let seen = Seen {
            api: Api::Events,
            object: Some(&event.schema.entity),
            operation: operation(event.change),
            client: None,
            keys: &[],
            rows: event.records.len(),
        };
        let decided = self.faults.decide(&seen);
        let event = match (decided.gap, event.change) {
            (true, Some(change)) => self.as_gap(event, change, now_ms),
            _ => event,
        };
        if decided.lose {
            self.bus.lost += 1;
            return;
        }
        if decided.duplicate {
            self.bus.put(event.clone(), now_ms);
        }
        if decided.late_ms > 0 {
            self.bus.put_late(event, now_ms + decided.late_ms as i64);
        } else {
            self.bus.put(event, now_ms);
        }
    }

    fn as_gap(&mut self, event: Fresh, change: ChangeType, now_ms: i64) -> Fresh {
        let Some(table) = self.store.find_table(&event.schema.entity) else { return event };
        let source = Source { at_ms: now_ms, user: SfId::new(*b"005", 1), api: "sim", version: 0, client: None };
        self.history.feed.gap_of(&source, &self.store.table(table).object, &event.records, change)
    }

    /// Finds a topic by its name.
    pub fn topic(&self, name: &str) -> Option<Topic> {
        self.channels.topic(name, self.store.tables().iter().map(|table| table.object.name.clone()))
    }

    /// The schema of a topic's events as it is now; none for a topic with events of several kinds.
    pub fn topic_schema(&mut self, topic: &Topic) -> Option<Arc<EventSchema>> {
        let table = self.store.find_table(topic.single()?)?;
        Some(self.history.feed.schema(&self.store.table(table).object))
    }

    /// Reads at most `limit` events after `cursor` and moves it on, past what the topic does not carry as well.
    ///
    /// # Errors
    /// `ReadError::Limit` when there is something to deliver and nothing may be delivered any more.
    pub fn read_topic(
        &mut self,
        topic: &Topic,
        cursor: &mut Cursor,
        limit: usize,
        now_ms: i64,
    ) -> Result<Vec<Delivery>, ReadError> {
        self.pump_events(now_ms);
        let allowed = self.bus.delivered.left(now_ms);
        let limit_now = limit.min(usize::try_from(allowed).unwrap_or(usize::MAX));
        let mut page = Vec::new();
        let mut bytes = 0;
        let mut refused = false;
        for stored in self.bus.after(cursor.after) {
            let Some(member) = topic.member(&stored.event.schema.entity) else {
                *cursor = Cursor { after: stored.replay, parts: 0 };
                continue;
            };
            let parts = deliveries(&self.store, member, stored.replay, &stored.event);
            let done = cursor.parts.min(parts.len());
            let room = limit_now - page.len();
            let (taken, whole) = (room.min(parts.len() - done), done + room >= parts.len());
            bytes += parts[done..done + taken].iter().map(|part| part.payload.len() + 100).sum::<usize>();
            if bytes > PAGE_BYTES_MAX && !page.is_empty() {
                break;
            }
            page.extend(parts.into_iter().skip(done).take(taken));
            if !whole {
                cursor.parts = done + taken;
                refused = limit_now < limit && page.is_empty();
                break;
            }
            *cursor = Cursor { after: stored.replay, parts: 0 };
        }
        self.bus.delivered.take(now_ms, page.len() as u64);
        if refused { Err(ReadError::Limit) } else { Ok(page) }
    }

    /// Publishes a platform event from its values, as `schema` has them; its replay id.
    ///
    /// # Errors
    /// A sentence, when the hour's publications are used up.
    pub fn publish_event(
        &mut self,
        schema: &Arc<EventSchema>,
        uuid: &str,
        payload: Bytes,
        now_ms: i64,
    ) -> Result<u64, &'static str> {
        self.pump_events(now_ms);
        if self.bus.published.left(now_ms) == 0 {
            return Err("The hourly limit of published platform events is reached");
        }
        self.bus.published.take(now_ms, 1);
        let fresh = Fresh {
            schema: schema.clone(),
            change: None,
            records: Arc::new([]),
            payload,
            uuid: uuid.into(),
            at_ms: now_ms,
        };
        let replay = self.bus.put(fresh, now_ms);
        self.store.note_replay(replay);
        self.history.feed.arrived.notify_waiters();
        Ok(replay)
    }

    /// Tells a gap of these records.
    pub fn gap(&mut self, object: &str, records: &[SfId], change: ChangeType, now_ms: i64) -> bool {
        let Some(table) = self.store.find_table(object) else { return false };
        let source = Source { at_ms: now_ms, user: SfId::new(*b"005", 1), api: "sim", version: 0, client: None };
        self.history.feed.gap(&source, &self.store.table(table).object, records, change);
        self.pump_events(now_ms);
        true
    }

    /// At most `limit` events of a topic with a replay id above `after`, in order; none when there is no such topic.
    ///
    /// Nothing is counted as delivered.
    pub fn events(&mut self, now_ms: i64, topic: &str, after: u64, limit: usize) -> Option<Vec<EventEntry>> {
        let topic = self.topic(topic)?;
        let entry = |delivery: Delivery| EventEntry {
            replay: delivery.replay,
            id: delivery.uuid.to_string(),
            schema_id: delivery.schema.id.to_string(),
            schema: delivery.schema.json.clone(),
            payload: delivery.payload,
        };
        Some(self.peek_topic(&topic, after, limit, now_ms).into_iter().map(entry).collect())
    }

    /// The events of a topic after a place, as `read_topic` gives them, without counting them as delivered.
    pub fn peek_topic(&mut self, topic: &Topic, after: u64, limit: usize, now_ms: i64) -> Vec<Delivery> {
        self.pump_events(now_ms);
        let events =
            self.bus.after(after).filter_map(|stored| Some((topic.member(&stored.event.schema.entity)?, stored)));
        let parts = events.flat_map(|(member, stored)| deliveries(&self.store, member, stored.replay, &stored.event));
        parts.take(limit).collect()
    }
}

/// The bus of a new org.
pub fn new_bus(config: &crate::config::OrgConfig, now_ms: i64) -> Bus {
    use crate::config::Edition;
    let (published, delivered) = match config.edition {
        Edition::Developer => (50_000, 10_000),
        Edition::Enterprise => (250_000, 25_000),
        Edition::Unlimited => (250_000, 50_000),
    };
    let extra = |count| if config.events.add_on { count } else { 0 };
    let delivered = config.events.delivered_max.unwrap_or(delivered + extra(100_000));
    let published = config.events.published_max.unwrap_or(published + extra(25_000));
    Bus::new(&config.events, delivered, published, now_ms)
}

fn operation(change: Option<ChangeType>) -> Operation {
    match change {
        None | Some(ChangeType::Create | ChangeType::GapCreate) => Operation::Create,
        Some(ChangeType::Delete | ChangeType::GapDelete) => Operation::Delete,
        Some(_) => Operation::Update,
    }
}

/// What a subscriber gets of an event: itself, or on an enriched or filtered channel one for each record that is meant.
fn deliveries(store: &Store, member: Option<&Member>, replay: u64, event: &Fresh) -> Vec<Delivery> {
    let whole = |payload: Bytes| Delivery { replay, uuid: event.uuid.clone(), schema: event.schema.clone(), payload };
    let Some(member) = member.filter(|member| !member.enrich.is_empty() || member.filter.is_some()) else {
        return vec![whole(event.payload.clone())];
    };
    if !matches!(
        event.change,
        None | Some(ChangeType::Create | ChangeType::Update | ChangeType::Delete | ChangeType::Undelete)
    ) {
        // Gaps carry nothing that could be looked at.
        return vec![whole(event.payload.clone())];
    }
    // What was encoded here is decoded here.
    let Ok(Datum::Record(values)) = Datum::read(&event.schema.kind, &event.payload) else { return Vec::new() };
    let Some(change) = event.change else {
        let meets =
            member.filter.as_ref().is_none_or(|filter| filter.meets(&|path| look_up(&event.schema, &values, path)));
        return if meets { vec![whole(event.payload.clone())] } else { Vec::new() };
    };
    let one = |id: &SfId| {
        let mut values = values.clone();
        if let Datum::Record(header) = &mut values[0] {
            header[1] = Datum::Texts(vec![id.as_str().into()]);
        }
        if matches!(change, ChangeType::Update | ChangeType::Delete) {
            enrich(store, &event.schema, member, *id, &mut values);
        }
        let meets =
            member.filter.as_ref().is_none_or(|filter| filter.meets(&|path| look_up(&event.schema, &values, path)));
        meets.then(|| whole(event.schema.encode(values).into()))
    };
    event.records.iter().filter_map(one).collect()
}

/// Fills in the values of fields that did not change, as the record has them now.
fn enrich(store: &Store, schema: &EventSchema, member: &Member, id: SfId, values: &mut [Datum]) {
    let Some((table, _, row)) = store.row_of(id).filter(|(_, _, row)| row.state != RowState::Gone) else { return };
    let nulled = match values[0].members().get(9) {
        Some(Datum::Texts(entries)) => bitmap::read(entries).unwrap_or_default(),
        _ => Vec::new(),
    };
    for position in member.enrich.iter().filter_map(|name| schema.position(name)) {
        let set_to_null = nulled.iter().any(|(at, inner)| usize::from(*at) == position && inner.is_none());
        if values[position].is_null() && !set_to_null {
            values[position] = schema.value(&store.table(table).object, row, position);
        }
    }
}

/// The value at `Name`, `BillingAddress.City` or `ChangeEventHeader.changeType`; null when there is none.
pub fn look_up(schema: &EventSchema, values: &[Datum], path: &str) -> Datum {
    let (top, inner) = path.split_once('.').map_or((path, None), |(top, inner)| (top, Some(inner)));
    let Some(position) = schema.position(top) else { return Datum::Null };
    let Some(inner) = inner else { return values[position].clone() };
    let record = schema.members()[position].kind.record();
    let at = record.and_then(|record| record.fields.iter().position(|member| member.name.eq_ignore_ascii_case(inner)));
    match (
        at.and_then(|at| values[position].members().get(at)),
        record.and_then(|record| Some(&record.fields[at?].kind)),
    ) {
        (Some(Datum::Symbol(symbol)), Some(super::avro::Type::Enum(of))) => {
            Datum::Text(of.symbols.get(*symbol).copied().unwrap_or_default().into())
        }
        (Some(value), _) => value.clone(),
        _ => Datum::Null,
    }
}
