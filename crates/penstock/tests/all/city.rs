//! New York's 311 service requests (real data, not part of this repository) to Case, with their agencies as Accounts.

use super::world::{CITY, World, example};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file beside the repository, or where `PENSTOCK_311_CSV` says.
fn requests() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/nyc-311-service-requests.csv");
    std::env::var_os("PENSTOCK_311_CSV").map(PathBuf::from).or(Some(beside)).filter(|path| path.exists())
}

#[tokio::test]
async fn every_service_request_becomes_a_case_below_its_agency() {
    let Some(csv) = requests() else {
        println!("skipped: nyc-311-service-requests.csv is not here; name it with PENSTOCK_311_CSV");
        return;
    };
    let world = World::new(CITY, |text| text).await;
    let client = world.server.connect("postgres").await.unwrap();
    load(&client, &csv).await;
    client.batch_execute(&std::fs::read_to_string(example("city-load.sql")).unwrap()).await.unwrap();
    world.done(&["check", "--json"]).await;
    world.settle().await;

    let org = &world.org;
    let accounts = org.records("Account");
    let code_of: BTreeMap<&str, &str> = accounts
        .iter()
        .map(|account| (account["Id"].as_str().unwrap(), account["Agency_Code__c"].as_str().unwrap()))
        .collect();
    let cases = org.records("Case");
    let rows = client
        .query("select unique_key::text, agency, complaint_type, status from city.service_request", &[])
        .await
        .unwrap();
    assert_eq!((rows.len(), cases.len()), (1_000, 1_000));
    let by_key: BTreeMap<&str, _> = cases.iter().map(|case| (case["Request_Key__c"].as_str().unwrap(), case)).collect();
    for row in &rows {
        let (key, agency, complaint, status): (&str, &str, &str, &str) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let case = by_key[key];
        assert_eq!(code_of[case["AccountId"].as_str().unwrap()], agency, "{key}");
        assert_eq!(case["Subject"], complaint, "{key}");
        assert_eq!(case["Status"], if status == "Closed" { "Closed" } else { "New" }, "{key}");
    }
    world.done(&["prove", "--json"]).await;

    // The slot advances and nothing is sent again by a second run.
    let history = org.last_seq();
    world.settle().await;
    assert_eq!(org.last_seq(), history);
    let trace = world.done(&["trace", "39573567", "--json"]).await;
    assert!(trace["result"].to_string().contains("applied"), "{trace:#}");
    world.org.stop().await;
}

async fn load(client: &tokio_postgres::Client, csv: &Path) {
    use futures::SinkExt;
    let sink = client.copy_in("copy city.raw from stdin csv header").await.expect("the data can be loaded");
    let mut sink = std::pin::pin!(sink);
    sink.send(bytes::Bytes::from(std::fs::read(csv).expect("the data can be loaded")))
        .await
        .expect("the data can be loaded");
    assert_eq!(sink.finish().await.expect("the data can be loaded"), 1_000);
}
