//! The real parts that a fleet is tested with do what its tests rely on: Redis keeps what it
//! accepted, the sidecar publishes and compares, and each comes back at its old place.

use crate::harness::{
    Upstream, fleet::Backing, fleet::FleetPlan, grpc, ledger::Sent, redis::Redis, sidecar::Behind,
    sidecar::Options, sidecar::Sidecar, wait::stays_pending, wait_for,
};
use serde_json::{Value, json};
use std::time::Duration;

/// An event as the service makes them, in the `payload` format.
fn event(seq: u64, text: &str) -> Value {
    json!({
        "specversion": "1.0", "type": "com.virtufin.websocketmanager.message",
        "source": "urn:com.virtufin.websocketmanager", "subject": "a", "id": format!("a/1/{seq}"),
        "websocketid": "a", "epoch": "1", "seq": seq.to_string(), "data": text,
    })
}

#[tokio::test]
async fn redis_keeps_what_it_accepted_through_a_kill() {
    let Some(mut redis) = Redis::start().await else { return };
    redis.set("key", "value").await;
    redis.set("gone", "soon").await;
    assert_eq!(redis.del("gone").await, 1);
    let first = redis.add("topic", &event(1, "one")).await;
    let port = redis.port;
    redis.kill().await;
    assert!(redis.try_run::<String>(&["PING"]).await.is_err(), "it is dead");
    redis.start_again().await;
    assert_eq!(redis.port, port);
    assert_eq!(redis.get("key").await.as_deref(), Some("value"));
    assert_eq!(redis.get("gone").await, None);
    assert_eq!(redis.keys("*").await, ["key", "topic"]);
    redis.add("topic", &event(2, "two")).await;
    let stream = redis.stream("topic").await;
    assert_eq!((stream.len(), &stream[0].id), (2, &first), "{}", redis.log());
    assert_eq!(redis.events("topic").await, [event(1, "one"), event(2, "two")]);
    assert!(redis.stream("none").await.is_empty());
}

#[tokio::test]
async fn a_paused_redis_keeps_its_callers_waiting() {
    let Some(redis) = Redis::start().await else { return };
    redis.pause().await;
    let mut set = Box::pin(redis.set("key", "value"));
    assert!(stays_pending(Duration::from_millis(50), &mut set).await, "nobody answers");
    redis.resume().await;
    set.await;
    assert_eq!(redis.get("key").await.as_deref(), Some("value"));
}

#[tokio::test]
async fn an_event_published_through_the_sidecar_stands_in_the_stream_as_it_was() {
    let Some(redis) = Redis::start().await else { return };
    let Some(sidecar) = Sidecar::start(Behind::Redis(&redis), Options::new("wsmgr")).await else { return };
    let sent = Sent::default();
    let socket = sent.socket("a");
    for seq in 1..=3 {
        let text = format!("message {seq}");
        sent.says("a", socket, &text);
        sidecar.publish("topic", &event(seq, &text)).await;
    }
    let events = redis.events("topic").await;
    assert_eq!(events[0], event(1, "message 1"), "raw: byte for byte, not wrapped");
    let account = sent.audit(&events);
    account.assert_clean();
    assert_eq!(account.delivered, 3);
    sidecar.publish("wrapped", &json!({"a": 1})).await;
    let wrapped = &redis.events("wrapped").await[0];
    assert_eq!((&wrapped["type"], &wrapped["data"]), (&json!("com.dapr.event.sent"), &json!({"a": 1})));
}

async fn compares(sidecar: &Sidecar) {
    assert_eq!(sidecar.load("lease").await, None);
    assert!(sidecar.save("lease", &json!({"owner": "a"}), None).await, "created");
    assert!(!sidecar.save("lease", &json!({"owner": "b"}), None).await, "it is there already");
    let (value, etag) = sidecar.load("lease").await.expect("it was saved");
    assert_eq!(value, json!({"owner": "a"}));
    assert!(sidecar.save("lease", &json!({"owner": "a", "renewals": 1}), Some(&etag)).await);
    assert!(!sidecar.save("lease", &json!({"owner": "b"}), Some(&etag)).await, "the etag is an old one");
    assert_eq!(sidecar.load("lease").await.expect("it was saved").0["renewals"], 1);
    sidecar.remove("lease").await;
    assert_eq!(sidecar.load("lease").await, None);
}

#[tokio::test]
async fn the_state_store_lets_the_first_write_win() {
    let Some(redis) = Redis::start().await else { return };
    let Some(sidecar) = Sidecar::start(Behind::Redis(&redis), Options::new("wsmgr")).await else { return };
    compares(&sidecar).await;
    // Another app, and the same keys: the prefix is the component's name.
    assert!(sidecar.save("shared", &json!(1), None).await);
    let other = Sidecar::start(Behind::Redis(&redis), Options::new("other")).await.expect("there is one");
    assert_eq!(other.load("shared").await.expect("it is there").0, 1);
    assert_eq!(redis.keys("*").await, ["statestore||shared"]);
}

#[tokio::test]
async fn a_sidecar_with_memory_behind_it_needs_nothing_else() {
    let Some(sidecar) = Sidecar::start(Behind::Memory, Options::new("wsmgr")).await else { return };
    compares(&sidecar).await;
    sidecar.publish("topic", &event(1, "heard by nobody")).await;
}

#[tokio::test]
async fn a_sidecar_comes_back_on_its_ports() {
    let Some(redis) = Redis::start().await else { return };
    let options = Options { api_token: Some("token".into()), broadcast: true, ..Options::new("wsmgr") };
    let Some(mut sidecar) = Sidecar::start(Behind::Redis(&redis), options).await else { return };
    assert!(sidecar.save("key", &json!(1), None).await);
    let ports = (sidecar.http_port, sidecar.grpc_port);
    sidecar.kill().await;
    assert!(sidecar.http().try_get("/v1.0/healthz/outbound").await.is_none(), "it is dead");
    sidecar.start_again().await;
    assert_eq!((sidecar.http_port, sidecar.grpc_port), ports);
    assert_eq!(sidecar.load("key").await.expect("Redis kept it").0, 1);
    let open = sidecar.http().get("/v1.0/state/statestore/key").await;
    assert_eq!(open.status, 401, "who has no token is refused: {}", open.text());
    let metadata = sidecar.call("GET", "/v1.0/metadata", None).await.json();
    let components = metadata["components"].as_array().expect("components").iter();
    let mut names: Vec<_> = components.filter_map(|component| component["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["pubsub", "pubsub-broadcast", "statestore"], "{}", sidecar.log());
}

#[tokio::test]
async fn a_sidecar_that_shuts_down_serves_on_for_as_long_as_it_was_told() {
    let Some(redis) = Redis::start().await else { return };
    let options = Options { block_shutdown: Some("3s".into()), ..Options::new("wsmgr") };
    let Some(mut sidecar) = Sidecar::start(Behind::Redis(&redis), options).await else { return };
    sidecar.begin_shutdown().await;
    wait_for("the sidecar to have heard", async || {
        sidecar.log().contains("Blocking graceful shutdown").then_some(())
    })
    .await;
    sidecar.publish("topic", &event(1, "flushed")).await;
    assert_eq!(redis.events("topic").await.len(), 1);
    assert_eq!(sidecar.wait().await, 0, "{}", sidecar.log());
    let options = Options { block_shutdown: None, ..Options::new("wsmgr") };
    let mut sidecar = Sidecar::start(Behind::Redis(&redis), options).await.expect("there is one");
    sidecar.pause().await;
    let http = sidecar.http();
    assert!(stays_pending(Duration::from_millis(50), http.try_get("/v1.0/healthz")).await, "nobody answers");
    sidecar.resume().await;
    assert_eq!(sidecar.terminate().await, 0, "{}", sidecar.log());
}

#[tokio::test]
async fn members_of_a_fleet_are_killed_paused_and_restarted_one_by_one() {
    let plan = FleetPlan::new(2, Backing::Embedded).args(&["--drain-lame-duck", "0s"]);
    let mut fleet = plan.start().await.expect("it needs nothing else");
    assert_eq!(fleet.service(1).ready.instance, "wsm-1");
    let mut upstream = Upstream::start().await;
    let mut client = fleet.service(0).grpc().await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    let mut peer = upstream.peer().await;
    fleet.pause(1).await;
    let http = fleet.service(1).http();
    assert!(stays_pending(Duration::from_millis(50), http.try_get("/livez")).await, "nobody answers");
    fleet.resume(1).await;
    assert_eq!(http.get("/livez").await.status, 200);
    peer.say("still there").await;
    wait_for("the message", async || grpc::get(&mut client, &id).await.ok().filter(|it| it.seq == 1)).await;
    fleet.kill(0).await;
    assert_eq!(peer.closed().await, None, "no orderly end");
    fleet.restart(0).await;
    assert_eq!(fleet.service(0).ready.instance, "wsm-0");
    assert_eq!(fleet.add().await, Some(2));
    for number in 0..3 {
        assert_eq!(fleet.terminate(number).await, 0, "{}", fleet.service(number).log());
    }
}

/// Each on a sidecar of its own, or all on Redis itself; one backend dies with its sidecar.
async fn starts(backing: Backing) {
    let options = Options { broadcast: true, ..Options::new("wsmgr") };
    let Some(mut fleet) = FleetPlan::new(2, backing).sidecar(options).start().await else { return };
    for member in &fleet.members {
        assert_eq!(member.service.ready.backend, backing.name());
        assert_eq!(member.sidecar.is_some(), backing == Backing::Dapr);
    }
    fleet.kill(1).await;
    if let Some(sidecar) = &mut fleet.members[1].sidecar {
        sidecar.kill().await;
        sidecar.start_again().await;
    }
    fleet.restart(1).await;
    assert_eq!(fleet.service(1).ready.instance, "wsm-1");
    let redis = fleet.redis.as_ref().expect("both are on Redis");
    assert_eq!(redis.run::<String>(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn a_fleet_starts_on_redis() {
    starts(Backing::Redis).await;
}

#[tokio::test]
async fn a_fleet_starts_on_dapr() {
    starts(Backing::Dapr).await;
}
