//! Every RPC once, as a function from proto to proto: gRPC, gRPC-Web, Connect, REST and
//! server-sent events are thin shells over it.

use crate::{
    core::reason::{Fault, FaultKind},
    proto::*,
};
use futures_core::Stream;
use std::{pin::Pin, time::Duration};

/// What an edge knows of the one who calls.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Empty: anonymous.
    pub principal: String,
    /// What the protocol's own deadline leaves (grpc-timeout, connect-timeout-ms).
    pub deadline: Option<Duration>,
    /// The W3C trace context, passed on as it came.
    pub traceparent: Option<String>,
}

/// A stream of answers; an error is its last item.
pub type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Fault>> + Send>>;

#[derive(Clone)]
pub struct Service {}

macro_rules! unary {
    ($($name:ident($request:ident) -> $response:ident;)+) => {
        impl Service {
            $(pub async fn $name(&self, caller: &Caller, request: $request) -> Result<$response, Fault> {
                let _ = (caller, request);
                Err(Fault::new(FaultKind::Unavailable, "not started"))
            })+
        }
    };
}

unary! {
    connect(ConnectRequest) -> ConnectResponse;
    list(ListRequest) -> ListResponse;
    get(GetRequest) -> GetResponse;
    update(UpdateRequest) -> UpdateResponse;
    disconnect(DisconnectRequest) -> DisconnectResponse;
    start_publish(StartPublishRequest) -> StartPublishResponse;
    stop_publish(StopPublishRequest) -> StopPublishResponse;
    send(SendRequest) -> SendResponse;
    send_batch(SendBatchRequest) -> SendBatchResponse;
    send_raw(SendRawRequest) -> SendRawResponse;
    set_tag(SetTagRequest) -> SetTagResponse;
    get_tag(GetTagRequest) -> GetTagResponse;
    set_tags(SetTagsRequest) -> SetTagsResponse;
    get_tags(GetTagsRequest) -> GetTagsResponse;
}

impl Service {
    /// Answers in any order; the stream ends when the requests ended and each was answered.
    pub fn send_stream(
        &self,
        caller: &Caller,
        requests: Pin<Box<dyn Stream<Item = SendRequest> + Send>>,
    ) -> Pin<Box<dyn Stream<Item = SendResult> + Send>> {
        let _ = (caller, requests);
        Box::pin(Nothing)
    }

    pub async fn receive(
        &self,
        caller: &Caller,
        request: ReceiveRequest,
    ) -> Result<Flow<ReceivedMessage>, Fault> {
        let _ = (caller, request);
        Err(Fault::new(FaultKind::Unavailable, "not started"))
    }

    pub async fn watch(&self, caller: &Caller, request: WatchRequest) -> Result<Flow<LifecycleEvent>, Fault> {
        let _ = (caller, request);
        Err(Fault::new(FaultKind::Unavailable, "not started"))
    }

    /// None when ready; otherwise why not, in one line.
    pub fn not_ready(&self) -> Option<String> {
        Some("not started".into())
    }
}

struct Nothing;

impl Stream for Nothing {
    type Item = SendResult;
    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<SendResult>> {
        std::task::Poll::Ready(None)
    }
}
