//! Subscriptions whose place the org keeps: who follows one, and what was committed.

use super::call::Call;
use super::code::Code;
use crate::events::config::{Begin, ManagedSpec};
use crate::ids::SfId;
use crate::schema::spec::Ordered;
use crate::server::Shared;
use bytes::Bytes;
use std::sync::Arc;
use tonic::Status;

/// Subscriptions of an org.
const SUBSCRIPTIONS_MAX: usize = 200;

/// A request to commit.
#[derive(Debug)]
pub struct CommitAsk {
    pub id: String,
    pub replay: Bytes,
}

/// What became of a commit.
pub struct CommitDone {
    pub id: String,
    pub replay: Bytes,
    pub error: Option<String>,
    pub at_ms: i64,
}

struct Subscription {
    id: SfId,
    name: String,
    spec: ManagedSpec,
    committed: Option<u64>,
    active: bool,
}

/// The managed subscriptions of an org.
#[derive(Default)]
pub struct Managed {
    all: Vec<Subscription>,
}

impl Managed {
    /// Takes the first 200 of the configuration.
    pub fn new(specs: &Ordered<ManagedSpec>) -> Self {
        let one = |(at, (name, spec)): (usize, &(String, ManagedSpec))| Subscription {
            id: SfId::new(*b"18x", at as u64 + 1),
            name: name.clone(),
            spec: spec.clone(),
            committed: None,
            active: false,
        };
        Self { all: specs.0.iter().take(SUBSCRIPTIONS_MAX).enumerate().map(one).collect() }
    }

    /// Topic, committed id, and where to begin without one or with one that is no longer valid.
    pub fn place(&self, number: usize) -> (String, Option<u64>, Begin, Begin) {
        let of = &self.all[number];
        (of.spec.topic.clone(), of.committed, of.spec.default_replay, of.spec.error_recovery_replay)
    }

    /// Commits `replay`, which is none for an id that is not valid; everything up to `delivered` was handed out.
    pub fn commit(
        &mut self,
        number: usize,
        ask: CommitAsk,
        replay: Option<u64>,
        delivered: u64,
        now_ms: i64,
    ) -> CommitDone {
        let of = &mut self.all[number];
        let error = match replay {
            _ if ask.replay.is_empty() => Some("The Replay ID to commit is missing."),
            None => Some("The Replay ID to commit is invalid or expired."),
            Some(replay) if replay > delivered => Some("The Replay ID to commit has not been delivered."),
            Some(replay) if of.committed.is_some_and(|committed| replay < committed) => {
                Some("The Replay ID to commit is older than the committed one.")
            }
            Some(replay) => {
                of.committed = Some(replay);
                None
            }
        };
        CommitDone { id: ask.id, replay: ask.replay, error: error.map(str::to_owned), at_ms: now_ms }
    }

    fn find(&self, id: &str, name: &str) -> Result<usize, (Code, &'static str)> {
        if !id.is_empty() {
            let id = SfId::parse(id).ok_or((Code::ManagedIdInvalid, "The subscription ID is malformed."))?;
            let at = self.all.iter().position(|of| of.id == id);
            return at.ok_or((Code::ManagedIdNotFound, "There is no subscription with this ID."));
        }
        if name.is_empty() {
            return Err((Code::ManagedUnnamed, "The subscription ID or the developer name is required."));
        }
        let at = self.all.iter().position(|of| of.name == name);
        at.ok_or((Code::ManagedNameNotFound, "There is no subscription with this developer name."))
    }
}

/// The right to follow a subscription; given back when dropped.
pub struct Active {
    shared: Arc<Shared>,
    number: usize,
}

impl Active {
    /// Takes the right to follow a subscription.
    ///
    /// # Errors
    /// The status for the caller.
    pub fn begin(call: &Call, id: &str, name: &str) -> Result<Self, Status> {
        let mut org = call.shared.org.lock();
        let number = org.managed.find(id, name).map_err(|(code, message)| call.error(code, message))?;
        let of = &mut org.managed.all[number];
        if !of.spec.run {
            return Err(call.error(Code::ManagedStopped, "The subscription is stopped."));
        }
        if of.active {
            return Err(call.error(Code::ManagedActive, "Another client follows the subscription."));
        }
        of.active = true;
        Ok(Self { shared: call.shared.clone(), number })
    }

    /// The subscription's number.
    pub fn number(&self) -> usize {
        self.number
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.shared.org.lock().managed.all[self.number].active = false;
    }
}
