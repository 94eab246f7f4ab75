//! Ten planted mistakes, and each is found.

use super::{answer, penstock};
use org_sim::{ObjectsSpec, OrgConfig, OrgSim};
use private_postgres::{Options, Server};

const OBJECTS: &str = r#"
objects:
  Account:
    fields:
      Customer_Key__c: {type: text, length: 20, external_id: true, unique: true}
      Plain_Key__c: {type: text, length: 20}
      Short__c: {type: text, length: 3}
      Signed_On__c: {type: date}
      Locked__c: {type: text, length: 20, updateable: false, createable: false}
"#;

const PIPELINE: &str = r#"
pipeline: planted
colour: blue
http: {listen: off}
orgs:
  good:
    url: "${env:ORG_URL}"
    auth: {flow: client_credentials, client_id: "${env:CLIENT_ID}", client_secret: "${env:CLIENT_SECRET}"}
  wrong:
    url: "${env:ORG_URL}"
    auth: {flow: client_credentials, client_id: "${env:CLIENT_ID}", client_secret: "${env:WRONG_SECRET}"}
sources:
  db:
    kind: postgres
    url: "${env:DATABASE_URL}"
    tables: [shop.customer, shop.nowhere]
streams:
  shop:
    from: db
    keys: {shop.customer: [id], shop.nowhere: [id]}
routes:
  customers:
    stream: shop
    table: shop.customer
    to: {org: good, object: Account, external_id: Customer_Key__c}
    map:
      Customer_Key__c: id
      Name: name
      Missing__c: name
      Locked__c: name
      Signed_On__c: active
      Short__c: code
  unkeyed:
    stream: shop
    table: shop.customer
    to: {org: good, object: Account, external_id: Plain_Key__c}
    map: {Plain_Key__c: id, Name: name}
  lost:
    stream: shop
    table: shop.nowhere
    to: {org: wrong, object: Account, external_id: Customer_Key__c}
    map: {Customer_Key__c: id, Name: name}
"#;

#[tokio::test]
async fn ten_planted_mistakes_are_each_reported_with_code_place_and_fix() {
    let server = Server::start(Options { wal_level_logical: false, ..Options::default() }.set("wal_level", "replica"))
        .await
        .expect("a server");
    server
        .execute(
            "postgres",
            "create schema shop;
             create table shop.customer (id bigint primary key, name text not null, active boolean, code varchar(40));
             create role reader login;
             grant usage on schema shop to reader;
             grant select on all tables in schema shop to reader;",
        )
        .await
        .unwrap();
    let objects: ObjectsSpec = serde_saphyr::from_str(OBJECTS).unwrap();
    let config = OrgConfig { objects, ..OrgConfig::default() };
    let app = config.apps[0].clone();
    let org = OrgSim::start(config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("penstock.yaml"), PIPELINE).unwrap();
    let url = format!("postgres://reader@127.0.0.1:{}/postgres", server.port());
    let env = [
        ("ORG_URL", org.url()),
        ("CLIENT_ID", app.client_id.clone()),
        ("CLIENT_SECRET", app.client_secret.clone()),
        ("WRONG_SECRET", "not-the-secret-4711".to_owned()),
        ("DATABASE_URL", url),
    ];

    let output = penstock(folder.path(), &["check", "--json"], &env).await;

    let answer = answer(&output);
    assert_eq!(output.status.code(), Some(3), "{answer:#}");
    let findings = answer["result"]["findings"].as_array().unwrap();
    for finding in findings {
        for part in ["code", "place", "cause", "fix"] {
            assert!(finding[part].as_str().is_some_and(|text| !text.is_empty()), "{part} is empty: {finding:#}");
        }
        assert!(penstock::explain::page(finding["code"].as_str().unwrap()).is_some(), "no page: {finding:#}");
    }
    let found = |words: &[&str]| {
        findings.iter().any(|finding| {
            let text = finding.to_string().to_lowercase();
            words.iter().all(|word| text.contains(word))
        })
    };
    for (mistake, words) in [
        ("unknown key", &["unknown key", "colour"] as &[&str]),
        ("missing table", &["shop.nowhere"]),
        ("no replication right", &["replication", "reader"]),
        ("wal_level", &["wal_level"]),
        ("missing field", &["missing__c"]),
        ("not updateable", &["locked__c"]),
        ("wrong type", &["signed_on__c", "boolean"]),
        ("too long", &["short__c", "40"]),
        ("missing external id", &["plain_key__c", "external id"]),
        ("wrong credentials", &["orgs.wrong"]),
    ] {
        assert!(found(words), "{mistake} was not found: {findings:#?}");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("not-the-secret-4711") && !text.contains(&app.client_secret), "a secret shows");
    org.stop().await;
}
