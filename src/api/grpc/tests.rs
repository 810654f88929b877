use super::*;
use crate::api::{
    http::{HttpSettings, router},
    status::{ErrorInfo, RpcStatus},
    testing::{Running, on_a_shard, raw, service, start},
};
use crate::proto::{rooms_client::RoomsClient, web_socket_manager_client::WebSocketManagerClient};
use prost::Message;
use tokio_stream::StreamExt;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};

async fn channel(running: &Running) -> Channel {
    let endpoint = format!("http://{}", running.address);
    tonic::transport::Endpoint::from_shared(endpoint).unwrap().connect().await.unwrap()
}

fn check(status: &Status) {
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "not started"));
    let details = RpcStatus::decode(status.details()).unwrap();
    let info = ErrorInfo::decode(details.details[0].value.clone()).unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("unavailable", "websocketmanager"));
}

#[test]
fn every_call_reaches_the_service_on_both_ports() {
    on_a_shard(async {
        let stub = service();
        for running in [start(routes(&stub, Arc::default())), start(router(&stub, HttpSettings::default()))] {
            let mut client = WebSocketManagerClient::new(channel(&running).await);
            check(&client.connect(ConnectRequest::default()).await.unwrap_err());
            check(&client.list(ListRequest::default()).await.unwrap_err());
            check(&client.get(GetRequest::default()).await.unwrap_err());
            check(&client.update(UpdateRequest::default()).await.unwrap_err());
            check(&client.disconnect(DisconnectRequest::default()).await.unwrap_err());
            check(&client.start_publish(StartPublishRequest::default()).await.unwrap_err());
            check(&client.stop_publish(StopPublishRequest::default()).await.unwrap_err());
            check(&client.send(SendRequest::default()).await.unwrap_err());
            check(&client.send_batch(SendBatchRequest::default()).await.unwrap_err());
            check(&client.send_raw(SendRawRequest::default()).await.unwrap_err());
            check(&client.set_tag(SetTagRequest::default()).await.unwrap_err());
            check(&client.get_tag(GetTagRequest::default()).await.unwrap_err());
            check(&client.set_tags(SetTagsRequest::default()).await.unwrap_err());
            check(&client.get_tags(GetTagsRequest::default()).await.unwrap_err());
            check(&client.receive(ReceiveRequest::default()).await.unwrap_err());
            check(&client.watch(WatchRequest::default()).await.unwrap_err());
            let requests = tokio_stream::iter([SendRequest::default()]);
            let mut results = client.send_stream(requests).await.unwrap().into_inner();
            let refused = results.next().await.unwrap().unwrap();
            assert_eq!(refused.code, Code::InvalidArgument as i32);
            assert!(results.next().await.is_none());

            let mut rooms = RoomsClient::new(channel(&running).await);
            check(&rooms.send(RoomSendRequest::default()).await.unwrap_err());
            check(&rooms.broadcast(BroadcastRequest::default()).await.unwrap_err());
            check(&rooms.send_to_user(SendToUserRequest::default()).await.unwrap_err());
            check(&rooms.kick_user(KickUserRequest::default()).await.unwrap_err());
            check(&rooms.join(JoinRequest::default()).await.unwrap_err());
            check(&rooms.leave(LeaveRequest::default()).await.unwrap_err());
            check(&rooms.list_rooms(ListRoomsRequest::default()).await.unwrap_err());
            check(&rooms.list_members(ListMembersRequest::default()).await.unwrap_err());
            check(&rooms.history(HistoryRequest::default()).await.unwrap_err());

            let data = vec![0; limits::REQUEST_BYTES_MAX + 1].into();
            let large = SendRequest { data, ..Default::default() };
            let refused = client.send(large).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().starts_with("body: has 4194310 bytes"), "{refused:?}");
            let data = vec![7; limits::REQUEST_BYTES_MAX - 100].into();
            check(&client.send(SendRequest { data, ..Default::default() }).await.unwrap_err());
        }
    });
}

#[test]
fn health_and_reflection() {
    on_a_shard(async {
        let running = start(routes(&service(), Arc::default()));
        let channel = channel(&running).await;
        let mut health = HealthClient::new(channel.clone());
        for name in ["", "virtufin.WebSocketManager"] {
            let answer = health.check(HealthCheckRequest { service: name.into() }).await.unwrap();
            assert_eq!(answer.into_inner().status, 2, "not serving yet");
        }
        let unknown = HealthCheckRequest { service: "virtufin.Nothing".into() };
        assert_eq!(health.check(unknown.clone()).await.unwrap_err().code(), Code::NotFound);
        let mut watch = health.watch(unknown).await.unwrap().into_inner();
        assert_eq!(watch.next().await.unwrap().unwrap().status, 3);

        let list = || {
            tokio_stream::iter([v1::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
                    String::new(),
                )),
            }])
        };
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let mut answers = client.server_reflection_info(list()).await.unwrap().into_inner();
        let answer = format!("{:?}", answers.next().await.unwrap().unwrap());
        for name in ["virtufin.WebSocketManager", "grpc.health.v1.Health"] {
            assert!(answer.contains(name), "{answer}");
        }
        let symbol = "virtufin.WebSocketManager".to_owned();
        let ask = v1alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                symbol,
            )),
        };
        let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
        let mut answers =
            client.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
        let answer = answers.next().await.unwrap().unwrap();
        let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files)) =
            answer.message_response
        else {
            panic!("{answer:?}")
        };
        assert!(!files.file_descriptor_proto.is_empty());
    });
}

#[test]
fn grpc_web_over_http1() {
    on_a_shard(async {
        let running = start(router(&service(), HttpSettings::default()));
        let frame = "\0\0\0\0\0";
        for media in ["application/grpc-web+proto", "application/grpc-web"] {
            let answer = raw(running.address, &format!(
                "POST /virtufin.WebSocketManager/Get HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {media}\r\nx-grpc-web: 1\r\ncontent-length: 5\r\n\r\n{frame}"
            )).await;
            assert_eq!(answer.status, 200, "{}", answer.head);
            assert_eq!(answer.header("grpc-status"), Some("14"), "{}", answer.head);
            assert_eq!(answer.header("grpc-message"), Some("not%20started"));
        }
        let plain = raw(running.address, "POST /virtufin.WebSocketManager/Get HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/grpc\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0").await;
        assert_eq!((plain.status, &plain.json()["code"]), (400, &3.into()));
    });
}

#[test]
fn broken_requests_are_told_after_the_answers() {
    on_a_shard(async {
        let broken = Broken::default();
        *broken.lock().unwrap() = Some(Status::invalid_argument("does not decode"));
        let answered = SendResult { tag: 7, ..Default::default() };
        let inner = Box::pin(tokio_stream::iter([answered.clone()]));
        let standing = service().standing(Method::SendStream);
        let mut results = Results { inner, broken, standing };
        assert_eq!(results.next().await.unwrap().unwrap(), answered);
        assert_eq!(results.next().await.unwrap().unwrap_err().code(), Code::InvalidArgument);
        assert!(results.next().await.is_none());
    });
}

/// A connection that speaks HTTP/2 and knows nothing of gRPC.
async fn connect(running: &Running) -> hyper::client::conn::http2::SendRequest<Written> {
    let tcp = tokio::net::TcpStream::connect(running.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(tcp);
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A body by parts, and how much of it has gone out; without an end it stays open.
struct Written {
    parts: std::collections::VecDeque<bytes::Bytes>,
    ends: bool,
    gone: Arc<std::sync::atomic::AtomicUsize>,
}

impl Written {
    fn of(message: &[u8], ends: bool) -> Self {
        let parts = message.chunks(64 * 1024).map(bytes::Bytes::copy_from_slice).collect();
        Written { parts, ends, gone: Arc::default() }
    }
}

impl http_body::Body for Written {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        match self.parts.pop_front() {
            Some(part) => {
                self.gone.fetch_add(part.len(), std::sync::atomic::Ordering::Relaxed);
                Poll::Ready(Some(Ok(http_body::Frame::data(part))))
            }
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

fn call(body: Written) -> Request<Written> {
    Request::post("http://localhost/virtufin.WebSocketManager/Send")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

/// A Send of so many bytes.
fn framed(length: usize) -> Vec<u8> {
    let message = SendRequest { data: vec![7; length].into(), ..Default::default() }.encode_to_vec();
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

/// Node's client counts what it has queued against what it may hold, and over that takes no answer: neither
/// this one's nor those of the calls after it.
#[test]
fn a_client_that_writes_before_it_reads_is_heard_out() {
    on_a_shard(async {
        let running = start(routes(&service(), Arc::default()));
        let mut sender = connect(&running).await;
        let message = framed(20 << 20);
        let body = Written::of(&message, true);
        let gone = body.gone.clone();
        let answer = sender.send_request(call(body)).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "3", "{answer:?}");
        assert_eq!(gone.load(std::sync::atomic::Ordering::Relaxed), message.len(), "it was cut off");
        let next = sender.send_request(call(Written::of(&framed(10), true))).await.unwrap();
        assert_eq!(next.headers()["grpc-status"], "14", "{next:?}");
    });
}

/// On a runtime of its own: by its clock this takes long.
#[test]
fn bodies_that_stand_still_are_gone_in_time() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build_local(Default::default()).unwrap().block_on(async {
        let running = start(routes(&service(), Arc::default()));
        let mut sender = connect(&running).await;
        let message = framed(1 << 20);
        let calls: Vec<_> = (0..8)
            .map(|_| call(Written::of(&message[..message.len() - 10], false)))
            .map(|request| tokio::task::spawn_local(sender.send_request(request)))
            .collect();
        let begun = tokio::time::Instant::now();
        while !calls.iter().all(|call| call.is_finished()) {
            assert!(begun.elapsed() < limits::BODY_DEADLINE * 3, "they are held for ever");
            // So often that sockets are looked at as well.
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            tokio::time::pause();
            tokio::time::advance(limits::BODY_DEADLINE / 60).await;
            tokio::time::resume();
        }
        for call in calls {
            let answer = call.await.unwrap().unwrap();
            assert_eq!(answer.headers()["grpc-status"], "4", "{answer:?}");
        }
        let next = sender.send_request(call(Written::of(&framed(10), true))).await.unwrap();
        assert_eq!(next.headers()["grpc-status"], "14", "{next:?}");
    });
}
