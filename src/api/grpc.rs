//! gRPC: the generated trait over the service, reflection, and the standard health service.

use super::{
    app_callback, caller,
    counters::{Counters, calls::Method},
    health,
    http::unpanicked,
    observe::{Observed, Protocol, Standing, Subject},
    peers::PeersEdge,
    service::{Caller, Flow, Service},
    status,
};
use crate::{
    core::reason::{Fault, FaultKind},
    limits,
    proto::{
        fleet::peers_server::PeersServer,
        rooms_server::{Rooms, RoomsServer},
        web_socket_manager_server::{WebSocketManager, WebSocketManagerServer},
        *,
    },
};
use axum::Router;
use body::Bounded;
use futures_core::Stream;
use http::{Request, Response};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tonic::{Status, Streaming, service::Routes};
use tower::{Service as _, ServiceExt};

mod body;
#[cfg(test)]
mod tests;

const OUR_PATHS: &str = "/virtufin.WebSocketManager/";
const ROOM_PATHS: &str = "/virtufin.Rooms/";

/// All gRPC services of a port. A call of ours skips the router that finds the others.
#[derive(Clone)]
pub struct GrpcRoutes {
    ours: WebSocketManagerServer<Edge>,
    rooms: RoomsServer<Edge>,
    others: Router,
    counters: Arc<Counters>,
}

pub fn routes(service: &Service, counters: Arc<Counters>) -> GrpcRoutes {
    let ours = WebSocketManagerServer::new(Edge(service.clone()))
        .max_decoding_message_size(limits::REQUEST_BYTES_MAX)
        .max_encoding_message_size(limits::ANSWER_BYTES_MAX);
    let rooms = RoomsServer::new(Edge(service.clone()))
        .max_decoding_message_size(limits::REQUEST_BYTES_MAX)
        .max_encoding_message_size(limits::ANSWER_BYTES_MAX);
    let mut others = Routes::new(health::server(service));
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (described().build_v1(), described().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => others = others.add_service(v1).add_service(v1alpha),
        // Our own descriptor, checked by a test: nothing that a caller does leads here.
        _ => tracing::error!("reflection is off: the descriptor does not decode"),
    }
    if let Some(peers) = service.peers() {
        let server = PeersServer::new(PeersEdge::new(peers))
            .max_decoding_message_size(limits::PEER_CALL_BYTES_MAX)
            .max_encoding_message_size(limits::ANSWER_BYTES_MAX);
        others = others.add_service(server);
    }
    GrpcRoutes { ours, rooms, others: others.prepare().into_axum_router(), counters }
}

impl GrpcRoutes {
    /// With what a Dapr sidecar asks of its application, which must show this token if there is one.
    pub fn with_dapr_callbacks(mut self, app_api_token: Option<&str>) -> Self {
        let (callback, health) = app_callback::services(app_api_token);
        self.others = self
            .others
            .route_service("/dapr.proto.runtime.v1.AppCallback/{*method}", callback)
            .route_service("/dapr.proto.runtime.v1.AppCallbackHealthCheck/{*method}", health);
        self
    }

    pub async fn answer<B>(self, request: Request<B>) -> Response<tonic::body::Body>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let counters = self.counters.clone();
        unpanicked(self.dispatch(request)).await.unwrap_or_else(|| {
            counters.handler_panics.add();
            status::to_tonic(&Fault::new(FaultKind::Internal, "the handler failed")).into_http()
        })
    }

    async fn dispatch<B>(mut self, request: Request<B>) -> Response<tonic::body::Body>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let path = request.uri().path();
        if path.starts_with(OUR_PATHS) {
            let answered: Result<_, Infallible> =
                self.ours.call(bounded(request, limits::REQUEST_BYTES_MAX)).await;
            return answered.unwrap_or_else(|never| match never {});
        }
        if path.starts_with(ROOM_PATHS) {
            let answered: Result<_, Infallible> =
                self.rooms.call(bounded(request, limits::REQUEST_BYTES_MAX)).await;
            return answered.unwrap_or_else(|never| match never {});
        }
        let request = bounded(request, limits::PEER_CALL_BYTES_MAX).map(tonic::body::Body::new);
        let answered: Result<_, Infallible> = self.others.oneshot(request).await;
        answered.unwrap_or_else(|never| match never {}).map(tonic::body::Body::new)
    }
}

fn bounded<B>(request: Request<B>, bytes_max: usize) -> Request<Bounded<B>> {
    let (parts, body) = request.into_parts();
    let body = Bounded::of(parts.uri.path(), body, bytes_max);
    Request::from_parts(parts, body)
}

/// The service as tonic wants it.
pub struct Edge(Service);

impl Edge {
    /// A request, and its call under way.
    fn take<T: Subject>(&self, method: Method, request: tonic::Request<T>) -> (Caller, Observed, T) {
        let (metadata, extensions, message) = request.into_parts();
        let mut caller = caller::of_grpc(&metadata.into_headers(), &extensions);
        let call = self.0.observe(Protocol::Grpc, method, &mut caller, message.connection());
        (caller, call, message)
    }
}

macro_rules! serve {
    ($($method:ident $rpc:ident($request:ident) -> $response:ident;)+) => {
        #[tonic::async_trait]
        impl WebSocketManager for Edge {
            $(async fn $rpc(&self, request: tonic::Request<$request>) -> Answer<$response> {
                let (caller, call, message) = self.take(Method::$method, request);
                finish(call.ended(self.0.$rpc(&caller, message).await))
            })+

            type SendStreamStream = Results;
            async fn send_stream(&self, request: tonic::Request<Streaming<SendRequest>>) -> Answer<Results> {
                let (metadata, extensions, inner) = request.into_parts();
                let mut caller = caller::of_grpc(&metadata.into_headers(), &extensions);
                let call = self.0.observe(Protocol::Grpc, Method::SendStream, &mut caller, "");
                let broken = Broken::default();
                let requests = Box::pin(Requests { inner, broken: broken.clone() });
                let inner = self.0.send_stream(&caller, requests);
                let standing = self.0.standing(Method::SendStream);
                finish(call.ended(Ok(Results { inner, broken, standing })))
            }

            type ReceiveStream = Items<ReceivedMessage>;
            async fn receive(&self, request: tonic::Request<ReceiveRequest>) -> Answer<Self::ReceiveStream> {
                let (caller, call, message) = self.take(Method::Receive, request);
                let flow = call.ended(self.0.receive(&caller, message).await);
                finish(flow.map(|flow| Items(self.0.counted(Method::Receive, flow))))
            }

            type WatchStream = Items<LifecycleEvent>;
            async fn watch(&self, request: tonic::Request<WatchRequest>) -> Answer<Self::WatchStream> {
                let (caller, call, message) = self.take(Method::Watch, request);
                let flow = call.ended(self.0.watch(&caller, message).await);
                finish(flow.map(|flow| Items(self.0.counted(Method::Watch, flow))))
            }
        }
    };
}

type Answer<T> = Result<tonic::Response<T>, Status>;

serve! {
    Connect connect(ConnectRequest) -> ConnectResponse;
    List list(ListRequest) -> ListResponse;
    Get get(GetRequest) -> GetResponse;
    Update update(UpdateRequest) -> UpdateResponse;
    Disconnect disconnect(DisconnectRequest) -> DisconnectResponse;
    StartPublish start_publish(StartPublishRequest) -> StartPublishResponse;
    StopPublish stop_publish(StopPublishRequest) -> StopPublishResponse;
    Send send(SendRequest) -> SendResponse;
    SendBatch send_batch(SendBatchRequest) -> SendBatchResponse;
    SendRaw send_raw(SendRawRequest) -> SendRawResponse;
    SetTag set_tag(SetTagRequest) -> SetTagResponse;
    GetTag get_tag(GetTagRequest) -> GetTagResponse;
    SetTags set_tags(SetTagsRequest) -> SetTagsResponse;
    GetTags get_tags(GetTagsRequest) -> GetTagsResponse;
}

macro_rules! serve_rooms {
    ($($method:ident $rpc:ident($request:ident) -> $response:ident by $call:ident;)+) => {
        #[tonic::async_trait]
        impl Rooms for Edge {
            $(async fn $rpc(&self, request: tonic::Request<$request>) -> Answer<$response> {
                let (caller, call, message) = self.take(Method::$method, request);
                finish(call.ended(self.0.$call(&caller, message).await))
            })+
        }
    };
}

serve_rooms! {
    RoomSend send(RoomSendRequest) -> RoomSendResponse by room_send;
    Broadcast broadcast(BroadcastRequest) -> BroadcastResponse by broadcast;
    SendToUser send_to_user(SendToUserRequest) -> SendToUserResponse by send_to_user;
    KickUser kick_user(KickUserRequest) -> KickUserResponse by kick_user;
    Join join(JoinRequest) -> JoinResponse by join;
    Leave leave(LeaveRequest) -> LeaveResponse by leave;
    ListRooms list_rooms(ListRoomsRequest) -> ListRoomsResponse by list_rooms;
    ListMembers list_members(ListMembersRequest) -> ListMembersResponse by list_members;
    History history(HistoryRequest) -> HistoryResponse by history;
}

fn finish<T>(answer: Result<T, Fault>) -> Answer<T> {
    match answer {
        Ok(message) => Ok(tonic::Response::new(message)),
        Err(fault) => Err(status::to_tonic(&fault)),
    }
}

/// A flow of the service, its error as a status.
pub struct Items<T>(Flow<T>);

impl<T> Stream for Items<T> {
    type Item = Result<T, Status>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .as_mut()
            .poll_next(context)
            .map(|item| item.map(|item| item.map_err(|fault| status::to_tonic(&fault))))
    }
}

/// Why the requests of a stream ended early: told when its answers are through.
type Broken = Arc<Mutex<Option<Status>>>;

struct Requests {
    inner: Streaming<SendRequest>,
    broken: Broken,
}

impl Stream for Requests {
    type Item = SendRequest;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SendRequest>> {
        match Pin::new(&mut self.inner).poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Ok(request))) => Poll::Ready(Some(request)),
            Poll::Ready(Some(Err(status))) => {
                *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                Poll::Ready(None)
            }
        }
    }
}

pub struct Results {
    inner: Pin<Box<dyn Stream<Item = SendResult> + Send>>,
    broken: Broken,
    standing: Standing,
}

impl Stream for Results {
    type Item = Result<SendResult, Status>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.inner.as_mut().poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(result)) => Poll::Ready(Some(Ok(result))),
            Poll::Ready(None) => {
                let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
                if broken.is_none() {
                    self.standing.over(None);
                }
                Poll::Ready(broken.map(Err))
            }
        }
    }
}

impl<B> tower::Service<Request<B>> for GrpcRoutes
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let routes = self.clone();
        Box::pin(async move { Ok(routes.answer(request).await) })
    }
}
