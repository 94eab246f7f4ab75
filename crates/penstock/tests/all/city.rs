//! New York's 311 service requests (real data, not part of this repository) to Case, with their agencies as Accounts.

use super::{answer, penstock};
use org_sim::{ObjectsSpec, OrgConfig, OrgSim};
use private_postgres::{Options, Server};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

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
    let server = Server::start(Options::default()).await.expect("a server");
    let read = |name| std::fs::read_to_string(example(name)).unwrap();
    server.execute("postgres", &read("city.sql")).await.unwrap();
    let client = server.connect("postgres").await.unwrap();
    load(&client, &csv).await;
    client.batch_execute(&read("city-load.sql")).await.unwrap();
    let objects: ObjectsSpec = serde_saphyr::from_str(&read("city-org.yaml")).unwrap();
    let config = OrgConfig { objects, ..OrgConfig::default() };
    let app = config.apps[0].clone();
    let org = OrgSim::start(config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("penstock.yaml"), read("city.yaml").replace("127.0.0.1:9400", "off")).unwrap();
    let env = [
        ("SF_URL", org.url()),
        ("SF_CLIENT_ID", app.client_id.clone()),
        ("SF_CLIENT_SECRET", app.client_secret.clone()),
        ("DATABASE_URL", server.url("postgres")),
    ];

    let check = penstock(folder.path(), &["check", "--json"], &env).await;
    assert_eq!(check.status.code(), Some(0), "{:#}", answer(&check));
    let run = penstock(folder.path(), &["run", "--until-settled", "--json"], &env).await;
    assert_eq!(run.status.code(), Some(0), "{:#}", answer(&run));

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
    let proof = penstock(folder.path(), &["prove", "--json"], &env).await;
    assert_eq!(proof.status.code(), Some(0), "{:#}", answer(&proof));

    // The slot advances and nothing is sent again by a second run.
    let history = org.last_seq();
    let again = penstock(folder.path(), &["run", "--until-settled", "--json"], &env).await;
    assert_eq!(again.status.code(), Some(0), "{:#}", answer(&again));
    assert_eq!(org.last_seq(), history);
    let trace = penstock(folder.path(), &["trace", "39573567", "--json"], &env).await;
    assert!(answer(&trace)["result"].to_string().contains("applied"), "{:#}", answer(&trace));
    org.stop().await;
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
