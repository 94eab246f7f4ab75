//! The index of dead letters in the state store.
//!
//! Layout: space `dlq`, key the dead letter's offset in `_dead_letters` with 20 digits, value one JSON object (frozen sample below);
//! space `dlq_at`, key `<route>/<partition>/<offset with 20 digits>` of the original, value that id; space `dlq_meta`,
//! key `indexed`, value the offset below which the index is whole, in decimal digits.

use super::edit::DlqEdit;
use super::letter::parse_letter;
use crate::settle::{DEAD_LETTERS, internal};
use contract::{Log, StateError, StateOp, StateStore};
use model::{DeadLetter, ErrorClass, Offset, Position, Record, RouteId, StreamId, header};
use serde::{Deserialize, Serialize};

pub(crate) const SPACE: &str = "dlq";
pub(crate) const AT_SPACE: &str = "dlq_at";
const META_SPACE: &str = "dlq_meta";
const INDEXED: &str = "indexed";
const READ_BYTES: usize = 1 << 20;
/// Characters of a key that the index shows.
const KEY_CHARS_MAX: usize = 200;

/// What was decided about a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DlqStatus {
    /// Set when it is buried, and when a retry failed again.
    Open,
    /// Set by `retry`: a run takes it up.
    Retried,
    /// Set by `drop`: final.
    Dropped,
    /// Set by a run when a retry was applied or superseded: final.
    Resolved,
}

/// A dead letter as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DlqEntry {
    /// Its offset in `_dead_letters`.
    pub id: Offset,
    pub status: DlqStatus,
    pub route: RouteId,
    pub stream: StreamId,
    /// `schema.table`, where the original says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Where the original stands.
    pub position: Position,
    /// The original's key, as text, shortened.
    pub key: String,
    pub class: ErrorClass,
    pub code: String,
    pub message: String,
    pub attempts: u32,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// What came of the last retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// When a retry went to the target without a known answer, Unix milliseconds: it is read back before it is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at_ms: Option<i64>,
    /// Values that an operator put in the place of the original's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<DlqEdit>,
}

impl DlqEntry {
    /// `original` gives key and table.
    pub(crate) fn new(id: Offset, letter: &DeadLetter, original: &Record<'_>) -> Self {
        let table = original.header(header::TABLE).map(|table| String::from_utf8_lossy(table).into_owned());
        Self {
            id,
            status: DlqStatus::Open,
            route: letter.route.clone(),
            stream: letter.stream.clone(),
            table,
            position: letter.position,
            key: String::from_utf8_lossy(original.key.unwrap_or_default()).chars().take(KEY_CHARS_MAX).collect(),
            class: letter.class,
            code: letter.code.clone(),
            message: letter.message.clone(),
            attempts: letter.attempts,
            at_ms: letter.at_ms,
            result: None,
            sent_at_ms: None,
            edit: None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry holds only strings and numbers")
    }
}

pub(crate) fn id_key(id: Offset) -> String {
    format!("{:020}", id.0)
}

pub(crate) fn at_key(route: &RouteId, position: Position) -> String {
    format!("{route}/{}/{:020}", position.partition.0, position.offset.0)
}

/// The operations that store an entry.
pub(crate) fn put_entry(entry: &DlqEntry) -> [StateOp; 2] {
    [
        StateOp::Put { space: SPACE, key: id_key(entry.id), value: entry.encode() },
        StateOp::Put {
            space: AT_SPACE,
            key: at_key(&entry.route, entry.position),
            value: id_key(entry.id).into_bytes(),
        },
    ]
}

/// Reads an entry, with its stored bytes for a compare-and-set.
pub(crate) async fn load(state: &dyn StateStore, id: Offset) -> Result<Option<(DlqEntry, Vec<u8>)>, StateError> {
    let key = id_key(id);
    let Some(bytes) = state.get(SPACE, &key).await? else { return Ok(None) };
    decode(&key, &bytes).map(|entry| Some((entry, bytes)))
}

pub(crate) fn decode(key: &str, bytes: &[u8]) -> Result<DlqEntry, StateError> {
    serde_json::from_slice(bytes).map_err(|error| StateError::Malformed {
        space: SPACE.into(),
        key: key.into(),
        cause: error.to_string(),
    })
}

/// Finds the newest dead letter of an original.
pub(crate) async fn entry_at(
    state: &dyn StateStore,
    route: &RouteId,
    position: Position,
) -> Result<Option<DlqEntry>, StateError> {
    let Some(id) = state.get(AT_SPACE, &at_key(route, position)).await? else { return Ok(None) };
    let Some(id) = std::str::from_utf8(&id).ok().and_then(|id| id.parse().ok()) else { return Ok(None) };
    Ok(load(state, Offset(id)).await?.map(|(entry, _)| entry))
}

/// Adds what the stream has and the index has not. Run once at start, before anything is buried.
///
/// # Errors
/// As `Log::read` and `StateStore::write`.
pub(crate) async fn heal(log: &dyn Log, state: &dyn StateStore) -> Result<(), crate::engine::EngineError> {
    let stream = internal(DEAD_LETTERS);
    let bounds = log.bounds(&stream)?;
    let indexed = state.get(META_SPACE, INDEXED).await?;
    let indexed = indexed.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok()).map_or(bounds.start, Offset);
    let mut at = indexed.max(bounds.start);
    while at < bounds.durable {
        for batch in log.read(&stream, at, READ_BYTES).await? {
            let skip = at.0.saturating_sub(batch.base.0) as usize;
            for (offset, record) in (batch.base.0..).map(Offset).zip(&batch.records).skip(skip) {
                let missing = missing_entry(state, offset, &record).await?;
                if let Some(entry) = missing {
                    state.write(put_entry(&entry).into()).await?;
                }
            }
            at = batch.end();
        }
    }
    let value = at.0.to_string().into_bytes();
    state.write(vec![StateOp::Put { space: META_SPACE, key: INDEXED.into(), value }]).await?;
    Ok(())
}

async fn missing_entry(
    state: &dyn StateStore,
    offset: Offset,
    record: &Record<'_>,
) -> Result<Option<DlqEntry>, crate::engine::EngineError> {
    if load(state, offset).await?.is_some() {
        return Ok(None);
    }
    let letter = parse_letter(offset, record)?;
    Ok(Some(DlqEntry::new(offset, &letter, record)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Partition;

    /// As written by the first version. Never change it: it is what lies on disks.
    const FROZEN: &str = r#"{"id":7,"status":"open","route":"orders","stream":"shop","position":{"partition":0,"offset":42},"key":"{\"id\":1}","class":"business_rule","code":"FIELD_CUSTOM_VALIDATION_EXCEPTION","message":"no","attempts":1,"at_ms":5}"#;

    /// The second version, with everything that it may hold.
    const FROZEN_WHOLE: &str = r#"{"id":7,"status":"retried","route":"orders","stream":"shop","table":"s.orders","position":{"partition":0,"offset":42},"key":"{}","class":"lock","code":"X","message":"no","attempts":1,"at_ms":5,"result":"r","sent_at_ms":6,"edit":{"columns":{"n":1.50},"by":"ann","at_ms":7}}"#;

    #[test]
    fn frozen_entry_reads_and_is_written_the_same() {
        let letter = DeadLetter {
            route: "orders".into(),
            stream: "shop".into(),
            position: Position { partition: Partition(0), offset: Offset(42) },
            class: ErrorClass::BusinessRule,
            code: "FIELD_CUSTOM_VALIDATION_EXCEPTION".into(),
            message: "no".into(),
            fields: vec![],
            attempts: 1,
            at_ms: 5,
        };
        let mut original = model::RecordBatchBuilder::default();
        original.push(5, Some(br#"{"id":1}"#), None, &[]).unwrap();
        let entry = DlqEntry::new(Offset(7), &letter, &original.finish().iter().next().unwrap());
        assert_eq!(decode("7", FROZEN.as_bytes()).unwrap(), entry);
        assert_eq!(String::from_utf8(entry.encode()).unwrap(), FROZEN);
        let whole = FROZEN_WHOLE;
        assert_eq!(String::from_utf8(decode("7", whole.as_bytes()).unwrap().encode()).unwrap(), whole);
        assert_eq!(id_key(entry.id), "00000000000000000007");
        assert_eq!(at_key(&entry.route, entry.position), "orders/0/00000000000000000042");
    }
}
