//! From external ids to record ids.

use super::ids::IdCache;
use super::{compare, decimal, query, soql};
use crate::transport::Transport;
use contract::{FieldKind, FieldSchema, OutBatch, SinkError};
use model::{FieldValue, ObjectName};
use std::collections::HashMap;
use std::sync::Arc;

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Absent,
    /// `cached`: from an earlier lookup, so it may be out of date.
    One {
        id: Arc<str>,
        cached: bool,
    },
    Many,
    /// The key is empty, or can be no value of the field.
    NoKey,
}

/// An object and the field that its records are matched by.
pub(crate) struct Target<'a> {
    pub transport: &'a Transport,
    pub cache: &'a IdCache,
    pub object: &'a ObjectName,
    pub field: &'a FieldSchema,
}

impl Target<'_> {
    /// Returns the one spelling of a key under which equal keys meet: as the org compares them.
    ///
    /// Text is trimmed, as the org stores it, and folded when the field is unique and not case-sensitive (only then is an
    /// upsert's match case-insensitive). Numbers lose what does not count. Ids are compared by their first 15 characters.
    /// None: no record can have this key.
    pub fn canonical(&self, text: &str) -> Option<String> {
        let text = text.trim();
        match self.field.kind {
            FieldKind::Int | FieldKind::Double | FieldKind::Currency => decimal::Decimal::parse(text)?.plain(),
            FieldKind::Id | FieldKind::Reference => {
                let id = matches!(text.len(), 15 | 18) && text.bytes().all(|b| b.is_ascii_alphanumeric());
                id.then(|| text[..15].to_owned())
            }
            _ if text.is_empty() => None,
            _ if self.field.unique && !self.field.case_sensitive => Some(text.to_lowercase()),
            _ => Some(text.to_owned()),
        }
    }

    /// The same for a row's key.
    pub fn canonical_key(&self, key: &FieldValue) -> Option<String> {
        self.canonical(&compare::value_text(key))
    }

    /// Writes a key as an encoded SOQL literal.
    pub fn literal(&self, key: &FieldValue) -> Option<String> {
        let text = compare::value_text(key);
        let literal = match self.field.kind {
            FieldKind::Int | FieldKind::Double | FieldKind::Currency => decimal::Decimal::parse(&text)?.plain()?,
            _ => soql::quoted(text.trim()),
        };
        Some(soql::encoded(&literal))
    }

    /// Forgets a row's cached id.
    pub fn drop_id(&self, batch: &OutBatch, row: usize) {
        if let Some(key) = batch.rows[row].key.as_ref().and_then(|key| self.canonical_key(key)) {
            self.cache.remove(self.object, &key);
        }
    }

    /// Finds the record of each of these rows, in their order.
    ///
    /// # Errors
    /// `SinkError` of a query; nothing was changed.
    pub async fn resolve(
        &self,
        batch: &OutBatch,
        rows: &[usize],
        use_cache: bool,
        spent: &mut u32,
    ) -> Result<Vec<Found>, SinkError> {
        let now = self.transport.clock.monotonic();
        let mut found = vec![Found::NoKey; rows.len()];
        // Canonical key → places in `rows` that ask for it.
        let mut asked: HashMap<String, Vec<usize>> = HashMap::new();
        let mut literals = Vec::with_capacity(rows.len());
        for (place, row) in rows.iter().enumerate() {
            let Some(key) = &batch.rows[*row].key else { continue };
            let (Some(canonical), Some(literal)) = (self.canonical_key(key), self.literal(key)) else { continue };
            if self.field.kind == FieldKind::Id {
                found[place] = Found::One { id: compare::value_text(key).trim().into(), cached: false };
                continue;
            }
            let cached = use_cache.then(|| self.cache.get(self.object, &canonical, now)).flatten();
            if let Some(id) = cached {
                found[place] = Found::One { id, cached: true };
                continue;
            }
            found[place] = Found::Absent;
            literals.push(literal);
            asked.entry(canonical).or_default().push(place);
        }
        self.ask(&literals, &asked, &mut found, spent).await?;
        for (key, places) in &asked {
            if let Found::One { id, .. } = &found[places[0]] {
                self.cache.put(self.object, key, id, now);
            }
        }
        Ok(found)
    }

    async fn ask(
        &self,
        literals: &[String],
        asked: &HashMap<String, Vec<usize>>,
        found: &mut [Found],
        spent: &mut u32,
    ) -> Result<(), SinkError> {
        let place = format!("look up {} by {}", self.object, self.field.name);
        let head = soql::encoded(&format!("SELECT Id, {0} FROM {1} WHERE {0} IN (", self.field.name, self.object));
        let room = soql::URI_BYTES_MAX.saturating_sub(self.transport.data_path.len() + head.len() + 16);
        for run in soql::runs(literals, room) {
            let text = format!("{head}{})", literals[run].join(","));
            query::run(self.transport, &text, &place, spent, |fields| {
                let id = query::field(fields, "Id").and_then(compare::raw_text);
                let key = query::field(fields, &self.field.name).and_then(compare::raw_text);
                let (Some(id), Some(key)) = (id, key.and_then(|key| self.canonical(&key))) else { return };
                for place in asked.get(&key).into_iter().flatten() {
                    found[*place] = match &found[*place] {
                        Found::One { id: other, .. } if **other != *id => Found::Many,
                        Found::Many => Found::Many,
                        _ => Found::One { id: Arc::from(&*id), cached: false },
                    };
                }
            })
            .await?;
        }
        Ok(())
    }
}
