//! One session, renewed once.

use crate::stub::{Stub, accounts, all_applied, answer};
use contract::{OutOp, Sink};
use model::ErrorClass;
use std::sync::Arc;

const EXPIRED: &str = r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#;

#[tokio::test]
async fn twenty_expired_calls_renew_the_session_once() {
    let stub = Stub::start(|seen, _| match seen.headers["authorization"].to_str().unwrap().ends_with("-1") {
        true => answer(401, EXPIRED),
        false => all_applied(seen),
    })
    .await;
    let sink = Arc::new(stub.sink());
    let calls = (0..20).map(|n| {
        let sink = Arc::clone(&sink);
        tokio::spawn(async move { sink.apply(&accounts(OutOp::Upsert, &[&n.to_string()])).await })
    });
    let mut spent = 0;
    for call in calls.collect::<Vec<_>>() {
        spent += call.await.unwrap().unwrap().spent.calls;
    }
    assert_eq!(stub.logins(), 2, "one to begin with, one after the 401s");
    assert_eq!(spent as usize, stub.seen().len());
}

#[tokio::test]
async fn a_session_that_stays_refused_is_renewed_once_and_then_an_operators_matter() {
    let stub = Stub::start(|_, _| answer(401, EXPIRED)).await;
    let error = stub.sink().apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
    assert_eq!((error.class, error.code.0), (ErrorClass::Auth, "PS4004"));
    assert_eq!((stub.logins(), stub.seen().len(), error.spent.calls), (2, 2, 2));
}

#[tokio::test]
async fn bodies_that_never_change_do_not_renew_the_session() {
    for message in ["Connected app is not attached to Agent", "This session is not valid for use with the REST API"] {
        let body = format!(r#"[{{"message":"{message}","errorCode":"INVALID_SESSION_ID"}}]"#);
        let stub = Stub::start(move |_, _| answer(401, &body)).await;
        let error = stub.sink().apply(&accounts(OutOp::Upsert, &["a"])).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Auth);
        assert_eq!((stub.logins(), stub.seen().len()), (1, 1));
    }
}

#[tokio::test]
async fn wrong_credentials_are_tried_once_for_all_that_wait() {
    use axum::Router;
    use std::sync::atomic::{AtomicUsize, Ordering};
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&gate);
    let router = Router::new().fallback(move || {
        let gate = Arc::clone(&opened);
        async move {
            ASKED.fetch_add(1, Ordering::SeqCst);
            gate.notified().await;
            crate::stub::json(400, r#"{"error":"invalid_client","error_description":"invalid client credentials"}"#)
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let stub = Stub::start(|_, _| unreachable!()).await;
    let mut config = stub.config();
    config.url = url;
    let sink = crate::stub::sink(&config);
    let batches: Vec<_> = (0..10).map(|n| accounts(OutOp::Upsert, &[&n.to_string()])).collect();
    let all = futures_join(batches.iter().map(|batch| sink.apply(batch)).collect());
    let open = async {
        // All ten have been polled by the time the request has arrived: they run on this one task.
        while ASKED.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        gate.notify_one();
    };
    let (answers, ()) = tokio::join!(all, open);
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().class == ErrorClass::Auth));
    assert_eq!(answers[0].as_ref().unwrap_err().code.0, "PS4002");
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
}

async fn futures_join<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, slot) in futures.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *slot = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().map(Option::unwrap).collect()
}

#[tokio::test]
async fn check_names_wrong_credentials_unreachable_hosts_and_versions() {
    let stub = Stub::start(|seen, _| match seen.path.as_str() {
        "/services/data" => {
            answer(200, r#"[{"label":"x","url":"/services/data/v31.0","version":"31.0"},{"version":"61.0"}]"#)
        }
        _ => answer(200, "{}"),
    })
    .await;
    let codes = |findings: Vec<model::Finding>| findings.iter().map(|f| f.code.0).collect::<Vec<_>>();
    assert_eq!(codes(stub.sink().check().await), ["PS4005"]);
    let mut config = stub.config();
    config.api_version = "61.0".into();
    assert!(crate::stub::sink(&config).check().await.is_empty());
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    config.url = format!("http://{free}");
    assert_eq!(codes(crate::stub::sink(&config).check().await), ["PS4001"]);
}

#[tokio::test]
async fn check_tells_a_disabled_api_from_hidden_limits() {
    for (body, code) in [
        (
            r#"[{"message":"The REST API is not enabled for this Organization.","errorCode":"API_DISABLED_FOR_ORG"}]"#,
            "PS4006",
        ),
        (r#"[{"message":"no","errorCode":"INSUFFICIENT_ACCESS"}]"#, "PS4007"),
    ] {
        let stub = Stub::start(move |seen, _| match seen.path.as_str() {
            "/services/data" => answer(200, r#"[{"version":"62.0"}]"#),
            _ => answer(403, body),
        })
        .await;
        assert_eq!(stub.sink().check().await[0].code.0, code);
    }
}
