//! The org's allocations: rolling counts that let no call too many through.

use crate::bulk::ledger::Ledger;
use crate::config::OrgConfig;
use hashbrown::HashMap;
use std::collections::VecDeque;

const DAY_MS: i64 = 86_400_000;

/// A call counts until the whole of its minute is a day old, so that at no time more than the maximum lies in any 24 hours.
const BUCKET_MS: i64 = 60_000;

/// A count over the last 24 hours.
#[derive(Clone, Debug, Default)]
pub struct Rolling {
    /// Minute and count, oldest first.
    buckets: VecDeque<(i64, u64)>,
    used: u64,
}

impl Rolling {
    /// What was used in the last 24 hours.
    pub fn used(&mut self, now_ms: i64) -> u64 {
        while let Some((minute, count)) = self.buckets.front().copied() {
            if (minute + 1) * BUCKET_MS + DAY_MS > now_ms {
                break;
            }
            self.used -= count;
            self.buckets.pop_front();
        }
        self.used
    }

    /// Adds to the count.
    pub fn add(&mut self, now_ms: i64, count: u64) {
        // A clock that went back counts in the newest minute.
        let minute = now_ms.div_euclid(BUCKET_MS);
        self.used += count;
        match self.buckets.back_mut() {
            Some((last, known)) if *last >= minute => *known += count,
            _ => self.buckets.push_back((minute, count)),
        }
    }
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The org's or the application's calls of the day are used up.
    TotalRequests,
    /// Too many calls of 20 s or more are in flight.
    LongCalls,
}

impl Refused {
    /// Salesforce's sentence; the code is `REQUEST_LIMIT_EXCEEDED` for all.
    pub fn message(self) -> &'static str {
        match self {
            Refused::TotalRequests => "TotalRequests Limit exceeded.",
            Refused::LongCalls => "ConcurrentPerOrgLongTxn Limit exceeded.",
        }
    }
}

/// What `Sforce-Limit-Info` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub used: u64,
    pub max: u64,
    /// Used, maximum and name of an application with a quota of its own.
    pub app: Option<(u64, u64, String)>,
}

#[derive(Clone, Debug, Default)]
struct AppUse {
    max: Option<u64>,
    rolling: Rolling,
}

/// The allocations.
#[derive(Clone, Debug)]
pub struct Limits {
    requests_max: u64,
    requests: Rolling,
    apps: HashMap<String, AppUse>,
    long_calls_max: usize,
    /// Start of each call in flight, by the request's number.
    in_flight: HashMap<u64, i64>,
    refusals: u64,
    /// Batches, query jobs and query results of the Bulk APIs.
    pub bulk: Ledger,
}

/// A call is long from here on.
const LONG_CALL_MS: i64 = 20_000;

impl Limits {
    /// Makes the allocations of an edition, all unused.
    pub fn new(config: &OrgConfig) -> Self {
        let app = |app: &crate::config::AppConfig| {
            (app.name.clone(), AppUse { max: app.daily_api_requests_max, rolling: Rolling::default() })
        };
        Self {
            requests_max: config.daily_api_requests(),
            requests: Rolling::default(),
            apps: config.apps.iter().map(app).collect(),
            long_calls_max: config.long_calls(),
            in_flight: HashMap::new(),
            refusals: 0,
            bulk: Ledger::new(&config.bulk),
        }
    }

    /// Admits and counts a call, or refuses it; a refused call is not counted.
    ///
    /// # Errors
    /// `Refused`.
    pub fn admit(&mut self, app: &str, request: u64, now_ms: i64) -> Result<(), Refused> {
        let admitted = self.admit_call(app, request, now_ms);
        self.refusals += u64::from(admitted.is_err());
        admitted
    }

    /// Requests that were refused so far.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    fn admit_call(&mut self, app: &str, request: u64, now_ms: i64) -> Result<(), Refused> {
        if self.requests.used(now_ms) >= self.requests_max {
            return Err(Refused::TotalRequests);
        }
        let long = self.in_flight.values().filter(|start| now_ms - **start >= LONG_CALL_MS).count();
        if long >= self.long_calls_max {
            return Err(Refused::LongCalls);
        }
        self.admit_more(app, now_ms)?;
        self.in_flight.insert(request, now_ms);
        Ok(())
    }

    /// Counts one more request of a call that is in flight, or refuses it.
    ///
    /// # Errors
    /// `Refused::TotalRequests`.
    pub fn admit_more(&mut self, app: &str, now_ms: i64) -> Result<(), Refused> {
        if self.requests.used(now_ms) >= self.requests_max {
            return Err(Refused::TotalRequests);
        }
        if let Some(app) = self.apps.get_mut(app) {
            let used = app.rolling.used(now_ms);
            if app.max.is_some_and(|max| used >= max) {
                return Err(Refused::TotalRequests);
            }
            app.rolling.add(now_ms, 1);
        }
        self.requests.add(now_ms, 1);
        Ok(())
    }

    /// Says that a call was answered.
    pub fn finish(&mut self, request: u64) {
        self.in_flight.remove(&request);
    }

    /// Figures for `Sforce-Limit-Info`.
    pub fn usage(&mut self, app: &str, now_ms: i64) -> Usage {
        let app = self.apps.get_mut(app).and_then(|known| {
            let used = known.rolling.used(now_ms);
            known.max.map(|max| (used, max, app.to_owned()))
        });
        Usage { used: self.requests.used(now_ms), max: self.requests_max, app }
    }

    /// Sets the maximum or adds to what was used (`POST /_sim/limits`).
    pub fn set_requests(&mut self, max: Option<u64>, used: Option<u64>, now_ms: i64) {
        self.requests_max = max.unwrap_or(self.requests_max);
        if let Some(used) = used {
            self.requests = Rolling::default();
            self.requests.add(now_ms, used);
        }
    }

    /// Forgets all use.
    pub fn clear(&mut self) {
        self.requests = Rolling::default();
        self.apps.values_mut().for_each(|app| app.rolling = Rolling::default());
        self.bulk.clear();
    }

    /// Daily API requests: the maximum, and what was used of it.
    pub fn requests(&mut self, now_ms: i64) -> (u64, u64) {
        (self.requests_max, self.requests.used(now_ms))
    }

    /// Daily API requests of each application: its name, its own maximum (0 without one) and what it used.
    pub fn app_requests(&mut self, now_ms: i64) -> Vec<(String, u64, u64)> {
        let figures =
            |(name, app): (&String, &mut AppUse)| (name.clone(), app.max.unwrap_or(0), app.rolling.used(now_ms));
        let mut apps: Vec<_> = self.apps.iter_mut().map(figures).collect();
        apps.sort_unstable();
        apps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(max: u64) -> Limits {
        Limits::new(&OrgConfig { daily_api_requests_max: Some(max), ..OrgConfig::default() })
    }

    proptest! {
        #[test]
        fn never_more_than_the_maximum_in_any_24_hours(steps in prop::collection::vec(0i64..7_200_000, 1..200), max in 1u64..20) {
            let mut limits = limits(max);
            let mut now = 1_000_000_007;
            let mut admitted: Vec<i64> = Vec::new();
            for (request, step) in steps.into_iter().enumerate() {
                now += step;
                let last_day = admitted.iter().filter(|at| now - **at < DAY_MS).count() as u64;
                match limits.admit("penstock", request as u64, now) {
                    Ok(()) => { prop_assert!(last_day < max); admitted.push(now); }
                    Err(_) => {
                        let with_slack = admitted.iter().filter(|at| now - **at < DAY_MS + BUCKET_MS).count() as u64;
                        prop_assert!(with_slack >= max);
                    }
                }
                limits.finish(request as u64);
            }
        }
    }

    #[test]
    fn long_calls_refuse_the_next_one_until_one_ends() {
        let mut limits = limits(1000);
        for request in 0..25 {
            limits.admit("penstock", request, 0).unwrap();
        }
        assert_eq!(limits.admit("penstock", 25, 19_999), Ok(()));
        limits.finish(25);
        assert_eq!(limits.admit("penstock", 26, 20_000), Err(Refused::LongCalls));
        limits.finish(3);
        assert_eq!(limits.admit("penstock", 27, 20_000), Ok(()));
    }

    #[test]
    fn application_has_a_quota_of_its_own() {
        let mut config = OrgConfig::default();
        config.apps[0].daily_api_requests_max = Some(1);
        let mut limits = Limits::new(&config);
        limits.admit("penstock", 1, 0).unwrap();
        assert_eq!(limits.admit("penstock", 2, 0), Err(Refused::TotalRequests));
        assert_eq!(limits.admit("other", 3, 0), Ok(()));
        assert_eq!(limits.usage("penstock", 0), Usage { used: 2, max: 110_000, app: Some((1, 1, "penstock".into())) });
        assert_eq!(limits.app_requests(0), [("penstock".to_owned(), 1, 1)]);
    }
}
