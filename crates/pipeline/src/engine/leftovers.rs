//! Jobs that a process made and could not write down (it died, or the answer was lost): found and closed at the next start, so
//! that none stays open in the org.
//!
//! Until they are looked for, no new job is made: one of our own would look like a leftover.

use super::route::Org;
use crate::recovery::{RecoveredRoute, Way};
use crate::spec::RouteSpec;
use contract::{StateError, StateOp, StateStore};
use model::{ObjectName, OrgId, Retry};
use std::sync::Arc;
use std::time::Duration;

/// Clocks of two machines may differ by so much.
const CLOCKS_DIFFER: Duration = Duration::from_secs(300);
/// Tries while the org cannot be asked; the next start looks again as long as the batch is in the journal.
const TRIES: u32 = 20;

/// The state store's space: per org, since when a job may have been made whose name never came (Unix milliseconds).
const SPACE: &str = "leftover";

/// Remembers that a job may have been made whose name never came.
pub(super) async fn remember(org: &OrgId, at_ms: i64, state: &dyn StateStore) -> Result<(), StateError> {
    if state.get(SPACE, org.as_str()).await?.is_some() {
        return Ok(());
    }
    state
        .write(vec![StateOp::Put { space: SPACE, key: org.as_str().to_owned(), value: at_ms.to_string().into_bytes() }])
        .await
}

/// Where to look.
pub(super) struct Leftovers {
    objects: Vec<ObjectName>,
    /// Unix milliseconds.
    since_ms: i64,
    known: Vec<String>,
}

impl Leftovers {
    /// What journal and state give reason to look for in an org: none where every job is written down.
    ///
    /// # Errors
    /// `StateError`.
    pub async fn of(
        org: &Org,
        specs: &[RouteSpec],
        recovered: &[RecoveredRoute],
        state: &dyn StateStore,
    ) -> Result<Option<Self>, StateError> {
        let remembered = state.get(SPACE, org.id.as_str()).await?;
        let remembered = remembered.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<i64>().ok());
        let mut objects: Vec<ObjectName> = Vec::new();
        if remembered.is_some() {
            let of_org = specs.iter().filter(|spec| spec.org == org.id);
            objects = of_org.map(|spec| spec.object.clone()).collect();
        }
        let (mut since_ms, mut known) = (remembered.unwrap_or(i64::MAX), Vec::new());
        for (spec, route) in specs.iter().zip(recovered).filter(|(spec, _)| spec.org == org.id) {
            for open in &route.unanswered {
                match &open.way {
                    Way::Call => {}
                    Way::Job(job) => known.push(job.to_string()),
                    Way::NoJob => {
                        since_ms = since_ms.min(open.at_ms);
                        if !objects.contains(&spec.object) {
                            objects.push(spec.object.clone());
                        }
                    }
                }
            }
        }
        let since_ms = since_ms.saturating_sub(CLOCKS_DIFFER.as_millis() as i64);
        Ok((!objects.is_empty()).then_some(Self { objects, since_ms, known }))
    }

    /// Asks until the org answers, then lets jobs be made.
    pub async fn close(self, org: Arc<Org>, state: Arc<dyn StateStore>) {
        if self.ask(&org).await {
            let forget = StateOp::Delete { space: SPACE, key: org.id.as_str().to_owned() };
            if let Err(error) = state.write(vec![forget]).await {
                tracing::warn!(code = %error.code(), %error, "open jobs will be looked for once more");
            }
        }
        org.allow_jobs(true);
    }

    /// True when the org was asked.
    async fn ask(&self, org: &Org) -> bool {
        for _ in 0..TRIES {
            match org.sink.close_leftovers(&self.objects, self.since_ms, &self.known).await {
                Ok(0) => return true,
                Ok(closed) => {
                    tracing::info!(org = %org.id, closed, "closed jobs that an earlier process had left open");
                    return true;
                }
                Err(error) => {
                    let Retry::After(wait) = error.retry() else {
                        tracing::warn!(org = %org.id, code = %error.code, %error, "open jobs cannot be looked for");
                        return false;
                    };
                    tracing::debug!(org = %org.id, code = %error.code, %error, "open jobs cannot be looked for yet");
                    tokio::time::sleep(wait).await;
                }
            }
        }
        false
    }
}
