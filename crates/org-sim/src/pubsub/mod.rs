//! The Pub/Sub API: gRPC on the org's own address, told apart from HTTP by its content type.
//!
//! Messages and numbers are in `proto/pubsub_api.proto`. A call is checked (session, headers, fault rules), then answered
//! by `publish` or followed by `follow`; `code` has the errors as callers see them.
//!
//! Source: reference section 4.

mod body;
mod call;
mod code;
mod follow;
mod managed;
mod publish;

use crate::server::Shared;
use bytes::Bytes;
use call::Call;
use code::Code;
use follow::{Answer, Ask};
use hyper::body::Incoming;
use proto::pub_sub_server::{PubSub, PubSubServer};
use proto::{
    FetchRequest, FetchResponse, ManagedFetchRequest, ManagedFetchResponse, PublishRequest, PublishResponse,
    SchemaInfo, SchemaRequest, TopicInfo, TopicRequest,
};
use std::error::Error;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status, Streaming};

pub use body::CallBody;
pub use managed::Managed;

/// The messages, and a client for tests in the same language.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod proto {
    tonic::include_proto!("eventbus.v1");
}

/// Answers that wait for a slow caller, at most.
const WAITING_MAX: usize = 4;

/// A trailer that never reaches a caller: the server resets the stream instead.
pub const RESET: &str = "x-sim-reset";

/// Bytes of a request; beyond it the call fails.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// True for a request that is meant for this API.
pub fn is_call(request: &http::request::Parts) -> bool {
    let kind = request.headers.get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a call.
///
/// # Errors
/// The stream is to be reset.
pub async fn serve(
    shared: Arc<Shared>,
    request: http::Request<Incoming>,
) -> Result<http::Response<CallBody>, Box<dyn Error + Send + Sync>> {
    let mut server = PubSubServer::new(Api { shared }).max_decoding_message_size(REQUEST_BYTES_MAX);
    match server.call(request).await {
        Ok(response) => body::take(response),
        Err(never) => match never {},
    }
}

struct Api {
    shared: Arc<Shared>,
}

type Out<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl PubSub for Api {
    type SubscribeStream = Out<FetchResponse>;
    type PublishStreamStream = Out<PublishResponse>;
    type ManagedSubscribeStream = Out<ManagedFetchResponse>;

    async fn subscribe(
        &self,
        request: Request<Streaming<FetchRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let call = Call::admit(&self.shared, "Subscribe", request.metadata())?;
        Ok(follow(call, request.into_inner()))
    }

    async fn managed_subscribe(
        &self,
        request: Request<Streaming<ManagedFetchRequest>>,
    ) -> Result<Response<Self::ManagedSubscribeStream>, Status> {
        let call = Call::admit(&self.shared, "ManagedSubscribe", request.metadata())?;
        Ok(follow(call, request.into_inner()))
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let call = Call::admit(&self.shared, "PublishStream", request.metadata())?;
        let (out, answers) = mpsc::channel(WAITING_MAX);
        tokio::spawn(publish::stream(call, request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let call = Call::admit(&self.shared, "Publish", request.metadata())?;
        publish::batch(&call, request.get_ref()).await.map(Response::new)
    }

    async fn get_topic(&self, request: Request<TopicRequest>) -> Result<Response<TopicInfo>, Status> {
        let call = Call::admit(&self.shared, "GetTopic", request.metadata())?;
        let name = request.into_inner().topic_name;
        call.pass_faults(crate::faults::Operation::Read, None, 1).await?;
        let mut org = call.shared.org.lock();
        if name.is_empty() {
            return Err(call.error(Code::TopicEmpty, "The topic name is blank."));
        }
        let topic = org.topic(&name).ok_or_else(|| call.no_topic(&name))?;
        let schema = org.topic_schema(&topic);
        Ok(Response::new(TopicInfo {
            can_publish: matches!(topic, crate::events::channel::Topic::Platform(_)),
            topic_name: name,
            tenant_guid: tenant_guid(org.sessions.org_id.as_str()),
            can_subscribe: true,
            schema_id: schema.map(|schema| schema.id.to_string()).unwrap_or_default(),
            rpc_id: call.id.clone(),
        }))
    }

    async fn get_schema(&self, request: Request<SchemaRequest>) -> Result<Response<SchemaInfo>, Status> {
        let call = Call::admit(&self.shared, "GetSchema", request.metadata())?;
        call.pass_faults(crate::faults::Operation::Read, None, 1).await?;
        let id = request.into_inner().schema_id;
        if id.is_empty() {
            return Err(call.error(Code::SchemaInvalid, "Schema validation failed. The schema ID can't be blank."));
        }
        let found = call.shared.org.lock().history.feed.schema_by_id(&id);
        let schema = found
            .ok_or_else(|| call.error(Code::SchemaInvalid, "Schema validation failed. The schema ID is unknown."))?;
        Ok(Response::new(SchemaInfo { schema_json: schema.json.to_string(), schema_id: id, rpc_id: call.id.clone() }))
    }
}

fn follow<I, O>(call: Call, requests: Streaming<I>) -> Response<Out<O>>
where
    I: Into<Ask> + Send + 'static,
    O: From<Answer> + Send + 'static,
{
    let (out, answers) = mpsc::channel(WAITING_MAX);
    tokio::spawn(follow::run(call, requests, out));
    Response::new(ReceiverStream::new(answers))
}

/// `core/prod/00DHs0000000001EAA`, as orgs show it.
fn tenant_guid(org_id: &str) -> String {
    format!("core/prod/{org_id}")
}

/// A replay id on the wire.
fn replay_id(replay: u64) -> Bytes {
    Bytes::copy_from_slice(&crate::events::bus::replay_bytes(replay))
}
