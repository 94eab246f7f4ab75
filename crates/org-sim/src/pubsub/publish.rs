//! Publishing platform events: a batch, or batch after batch on a stream.
//!
//! Source: reference 4.5. Whether fields are required is not looked at, as in Salesforce; lengths are.

use super::call::Call;
use super::code::Code;
use super::proto::{Error, ErrorCode, ProducerEvent, PublishRequest, PublishResponse, PublishResult};
use super::replay_id;
use crate::events::avro::Datum;
use crate::events::channel::Topic;
use crate::events::schema::{EventSchema, Origin};
use crate::faults::Operation;
use crate::ids::SfId;
use crate::org::Org;
use crate::schema::Object;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// Characters of the id that a publisher gives an event.
const ID_CHARS_MAX: usize = 36;

/// Publishes a batch.
///
/// # Errors
/// The status, when the batch as a whole is refused; what is wrong with one event is in its result.
pub async fn batch(call: &Call, request: &PublishRequest) -> Result<PublishResponse, Status> {
    if request.topic_name.is_empty() {
        return Err(call.error(Code::PublishTopicEmpty, "The topic name is blank."));
    }
    let topic = call.shared.org.lock().topic(&request.topic_name).ok_or_else(|| call.no_topic(&request.topic_name))?;
    let Topic::Platform(name) = &topic else {
        return Err(call.error(Code::TopicPermission, "Events cannot be published to this topic."));
    };
    if request.events.is_empty() {
        return Err(call.error(Code::PublishCount, "A publish request has one event at least."));
    }
    if request.events.iter().any(|event| event.schema_id.is_empty()) {
        return Err(call.error(Code::SchemaInvalid, "Schema validation failed. The schema ID can't be blank."));
    }
    call.pass_faults(Operation::Create, Some(name), request.events.len()).await?;
    let now = call.shared.clock.now_ms();
    let mut org = call.shared.org.lock();
    let schema = org.topic_schema(&topic).ok_or_else(|| call.no_topic(&request.topic_name))?;
    let results = request.events.iter().map(|event| one(&mut org, call, &schema, event, now)).collect();
    Ok(PublishResponse { results, schema_id: schema.id.to_string(), rpc_id: call.id.clone() })
}

fn one(org: &mut Org, call: &Call, current: &Arc<EventSchema>, event: &ProducerEvent, now_ms: i64) -> PublishResult {
    match publish(org, call, current, event, now_ms) {
        Ok((replay, key)) => PublishResult { replay_id: replay_id(replay), error: None, correlation_key: key },
        Err(msg) => PublishResult {
            replay_id: Default::default(),
            error: Some(Error { code: ErrorCode::Publish as i32, msg }),
            correlation_key: event.id.clone(),
        },
    }
}

fn publish(
    org: &mut Org,
    call: &Call,
    current: &Arc<EventSchema>,
    event: &ProducerEvent,
    now_ms: i64,
) -> Result<(u64, String), String> {
    if event.id.chars().count() > ID_CHARS_MAX {
        return Err(format!("The event's ID has more than {ID_CHARS_MAX} characters."));
    }
    if event.payload.len() > org.config.events.event_bytes_max {
        return Err("The event is larger than 1 MB.".into());
    }
    let known = org.history.feed.schema_by_id(&event.schema_id).filter(|schema| schema.entity == current.entity);
    let schema = known.ok_or("Schema validation failed. The schema ID is not one of the topic's.")?;
    let values = Datum::read(&schema.kind, &event.payload)
        .map_err(|error| format!("The payload cannot be decoded: {error}."))?;
    let table = org.store.find_table(&schema.entity).ok_or("The event is not defined.")?;
    check(&schema, &org.store.table(table).object, values.members())?;
    let uuid = if event.id.is_empty() {
        let number = org.history.feed.next_event();
        crate::events::uuid(format!("{}/{number}", call.id).as_bytes())
    } else {
        event.id.clone()
    };
    let replay = org.publish_event(&schema, &uuid, event.payload.clone(), now_ms).map_err(str::to_owned)?;
    Ok((replay, uuid))
}

fn check(schema: &EventSchema, object: &Object, values: &[Datum]) -> Result<(), String> {
    if values.get(1).and_then(Datum::text).and_then(SfId::parse).is_none() {
        return Err("CreatedById is required and must be the ID of a user.".into());
    }
    if matches!(values.first(), Some(Datum::Long(ms)) if *ms <= 0) {
        return Err("CreatedDate is required.".into());
    }
    for (value, origin) in values.iter().zip(&schema.origins).skip(2) {
        let (Some(text), Origin::Field(number)) = (value.text(), origin) else { continue };
        let Some(field) = object.fields.get(usize::from(*number)).filter(|field| field.kind.is_text()) else {
            continue;
        };
        if text.len() > field.length as usize && text.chars().count() > field.length as usize {
            return Err(format!("{} has more than {} characters.", field.name, field.length));
        }
    }
    Ok(())
}

/// Publishes what comes on a stream until it ends or is idle for too long.
pub async fn stream(
    call: Call,
    mut requests: Streaming<PublishRequest>,
    out: mpsc::Sender<Result<PublishResponse, Status>>,
) {
    let idle = Duration::from_millis(call.shared.org.lock().config.events.publish_idle_ms);
    let mut topic = String::new();
    loop {
        let request = tokio::select! {
            request = requests.message() => request,
            () = tokio::time::sleep(idle) => {
                let status = call.error(Code::PublishIdle, "The stream was idle for too long.");
                let _ = out.send(Err(status)).await;
                return;
            }
            () = out.closed() => return,
        };
        let mut request = match request {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(status) => {
                let _ = out.send(Err(status)).await;
                return;
            }
        };
        if topic.is_empty() {
            topic.clone_from(&request.topic_name);
        } else if request.topic_name.is_empty() {
            request.topic_name.clone_from(&topic);
        }
        let answer = if request.topic_name == topic {
            batch(&call, &request).await
        } else {
            Err(call.error(Code::PublishTopicMismatch, "The topic name differs from the one of the first request."))
        };
        let failed = answer.is_err();
        if out.send(answer).await.is_err() || failed {
            return;
        }
    }
}
