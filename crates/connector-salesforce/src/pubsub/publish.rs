//! Publishing a batch.

use super::avro::{Schema, Unfit};
use super::grpc::identity;
use super::wire::{ProducerEvent, PublishRequest, PublishResult, SchemaInfo, SchemaRequest, TopicInfo, TopicRequest};
use super::{EVENTS_MAX, REQUEST_BYTES_MAX};
use crate::errors::whole::Effect;
use crate::faults::{self, fault};
use crate::sink::SalesforceSink;
use crate::write;
use contract::{OutBatch, OutRow, RowError, RowResult, SinkError};
use model::{Cell, ErrorClass, FieldValue, ObjectName};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Schemas by topic, until the org says that one is out of date.
#[derive(Default)]
pub(crate) struct Topics(Mutex<HashMap<ObjectName, Arc<Schema>>>);

impl Topics {
    /// Drops a topic's schema.
    pub fn forget(&self, event: &ObjectName) {
        self.0.lock().remove(event);
    }
}

/// Bytes of an event beside its payload.
const EVENT_BYTES: usize = 128;

impl SalesforceSink {
    /// Publishes the rows as events; each is answered by its own result, with its replay id in hexadecimal digits.
    ///
    /// # Errors
    /// `SinkError` of the first request; after that each row has its own answer. Class `Unknown`: events may be published.
    pub(crate) async fn publish(&self, batch: &OutBatch) -> Result<Vec<RowResult>, SinkError> {
        let schema = self.event_schema(&batch.object).await?;
        let place = format!("publish {}", batch.object);
        let session = self.transport.sessions.current().await?;
        let user = identity(&session, &place)?.user.clone();
        let mut slots: Vec<Option<RowResult>> = vec![None; batch.rows.len()];
        let sources = match sources(batch, &schema) {
            Ok(sources) => sources,
            Err(refused) => return Ok(vec![refused; batch.rows.len()]),
        };
        let now_ms = self.transport.clock.now_ms();
        let mut events = Vec::with_capacity(batch.rows.len());
        for (at, row) in batch.rows.iter().enumerate() {
            match payload(row, &schema, &sources, now_ms, &user) {
                Ok(payload) => {
                    let id = event_id(&self.client_name, batch, row);
                    events.push((at, ProducerEvent { id, schema_id: schema.id.clone(), payload: payload.into() }));
                }
                Err(Unfit { field, why }) => slots[at] = Some(unfit(field, why)),
            }
        }
        let mut first = true;
        for run in runs(&mut events) {
            let (places, events): (Vec<usize>, Vec<ProducerEvent>) = run.into_iter().unzip();
            let count = events.len();
            let request = PublishRequest { topic_name: topic(&batch.object), events };
            let answer = self.channel.publish(&self.streams, &self.transport, request).await;
            let answer = answer.and_then(|answer| match answer.results.len() == count {
                true => Ok(answer.results),
                false => {
                    let message = format!("{count} events were sent, {} results came back", answer.results.len());
                    Err(fault(faults::MALFORMED, ErrorClass::Unknown, &place, message))
                }
            });
            match answer {
                Ok(results) => {
                    places.iter().zip(results).for_each(|(at, told)| slots[*at] = Some(self.told(batch, told)))
                }
                Err(error) => {
                    if error.target_code.as_deref().is_some_and(|code| code.starts_with("schema.")) {
                        self.topics.forget(&batch.object);
                    }
                    if first && count == batch.rows.len() {
                        return Err(error);
                    }
                    places.iter().for_each(|at| slots[*at] = Some(write::failed_with(&error)));
                }
            }
            first = false;
        }
        Ok(slots.into_iter().map(|slot| slot.expect("each row was published or refused")).collect())
    }

    /// Returns the schema of an event's topic, asking for it when it is not known.
    async fn event_schema(&self, event: &ObjectName) -> Result<Arc<Schema>, SinkError> {
        let known = self.topics.0.lock().get(event).cloned();
        if let Some(schema) = known {
            return Ok(schema);
        }
        let request = TopicRequest { topic_name: topic(event) };
        let info: TopicInfo = self.channel.call(&self.transport, "GetTopic", &request, Effect::Read).await?;
        let place = format!("describe {event}");
        if !info.can_publish {
            return Err(fault(faults::FORBIDDEN, ErrorClass::Auth, &place, "events cannot be published to this topic"));
        }
        let request = SchemaRequest { schema_id: info.schema_id.clone() };
        let told: SchemaInfo = self.channel.call(&self.transport, "GetSchema", &request, Effect::Read).await?;
        let schema = Schema::read(&info.schema_id, &told.schema_json).ok_or_else(|| {
            fault(faults::MALFORMED, ErrorClass::Transient, &place, "the topic's schema is no record")
        })?;
        let schema = Arc::new(schema);
        self.topics.0.lock().insert(event.clone(), Arc::clone(&schema));
        Ok(schema)
    }

    fn told(&self, batch: &OutBatch, result: PublishResult) -> RowResult {
        let Some(error) = result.error else {
            let digits: String = result.replay_id.iter().map(|byte| format!("{byte:02x}")).collect();
            return RowResult::Applied { id: (!digits.is_empty()).then(|| digits.into()), created: true };
        };
        let lower = error.msg.to_ascii_lowercase();
        let class = match () {
            () if lower.contains("limit") => ErrorClass::Quota,
            () if lower.contains("schema validation failed") => {
                self.topics.forget(&batch.object);
                ErrorClass::Transient
            }
            () if lower.contains("unavailable") => ErrorClass::Transient,
            () => ErrorClass::Permanent,
        };
        RowResult::Failed(RowError { class, code: "PUBLISH".into(), message: error.msg, fields: Vec::new() })
    }
}

fn topic(event: &ObjectName) -> String {
    format!("/event/{event}")
}

/// Where a field of the event gets its value from.
#[derive(Clone, Copy)]
enum Source {
    Created,
    Creator,
    Position,
    Cell(usize),
    Nothing,
}

/// Finds the source of each field of the schema.
///
/// # Errors
/// The answer of every row, when a column is no field of the event: a value is never dropped in silence.
fn sources(batch: &OutBatch, schema: &Schema) -> Result<Vec<Source>, RowResult> {
    let has = |name: &str| schema.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name));
    let position = batch.position_field.as_deref();
    let names = batch.columns.iter().map(|column| &*column.field).chain(position);
    if let Some(gone) = names.into_iter().find(|name| !has(name)) {
        return Err(unfit(gone.to_owned(), "the event has no such field"));
    }
    let source = |name: &str| {
        let at = batch.columns.iter().position(|column| column.field.eq_ignore_ascii_case(name));
        match at {
            Some(at) => Source::Cell(at),
            None if position.is_some_and(|field| field.eq_ignore_ascii_case(name)) => Source::Position,
            None if name == "CreatedDate" => Source::Created,
            None if name == "CreatedById" => Source::Creator,
            None => Source::Nothing,
        }
    };
    Ok(schema.fields.iter().map(|field| source(&field.name)).collect())
}

fn payload(row: &OutRow, schema: &Schema, sources: &[Source], now_ms: i64, user: &str) -> Result<Vec<u8>, Unfit> {
    let mut out = Vec::with_capacity(64);
    let text = |text: String| Cell::Value(FieldValue::Text(text.into()));
    for (field, source) in schema.fields.iter().zip(sources) {
        match source {
            Source::Cell(at) => field.write(&mut out, &row.cells[*at])?,
            Source::Position => field.write(&mut out, &text(row.position.to_string()))?,
            Source::Created => field.write(&mut out, &Cell::Value(FieldValue::Number(now_ms.into())))?,
            Source::Creator => field.write(&mut out, &text(user.to_owned()))?,
            Source::Nothing => field.write(&mut out, &Cell::Null)?,
        }
    }
    Ok(out)
}

/// The event's id: the same for the same row of the same route, however often it is published (at most 36 characters).
fn event_id(client: &str, batch: &OutBatch, row: &OutRow) -> String {
    let hash = xxh3_128(format!("{client}\0{}\0{}", batch.route, row.position).as_bytes());
    let hex = format!("{hash:032x}");
    // The form of a UUID of version 8, whose bits are the maker's own.
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

fn unfit(field: String, why: &str) -> RowResult {
    RowResult::Failed(RowError {
        class: ErrorClass::Permanent,
        code: "INVALID_FIELD".into(),
        message: format!("{field}: {why}"),
        fields: vec![field],
    })
}

/// Cuts events into requests of bounded count and bytes, in order.
fn runs(events: &mut Vec<(usize, ProducerEvent)>) -> Vec<Vec<(usize, ProducerEvent)>> {
    let mut runs: Vec<Vec<(usize, ProducerEvent)>> = Vec::new();
    let mut bytes = 0;
    for (at, event) in events.drain(..) {
        let size = event.payload.len() + EVENT_BYTES;
        match runs.last_mut() {
            Some(run) if run.len() < EVENTS_MAX && bytes + size <= REQUEST_BYTES_MAX => {
                run.push((at, event));
                bytes += size;
            }
            _ => {
                runs.push(vec![(at, event)]);
                bytes = size;
            }
        }
    }
    runs
}
