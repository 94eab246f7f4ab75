//! What the org says of its allocations: a header on each answer, and `/limits`.

use contract::AllocationReading;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The allocation that `Sforce-Limit-Info: api-usage` tells of, in `/limits`' spelling.
const API_REQUESTS: &str = "DailyApiRequests";
/// Readings kept between two calls of `take`; a header holds two.
const READINGS_MAX: usize = 8;

/// The newest reading of each allocation that came with an answer.
#[derive(Default)]
pub(crate) struct Readings(Mutex<Vec<AllocationReading>>);

impl Readings {
    /// Notes an answer's header.
    pub fn note(&self, headers: &HeaderMap, at_ms: i64) {
        let Some(header) = headers.get("sforce-limit-info").and_then(|value| value.to_str().ok()) else { return };
        for (part, (app, used, max)) in header.split(';').filter_map(|part| Some((part, usage(part)?))) {
            debug_assert!(!part.is_empty());
            self.put(app, used, max, at_ms);
        }
    }

    fn put(&self, app: Option<&str>, used: u64, max: u64, at_ms: i64) {
        let mut kept = self.0.lock();
        let matches = |name: &str| match app {
            None => name == API_REQUESTS,
            Some(app) => name.strip_prefix(API_REQUESTS).and_then(|rest| rest.strip_prefix('/')) == Some(app),
        };
        if let Some(at) = kept.iter().position(|reading| matches(&reading.allocation)) {
            let old = kept.remove(at);
            kept.push(AllocationReading { used, max, at_ms, ..old });
            return;
        }
        if kept.len() == READINGS_MAX {
            kept.remove(0);
        }
        let allocation = match app {
            None => Arc::from(API_REQUESTS),
            Some(app) => Arc::from(format!("{API_REQUESTS}/{app}")),
        };
        kept.push(AllocationReading { allocation, max, used, at_ms });
    }

    /// Takes what has come, newest last.
    pub fn take(&self) -> Vec<AllocationReading> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Parses `api-usage=25/5000` or `per-app-api-usage=17/250(appName=sample)`: the app, used, max.
fn usage(part: &str) -> Option<(Option<&str>, u64, u64)> {
    let (name, figures) = part.trim().split_once('=')?;
    let (figures, app) = match figures.split_once('(') {
        Some((figures, note)) => (figures, note.strip_prefix("appName=")?.strip_suffix(')')),
        None => (figures, None),
    };
    let (used, max) = figures.trim().split_once('/')?;
    let (used, max) = (used.trim().parse().ok()?, max.trim().parse().ok()?);
    match (name, app) {
        ("api-usage", _) => Some((None, used, max)),
        ("per-app-api-usage", Some(app)) => Some((Some(app), used, max)),
        _ => None,
    }
}

/// Reads the body of `/limits`: every allocation with `Max` and `Remaining`, and those of connected apps inside
/// (`DailyApiRequests/<app>`). `Remaining` may be negative: more than all is used. Others are left out.
pub(crate) fn limits(body: &[u8], at_ms: i64) -> Option<Vec<AllocationReading>> {
    let limits: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let mut readings = Vec::with_capacity(limits.len());
    for (name, entry) in &limits {
        let Value::Object(entry) = entry else { continue };
        readings.extend(reading(name.as_str().into(), entry, at_ms));
        for (app, nested) in entry {
            if let Value::Object(nested) = nested {
                readings.extend(reading(format!("{name}/{app}").into(), nested, at_ms));
            }
        }
    }
    Some(readings)
}

fn reading(allocation: Arc<str>, entry: &Map<String, Value>, at_ms: i64) -> Option<AllocationReading> {
    let max = entry.get("Max")?.as_i64()?;
    let remaining = entry.get("Remaining")?.as_i64()?;
    let used = max.saturating_sub(remaining).max(0) as u64;
    Some(AllocationReading { allocation, max: max.max(0) as u64, used, at_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn note(readings: &Readings, header: &str, at_ms: i64) {
        let mut headers = HeaderMap::new();
        headers.insert("sforce-limit-info", header.parse().unwrap());
        readings.note(&headers, at_ms);
    }

    #[test]
    fn both_forms_of_the_header_are_read_and_the_newest_wins() {
        let readings = Readings::default();
        note(&readings, "api-usage=10018/100000", 1);
        note(&readings, "api-usage=25/5000; per-app-api-usage=17/250(appName=sample-connected-app)", 2);
        let taken: Vec<_> =
            readings.take().into_iter().map(|r| (r.allocation.to_string(), r.used, r.max, r.at_ms)).collect();
        assert_eq!(
            taken,
            [
                ("DailyApiRequests".to_owned(), 25, 5000, 2),
                ("DailyApiRequests/sample-connected-app".to_owned(), 17, 250, 2)
            ]
        );
        assert!(readings.take().is_empty());
    }

    #[test]
    fn limits_are_read_with_apps_and_overdrawn_allocations() {
        let body = br#"{"DailyApiRequests":{"Max":15000,"Remaining":14998,"Ant":{"Max":0,"Remaining":0}},
                        "MonthlyPlatformEventsUsageEntitlement":{"Max":10,"Remaining":-5},"Odd":7}"#;
        let read: Vec<_> =
            limits(body, 9).unwrap().into_iter().map(|r| (r.allocation.to_string(), r.used, r.max)).collect();
        assert_eq!(
            read,
            [
                ("DailyApiRequests".to_owned(), 2, 15000),
                ("DailyApiRequests/Ant".to_owned(), 0, 0),
                ("MonthlyPlatformEventsUsageEntitlement".to_owned(), 15, 10)
            ]
        );
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_ignored_and_memory_stays_bounded(parts in prop::collection::vec("[a-z=/0-9();-]{0,40}", 0..30)) {
            let readings = Readings::default();
            for part in parts {
                note(&readings, &part, 0);
                note(&readings, &format!("per-app-api-usage=1/2(appName={part})"), 0);
            }
            prop_assert!(readings.take().len() <= READINGS_MAX);
        }

        #[test]
        fn any_limits_body_is_read_or_refused(body: Vec<u8>) {
            let _ = limits(&body, 0);
        }
    }
}
