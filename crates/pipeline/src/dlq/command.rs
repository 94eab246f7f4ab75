//! Retries that operators asked for, on their way to a run.
//!
//! Layout: space `command`, key `dlq/<route>/<id with 20 digits>`, value one JSON object (frozen sample below). The first version wrote
//! `dlq/<id>` with the attempts in decimal digits; a run rewrites those when it starts.
//!
//! A command stands until the retry is decided, which takes it away in the same write; so a run needs to remember only what it has in
//! hand, and the store holds the rest, however many there are.

use super::index::{id_key, load};
use contract::{StateError, StateOp, StateStore};
use model::{Lane, Offset, RouteId};
use serde::{Deserialize, Serialize};

const SPACE: &str = "command";
const PREFIX: &str = "dlq/";
const PAGE: usize = 500;

/// How a retry goes out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryOptions {
    #[serde(default = "bulk")]
    pub lane: Lane,
    /// Dead letters of the route in a second, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

fn bulk() -> Lane {
    Lane::Bulk
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self { lane: Lane::Bulk, rate: None }
    }
}

fn key(route: &RouteId, id: Offset) -> String {
    format!("{PREFIX}{route}/{}", id_key(id))
}

/// The operation that gives a command.
pub(crate) fn put(route: &RouteId, id: Offset, options: &RetryOptions) -> StateOp {
    let value = serde_json::to_vec(options).expect("options hold a word and a number");
    StateOp::Put { space: SPACE, key: key(route, id), value }
}

/// The operation that takes a command away.
pub(crate) fn delete(route: &RouteId, id: Offset) -> StateOp {
    StateOp::Delete { space: SPACE, key: key(route, id) }
}

/// The commands for a route with the lowest ids, ascending, at most `limit`.
///
/// # Errors
/// As `StateStore::scan`.
pub(crate) async fn lowest(
    state: &dyn StateStore,
    route: &RouteId,
    limit: usize,
) -> Result<Vec<(Offset, RetryOptions)>, StateError> {
    let prefix = format!("{PREFIX}{route}/");
    let found = state.scan(SPACE, &prefix, None, limit).await?;
    let commands = found.into_iter().filter_map(|(key, value)| {
        let id = key.strip_prefix(&prefix)?.parse().ok()?;
        Some((Offset(id), serde_json::from_slice(&value).unwrap_or_default()))
    });
    Ok(commands.collect())
}

/// Rewrites what the first version left.
///
/// # Errors
/// As `StateStore::scan` and `StateStore::write`.
pub(crate) async fn adopt_old(state: &dyn StateStore) -> Result<(), StateError> {
    let mut after: Option<String> = None;
    loop {
        let page = state.scan(SPACE, PREFIX, after.as_deref(), PAGE).await?;
        let last = page.len() < PAGE;
        after = page.last().map(|(key, _)| key.clone());
        for (old, _) in page {
            let Some(Ok(id)) = old.strip_prefix(PREFIX).map(str::parse) else { continue };
            let mut ops = vec![StateOp::Delete { space: SPACE, key: old }];
            if let Some((entry, _)) = load(state, Offset(id)).await? {
                ops.push(put(&entry.route, entry.id, &RetryOptions::default()));
            }
            state.write(ops).await?;
        }
        if last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As written by the second version. Never change it: it is what lies on disks.
    const FROZEN: &str = r#"{"lane":"bulk","rate":50.0}"#;

    #[test]
    fn frozen_command_reads_and_is_written_the_same() {
        let options = RetryOptions { lane: Lane::Bulk, rate: Some(50.0) };
        let StateOp::Put { key, value, .. } = put(&"orders".into(), Offset(7), &options) else { panic!("it is put") };
        assert_eq!((key.as_str(), value.as_slice()), ("dlq/orders/00000000000000000007", FROZEN.as_bytes()));
        assert_eq!(serde_json::from_str::<RetryOptions>(FROZEN).unwrap(), options);
        assert_eq!(serde_json::from_str::<RetryOptions>("{}").unwrap(), RetryOptions::default());
    }
}
