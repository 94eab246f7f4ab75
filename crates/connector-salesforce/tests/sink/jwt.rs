//! The JWT bearer flow, with the assertion verified as an org would.

use crate::stub::{Stub, TOKEN, accounts, all_applied, json, sink};
use axum::Router;
use axum::body::Bytes;
use connector_salesforce::{Auth, Secret};
use contract::{Clock, OutOp, Sink, SystemClock};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use std::sync::{Arc, Mutex};

const PRIVATE: &str = include_str!("../keys/jwt-test.pem");
const PUBLIC: &str = include_str!("../keys/jwt-test.pub.pem");

#[derive(Clone, Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: i64,
}

#[tokio::test]
async fn the_assertion_is_signed_short_lived_and_for_the_login_host() {
    let org = Stub::start(|seen, _| all_applied(seen)).await;
    let claims: Arc<Mutex<Option<Claims>>> = Arc::default();
    let (kept, instance) = (Arc::clone(&claims), org.url.clone());
    let router = Router::new().fallback(move |body: Bytes| {
        let (kept, instance) = (Arc::clone(&kept), instance.clone());
        async move {
            let form = String::from_utf8(body.to_vec()).unwrap();
            let field = |name: &str| {
                let pair = form.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap().to_owned();
                percent_encoding::percent_decode_str(&pair).decode_utf8().unwrap().into_owned()
            };
            assert_eq!(field("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
            let mut rules = Validation::new(Algorithm::RS256);
            rules.set_audience(&["https://login.salesforce.com"]);
            let key = DecodingKey::from_rsa_pem(PUBLIC.as_bytes()).unwrap();
            let token = jsonwebtoken::decode::<Claims>(field("assertion"), &key, &rules).unwrap();
            *kept.lock().unwrap() = Some(token.claims);
            json(200, &format!(r#"{{"access_token":"{TOKEN}x","instance_url":"{instance}","scope":"api","id":"…"}}"#))
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = org.config();
    config.url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    config.auth = Auth::JwtBearer {
        client_id: "consumer-key".into(),
        username: "integration@example.com".into(),
        private_key_pem: Secret::new(PRIVATE),
        audience: None,
    };
    let sink = sink(&config);
    sink.apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap();
    let claims = claims.lock().unwrap().clone().unwrap();
    assert_eq!((claims.iss.as_str(), claims.sub.as_str()), ("consumer-key", "integration@example.com"));
    let left = claims.exp - SystemClock::new().now_ms() / 1000;
    assert!((60..=300).contains(&left), "{left}");
    assert_eq!(org.seen().len(), 1, "the calls go to the instance that the token answer names");
    for line in PRIVATE.lines().filter(|line| !line.starts_with('-')) {
        assert!(!format!("{config:?} {sink:?}").contains(line));
    }
}
