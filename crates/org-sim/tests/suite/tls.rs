//! The org behind TLS.

use crate::support::config;
use org_sim::{OrgConfig, OrgSim, TlsConfig};
use serde_json::Value;

#[tokio::test]
async fn org_behind_tls_speaks_http2_names_itself_https_and_refuses_plain_text() {
    let _installed_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".into(), "127.0.0.1".into()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let tls = TlsConfig { certificate: folder.path().join("certificate.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&tls.certificate, certificate.pem()).unwrap();
    std::fs::write(&tls.key, key.serialize_pem()).unwrap();
    let org = OrgSim::start(OrgConfig { tls: Some(tls.clone()), ..config() }).await.unwrap();
    let root = reqwest::Certificate::from_pem(certificate.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    let credentials = org.credentials();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &credentials.client_id),
        ("client_secret", &credentials.client_secret),
    ];
    let answer = client.post(format!("{}/services/oauth2/token", org.url())).form(&form).send().await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    let answer: Value = answer.json().await.unwrap();
    let instance = answer["instance_url"].as_str().unwrap();
    assert_eq!(instance, org.url());
    let limits = client.get(format!("{instance}/services/data/v62.0/limits"));
    let limits = limits.bearer_auth(answer["access_token"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(limits.status(), 200);
    let plain = org.url().replace("https://", "http://");
    assert!(client.get(format!("{plain}/services/data")).send().await.is_err());
    org.stop().await;

    std::fs::write(&tls.key, "no key").unwrap();
    let refused = OrgSim::start(OrgConfig { tls: Some(tls), ..config() }).await.err().unwrap();
    assert_eq!(refused.code().0, "PS7008");
}
