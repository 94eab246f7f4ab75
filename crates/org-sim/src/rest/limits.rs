//! `/limits`: every allocation with what is left of it.
//!
//! API requests, Bulk, events and data storage are counted; the other rows stand at their maximum, because nothing here
//! uses them up. Maxima beyond those of the reference's allocation table are Salesforce's usual ones for the edition.

use crate::config::Edition;
use crate::org::Org;
use serde_json::{Value as J, json};

/// What Salesforce counts for a record of most objects.
const RECORD_KB: u64 = 2;

/// Rows whose use is told per application too.
const PER_APP: [&str; 5] = [
    "DailyBulkApiBatches",
    "DailyBulkApiRequests",
    "DailyGenericStreamingApiEvents",
    "DailyStreamingApiEvents",
    "DailyDurableStreamingApiEvents",
];

/// The body of `/limits` as this version words it.
pub fn body(org: &mut Org, version: u32, now_ms: i64) -> J {
    let (edition, licences) = (org.config.edition, org.config.licences);
    let mut rows = vec![("DailyApiRequests", org.limits.requests(now_ms))];
    rows.extend(
        org.limits
            .bulk
            .figures(now_ms)
            .into_iter()
            .filter_map(|(name, max, used)| Some((bulk_name(name, version)?, (max, used)))),
    );
    let (delivered, published) = (org.bus.delivered.figures(now_ms), org.bus.published.figures(now_ms));
    rows.push(("DailyDeliveredPlatformEvents", delivered));
    rows.push(("HourlyPublishedPlatformEvents", published));
    rows.push(("DataStorageMB", (data_mb(edition, licences), used_mb(org))));
    rows.extend(unused(edition, licences).into_iter().map(|(name, max)| (name, (max, 0))));
    if org.config.events.add_on {
        // A month is thirty days of the daily share with the add-on; the contract's month is not kept track of.
        let (daily, used) = delivered;
        let name = if version <= 47 { "MonthlyPlatformEvents" } else { "MonthlyPlatformEventsUsageEntitlement" };
        rows.push((name, (daily * 30, used)));
    }
    rows.sort_unstable_by_key(|(name, _)| *name);
    let apps = org.limits.app_requests(now_ms);
    let mut body = serde_json::Map::new();
    for (name, (max, used)) in rows {
        let mut value = row(max, used);
        for (app, max, used) in &apps {
            if name == "DailyApiRequests" {
                value[app] = row(*max, (*used).min(*max));
            } else if PER_APP.contains(&name) {
                value[app] = row(0, 0);
            }
        }
        body.insert(name.to_owned(), value);
    }
    J::Object(body)
}

fn row(max: u64, used: u64) -> J {
    json!({ "Max": max, "Remaining": max.saturating_sub(used) })
}

/// The name of a Bulk row in a version; none when that version has none.
fn bulk_name(name: &'static str, version: u32) -> Option<&'static str> {
    match name {
        "DailyBulkApiBatches" if version <= 48 => Some("DailyBulkApiRequests"),
        "DailyBulkV2QueryJobs" | "DailyBulkV2QueryFileStorageMB" if version <= 46 => None,
        name => Some(name),
    }
}

fn data_mb(edition: Edition, licences: u64) -> u64 {
    match edition {
        Edition::Developer => 5,
        Edition::Enterprise => 10_240 + 20 * licences,
        Edition::Unlimited => 10_240 + 120 * licences,
    }
}

fn used_mb(org: &Org) -> u64 {
    org.store.tables().iter().map(|table| table.live() as u64).sum::<u64>() * RECORD_KB / 1024
}

/// Rows that nothing here uses up.
fn unused(edition: Edition, licences: u64) -> Vec<(&'static str, u64)> {
    let pick = |developer: u64, enterprise: u64, unlimited: u64| match edition {
        Edition::Developer => developer,
        Edition::Enterprise => enterprise,
        Edition::Unlimited => unlimited,
    };
    vec![
        ("ConcurrentAsyncGetReportInstances", 200),
        ("ConcurrentSyncReportRuns", 20),
        ("DailyAsyncApexExecutions", (200 * licences).max(250_000)),
        ("DailyDurableStreamingApiEvents", pick(10_000, 200_000, 1_000_000)),
        ("DailyGenericStreamingApiEvents", pick(10_000, 100_000, 100_000)),
        ("DailyStandardVolumePlatformEvents", pick(10_000, 25_000, 50_000)),
        ("DailyStreamingApiEvents", pick(10_000, 200_000, 1_000_000)),
        ("DailyWorkflowEmails", pick(100, 1_000 * licences.max(1), 1_000 * licences.max(1)).min(2_000_000)),
        ("DurableStreamingApiConcurrentClients", pick(20, 1_000, 2_000)),
        ("FileStorageMB", pick(20, 10_240 + 2_048 * licences, 10_240 + 2_048 * licences)),
        ("HourlyAsyncReportRuns", 1_200),
        ("HourlyDashboardRefreshes", 200),
        ("HourlyDashboardResults", 5_000),
        ("HourlyDashboardStatuses", 999_999_999),
        ("HourlyLongTermIdMapping", 100_000),
        ("HourlyODataCallout", pick(1_000, 20_000, 20_000)),
        ("HourlyPublishedStandardVolumePlatformEvents", pick(1_000, 100_000, 100_000)),
        ("HourlyShortTermIdMapping", 100_000),
        ("HourlySyncReportRuns", 500),
        ("HourlyTimeBasedWorkflow", pick(50, 1_000, 1_000)),
        ("MassEmail", pick(10, 5_000, 5_000)),
        ("PlatformEventTriggersWithParallelProcessing", 5),
        ("SingleEmail", pick(15, 5_000, 5_000)),
        ("StreamingApiConcurrentClients", pick(20, 1_000, 2_000)),
    ]
}
