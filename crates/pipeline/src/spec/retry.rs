//! How often and how patiently a failed row is sent again, for each class of failure.

use model::ErrorClass;
use std::time::Duration;

/// How rows that failed in one way are sent again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Sends of one row that may fail in this way, the first one included; then it is a dead letter. `u32::MAX`: no limit.
    pub attempts_max: u32,
    /// The wait after the first failure.
    pub delay_min: Duration,
    /// The longest wait.
    pub delay_max: Duration,
    /// What each further wait is multiplied by; 1 or more.
    pub multiplier: f64,
    /// The part of a wait that is left to chance, 0 to 1: with 0.1 a row waits between 90 and 100 % of it.
    pub jitter: f64,
    /// How long a row may keep failing in this way, from its first failure on; then it is a dead letter.
    /// `Duration::MAX`: no limit.
    pub patience: Duration,
}

impl RetryPolicy {
    /// The wait after the `streak`-th failure in a row (from 1), before chance takes its part.
    pub fn delay(&self, streak: u32) -> Duration {
        let factor = self.multiplier.max(1.0).powi(streak.saturating_sub(1).min(64) as i32);
        let seconds = self.delay_min.as_secs_f64() * factor;
        // Not `mul_f64`, which panics over what a `Duration` holds.
        if seconds >= self.delay_max.as_secs_f64() { self.delay_max } else { Duration::from_secs_f64(seconds) }
    }

    /// Says what is wrong with it; none when it makes sense.
    pub fn nonsense(&self) -> Option<&'static str> {
        if self.attempts_max == 0 {
            Some("max_attempts must be 1 or more: the first send counts")
        } else if self.delay_min.is_zero() {
            Some("initial_delay must be longer than nothing: the org would be asked without a pause")
        } else if self.delay_min > self.delay_max {
            Some("initial_delay is longer than max_delay")
        } else if !self.multiplier.is_finite() || !(1.0..=100.0).contains(&self.multiplier) {
            Some("multiplier must be from 1 to 100: waits never get shorter")
        } else if !self.jitter.is_finite() || !(0.0..=1.0).contains(&self.jitter) {
            Some("jitter must be from 0 to 1")
        } else {
            None
        }
    }
}

/// A route's retries. Quota errors wait for the quota and auth errors for the org, without counting; what the org's rules or
/// the row itself refuse is a dead letter at once: none of these has a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySpec {
    /// The target was not ready, or failed over the row.
    pub transient: RetryPolicy,
    /// A row lock: it is held for the length of a transaction, so trying sooner and more often pays.
    pub lock: RetryPolicy,
    /// The parent is not there yet.
    pub parent_missing: RetryPolicy,
    /// No clear answer, and a read-back did not find the row.
    pub unknown: RetryPolicy,
}

const TRANSIENT: RetryPolicy = RetryPolicy {
    attempts_max: 3,
    delay_min: Duration::from_secs(1),
    delay_max: Duration::from_secs(60),
    multiplier: 2.0,
    jitter: 0.1,
    patience: Duration::MAX,
};

impl Default for RetrySpec {
    fn default() -> Self {
        Self {
            transient: TRANSIENT,
            unknown: TRANSIENT,
            // Salesforce gives up waiting for a lock after some ten seconds by itself, so ten sends outlast minutes of contention.
            lock: RetryPolicy {
                attempts_max: 10,
                delay_min: Duration::from_millis(200),
                delay_max: Duration::from_secs(10),
                jitter: 0.5,
                ..TRANSIENT
            },
            // It should follow soon when its parent has come: the waits stay short, patience ends it.
            parent_missing: RetryPolicy {
                attempts_max: u32::MAX,
                delay_min: Duration::from_millis(200),
                delay_max: Duration::from_secs(5),
                patience: Duration::from_secs(60),
                ..TRANSIENT
            },
        }
    }
}

impl RetrySpec {
    /// The policy for a class of failure; none for those that are never counted or never retried.
    pub fn policy(&self, class: ErrorClass) -> Option<&RetryPolicy> {
        match class {
            // Nobody is to blame for a collateral failure without an offender: as if the target had failed.
            ErrorClass::Transient | ErrorClass::Collateral => Some(&self.transient),
            ErrorClass::Lock => Some(&self.lock),
            ErrorClass::ParentMissing => Some(&self.parent_missing),
            ErrorClass::Unknown => Some(&self.unknown),
            ErrorClass::Quota | ErrorClass::Auth | ErrorClass::BusinessRule | ErrorClass::Permanent => None,
        }
    }

    /// The four policies with their names in the configuration.
    pub fn policies(&self) -> [(&'static str, &RetryPolicy); 4] {
        [
            ("transient", &self.transient),
            ("lock", &self.lock),
            ("parent_missing", &self.parent_missing),
            ("unknown", &self.unknown),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn defaults_are_those_that_the_documents_name() {
        let spec = RetrySpec::default();
        let transient = spec.policy(ErrorClass::Transient).unwrap();
        assert_eq!((transient.attempts_max, transient.multiplier, transient.jitter), (3, 2.0, 0.1));
        assert_eq!((transient.delay_min, transient.delay_max), (Duration::from_secs(1), Duration::from_secs(60)));
        assert!(spec.lock.attempts_max > transient.attempts_max && spec.lock.delay_min < transient.delay_min);
        for class in [ErrorClass::Quota, ErrorClass::Auth, ErrorClass::BusinessRule, ErrorClass::Permanent] {
            assert!(spec.policy(class).is_none(), "{class:?}");
        }
        assert!(spec.policies().iter().all(|(_, policy)| policy.nonsense().is_none()));
    }

    proptest! {
        #[test]
        fn waits_never_shrink_and_never_pass_their_limit(
            min in 1..100_000_u64, more in 0..10_000_000_u64, multiplier in 1.0..100.0_f64, streak in 1..10_000_u32,
        ) {
            let policy = RetryPolicy {
                delay_min: Duration::from_millis(min),
                delay_max: Duration::from_millis(min + more),
                multiplier,
                ..TRANSIENT
            };
            let (now, next) = (policy.delay(streak), policy.delay(streak + 1));
            prop_assert!(policy.delay_min <= now && now <= next && next <= policy.delay_max);
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let wrong = [
            RetryPolicy { attempts_max: 0, ..TRANSIENT },
            RetryPolicy { delay_min: Duration::ZERO, ..TRANSIENT },
            RetryPolicy { delay_min: Duration::from_secs(61), ..TRANSIENT },
            RetryPolicy { multiplier: 0.5, ..TRANSIENT },
            RetryPolicy { multiplier: f64::NAN, ..TRANSIENT },
            RetryPolicy { jitter: 1.1, ..TRANSIENT },
        ];
        for policy in wrong {
            assert!(policy.nonsense().is_some(), "{policy:?}");
        }
    }
}
