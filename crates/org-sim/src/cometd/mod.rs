//! CometD: the Bayeux protocol by long polling, for `/data/…` and `/event/…` channels.
//!
//! ```text
//! handshake ─▶ client id
//! subscribe ─▶ channel, from a replay id on (-1: new events, -2: every one that is kept)
//! connect   ─▶ waits for events; the first one answers at once, with the advice
//! ```
//!
//! Sentences of refusals are those that clients' users report; where none is known the likelier one is taken.

mod session;

use crate::answer::Response;
use crate::config::Edition;
use crate::events::bus::Bus;
use crate::faults::{Api, Decided, Operation, Refusal, Seen};
use crate::org::Org;
use crate::server::Shared;
use http::Method;
use http::request::Parts;
use serde_json::{Value, json};
use session::{Refused, news};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

pub use session::Clients;

/// Messages of one request.
const MESSAGES_MAX: usize = 100;

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub struct Dropped;

/// True for a path of this API.
pub fn is_path(path: &str) -> bool {
    path == "/cometd" || path.starts_with("/cometd/")
}

/// Answers a request, perhaps after a long wait.
///
/// # Errors
/// `Dropped`, if a fault rule says so.
pub async fn serve(shared: &Arc<Shared>, parts: &Parts, body: &[u8]) -> Result<Response, Dropped> {
    let version =
        parts.uri.path().rsplit('/').next().and_then(|word| word.strip_suffix(".0")).and_then(|n| n.parse().ok());
    let Some(version) = version.filter(|version| crate::rest::VERSIONS.contains(version)) else {
        return Ok(Response::error(404, "NOT_FOUND", "The requested resource does not exist"));
    };
    if parts.method != Method::POST {
        return Ok(Response::error(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed for this resource"));
    }
    let messages = match serde_json::from_slice(body) {
        Ok(Value::Array(messages)) if messages.len() <= MESSAGES_MAX => messages,
        Ok(message @ Value::Object(_)) => vec![message],
        _ => return Ok(Response::error(400, "JSON_PARSER_ERROR", "The body is no list of Bayeux messages")),
    };
    let authorization =
        parts.headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let decided = decide(shared, authorization);
    pause(decided.hang_before_ms).await;
    match &decided.refuse {
        _ if decided.cut_before || decided.reset_stream => return Err(Dropped),
        Some(Refusal::Html503) => return Ok(Response::html_503()),
        Some(Refusal::Http { status, code, message }) => return Ok(Response::error(*status, code, message)),
        None => {}
    }
    let mut answers = Vec::new();
    let mut cookie = None;
    for message in &messages {
        let asked = Asked { shared, message, version, authorization };
        let answer = asked.answer(&mut answers).await;
        if message["channel"] == "/meta/handshake" {
            cookie = answer["clientId"].as_str().map(str::to_owned);
        }
        answers.push(answer);
    }
    pause(decided.hang_after_ms).await;
    if decided.cut_after || decided.cut_body {
        return Err(Dropped);
    }
    let response = Response::value(200, &Value::Array(answers));
    Ok(match cookie {
        Some(id) => response.with("set-cookie", format!("BAYEUX_BROWSER={id};Path=/cometd/;HttpOnly")),
        None => response,
    })
}

fn decide(shared: &Shared, authorization: &str) -> Decided {
    let mut org = shared.org.lock();
    org.faults.set_now(shared.clock.now_ms());
    let seen = Seen { api: Api::Cometd, object: None, operation: Operation::Read, client: None, keys: &[], rows: 1 };
    let decided = if org.faults.is_empty() { Decided::default() } else { org.faults.decide(&seen) };
    if decided.revoke {
        org.sessions.revoke_bearer(Some(authorization));
    }
    decided
}

async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// One message and what belongs to it.
struct Asked<'a> {
    shared: &'a Arc<Shared>,
    message: &'a Value,
    version: u32,
    authorization: &'a str,
}

impl Asked<'_> {
    /// The answer; events go to `events` before it.
    async fn answer(&self, events: &mut Vec<Value>) -> Value {
        let channel = self.message["channel"].as_str().unwrap_or_default();
        let client = self.message["clientId"].as_str().unwrap_or_default();
        let mut answer = match channel {
            "/meta/handshake" => self.handshake(),
            "/meta/connect" => self.connect(client, events).await,
            "/meta/subscribe" => self.subscribe(client),
            "/meta/unsubscribe" => self.unsubscribe(client),
            "/meta/disconnect" => {
                let known = self.shared.org.lock().cometd.remove(client);
                if known { json!({ "successful": true }) } else { unknown_client() }
            }
            _ => json!({ "successful": false, "error": "403::Publishing is not allowed" }),
        };
        answer["channel"] = json!(channel);
        if let Some(id) = self.message.get("id") {
            answer["id"] = id.clone();
        }
        if !client.is_empty() && channel != "/meta/handshake" {
            answer["clientId"] = json!(client);
        }
        answer
    }

    fn is_in_session(&self, org: &mut Org, authorization: &str) -> bool {
        org.sessions.use_token(Some(authorization), self.shared.clock.now_ms()).is_some()
    }

    fn handshake(&self) -> Value {
        let now = self.shared.clock.now_ms();
        let mut org = self.shared.org.lock();
        let denied = |reason: &str| {
            json!({
                "ext": { "sfdc": { "failureReason": reason }, "replay": true, "payload.format": true },
                "advice": { "reconnect": "none" },
                "error": "403::Handshake denied",
                "successful": false,
            })
        };
        if !self.is_in_session(&mut org, self.authorization) {
            return denied("401::Authentication invalid");
        }
        let max = match org.config.edition {
            Edition::Developer => 20,
            Edition::Enterprise => 1000,
            Edition::Unlimited => 2000,
        };
        let keep_ms = org.config.events.connect_ms as i64;
        let Some(id) = org.cometd.add(self.authorization, self.version, max, keep_ms, now) else {
            return denied("403::Organization concurrent user limit exceeded");
        };
        json!({
            "ext": { "replay": true, "payload.format": true },
            "version": "1.0",
            "minimumVersion": "1.0",
            "supportedConnectionTypes": ["long-polling"],
            "clientId": id,
            "successful": true,
        })
    }

    async fn connect(&self, client: &str, events: &mut Vec<Value>) -> Value {
        let (advice, mut wait, number, wake) = {
            let mut org = self.shared.org.lock();
            let settings = &org.config.events;
            let (connect_ms, interval) = (settings.connect_ms, settings.connect_interval_ms);
            let Some(session) = org.cometd.get(client, self.shared.clock.now_ms()) else { return unknown_client() };
            session.connects += 1;
            session.wake.notify_waiters();
            // The first connect only learns the advice.
            let at_once = !std::mem::replace(&mut session.connected, true) || self.message["advice"]["timeout"] == 0;
            let wait = Duration::from_millis(if at_once { 0 } else { connect_ms });
            let advice = json!({ "interval": interval, "timeout": connect_ms, "reconnect": "retry" });
            (advice, wait, session.connects, session.wake.clone())
        };
        loop {
            let (mut arrived, mut woken) = (pin!(self.shared.arrived.notified()), pin!(wake.notified()));
            // Before looking, so that nothing that comes after the look is missed.
            arrived.as_mut().enable();
            woken.as_mut().enable();
            let due = {
                let mut org = self.shared.org.lock();
                let now = self.shared.clock.now_ms();
                let Some(session) = org.cometd.get(client, now) else { return unknown_client() };
                let (authorization, replaced) = (session.authorization.clone(), session.connects != number);
                if !self.is_in_session(&mut org, &authorization) {
                    return json!({
                        "successful": false, "error": "401::Authentication invalid", "advice": { "reconnect": "none" },
                    });
                }
                if replaced {
                    return json!({ "successful": true, "advice": advice });
                }
                match news(&mut org, client, now) {
                    Ok(found) if found.is_empty() => {}
                    Ok(found) => {
                        events.extend(found);
                        wait = Duration::ZERO;
                    }
                    Err(Refused::Unknown) => return unknown_client(),
                    Err(Refused::Limit) => {
                        return json!({
                            "successful": false, "error": "403::Organization total events daily limit exceeded",
                            "advice": { "reconnect": "none" },
                        });
                    }
                }
                org.bus.next_due().map(|at| Duration::from_millis((at - now).max(1) as u64))
            };
            if wait.is_zero() {
                return json!({ "successful": true, "advice": advice });
            }
            tokio::select! {
                () = arrived => {}
                () = woken => {}
                () = tokio::time::sleep(due.unwrap_or(wait)), if due.is_some() => {}
                () = tokio::time::sleep(wait) => wait = Duration::ZERO,
            }
        }
    }

    fn subscribe(&self, client: &str) -> Value {
        let names: Vec<&str> = match &self.message["subscription"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let now = self.shared.clock.now_ms();
        let mut org = self.shared.org.lock();
        org.pump_events(now);
        if org.cometd.get(client, now).is_none() {
            return unknown_client();
        }
        let failed =
            |error: &str| json!({ "successful": false, "error": error, "subscription": self.message["subscription"] });
        if names.is_empty() {
            return failed("400::The subscription is missing");
        }
        let mut places = Vec::new();
        for name in names {
            if org.topic(name).is_none() {
                let mut answer = failed("403:denied_by_security_policy:create_denied");
                answer["ext"] = json!({ "sfdc": { "failureReason": format!("404::Unknown channel: {name}") } });
                return answer;
            }
            match place(&mut org.bus, &self.message["ext"]["replay"][name], now) {
                Ok(after) => places.push((name, after)),
                Err(error) => return failed(&error),
            }
        }
        let Some(session) = org.cometd.get(client, now) else { return unknown_client() };
        for (name, after) in places {
            if !session.follow(name, after) {
                return failed("403::Too many subscriptions");
            }
        }
        json!({ "successful": true, "subscription": self.message["subscription"] })
    }

    fn unsubscribe(&self, client: &str) -> Value {
        let now = self.shared.clock.now_ms();
        let mut org = self.shared.org.lock();
        let Some(session) = org.cometd.get(client, now) else { return unknown_client() };
        session.leave(self.message["subscription"].as_str().unwrap_or_default());
        json!({ "successful": true, "subscription": self.message["subscription"] })
    }
}

/// Where a subscription begins.
fn place(bus: &mut Bus, replay: &Value, now_ms: i64) -> Result<u64, String> {
    match replay.as_i64() {
        None if replay.is_null() => Ok(bus.latest(now_ms)),
        Some(-1) => Ok(bus.latest(now_ms)),
        Some(-2) => Ok(bus.before_earliest()),
        Some(number) if u64::try_from(number).is_ok_and(|number| bus.is_valid(number)) => Ok(number as u64),
        _ => Err(format!(
            "400::The replayId {{{replay}}} you provided was invalid.  Please provide a valid ID, -2 to replay all \
             events, or -1 to replay only new events."
        )),
    }
}

fn unknown_client() -> Value {
    json!({
        "successful": false,
        "error": "403::Unknown client",
        "advice": { "interval": 0, "reconnect": "handshake" },
    })
}
