//! What stands under our keys need not be ours.

use super::{dial, listed, published};
use crate::harness::{
    Service, Upstream, fault,
    feed::Feed,
    fleet::{Backing, FleetPlan},
    grpc,
    redis::Redis,
    wait_for, wait_long,
};
use serde_json::json;
use tonic::Code;
use websocket_manager::proto::{ConnectionStatus, ListRequest, SendRequest};

/// Keys and texts that are to be found as they were put.
fn corrupt() -> Vec<(&'static str, String)> {
    vec![
        ("websocket-garbage", "{{{ no JSON".into()),
        ("websocket-binary", "\u{1}\u{2}\u{3}".into()),
        ("websocket-foreign", json!({"hello": "world"}).to_string()),
        ("websocket-number", "7".into()),
        ("websocket-newer", json!({"v": 9, "id": "newer", "url": "ws://127.0.0.1:1/"}).to_string()),
        ("wsm-lease-newer-1", json!({"v": 9, "owner": "newer-1", "state": "fine"}).to_string()),
    ]
}

async fn plant(redis: &Redis, feed: &Feed) {
    for (key, text) in corrupt() {
        redis.set(key, &text).await;
    }
    redis.run::<u64>(&["RPUSH", "websocket-list", "a", "b"]).await;
    let earlier = |id: &str, status: serde_json::Value, url: &str| {
        json!({
            "Id": id, "Url": url, "Status": status, "Topic": "earlier", "AutoReconnect": true,
            "CreatedAt": "2024-05-06T07:08:09Z", "InstanceId": "manager-0", "Tags": {"desk": "fx"},
        })
    };
    for (id, status) in [("old-name", json!("Connected")), ("old-number", json!(2))] {
        redis.set(&format!("websocket-{id}"), &earlier(id, status, &feed.url(id)).to_string()).await;
    }
    let bad = earlier("old-bad", json!("Connected"), "ftp://example.com/");
    redis.set("websocket-old-bad", &bad.to_string()).await;
    let index = json!([
        "old-name", "old-number", "old-bad", "gone", "garbage", "binary", "foreign", "number", "newer", "list",
        "no id of ours", "", 7, {"a": 1}
    ]);
    redis.set("websocket-index", &index.to_string()).await;
    let members = json!([
        {"incarnation": "newer-1", "instance": "newer", "address": "127.0.0.1:1"},
        {"incarnation": "", "instance": 7}, "a word", null,
    ]);
    redis.set("wsm-members", &members.to_string()).await;
}

pub async fn what_is_broken_is_left_alone_and_what_is_old_is_adopted() {
    let Some(mut fleet) = FleetPlan::new(0, Backing::Redis).start().await else { return };
    let feed = Feed::start().await;
    plant(fleet.redis(), &feed).await;
    for _ in 0..2 {
        fleet.add().await.expect("one more");
    }
    let mut client = fleet.service(0).grpc().await;
    let found = wait_long("the records of the earlier product to be dialled", async || {
        let found = listed(&mut client).await;
        let open = |id: &str| found.get(id).is_some_and(|it| it.status() == ConnectionStatus::Connected);
        (open("old-name") && open("old-number")).then_some(found)
    })
    .await;
    for id in ["old-name", "old-number"] {
        let connection = &found[id];
        assert_eq!((&*connection.topic, connection.auto_reconnect), ("earlier", true));
        assert_eq!(connection.tags.get("desk").map(String::as_str), Some("fx"));
        assert_eq!(connection.created_at.as_ref().map(|at| at.seconds), Some(1_714_979_289));
        assert_eq!(feed.sockets(id).len(), 1, "{id}: dialled once");
    }
    assert_eq!(found.len(), 2, "nothing else is a connection: {:?}", found.keys());
    dial(&mut client, published(&feed, "new", "earlier")).await;
    // The garbage was looked at more than once by then.
    wait_long("the index to know the new one", async || {
        let index = fleet.document("websocket-index").await?;
        let has = |id: &str| index.as_array().is_some_and(|ids| ids.iter().any(|it| it == id));
        assert!(has("garbage") && has("newer") && has("no id of ours"), "others' ids are kept: {index}");
        (has("new") && !has("gone")).then_some(())
    })
    .await;
    let redis = fleet.redis();
    for (key, text) in corrupt() {
        assert_eq!(redis.get(key).await, Some(text), "{key} is left as it is");
    }
    assert_eq!(redis.run::<Vec<String>>(&["LRANGE", "websocket-list", "0", "-1"]).await, ["a", "b"]);
    let bad = fleet.document("websocket-old-bad").await.expect("it is not dropped");
    assert_eq!((&bad["Id"], &bad["Url"]), (&json!("old-bad"), &json!("ftp://example.com/")));
    let said = format!("{}{}", fleet.service(0).log(), fleet.service(1).log());
    for key in
        ["websocket-garbage", "websocket-foreign", "websocket-newer", "websocket-list", "wsm-lease-newer-1"]
    {
        assert!(said.contains(key), "{key} is not named:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A record's owner lives, but who listens at his address is somebody else.
pub async fn a_stranger_at_a_members_address_is_told_nothing() {
    let Some(fleet) = FleetPlan::new(1, Backing::Redis).start().await else { return };
    let mut client = fleet.service(0).grpc().await;
    let (websocket, other) = (Upstream::echo().await, Service::start().await);
    let strangers = [("web", websocket.address.to_string()), ("other", other.ready.grpc.to_string())];
    let redis = fleet.redis();
    for (name, address) in &strangers {
        let run = format!("{name}-1");
        let lease = json!({
            "v": 1, "owner": run, "instance": name, "address": address, "renewals": 1, "state": "live",
            "by": null, "owned": 0, "epoch": 0,
        });
        redis.set(&format!("wsm-lease-{run}"), &lease.to_string()).await;
        let record = json!({
            "id": name, "url": "ws://127.0.0.1:1/", "status": "Connected", "owner": run, "instanceId": name,
            "epoch": 5, "autoReconnect": true,
        });
        redis.set(&format!("websocket-{name}"), &record.to_string()).await;
    }
    wait_for("the strangers to be members", async || {
        // The instance writes there too: what was overwritten is added again.
        let mut members = fleet.document("wsm-members").await?;
        let list = members.as_array_mut()?;
        for (name, address) in &strangers {
            let run = format!("{name}-1");
            if !list.iter().any(|member| member["incarnation"] == *run) {
                list.push(json!({"incarnation": run, "instance": name, "address": address}));
            }
        }
        redis.set("wsm-members", &members.to_string()).await;
        (fleet.service(0).metric("wsm_fleet_members", &[]).await == 2.0).then_some(())
    })
    .await;
    for (name, _) in &strangers {
        let send = SendRequest { id: name.to_string(), message: "a".into(), ..Default::default() };
        let refused = client.send(send).await.expect_err("there is nobody");
        assert_eq!(
            (refused.code(), &*fault(&refused).reason),
            (Code::Unavailable, "not_sent"),
            "{refused:?}"
        );
        let refused = grpc::get(&mut client, name).await.expect_err("there is nobody");
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    }
    // They list nothing as theirs in the store, which stands in for who cannot be asked.
    let list = client.list(ListRequest::default()).await.expect("a list").into_inner();
    assert!(list.connections.iter().all(|it| strangers.iter().all(|(name, _)| it.id != **name)), "{list:?}");
}
