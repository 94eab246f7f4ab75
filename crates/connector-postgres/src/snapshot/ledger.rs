//! The chunk ledger: how far each table's copy into each stream has come.
//!
//! It stands twice: the newest entry of a stream beside the chunk in the log (atomic with its rows), and every entry in the state
//! store (space `chunk`), which follows. After a crash the log's entry is at most one chunk ahead, and is taken over.

use crate::position::snapshot_producer;
use contract::{ProducerState, SourceContext, SourceError, StateError, StateOp, StateStore};
use model::{SourceId, StreamPartition, TableName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const SPACE: &str = "chunk";

/// One table's copy into one stream (JSON; key in the state store: `source/stream/partition/schema.table`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerEntry {
    pub(crate) table: TableName,
    pub(crate) oid: u32,
    /// The slot's life that the copy belongs to.
    pub(crate) epoch: u64,
    /// One more for each time that the table is copied from its start.
    pub(crate) copy: u64,
    /// Chunks appended.
    pub(crate) chunks: u64,
    /// Rows read in them, also those that a newer change has taken out.
    pub(crate) rows: u64,
    /// The last key copied, in PostgreSQL's text; none before the first chunk.
    pub(crate) upper: Option<Vec<String>>,
    /// The key's columns, so that another key is not continued from this one's place.
    pub(crate) key: Vec<String>,
    pub(crate) done: bool,
    /// The table left the configuration: when it comes back it is copied again.
    pub(crate) retired: bool,
}

/// All entries of a source.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<(StreamPartition, TableName), LedgerEntry>,
    /// Entries in the log that the state store knows nothing of: only their copy number counts.
    strays: BTreeMap<(StreamPartition, TableName), u64>,
}

impl Ledger {
    /// Reads the state store, takes over what the log knows newer, and retires tables that left the configuration.
    pub(crate) async fn load(ctx: &SourceContext) -> Result<Self, SourceError> {
        let mut ledger = Self::default();
        ledger.read_state(ctx).await?;
        for binding in &ctx.streams {
            let Some(state) = ctx.log.producer(&binding.to, &snapshot_producer(&ctx.source)).await? else { continue };
            let Ok(logged) = serde_json::from_slice::<LedgerEntry>(&state.position) else { continue };
            let key = (binding.to.clone(), logged.table.clone());
            match ledger.entries.get(&key) {
                Some(known) if known.same_copy(&logged) && known.chunks < logged.chunks && !known.retired => {
                    ledger.store(ctx, &binding.to, logged).await?;
                }
                Some(_) => {}
                None => {
                    ledger.strays.insert(key, logged.copy);
                }
            }
        }
        let gone: Vec<_> = ledger.entries.iter().filter(|(key, entry)| !entry.retired && !bound(ctx, key)).collect();
        let gone: Vec<_> = gone.into_iter().map(|(key, entry)| (key.0.clone(), entry.clone())).collect();
        for (to, entry) in gone {
            ledger.store(ctx, &to, LedgerEntry { retired: true, ..entry }).await?;
        }
        Ok(ledger)
    }

    async fn read_state(&mut self, ctx: &SourceContext) -> Result<(), SourceError> {
        let prefix = format!("{}/", ctx.source);
        let mut after: Option<String> = None;
        loop {
            let page = ctx.state.scan(SPACE, &prefix, after.as_deref(), 500).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in page {
                let malformed = |cause: String| StateError::Malformed { space: SPACE.into(), key: key.clone(), cause };
                let stored: Stored = serde_json::from_slice(&value).map_err(|error| malformed(error.to_string()))?;
                self.entries.insert((stored.to, stored.entry.table.clone()), stored.entry);
            }
        }
    }

    /// Returns the entry to go on with; a new one when the table was never copied, or must be copied again.
    pub(crate) fn begin(&self, to: &StreamPartition, wanted: LedgerEntry, again: bool) -> LedgerEntry {
        let key = (to.clone(), wanted.table.clone());
        let stray = self.strays.get(&key).copied().unwrap_or(0);
        match self.entries.get(&key) {
            Some(known) if !again && known.continues(&wanted) => known.clone(),
            known => LedgerEntry { copy: known.map_or(0, |known| known.copy).max(stray) + 1, ..wanted },
        }
    }

    /// Writes an entry to the state store and remembers it.
    pub(crate) async fn store(
        &mut self,
        ctx: &SourceContext,
        to: &StreamPartition,
        entry: LedgerEntry,
    ) -> Result<(), SourceError> {
        let key = format!("{}/{to}/{}", ctx.source, entry.table);
        let stored = Stored { to: to.clone(), entry };
        let value = serde_json::to_vec(&stored).unwrap_or_default();
        ctx.state.write(vec![StateOp::Put { space: SPACE, key, value }]).await?;
        self.entries.insert((stored.to, stored.entry.table.clone()), stored.entry);
        Ok(())
    }
}

/// How far the copies of a source's tables have come: rows copied so far, none when all are. Tables that were never begun are
/// left out. For a look from outside; a run decides by more than this.
///
/// # Errors
/// When the state store cannot be read.
pub async fn copied_tables(
    state: &dyn StateStore,
    source: &SourceId,
) -> Result<BTreeMap<TableName, Option<u64>>, StateError> {
    let prefix = format!("{source}/");
    let (mut copied, mut after) = (BTreeMap::new(), None::<String>);
    loop {
        let page = state.scan(SPACE, &prefix, after.as_deref(), 500).await?;
        let Some((last, _)) = page.last() else { return Ok(copied) };
        after = Some(last.clone());
        let stored = page.iter().filter_map(|(_, value)| serde_json::from_slice::<Stored>(value).ok());
        for entry in stored.map(|stored| stored.entry).filter(|entry| !entry.retired) {
            copied.insert(entry.table.clone(), if entry.done { None } else { Some(entry.rows) });
        }
    }
}

fn bound(ctx: &SourceContext, (to, table): &(StreamPartition, TableName)) -> bool {
    ctx.streams.iter().any(|binding| binding.to == *to && binding.keys.contains_key(table))
}

#[derive(Serialize, Deserialize)]
struct Stored {
    to: StreamPartition,
    #[serde(flatten)]
    entry: LedgerEntry,
}

impl LedgerEntry {
    /// An entry before its first chunk.
    pub(crate) fn new(table: TableName, oid: u32, epoch: u64, key: Vec<String>) -> Self {
        Self { table, oid, epoch, copy: 0, chunks: 0, rows: 0, upper: None, key, done: false, retired: false }
    }

    fn same_copy(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.copy == other.copy && self.oid == other.oid
    }

    /// True when this copy is of the same table, in the same life of the slot, by the same key.
    fn continues(&self, wanted: &Self) -> bool {
        !self.retired
            && self.epoch == wanted.epoch
            && self.oid == wanted.oid
            && (self.done || self.chunks == 0 || self.key == wanted.key)
    }

    /// The entry after a chunk.
    pub(crate) fn after_chunk(&self, rows: u64, upper: Option<Vec<String>>, done: bool) -> Self {
        Self {
            chunks: self.chunks + 1,
            rows: self.rows + rows,
            upper: upper.or_else(|| self.upper.clone()),
            done,
            ..self.clone()
        }
    }

    /// The state that stands beside the chunk in the log.
    pub(crate) fn producer_state(&self, ctx: &SourceContext) -> ProducerState {
        let position = serde_json::to_vec(self).unwrap_or_default().into();
        ProducerState { producer: snapshot_producer(&ctx.source), position }
    }
}
