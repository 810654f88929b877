//! Order on the bus: each connection's messages in theirs, numbered without a hole.

use super::{
    feed::{Feeds, Pace},
    places, settled,
};
use crate::harness::{
    Upstream,
    fleet::{Backing, FleetPlan},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const EACH: usize = 400;
const LANES: usize = 3;

fn publish(topic: &str, more: &Value) -> Value {
    let mut options = json!({"topic": topic});
    options.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({"publish": options})
}

async fn in_order(backing: Backing) {
    let Some(fleet) = FleetPlan::new(1, backing).start().await else { return };
    let (service, redis) = (fleet.service(0), fleet.redis.as_ref().expect("it is on Redis"));
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let mut feeds = Feeds::default();
    let mut relaxed = Feeds::default();
    let kinds = [
        ("envelope", json!({})),
        ("payload", json!({"format": "PUBLISH_FORMAT_PAYLOAD"})),
        ("frames", json!({"format": "PUBLISH_FORMAT_FRAMES"})),
    ];
    let pace = Pace::per_second(500).at_most(EACH);
    for lane in 0..LANES {
        for (topic, more) in &kinds {
            let name = format!("{topic}-{lane}");
            feeds.open(&mut client, &mut upstream, &name, publish(topic, more), pace).await;
        }
        let (name, more) = (format!("relaxed-{lane}"), json!({"ordering": "PUBLISH_ORDERING_RELAXED"}));
        relaxed.open(&mut client, &mut upstream, &name, publish("relaxed", &more), pace).await;
    }
    let all = (LANES * EACH) as f64;
    crate::harness::wait_for("every feed to have spoken", async || {
        (feeds.said() + relaxed.said() == 4 * LANES * EACH).then_some(())
    })
    .await;
    let metrics = settled(service, 4 * LANES * EACH).await;
    assert_eq!(metrics.sum("wsm_publish_accepted_total", &[]), 4.0 * all);
    assert_eq!(metrics.sum("wsm_publish_delivered_total", &[]), 4.0 * all);
    assert_eq!(metrics.sum("wsm_messages_dropped_total", &[]), 0.0);
    let mut events = Vec::new();
    for (topic, _) in &kinds {
        let of_topic = redis.events(topic).await;
        match *topic {
            "frames" => assert!(of_topic.len() < LANES * EACH / 2, "{} frames", of_topic.len()),
            _ => assert_eq!(of_topic.len(), LANES * EACH, "{topic}"),
        }
        events.extend(of_topic);
    }
    let account = feeds.shared.sent.audit(&events);
    account.assert_clean();
    let counts = (account.delivered, account.again, account.marked, account.gaps);
    assert_eq!(counts, (3 * LANES * EACH, 0, 0, 0), "{account:?}");
    for lane in 0..LANES {
        let found = places(redis, "envelope", &format!("envelope-{lane}")).await;
        let epoch = found[0].0;
        let wanted: Vec<_> = (1..=EACH as u64).map(|seq| (epoch, seq)).collect();
        assert_eq!(found, wanted, "lane {lane}");
        let found: BTreeSet<_> =
            places(redis, "relaxed", &format!("relaxed-{lane}")).await.into_iter().collect();
        let epoch = found.first().expect("it came").0;
        assert_eq!(found, (1..=EACH as u64).map(|seq| (epoch, seq)).collect(), "relaxed {lane}");
    }
    assert_eq!(redis.events("relaxed").await.len(), LANES * EACH);
    feeds.stop().await;
    relaxed.stop().await;
}

#[tokio::test]
async fn every_connection_keeps_its_order_on_dapr() {
    in_order(Backing::Dapr).await;
}

#[tokio::test]
async fn every_connection_keeps_its_order_on_redis() {
    in_order(Backing::Redis).await;
}
