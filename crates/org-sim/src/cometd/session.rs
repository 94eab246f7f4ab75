//! CometD clients: who they are, what they follow and how far they have got.

use crate::events::access::{Cursor, ReadError};
use crate::events::json;
use crate::org::Org;
use hashbrown::HashMap;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

/// Events of one answer.
const EVENTS_MAX: usize = 200;

/// Channels of one client.
const CHANNELS_MAX: usize = 50;

/// A client that does not connect for so long beside the time of a connect is forgotten.
const SILENT_MS: i64 = 40_000;

/// A client.
pub struct Session {
    /// The `Authorization` header of its handshake.
    pub authorization: String,
    pub version: u32,
    channels: Vec<(String, Cursor)>,
    pub connected: bool,
    /// The number of its newest connect: an older one that still waits gives up.
    pub connects: u64,
    seen_ms: i64,
    /// Told when there is a newer connect, or a channel more.
    pub wake: Arc<Notify>,
}

/// The clients of an org.
#[derive(Default)]
pub struct Clients {
    all: HashMap<String, Session>,
    made: u64,
}

/// Why a client gets no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Unknown,
    Limit,
}

impl Clients {
    /// Takes a client in; none when `max` are there.
    pub fn add(&mut self, authorization: &str, version: u32, max: usize, keep_ms: i64, now_ms: i64) -> Option<String> {
        self.all.retain(|_, session| session.seen_ms + keep_ms + SILENT_MS > now_ms);
        if self.all.len() >= max {
            return None;
        }
        self.made += 1;
        let id = crate::events::uuid(format!("cometd/{}/{now_ms}", self.made).as_bytes()).replace('-', "");
        let session = Session {
            authorization: authorization.to_owned(),
            version,
            channels: Vec::new(),
            connected: false,
            connects: 0,
            seen_ms: now_ms,
            wake: Arc::new(Notify::new()),
        };
        self.all.insert(id.clone(), session);
        Some(id)
    }

    /// A client that is there.
    pub fn get(&mut self, id: &str, now_ms: i64) -> Option<&mut Session> {
        let session = self.all.get_mut(id)?;
        session.seen_ms = now_ms;
        Some(session)
    }

    /// Forgets a client; false if it was not there.
    pub fn remove(&mut self, id: &str) -> bool {
        let removed = self.all.remove(id);
        if let Some(session) = &removed {
            session.wake.notify_waiters();
        }
        removed.is_some()
    }
}

impl Session {
    /// Follows a channel from `after` on; false when there are too many.
    pub fn follow(&mut self, channel: &str, after: u64) -> bool {
        self.leave(channel);
        let room = self.channels.len() < CHANNELS_MAX;
        if room {
            self.channels.push((channel.to_owned(), Cursor { after, parts: 0 }));
            self.wake.notify_waiters();
        }
        room
    }

    /// Leaves a channel.
    pub fn leave(&mut self, channel: &str) {
        self.channels.retain(|(known, _)| known != channel);
    }
}

/// The messages of what is new for a client.
///
/// # Errors
/// `Refused`.
pub fn news(org: &mut Org, client: &str, now_ms: i64) -> Result<Vec<Value>, Refused> {
    let session = org.cometd.get(client, now_ms).ok_or(Refused::Unknown)?;
    let (mut channels, version) = (session.channels.clone(), session.version);
    let mut messages = Vec::new();
    let mut refused = false;
    for (name, cursor) in &mut channels {
        let Some(topic) = org.topic(name) else { continue };
        let room = EVENTS_MAX - messages.len().min(EVENTS_MAX);
        if room == 0 {
            break;
        }
        match org.read_topic(&topic, cursor, room, now_ms) {
            Ok(page) => messages.extend(page.into_iter().map(|delivery| {
                let mut event = json!({ "replayId": delivery.replay });
                if version >= 52 && delivery.schema.entity.ends_with("__e") {
                    event["EventUuid"] = json!(&*delivery.uuid);
                }
                let payload = json::payload(&delivery.schema, &delivery.payload);
                json!({ "data": { "schema": &*delivery.schema.id, "payload": payload, "event": event }, "channel": name })
            })),
            Err(ReadError::Limit) => refused = true,
        }
    }
    if let Some(session) = org.cometd.get(client, now_ms) {
        session.channels = channels;
    }
    if refused && messages.is_empty() { Err(Refused::Limit) } else { Ok(messages) }
}
