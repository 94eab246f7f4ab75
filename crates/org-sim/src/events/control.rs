//! `/_sim/events…`: looking at the bus and steering it.

use super::json;
use super::schema::ChangeType;
use crate::answer::{Request, Response};
use crate::error::SimError;
use crate::ids::SfId;
use crate::org::Org;
use serde::Deserialize;
use serde_json::{Value, json};

/// Events of one page.
const PAGE_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    object: String,
    ids: Vec<String>,
    #[serde(default)]
    change: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct SetLimits {
    delivered_max: Option<u64>,
    published_max: Option<u64>,
}

/// Answers a control request about events.
///
/// # Errors
/// `SimError::Control`.
pub fn handle(org: &mut Org, request: &Request<'_>, words: &[&str], now_ms: i64) -> Result<Response, SimError> {
    let wrong = |cause: String| SimError::control(request.path, cause);
    org.pump_events(now_ms);
    match (request.method.as_str(), words) {
        ("GET", []) => match request.parameter("topic") {
            Some(topic) => page(org, request, &topic, now_ms),
            None => Ok(Response::value(200, &status(org, now_ms))),
        },
        ("POST", ["gap"]) => {
            let gap: Gap = body(request)?;
            let ids: Option<Vec<SfId>> = gap.ids.iter().map(|id| SfId::parse(id)).collect();
            let ids =
                ids.filter(|ids| !ids.is_empty()).ok_or_else(|| wrong("ids are record ids, one at least".into()))?;
            let word = gap.change.as_deref().unwrap_or("UPDATE");
            let change = ChangeType::from_word(word).ok_or_else(|| wrong(format!("{word} is no change type")))?;
            if !org.gap(&gap.object, &ids, change, now_ms) {
                return Err(wrong(format!("there is no object {}", gap.object)));
            }
            Ok(Response::value(200, &json!({ "ok": true })))
        }
        ("POST", ["reset"]) => {
            org.bus.reset(now_ms);
            Ok(Response::value(200, &json!({ "ok": true })))
        }
        ("POST", ["expire"]) => {
            org.bus.expire(now_ms);
            Ok(Response::value(200, &json!({ "ok": true })))
        }
        ("POST", ["limits"]) => {
            let set: SetLimits = body(request)?;
            if let Some(max) = set.delivered_max {
                org.bus.delivered.set_max(max);
            }
            if let Some(max) = set.published_max {
                org.bus.published.set_max(max);
            }
            Ok(Response::value(200, &status(org, now_ms)))
        }
        (method, _) => Err(wrong(format!("there is no such control request ({method})"))),
    }
}

fn body<T: serde::de::DeserializeOwned>(request: &Request<'_>) -> Result<T, SimError> {
    serde_json::from_slice(request.body).map_err(|error| SimError::control(request.path, error.to_string()))
}

fn status(org: &mut Org, now_ms: i64) -> Value {
    let (events, bytes) = org.bus.size();
    let (delivered_max, delivered) = org.bus.delivered.figures(now_ms);
    let (published_max, published) = org.bus.published.figures(now_ms);
    let channels: Vec<Value> = org
        .channels
        .all()
        .iter()
        .map(|channel| {
            let members: Vec<&str> = channel.members.iter().map(|member| &*member.entity).collect();
            json!({ "name": &*channel.name, "members": members })
        })
        .collect();
    json!({
        "events": events,
        "bytes": bytes,
        "dropped": org.bus.dropped,
        "lost": org.bus.lost,
        "resets": org.bus.resets,
        "delivered": { "max": delivered_max, "used": delivered },
        "published": { "max": published_max, "used": published },
        "channels": channels,
    })
}

fn page(org: &mut Org, request: &Request<'_>, topic: &str, now_ms: i64) -> Result<Response, SimError> {
    let topic =
        org.topic(topic).ok_or_else(|| SimError::control(request.path, format!("there is no topic {topic}")))?;
    let number = |name: &str| request.parameter(name).and_then(|text| text.parse::<u64>().ok());
    let limit = number("limit").unwrap_or(1000).min(PAGE_MAX as u64) as usize;
    let events = org.peek_topic(&topic, number("after").unwrap_or(0), limit, now_ms);
    let shown = events.iter().map(|event| {
        json!({
            "replayId": event.replay,
            "id": &*event.uuid,
            "schema": &*event.schema.id,
            "payload": json::payload(&event.schema, &event.payload),
        })
    });
    Ok(Response::value(200, &json!({ "events": shown.collect::<Vec<_>>() })))
}
