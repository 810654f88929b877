//! What stands in a topic: CloudEvents of three formats, and the lives of connections.

use super::request;
use crate::harness::{
    Client, Peer, Service, Upstream,
    fleet::{Backing, Fleet, FleetPlan},
    grpc,
    redis::Redis,
    wait_for,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use websocket_manager::proto::{ConnectionStatus, DisconnectRequest};

struct Stage {
    fleet: Fleet,
    upstream: Upstream,
    client: Client,
}

impl Stage {
    async fn new(backing: Backing) -> Option<Self> {
        let fleet = FleetPlan::new(1, backing).start().await?;
        let client = fleet.service(0).grpc().await;
        Some(Stage { fleet, upstream: Upstream::start().await, client })
    }

    fn service(&self) -> &Service {
        self.fleet.service(0)
    }

    fn redis(&self) -> &Redis {
        self.fleet.redis.as_ref().expect("it is on Redis")
    }

    async fn open(&mut self, name: &str, more: Value) -> Peer {
        let url = format!("{}?token=abc123secret&pair=x", self.upstream.url());
        let mut value = json!({"url": url, "connectionId": name});
        value.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        grpc::dial(&mut self.client, request(value)).await;
        self.upstream.peer().await
    }

    async fn events(&self, topic: &str, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} events of {topic}"), async || {
            let events = self.redis().events(topic).await;
            (events.len() >= count).then_some(events)
        })
        .await
    }
}

const TEXT: &str = "plain \"text\" \u{1} ünï {\"a\": 1}";
const BYTES: &[u8] = &[0, 255, 1, 128];

fn attributes(event: &Value, name: &str, kind: &str) {
    assert_eq!(event["specversion"], "1.0", "{event}");
    assert_eq!(event["type"], format!("com.virtufin.websocketmanager.{kind}"), "{event}");
    assert_eq!(event["source"], "urn:com.virtufin.websocketmanager", "{event}");
    assert_eq!(event["subject"], name, "{event}");
    let time = event["time"].as_str().expect("a time");
    assert!(time.len() >= 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert!(!event.to_string().contains("abc123secret"), "a secret of the URL: {event}");
}

fn url_is_redacted(url: &Value) {
    let url = url.as_str().expect("a URL");
    assert!(url.starts_with("ws://127.0.0.1:") && url.contains("/feed"), "{url}");
}

async fn formats(backing: Backing) {
    let Some(mut stage) = Stage::new(backing).await else { return };
    for (name, format) in [("e", "ENVELOPE"), ("p", "PAYLOAD"), ("f", "FRAMES")] {
        let options = json!({"topic": name, "format": format!("PUBLISH_FORMAT_{format}")});
        let mut peer = stage.open(name, json!({"publish": options})).await;
        peer.say(TEXT).await;
        peer.say_bytes(BYTES.to_vec()).await;
        match name {
            "f" => frames(&stage).await,
            "e" => envelopes(&stage.events("e", 2).await),
            _ => payloads(&stage.events("p", 2).await),
        }
        drop(peer);
    }
}

fn envelopes(events: &[Value]) {
    for (event, seq) in events.iter().zip(1u64..) {
        attributes(event, "e", "message");
        let data = &event["data"];
        let epoch = data["epoch"].as_u64().expect("an epoch");
        assert_eq!(event["id"], format!("e/{epoch}/{seq}"));
        assert_eq!((&event["datacontenttype"], &data["seq"]), (&json!("application/json"), &json!(seq)));
        assert_eq!((&data["websocketId"], &data["timestamp"]), (&json!("e"), &event["time"]));
        url_is_redacted(&data["websocketUrl"]);
    }
    assert_eq!(events[0]["data"]["payload"], TEXT);
    let binary = &events[1]["data"];
    assert_eq!(binary["payloadBase64"], STANDARD.encode(BYTES));
    assert_eq!((&binary["contentType"], binary.get("payload")), (&json!("application/octet-stream"), None));
}

fn payloads(events: &[Value]) {
    for (event, seq) in events.iter().zip(1u64..) {
        attributes(event, "p", "message");
        let epoch = event["epoch"].as_str().expect("an epoch, as text");
        assert_eq!(event["id"], format!("p/{epoch}/{seq}"));
        assert_eq!((&event["websocketid"], &event["seq"]), (&json!("p"), &json!(seq.to_string())));
        assert_eq!(event["contenttype"], event["datacontenttype"]);
    }
    assert_eq!((&events[0]["data"], &events[0]["contenttype"]), (&json!(TEXT), &json!("text/plain")));
    assert_eq!(events[1]["data_base64"], STANDARD.encode(BYTES));
    assert_eq!(events[1]["contenttype"], "application/octet-stream");
}

async fn frames(stage: &Stage) {
    let events = wait_for("two messages in frames", async || {
        let events = stage.redis().events("f").await;
        let count: usize =
            events.iter().map(|event| event["data"]["messages"].as_array().map_or(0, Vec::len)).sum();
        (count == 2).then_some(events)
    })
    .await;
    let mut messages = Vec::new();
    for event in &events {
        attributes(event, "f", "message");
        let data = &event["data"];
        let inside = data["messages"].as_array().expect("messages");
        let seq = |one: &Value| one["seq"].as_u64().expect("a seq");
        let (first, last) = (seq(&inside[0]), seq(&inside[inside.len() - 1]));
        assert_eq!(event["id"], format!("f/{}/{first}-{last}", data["epoch"]));
        assert_eq!(data["websocketId"], "f");
        url_is_redacted(&data["websocketUrl"]);
        messages.extend(inside.clone());
    }
    assert_eq!((&messages[0]["seq"], &messages[0]["payload"]), (&json!(1), &json!(TEXT)));
    assert!(messages[0]["timestamp"].is_string());
    assert_eq!(
        (&messages[1]["seq"], &messages[1]["payloadBase64"]),
        (&json!(2), &json!(STANDARD.encode(BYTES)))
    );
    assert_eq!(messages[1]["contentType"], "application/octet-stream");
}

#[tokio::test]
async fn events_are_cloud_events_of_three_formats_on_dapr() {
    formats(Backing::Dapr).await;
}

#[tokio::test]
async fn events_are_cloud_events_of_three_formats_on_redis() {
    formats(Backing::Redis).await;
}

const LIFE: &str = "websocketmanager.lifecycle";

async fn lives(backing: Backing) {
    let Some(mut stage) = Stage::new(backing).await else { return };
    let again = json!({"autoReconnect": true, "reconnect": {"baseMs": 1, "maxMs": 50}});
    let mut peer = stage.open("life", again).await;
    peer.end().await;
    let _peer = stage.upstream.peer().await;
    grpc::once(&mut stage.client, "life", ConnectionStatus::Connected).await;
    let disconnect = DisconnectRequest { id: "life".into(), ..Default::default() };
    stage.client.disconnect(disconnect).await.expect("it disconnects");
    let events = wait_for("the end of a life", async || {
        let events = stage.redis().events(LIFE).await;
        let ended =
            |event: &Value| event["type"].as_str().is_some_and(|kind| kind.ends_with(".disconnected"));
        events.iter().any(ended).then_some(events)
    })
    .await;
    let mut states = Vec::new();
    for event in &events {
        let kind = event["type"].as_str().expect("a type").strip_prefix("com.virtufin.websocketmanager.");
        let state = kind.and_then(|kind| kind.strip_prefix("lifecycle.")).expect("a lifecycle event");
        attributes(event, "life", &format!("lifecycle.{state}"));
        let data = &event["data"];
        assert_eq!((&data["connection_id"], &data["instance_id"]), (&json!("life"), &json!("wsm-0")));
        assert!(data["reason"].is_string(), "{event}");
        assert!(state != "reconnecting" || data["attempt"].is_u64(), "{event}");
        url_is_redacted(&data["url"]);
        states.push(state.to_owned());
    }
    let wanted = ["connecting", "connected", "reconnecting", "connected", "disconnected"];
    assert_eq!(states, wanted, "{}", stage.service().log());
}

#[tokio::test]
async fn the_life_of_a_connection_is_told_on_its_own_topic_on_dapr() {
    lives(Backing::Dapr).await;
}

#[tokio::test]
async fn the_life_of_a_connection_is_told_on_its_own_topic_on_redis() {
    lives(Backing::Redis).await;
}
