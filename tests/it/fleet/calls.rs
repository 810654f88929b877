//! Any instance answers any call, as the owner itself would.

use super::{dial, listed, request};
use crate::harness::{
    Client, Upstream, fault,
    feed::Feed,
    fleet::{Backing, Fleet, FleetPlan},
    grpc, wait_for, within,
};
use serde_json::json;
use std::collections::BTreeSet;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use websocket_manager::proto::{
    DisconnectRequest, GetTagsRequest, ListRequest, ReceiveRequest, SendRawRequest, SendRequest,
    SetTagRequest, SetTagsRequest, StartPublishRequest, StopPublishRequest, TagFilter,
    receive_request::Source, received_message::Body,
};

const MEMBERS: usize = 3;
const CONNECTIONS: usize = 6;

async fn clients(fleet: &Fleet) -> Vec<Client> {
    let mut clients = Vec::new();
    for member in &fleet.members {
        clients.push(member.service.grpc().await);
    }
    clients
}

async fn pages(client: &mut Client, filters: Vec<TagFilter>) -> (Vec<String>, u64) {
    let (mut ids, mut page_token) = (Vec::new(), String::new());
    loop {
        let ask = ListRequest { filters: filters.clone(), page_size: 2, page_token, ..Default::default() };
        let page = client.list(ask).await.expect("List answers").into_inner();
        assert!(page.connections.len() <= 2, "a page is as long as was asked for");
        ids.extend(page.connections.into_iter().map(|connection| connection.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return (ids, page.total);
        }
    }
}

async fn lists(clients: &mut [Client]) {
    let all: BTreeSet<String> = (0..CONNECTIONS).map(|number| format!("c-{number}")).collect();
    let odd = vec![TagFilter { key: "parity".into(), value: "1".into() }];
    for client in clients {
        let (ids, total) = pages(client, Vec::new()).await;
        assert_eq!((ids.len(), total as usize), (CONNECTIONS, CONNECTIONS), "{ids:?}");
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), all);
        let (odd, _) = pages(client, odd.clone()).await;
        assert_eq!(odd.into_iter().collect::<BTreeSet<_>>(), ["c-1", "c-3", "c-5"].map(String::from).into());
    }
}

/// Every call of connection `number`, by an instance that does not own it.
async fn calls(client: &mut Client, number: usize) {
    let id = format!("c-{number}");
    let found = grpc::get(client, &id).await.expect("Get");
    assert_eq!(found.instance_id, format!("wsm-{}", number % MEMBERS));
    let send = SendRequest { id: id.clone(), message: "ping".into(), ..Default::default() };
    assert_eq!(client.send(send).await.expect("Send").into_inner().response, "ping");
    let tags = [("b".to_owned(), "2".to_owned())].into();
    client.set_tags(SetTagsRequest { id: id.clone(), tags }).await.expect("SetTags");
    let tags = client.get_tags(GetTagsRequest { id: id.clone() }).await.expect("GetTags").into_inner().tags;
    assert_eq!(tags.get("b").map(String::as_str), Some("2"), "{tags:?}");
    let publish = StartPublishRequest { id: id.clone(), topic: format!("t-{number}"), ..Default::default() };
    client.start_publish(publish).await.expect("StartPublish");
    assert_eq!(grpc::get(client, &id).await.expect("Get").topic, format!("t-{number}"));
    client.stop_publish(StopPublishRequest { id }).await.expect("StopPublish");
}

/// What a connection receives is followed from an instance that does not own it.
async fn receives(fleet: &Fleet, clients: &mut [Client]) {
    let source = Some(Source::Id("c-0".into()));
    let follow = ReceiveRequest { source, ..Default::default() };
    let mut stream = clients[1].receive(follow).await.expect("a stream").into_inner();
    let mut events = fleet.service(2).http().events("/v1/connections/c-0/messages", None).await;
    let raw = |text: &str| SendRawRequest { id: "c-0".into(), message: text.into(), ..Default::default() };
    // The first ones may be echoed before both follow.
    let mut heard = Box::pin(async {
        let message = within("a message", stream.next()).await.expect("it goes on").expect("a message");
        let event = events.next().await;
        (message, event)
    });
    let mut number = 0;
    let (message, event) = loop {
        number += 1;
        clients[2].send_raw(raw(&format!("echo {number}"))).await.expect("SendRaw");
        let heard = tokio::time::timeout(std::time::Duration::from_millis(200), &mut heard).await;
        if let Ok(heard) = heard {
            break heard;
        }
    };
    let Some(Body::Text(text)) = &message.body else { panic!("{message:?}") };
    assert!(text.starts_with("echo ") && message.epoch > 0, "{message:?}");
    assert!(event.data["text"].as_str().is_some_and(|text| text.starts_with("echo ")), "{event:?}");
}

/// What a call is refused with, wherever it is asked.
async fn refusals(client: &mut Client, mute: &str) -> Vec<(Code, grpc::Told)> {
    let send = |id: &str, message: &str, data: &[u8], timeout_ms: i32| SendRequest {
        id: id.into(),
        message: message.into(),
        data: data.to_vec().into(),
        timeout_ms,
        ..Default::default()
    };
    let raw = SendRawRequest { id: "nobody".into(), message: "a".into(), ..Default::default() };
    let tag = SetTagRequest { id: "c-0".into(), key: "k".repeat(200), value: "v".into() };
    let publish = StartPublishRequest { id: "c-0".into(), topic: "a b".into(), ..Default::default() };
    let refused: Vec<Result<(), Status>> = vec![
        grpc::get(client, "nobody").await.map(drop),
        client.send(send("nobody", "a", b"", 0)).await.map(drop),
        client.send(send("c-0", "a", b"b", 0)).await.map(drop),
        client.send(send(mute, "a", b"", 50)).await.map(drop),
        client.send_raw(raw).await.map(drop),
        client.set_tag(tag).await.map(drop),
        client.start_publish(publish).await.map(drop),
        client.disconnect(DisconnectRequest { id: "nobody".into(), ..Default::default() }).await.map(drop),
    ];
    let told = |refused: Result<(), Status>| {
        let status = refused.expect_err("it is refused");
        (status.code(), fault(&status))
    };
    refused.into_iter().map(told).collect()
}

/// The same chosen id everywhere at the same time: one connection, one dial.
async fn one_dial(clients: &mut [Client], feed: &Feed) {
    for round in 0..5 {
        let id = format!("same-{round}");
        let ask = request(json!({"connectionId": id, "url": feed.url(&id)}));
        let [first, second, third] = clients else { panic!("three clients") };
        let (first, second, third) =
            tokio::join!(first.connect(ask.clone()), second.connect(ask.clone()), third.connect(ask));
        for answer in [first, second, third] {
            assert_eq!(answer.expect("Connect").into_inner().id, id);
        }
        assert_eq!(feed.sockets(&id).len(), 1, "{id} was dialled once");
        let mut owners = BTreeSet::new();
        for client in clients.iter_mut() {
            owners.insert(grpc::get(client, &id).await.expect("Get").instance_id);
        }
        assert_eq!(owners.len(), 1, "{id} has one owner: {owners:?}");
    }
}

async fn disconnects(clients: &mut [Client]) {
    for number in 0..CONNECTIONS {
        let id = format!("c-{number}");
        let elsewhere = (number + 1) % MEMBERS;
        let ask = DisconnectRequest { id: id.clone(), ..Default::default() };
        clients[elsewhere].disconnect(ask).await.expect("Disconnect");
        for client in clients.iter_mut() {
            assert_eq!(grpc::get(client, &id).await.expect_err("it is gone").code(), Code::NotFound);
        }
    }
}

async fn any_instance_answers(backing: Backing) {
    let Some(fleet) = FleetPlan::new(MEMBERS, backing).start().await else { return };
    fleet.gathered().await;
    let (echo, mute) = (Upstream::echo().await, Feed::silent().await);
    let mut clients = clients(&fleet).await;
    for number in 0..CONNECTIONS {
        let tags = json!({"parity": (number % 2).to_string()});
        let ask = json!({"connectionId": format!("c-{number}"), "url": echo.url(), "tags": tags});
        dial(&mut clients[number % MEMBERS], ask).await;
    }
    lists(&mut clients).await;
    for number in 0..CONNECTIONS {
        for away in 1..MEMBERS {
            calls(&mut clients[(number + away) % MEMBERS], number).await;
        }
    }
    receives(&fleet, &mut clients).await;
    for number in 0..MEMBERS {
        // A Send that timed out leaves its connection in doubt: one for each.
        let id = format!("mute-{number}");
        dial(&mut clients[0], json!({"connectionId": id, "url": mute.url(&id)})).await;
    }
    let expected = refusals(&mut clients[0], "mute-0").await;
    use Code::{DeadlineExceeded, InvalidArgument, NotFound};
    let codes: Vec<Code> = expected.iter().map(|refused| refused.0).collect();
    let wanted = [NotFound, NotFound, InvalidArgument, DeadlineExceeded, NotFound];
    assert_eq!(codes[..5], wanted, "{expected:?}");
    assert_eq!(codes[5..], [InvalidArgument, InvalidArgument, NotFound], "{expected:?}");
    for (number, client) in clients.iter_mut().enumerate().skip(1) {
        assert_eq!(refusals(client, &format!("mute-{number}")).await, expected, "refused as the owner would");
    }
    one_dial(&mut clients, &mute).await;
    disconnects(&mut clients).await;
    wait_for("the fleet to list no echo", async || {
        let ids = listed(&mut clients[1]).await;
        (!ids.keys().any(|id| id.starts_with("c-"))).then_some(())
    })
    .await;
}

pub async fn any_instance_answers_on_redis() {
    any_instance_answers(Backing::Redis).await;
}

pub async fn any_instance_answers_on_dapr() {
    any_instance_answers(Backing::Dapr).await;
}
