//! `check` finds everything at once and changes nothing.

use crate::bed::{Bed, options};
use connector_postgres::{PostgresConfig, PostgresSource};
use contract::Source;
use model::{ColumnType, Finding, TableName};
use private_postgres::{Options, Server};

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.0).collect()
}

#[tokio::test]
async fn sound_database_gives_no_finding_and_nothing_is_made() {
    let bed = Bed::new("CREATE TABLE t (id int PRIMARY KEY)", &[("t", &["id"])]).await;
    let findings = bed.source().check().await;
    assert!(findings.is_empty(), "{findings:?}");
    let counts = "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())";
    assert_eq!(bed.sql.query_one(counts, &[]).await.expect("answers").get::<_, i64>(0), 0);
}

#[tokio::test]
async fn every_mistake_of_the_tables_is_found_in_one_go() {
    let ddl = "CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE nokey (id int); CREATE TABLE other (id int PRIMARY KEY, code text); \
               CREATE VIEW v AS SELECT 1 AS id; CREATE PUBLICATION penstock FOR TABLE good WITH (publish = 'insert, update, delete')";
    let tables: [(&str, &[&str]); 5] =
        [("good", &["id"]), ("gone", &["id"]), ("nokey", &["id"]), ("other", &["code"]), ("v", &["id"])];
    let mut bed = Bed::new(ddl, &tables).await;
    bed.config.create_publication = false;
    bed.config.create_slot = false;
    let findings = bed.source().check().await;
    let found = codes(&findings);
    for code in ["PS2130", "PS2132", "PS2135", "PS2142", "PS2143", "PS2150"] {
        assert!(found.contains(&code), "{code} is missing in {findings:#?}");
    }
    assert_eq!(found.iter().filter(|code| **code == "PS2132").count(), 2);
    assert!(findings.iter().all(|finding| !finding.fix.is_empty() && !finding.place.is_empty()));
}

#[tokio::test]
async fn missing_rights_are_found_with_the_statement_that_gives_them() {
    let bed = Bed::new("CREATE TABLE t (id int PRIMARY KEY)", &[("t", &["id"])]).await;
    let role = format!("poor_{}", bed.slot);
    bed.execute(&format!("CREATE ROLE {role} LOGIN")).await;
    let poor = PostgresSource::new(PostgresConfig {
        url: bed.url.replace("postgres@", &format!("{role}@")),
        ..bed.config.clone()
    });
    let findings = poor.check().await;
    for code in ["PS2120", "PS2131", "PS2141"] {
        assert!(codes(&findings).contains(&code), "{code} is missing in {findings:#?}");
    }
    let fixes: Vec<_> = findings.iter().map(|finding| finding.fix.as_str()).collect();
    assert!(fixes.iter().any(|fix| fix.contains("REPLICATION;")), "{fixes:?}");
    assert!(fixes.iter().any(|fix| fix.contains("GRANT SELECT ON")), "{fixes:?}");
    assert!(fixes.iter().any(|fix| fix.contains("CREATE PUBLICATION")), "{fixes:?}");
    // With the rights, all is well but the publication, which its owner makes.
    bed.execute(&format!(
        "ALTER ROLE {role} REPLICATION; GRANT SELECT ON t TO {role}; CREATE PUBLICATION penstock FOR TABLE t"
    ))
    .await;
    let findings = poor.check().await;
    assert!(findings.is_empty(), "{findings:#?}");
    // A policy would hide rows from the copy in silence.
    bed.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY").await;
    assert_eq!(codes(&poor.check().await), ["PS2139"]);
    assert!(bed.source().check().await.is_empty(), "it hides nothing from the owner");
    bed.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn server_that_is_not_set_up_is_found_out() {
    let options = Options { wal_level_logical: false, ..options().set("max_replication_slots", 1) };
    let server = Server::start(options).await.expect("a server");
    let mut bed = Bed::on(&server, "CREATE TABLE t (id int PRIMARY KEY)", &[("t", &["id"])]).await;
    bed.execute("SELECT pg_create_physical_replication_slot('taken')").await;
    let findings = bed.source().check().await;
    assert_eq!(codes(&findings), ["PS2121", "PS2122"], "{findings:#?}");
    assert_eq!(bed.refused().await.code().0, "PS2121");
    bed.config.url = bed.config.url.replace("/bed", "/nosuch");
    assert_eq!(codes(&bed.source().check().await), ["PS2113"]);
    drop(server);
    let findings = bed.source().check().await;
    assert_eq!(codes(&findings), ["PS2114"], "{findings:#?}");
}

#[tokio::test]
async fn tables_are_described_for_mapping() {
    let ddl = "CREATE DOMAIN code AS varchar(5); CREATE TABLE t (id bigint PRIMARY KEY, c code NOT NULL, n numeric(8, 2), a int[])";
    let bed = Bed::new(ddl, &[("t", &["id"])]).await;
    let tables = bed.source().tables().await.expect("describes");
    let kinds: Vec<_> = tables[0].columns.iter().map(|column| (column.kind.clone(), column.nullable)).collect();
    assert_eq!(
        kinds,
        [
            (ColumnType::Int64, false),
            (ColumnType::Text { length: Some(5) }, false),
            (ColumnType::Decimal { precision: Some(8), scale: Some(2) }, true),
            (ColumnType::Array { of: Box::new(ColumnType::Int32) }, true),
        ]
    );
    assert_eq!(tables[0].primary_key, ["id"]);
    let config = PostgresConfig { tables: vec![TableName::parse("nosuch").expect("a name")], ..bed.config.clone() };
    let error = PostgresSource::new(config).tables().await.expect_err("is missing");
    assert_eq!(error.code().0, "PS2130");
}
