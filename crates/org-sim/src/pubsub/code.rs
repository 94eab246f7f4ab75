//! Errors as callers of the Pub/Sub API see them: a gRPC status, and trailers to branch on.
//!
//! Source: reference 4.7. Where it leaves the gRPC status open the likelier one is taken.

use tonic::metadata::MetadataMap;
use tonic::{Code as Grpc, Status};

const PREFIX: &str = "sfdc.platform.eventbus.grpc.";

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Auth,
    Headers,
    TopicNotFound,
    TopicEmpty,
    TopicPermission,
    TopicMismatch,
    SchemaInvalid,
    ReplayCorrupted,
    ReplayMissing,
    RequestedEvents,
    DeliveryLimit,
    PublishCount,
    PublishTopicEmpty,
    PublishTopicMismatch,
    PublishIdle,
    ManagedActive,
    ManagedStopped,
    ManagedIdNotFound,
    ManagedIdInvalid,
    ManagedNameNotFound,
    ManagedUnnamed,
    ManagedEvents,
    ManagedCommitFirst,
}

impl Code {
    fn parts(self) -> (&'static str, Grpc) {
        match self {
            Code::Auth => ("service.auth.error", Grpc::Unauthenticated),
            Code::Headers => ("service.auth.headers.invalid", Grpc::Unauthenticated),
            Code::TopicNotFound => ("topic.not.found", Grpc::NotFound),
            Code::TopicEmpty => ("topic.validation.empty", Grpc::InvalidArgument),
            Code::TopicPermission => ("topic.meta.permission", Grpc::PermissionDenied),
            Code::TopicMismatch => ("subscription.fetch.topic.mismatch", Grpc::InvalidArgument),
            Code::SchemaInvalid => ("schema.validation.failed", Grpc::InvalidArgument),
            Code::ReplayCorrupted => ("subscription.fetch.replayid.corrupted", Grpc::InvalidArgument),
            Code::ReplayMissing => ("subscription.fetch.replayid.validation.failed", Grpc::InvalidArgument),
            Code::RequestedEvents => ("subscription.fetch.requested.events.invalid", Grpc::InvalidArgument),
            Code::DeliveryLimit => ("subscription.limit.exceeded", Grpc::ResourceExhausted),
            Code::PublishCount => ("publish.event.count.invalid", Grpc::InvalidArgument),
            Code::PublishTopicEmpty => ("publish.topic.validation.empty", Grpc::InvalidArgument),
            Code::PublishTopicMismatch => ("publish.topic.mismatch", Grpc::InvalidArgument),
            Code::PublishIdle => ("publish.stream.sweeper.timeout", Grpc::Aborted),
            Code::ManagedActive => ("managed.subscription.already.active", Grpc::AlreadyExists),
            Code::ManagedStopped => ("managed.subscription.config.stopped", Grpc::FailedPrecondition),
            Code::ManagedIdNotFound => ("managed.subscription.subscription.id.not.found", Grpc::NotFound),
            Code::ManagedIdInvalid => ("managed.subscription.subscription.id.invalid", Grpc::InvalidArgument),
            Code::ManagedNameNotFound => ("managed.subscription.developer.name.not.found", Grpc::NotFound),
            Code::ManagedUnnamed => ("managed.subscription.id.or.developer.name.empty", Grpc::InvalidArgument),
            Code::ManagedEvents => ("managed.subscription.fetch.request.events.invalid", Grpc::InvalidArgument),
            Code::ManagedCommitFirst => {
                ("managed.subscription.fetch.request.commit.request.restricted", Grpc::InvalidArgument)
            }
        }
    }
}

/// The status of an error, with its trailers.
pub fn status(code: Code, message: &str, method: &str, rpc_id: &str) -> Status {
    let (suffix, grpc) = code.parts();
    with_trailers(grpc, suffix, message, method, rpc_id)
}

/// The status of an error by the end of its name, as fault rules have it.
pub fn named(suffix: &str, grpc: Option<i32>, message: &str, method: &str, rpc_id: &str) -> Status {
    let usual = match suffix {
        "service.unavailable" => Grpc::Unavailable,
        "service.protection.triggered" | "service.protection.stream.limit.triggered" => Grpc::ResourceExhausted,
        "concurrent.client.limit.exceeded" | "subscription.limit.exceeded" => Grpc::ResourceExhausted,
        "service.auth.error" | "service.auth.headers.invalid" => Grpc::Unauthenticated,
        "service.tenant.license" | "topic.meta.permission" | "subscription.topic.cannot.subscribe" => {
            Grpc::PermissionDenied
        }
        "topic.not.found" => Grpc::NotFound,
        "topic.api.unavailable" | "schema.api.unavailable" => Grpc::Unavailable,
        "subscription.internal.error" => Grpc::Internal,
        _ => Grpc::InvalidArgument,
    };
    let message = if message.is_empty() { "A fault rule asks for this error." } else { message };
    with_trailers(grpc.map_or(usual, Grpc::from), suffix, message, method, rpc_id)
}

fn with_trailers(grpc: Grpc, suffix: &str, message: &str, method: &str, rpc_id: &str) -> Status {
    let mut trailers = MetadataMap::new();
    let code = format!("{PREFIX}{suffix}");
    for (name, value) in [("error-code", &*code), ("rpc-id", rpc_id), ("type", method)] {
        // A fault rule may name a code that is no text for a header.
        if let Ok(value) = value.parse() {
            trailers.insert(name, value);
        }
    }
    Status::with_metadata(grpc, format!("{message} rpcId: {rpc_id}"), trailers)
}
