//! Makes a transaction's events: one for each record, the same changes merged, what is too much or too large as a gap.

use super::avro::Datum;
use super::bitmap;
use super::diff::{DIFF_CHARS_MIN, diff};
use super::feed::{Feed, Fresh, Source, Told, Touch};
use super::schema::{ChangeType, EventSchema};
use crate::ids::SfId;
use crate::schema::{Object, Storage};
use crate::store::Row;
use bytes::Bytes;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::BTreeSet;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Records of a merged event.
const MERGED_MAX: usize = 10_000;

/// Numbers of the fields that an update changed, and long texts as they were. `by`: another user wrote last.
pub(super) fn changes(told: &Told<'_>, by: bool) -> (Vec<u16>, Vec<(u16, Box<str>)>) {
    let mut changed = Vec::new();
    let mut long = Vec::new();
    let empty = Row::default();
    let old = told.old.unwrap_or(&empty);
    for (number, field) in told.object.fields.iter().enumerate() {
        let number = number as u16;
        let differs = match field.storage {
            Storage::Cell => old.cell(number) != told.row.cell(number),
            // An update always tells its time.
            Storage::LastModifiedDate => true,
            Storage::LastModifiedById => by,
            Storage::Listed => old.value(told.object, number) != told.row.value(told.object, number),
            _ => false,
        };
        if !differs {
            continue;
        }
        changed.push(number);
        if let Some(text) = old.cell(number).text().filter(|text| field.long && text.len() >= DIFF_CHARS_MIN) {
            long.push((number, text.into()));
        }
    }
    (changed, long)
}

/// A record's changes of one transaction, put together.
struct Whole<'a> {
    first: &'a Touch,
    last: &'a Touch,
    change: ChangeType,
    changed: BTreeSet<u16>,
    long: Vec<(u16, &'a str)>,
}

/// Makes the events of the feed's pending changes.
pub(super) fn events(feed: &Feed, source: &Source) -> Vec<Fresh> {
    let mut drafts: Vec<EventDraft> = Vec::new();
    let mut same: HashMap<u64, usize> = HashMap::new();
    for whole in put_together(&feed.pending) {
        let draft = draft(feed, &whole);
        if feed.config.merge && matches!(draft.change, ChangeType::Update | ChangeType::Delete) {
            match same.entry(draft.fingerprint()) {
                Entry::Occupied(at) if drafts[*at.get()].takes(&draft) => {
                    drafts[*at.get()].records.push(whole.last.id);
                    continue;
                }
                Entry::Occupied(mut at) => {
                    at.insert(drafts.len());
                }
                Entry::Vacant(free) => {
                    free.insert(drafts.len());
                }
            }
        }
        drafts.push(draft);
    }
    let mut events: Vec<Fresh> = drafts.into_iter().map(|draft| finish(feed, source, draft)).collect();
    let last = feed.pending.last().map_or(0, |touch| touch.sequence);
    let nobody = SfId::parse("000000000000000AAA").expect("the id of no record is an id");
    for (at, schema) in feed.overflowed.iter().enumerate() {
        let overflow = EventDraft {
            sequence: last + 1 + at as i32,
            records: vec![nobody],
            ..EventDraft::new(schema.clone(), ChangeType::GapOverflow)
        };
        events.push(finish(feed, source, overflow));
    }
    events
}

/// A gap event outside of any transaction.
pub(super) fn gap(
    feed: &Feed,
    source: &Source,
    schema: &Arc<EventSchema>,
    records: &[SfId],
    change: ChangeType,
) -> Fresh {
    let draft = EventDraft { records: records.to_vec(), ..EventDraft::new(schema.clone(), change) };
    finish(feed, source, draft)
}

fn put_together(pending: &[Touch]) -> Vec<Whole<'_>> {
    let mut wholes: Vec<Option<Whole<'_>>> = Vec::new();
    let mut by_id: HashMap<SfId, usize> = HashMap::new();
    for touch in pending {
        let known = by_id.get(&touch.id).copied();
        let Some(whole) = known.and_then(|at| wholes[at].as_mut()) else {
            by_id.insert(touch.id, wholes.len());
            let long = touch.long.iter().map(|(field, text)| (*field, &**text)).collect();
            let changed = touch.changed.iter().copied().collect();
            wholes.push(Some(Whole { first: touch, last: touch, change: touch.change, changed, long }));
            continue;
        };
        whole.last = touch;
        whole.changed.extend(&touch.changed);
        for (field, text) in &touch.long {
            if !whole.long.iter().any(|(known, _)| known == field) {
                whole.long.push((*field, text));
            }
        }
        match (whole.change, touch.change) {
            // Nobody has seen the record: there is nothing to tell.
            (ChangeType::Create, ChangeType::Delete) => {
                if let Some(at) = known {
                    wholes[at] = None;
                }
            }
            (_, ChangeType::Delete) => whole.change = ChangeType::Delete,
            (ChangeType::Delete, change) => whole.change = change,
            _ => {}
        }
    }
    wholes.into_iter().flatten().collect()
}

/// An event before its header is written.
struct EventDraft {
    schema: Arc<EventSchema>,
    change: ChangeType,
    sequence: i32,
    records: Vec<SfId>,
    /// All but the header.
    body: Vec<Datum>,
    changed: Vec<Box<str>>,
    nulled: Vec<Box<str>>,
    diffs: Vec<Box<str>>,
}

impl EventDraft {
    fn new(schema: Arc<EventSchema>, change: ChangeType) -> Self {
        let body = vec![Datum::Null; schema.members().len() - 1];
        let (changed, nulled, diffs) = Default::default();
        Self { schema, change, sequence: 1, records: Vec::new(), body, changed, nulled, diffs }
    }

    fn fingerprint(&self) -> u64 {
        let mut bytes = self.schema.id.as_bytes().to_vec();
        bytes.push(self.change as u8);
        for entry in self.changed.iter().chain(&self.nulled) {
            bytes.extend_from_slice(entry.as_bytes());
        }
        for (value, member) in self.body.iter().zip(&self.schema.members()[1..]) {
            value.write(&member.kind, &mut bytes);
        }
        xxh3_64(&bytes)
    }

    fn takes(&self, other: &Self) -> bool {
        self.records.len() < MERGED_MAX
            && self.change == other.change
            && Arc::ptr_eq(&self.schema, &other.schema)
            && self.changed == other.changed
            && self.nulled == other.nulled
            && self.body == other.body
    }
}

fn draft(feed: &Feed, whole: &Whole<'_>) -> EventDraft {
    let touch = whole.last;
    let schema = &touch.schema;
    let object = &*schema.object;
    let mut draft = EventDraft::new(schema.clone(), whole.change);
    draft.sequence = whole.first.sequence;
    draft.records.push(touch.id);
    match whole.change {
        ChangeType::Create | ChangeType::Undelete => {
            let positions = 1..schema.members().len();
            draft.body = positions.map(|position| schema.value(object, &touch.row, position)).collect();
        }
        ChangeType::Update => update(feed, whole, object, &mut draft),
        _ => {}
    }
    draft
}

/// Fills in what an update changed, and only that.
fn update(feed: &Feed, whole: &Whole<'_>, object: &Object, draft: &mut EventDraft) {
    let (schema, row) = (&whole.last.schema, &whole.last.row);
    let (mut changed, mut nulled, mut diffs) = (Vec::new(), Vec::new(), Vec::new());
    for number in &whole.changed {
        let Some(place) = schema.place(*number) else { continue };
        changed.push(place);
        let value = super::schema::datum(&object.fields[usize::from(*number)], &row.value(object, *number));
        if value.is_null() {
            nulled.push(place);
            continue;
        }
        let slot = &mut draft.body[usize::from(place.0) - 1];
        if let Some(inner) = place.1 {
            if slot.is_null() {
                let members =
                    schema.members()[usize::from(place.0)].kind.record().map_or(0, |record| record.fields.len());
                *slot = Datum::Record(vec![Datum::Null; members]);
            }
            if let Datum::Record(members) = slot {
                members[usize::from(inner)] = value;
            }
            continue;
        }
        let before = whole.long.iter().find(|(field, _)| field == number).filter(|_| feed.config.diffs);
        match before.and_then(|(_, before)| diff(before, value.text()?)) {
            Some(text) => {
                diffs.push(place);
                *slot = Datum::Text(text.into());
            }
            None => *slot = value,
        }
    }
    draft.changed = bitmap::write(changed);
    draft.nulled = bitmap::write(nulled);
    draft.diffs = bitmap::write(diffs);
}

/// Writes the payload; an event that is too large becomes a gap.
fn finish(feed: &Feed, source: &Source, draft: EventDraft) -> Fresh {
    let (schema, records) = (draft.schema.clone(), draft.records.clone());
    let payload = schema.encode(with_header(draft.header(feed, source), draft.body));
    let (payload, change) = if payload.len() > feed.config.event_bytes_max {
        let gap = EventDraft {
            records: records.clone(),
            sequence: draft.sequence,
            ..EventDraft::new(schema.clone(), draft.change.gap())
        };
        (schema.encode(with_header(gap.header(feed, source), gap.body)), gap.change)
    } else {
        (payload, draft.change)
    };
    let id = format!("{}/{}/{}", schema.entity, feed.commits, draft.sequence);
    Fresh {
        uuid: uuid(id.as_bytes()).into(),
        schema,
        change: Some(change),
        records: records.into(),
        payload: Bytes::from(payload),
        at_ms: source.at_ms,
    }
}

fn with_header(header: Datum, body: Vec<Datum>) -> Vec<Datum> {
    std::iter::once(header).chain(body).collect()
}

/// The first commit's number: beyond what a float holds exactly, as in Salesforce.
const COMMIT_FIRST: i64 = 1_652_977_933_000_000_000;

impl EventDraft {
    fn header(&self, feed: &Feed, source: &Source) -> Datum {
        let text = |text: &str| Datum::Text(text.into());
        Datum::Record(vec![
            text(&self.schema.entity),
            Datum::Texts(self.records.iter().map(|id| id.as_str().into()).collect()),
            Datum::Symbol(self.change as usize),
            text(&source.origin()),
            text(&uuid(format!("transaction/{}/{}", feed.commits, source.at_ms).as_bytes())),
            Datum::Int(self.sequence),
            Datum::Long(source.at_ms - source.at_ms.rem_euclid(1000)),
            Datum::Long(COMMIT_FIRST + feed.commits as i64 * 7),
            text(source.user.as_str()),
            Datum::Texts(self.nulled.clone()),
            Datum::Texts(self.diffs.clone()),
            Datum::Texts(self.changed.clone()),
        ])
    }
}

/// An id in the form of a UUID, the same for the same bytes.
pub fn uuid(bytes: &[u8]) -> String {
    let hash = xxh3_128(bytes);
    let (a, b, c) = (hash >> 96, hash >> 80 & 0xffff, hash >> 64 & 0x0fff | 0x4000);
    let (d, e) = (hash >> 48 & 0x3fff | 0x8000, hash & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}
