//! The Pub/Sub API over sockets.

use crate::events::{config, decode};
use crate::grpc::{Caller, code, earliest, fetch};
use crate::support::{Client, org_with};
use org_sim::pubsub::proto::{
    CommitReplayRequest, ConsumerEvent, ErrorCode, ManagedFetchRequest, ProducerEvent, PublishRequest, ReplayPreset,
    SchemaRequest,
};
use org_sim::{Begin, EventsConfig, LatencyModel, ManagedSpec, Ordered, OrgConfig, RunningOrg, ServiceTime};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const ACCOUNT: &str = "/data/AccountChangeEvent";
const SHIPPED: &str = "/event/Shipped__e";

async fn start(events: EventsConfig) -> (RunningOrg, Client, Caller) {
    let (org, client) = org_with(OrgConfig { events, ..config() }).await;
    let caller = Caller::new(&org, &client);
    (org, client, caller)
}

async fn accounts(client: &Client, count: usize) {
    for at in 0..count {
        client.create(json!({ "attributes": { "type": "Account" }, "Name": at.to_string() })).await;
    }
}

async fn fault(client: &Client, rule: Value) {
    assert_eq!(client.send("POST", "/_sim/faults", rule).await.0, 201);
}

async fn names(caller: &Caller, events: &[ConsumerEvent]) -> Vec<String> {
    let mut names = Vec::new();
    for event in events {
        let event = event.event.as_ref().unwrap();
        let request = caller.with(SchemaRequest { schema_id: event.schema_id.clone() });
        let schema = caller.stub.clone().get_schema(request).await.unwrap().into_inner();
        names.push(decode(&schema.schema_json, &event.payload)["Name"].as_str().unwrap().to_owned());
    }
    names
}

#[tokio::test]
async fn subscriber_gets_as_much_as_it_asked_for_and_credits_add_up_to_a_hundred() {
    let (org, client, caller) = start(EventsConfig::default()).await;
    accounts(&client, 7).await;
    let mut follower = caller.subscribe(earliest(ACCOUNT, 3)).await;
    let first = follower.next().await.unwrap().unwrap();
    assert_eq!((first.events.len(), first.pending_num_requested), (3, 0));
    assert_eq!(names(&caller, &first.events).await, ["0", "1", "2"]);
    assert_eq!(first.latest_replay_id, first.events[2].replay_id);
    assert_eq!(first.latest_replay_id.len(), 10);
    follower.more(70).await;
    let second = follower.next().await.unwrap().unwrap();
    assert_eq!((second.events.len(), second.pending_num_requested), (4, 66));
    follower.more(70).await;
    accounts(&client, 1).await;
    let mut third = follower.next().await.unwrap().unwrap();
    // The event may be there before the request is.
    if third.pending_num_requested == 65 {
        accounts(&client, 1).await;
        third = follower.next().await.unwrap().unwrap();
    }
    assert_eq!((third.events.len(), third.pending_num_requested), (1, 99));
    org.stop().await;
}

#[tokio::test]
async fn latest_gets_only_what_comes_and_custom_goes_on_after_its_id() {
    let (org, client, caller) = start(EventsConfig { keepalive_ms: 20, ..EventsConfig::default() }).await;
    accounts(&client, 3).await;
    let all = caller.subscribe(earliest(ACCOUNT, 3)).await.events(3).await;
    let tail = caller.subscribe(fetch(ACCOUNT, ReplayPreset::Custom, &all[0].replay_id, 9)).await.events(2).await;
    assert_eq!(tail, all[1..]);
    assert_eq!(caller.topic("/data/ChangeEvents").await.unwrap().schema_id, "");
    let mut latest = caller.subscribe(fetch("/data/ChangeEvents", ReplayPreset::Latest, &[], 9)).await;
    // The first answer says that the subscription stands.
    assert_eq!(latest.next().await.unwrap().unwrap().events.len(), 0);
    client.create(json!({ "attributes": { "type": "Account" }, "Name": "new" })).await;
    let events = latest.events(1).await;
    assert_eq!(names(&caller, &events).await, ["new"]);
    org.stop().await;
}

#[tokio::test]
async fn quiet_subscription_is_kept_alive_and_its_latest_id_resumes_without_loss() {
    let (org, client, caller) = start(EventsConfig { keepalive_ms: 20, ..EventsConfig::default() }).await;
    let mut follower = caller.subscribe(earliest(ACCOUNT, 5)).await;
    let alive = follower.next().await.unwrap().unwrap();
    assert_eq!((alive.events.len(), alive.pending_num_requested), (0, 5));
    accounts(&client, 1).await;
    let resumed =
        caller.subscribe(fetch(ACCOUNT, ReplayPreset::Custom, &alive.latest_replay_id, 5)).await.events(1).await;
    assert_eq!(names(&caller, &resumed).await, ["0"]);
    // Long after, on a quiet bus, the latest id is still one to resume from.
    org.advance_ms(100 * 3_600_000);
    let caller = Caller::new(&org, &Client::log_in(&org).await);
    let mut follower = caller.subscribe(earliest(ACCOUNT, 5)).await;
    let alive = follower.next().await.unwrap().unwrap();
    org.advance_ms(50 * 3_600_000);
    let caller = Caller::new(&org, &Client::log_in(&org).await);
    let mut follower = caller.subscribe(fetch(ACCOUNT, ReplayPreset::Custom, &alive.latest_replay_id, 5)).await;
    assert_eq!(follower.next().await.unwrap().unwrap().events.len(), 0);
    org.stop().await;
}

#[tokio::test]
async fn subscriber_without_credits_is_let_go() {
    let (org, client, caller) = start(EventsConfig { credit_ms: 20, ..EventsConfig::default() }).await;
    accounts(&client, 1).await;
    let mut follower = caller.subscribe(earliest(ACCOUNT, 1)).await;
    follower.events(1).await;
    assert_eq!(follower.error().await, "ended");
    org.stop().await;
}

#[tokio::test]
async fn wrong_requests_are_refused_with_their_codes() {
    let (org, client, caller) = start(EventsConfig::default()).await;
    accounts(&client, 1).await;
    for (request, expected) in [
        (earliest("", 1), "topic.validation.empty"),
        (earliest("/data/NothingChangeEvent", 1), "topic.not.found"),
        (earliest("/data/CaseChangeEvent", 1), "topic.not.found"),
        (earliest(ACCOUNT, 0), "subscription.fetch.requested.events.invalid"),
        (fetch(ACCOUNT, ReplayPreset::Custom, &[], 1), "subscription.fetch.replayid.validation.failed"),
        (fetch(ACCOUNT, ReplayPreset::Custom, &[0; 10], 1), "subscription.fetch.replayid.corrupted"),
        (fetch(ACCOUNT, ReplayPreset::Custom, b"5936368", 1), "subscription.fetch.replayid.corrupted"),
    ] {
        assert_eq!(caller.subscribe(request).await.error().await, expected);
    }
    let mut follower = caller.subscribe(earliest(ACCOUNT, 1)).await;
    follower.events(1).await;
    follower.ask.send(earliest("/data/ChangeEvents", 1)).await.unwrap();
    assert_eq!(follower.error().await, "subscription.fetch.topic.mismatch");
    let request = caller.with(SchemaRequest::default());
    let refused = caller.stub.clone().get_schema(request).await.unwrap_err();
    assert_eq!((code(&refused), refused.code()), ("schema.validation.failed".into(), tonic::Code::InvalidArgument));
    org.stop().await;
}

#[tokio::test]
async fn headers_and_session_are_checked_at_the_start_and_an_open_stream_outlives_its_session() {
    let (org, client, caller) = start(EventsConfig::default()).await;
    for (caller, expected) in [
        (Caller { token: " ".into(), ..caller.clone() }, "service.auth.headers.invalid"),
        (Caller { token: "x".into(), ..caller.clone() }, "service.auth.error"),
        (Caller { tenant: "00Dxx0000000000AAA".into(), ..caller.clone() }, "service.auth.error"),
    ] {
        assert_eq!(code(&caller.topic(ACCOUNT).await.unwrap_err()), expected);
    }
    accounts(&client, 1).await;
    let mut follower = caller.subscribe(earliest(ACCOUNT, 9)).await;
    follower.events(1).await;
    org.revoke_sessions();
    assert_eq!(code(&caller.topic(ACCOUNT).await.unwrap_err()), "service.auth.error");
    accounts(&Client::log_in(&org).await, 1).await;
    follower.events(1).await;
    org.stop().await;
}

#[tokio::test]
async fn replay_id_ends_with_its_time_and_with_a_reset() {
    let (org, client, caller) = start(EventsConfig::default()).await;
    accounts(&client, 2).await;
    let old = caller.subscribe(earliest(ACCOUNT, 2)).await.events(2).await;
    org.advance_ms(73 * 3_600_000);
    let client = Client::log_in(&org).await;
    let caller = Caller::new(&org, &client);
    let custom = |event: &ConsumerEvent| fetch(ACCOUNT, ReplayPreset::Custom, &event.replay_id, 1);
    assert_eq!(caller.subscribe(custom(&old[0])).await.error().await, "subscription.fetch.replayid.corrupted");
    accounts(&client, 1).await;
    let event = caller.subscribe(earliest(ACCOUNT, 1)).await.events(1).await.remove(0);
    client.send("POST", "/_sim/events/reset", Value::Null).await;
    assert_eq!(caller.subscribe(custom(&event)).await.error().await, "subscription.fetch.replayid.corrupted");
    accounts(&client, 1).await;
    assert_eq!(caller.subscribe(earliest(ACCOUNT, 5)).await.events(1).await.len(), 1);
    org.stop().await;
}

#[tokio::test]
async fn deliveries_are_counted_for_each_subscriber_and_end_at_the_days_limit() {
    let (org, client, caller) = start(EventsConfig { delivered_max: Some(5), ..EventsConfig::default() }).await;
    accounts(&client, 3).await;
    caller.subscribe(earliest(ACCOUNT, 3)).await.events(3).await;
    let mut second = caller.subscribe(earliest(ACCOUNT, 3)).await;
    let got = second.events(2).await;
    assert_eq!(second.error().await, "subscription.limit.exceeded");
    let (_, status) = client.get("/_sim/events").await;
    assert_eq!(status["delivered"], json!({ "max": 5, "used": 5 }));
    org.advance_ms(25 * 3_600_000);
    let caller = Caller::new(&org, &Client::log_in(&org).await);
    caller.subscribe(fetch(ACCOUNT, ReplayPreset::Custom, &got[1].replay_id, 1)).await.events(1).await;
    org.stop().await;
}

async fn event(caller: &Caller, client: &Client, id: &str, order: &str) -> ProducerEvent {
    let topic = caller.topic(SHIPPED).await.unwrap();
    let (_, user) = client.get("/services/oauth2/userinfo").await;
    let user = user["user_id"].as_str().unwrap().to_owned();
    let mut payload = vec![2];
    let text = |payload: &mut Vec<u8>, text: &str| {
        payload.push((text.len() * 2) as u8);
        payload.extend_from_slice(text.as_bytes());
    };
    text(&mut payload, &user);
    payload.push(2);
    text(&mut payload, order);
    payload.push(0);
    ProducerEvent { id: id.into(), schema_id: topic.schema_id, payload: payload.into(), headers: Vec::new() }
}

#[tokio::test]
async fn published_events_have_results_in_order_and_bad_ones_fail_alone() {
    let (org, client, caller) = start(EventsConfig::default()).await;
    let good = event(&caller, &client, "mine", "A").await;
    let unnamed = event(&caller, &client, "", "B").await;
    let events = vec![
        good.clone(),
        ProducerEvent { payload: good.payload.slice(..3), ..good.clone() },
        event(&caller, &client, "long", "12345678901").await,
        event(&caller, &client, &"x".repeat(37), "C").await,
        ProducerEvent { schema_id: "KxC1P8xW4-iTJxZQ6PlZpw".into(), ..good.clone() },
        unnamed,
    ];
    let request = PublishRequest { topic_name: SHIPPED.into(), events, ..PublishRequest::default() };
    let answer = caller.stub.clone().publish(caller.with(request)).await.unwrap().into_inner();
    let failed: Vec<bool> = answer.results.iter().map(|result| result.error.is_some()).collect();
    assert_eq!(failed, [false, true, true, true, true, false]);
    for result in &answer.results {
        assert_eq!(result.replay_id.is_empty(), result.error.is_some());
        assert!(
            result.error.as_ref().is_none_or(|error| error.code == ErrorCode::Publish as i32 && !error.msg.is_empty())
        );
    }
    assert_eq!(answer.results[0].correlation_key, "mine");
    assert_eq!(answer.results[5].correlation_key.len(), 36);
    let got = caller.subscribe(earliest(SHIPPED, 9)).await.events(2).await;
    assert_eq!(got[0].event.as_ref().unwrap().payload, good.payload);
    assert_eq!(got[1].event.as_ref().unwrap().id, answer.results[5].correlation_key);
    for (topic, events, expected) in [
        (SHIPPED, vec![], "publish.event.count.invalid"),
        ("", vec![good.clone()], "publish.topic.validation.empty"),
        (ACCOUNT, vec![good.clone()], "topic.meta.permission"),
        (SHIPPED, vec![ProducerEvent { schema_id: String::new(), ..good.clone() }], "schema.validation.failed"),
    ] {
        let request = PublishRequest { topic_name: topic.into(), events, ..PublishRequest::default() };
        assert_eq!(code(&caller.stub.clone().publish(caller.with(request)).await.unwrap_err()), expected);
    }
    org.stop().await;
}

#[tokio::test]
async fn idle_publish_stream_is_swept() {
    let (org, client, caller) = start(EventsConfig { publish_idle_ms: 20, ..EventsConfig::default() }).await;
    let good = event(&caller, &client, "a", "A").await;
    let (ask, asked) = mpsc::channel(2);
    ask.send(PublishRequest { topic_name: SHIPPED.into(), events: vec![good], ..PublishRequest::default() })
        .await
        .unwrap();
    let mut answers =
        caller.stub.clone().publish_stream(caller.with(ReceiverStream::new(asked))).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().results.len(), 1);
    assert_eq!(code(&answers.message().await.unwrap_err()), "publish.stream.sweeper.timeout");
    org.stop().await;
}

#[tokio::test]
async fn managed_subscription_goes_on_after_its_last_commit_and_has_one_follower() {
    let spec = ManagedSpec {
        topic: ACCOUNT.into(),
        default_replay: Begin::Earliest,
        error_recovery_replay: Begin::Earliest,
        run: true,
    };
    let stopped = ManagedSpec { run: false, ..spec.clone() };
    let managed = Ordered(vec![("Mine".to_owned(), spec), ("Stopped".to_owned(), stopped)]);
    let (org, client, caller) = start(EventsConfig { managed, ..EventsConfig::default() }).await;
    accounts(&client, 3).await;
    let first = |name: &str| ManagedFetchRequest {
        developer_name: name.into(),
        num_requested: 2,
        ..ManagedFetchRequest::default()
    };
    let open = |request: ManagedFetchRequest| {
        let caller = caller.clone();
        async move {
            let (ask, asked) = mpsc::channel(4);
            ask.send(request).await.unwrap();
            let answers = caller.stub.clone().managed_subscribe(caller.with(ReceiverStream::new(asked))).await.unwrap();
            (ask, answers.into_inner())
        }
    };
    for (request, expected) in [
        (first("Nobody"), "managed.subscription.developer.name.not.found"),
        (first("Stopped"), "managed.subscription.config.stopped"),
        (first(""), "managed.subscription.id.or.developer.name.empty"),
        (
            ManagedFetchRequest { subscription_id: "x".into(), ..first("") },
            "managed.subscription.subscription.id.invalid",
        ),
    ] {
        let (_ask, mut answers) = open(request).await;
        assert_eq!(code(&answers.message().await.unwrap_err()), expected);
    }
    let (ask, mut answers) = open(first("Mine")).await;
    let got = answers.message().await.unwrap().unwrap();
    assert_eq!(got.events.len(), 2);
    let (_other, mut refused) = open(first("Mine")).await;
    assert_eq!(code(&refused.message().await.unwrap_err()), "managed.subscription.already.active");
    let commit = |id: &str, replay: &[u8]| ManagedFetchRequest {
        commit_replay_id_request: Some(CommitReplayRequest {
            commit_request_id: id.into(),
            replay_id: replay.to_vec().into(),
        }),
        ..ManagedFetchRequest::default()
    };
    let (one, two) = (got.events[0].replay_id.clone(), got.events[1].replay_id.clone());
    let last = caller.subscribe(earliest(ACCOUNT, 3)).await.events(3).await[2].replay_id.clone();
    for (id, replay, fails) in [
        ("a", &one[..], false),
        ("b", &[][..], true),
        ("c", &[7; 10], true),
        ("d", &last, true),
        ("e", &two, false),
        ("f", &one, true),
    ] {
        ask.send(commit(id, replay)).await.unwrap();
        let done = answers.message().await.unwrap().unwrap().commit_response.unwrap();
        assert_eq!((done.commit_request_id.as_str(), done.error.is_some()), (id, fails));
        assert!(done.error.is_none_or(|error| error.code == ErrorCode::Commit as i32));
    }
    drop((ask, answers));
    // The first follower's end is seen by the org a little later.
    let again = loop {
        let (_ask, mut answers) = open(first("Mine")).await;
        match answers.message().await {
            Ok(answer) => break answer.unwrap().events,
            Err(status) => assert_eq!(code(&status), "managed.subscription.already.active"),
        }
    };
    assert_eq!(again[0].replay_id, last);
    org.stop().await;
}

#[tokio::test]
async fn faults_end_streams_as_they_say() {
    let (org, client, caller) = start(EventsConfig::default()).await;
    accounts(&client, 2).await;
    for (effect, expected) in [
        (json!({ "kind": "grpc", "code": "service.unavailable", "status": 13 }), "service.unavailable"),
        (
            json!({ "kind": "grpc", "code": "subscription.fetch.replayid.corrupted" }),
            "subscription.fetch.replayid.corrupted",
        ),
        (json!({ "kind": "html503" }), "service.unavailable"),
        (json!({ "kind": "revoke_session" }), "service.auth.error"),
    ] {
        let caller = Caller::new(&org, &Client::log_in(&org).await);
        // The second look of the rule: when the first events are about to be delivered.
        fault(
            &client,
            json!({ "match": { "api": "pubsub", "object": "Account" }, "effect": effect, "after": 1, "count": 1 }),
        )
        .await;
        assert_eq!(caller.subscribe(earliest(ACCOUNT, 2)).await.error().await, expected);
        org.clear_faults();
    }
    fault(&client, json!({ "match": { "api": "pubsub" }, "effect": { "kind": "reset_stream" }, "count": 1 })).await;
    let reset = caller.subscribe(earliest(ACCOUNT, 2)).await.next().await.unwrap_err();
    assert!(reset.metadata().get("error-code").is_none() && reset.metadata().get("x-sim-reset").is_none(), "{reset:?}");
    org.clear_faults();
    assert_eq!(caller.subscribe(earliest(ACCOUNT, 2)).await.events(2).await.len(), 2);
    org.stop().await;
}

#[tokio::test]
async fn stalled_stream_stays_open_and_says_nothing() {
    let (org, client, caller) = start(EventsConfig { keepalive_ms: 5, ..EventsConfig::default() }).await;
    fault(
        &client,
        json!({ "match": { "api": "pubsub", "object": "Account" }, "effect": { "kind": "stall_stream" }, "count": 1 }),
    )
    .await;
    let mut stalled = caller.subscribe(earliest(ACCOUNT, 5)).await;
    let mut other = caller.subscribe(earliest(ACCOUNT, 5)).await;
    // Twenty keepalives of another stream: the stalled one would have had as many.
    for _ in 0..20 {
        tokio::select! {
            answer = other.next() => assert!(answer.unwrap().is_some()),
            answer = stalled.next() => panic!("{answer:?}"),
        }
    }
    org.stop().await;
}

#[tokio::test]
async fn events_take_the_time_of_the_profile() {
    let (org, client, caller) = start(EventsConfig { keepalive_ms: 5, ..EventsConfig::default() }).await;
    accounts(&client, 4).await;
    let mut quiet = caller.subscribe(fetch(ACCOUNT, ReplayPreset::Latest, &[], 1)).await;
    let slow = ServiceTime { base_ms: 0.0, per_record_ms: 100.0 };
    org.set_latency(LatencyModel { pubsub: slow, ..LatencyModel::none() });
    let mut slow = caller.subscribe(earliest(ACCOUNT, 4)).await;
    tokio::select! {
        answer = slow.next() => panic!("{answer:?}"),
        answer = quiet.next() => assert_eq!(answer.unwrap().unwrap().events.len(), 0),
    }
    assert_eq!(slow.events(4).await.len(), 4);
    org.stop().await;
}
