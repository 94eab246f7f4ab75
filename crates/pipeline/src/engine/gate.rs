//! What stops an org's calls as a whole: refused credentials, or an open breaker.
//!
//! Refused credentials hold every route of the org; when the wait is over one call at a time finds out whether they work again, and the
//! first that does frees all. A breaker stands before each API: while that of one is open, the others go on.

use crate::breaker::{Breaker, BreakerConfig, BreakerState};
use contract::{AppliedBatch, RowResult, SinkError};
use model::{Api, ErrorClass, OrgId};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Calls of an API fail, so nothing is sent by it for a while.
pub const BREAKER_OPEN: &str = "PS5520";
/// The org refuses the credentials, so nothing is sent to it.
pub const CREDENTIALS_REFUSED: &str = "PS5521";

/// Between two tries with refused credentials, at first and at most.
const AUTH_WAIT_MIN: Duration = Duration::from_secs(1);
const AUTH_WAIT_MAX: Duration = Duration::from_secs(60);

/// How a call ended, as far as the org as a whole is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// Answered; what was wrong with single rows says nothing against the org.
    Well,
    /// Not answered, or by a failure of the target itself.
    Failed,
    /// The credentials were refused: what the target said.
    Refused(String),
    /// Says nothing: a spent quota, a body that cannot be taken.
    Neither,
}

impl CallEnd {
    /// Judges the answer to a batch.
    pub fn of(answer: &Result<AppliedBatch, SinkError>) -> Self {
        let error = match answer {
            Ok(applied) => {
                let refused = applied.rows.iter().find_map(|row| match row {
                    RowResult::Failed(error) if error.class == ErrorClass::Auth => Some(error),
                    _ => None,
                });
                return refused.map_or(Self::Well, |error| Self::Refused(format!("{}: {}", error.code, error.message)));
            }
            Err(error) => error,
        };
        match error.class {
            ErrorClass::Transient | ErrorClass::Unknown => Self::Failed,
            ErrorClass::Auth => Self::Refused(error.to_string()),
            // The org is there, reads and judges.
            ErrorClass::BusinessRule | ErrorClass::Permanent | ErrorClass::ParentMissing => Self::Well,
            ErrorClass::Quota | ErrorClass::Lock | ErrorClass::Collateral => Self::Neither,
        }
    }

    /// Judges a query's answer: it goes by another API, so only what it says of the credentials counts.
    pub fn of_query<T>(answer: &Result<T, SinkError>) -> Self {
        match answer {
            Err(error) if error.class == ErrorClass::Auth => Self::Refused(error.to_string()),
            _ => Self::Neither,
        }
    }
}

/// Why nothing may be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// When to ask again; none: when a call under way is answered, which the org's waiters are told.
    pub until: Option<Duration>,
    pub reason: String,
}

/// Leave for one call; gives a probe's place back when it is dropped.
pub struct GatePass {
    gate: Arc<Gate>,
    api: Api,
    breaker_probe: bool,
    auth_probe: bool,
}

impl Drop for GatePass {
    fn drop(&mut self) {
        if !self.breaker_probe && !self.auth_probe {
            return;
        }
        let mut inner = self.gate.inner.lock();
        if self.breaker_probe {
            inner.breakers[self.api as usize].ended();
        }
        if self.auth_probe
            && let Some(hold) = &mut inner.auth
        {
            hold.probing = false;
        }
    }
}

/// An org's gate.
pub struct Gate {
    org: OrgId,
    inner: Mutex<Inner>,
}

struct Inner {
    /// One for each API, by its number.
    breakers: Vec<Breaker>,
    /// What metrics say of each breaker.
    told: Vec<BreakerState>,
    auth: Option<AuthHold>,
}

struct AuthHold {
    until: Duration,
    /// Refusals in a row.
    streak: u32,
    reason: String,
    /// A call is under way that tells whether the credentials work again.
    probing: bool,
}

impl Gate {
    /// Makes a gate that lets everything through.
    pub fn new(org: OrgId, config: BreakerConfig) -> Arc<Self> {
        let breakers = Api::ALL.iter().map(|_| Breaker::new(config)).collect();
        let told = vec![BreakerState::Closed; Api::ALL.len()];
        let gate = Self { org, inner: Mutex::new(Inner { breakers, told, auth: None }) };
        gate.tell_breaker(Api::Collections, BreakerState::Closed);
        gate.tell_auth(false);
        Arc::new(gate)
    }

    /// Tells whether a call may be made by an API now, changing nothing but the clock's doing.
    ///
    /// # Errors
    /// `Held` with when to ask again and why.
    pub fn may_send(&self, api: Api, now: Duration) -> Result<(), Held> {
        self.look(&mut self.inner.lock(), api, now)
    }

    /// Takes leave for a call.
    ///
    /// # Errors
    /// As `may_send`.
    pub fn begin(self: &Arc<Self>, api: Api, now: Duration) -> Result<GatePass, Held> {
        let mut inner = self.inner.lock();
        self.look(&mut inner, api, now)?;
        let breaker_probe = inner.breakers[api as usize].begin(now);
        let auth_probe = inner.auth.as_mut().map(|hold| hold.probing = true).is_some();
        Ok(GatePass { gate: self.clone(), api, breaker_probe, auth_probe })
    }

    fn look(&self, inner: &mut Inner, api: Api, now: Duration) -> Result<(), Held> {
        if let Some(hold) = &inner.auth
            && (hold.until > now || hold.probing)
        {
            return Err(hold.held(now));
        }
        let breaker = &mut inner.breakers[api as usize];
        let looked = breaker.may_send(now);
        let state = breaker.state(now);
        if std::mem::replace(&mut inner.told[api as usize], state) != state {
            self.tell_breaker(api, state);
        }
        looked.map_err(|until| Held {
            until,
            reason: format!(
                "{BREAKER_OPEN}: calls by {api} to org {} fail: nothing is sent by it for a while",
                self.org
            ),
        })
    }

    /// Takes in how a call ended; true when more may be sent now than before.
    pub fn report(&self, api: Api, end: CallEnd, now: Duration) -> bool {
        let mut inner = self.inner.lock();
        let failed = match end {
            CallEnd::Well => false,
            CallEnd::Failed => true,
            CallEnd::Refused(reason) => {
                self.refused(&mut inner, reason, now);
                return false;
            }
            CallEnd::Neither => return false,
        };
        // An org that answers by a failure of its own says nothing of the credentials.
        let freed = !failed && self.accepted(&mut inner);
        let before = inner.told[api as usize];
        if let Some(state) = inner.breakers[api as usize].report(now, failed) {
            inner.told[api as usize] = state;
            self.tell_breaker(api, state);
            let org = &self.org;
            if state == BreakerState::Open {
                tracing::warn!(%org, %api, code = BREAKER_OPEN, "calls fail: nothing is sent by this API for a while");
            } else {
                tracing::warn!(%org, %api, code = BREAKER_OPEN, "the probes went well: calls go through again");
            }
        }
        // Each answered probe makes room for the next one.
        freed || before != BreakerState::Closed
    }

    fn refused(&self, inner: &mut Inner, reason: String, now: Duration) {
        let streak = match &inner.auth {
            // Calls that were under way when the first one was refused tell nothing new.
            Some(hold) if hold.until > now => return,
            Some(hold) => hold.streak.saturating_add(1),
            None => 0,
        };
        let wait = AUTH_WAIT_MIN.saturating_mul(1 << streak.min(10)).min(AUTH_WAIT_MAX);
        if streak == 0 {
            tracing::warn!(org = %self.org, code = CREDENTIALS_REFUSED, %reason, "the org's routes wait for the credentials");
            self.tell_auth(true);
        }
        let reason = format!("{CREDENTIALS_REFUSED}: org {} refuses the credentials: {reason}", self.org);
        inner.auth = Some(AuthHold { until: now + wait, streak, reason, probing: false });
    }

    fn accepted(&self, inner: &mut Inner) -> bool {
        let freed = inner.auth.take().is_some();
        if freed {
            tracing::warn!(org = %self.org, code = CREDENTIALS_REFUSED, "the credentials work again: the org's routes go on");
            self.tell_auth(false);
        }
        freed
    }

    /// Until when nothing goes by an API, as far as that is known; `now` while calls go through.
    ///
    /// A row that failed comes back only after that: when the breaker tries the API again, others go first, so that rows which
    /// break the target cannot keep it closed by being the probe each time.
    pub fn open_until(&self, api: Api, now: Duration) -> Duration {
        self.may_send(api, now).err().and_then(|held| held.until).unwrap_or(now)
    }

    /// Why nothing, or only probes, are sent by an API, while that is so.
    pub fn reason(&self, api: Api, now: Duration) -> Option<String> {
        if let Err(held) = self.may_send(api, now) {
            return Some(held.reason);
        }
        let mut inner = self.inner.lock();
        if let Some(hold) = &inner.auth {
            return Some(hold.reason.clone());
        }
        let probing = inner.breakers[api as usize].state(now) == BreakerState::HalfOpen;
        probing.then(|| format!("{BREAKER_OPEN}: calls by {api} to org {} failed: single ones try it again", self.org))
    }

    fn tell_breaker(&self, api: Api, state: BreakerState) {
        metrics::gauge!("penstock_breaker_state", "org" => self.org.to_string(), "api" => api.as_str())
            .set(state.gauge());
    }

    fn tell_auth(&self, held: bool) {
        metrics::gauge!("penstock_org_credentials_refused", "org" => self.org.to_string())
            .set(f64::from(u8::from(held)));
    }
}

impl AuthHold {
    fn held(&self, now: Duration) -> Held {
        Held { until: (self.until > now).then_some(self.until), reason: self.reason.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn gate() -> Arc<Gate> {
        Gate::new("main".into(), BreakerConfig::default())
    }

    #[test]
    fn breaker_of_one_api_leaves_the_others_alone() {
        let gate = gate();
        for _ in 0..10 {
            gate.report(Api::Bulk, CallEnd::Failed, s(1));
        }
        let held = gate.may_send(Api::Bulk, s(1)).unwrap_err();
        assert!(held.reason.starts_with("PS5520") && held.until == Some(s(6)), "{held:?}");
        assert_eq!(gate.may_send(Api::Collections, s(1)), Ok(()));
        assert!(gate.reason(Api::Bulk, s(1)).is_some() && gate.reason(Api::Collections, s(1)).is_none());
    }

    #[test]
    fn refused_credentials_hold_every_api_and_one_probe_frees_all() {
        let gate = gate();
        gate.report(Api::Collections, CallEnd::Refused("INVALID_SESSION_ID".into()), s(1));
        // The other calls that were under way do not make the wait longer.
        gate.report(Api::Collections, CallEnd::Refused("INVALID_SESSION_ID".into()), s(1));
        assert_eq!(gate.may_send(Api::Bulk, s(1)).unwrap_err().until, Some(s(2)));
        let probe = gate.begin(Api::Collections, s(2)).unwrap();
        assert_eq!(gate.may_send(Api::Bulk, s(2)).unwrap_err().until, None);
        gate.report(Api::Collections, CallEnd::Refused("INVALID_SESSION_ID".into()), s(2));
        drop(probe);
        assert_eq!(gate.may_send(Api::Bulk, s(3)).unwrap_err().until, Some(s(4)));
        let probe = gate.begin(Api::Bulk, s(4)).unwrap();
        assert!(gate.report(Api::Bulk, CallEnd::Well, s(4)), "whoever waits is told");
        drop(probe);
        assert_eq!(gate.may_send(Api::Collections, s(4)), Ok(()));
    }

    #[test]
    fn probe_that_is_dropped_unsent_leaves_room_for_another() {
        let gate = gate();
        gate.report(Api::Rest, CallEnd::Refused("no".into()), s(0));
        drop(gate.begin(Api::Rest, s(1)).unwrap());
        assert_eq!(gate.may_send(Api::Rest, s(1)), Ok(()));
    }

    #[test]
    fn spent_quota_and_refused_rows_do_not_open_a_breaker() {
        let gate = gate();
        let error = |class| SinkError { class, ..error() };
        for class in [ErrorClass::Quota, ErrorClass::Lock, ErrorClass::BusinessRule, ErrorClass::Permanent] {
            for _ in 0..100 {
                gate.report(Api::Collections, CallEnd::of(&Err(error(class))), s(1));
            }
            assert_eq!(gate.may_send(Api::Collections, s(1)), Ok(()), "{class:?}");
        }
        for class in [ErrorClass::Transient, ErrorClass::Unknown] {
            assert_eq!(CallEnd::of(&Err(error(class))), CallEnd::Failed);
        }
    }

    fn error() -> SinkError {
        SinkError {
            code: model::ErrorCode("PS4001"),
            class: ErrorClass::Transient,
            place: "test".into(),
            message: "scripted".into(),
            target_code: None,
            retry_after: None,
            spent: contract::Spend::default(),
        }
    }
}
