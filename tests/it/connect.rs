//! Connect: what may be asked, who may be dialled, and what a failed dial leaves behind.

mod dialling;
mod fields;

use crate::harness::{Client, Service, Upstream, fault, grpc, wait_for};
use serde_json::json;
use tonic::Code;
use websocket_manager::proto::{
    ConnectRequest, ConnectionStatus, Direction, DisconnectRequest, ListRequest, TagFilter, UpdateRequest,
};

async fn listed(client: &mut Client) -> u64 {
    client.list(ListRequest::default()).await.expect("a list").into_inner().total
}

fn tags(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[tokio::test]
async fn a_connection_is_listed_with_everything_but_its_secrets() {
    let service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let url = format!("ws://user:hunter2@{}/feed?token=tok-123&symbol=BTC", upstream.address);
    let request = ConnectRequest { tags: tags(&[("venue", "x"), ("env", "test")]), ..grpc::to(&url) };
    let answer = client.connect(request).await.expect("it connects").into_inner();
    assert_eq!(answer.id, answer.connection_id, "both names are in use");
    assert_eq!(answer.status(), ConnectionStatus::Connected);
    assert!(answer.created && answer.epoch > 0);

    let peer = upstream.peer().await;
    assert_eq!(peer.path, "/feed?token=tok-123&symbol=BTC", "the upstream gets the whole URL");
    assert_eq!(peer.headers["authorization"], "Basic dXNlcjpodW50ZXIy");
    let connection = grpc::get(&mut client, &answer.id).await.expect("it is there");
    assert!(connection.url.contains("symbol=BTC"), "{}", connection.url);
    for secret in ["hunter2", "tok-123"] {
        assert!(!connection.url.contains(secret), "{}", connection.url);
    }
    assert_eq!(connection.direction(), Direction::Out);
    assert_eq!(connection.instance_id, service.ready.instance);
    assert_eq!(connection.tags, tags(&[("venue", "x"), ("env", "test")]));
    assert!(connection.created_at.is_some() && !connection.auto_reconnect);

    let filter = |key: &str, value: &str| TagFilter { key: key.into(), value: value.into() };
    for (filters, expected) in [
        (vec![filter("venue", "x")], 1),
        (vec![filter("venue", "x"), filter("env", "test")], 1),
        (vec![filter("venue", "x"), filter("env", "prod")], 0),
    ] {
        let request = ListRequest { filters, ..Default::default() };
        assert_eq!(client.list(request).await.expect("a list").into_inner().total, expected);
    }
}

#[tokio::test]
async fn the_same_connect_again_finds_the_connection() {
    let service = Service::start().await;
    let upstream = Upstream::echo().await;
    let mut client = service.grpc().await;
    let request = ConnectRequest {
        connection_id: "feed-1".into(),
        tags: tags(&[("a", "1")]),
        subprotocols: vec!["v1".into()],
        ..grpc::to(&upstream.url())
    };
    let first = client.connect(request.clone()).await.expect("it connects").into_inner();
    let again = client.connect(request.clone()).await.expect("it is found").into_inner();
    assert_eq!((first.created, again.created), (true, false));
    assert_eq!((&*again.id, again.epoch), ("feed-1", first.epoch));
    assert_eq!((upstream.taken(), listed(&mut client).await), (1, 1), "one socket, one connection");

    let other = ConnectRequest { url: format!("{}?other", upstream.url()), ..request.clone() };
    let status = client.connect(other).await.expect_err("other settings");
    assert_eq!((status.code(), fault(&status).reason.as_str()), (Code::AlreadyExists, "id_in_use"));

    let gone = DisconnectRequest { id: "feed-1".into(), ..Default::default() };
    client.disconnect(gone).await.expect("it is disconnected");
    let anew = client.connect(request).await.expect("it connects").into_inner();
    assert!(anew.created && anew.epoch > first.epoch, "a new life has a higher epoch");
}

#[tokio::test]
async fn connects_at_the_same_time_make_one_connection() {
    let service = Service::start().await;
    let upstream = Upstream::echo().await;
    let client = service.grpc().await;
    let request = ConnectRequest { connection_id: "one".into(), ..grpc::to(&upstream.url()) };
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, request) = (client.clone(), request.clone());
            tokio::spawn(async move { client.connect(request).await.map(tonic::Response::into_inner) })
        })
        .collect();
    let mut created = 0;
    for call in calls {
        let answer = call.await.expect("the task ends").expect("it connects");
        assert_eq!(answer.id, "one");
        created += u32::from(answer.created);
    }
    assert_eq!((created, upstream.taken()), (1, 1));
}

#[tokio::test]
async fn a_lost_connection_comes_back_by_itself_in_the_same_epoch() {
    let service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let request =
        json!({"url": upstream.url(), "autoReconnect": true, "reconnect": {"baseMs": 1, "maxMs": 5}});
    let request: ConnectRequest = serde_json::from_value(request).expect("a request");
    let id = grpc::dial(&mut client, request).await;
    let before = grpc::get(&mut client, &id).await.expect("it is there");
    upstream.peer().await.end().await;
    let mut peer = upstream.peer().await;
    let after = wait_for("the reconnect to be seen", async || {
        let connection = grpc::get(&mut client, &id).await.ok()?;
        (connection.counters.unwrap_or_default().reconnects == 1).then_some(connection)
    })
    .await;
    assert_eq!((after.status(), after.epoch), (ConnectionStatus::Connected, before.epoch));
    let send = websocket_manager::proto::SendRawRequest { id, message: "x".into(), ..Default::default() };
    client.send_raw(send).await.expect("it is written");
    assert_eq!(peer.text().await, "x");
}

#[tokio::test]
async fn an_upstream_that_comes_back_is_found() {
    let service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let request =
        json!({"url": upstream.url(), "autoReconnect": true, "reconnect": {"baseMs": 1, "maxMs": 20}});
    let request: ConnectRequest = serde_json::from_value(request).expect("a request");
    let id = grpc::dial(&mut client, request).await;
    let mut peer = upstream.peer().await;
    let address = upstream.stop().await;
    peer.end().await;
    grpc::once(&mut client, &id, ConnectionStatus::Reconnecting).await;
    let mut upstream = Upstream::start_at(address).await;
    upstream.peer().await;
    grpc::once(&mut client, &id, ConnectionStatus::Connected).await;
}

#[tokio::test]
async fn an_upstream_that_stays_away_is_reconnecting_until_attempts_run_out() {
    let service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let reconnect = json!({"baseMs": 1, "maxMs": 2, "maxAttempts": 3});
    let request = json!({"url": upstream.url(), "autoReconnect": true, "reconnect": reconnect});
    let id = grpc::dial(&mut client, serde_json::from_value(request).expect("a request")).await;
    let mut peer = upstream.peer().await;
    upstream.stop().await;
    peer.end().await;
    let connection = wait_for("the attempts to run out", async || {
        let connection = grpc::get(&mut client, &id).await.ok()?;
        matches!(connection.status(), ConnectionStatus::Error | ConnectionStatus::Disconnected)
            .then_some(connection)
    })
    .await;
    assert!(!connection.last_error.is_empty(), "it says why");
}

#[tokio::test]
async fn update_changes_what_can_change_and_says_when() {
    let service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    let mut peer = upstream.peer().await;
    let update = |paths: &[&str], settings: serde_json::Value| UpdateRequest {
        id: id.clone(),
        update_mask: Some(pbjson_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() }),
        settings: Some(serde_json::from_value(settings).expect("settings")),
    };
    let request = update(&["correlation"], json!({"correlation": {"fifo": {}}}));
    let answer = client.update(request).await.expect("it is changed").into_inner();
    assert_eq!((answer.applied_now, answer.applied_at_reconnect.len()), (vec!["correlation".to_owned()], 0));
    let mut sender = client.clone();
    let send = websocket_manager::proto::SendRequest {
        id: id.clone(),
        message: r#"{"id":1}"#.into(),
        ..Default::default()
    };
    let send = tokio::spawn(async move { sender.send(send).await });
    peer.text().await;
    peer.say("without an id").await;
    let answer = send.await.expect("the task ends").expect("FIFO takes the next message").into_inner();
    assert_eq!(answer.response, "without an id");

    let request = update(&["url"], json!({"url": "ws://127.0.0.1:1/"}));
    let status = client.update(request).await.expect_err("the URL is what the connection is");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}
