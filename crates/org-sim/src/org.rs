//! The org as a state machine: requests in, answers out; time is an argument, sockets are elsewhere.
//!
//! ```text
//! begin(now, request) ─▶ answer at once (wrong session, limit, refusing fault)
//!        │
//!        └▶ ticket: how long to take, which locks to hold, what faults to act out
//!                 │ (the caller waits)
//!                 ▼
//!           finish(now, ticket, request) ─▶ answer; everything is applied here, in one step
//! ```
//!
//! Invariants:
//! 1. A call that was admitted is counted once, whether it succeeds or not; a refused call is not counted.
//! 2. What `finish` applied is in the history in the same order, and beside it only what `tick` purged.
//! 3. The same calls at the same times with the same seed give the same answers.

use crate::answer::{Request, Response};
use crate::bulk::{self, Bulk, Work};
use crate::config::OrgConfig;
use crate::dml::{Origin, Whole, Writer};
use crate::error::SimError;
use crate::events::{self, Bus, Channels, Feed};
use crate::faults::{Api, Decided, FaultRule, Faults, Part, Refusal, RowFault, Seen, draw, locked};
use crate::history::{History, HistoryEntry};
use crate::ids::SfId;
use crate::latency::LatencyModel;
use crate::limits::Limits;
use crate::locks::{LockKey, Locks};
use crate::oauth::{self, Caller, Sessions};
use crate::persist::{Position, REPLAYS_AHEAD, Stored};
use crate::query::Cursors;
use crate::recycle;
use crate::rest::{self, LogIn, Plan, Target};
use crate::schema::build;
use crate::schema::spec::ObjectsSpec;
use crate::soap;
use crate::store::{RowState, Store};
use crate::users::seed_users;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A simulated org.
pub struct Org {
    pub(crate) config: Arc<OrgConfig>,
    pub(crate) store: Store,
    pub(crate) history: History,
    pub(crate) bus: Bus,
    pub(crate) channels: Channels,
    pub(crate) cometd: crate::cometd::Clients,
    #[cfg(feature = "pubsub")]
    pub(crate) managed: crate::pubsub::Managed,
    pub(crate) limits: Limits,
    pub(crate) faults: Faults,
    pub(crate) sessions: Sessions,
    pub(crate) cursors: Cursors,
    pub(crate) locks: Locks,
    pub(crate) base: String,
    /// How long requests take; may be changed while the org runs.
    pub latency: LatencyModel,
    pub(crate) requests: u64,
    pub(crate) bulk: Bulk,
    /// When it was made by its own clock; a folder may be ahead of the machine's.
    pub(crate) started_ms: i64,
    /// Open while the parts of a composite call stand or fall together.
    whole: Option<Whole>,
    /// Who looked at what, the newest last; `FOR VIEW` fills it.
    pub(crate) recent: VecDeque<(SfId, SfId)>,
}

/// An admitted request.
#[derive(Clone)]
pub struct Ticket {
    /// The request's number, from 1.
    pub request: u64,
    pub(crate) plan: Plan,
    pub(crate) caller: Caller,
    pub(crate) client: Option<String>,
    /// What the faults do to it.
    pub decided: Decided,
    /// How long the org takes over it.
    pub time: Duration,
    /// What it must hold while it takes its time: row number and key.
    pub locks: Vec<(usize, LockKey)>,
    /// Rows that got no lock in time.
    pub blocked: Vec<usize>,
}

/// What `begin` says.
pub enum Begun {
    /// The answer is known already; `finish` must not be called.
    Answer(Response),
    /// A token endpoint's answer, and what the faults do to it; `finish` must not be called.
    Token(Response, Box<Decided>),
    /// The caller waits as the ticket says, then calls `finish`.
    Go(Box<Ticket>),
}

impl Org {
    /// Makes an org with no records but its users. `base` is its own address, for the answers that name it.
    ///
    /// # Errors
    /// `SimError` when the configuration contradicts itself.
    pub fn new(config: OrgConfig, base: &str, now_ms: i64) -> Result<Self, SimError> {
        let mut stored = config.folder.as_deref().map(Stored::open).transpose()?;
        let mut objects = build::extend(&[], &build::standard()?, now_ms)?;
        let mut channels = Channels::default();
        let added = stored.as_ref().map(Stored::added).transpose()?.unwrap_or_default();
        for mut spec in std::iter::once(config.objects.clone()).chain(added) {
            stored.iter_mut().for_each(|stored| stored.keep_prefixes(&mut spec));
            objects = build::extend(&objects, &spec, now_ms)?;
            events::channel::check_platform(&objects, config.edition)?;
            channels.add(&spec.channels.0, &objects, &config.events)?;
        }
        let mut store = Store::new(objects, config.unverified.deleted_rows_hold_unique_values);
        store.access.sets_audit_fields = config.audit_fields_writable;
        let mut history = History::new(config.history.memory_bytes_max, config.history.file.as_deref())?;
        history.feed = Feed::new(config.events.clone());
        history.feed.select(channels.selected());
        let resumed = match stored {
            None => Position { at_ms: now_ms, ..Position::default() },
            Some(stored) => stored.load_into(&mut store, &mut history, now_ms)?,
        };
        let now_ms = resumed.at_ms;
        let users = seed_users(&mut store, &mut history, &config, now_ms)?;
        store.save(resumed);
        let mut faults = Faults::new(config.seed);
        faults.set_now(now_ms);
        for rule in &config.faults {
            faults.add(rule.clone());
        }
        let mut org = Self {
            limits: Limits::new(&config),
            bus: events::new_bus(&config, now_ms),
            channels,
            cometd: crate::cometd::Clients::default(),
            #[cfg(feature = "pubsub")]
            managed: crate::pubsub::Managed::new(&config.events.managed),
            sessions: Sessions::new(&config, users)?,
            faults,
            store,
            history,
            cursors: Cursors::default(),
            locks: Locks::default(),
            base: base.to_owned(),
            latency: config.latency.clone(),
            requests: resumed.request,
            started_ms: now_ms,
            whole: None,
            recent: VecDeque::new(),
            bulk: Bulk::new(&config.bulk),
            config: Arc::new(config),
        };
        if resumed.replay > 0 {
            org.bus.resume_after(resumed.replay + REPLAYS_AHEAD, now_ms);
        }
        org.history.feed.resume_after(org.bus.last());
        let config = org.config.clone();
        for setting in &config.field_security {
            org.set_field_security(setting, now_ms)?;
        }
        Ok(org)
    }

    /// Answers a request at once, without waiting.
    ///
    /// Faults that need a connection (hang, cut) are passed over.
    pub fn apply(&mut self, now_ms: i64, request: &Request<'_>) -> Response {
        match self.begin(now_ms, request) {
            Begun::Answer(response) | Begun::Token(response, _) => response,
            Begun::Go(ticket) => self.finish(now_ms, &ticket, request),
        }
    }

    /// Looks at a request: session, allocations, faults, time, locks.
    pub fn begin(&mut self, now_ms: i64, request: &Request<'_>) -> Begun {
        match self.look(now_ms, request) {
            Begun::Answer(response) => Begun::Answer(bulk::dress(request, response)),
            begun => begun,
        }
    }

    /// Works on Bulk jobs for one step; never done inside a request.
    pub fn work(&mut self, now_ms: i64) -> Work {
        self.faults.set_now(now_ms);
        bulk::step(self, now_ms)
    }

    fn look(&mut self, now_ms: i64, request: &Request<'_>) -> Begun {
        self.tick(now_ms);
        let target = rest::target(request);
        let number = self.next_request();
        let plan = match target {
            Target::Answer(response) => return Begun::Answer(response),
            Target::Oauth(what) => return self.log_in_call(now_ms, request, &what),
            Target::Identity => return Begun::Answer(self.identity(now_ms, request)),
            Target::Versions => return Begun::Answer(rest::versions()),
            Target::Call(plan) => *plan,
        };
        let mut plan = plan;
        bulk::complete(self, &mut plan, request);
        let ended = || Begun::Answer(Response::error(401, "INVALID_SESSION_ID", "Session expired or invalid"));
        let authorization = request.authorization();
        let authorization = authorization.as_deref();
        let Some(caller) = self.sessions.use_token(authorization, now_ms) else { return ended() };
        let decided = self.decide(&plan, request);
        if decided.revoke {
            self.sessions.revoke_bearer(authorization);
            return ended();
        }
        if let Err(refused) = self.limits.admit(&caller.app, number, now_ms) {
            let response = Response::error(403, "REQUEST_LIMIT_EXCEEDED", refused.message());
            return Begun::Answer(self.with_usage(response, &caller, now_ms));
        }
        let time = self.time(&plan, number);
        let waits = !time.is_zero() || decided.hang_before_ms > 0;
        let locks = if waits && self.config.row_locks.enabled { self.lock_keys(&plan, request) } else { Vec::new() };
        let client = request.client().map(str::to_owned);
        Begun::Go(Box::new(Ticket { request: number, plan, caller, client, decided, time, locks, blocked: Vec::new() }))
    }

    /// Does what the request asks for and answers it.
    pub fn finish(&mut self, now_ms: i64, ticket: &Ticket, request: &Request<'_>) -> Response {
        let refused = ticket.decided.refuse.is_some();
        let response = match ticket.decided.cut_before {
            true if !refused => Response::empty(500),
            _ => rest::answer(self, now_ms, ticket, request),
        };
        let response = bulk::dress(request, response);
        self.abandon(ticket);
        self.with_usage(response, &ticket.caller, now_ms)
    }

    /// Ends a ticket that is not finished.
    pub fn abandon(&mut self, ticket: &Ticket) {
        self.limits.finish(ticket.request);
        self.locks.release(ticket.request);
    }

    /// Takes the locks that are free; rows whose lock another request holds are put into `ticket.blocked`.
    pub fn lock(&mut self, ticket: &mut Ticket) -> bool {
        ticket.blocked = self.locks.acquire(ticket.request, &ticket.locks);
        ticket.blocked.is_empty()
    }

    /// Begins a transaction for a ticket. `undoable`: whether it may be rolled back.
    pub(crate) fn writer<'a>(&'a mut self, ticket: &'a Ticket, now_ms: i64, undoable: bool) -> Writer<'a> {
        let origin = Origin {
            now_ms,
            user: ticket.caller.user,
            api: ticket.plan.api.word(),
            request: ticket.request,
            version: ticket.plan.version,
            client: ticket.client.as_deref(),
        };
        self.writer_as(origin, undoable).begun_before(ticket.decided.began_before_ms)
    }

    /// Begins a transaction for whoever.
    pub(crate) fn writer_as<'a>(&'a mut self, origin: Origin<'a>, undoable: bool) -> Writer<'a> {
        self.pump_events(origin.now_ms);
        Writer::begin(&mut self.store, &mut self.history, &self.config.unverified, origin, undoable)
            .within(self.whole.as_mut())
    }

    /// Begins a transaction around all writers until `end_whole`.
    pub(crate) fn begin_whole(&mut self) {
        self.whole = Some(Whole::begin(&self.history));
    }

    /// Ends the transaction around several writers: makes it final, or takes it back.
    pub(crate) fn end_whole(&mut self, commit: bool) {
        match self.whole.take() {
            Some(whole) if commit => whole.commit(&mut self.store, &mut self.history),
            Some(whole) => whole.rollback(&mut self.store, &mut self.history),
            None => {}
        }
    }

    /// The number of a request that begins now.
    pub(crate) fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// Does what is due by now whoever calls: empties the recycle bin of what is too old.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        self.faults.set_now(now_ms);
        recycle::expire(&mut self.store, &mut self.history, &self.config.unverified, now_ms);
        self.pump_events(now_ms);
    }

    /// Adds objects and fields while the org runs; how many objects there are then.
    ///
    /// # Errors
    /// `SimError::Definition`; nothing was changed.
    pub fn add_objects(&mut self, spec: &ObjectsSpec, now_ms: i64) -> Result<usize, SimError> {
        let known: Vec<_> = self.store.tables().iter().map(|table| table.object.clone()).collect();
        let objects = build::extend(&known, spec, now_ms)?;
        let count = objects.len();
        let mut channels = self.channels.clone();
        events::channel::check_platform(&objects, self.config.edition)?;
        channels.add(&spec.channels.0, &objects, &self.config.events)?;
        self.history.feed.select(channels.selected());
        self.channels = channels;
        self.store.set_objects(objects);
        if let Some(mut saver) = self.store.saver.take() {
            let kept = saver.add_objects(&self.store, spec);
            self.store.saver = Some(saver);
            kept?;
        }
        Ok(count)
    }

    /// Removes records, history, faults, counts and cursors; sessions and objects stay.
    ///
    /// # Errors
    /// `SimError`, if the users could not be made again.
    pub fn reset(&mut self, now_ms: i64) -> Result<(), SimError> {
        self.store.clear();
        self.history.clear();
        self.bus.clear(now_ms);
        self.limits.clear();
        self.faults.remove(None);
        self.cursors = Cursors::default();
        self.recent.clear();
        self.bulk.clear(&mut self.locks);
        seed_users(&mut self.store, &mut self.history, &self.config, now_ms)?;
        if let Some(mut saver) = self.store.saver.take() {
            let restarted = saver
                .restart(&mut self.store, Position { request: self.requests, at_ms: now_ms, ..Position::default() });
            self.store.saver = Some(saver);
            restarted?;
        }
        Ok(())
    }

    /// Live records of an object in the order of creation: the id and every value that is not null.
    ///
    /// Empty also when there is no such object.
    pub fn records(&self, object: &str) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let Some(table) = self.store.find_table(object) else { return Vec::new() };
        let table = self.store.table(table);
        let live = table.rows().map(|(_, row)| row).filter(|row| row.state == RowState::Live);
        let mut text = Vec::new();
        live.filter_map(|row| {
            text.clear();
            crate::control::write_row(&mut text, table, row);
            serde_json::from_slice(&text).ok()
        })
        .collect()
    }

    /// At most `limit` applied changes with a number above `after`, in order.
    pub fn changes(&self, after: u64, limit: usize) -> Vec<HistoryEntry> {
        self.history.entries(after, limit)
    }

    /// Opens a session for the first application, as a client-credentials token request would.
    pub fn log_in(&mut self, now_ms: i64) -> Option<String> {
        self.sessions.log_in(now_ms)
    }

    /// Adds a fault rule and returns its number.
    pub fn add_fault(&mut self, rule: FaultRule) -> u64 {
        self.faults.add(rule)
    }

    /// Answers a token endpoint or a SOAP call.
    fn log_in_call(&mut self, now_ms: i64, request: &Request<'_>, what: &LogIn) -> Begun {
        let seen = Seen {
            api: Api::Oauth,
            object: None,
            operation: crate::faults::Operation::Read,
            client: request.client(),
            keys: &[],
            rows: 0,
        };
        let decided = self.faults.decide(&seen);
        let response = match &decided.refuse {
            Some(Refusal::Http { code, message, .. }) if matches!(what, LogIn::Soap { .. }) => {
                soap::refused(code, message)
            }
            Some(refusal) => refusal_response(refusal),
            None if decided.cut_before => Response::empty(500),
            None => {
                let base = self.own_address(request);
                match what {
                    LogIn::Oauth(what) => oauth::handle(&mut self.sessions, what, request, &base, now_ms),
                    LogIn::Soap { kind, version } => {
                        let endpoint = soap::Endpoint { kind, version };
                        soap::handle(&mut self.sessions, &endpoint, request, &base, now_ms)
                    }
                }
            }
        };
        Begun::Token(response, Box::new(decided))
    }

    fn identity(&mut self, now_ms: i64, request: &Request<'_>) -> Response {
        let base = self.own_address(request);
        match self.sessions.use_token(request.header("authorization"), now_ms) {
            Some(caller) => oauth::identity(&self.sessions, &caller, &base, now_ms),
            None => Response::error(403, "Bad_OAuth_Token", "Bad_OAuth_Token"),
        }
    }

    /// The address that the caller used (`localhost` stays `localhost`), or the one that the org listens on.
    pub(crate) fn own_address(&self, request: &Request<'_>) -> String {
        match request.header("host") {
            Some(host) if !host.is_empty() => {
                let scheme = if self.config.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{host}")
            }
            _ => self.base.clone(),
        }
    }

    /// What the fault rules do to a call, or to a part of one.
    pub(crate) fn decide(&mut self, plan: &Plan, request: &Request<'_>) -> Decided {
        if self.faults.is_empty() {
            return Decided::default();
        }
        let keys = if self.faults.wants_keys() { rest::row_keys(&self.store, plan, request) } else { Vec::new() };
        let seen = Seen {
            api: plan.api,
            object: plan.object.as_deref(),
            operation: plan.operation,
            client: request.client(),
            keys: &keys,
            rows: plan.rows,
        };
        let part = plan.bulk.as_ref().map(|route| Part::Call(route.seen(request.body)));
        self.faults.decide_part(&seen, part)
    }

    fn time(&self, plan: &Plan, number: u64) -> Duration {
        let model = &self.latency;
        let of = match plan.api {
            Api::Oauth => model.oauth,
            Api::Metadata | Api::Describe => model.metadata,
            Api::Query => model.query,
            Api::Single | Api::Bulk => model.single,
            Api::Collections => model.collections,
            Api::Composite => model.composite,
            Api::Events | Api::Pubsub | Api::Cometd => model.metadata,
        };
        model.time(of, plan.rows, draw(self.config.seed, 0, number, 0))
    }

    fn lock_keys(&self, plan: &Plan, request: &Request<'_>) -> Vec<(usize, LockKey)> {
        crate::locks::keys(&self.store, plan, request, self.config.row_locks.lookups)
    }

    fn with_usage(&mut self, response: Response, caller: &Caller, now_ms: i64) -> Response {
        let usage = self.limits.usage(&caller.app, now_ms);
        let mut text = format!("api-usage={}/{}", usage.used, usage.max);
        if let Some((used, max, name)) = usage.app {
            text.push_str(&format!("; per-app-api-usage={used}/{max}(appName={name})"));
        }
        response.with("sforce-limit-info", text)
    }
}

impl Ticket {
    /// The error that a row gets before anything is looked at.
    pub(crate) fn row_fault(&self, row: usize) -> Option<RowFault> {
        if self.blocked.contains(&row) {
            return Some(locked(""));
        }
        let at = self.decided.rows.binary_search_by_key(&row, |(row, _)| *row).ok()?;
        Some(self.decided.rows[at].1.clone())
    }
}

fn refusal_response(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Http { status, code, message } => Response::error(*status, code, message),
        Refusal::Html503 => Response::html_503(),
    }
}
