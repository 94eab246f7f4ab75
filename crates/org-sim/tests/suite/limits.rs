//! Allocations by edition, licences and version.

use crate::support::{Client, config, org_with};
use org_sim::{Edition, OrgConfig};
use serde_json::{Value, json};

async fn limits(config: OrgConfig) -> Value {
    let (org, client) = org_with(config).await;
    let body = client.get("limits").await.1;
    org.stop().await;
    body
}

#[tokio::test]
async fn maxima_follow_edition_and_licences() {
    let table = [
        (Edition::Developer, 10, 15_000, 50_000, 10_000, 20, 5),
        (Edition::Enterprise, 15, 115_000, 250_000, 25_000, 1_000, 10_540),
        (Edition::Unlimited, 2_000, 10_100_000, 250_000, 50_000, 2_000, 250_240),
    ];
    for (edition, licences, requests, published, delivered, cometd, data) in table {
        let body = limits(OrgConfig { edition, licences, ..config() }).await;
        let max = |name: &str| body[name]["Max"].as_u64().unwrap_or_else(|| panic!("{name}: {body}"));
        assert_eq!(
            (max("DailyApiRequests"), max("HourlyPublishedPlatformEvents"), max("DailyDeliveredPlatformEvents")),
            (requests, published, delivered),
            "{edition:?}"
        );
        assert_eq!((max("DurableStreamingApiConcurrentClients"), max("DataStorageMB")), (cometd, data), "{edition:?}");
        assert_eq!((max("DailyBulkApiBatches"), max("DailyBulkV2QueryJobs")), (15_000, 10_000));
        assert_eq!(max("DailyAsyncApexExecutions"), if licences == 2_000 { 400_000 } else { 250_000 });
        assert_eq!(body["DailyApiRequests"]["Remaining"], requests - 1);
        assert_eq!(body["DailyBulkApiBatches"]["penstock"], json!({ "Max": 0, "Remaining": 0 }));
        assert!(body.get("MonthlyPlatformEventsUsageEntitlement").is_none(), "only with the add-on");
        let rows = body.as_object().unwrap();
        assert!(rows.values().all(|row| row["Max"].is_u64() && row["Remaining"].as_u64() <= row["Max"].as_u64()));
    }
}

#[tokio::test]
async fn names_follow_the_version_and_the_add_on() {
    let mut config = config();
    config.events.add_on = true;
    let (org, client) = org_with(config).await;
    let at = |version: u32| {
        let client = &client;
        async move { client.get(&format!("/services/data/v{version}.0/limits")).await.1 }
    };
    for (version, there, missing) in [
        (
            46,
            vec!["DailyBulkApiRequests", "MonthlyPlatformEvents"],
            vec!["DailyBulkApiBatches", "DailyBulkV2QueryJobs"],
        ),
        (
            47,
            vec!["DailyBulkApiRequests", "DailyBulkV2QueryJobs", "MonthlyPlatformEvents"],
            vec!["DailyBulkApiBatches"],
        ),
        (48, vec!["DailyBulkApiRequests", "MonthlyPlatformEventsUsageEntitlement"], vec!["MonthlyPlatformEvents"]),
        (49, vec!["DailyBulkApiBatches", "DailyBulkV2QueryFileStorageMB"], vec!["DailyBulkApiRequests"]),
        (66, vec!["DailyBulkApiBatches", "MonthlyPlatformEventsUsageEntitlement"], vec!["DailyBulkApiRequests"]),
    ] {
        let body = at(version).await;
        assert!(there.iter().all(|name| body.get(*name).is_some()), "v{version}: {body}");
        assert!(missing.iter().all(|name| body.get(*name).is_none()), "v{version}: {body}");
    }
    let body = at(66).await;
    assert_eq!(body["DailyDeliveredPlatformEvents"]["Max"], 125_000);
    assert_eq!(body["MonthlyPlatformEventsUsageEntitlement"]["Max"], 3_750_000);
    assert_eq!(body["HourlyPublishedPlatformEvents"]["Max"], 275_000);
    org.stop().await;
}

#[tokio::test]
async fn stored_records_use_up_data_storage() {
    let (org, client) = org_with(OrgConfig { edition: Edition::Developer, ..config() }).await;
    let left =
        |client: Client| async move { (client.get("limits").await.1["DataStorageMB"]["Remaining"].clone(), client) };
    let (before, client) = left(client).await;
    for page in 0..6 {
        let rows = (0..200).map(|n| json!({ "Code__c": format!("{page}-{n}"), "Name": "n" })).collect();
        client.upsert("Account", "Code__c", rows).await;
    }
    let (after, _) = left(client).await;
    assert_eq!((before, after), (json!(5), json!(3)), "1,201 records of 2 KB");
    org.stop().await;
}
