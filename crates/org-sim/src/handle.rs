//! Starting an org, and a handle for tests in the same process.

use crate::clock::OrgClock;
use crate::config::OrgConfig;
use crate::error::SimError;
use crate::events::access::EventEntry;
use crate::faults::{FaultReport, FaultRule};
use crate::history::HistoryEntry;
use crate::latency::LatencyModel;
use crate::schema::spec::ObjectsSpec;
use crate::server::{Server, Shared};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// A simulated org.
pub struct OrgSim;

/// What a client needs to log in.
#[derive(Clone)]
pub struct Credentials {
    pub client_id: String,
    pub client_secret: String,
    /// The user that client credentials run as.
    pub username: String,
    /// That user's password with the security token behind it; empty without one.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl OrgSim {
    /// Starts an org with the machine's clock.
    ///
    /// # Errors
    /// `SimError` when the configuration or the address is unusable.
    pub async fn start(config: OrgConfig) -> Result<RunningOrg, SimError> {
        Self::start_at(config, OrgClock::machine()).await
    }

    /// Starts an org with a clock of the caller's.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_at(config: OrgConfig, clock: OrgClock) -> Result<RunningOrg, SimError> {
        let app = config.apps.first().cloned().unwrap_or_default();
        let username = app.run_as.or_else(|| app.jwt_users.first().cloned()).unwrap_or_default();
        let user = config.users.iter().find(|user| user.username == username);
        let password = user.map(|user| {
            let parts = [user.password.as_deref(), user.security_token.as_deref()];
            parts.map(Option::unwrap_or_default).concat()
        });
        let password = password.unwrap_or_default();
        let (client_id, client_secret) = (app.client_id, app.client_secret);
        let credentials = Credentials { client_id, client_secret, username, password };
        let server = Server::start(config, clock).await?;
        Ok(RunningOrg { shared: server.shared.clone(), server, credentials })
    }
}

/// An org that serves. Dropping it leaves it running until the runtime ends; `stop` ends it.
pub struct RunningOrg {
    server: Server,
    shared: Arc<Shared>,
    credentials: Credentials,
}

impl RunningOrg {
    /// The org's address: `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The first application's credentials.
    pub fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }

    /// Every applied change in order, as far as it was not dropped.
    pub fn history(&self) -> Vec<HistoryEntry> {
        self.history_after(0, usize::MAX)
    }

    /// At most `limit` changes with a number above `after`.
    pub fn history_after(&self, after: u64, limit: usize) -> Vec<HistoryEntry> {
        self.shared.org.lock().history.entries(after, limit)
    }

    /// Every event of a topic that is kept, with a replay id above `after`; none when there is no such topic.
    pub fn events(&self, topic: &str, after: u64) -> Option<Vec<EventEntry>> {
        self.shared.org.lock().events(self.shared.clock.now_ms(), topic, after, usize::MAX)
    }

    /// The number of the newest change; 0 if there is none.
    pub fn last_seq(&self) -> u64 {
        self.shared.org.lock().history.last_seq()
    }

    /// Live records of an object in the order of creation: the id and every value that is not null.
    ///
    /// Empty also when there is no such object.
    pub fn records(&self, object: &str) -> Vec<serde_json::Map<String, serde_json::Value>> {
        self.shared.org.lock().records(object)
    }

    /// How many live records an object has.
    pub fn count(&self, object: &str) -> usize {
        let org = self.shared.org.lock();
        org.store.find_table(object).map_or(0, |table| org.store.table(table).live())
    }

    /// Adds a fault rule and returns its number.
    pub fn fault(&self, rule: FaultRule) -> u64 {
        let mut org = self.shared.org.lock();
        org.faults.set_now(self.shared.clock.now_ms());
        org.add_fault(rule)
    }

    /// Removes every fault rule.
    pub fn clear_faults(&self) {
        self.shared.org.lock().faults.remove(None);
    }

    /// Every fault rule with its counts.
    pub fn faults(&self) -> Vec<FaultReport> {
        self.shared.org.lock().faults.report()
    }

    /// Adds objects and fields.
    ///
    /// # Errors
    /// `SimError::Definition`; nothing was changed.
    pub fn add_objects(&self, spec: &ObjectsSpec) -> Result<(), SimError> {
        self.shared.org.lock().add_objects(spec, self.shared.clock.now_ms()).map(|_| ())
    }

    /// Sets how long requests take from now on.
    pub fn set_latency(&self, latency: LatencyModel) {
        self.shared.org.lock().latency = latency;
    }

    /// Sets the maximum of daily API requests, or what was used of them.
    pub fn set_daily_requests(&self, max: Option<u64>, used: Option<u64>) {
        self.shared.org.lock().limits.set_requests(max, used, self.shared.clock.now_ms());
    }

    /// API requests used in the last 24 hours.
    pub fn daily_requests_used(&self) -> u64 {
        let now = self.shared.clock.now_ms();
        self.shared.org.lock().limits.usage("", now).used
    }

    /// Requests that were refused since the allocation was spent.
    pub fn limit_refusals(&self) -> u64 {
        self.shared.org.lock().limits.refusals()
    }

    /// Ends every session; how many there were.
    pub fn revoke_sessions(&self) -> usize {
        self.shared.org.lock().sessions.revoke_all()
    }

    /// Moves the org's clock forward.
    pub fn advance_ms(&self, by_ms: i64) {
        self.shared.clock.advance_ms(by_ms);
        self.shared.arrived.notify_waiters();
    }

    /// Removes records, history, faults and counts.
    ///
    /// # Errors
    /// As `Org::reset`.
    pub fn reset(&self) -> Result<(), SimError> {
        self.shared.org.lock().reset(self.shared.clock.now_ms())
    }

    /// Closes every connection and writes the history's file out.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
