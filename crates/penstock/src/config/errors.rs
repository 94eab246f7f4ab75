//! Settings about failures: retries by class, circuit breakers.

use super::{Percent, Time};
use pipeline::breaker::BreakerConfig;
use pipeline::spec::{RetryPolicy, RetrySpec};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// How failed rows are sent again, by the class of the failure. What a route leaves out comes from the pipeline's `retry`, then from
/// the defaults. Spent quotas and refused credentials are waited for and never counted; what a rule of the org or the row
/// itself refuses is a dead letter at once.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RetryConfig {
    /// The org was not ready, or failed over the row. Defaults: 3 attempts, 1s, 60s, 2.0, 0.1.
    #[serde(default)]
    pub transient: RetryClassConfig,
    /// A row lock. Defaults: 10 attempts, 200ms, 10s, 2.0, 0.5.
    #[serde(default)]
    pub lock: RetryClassConfig,
    /// The parent is not there yet. Defaults: any number of attempts inside max_wait 60s, 200ms, 5s, 2.0, 0.1.
    #[serde(default)]
    pub parent_missing: RetryClassConfig,
    /// No clear answer, and a read-back did not find the row. Defaults as for transient.
    #[serde(default)]
    pub unknown: RetryClassConfig,
}

/// How rows that failed in one way are sent again.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RetryClassConfig {
    /// Sends of one row that may fail, the first one included; then it is a dead letter.
    pub max_attempts: Option<u32>,
    /// The wait after the first failure.
    pub initial_delay: Option<Time>,
    /// The longest wait.
    pub max_delay: Option<Time>,
    /// What each further wait is multiplied by, from 1 on.
    pub multiplier: Option<f64>,
    /// The part of a wait that is left to chance, 0 to 1.
    pub jitter: Option<f64>,
    /// How long a row may keep failing in this way; then it is a dead letter.
    pub max_wait: Option<Time>,
}

impl RetryClassConfig {
    fn over(&self, below: RetryPolicy) -> RetryPolicy {
        let time = |written: Option<Time>, below: Duration| written.map_or(below, |time| time.0);
        RetryPolicy {
            attempts_max: self.max_attempts.unwrap_or(below.attempts_max),
            delay_min: time(self.initial_delay, below.delay_min),
            delay_max: time(self.max_delay, below.delay_max),
            multiplier: self.multiplier.unwrap_or(below.multiplier),
            jitter: self.jitter.unwrap_or(below.jitter),
            patience: time(self.max_wait, below.patience),
        }
    }
}

impl RetryConfig {
    fn over(&self, below: RetrySpec) -> RetrySpec {
        RetrySpec {
            transient: self.transient.over(below.transient),
            lock: self.lock.over(below.lock),
            parent_missing: self.parent_missing.over(below.parent_missing),
            unknown: self.unknown.over(below.unknown),
        }
    }

    /// A route's policies: its own settings over the pipeline's over the defaults.
    pub fn resolve(pipeline: &Self, route: &Self) -> RetrySpec {
        route.over(pipeline.over(RetrySpec::default()))
    }
}

/// When calls by one of the org's APIs are stopped because too many of them fail (no answer, or a failure of the org itself; rows
/// that are refused never count), and when they go on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct BreakerSettings {
    /// Default: true.
    pub enabled: Option<bool>,
    /// Calls older than this do not count. Default: 60s.
    pub window: Option<Time>,
    /// Only so many of the newest calls count. Default: 100.
    pub max_calls: Option<usize>,
    /// Below so many calls it stays closed. Default: 10.
    pub min_calls: Option<usize>,
    /// Opens when this share of the calls failed. Default: 50%.
    pub open_at: Option<Percent>,
    /// Closes when at most this share of the probes failed. Default: 10%.
    pub close_at: Option<Percent>,
    /// Calls that are tried before it closes, one at a time. Default: 5.
    pub probes: Option<usize>,
    /// How long nothing is sent at first; twice as long each time that the probes fail. Default: 5s.
    pub wait: Option<Time>,
    /// The longest wait. Default: 60s.
    pub max_wait: Option<Time>,
}

impl BreakerSettings {
    /// The breaker's settings, over the defaults.
    pub fn resolve(&self) -> BreakerConfig {
        let default = BreakerConfig::default();
        let share = |percent: Option<Percent>, default: f64| percent.map_or(default, |percent| percent.0 / 100.0);
        BreakerConfig {
            enabled: self.enabled.unwrap_or(default.enabled),
            window: self.window.map_or(default.window, |time| time.0),
            calls_max: self.max_calls.unwrap_or(default.calls_max),
            calls_min: self.min_calls.unwrap_or(default.calls_min),
            open_at: share(self.open_at, default.open_at),
            close_at: share(self.close_at, default.close_at),
            probes: self.probes.unwrap_or(default.probes),
            probes_at_once: default.probes_at_once,
            wait_min: self.wait.map_or(default.wait_min, |time| time.0),
            wait_max: self.max_wait.map_or(default.wait_max, |time| time.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load_text;
    use super::*;

    const CITY: &str = include_str!("../../../../examples/city.yaml");

    fn with(pipeline: &str, route: &str) -> String {
        let text = CITY.replacen("\nroutes:\n", &format!("\n{pipeline}\nroutes:\n"), 1);
        let text = text.replacen("    lane: critical", &format!("    lane: critical\n    {route}"), 1);
        assert!(text.contains(pipeline) && text.contains(route));
        text
    }

    #[test]
    fn route_settings_stand_over_the_pipelines_over_the_defaults() {
        let text = with(
            "retry: {transient: {max_attempts: 7, max_delay: 30s}, lock: {jitter: 0.2}}",
            "retry: {transient: {max_attempts: 2}}",
        );
        let loaded = load_text("city.yaml", &text);
        assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
        let config = loaded.config.unwrap();
        let retry = RetryConfig::resolve(&config.retry, &config.routes["agencies"].retry);
        assert_eq!((retry.transient.attempts_max, retry.transient.delay_max), (2, Duration::from_secs(30)));
        assert_eq!((retry.transient.delay_min, retry.lock.jitter), (Duration::from_secs(1), 0.2));
        assert_eq!(retry.unknown, RetrySpec::default().unknown);
        let other = RetryConfig::resolve(&config.retry, &config.routes["requests"].retry);
        assert_eq!(other.transient.attempts_max, 7);
    }

    #[test]
    fn nonsense_is_found_where_it_stands() {
        for (pipeline, route, code, place) in [
            ("retry: {lock: {max_attempts: 0}}", "retry: {}", "PS1041", "retry"),
            ("retry: {}", "retry: {unknown: {multiplier: 0.5}}", "PS1041", "routes.agencies.retry.unknown"),
            // Each part makes sense, together they do not.
            (
                "retry: {transient: {max_delay: 5s}}",
                "retry: {transient: {initial_delay: 10s}}",
                "PS1041",
                "routes.agencies",
            ),
        ] {
            let findings = load_text("city.yaml", &with(pipeline, route)).findings;
            let found = findings.iter().find(|finding| finding.code.0 == code);
            assert!(found.is_some_and(|finding| finding.place.contains(place)), "{pipeline} {route}: {findings:?}");
        }
        let text = CITY.replacen("share: 50%", "share: 50%\n    breaker: {open_at: 10%, close_at: 20%}", 1);
        let findings = load_text("city.yaml", &text).findings;
        assert_eq!(findings.iter().map(|finding| finding.code.0).collect::<Vec<_>>(), ["PS1042"]);
        let text = text.replacen("close_at", "closes_at", 1);
        assert_eq!(load_text("city.yaml", &text).findings[0].code.0, "PS1003");
    }
}
