//! Tokens: how a caller comes by a session, and how sessions end.
//!
//! A session slides: each use moves its end. The answer never says when it ends, as Salesforce does not.

mod jwt;
mod token;
mod who;

use crate::config::OrgConfig;
use crate::error::SimError;
use crate::ids::SfId;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hashbrown::HashMap;
use jsonwebtoken::DecodingKey;
use std::collections::VecDeque;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128_with_seed;

pub use token::handle;
pub use who::{Person, identity};

/// Sessions kept at most; the one that ends first makes room.
const SESSIONS_MAX: usize = 10_000;

/// Refresh tokens kept at most; the oldest makes room.
const REFRESH_MAX: usize = 10_000;

/// A user who may act.
#[derive(Clone)]
pub struct Account {
    pub id: SfId,
    pub username: String,
    /// With the security token behind it.
    password: Option<String>,
    person: Person,
}

struct App {
    name: Arc<str>,
    client_id: String,
    client_secret: String,
    run_as: Option<String>,
    key: Option<DecodingKey>,
    jwt_users: Vec<String>,
}

/// Who a session belongs to.
#[derive(Clone)]
pub struct Caller {
    pub app: Arc<str>,
    pub user: SfId,
    pub username: Arc<str>,
}

struct Session {
    caller: Caller,
    client_id: String,
    issued_ms: i64,
    ends_ms: i64,
}

/// Applications, users and sessions.
pub struct Sessions {
    pub org_id: SfId,
    apps: Vec<App>,
    users: Vec<Account>,
    sessions: HashMap<String, Session>,
    /// Client and user of each refresh token, the oldest first.
    refresh: VecDeque<(String, String, String)>,
    timeout_ms: i64,
    seed: u64,
    issued: u64,
    invalid_client_status: u16,
    jwt_expiry_max_s: i64,
}

impl Sessions {
    /// Reads the applications; `users` are the rows of `User`.
    ///
    /// # Errors
    /// `SimError::Application` when a certificate is unreadable or a user is missing.
    pub fn new(config: &OrgConfig, users: Vec<(SfId, String)>) -> Result<Self, SimError> {
        let account = |(id, username): (SfId, String)| {
            let known = config.users.iter().find(|user| user.username == username);
            let password = known.and_then(|user| {
                Some(format!("{}{}", user.password.as_ref()?, user.security_token.as_deref().unwrap_or_default()))
            });
            Account { id, password, person: Person::new(known, &username), username }
        };
        let users: Vec<Account> = users.into_iter().map(account).collect();
        let mut apps = Vec::new();
        for app in &config.apps {
            if apps.iter().any(|known: &App| known.client_id == app.client_id) {
                let cause = "two applications have the same client_id".to_owned();
                return Err(SimError::Application { place: app.name.clone(), cause });
            }
            let key = match &app.certificate {
                Some(pem) => Some(jwt::read_key(&app.name, pem)?),
                None => None,
            };
            apps.push(App {
                name: app.name.as_str().into(),
                client_id: app.client_id.clone(),
                client_secret: app.client_secret.clone(),
                run_as: app.run_as.clone(),
                key,
                jwt_users: app.jwt_users.clone(),
            });
        }
        Ok(Self {
            org_id: SfId::new(*b"00D", 1),
            apps,
            users,
            sessions: HashMap::new(),
            refresh: VecDeque::new(),
            timeout_ms: config.session_timeout_s * 1000,
            seed: config.seed,
            issued: 0,
            invalid_client_status: config.unverified.invalid_client_status,
            jwt_expiry_max_s: config.unverified.jwt_expiry_max_s,
        })
    }

    /// Finds the session of an `Authorization` header and moves its end.
    pub fn use_token(&mut self, authorization: Option<&str>, now_ms: i64) -> Option<Caller> {
        let token = bearer(authorization?)?;
        let session = self.sessions.get_mut(token)?;
        if session.ends_ms <= now_ms {
            self.sessions.remove(token);
            return None;
        }
        session.ends_ms = now_ms + self.timeout_ms;
        Some(session.caller.clone())
    }

    /// Opens a session for the first application's user; none without one.
    pub fn log_in(&mut self, now_ms: i64) -> Option<String> {
        let user = self.user(self.apps.first()?.run_as.as_deref()?)?.clone();
        Some(self.open(0, user, now_ms))
    }

    /// Ends one session; false if there was none.
    pub fn revoke(&mut self, token: &str) -> bool {
        let known = self.refresh.len();
        self.refresh.retain(|(refresh, ..)| refresh != token);
        self.sessions.remove(token).is_some() || self.refresh.len() < known
    }

    /// Opens a session of the first application for a user with this password; none if they do not fit.
    pub fn soap_log_in(&mut self, username: &str, password: &str, now_ms: i64) -> Option<(String, Caller)> {
        let user = self.authenticated(username, password)?.clone();
        let app = self.apps.first()?.name.clone();
        let caller = Caller { app, user: user.id, username: user.username.as_str().into() };
        Some((self.open(0, user, now_ms), caller))
    }

    /// What is known of a user.
    pub fn person(&self, username: &str) -> Person {
        self.user(username).map(|user| user.person.clone()).unwrap_or_default()
    }

    /// Seconds of inactivity after which a session ends.
    pub fn timeout_s(&self) -> i64 {
        self.timeout_ms / 1000
    }

    fn authenticated(&self, username: &str, password: &str) -> Option<&Account> {
        self.user(username).filter(|user| user.password.as_deref() == Some(password))
    }

    fn keep_refresh(&mut self, token: String, client_id: String, username: String) {
        if self.refresh.len() >= REFRESH_MAX {
            self.refresh.pop_front();
        }
        self.refresh.push_back((token, client_id, username));
    }

    /// Ends the session of an `Authorization` header.
    pub fn revoke_bearer(&mut self, authorization: Option<&str>) {
        if let Some(token) = authorization.and_then(bearer) {
            self.sessions.remove(token);
        }
    }

    /// Ends every session; how many there were.
    pub fn revoke_all(&mut self) -> usize {
        let count = self.sessions.len();
        self.sessions.clear();
        count
    }

    /// Sets how long a session may rest.
    pub fn set_timeout_s(&mut self, seconds: i64) {
        self.timeout_ms = seconds * 1000;
    }

    /// The id of a user by name, without regard to ASCII case.
    pub fn user_id(&self, username: &str) -> Option<SfId> {
        self.user(username).map(|user| user.id)
    }

    /// The name of a user.
    pub fn username(&self, id: SfId) -> Option<String> {
        self.users.iter().find(|user| user.id == id).map(|user| user.username.clone())
    }

    fn user(&self, username: &str) -> Option<&Account> {
        self.users.iter().find(|user| user.username.eq_ignore_ascii_case(username))
    }

    fn open(&mut self, app: usize, user: Account, now_ms: i64) -> String {
        self.sessions.retain(|_, session| session.ends_ms > now_ms);
        if self.sessions.len() >= SESSIONS_MAX
            && let Some(oldest) = self.sessions.iter().min_by_key(|(_, s)| s.ends_ms).map(|(token, _)| token.clone())
        {
            self.sessions.remove(&oldest);
        }
        let opaque = self.opaque("access", now_ms);
        let token = format!("{}!{opaque}", self.org_id.short());
        let app = &self.apps[app];
        let caller = Caller { app: app.name.clone(), user: user.id, username: user.username.into() };
        let client_id = app.client_id.clone();
        let session = Session { caller, client_id, issued_ms: now_ms, ends_ms: now_ms + self.timeout_ms };
        self.sessions.insert(token.clone(), session);
        token
    }

    /// Makes a text that nobody guesses by chance. It protects nothing: the org lives on loopback and holds test data.
    fn opaque(&mut self, purpose: &str, now_ms: i64) -> String {
        self.issued += 1;
        let mut bytes = Vec::with_capacity(64);
        for part in 0..4u64 {
            let text = format!("{purpose}/{}/{now_ms}/{part}", self.issued);
            bytes.extend_from_slice(&xxh3_128_with_seed(text.as_bytes(), self.seed).to_le_bytes());
        }
        URL_SAFE_NO_PAD.encode(bytes).replace('-', ".")
    }
}

/// The token of `Bearer …` (or `OAuth …`, which Salesforce takes as well).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("Bearer") || scheme.eq_ignore_ascii_case("OAuth")).then(|| token.trim())
}

/// Client id and secret of `Basic …`.
fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}
