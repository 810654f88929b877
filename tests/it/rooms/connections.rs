//! An accepted connection is a connection like any other.

use crate::harness::{Client, Service, Visitor, grpc, wait_for, within};
use tonic::Code;
use websocket_manager::proto::{
    ConnectionStatus, Direction, DisconnectRequest, GetTagsRequest, ListRequest, ReceiveRequest,
    SendRawRequest, SendRequest, SetTagRequest, StartPublishRequest, receive_request::Source,
};

async fn only(client: &mut Client) -> String {
    wait_for("the accepted connection", async || {
        let request = ListRequest { direction: Direction::In.into(), ..Default::default() };
        let listed = client.list(request).await.expect("a list").into_inner();
        listed.connections.first().map(|connection| connection.id.clone())
    })
    .await
}

#[tokio::test]
async fn it_is_got_tagged_sent_to_and_answered() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    let mut station = Visitor::new(&service, "/ws/stations").await;
    let id = only(&mut client).await;
    let got = grpc::get(&mut client, &id).await.expect("it is there");
    assert_eq!((got.status(), got.direction()), (ConnectionStatus::Connected, Direction::In));
    assert_eq!((got.rooms, got.url.contains("/ws/stations")), (vec!["stations".to_owned()], true));

    let tag = SetTagRequest { id: id.clone(), key: "k".into(), value: "v".into() };
    client.set_tag(tag).await.expect("a tag");
    let tags = client.get_tags(GetTagsRequest { id: id.clone() }).await.expect("tags").into_inner().tags;
    assert_eq!(tags.get("k").map(String::as_str), Some("v"));

    let call = "[2,\"a1\",\"Reset\",{}]";
    let request = SendRequest {
        id: id.clone(),
        message: call.into(),
        correlation: Some(websocket_manager::proto::Correlation {
            rule: Some(websocket_manager::proto::correlation::Rule::Array(
                websocket_manager::proto::ArrayRule { position: 1 },
            )),
        }),
        ..Default::default()
    };
    let (reply, ()) = tokio::join!(client.send(request), async {
        assert_eq!(station.text().await, call);
        station.say("[2,\"s1\",\"Heartbeat\",{}]").await;
        station.say("[3,\"a1\",{\"status\":\"Accepted\"}]").await;
    });
    assert_eq!(reply.expect("a reply").into_inner().response, "[3,\"a1\",{\"status\":\"Accepted\"}]");

    let raw = SendRawRequest { id: id.clone(), message: "raw".into(), ..Default::default() };
    client.send_raw(raw).await.expect("written");
    assert_eq!(station.text().await, "raw");
}

#[tokio::test]
async fn it_is_published_followed_and_ended() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    let mut visitor = Visitor::new(&service, "/ws/a").await;
    let id = only(&mut client).await;
    let start = StartPublishRequest { id: id.clone(), topic: "from.clients".into(), ..Default::default() };
    client.start_publish(start).await.expect("published");
    let follow = ReceiveRequest { source: Some(Source::Topic("from.clients".into())), ..Default::default() };
    let mut stream = client.receive(follow).await.expect("a stream").into_inner();
    visitor.say("hello").await;
    let message =
        within("the message", stream.message()).await.expect("a message").expect("the stream goes on");
    assert_eq!((message.id.as_str(), message.seq), (id.as_str(), 1));

    let request = DisconnectRequest { id: id.clone(), code: 3001, reason: "enough".into() };
    client.disconnect(request).await.expect("ended");
    assert_eq!(visitor.closed().await, Some(3001));
    wait_for("it to be gone", async || {
        let gone = grpc::get(&mut client, &id).await.err()?;
        (gone.code() == Code::NotFound).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_drain_ends_visitors_with_a_word() {
    let mut service = Service::start().await;
    let mut visitor = Visitor::new(&service, "/ws/a").await;
    let (code, close) = tokio::join!(service.terminate(), visitor.closed());
    assert_eq!((code, close), (0, Some(1012)));
}
