//! A Pub/Sub client for the tests.

use crate::support::Client;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use org_sim::RunningOrg;
use org_sim::pubsub::proto::pub_sub_client::PubSubClient;
use org_sim::pubsub::proto::{ConsumerEvent, FetchRequest, FetchResponse, ReplayPreset, TopicInfo, TopicRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

pub type Stub = PubSubClient<Http<HttpConnector, tonic::body::Body>>;

#[derive(Clone)]
pub struct Caller {
    pub stub: Stub,
    pub token: String,
    pub url: String,
    pub tenant: String,
}

impl Caller {
    pub fn new(org: &RunningOrg, client: &Client) -> Self {
        let http = Http::builder(TokioExecutor::new()).http2_only(true).build_http();
        let stub = PubSubClient::with_origin(http, org.url().parse().unwrap());
        let tenant = org_sim::SfId::new(*b"00D", 1).to_string();
        Self { stub, token: client.token.clone(), url: org.url(), tenant }
    }

    pub fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in [("accesstoken", &self.token), ("instanceurl", &self.url), ("tenantid", &self.tenant)] {
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        request
    }

    pub async fn topic(&self, name: &str) -> Result<TopicInfo, Status> {
        let request = self.with(TopicRequest { topic_name: name.into() });
        self.stub.clone().get_topic(request).await.map(tonic::Response::into_inner)
    }

    pub async fn subscribe(&self, first: FetchRequest) -> Subscription {
        let (ask, asked) = mpsc::channel(8);
        ask.send(first).await.unwrap();
        let answers = self.stub.clone().subscribe(self.with(ReceiverStream::new(asked))).await;
        Subscription { ask, answers: answers.map(tonic::Response::into_inner) }
    }
}

pub fn earliest(topic: &str, requested: i32) -> FetchRequest {
    fetch(topic, ReplayPreset::Earliest, &[], requested)
}

pub fn fetch(topic: &str, preset: ReplayPreset, replay: &[u8], requested: i32) -> FetchRequest {
    FetchRequest {
        topic_name: topic.into(),
        replay_preset: preset as i32,
        replay_id: replay.to_vec().into(),
        num_requested: requested,
        ..FetchRequest::default()
    }
}

pub struct Subscription {
    pub ask: mpsc::Sender<FetchRequest>,
    answers: Result<Streaming<FetchResponse>, Status>,
}

impl Subscription {
    /// The next answer; none when the stream ended well.
    pub async fn next(&mut self) -> Result<Option<FetchResponse>, Status> {
        match &mut self.answers {
            Ok(answers) => answers.message().await,
            Err(status) => Err(status.clone()),
        }
    }

    /// The next `count` events; asks for nothing.
    pub async fn events(&mut self, count: usize) -> Vec<ConsumerEvent> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.unwrap().unwrap().events);
        }
        assert_eq!(events.len(), count);
        events
    }

    pub async fn more(&self, requested: i32) {
        self.ask.send(FetchRequest { num_requested: requested, ..FetchRequest::default() }).await.unwrap();
    }

    /// The error that the stream ends with, without its prefix.
    pub async fn error(&mut self) -> String {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return "ended".into(),
                Err(status) => return code(&status),
            }
        }
    }
}

pub fn code(status: &Status) -> String {
    let code = status.metadata().get("error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
    if code.is_empty() {
        return format!("{:?}", status.code());
    }
    assert!(status.metadata().get("rpc-id").is_some() && status.metadata().get("type").is_some(), "{status:?}");
    assert!(status.message().contains("rpcId: "), "{status:?}");
    code.strip_prefix("sfdc.platform.eventbus.grpc.").unwrap().to_owned()
}
