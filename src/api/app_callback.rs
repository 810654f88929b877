//! What a Dapr sidecar may ask of its application. Nothing here is needed for the service to work:
//! commands come over a streaming subscription. But a sidecar that was given an application port
//! asks, and gets sane answers.

use crate::core::reason::Fault;
use dapr::dapr::proto::{
    common::v1::{InvokeRequest, InvokeResponse},
    runtime::v1::{
        BindingEventRequest, BindingEventResponse, HealthCheckResponse, JobEventRequest, JobEventResponse,
        ListInputBindingsResponse, ListTopicSubscriptionsResponse, TopicEventBulkRequest,
        TopicEventBulkResponse, TopicEventBulkResponseEntry, TopicEventRequest, TopicEventResponse,
        app_callback_health_check_server::{AppCallbackHealthCheck, AppCallbackHealthCheckServer},
        app_callback_server::{AppCallback, AppCallbackServer},
        topic_event_response::TopicEventResponseStatus as Verdict,
    },
};
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::{Request, Response, Status, service::interceptor::InterceptedService};

#[cfg(test)]
mod tests;

/// Where the sidecar puts `APP_API_TOKEN`.
const TOKEN: &str = "dapr-api-token";

/// Checks the token, if one is set.
#[derive(Clone)]
pub struct Guard {
    /// Its digest: digests have one length, so that comparing them tells nothing of the token's.
    expected: Option<ring::digest::Digest>,
}

impl tonic::service::Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(expected) = &self.expected else { return Ok(request) };
        let given = request.metadata().get(TOKEN).map(|value| digest(value.as_bytes()));
        match given {
            Some(given) if same(given.as_ref(), expected.as_ref()) => Ok(request),
            _ => Err(Status::unauthenticated("dapr-api-token: is missing or is not APP_API_TOKEN")),
        }
    }
}

fn digest(token: &[u8]) -> ring::digest::Digest {
    ring::digest::digest(&ring::digest::SHA256, token)
}

/// Looks at every byte, wherever they begin to differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b))) == 0
}

/// Both services, to be added to those of the gRPC port.
pub fn services(
    app_api_token: Option<&str>,
) -> (
    InterceptedService<AppCallbackServer<Callback>, Guard>,
    InterceptedService<AppCallbackHealthCheckServer<Callback>, Guard>,
) {
    let guard = Guard { expected: app_api_token.map(|token| digest(token.as_bytes())) };
    (
        AppCallbackServer::with_interceptor(Callback::default(), guard.clone()),
        AppCallbackHealthCheckServer::with_interceptor(Callback::default(), guard),
    )
}

#[derive(Default)]
pub struct Callback {
    unexpected: AtomicU64,
}

impl Callback {
    /// A sidecar that is set up wrongly does it with every event: logged at powers of two.
    fn refused(&self, what: &str, name: &str) {
        let count = self.unexpected.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let name: String = name.escape_debug().take(crate::limits::LOG_TEXT_CHARS_MAX).collect();
            tracing::warn!(name, count, "the sidecar delivered {what}, which this service has not asked for");
        }
    }
}

fn unimplemented(message: &'static str) -> Status {
    super::status::to_tonic(&Fault { message: message.into(), ..Fault::unimplemented("method") })
}

#[tonic::async_trait]
impl AppCallback for Callback {
    async fn on_invoke(&self, request: Request<InvokeRequest>) -> Result<Response<InvokeResponse>, Status> {
        tracing::debug!(method = request.get_ref().method.escape_debug().to_string(), "OnInvoke");
        Err(unimplemented(
            "is not invoked this way: call the gRPC service virtufin.WebSocketManager through the sidecar, \
             with the metadata dapr-app-id",
        ))
    }

    /// None: the topic of commands has a streaming subscription.
    async fn list_topic_subscriptions(
        &self,
        _: Request<()>,
    ) -> Result<Response<ListTopicSubscriptionsResponse>, Status> {
        Ok(Response::new(ListTopicSubscriptionsResponse::default()))
    }

    async fn on_topic_event(
        &self,
        request: Request<TopicEventRequest>,
    ) -> Result<Response<TopicEventResponse>, Status> {
        self.refused("an event of a topic", &request.get_ref().topic);
        Ok(Response::new(TopicEventResponse { status: Verdict::Drop.into() }))
    }

    async fn list_input_bindings(
        &self,
        _: Request<()>,
    ) -> Result<Response<ListInputBindingsResponse>, Status> {
        Ok(Response::new(ListInputBindingsResponse::default()))
    }

    async fn on_binding_event(
        &self,
        request: Request<BindingEventRequest>,
    ) -> Result<Response<BindingEventResponse>, Status> {
        self.refused("an event of a binding", &request.get_ref().name);
        Err(unimplemented("input bindings are not used by this service"))
    }

    async fn on_bulk_topic_event(
        &self,
        request: Request<TopicEventBulkRequest>,
    ) -> Result<Response<TopicEventBulkResponse>, Status> {
        let request = request.into_inner();
        self.refused("events of a topic", &request.topic);
        let drop = |entry_id| TopicEventBulkResponseEntry { entry_id, status: Verdict::Drop.into() };
        let statuses = request.entries.into_iter().map(|entry| drop(entry.entry_id)).collect();
        Ok(Response::new(TopicEventBulkResponse { statuses }))
    }

    async fn on_job_event(
        &self,
        request: Request<JobEventRequest>,
    ) -> Result<Response<JobEventResponse>, Status> {
        self.refused("a job", &request.get_ref().name);
        Err(unimplemented("jobs are not used by this service"))
    }
}

#[tonic::async_trait]
impl AppCallbackHealthCheck for Callback {
    /// Always well: a sidecar that thinks otherwise would cut its own subscriptions, and readiness
    /// is told by the standard health service.
    async fn health_check(&self, _: Request<()>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse::default()))
    }
}
