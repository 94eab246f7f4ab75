//! Connections that break, encryption, passwords.

use crate::bed::{Bed, options};
use contract::Source;
use private_postgres::{Auth, Options, Server, StopMode, Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY)";

#[tokio::test]
async fn terminated_backends_are_survived_without_gap_or_repeat() {
    let bed = Bed::new(TABLE, &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    for round in 0..4 {
        bed.execute(&format!("INSERT INTO t SELECT {round} * 100 + g FROM generate_series(1, 100) g")).await;
        bed.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'penstock'",
        )
        .await;
        run.until(|status| status.reconnects > round as u64 && status.connected).await;
    }
    bed.caught_up(&mut run).await;
    run.stop().await;
    let keys: Vec<i64> = bed.records().await.iter().map(|seen| seen.key["id"].as_i64().expect("a number")).collect();
    let want: Vec<i64> = (0..4).flat_map(|round| (1..=100).map(move |g| round * 100 + g)).collect();
    assert_eq!(keys, want);
}

#[tokio::test]
async fn restarted_and_crashed_servers_are_survived() {
    let mut server = Server::start(options()).await.expect("a server");
    let mut bed = Bed::on(&server, TABLE, &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    let database = bed.url.rsplit('/').next().expect("a database").to_owned();
    for (round, mode) in [StopMode::Fast, StopMode::Immediate].into_iter().enumerate() {
        bed.execute(&format!("INSERT INTO t VALUES ({round})")).await;
        server.restart(mode).await.expect("restarts");
        bed.sql = server.connect(&database).await.expect("connects");
        bed.execute(&format!("INSERT INTO t VALUES ({round} + 10)")).await;
        bed.caught_up(&mut run).await;
    }
    run.stop().await;
    let keys: Vec<_> = bed.records().await.iter().map(|seen| seen.key["id"].clone()).collect();
    assert_eq!(keys, [0, 10, 1, 11]);
}

#[tokio::test]
async fn wrong_password_is_refused_and_never_shown() {
    let auth = Auth::Scram { password: "right horse".into() };
    let server = Server::start(Options { auth, ..options() }).await.expect("a server");
    let mut bed = Bed::on(&server, TABLE, &[("t", &["id"])]).await;
    let mut run = bed.start();
    run.copied().await;
    bed.execute("INSERT INTO t VALUES (1)").await;
    bed.caught_up(&mut run).await;
    run.stop().await;
    bed.config.url = bed.config.url.replace("right", "wrong");
    let error = bed.refused().await;
    assert_eq!(error.code().0, "PS2112", "{error}");
    let findings = bed.source().check().await;
    assert_eq!(findings.iter().map(|finding| finding.code.0).collect::<Vec<_>>(), ["PS2112"]);
    assert!(!format!("{error} {error:?} {findings:?}").contains("horse"));
}

/// An authority and a certificate of it for `names`; PEM files in a folder.
fn certificates(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).expect("signs itself");
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let cert = CertificateParams::new(names).expect("names").signed_by(&key, &Issuer::new(ca, ca_key)).expect("signs");
    for (name, pem) in [("ca.pem", ca_cert.pem()), ("server.pem", cert.pem()), ("server.key", key.serialize_pem())] {
        std::fs::write(dir.path().join(name), pem).expect("writes");
    }
    dir
}

#[tokio::test]
async fn tls_is_checked_as_its_mode_says() {
    let dir = certificates(&["localhost"]);
    let other = certificates(&["localhost"]);
    let path = |name: &str| dir.path().join(name);
    let tls = Some(Tls { cert: path("server.pem"), key: path("server.key") });
    let server = Server::start(Options { tls, ..options() }).await.expect("a server");
    let mut bed = Bed::on(&server, TABLE, &[("t", &["id"])]).await;
    let (by_address, by_name) = (bed.config.url.clone(), bed.config.url.replace("127.0.0.1", "localhost"));
    let (ca, foreign) = (path("ca.pem").display().to_string(), other.path().join("ca.pem").display().to_string());
    let good = [
        format!("{by_name}?sslmode=verify-full&sslrootcert={ca}"),
        format!("{by_address}?sslmode=verify-ca&sslrootcert={ca}"),
        format!("{by_address}?sslmode=require"),
        format!("{by_address}?sslmode=disable"),
    ];
    for (round, url) in good.into_iter().enumerate() {
        bed.config.url = url;
        let mut run = bed.start();
        run.copied().await;
        bed.execute(&format!("INSERT INTO t VALUES ({round})")).await;
        bed.caught_up(&mut run).await;
        let row = bed.sql.query_one(
            "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'penstock' AND a.datname = current_database()",
            &[],
        );
        assert_eq!(row.await.expect("answers").get::<_, bool>(0), round < 3, "round {round}");
        run.stop().await;
        bed.slot_is_free().await;
    }
    let bad = [
        format!("{by_address}?sslmode=verify-full&sslrootcert={ca}"),
        format!("{by_name}?sslmode=verify-full&sslrootcert={foreign}"),
        format!("{by_name}?sslmode=verify-ca&sslrootcert={foreign}"),
        format!("{by_name}?sslmode=verify-full&sslrootcert=/nonexistent.pem"),
    ];
    for url in bad {
        bed.config.url.clone_from(&url);
        let error = bed.refused().await;
        assert_eq!(error.code().0, "PS2111", "{url}: {error}");
    }
    assert_eq!(bed.records().await.len(), 4);
}

#[tokio::test]
async fn server_that_refuses_encryption_is_refused_where_it_is_asked_for() {
    let mut bed = Bed::new(TABLE, &[("t", &["id"])]).await;
    bed.config.url.push_str("?sslmode=require");
    assert_eq!(bed.refused().await.code().0, "PS2112");
}
