//! One session per sink, renewed once for all that find it expired.

mod token;

use crate::Secret;
use crate::secret::mask_tokens;
use contract::SinkError;
use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use token::{Identity, Login};

/// What a call is made with.
pub(crate) struct Session {
    /// Counts the sessions of this process, from 1.
    pub generation: u64,
    /// Scheme, host and port of the org.
    pub instance: String,
    /// `Bearer …`, marked as sensitive.
    pub bearer: HeaderValue,
    /// Org and user, where the org told them.
    pub identity: Option<Identity>,
    pub token: Secret,
}

/// The one session, and the way to the next one.
///
/// **Single flight.** Callers that found session *g* expired meet in `renew(g)`: the first asks for a token, the others
/// wait and take its session, or its error (a wrong password is not tried once per waiter: that locks users out).
/// **Cancel safety.** A caller that goes away while it asks leaves nothing behind; the next waiter asks.
pub(crate) struct Sessions {
    login: Login,
    current: RwLock<Option<Arc<Session>>>,
    /// Token requests that came to an end.
    attempts: AtomicU64,
    /// Held while asking; keeps how the last request failed.
    renewing: tokio::sync::Mutex<Option<SinkError>>,
    /// Tokens given out lately, for scrubbing: an org may echo a token that has just been replaced.
    recent: Mutex<[Option<Secret>; 2]>,
}

impl Sessions {
    pub fn new(login: Login) -> Self {
        Self {
            login,
            current: RwLock::new(None),
            attempts: AtomicU64::new(0),
            renewing: tokio::sync::Mutex::new(None),
            recent: Mutex::new([None, None]),
        }
    }

    /// Returns the session, signing in when there is none.
    ///
    /// # Errors
    /// As `renew`.
    pub async fn current(&self) -> Result<Arc<Session>, SinkError> {
        let current = self.current.read().clone();
        match current {
            Some(session) => Ok(session),
            None => self.renew(0).await,
        }
    }

    /// Returns a session younger than generation `stale`, signing in unless somebody else just did.
    ///
    /// # Errors
    /// What the token endpoint said, classified; to all who waited for the same request.
    pub async fn renew(&self, stale: u64) -> Result<Arc<Session>, SinkError> {
        let seen = self.attempts.load(Ordering::Acquire);
        let mut failed = self.renewing.lock().await;
        let current = self.current.read().clone();
        if let Some(session) = current.filter(|session| session.generation > stale) {
            return Ok(session);
        }
        if self.attempts.load(Ordering::Acquire) != seen
            && let Some(error) = &*failed
        {
            return Err(error.clone());
        }
        let granted = self.login.ask().await;
        let generation = self.attempts.fetch_add(1, Ordering::AcqRel) + 1;
        match granted {
            Ok(grant) => {
                let session = Arc::new(Session {
                    generation,
                    instance: grant.instance,
                    bearer: grant.bearer,
                    identity: grant.identity,
                    token: grant.token,
                });
                *failed = None;
                let mut recent = self.recent.lock();
                recent.swap(0, 1);
                recent[0] = Some(session.token.clone());
                *self.current.write() = Some(Arc::clone(&session));
                metrics::counter!("penstock_salesforce_sessions_total").increment(1);
                Ok(session)
            }
            Err(error) => {
                *self.current.write() = None;
                *failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Drops the session of this generation, so that the next call signs in anew (the org has moved).
    pub fn forget(&self, generation: u64) {
        let mut current = self.current.write();
        if current.as_ref().is_some_and(|session| session.generation == generation) {
            *current = None;
        }
    }

    /// Masks every secret that this sink knows of.
    pub fn scrub(&self, text: &mut String) {
        self.login.scrub(text);
        for token in self.recent.lock().iter().flatten() {
            token.scrub(text);
        }
        mask_tokens(text);
    }
}
