//! An owner dies without a word: survivors take its connections, and consumers are told.

use super::{accounted, all_open, dial, gaps, incarnations, index_is, listed, published};
use crate::harness::{
    feed::Feed,
    fleet::{Backing, FleetPlan},
    wait_for, wait_long,
};
use serde_json::json;

const NAMES: [&str; 4] = ["a", "b", "secret", "quiet"];

async fn survivors_take_over(backing: Backing) {
    let Some(mut fleet) = FleetPlan::new(3, backing).start().await else { return };
    fleet.gathered().await;
    let feed = Feed::start().await;
    let mut doomed = fleet.service(0).grpc().await;
    for name in ["a", "b", "quiet"] {
        dial(&mut doomed, published(&feed, name, "feed")).await;
    }
    let mut secret = published(&feed, "secret", "feed");
    secret["url"] = format!("{}?token=s3cret", feed.url("secret")).into();
    secret["headers"] = json!({"Authorization": "Bearer t0ken"});
    dial(&mut doomed, secret).await;
    let mut once = published(&feed, "once", "feed");
    once["autoReconnect"] = json!(false);
    dial(&mut doomed, once).await;

    let mut client = fleet.service(1).grpc().await;
    let before = all_open(&mut client, &["a", "b", "secret", "quiet", "once"]).await;
    wait_for("everybody to have published", async || {
        let events = fleet.redis().events("feed").await;
        let heard = |name: &str| events.iter().filter(|event| event["websocketid"] == name).count() > 3;
        before.keys().all(|name| heard(name)).then_some(())
    })
    .await;
    fleet.kill(0).await;
    let after = all_open(&mut client, &NAMES).await;
    for name in NAMES {
        let (old, new) = (&before[name], &after[name]);
        assert!(new.epoch > old.epoch, "{name}: {} is not above {}", new.epoch, old.epoch);
        assert_ne!(new.instance_id, "wsm-0", "{name}");
        assert_eq!((&new.topic, &new.created_at), (&old.topic, &old.created_at), "{name}");
    }
    let mut third = fleet.service(2).grpc().await;
    let seen = all_open(&mut third, &NAMES).await;
    assert!(NAMES.iter().all(|name| seen[*name].instance_id == after[*name].instance_id), "one owner each");
    let sockets = feed.sockets("secret");
    assert_eq!(sockets.len(), 2);
    assert!(sockets[1].path.ends_with("?token=s3cret"), "{}", sockets[1].path);
    assert_eq!(sockets[1].headers["authorization"], "Bearer t0ken");
    assert_eq!(feed.sockets("once").len(), 1, "it did not ask to be dialled again");

    let events = accounted(&feed, fleet.redis(), "feed").await;
    feed.assert_no_overlap();
    for name in NAMES {
        assert_eq!(gaps(&events, name, "crash"), [(before[name].epoch, false)], "{name}");
    }
    assert_eq!(gaps(&events, "once", "crash"), [(before["once"].epoch, true)], "its last gap record");
    index_is(&fleet, &NAMES).await;
    wait_long("nothing to be left of the dead", async || {
        incarnations(&fleet, "wsm-0").await.is_empty().then_some(())
    })
    .await;
    assert_eq!(fleet.document("websocket-once").await, None);
    for number in [1, 2] {
        assert_eq!(fleet.service(number).metric("wsm_lease_fences_total", &[]).await, 0.0);
    }
}

pub async fn survivors_take_over_on_redis() {
    survivors_take_over(Backing::Redis).await;
}

pub async fn survivors_take_over_on_dapr() {
    survivors_take_over(Backing::Dapr).await;
}

/// Two with one instance id, and a third start under that name right after a crash.
pub async fn a_name_is_not_an_identity() {
    let Some(mut fleet) = FleetPlan::new(2, Backing::Redis).name("twin").start().await else { return };
    fleet.gathered().await;
    let feed = Feed::start().await;
    let names = ["a-0", "a-1", "b-0", "b-1"];
    for (number, twin) in [(0, "a"), (1, "b")] {
        let mut client = fleet.service(number).grpc().await;
        for index in 0..2 {
            dial(&mut client, published(&feed, &format!("{twin}-{index}"), "twins")).await;
        }
    }
    let mut client = fleet.service(1).grpc().await;
    let before = all_open(&mut client, &names).await;
    let runs = incarnations(&fleet, "twin").await;
    assert_eq!(runs.len(), 2, "{runs:?}");
    fleet.kill(0).await;
    fleet.restart(0).await;
    assert!(feed.alive().len() <= 2, "the dead one's lease still runs");
    let mut again = fleet.service(0).grpc().await;
    let after = all_open(&mut again, &names).await;
    for name in names {
        let taken = name.starts_with('a');
        assert_eq!(after[name].epoch > before[name].epoch, taken, "{name}");
        assert_eq!(feed.sockets(name).len(), if taken { 2 } else { 1 }, "{name}");
    }
    assert_eq!(listed(&mut client).await.len(), names.len());
    accounted(&feed, fleet.redis(), "twins").await;
    feed.assert_no_overlap();
    wait_long("the dead run to be no member", async || {
        let now = incarnations(&fleet, "twin").await;
        (now.len() == 2 && now != runs).then_some(())
    })
    .await;
}
