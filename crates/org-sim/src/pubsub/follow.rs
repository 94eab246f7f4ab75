//! A subscription: hands out events as far as the subscriber has asked for them.
//!
//! ```text
//!            request: credits + n (at most 100)
//!      ┌──────────────────────────────────────────┐
//!      ▼                                          │
//!  credits > 0 ── events ─▶ answer, credits − n ──┤
//!      │  └─ none for a while ─▶ empty answer     │
//!  credits = 0 ── no request in time ─▶ the stream ends
//! ```
//!
//! Source: reference 4.4 and 4.6.

use super::call::Call;
use super::code::Code;
use super::managed::{Active, CommitAsk, CommitDone};
use super::proto::{
    CommitReplayResponse, ConsumerEvent, Error, ErrorCode, FetchRequest, FetchResponse, ManagedFetchRequest,
    ManagedFetchResponse, ProducerEvent, ReplayPreset,
};
use super::replay_id;
use crate::events::access::{Cursor, Delivery, ReadError};
use crate::events::bus::parse_replay;
use crate::events::config::Begin;
use crate::faults::Operation;
use bytes::Bytes;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// Events that a subscriber may have asked for at once; more count as this.
const CREDITS_MAX: i32 = 100;

/// A request of either kind of subscription.
#[derive(Debug, Default)]
pub struct Ask {
    managed: bool,
    topic: String,
    preset: i32,
    replay: Bytes,
    requested: i32,
    subscription_id: String,
    developer_name: String,
    commit: Option<CommitAsk>,
}

/// An answer of either kind of subscription.
pub struct Answer {
    events: Vec<ConsumerEvent>,
    latest: Bytes,
    rpc_id: String,
    pending: i32,
    commit: Option<CommitDone>,
}

impl From<FetchRequest> for Ask {
    fn from(request: FetchRequest) -> Self {
        Self {
            topic: request.topic_name,
            preset: request.replay_preset,
            replay: request.replay_id,
            requested: request.num_requested,
            ..Self::default()
        }
    }
}

impl From<ManagedFetchRequest> for Ask {
    fn from(request: ManagedFetchRequest) -> Self {
        Self {
            managed: true,
            requested: request.num_requested,
            subscription_id: request.subscription_id,
            developer_name: request.developer_name,
            commit: request
                .commit_replay_id_request
                .map(|commit| CommitAsk { id: commit.commit_request_id, replay: commit.replay_id }),
            ..Self::default()
        }
    }
}

impl From<Answer> for FetchResponse {
    fn from(answer: Answer) -> Self {
        Self {
            events: answer.events,
            latest_replay_id: answer.latest,
            rpc_id: answer.rpc_id,
            pending_num_requested: answer.pending,
        }
    }
}

impl From<Answer> for ManagedFetchResponse {
    fn from(answer: Answer) -> Self {
        let commit_response = answer.commit.map(|done| CommitReplayResponse {
            commit_request_id: done.id,
            replay_id: done.replay,
            error: done.error.map(|msg| Error { code: ErrorCode::Commit as i32, msg }),
            process_time: done.at_ms,
        });
        Self {
            events: answer.events,
            latest_replay_id: answer.latest,
            rpc_id: answer.rpc_id,
            pending_num_requested: answer.pending,
            commit_response,
        }
    }
}

/// Serves a subscription until it ends.
pub async fn run<I, O>(call: Call, mut requests: Streaming<I>, out: mpsc::Sender<Result<O, Status>>)
where
    I: Into<Ask>,
    O: From<Answer>,
{
    let first = tokio::select! {
        first = requests.message() => first,
        () = out.closed() => return,
    };
    let Ok(Some(first)) = first else { return };
    let ended = match Follower::begin(&call, first.into()).await {
        Ok(mut follower) => follower.follow(&mut requests, &out).await,
        Err(status) => Err(status),
    };
    if let Err(status) = ended {
        // The caller may be gone: then nobody is there to be told.
        let _ = out.send(Err(status)).await;
    }
}

struct Follower<'a> {
    call: &'a Call,
    topic: String,
    cursor: Cursor,
    credits: i32,
    managed: Option<Active>,
    keepalive: Duration,
    credit_time: Duration,
}

/// What a waiting subscription waits for.
enum Event<I> {
    Asked(I),
    /// Something may be on the bus.
    Bus,
    /// It was quiet for long enough.
    Quiet,
    Ended,
}

impl<'a> Follower<'a> {
    async fn begin(call: &'a Call, ask: Ask) -> Result<Self, Status> {
        let (topic, cursor, managed) = if ask.managed { Self::managed(call, &ask)? } else { Self::plain(call, &ask)? };
        let (keepalive, credit_time) = {
            let org = call.shared.org.lock();
            (org.config.events.keepalive_ms, org.config.events.credit_ms)
        };
        let entity = call.shared.org.lock().topic(&topic).and_then(|topic| topic.single().cloned());
        call.pass_faults(Operation::Read, entity.as_deref(), 1).await?;
        Ok(Self {
            call,
            topic,
            cursor,
            credits: ask.requested.min(CREDITS_MAX),
            managed,
            keepalive: Duration::from_millis(keepalive),
            credit_time: Duration::from_millis(credit_time),
        })
    }

    fn plain(call: &Call, ask: &Ask) -> Result<(String, Cursor, Option<Active>), Status> {
        let mut org = call.shared.org.lock();
        let now = call.shared.clock.now_ms();
        org.pump_events(now);
        if ask.topic.is_empty() {
            return Err(call.error(Code::TopicEmpty, "The topic name is blank."));
        }
        org.topic(&ask.topic).ok_or_else(|| call.no_topic(&ask.topic))?;
        if ask.requested <= 0 {
            return Err(call.error(Code::RequestedEvents, "The number of requested events must be greater than 0."));
        }
        let after = match ReplayPreset::try_from(ask.preset).unwrap_or_default() {
            ReplayPreset::Latest => org.bus.latest(now),
            ReplayPreset::Earliest => org.bus.before_earliest(),
            ReplayPreset::Custom if ask.replay.is_empty() => {
                return Err(
                    call.error(Code::ReplayMissing, "The Replay ID validation failed: CUSTOM needs a Replay ID.")
                );
            }
            ReplayPreset::Custom => {
                let known = parse_replay(&ask.replay).filter(|replay| org.bus.is_valid(*replay));
                let corrupted = "The Replay ID validation failed. Ensure that the Replay ID is valid.";
                known.ok_or_else(|| call.error(Code::ReplayCorrupted, corrupted))?
            }
        };
        Ok((ask.topic.clone(), Cursor { after, parts: 0 }, None))
    }

    fn managed(call: &Call, ask: &Ask) -> Result<(String, Cursor, Option<Active>), Status> {
        if ask.commit.is_some() {
            return Err(call.error(Code::ManagedCommitFirst, "The first request must not commit."));
        }
        if ask.requested <= 0 {
            return Err(call.error(Code::ManagedEvents, "The number of requested events must be greater than 0."));
        }
        let active = Active::begin(call, &ask.subscription_id, &ask.developer_name)?;
        let mut org = call.shared.org.lock();
        let now = call.shared.clock.now_ms();
        org.pump_events(now);
        let (topic, committed, default, recovery) = org.managed.place(active.number());
        org.topic(&topic).ok_or_else(|| call.no_topic(&topic))?;
        let begin = match committed {
            Some(replay) if org.bus.is_valid(replay) => {
                return Ok((topic, Cursor { after: replay, parts: 0 }, Some(active)));
            }
            Some(_) => recovery,
            None => default,
        };
        let after = match begin {
            Begin::Latest => org.bus.latest(now),
            Begin::Earliest => org.bus.before_earliest(),
        };
        Ok((topic, Cursor { after, parts: 0 }, Some(active)))
    }

    async fn follow<I, O>(
        &mut self,
        requests: &mut Streaming<I>,
        out: &mpsc::Sender<Result<O, Status>>,
    ) -> Result<(), Status>
    where
        I: Into<Ask>,
        O: From<Answer>,
    {
        let shared = self.call.shared.clone();
        loop {
            let mut arrived = pin!(shared.arrived.notified());
            // Before looking, so that nothing that comes after the look is missed.
            arrived.as_mut().enable();
            let (page, due) = self.read()?;
            if !page.is_empty() {
                self.take_time(page.len()).await;
                let entity = page[0].schema.entity.clone();
                self.call.pass_faults(Operation::Read, Some(&entity), page.len()).await?;
                self.credits -= page.len() as i32;
                if out.send(Ok(self.answer(page, None).into())).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            let quiet = if self.credits > 0 { self.keepalive } else { self.credit_time };
            let event = tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => Event::Asked(request.into()),
                    Ok(None) | Err(_) => Event::Ended,
                },
                () = arrived, if self.credits > 0 => Event::Bus,
                () = tokio::time::sleep(due.unwrap_or(quiet)), if due.is_some() => Event::Bus,
                () = tokio::time::sleep(quiet) => Event::Quiet,
                () = out.closed() => Event::Ended,
            };
            let answer = match event {
                Event::Ended => return Ok(()),
                Event::Quiet if self.credits == 0 => return Ok(()),
                Event::Bus => None,
                Event::Quiet => Some(self.answer(Vec::new(), None)),
                Event::Asked(ask) => self.take(ask)?.map(|done| self.answer(Vec::new(), Some(done))),
            };
            if let Some(answer) = answer
                && out.send(Ok(answer.into())).await.is_err()
            {
                return Ok(());
            }
        }
    }

    /// Events for the credits that are left, and how long until one that is kept back becomes visible.
    fn read(&mut self) -> Result<(Vec<Delivery>, Option<Duration>), Status> {
        let mut org = self.call.shared.org.lock();
        let now = self.call.shared.clock.now_ms();
        let topic = org.topic(&self.topic).ok_or_else(|| self.call.no_topic(&self.topic))?;
        let limit = usize::try_from(self.credits).unwrap_or(0);
        if limit == 0 {
            return Ok((Vec::new(), None));
        }
        let page = org.read_topic(&topic, &mut self.cursor, limit, now).map_err(|ReadError::Limit| {
            self.call.error(Code::DeliveryLimit, "You have exceeded the event delivery limit for your org.")
        })?;
        if page.is_empty() {
            self.cursor = Cursor { after: org.bus.latest(now), parts: 0 };
        }
        let due = org.bus.next_due().map(|at| Duration::from_millis((at - now).max(1) as u64));
        Ok((page, due))
    }

    /// Takes the time that the org's profile has for so many events.
    async fn take_time(&self, events: usize) {
        let time = {
            let org = self.call.shared.org.lock();
            org.latency.time(org.latency.pubsub, events, 0.5)
        };
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }

    fn answer(&self, page: Vec<Delivery>, commit: Option<CommitDone>) -> Answer {
        let events = page.into_iter().map(|delivery| ConsumerEvent {
            event: Some(ProducerEvent {
                id: delivery.uuid.to_string(),
                schema_id: delivery.schema.id.to_string(),
                payload: delivery.payload,
                headers: Vec::new(),
            }),
            replay_id: replay_id(delivery.replay),
        });
        Answer {
            events: events.collect(),
            latest: replay_id(self.cursor.after),
            rpc_id: self.call.id.clone(),
            pending: self.credits,
            commit,
        }
    }

    /// Takes a later request: credits, and a commit.
    fn take(&mut self, ask: Ask) -> Result<Option<CommitDone>, Status> {
        if !ask.topic.is_empty() && ask.topic != self.topic {
            return Err(self
                .call
                .error(Code::TopicMismatch, "The topic name differs from the one of the first request."));
        }
        let only_commit = ask.commit.is_some() && ask.requested == 0;
        if ask.requested <= 0 && !only_commit {
            let code = if ask.managed { Code::ManagedEvents } else { Code::RequestedEvents };
            return Err(self.call.error(code, "The number of requested events must be greater than 0."));
        }
        self.credits = self.credits.saturating_add(ask.requested).min(CREDITS_MAX);
        let (Some(commit), Some(active)) = (ask.commit, &self.managed) else { return Ok(None) };
        let mut org = self.call.shared.org.lock();
        let now = self.call.shared.clock.now_ms();
        let replay = parse_replay(&commit.replay).filter(|replay| org.bus.is_valid(*replay));
        let delivered = self.cursor.after;
        Ok(Some(org.managed.commit(active.number(), commit, replay, delivered, now)))
    }
}
