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
            assert_eq!(client.send(large).await.unwrap_err().code(), Code::OutOfRange);
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
