//! What a wire can do: pages, hangs, cuts, floods.

use crate::stub::{Act, Stub, accounts, answer, is_describe, json, sink};
use axum::body::Body;
use axum::response::Response;
use contract::{OutOp, Sink, SinkError};
use model::{ErrorClass, Retry};
use std::time::Duration;

async fn refused_with(act: impl Fn() -> Act + Send + Sync + 'static) -> SinkError {
    let stub = Stub::start(move |_, _| act()).await;
    let mut config = stub.config();
    config.request_timeout = Duration::from_millis(300);
    sink(&config).apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err()
}

#[tokio::test]
async fn a_maintenance_page_is_transient() {
    let error = refused_with(|| answer(503, "<html><title>Down for Maintenance</title></html>")).await;
    assert_eq!((error.class, error.code.0, error.spent.calls), (ErrorClass::Transient, "PS4104", 1));
    assert!(error.message.contains("Down for Maintenance"), "{error}");
}

#[tokio::test]
async fn a_throttled_call_says_when_to_come_back() {
    let error = refused_with(|| {
        let mut response = json(429, "");
        response.headers_mut().insert("retry-after", "7".parse().unwrap());
        Act::Answer(response)
    })
    .await;
    assert_eq!(error.class, ErrorClass::Transient);
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_spent_quota_is_no_rows_fault() {
    let body = r#"[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#;
    let error = refused_with(move || answer(403, body)).await;
    assert_eq!((error.class, error.target_code.as_deref()), (ErrorClass::Quota, Some("REQUEST_LIMIT_EXCEEDED")));
}

#[tokio::test]
async fn a_batch_that_is_refused_whole_is_permanent_so_that_it_is_split() {
    for (status, code) in
        [(400, "JSON_PARSER_ERROR"), (400, "MALFORMED_ID"), (413, "EXCEEDED_MAX_SIZE_REQUEST"), (400, "NEW_CODE")]
    {
        let error = refused_with(move || answer(status, &format!(r#"[{{"message":"m","errorCode":"{code}"}}]"#))).await;
        assert_eq!(error.class, ErrorClass::Permanent, "{code}");
    }
}

#[tokio::test]
async fn a_hanging_write_times_out_with_an_unknown_fate() {
    let error = refused_with(|| Act::Hang).await;
    assert_eq!((error.class, error.code.0, error.spent.calls), (ErrorClass::Unknown, "PS4105", 1));
}

#[tokio::test]
async fn a_connection_cut_before_the_answer_leaves_the_rows_unknown() {
    let error = refused_with(|| Act::Cut).await;
    assert_eq!((error.class, error.code.0, error.spent.calls), (ErrorClass::Unknown, "PS4106", 1));
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_the_rows_unknown() {
    let error = refused_with(|| {
        let response = Response::builder().header("content-length", "1000").body(Body::from("[{\"id\":")).unwrap();
        Act::Answer(response)
    })
    .await;
    assert_eq!(error.class, ErrorClass::Unknown);
}

#[tokio::test]
async fn a_success_that_is_no_json_leaves_the_rows_unknown() {
    let error = refused_with(|| answer(200, "<html>welcome</html>")).await;
    assert_eq!((error.class, error.code.0), (ErrorClass::Unknown, "PS4107"));
}

#[tokio::test]
async fn a_refused_connection_is_transient_and_costs_no_call() {
    let stub = Stub::start(|_, _| answer(200, "[]")).await;
    let sink = stub.sink();
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut config = stub.config();
    config.url = format!("http://{gone}");
    let error = crate::stub::sink(&config).apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
    assert_eq!((error.class, error.code.0, error.spent.calls), (ErrorClass::Transient, "PS4001", 0));
    drop(sink);
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_the_bound() {
    let stub = Stub::start(|_, _| answer(200, &"x".repeat(200_000))).await;
    let mut config = stub.config();
    config.response_bytes_max = 100_000;
    let error = sink(&config).apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Unknown, "PS4108"));
}

#[tokio::test]
async fn a_compressed_bomb_is_cut_at_the_bound() {
    use std::io::Write;
    let stub = Stub::start(|_, _| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![b' '; 20_000_000]).unwrap();
        let body = Body::from(gzip.finish().unwrap());
        Act::Answer(Response::builder().header("content-encoding", "gzip").body(body).unwrap())
    })
    .await;
    let mut config = stub.config();
    config.response_bytes_max = 1_000_000;
    let error = sink(&config).apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
    assert_eq!(error.code.0, "PS4108");
}

#[tokio::test]
async fn a_hanging_read_is_transient() {
    let stub = Stub::start(|_, _| Act::Hang).await;
    let mut config = stub.config();
    config.request_timeout = Duration::from_millis(300);
    let error = sink(&config).allocations().await.unwrap_err();
    assert_eq!((error.class, error.code.0, error.spent.calls), (ErrorClass::Transient, "PS4105", 1));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_asks_for_a_new_session() {
    let stub = Stub::start(|_, _| {
        Act::Answer(
            Response::builder().status(302).header("location", "http://evil.example/").body(Body::empty()).unwrap(),
        )
    })
    .await;
    let sink = stub.sink();
    for _ in 0..2 {
        let error = sink.apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Transient);
    }
    assert_eq!(stub.logins(), 2);
}

#[tokio::test]
async fn a_retired_version_and_a_missing_object_are_named() {
    let stub = Stub::start(|seen, _| match is_describe(seen) {
        true => answer(404, r#"[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]"#),
        false => answer(410, r#"[{"errorCode":"GONE","message":"this version is retired"}]"#),
    })
    .await;
    let error = stub.sink().describe(&"Nope__c".into()).await.unwrap_err();
    assert_eq!((error.class, error.code.0, error.spent.calls), (ErrorClass::Permanent, "PS4101", 1));
    let error = stub.sink().apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Auth, "PS4005"));
    assert_eq!(stub.sink().check_objects(&["Nope__c".into()]).await[0].code.0, "PS4101");
}

#[tokio::test]
async fn a_description_is_cached_then_asked_with_its_date_then_fetched_whole() {
    let stub = Stub::start(|seen, number| {
        if seen.headers.contains_key("if-modified-since") {
            return Act::Answer(Response::builder().status(304).body(Body::empty()).unwrap());
        }
        assert!(number == 0 || number == 2);
        let mut response = json(200, crate::stub::ACCOUNT);
        response.headers_mut().insert("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT".parse().unwrap());
        Act::Answer(response)
    })
    .await;
    let sink = stub.sink();
    let account = "Account".into();
    let first = sink.describe(&account).await.unwrap();
    sink.describe(&account).await.unwrap();
    assert_eq!(stub.seen().len(), 1);
    sink.forget(&account);
    assert_eq!(sink.describe(&account).await.unwrap(), first);
    assert_eq!(stub.seen().len(), 2);
    sink.forget(&account);
    sink.describe(&account).await.unwrap();
    assert_eq!(stub.seen().len(), 3, "a second doubt is not answered by a date");
    assert!(!stub.seen()[2].headers.contains_key("if-modified-since"));
}
