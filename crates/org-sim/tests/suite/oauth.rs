//! Sessions.

use crate::support::{config, http, org, org_with, read};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use org_sim::{OrgClock, OrgSim};
use serde_json::{Value, json};

#[tokio::test]
async fn token_answer_has_exactly_the_documented_keys() {
    let (org, client) = org().await;
    let credentials = org.credentials();
    let request = client.http.post(format!("{}/services/oauth2/token", org.url()));
    let request = request.basic_auth(&credentials.client_id, Some(&credentials.client_secret));
    let (status, body) = read(request.form(&[("grant_type", "client_credentials")]).send().await.unwrap()).await;
    let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        (status, keys),
        (200, vec!["access_token", "signature", "scope", "instance_url", "id", "token_type", "issued_at"])
    );
    assert!(body["issued_at"].is_string());
    assert_eq!(body["instance_url"], org.url());
    assert!(body["access_token"].as_str().unwrap().starts_with("00D"));
    org.stop().await;
}

#[tokio::test]
async fn wrong_clients_and_grants_are_refused_as_objects() {
    let (org, client) = org().await;
    for (form, error) in [
        (vec![("grant_type", "client_credentials"), ("client_id", "x"), ("client_secret", "y")], "invalid_client_id"),
        (
            vec![("grant_type", "client_credentials"), ("client_id", "penstock-client"), ("client_secret", "y")],
            "invalid_client",
        ),
        (vec![("grant_type", "magic"), ("client_id", "penstock-client")], "unsupported_grant_type"),
        (
            vec![("grant_type", "refresh_token"), ("client_id", "penstock-client"), ("refresh_token", "z")],
            "invalid_grant",
        ),
        (vec![("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", "a.b.c")], "invalid_grant"),
    ] {
        let request = client.http.post(format!("{}/services/oauth2/token", org.url())).form(&form);
        let (status, body) = read(request.send().await.unwrap()).await;
        assert_eq!((status, body["error"].as_str()), (400, Some(error)));
        assert!(body["error_description"].is_string());
    }
    org.stop().await;
}

#[tokio::test]
async fn session_slides_ends_after_rest_and_can_be_revoked() {
    let org = OrgSim::start_at(config(), OrgClock::standing(1_800_000_000_000)).await.unwrap();
    let client = crate::support::Client::log_in(&org).await;
    for _ in 0..3 {
        org.advance_ms(7_199_000);
        assert_eq!(client.get("limits").await.0, 200);
    }
    org.advance_ms(7_200_000);
    let (status, body) = client.get("limits").await;
    assert_eq!(
        (status, body),
        (401, json!([{ "message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID" }]))
    );
    let client = crate::support::Client::log_in(&org).await;
    let introspect = |token: String| {
        let form =
            [("token", token), ("client_id", "penstock-client".into()), ("client_secret", "penstock-secret".into())];
        client.http.post(format!("{}/services/oauth2/introspect", client.url)).form(&form).send()
    };
    let body: Value = introspect(client.token.clone()).await.unwrap().json().await.unwrap();
    assert_eq!(
        (body["active"].clone(), body["exp"].clone()),
        (json!(true), json!(body["iat"].as_i64().unwrap() + 7200))
    );
    let (_, user) = client.get("/services/oauth2/userinfo").await;
    assert_eq!(user["preferred_username"], org.credentials().username);
    let revoke = client.http.post(format!("{}/services/oauth2/revoke", org.url())).form(&[("token", &client.token)]);
    assert_eq!(revoke.send().await.unwrap().status(), 200);
    assert_eq!(client.get("limits").await.0, 401);
    let body: Value = introspect(client.token.clone()).await.unwrap().json().await.unwrap();
    assert_eq!(body, json!({ "active": false }));
    org.stop().await;
}

#[tokio::test]
async fn jwt_is_checked_for_signature_audience_expiry_and_user() {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let other = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["client".into()]).unwrap().self_signed(&key).unwrap();
    for pem in [certificate.pem(), key.public_key_pem()] {
        let mut config = config();
        config.apps[0].certificate = Some(pem);
        let org = OrgSim::start_at(config, OrgClock::standing(1_800_000_000_000)).await.unwrap();
        let http = http();
        let good = json!({
            "iss": "penstock-client", "sub": "integration@org-sim.example",
            "aud": "https://login.salesforce.com", "exp": 1_800_000_180,
        });
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        for (claims, signer, expected) in [
            (good.clone(), &key, "ok"),
            (with("exp", json!("1800000100")), &key, "ok"),
            (good.clone(), &other, "invalid assertion"),
            (with("aud", json!(org.url())), &key, "audience is invalid"),
            (with("exp", json!(1_800_000_000)), &key, "expired authorization code"),
            (with("exp", json!(1_800_000_301)), &key, "expired authorization code"),
            (with("exp", Value::Null), &key, "expired authorization code"),
            (with("sub", json!("stranger@example.com")), &key, "user hasn't approved this consumer"),
            (with("iss", json!("stranger")), &key, "client identifier invalid"),
        ] {
            let signer = EncodingKey::from_rsa_pem(signer.serialize_pem().as_bytes()).unwrap();
            let assertion = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &signer).unwrap();
            let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)];
            let request = http.post(format!("{}/services/oauth2/token", org.url())).form(&form);
            let (_, body) = read(request.send().await.unwrap()).await;
            let outcome =
                if body["access_token"].is_string() { "ok" } else { body["error_description"].as_str().unwrap() };
            assert_eq!(outcome, expected, "{claims}");
        }
        org.stop().await;
    }
}

#[tokio::test]
async fn password_flow_gives_a_refresh_token_that_works() {
    let mut config = config();
    config.users.push(org_sim::UserConfig {
        username: "ann@example.com".into(),
        password: Some("pw".into()),
        ..Default::default()
    });
    let (org, client) = org_with(config).await;
    let token = |form: Vec<(&'static str, String)>| {
        let request = client.http.post(format!("{}/services/oauth2/token", client.url)).form(&form);
        async move { read(request.send().await.unwrap()).await }
    };
    let app = || vec![("client_id", "penstock-client".to_owned()), ("client_secret", "penstock-secret".to_owned())];
    let password = |word: &str| {
        [
            app(),
            vec![("grant_type", "password".into()), ("username", "Ann@example.com".into()), ("password", word.into())],
        ]
        .concat()
    };
    assert_eq!(token(password("no")).await.1["error"], "invalid_grant");
    let (_, body) = token(password("pw")).await;
    let refresh = body["refresh_token"].as_str().unwrap().to_owned();
    let (status, body) =
        token([app(), vec![("grant_type", "refresh_token".into()), ("refresh_token", refresh)]].concat()).await;
    assert_eq!((status, body["token_type"].as_str()), (200, Some("Bearer")));
    org.stop().await;
}
