//! What the embedded store remembers across an orderly end and across none, and what it never shows.

use crate::harness::{Client, Service, Upstream, grpc, service::Plan, wait_for, within};
use serde_json::{Value, json};
use std::{fs, path::Path};
use tokio_stream::StreamExt;
use tonic::Code;
use websocket_manager::proto::{
    ConnectRequest, ConnectionStatus, DisconnectRequest, ListRequest, ReceiveRequest, SetTagsRequest,
    StartPublishRequest, receive_request::Source, received_message::Body,
};

fn request(value: Value) -> ConnectRequest {
    serde_json::from_value(value).expect("a request")
}

fn reconnecting(url: &str, more: Value) -> ConnectRequest {
    let mut value = json!({"url": url, "autoReconnect": true, "reconnect": {"baseMs": 1, "maxMs": 50}});
    value.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    request(value)
}

async fn stop(service: &mut Service, crash: bool) {
    if crash {
        service.kill().await;
    } else {
        assert_eq!(service.terminate().await, 0, "{}", service.log());
    }
}

async fn everything_comes_back(crash: bool) {
    let mut service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let more = json!({"connectionId": "kept", "tags": {"a": "1"}, "headers": {"x-key": "v"}});
    grpc::dial(&mut client, reconnecting(&upstream.url(), more)).await;
    let mut peer = upstream.peer().await;
    let tags = SetTagsRequest { id: "kept".into(), tags: [("b".to_owned(), "2".to_owned())].into() };
    client.set_tags(tags).await.expect("tags are set");
    let publish = StartPublishRequest { id: "kept".into(), topic: "t".into(), ..Default::default() };
    client.start_publish(publish).await.expect("it publishes");
    peer.say("before").await;
    let before = wait_for("the message to be counted", async || {
        grpc::get(&mut client, "kept").await.ok().filter(|connection| connection.seq == 1)
    })
    .await;

    stop(&mut service, crash).await;
    service = service.start_again().await;
    client = service.grpc().await;
    let mut peer = upstream.peer().await;
    assert_eq!(peer.headers["x-key"], "v", "it is dialled as it was asked to be");
    let after = grpc::once(&mut client, "kept", ConnectionStatus::Connected).await;
    assert!(after.epoch > before.epoch, "{} is not above {}", after.epoch, before.epoch);
    assert_eq!((&*after.topic, after.auto_reconnect), ("t", true));
    assert_eq!(after.tags, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into());
    assert_eq!(after.created_at, before.created_at);

    peer.say("after").await;
    let source = Some(Source::Topic("t".into()));
    let request = ReceiveRequest { source, from_start: true, ..Default::default() };
    let mut stream = client.receive(request).await.expect("a stream").into_inner();
    let mut told = Vec::new();
    loop {
        let message =
            within("the next message", stream.next()).await.expect("it goes on").expect("a message");
        match message.body.expect("a body") {
            Body::Text(text) if text == "after" => {
                assert_eq!((message.epoch, message.seq), (after.epoch, 1), "seq starts at 1 in each epoch");
                break;
            }
            Body::Gap(gap) => told.push(gap.cause),
            Body::End(_) => told.push("end".into()),
            _ => {}
        }
    }
    assert!(
        told.iter().any(|cause| cause == if crash { "crash" } else { "new_epoch" }),
        "the new epoch is told: {told:?}"
    );
    assert_eq!(told.iter().any(|cause| cause == "end"), !crash, "an orderly end has its marker: {told:?}");
}

#[tokio::test]
async fn after_an_orderly_end_connections_come_back() {
    everything_comes_back(false).await;
}

#[tokio::test]
async fn after_a_crash_connections_come_back() {
    everything_comes_back(true).await;
}

#[tokio::test]
async fn what_was_disconnected_stays_away() {
    let mut service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    for id in ["goes", "stays"] {
        grpc::dial(&mut client, reconnecting(&upstream.url(), json!({"connectionId": id}))).await;
        upstream.peer().await;
    }
    client.disconnect(DisconnectRequest { id: "goes".into(), ..Default::default() }).await.expect("it goes");
    service.kill().await;
    service = service.start_again().await;
    client = service.grpc().await;
    grpc::once(&mut client, "stays", ConnectionStatus::Connected).await;
    assert_eq!(grpc::get(&mut client, "goes").await.expect_err("it went").code(), Code::NotFound);
}

#[tokio::test]
async fn a_crash_without_auto_reconnect_ends_in_a_gap_record() {
    let mut service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let once = request(json!({"url": upstream.url(), "publish": {"topic": "t"}}));
    grpc::dial(&mut client, once).await;
    let mut peer = upstream.peer().await;
    peer.say("last words").await;
    let follow =
        || ReceiveRequest { source: Some(Source::Topic("t".into())), from_start: true, ..Default::default() };
    let mut stream = client.receive(follow()).await.expect("a stream").into_inner();
    let epoch = within("the message", stream.next()).await.expect("it goes on").expect("a message").epoch;
    // In the file within 100 ms of being accepted: the crash must come after that.
    wait_for("the message in the log's file", async || {
        contains(&service.data_dir(), b"last words").then_some(())
    })
    .await;
    service.kill().await;
    service = service.start_again().await;
    client = service.grpc().await;
    let mut stream = client.receive(follow()).await.expect("a stream").into_inner();
    loop {
        let message = within("the gap record", stream.next()).await.expect("it goes on").expect("a message");
        if let Some(Body::Gap(gap)) = message.body {
            assert_eq!(
                (gap.cause.as_str(), gap.from_epoch, gap.to_epoch),
                ("crash", epoch, 0),
                "nothing follows"
            );
            break;
        }
    }
    assert_eq!(upstream.taken(), 1, "it is not dialled again");
}

#[tokio::test]
async fn many_connections_come_back_after_a_crash() {
    const MANY: usize = 100;
    let mut service = Service::start().await;
    let upstream = Upstream::echo().await;
    let mut client = service.grpc().await;
    for n in 0..MANY {
        let more = json!({"connectionId": format!("c{n}")});
        grpc::dial(&mut client, reconnecting(&upstream.url(), more)).await;
    }
    service.kill().await;
    service = service.start_again().await;
    client = service.grpc().await;
    wait_for("all to be connected", async || {
        let request = ListRequest { status: vec![ConnectionStatus::Connected.into()], ..Default::default() };
        let total = client.list(request).await.ok()?.into_inner().total;
        (total == MANY as u64).then_some(())
    })
    .await;
}

fn contains(folder: &Path, needle: &[u8]) -> bool {
    fs::read_dir(folder).expect("the data folder").flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return contains(&path, needle);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(needle.len()).any(|part| part == needle)
    })
}

const CANARIES: [&str; 4] = ["canary-password-71", "canary-token-72", "canary-header-73", "canary-key-74"];

async fn with_secrets(client: &mut Client, upstream: &Upstream) {
    let url = format!("ws://{}/feed?token={}", upstream.address, CANARIES[1]);
    let more = json!({
        "connectionId": "secret", "headers": {"authorization": format!("Bearer {}", CANARIES[2]), "x-api-key": CANARIES[3]},
        "publish": {"topic": "t"},
    });
    grpc::dial(client, reconnecting(&url, more)).await;
}

async fn with_password(client: &mut Client, upstream: &Upstream) {
    let url = format!("ws://user:{}@{}/feed", CANARIES[0], upstream.address);
    grpc::dial(client, reconnecting(&url, json!({"connectionId": "password"}))).await;
}

#[tokio::test]
async fn secrets_are_nowhere_in_clear_and_still_there_after_a_restart() {
    let mut service = Plan::new().args(&["--log-level", "trace"]).start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    with_secrets(&mut client, &upstream).await;
    let mut peer = upstream.peer().await;
    let mut basic = Upstream::start().await;
    with_password(&mut client, &basic).await;
    let header = basic.peer().await.headers["authorization"].clone();
    peer.say("tick").await;
    wait_for("the event in the log's file", async || contains(&service.data_dir(), b"tick").then_some(()))
        .await;
    // An error that quotes the URL, too.
    peer.end().await;
    upstream.peer().await;
    let shown = [
        service.http().get("/v1/connections").await.text(),
        service.admin().get("/metrics").await.text(),
        service.admin().get("/config").await.text(),
        service.log(),
    ];
    for canary in CANARIES {
        assert!(shown.iter().all(|text| !text.contains(canary)), "{canary} is shown");
        assert!(!contains(&service.data_dir(), canary.as_bytes()), "{canary} is on disk");
    }
    service.kill().await;
    service = service.start_again().await;
    let peer = upstream.peer().await;
    assert!(peer.path.contains(CANARIES[1]));
    assert_eq!(peer.headers["authorization"], format!("Bearer {}", CANARIES[2]));
    assert_eq!(peer.headers["x-api-key"], CANARIES[3]);
    assert_eq!(basic.peer().await.headers["authorization"], header);
    assert!(CANARIES.iter().all(|canary| !service.log().contains(canary)));
}

#[tokio::test]
async fn one_process_a_data_folder() {
    let plan = Plan::new();
    let service = plan.clone().start().await;
    let (code, out, err) = plan.run_to_end().await;
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("data"), "it says what is locked: {err}");
    assert_eq!(service.http().get("/livez").await.status, 200, "the first goes on");
}

#[tokio::test]
async fn bad_configuration_is_told_all_at_once() {
    let plan = Plan::new().args(&["--no-such-flag", "--shards", "zero"]);
    let (code, out, err) = plan.run_to_end().await;
    assert_eq!((code, out.as_str()), (64, ""), "{err}");
    assert!(err.contains("no-such-flag") && err.contains("shards"), "{err}");
}
