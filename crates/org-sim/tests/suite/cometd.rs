//! CometD over sockets: handshake, subscribe with replay, long polls, refusals.

use crate::events::config;
use crate::support::{Client, org_with, read};
use org_sim::{Edition, EventsConfig, OrgConfig, RunningOrg};
use proptest::prelude::*;
use serde_json::{Value, json};

const ACCOUNT: &str = "/data/AccountChangeEvent";

/// A Bayeux client that sends one message at a time.
struct Bayeux {
    client: Client,
    id: String,
}

impl Bayeux {
    async fn begin(client: Client) -> Self {
        let mut bayeux = Self { client, id: String::new() };
        let hello = json!({ "channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"], "id": "1" });
        let answer = bayeux.send(hello).await.remove(0);
        assert_eq!(
            (&answer["successful"], &answer["ext"]["replay"], &answer["id"]),
            (&json!(true), &json!(true), &json!("1"))
        );
        bayeux.id = answer["clientId"].as_str().unwrap().to_owned();
        let first = bayeux.connect().await;
        assert_eq!(first[0]["advice"]["reconnect"], "retry", "the first connect answers at once");
        bayeux
    }

    async fn send(&self, message: Value) -> Vec<Value> {
        let (status, body) =
            read(self.client.call("POST", "/cometd/62.0").json(&[message]).send().await.unwrap()).await;
        assert_eq!(status, 200, "{body}");
        body.as_array().unwrap().clone()
    }

    async fn connect(&self) -> Vec<Value> {
        self.send(
            json!({ "channel": "/meta/connect", "clientId": self.id, "connectionType": "long-polling", "id": "c" }),
        )
        .await
    }

    async fn subscribe(&self, channel: &str, replay: Value) -> Value {
        let ext = json!({ "replay": { channel: replay } });
        self.send(json!({ "channel": "/meta/subscribe", "clientId": self.id, "subscription": channel, "ext": ext, "id": "s" })).await.remove(0)
    }

    /// Connects until `count` events are there.
    async fn events(&self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let answers = self.connect().await;
            assert_eq!(answers.last().unwrap()["successful"], true, "{answers:?}");
            events.extend(answers.into_iter().filter(|answer| answer["channel"] != "/meta/connect"));
        }
        assert_eq!(events.len(), count);
        events
    }
}

async fn start(events: EventsConfig) -> (RunningOrg, Client, Bayeux) {
    let (org, client) = org_with(OrgConfig { events, ..config() }).await;
    let bayeux = Bayeux::begin(Client::log_in(&org).await).await;
    (org, client, bayeux)
}

async fn account(client: &Client, fields: Value) -> String {
    client.send("POST", "sobjects/Account", fields).await.1["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn change_events_come_as_json_with_names_and_only_what_changed() {
    let (org, client, bayeux) = start(EventsConfig::default()).await;
    let id = account(&client, json!({ "Name": "a", "BillingCity": "Oslo", "Day__c": "2026-02-28" })).await;
    client.send("PATCH", &format!("sobjects/Account/{id}"), json!({ "BillingCity": null, "Phone": "1" })).await;
    assert_eq!(bayeux.subscribe(ACCOUNT, json!(-2)).await["successful"], true);
    let events = bayeux.events(2).await;
    let payload = |at: usize| &events[at]["data"]["payload"];
    assert_eq!(events[0]["channel"], ACCOUNT);
    assert_eq!((&payload(0)["Name"], &payload(0)["BillingAddress"]), (&json!("a"), &json!({ "City": "Oslo" })));
    assert_eq!(payload(0)["Day__c"], "2026-02-28");
    assert!(payload(0)["CreatedDate"].as_str().unwrap().ends_with(".000Z"));
    let header = &payload(1)["ChangeEventHeader"];
    assert_eq!((&header["changeType"], &header["recordIds"]), (&json!("UPDATE"), &json!([id])));
    let changed = header["changedFields"].as_array().unwrap();
    assert!(changed.contains(&json!("BillingAddress.City")) && changed.contains(&json!("Phone")), "{header}");
    assert_eq!(payload(1)["BillingAddress"], json!({ "City": null }));
    assert_eq!(payload(1).get("Name"), None);
    org.stop().await;
}

#[tokio::test]
async fn waiting_connect_is_answered_by_the_event_and_replay_goes_on_after_its_id() {
    let (org, client, bayeux) = start(EventsConfig::default()).await;
    bayeux.subscribe("/event/Shipped__e", json!(-1)).await;
    let publish = async {
        for order in ["A", "B"] {
            client.send("POST", "sobjects/Shipped__e", json!({ "Order__c": order })).await;
        }
    };
    let (events, ()) = tokio::join!(bayeux.events(2), publish);
    assert_eq!(events[0]["data"]["payload"]["Order__c"], "A");
    assert_eq!(events[0]["data"]["event"]["EventUuid"].as_str().unwrap().len(), 36);
    let again = Bayeux::begin(Client::log_in(&org).await).await;
    again.subscribe("/event/Shipped__e", events[0]["data"]["event"]["replayId"].clone()).await;
    assert_eq!(again.events(1).await, events[1..]);
    org.stop().await;
}

#[tokio::test]
async fn subscription_wakes_a_connect_that_waits_already() {
    let (org, client, bayeux) = start(EventsConfig::default()).await;
    account(&client, json!({ "Name": "a" })).await;
    let (events, answer) = tokio::join!(bayeux.events(1), bayeux.subscribe(ACCOUNT, json!(-2)));
    assert_eq!((events.len(), &answer["successful"]), (1, &json!(true)));
    org.stop().await;
}

#[tokio::test]
async fn refusals_have_their_sentences_and_advice() {
    let (org, _client, bayeux) = start(EventsConfig { connect_ms: 20, ..EventsConfig::default() }).await;
    assert_eq!(bayeux.connect().await[0]["successful"], true, "a connect without events ends in time");
    let unknown = bayeux.subscribe("/data/NothingChangeEvent", json!(-1)).await;
    assert_eq!(unknown["error"], "403:denied_by_security_policy:create_denied");
    let invalid = bayeux.subscribe(ACCOUNT, json!(7)).await;
    assert!(
        invalid["error"].as_str().unwrap().starts_with("400::The replayId {7} you provided was invalid."),
        "{invalid}"
    );
    let stranger = Bayeux { client: Client::log_in(&org).await, id: "nobody".into() };
    let answer = stranger.connect().await.remove(0);
    assert_eq!(
        (&answer["error"], &answer["advice"]["reconnect"]),
        (&json!("403::Unknown client"), &json!("handshake"))
    );
    org.revoke_sessions();
    let ended = bayeux.connect().await.remove(0);
    assert_eq!(
        (&ended["error"], &ended["advice"]["reconnect"]),
        (&json!("401::Authentication invalid"), &json!("none"))
    );
    let denied = bayeux.send(json!({ "channel": "/meta/handshake", "version": "1.0" })).await.remove(0);
    assert_eq!(
        (&denied["error"], &denied["ext"]["sfdc"]["failureReason"]),
        (&json!("403::Handshake denied"), &json!("401::Authentication invalid"))
    );
    assert_eq!(denied["advice"]["reconnect"], "none");
    org.stop().await;
}

#[tokio::test]
async fn client_that_disconnects_or_is_silent_is_forgotten_and_their_number_is_limited() {
    let config = OrgConfig { edition: Edition::Developer, ..config() };
    let (org, client) = org_with(config).await;
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(
            Bayeux::begin(Client { http: client.http.clone(), url: client.url.clone(), token: client.token.clone() })
                .await,
        );
    }
    let hello = json!({ "channel": "/meta/handshake", "version": "1.0" });
    let full = all[0].send(hello.clone()).await.remove(0);
    assert_eq!(full["ext"]["sfdc"]["failureReason"], "403::Organization concurrent user limit exceeded");
    let bye = all[0].send(json!({ "channel": "/meta/disconnect", "clientId": all[0].id })).await.remove(0);
    assert_eq!(bye["successful"], true);
    assert_eq!(all[1].send(hello.clone()).await[0]["successful"], true);
    org.advance_ms(200_000);
    assert_eq!(all[1].send(hello).await[0]["successful"], true);
    assert_eq!(all[1].connect().await[0]["error"], "403::Unknown client");
    org.stop().await;
}

#[tokio::test]
async fn faults_reach_bayeux_requests() {
    let (org, client, bayeux) = start(EventsConfig::default()).await;
    for (effect, expected) in [(json!({ "kind": "html503" }), 503), (json!({ "kind": "http", "status": 500 }), 500)] {
        client
            .send("POST", "/_sim/faults", json!({ "match": { "api": "cometd" }, "effect": effect, "count": 1 }))
            .await;
        let message = json!([{ "channel": "/meta/connect", "clientId": bayeux.id }]);
        assert_eq!(bayeux.client.call("POST", "/cometd/62.0").json(&message).send().await.unwrap().status(), expected);
    }
    client
        .send("POST", "/_sim/faults", json!({ "match": { "api": "cometd" }, "effect": { "kind": "cut" }, "count": 1 }))
        .await;
    assert!(bayeux.client.call("POST", "/cometd/62.0").json(&json!([])).send().await.is_err());
    org.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_are_answered(bodies in prop::collection::vec("(\\[|\\]|\\{|\\}|,|:|\"channel\"|\"/meta/(handshake|subscribe|unsubscribe|disconnect|x)\"|\"subscription\"|\"ext\"|\"replay\"|-1|null|\"é\"){0,12}", 30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (org, client) = org_with(config()).await;
            for body in bodies {
                let status = client.call("POST", "/cometd/62.0").body(body).send().await.unwrap().status().as_u16();
                assert!(status == 200 || status == 400, "{status}");
            }
            org.stop().await;
        });
    }
}
