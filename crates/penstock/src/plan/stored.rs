//! The plan that a run started with, kept beside its state, so that what was planned can be held against what was done.

use contract::{StateError, StateOp, StateStore};
use pipeline::plan::Plan;
use serde::{Deserialize, Serialize};

const SPACE: &str = "plan";
const KEY: &str = "started";

/// A stored plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredPlan {
    /// When the run began, Unix milliseconds: only what was sent since then is compared.
    pub at_ms: i64,
    pub plan: Plan,
}

/// Stores a plan in place of the one before.
///
/// # Errors
/// `StateError`.
pub(crate) async fn store(state: &dyn StateStore, stored: &StoredPlan) -> Result<(), StateError> {
    let value = serde_json::to_vec(stored).unwrap_or_default();
    state.write(vec![StateOp::Put { space: SPACE, key: KEY.into(), value }]).await
}

/// Reads the stored plan; none when no run has stored one that this program can read.
///
/// # Errors
/// `StateError`.
pub(crate) async fn load(state: &dyn StateStore) -> Result<Option<StoredPlan>, StateError> {
    Ok(state.get(SPACE, KEY).await?.and_then(|value| serde_json::from_slice(&value).ok()))
}
