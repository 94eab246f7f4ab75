//! Nothing secret is ever printed.

use crate::stub::{SECRET, Seen, Stub, TOKEN, accounts, answer};
use connector_salesforce::{Auth, Proxy, SalesforceConfig, SalesforceSink, Secret};
use contract::{OutOp, Sink, SystemClock};
use std::sync::Arc;

/// An org that echoes everything it was given.
fn echo(seen: &Seen) -> String {
    let headers: Vec<String> =
        seen.headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap_or_default())).collect();
    headers.join(" ").replace('"', "'")
}

fn assert_clean(text: &str) {
    for secret in [SECRET, TOKEN, "proxy-pass-word"] {
        assert!(!text.contains(secret), "{secret} stands in {text}");
    }
}

#[tokio::test]
async fn an_org_that_echoes_the_token_does_not_bring_it_into_an_error() {
    for status in [400, 401, 403, 500, 503] {
        let stub = Stub::start(move |seen, _| {
            let body = format!(r#"[{{"message":"{}","errorCode":"{TOKEN}1"}}]"#, echo(seen));
            answer(status, &body)
        })
        .await;
        let sink = stub.sink();
        let error = sink.apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
        assert!(error.message.contains("authorization=Bearer ***"), "{error}");
        for text in [error.to_string(), format!("{error:?}"), format!("{sink:?}")] {
            assert_clean(&text);
        }
        for finding in sink.check().await {
            assert_clean(&format!("{finding} {finding:?}"));
        }
    }
}

#[tokio::test]
async fn a_token_endpoint_that_echoes_the_secret_does_not_bring_it_into_an_error() {
    use axum::Router;
    let router = Router::new().fallback(|body: String| async move {
        crate::stub::json(400, &format!(r#"{{"error":"invalid_client","error_description":"you sent {body}"}}"#))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let stub = Stub::start(|_, _| unreachable!()).await;
    let mut config = stub.config();
    config.url = url;
    let sink = crate::stub::sink(&config);
    let error = sink.apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
    assert!(error.message.contains("client_secret=***"), "{error}");
    assert_clean(&format!("{error} {error:?}"));
}

#[test]
fn configurations_and_their_errors_print_no_secret() {
    let auth = Auth::ClientCredentials { client_id: "id".into(), client_secret: Secret::new(SECRET) };
    let mut config = SalesforceConfig::new("https://example.my.salesforce.com", "62.0", auth);
    config.proxy = Proxy::Url(Secret::new("::proxy-pass-word::"));
    assert_clean(&format!("{config:?}"));
    let refused = SalesforceSink::new(&config, Arc::new(SystemClock::new())).unwrap_err();
    assert_clean(&format!("{refused} {refused:?} {}", refused.finding("orgs.main")));
    config.proxy = Proxy::Direct;
    config.url = format!("https://me:{SECRET}@example.my.salesforce.com");
    let refused = SalesforceSink::new(&config, Arc::new(SystemClock::new())).unwrap_err();
    assert_clean(&format!("{refused} {refused:?}"));
    config.url = "https://example.my.salesforce.com".into();
    config.auth = Auth::JwtBearer {
        client_id: "id".into(),
        username: "u".into(),
        private_key_pem: Secret::new(SECRET),
        audience: None,
    };
    let refused = SalesforceSink::new(&config, Arc::new(SystemClock::new())).unwrap_err();
    assert_eq!(refused.code().0, "PS4014");
    assert_clean(&format!("{refused} {refused:?} {config:?}"));
}

#[test]
fn configurations_that_cannot_work_are_refused_with_their_code() {
    let auth = || Auth::ClientCredentials { client_id: "id".into(), client_secret: Secret::new(SECRET) };
    let code = |change: &dyn Fn(&mut SalesforceConfig)| {
        let mut config = SalesforceConfig::new("https://example.my.salesforce.com", "62.0", auth());
        change(&mut config);
        SalesforceSink::new(&config, Arc::new(SystemClock::new())).err().map(|error| error.code().0)
    };
    assert_eq!(code(&|_| {}), None);
    assert_eq!(code(&|c| c.url = "http://example.my.salesforce.com".into()), Some("PS4010"));
    assert_eq!(code(&|c| c.url = "http://127.0.0.1:1".into()), None);
    assert_eq!(code(&|c| c.url = "example.com".into()), Some("PS4010"));
    assert_eq!(code(&|c| c.url = "https://example.com/services".into()), Some("PS4010"));
    assert_eq!(code(&|c| c.url = "https://login.salesforce.com".into()), Some("PS4011"));
    assert_eq!(code(&|c| c.api_version = "sixty".into()), Some("PS4012"));
    assert_eq!(code(&|c| c.client_name = "a b".into()), Some("PS4013"));
    assert_eq!(code(&|c| c.in_flight_max = 0), Some("PS4016"));
}
