//! The quota ledger in a state store: one entry for each pipeline, written only by who has seen all the others.
//!
//! ```text
//!   space quota:   <org>/version          a counter, changed by every write
//!                  <org>/entry/<member>   governor::Snapshot
//!                  <org>                  what versions before wrote, read once
//! ```

use contract::{StateError, StateOp, StateStore};
use governor::{GovernorConfig, Peer, Snapshot, SnapshotError};
use std::sync::Arc;

/// The state store's space.
pub const SPACE: &str = "quota";
/// Entries of one org that are read at most: more pipelines than that on one machine are refused.
const MEMBERS_MAX: usize = 512;

/// Where an org's ledger lies.
#[derive(Clone)]
pub struct QuotaLedger {
    pub store: Arc<dyn StateStore>,
    /// The same for everybody who spends of the org's allocations: its host.
    pub org: String,
    /// This pipeline, unique in the ledger.
    pub member: String,
}

/// The ledger at one moment.
pub struct LedgerRead {
    version: Option<Vec<u8>>,
    pub own: Option<Snapshot>,
    pub peers: Vec<Peer>,
    /// The entry of an earlier version stands, and goes when this one's is written.
    has_old: bool,
}

impl QuotaLedger {
    /// Reads all entries. The version is read first, so a `write` after it is refused when any of them has changed since.
    ///
    /// # Errors
    /// `Snapshot` when an entry cannot be read (a newer program wrote it); `State`.
    pub async fn read(&self) -> Result<LedgerRead, LedgerError> {
        let version = self.store.get(SPACE, &self.version_key()).await?;
        let prefix = self.entry_key("");
        let entries = self.store.scan(SPACE, &prefix, None, MEMBERS_MAX).await?;
        if entries.len() == MEMBERS_MAX {
            let cause = format!("{MEMBERS_MAX} pipelines share the ledger of {}", self.org);
            return Err(SnapshotError::Malformed { cause }.into());
        }
        let (mut own, mut peers) = (None, Vec::with_capacity(entries.len()));
        for (key, bytes) in entries {
            let member = key[prefix.len()..].to_owned();
            let entry = Snapshot::from_bytes(&bytes)?;
            if member == self.member { own = Some(entry) } else { peers.push(Peer { member, entry }) }
        }
        let old = if own.is_none() { self.store.get(SPACE, &self.org).await? } else { None };
        let has_old = old.is_some();
        if let Some(bytes) = old {
            own = Some(Snapshot::from_bytes(&bytes)?);
        }
        Ok(LedgerRead { version, own, peers, has_old })
    }

    /// Writes this pipeline's entry, if nothing has changed since `read`; entries that can matter no more go.
    ///
    /// # Errors
    /// `Conflict`: something has changed, nothing was written; others: it may be written.
    pub async fn write(
        &self,
        read: &LedgerRead,
        entry: &Snapshot,
        config: &GovernorConfig,
        unix_ms: i64,
    ) -> Result<(), StateError> {
        let number = read.version.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse::<u64>().ok());
        let next = number.unwrap_or(0).wrapping_add(1).to_string().into_bytes();
        let mut ops = vec![
            StateOp::Expect { space: SPACE, key: self.version_key(), value: read.version.clone() },
            StateOp::Put { space: SPACE, key: self.version_key(), value: next },
            StateOp::Put { space: SPACE, key: self.entry_key(&self.member), value: entry.to_bytes() },
        ];
        if read.has_old {
            ops.push(StateOp::Delete { space: SPACE, key: self.org.clone() });
        }
        let over = read.peers.iter().filter(|peer| peer.entry.is_over(config, unix_ms));
        ops.extend(over.map(|peer| StateOp::Delete { space: SPACE, key: self.entry_key(&peer.member) }));
        self.store.write(ops).await
    }

    fn version_key(&self) -> String {
        format!("{}/version", self.org)
    }

    fn entry_key(&self, member: &str) -> String {
        format!("{}/entry/{member}", self.org)
    }
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    State(#[from] StateError),
}

impl LedgerError {
    /// The stable code.
    pub fn code(&self) -> model::ErrorCode {
        match self {
            Self::Snapshot(error) => error.code(),
            Self::State(error) => error.code(),
        }
    }
}
