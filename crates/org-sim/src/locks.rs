//! Row locks between requests in flight: a write holds its own row and the parents that it touches.
//!
//! Only requests that take time hold locks (see `RowLocks`). A lock is a fingerprint; two that collide by chance only
//! contend where they need not.

use crate::answer::Request;
use crate::faults::Operation;
use crate::ids::SfId;
use crate::json::Json;
use crate::rest::Plan;
use crate::schema::Object;
use crate::store::{Store, index_key};
use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

/// Fingerprint of a row.
pub type LockKey = u64;

/// Who holds what.
#[derive(Debug, Default)]
pub struct Locks {
    held: HashMap<LockKey, u64>,
}

impl Locks {
    /// Takes what is free for `request`; returns the rows that lack a lock, each once, in order.
    pub fn acquire(&mut self, request: u64, wanted: &[(usize, LockKey)]) -> Vec<usize> {
        let mut blocked = Vec::new();
        for (row, key) in wanted {
            if *self.held.entry(*key).or_insert(request) != request {
                blocked.push(*row);
            }
        }
        blocked.sort_unstable();
        blocked.dedup();
        blocked
    }

    /// Gives back all that `request` holds.
    pub fn release(&mut self, request: u64) {
        if !self.held.is_empty() {
            self.held.retain(|_, holder| *holder != request);
        }
    }
}

/// The locks that each row of a write needs, sorted by row.
pub fn keys(store: &Store, plan: &Plan, request: &Request<'_>, lookups: bool) -> Vec<(usize, LockKey)> {
    let mut keys = Vec::new();
    if plan.operation == Operation::Read {
        return keys;
    }
    for id in plan.ids.iter().enumerate().filter_map(|(row, id)| Some((row, SfId::parse(id)?))) {
        keys.push((id.0, of_id(id.1)));
    }
    for (row, record) in plan.records(request).enumerate() {
        let typed = record.get("attributes").and_then(|attributes| attributes.get("type")).and_then(Json::text);
        let Some(table) = plan.object.as_deref().or(typed).and_then(|name| store.find_table(name)) else { continue };
        let object = &store.table(table).object;
        for (name, value) in record.members().unwrap_or_default() {
            keys.extend(
                of_member(store, table, object, plan.key_field.as_deref(), name, value, lookups).map(|key| (row, key)),
            );
        }
        if let (Some(field), Some(text)) = (&plan.key_field, &plan.key_value) {
            keys.push((row, of_text(object, field, text)));
        }
    }
    keys
}

/// The locks that a record of one table needs.
pub fn of_record(
    store: &Store,
    table: usize,
    key_field: Option<&str>,
    members: &[(std::borrow::Cow<'_, str>, Json<'_>)],
    lookups: bool,
) -> Vec<LockKey> {
    let object = &store.table(table).object;
    let of = |(name, value): &(std::borrow::Cow<'_, str>, Json<'_>)| {
        of_member(store, table, object, key_field, name, value, lookups)
    };
    members.iter().filter_map(of).collect()
}

fn of_member(
    store: &Store,
    table: usize,
    object: &Object,
    key_field: Option<&str>,
    name: &str,
    value: &Json<'_>,
    lookups: bool,
) -> Option<LockKey> {
    if name.eq_ignore_ascii_case("id") {
        return SfId::parse(value.text()?).map(of_id);
    }
    if key_field.is_some_and(|key| key.eq_ignore_ascii_case(name)) {
        let number = object.field(name)?;
        let key = crate::dml::convert(&object.fields[usize::from(number)], value).ok()?;
        // A row that exists is locked by its id, so that an update by id and an upsert meet.
        let found = store.table(table).find(number, &key).and_then(|slots| slots.first().copied());
        return match found.and_then(|slot| store.table(table).row(slot)) {
            Some(row) => Some(of_id(row.id)),
            None => Some(of_text(object, name, &index_key(&object.fields[usize::from(number)], &key)?)),
        };
    }
    let number = object.field(name).or_else(|| object.relationship(name))?;
    let reference = object.fields[usize::from(number)].reference.as_ref()?;
    if !(lookups || reference.master_detail) || reference.to.iter().any(|to| &**to == "User") {
        return None;
    }
    match value {
        Json::Text(id) => SfId::parse(id).map(of_id),
        Json::Object(members) => {
            let parent = store.find_table(reference.to.first()?)?;
            let (key, value) = members.iter().find(|(name, _)| name != "attributes")?;
            let parent_object = &store.table(parent).object;
            let field = parent_object.field(key)?;
            let key = crate::dml::convert(&parent_object.fields[usize::from(field)], value).ok()?;
            let slot = store.table(parent).find(field, &key)?.first().copied()?;
            store.table(parent).row(slot).map(|row| of_id(row.id))
        }
        _ => None,
    }
}

fn of_id(id: SfId) -> LockKey {
    xxh3_64(id.as_str().as_bytes())
}

fn of_text(object: &Object, field: &str, text: &str) -> LockKey {
    xxh3_64(format!("{}/{}/{text}", object.name, field.to_ascii_lowercase()).as_bytes())
}
