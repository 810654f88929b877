//! What the bus will never take harms nobody but itself: an event that is too large, a topic that
//! the broker refuses.

use super::{request, settled};
use crate::harness::{
    Client, Peer, Upstream,
    fleet::{Backing, Fleet, FleetPlan},
    grpc,
    sidecar::Options,
    wait_for,
};
use serde_json::{Value, json};

const SIDECAR_BODY: &str = "1Mi";
/// More than the sidecar takes, and less than we believe that it does.
const OURS: [&str; 4] = ["--dapr-max-body-bytes", "8388608", "--max-message-bytes", "4194304"];
const LARGE: usize = 2 * 1024 * 1024;
const GAP: &str = "com.virtufin.websocketmanager.gap";

struct Stage {
    fleet: Fleet,
    upstream: Upstream,
    client: Client,
}

impl Stage {
    async fn new(plan: FleetPlan) -> Option<Self> {
        let fleet = plan.start().await?;
        let client = fleet.service(0).grpc().await;
        Some(Stage { fleet, upstream: Upstream::start().await, client })
    }

    async fn open(&mut self, name: &str, topic: &str) -> Peer {
        let value = json!({"url": self.upstream.url(), "connectionId": name, "publish": {"topic": topic}});
        grpc::dial(&mut self.client, request(value)).await;
        self.upstream.peer().await
    }

    async fn events(&self, topic: &str) -> Vec<Value> {
        self.fleet.redis.as_ref().expect("it is there").events(topic).await
    }

    async fn dropped(&self) -> f64 {
        self.fleet.service(0).metric("wsm_messages_dropped_total", &[("reason", "bus_refused")]).await
    }
}

#[tokio::test]
async fn an_event_that_is_too_large_for_the_sidecar_fails_alone() {
    let mut options = Options::new("wsmgr");
    options.more = ["--max-body-size", SIDECAR_BODY].map(str::to_owned).to_vec();
    let plan = FleetPlan::new(1, Backing::Dapr).args(&OURS).sidecar(options);
    let Some(mut stage) = Stage::new(plan).await else { return };
    let mut poisoned = stage.open("poisoned", "feed").await;
    let mut neighbour = stage.open("neighbour", "feed").await;
    for number in 0..5 {
        poisoned.say(format!("before {number}")).await;
        neighbour.say(format!("hello {number}")).await;
    }
    poisoned.say("x".repeat(LARGE)).await;
    for number in 0..5 {
        poisoned.say(format!("after {number}")).await;
        neighbour.say(format!("hello again {number}")).await;
    }
    settled(stage.fleet.service(0), 21).await;
    let events = stage.events("feed").await;
    let of = |name: &str| -> Vec<&Value> { events.iter().filter(|event| event["subject"] == name).collect() };
    let seqs = |events: &[&Value]| -> Vec<u64> {
        events.iter().filter_map(|event| event["data"]["seq"].as_u64()).collect()
    };
    assert_eq!(seqs(&of("neighbour")), (1..=10).collect::<Vec<_>>(), "the neighbour flows on");
    let own = of("poisoned");
    assert_eq!(seqs(&own), (1..=5).chain(7..=11).collect::<Vec<_>>());
    let gap = own.iter().find(|event| event["type"] == GAP).expect("a gap record");
    let (data, epoch) = (&gap["data"], &own[0]["data"]["epoch"]);
    assert_eq!(data["cause"], "refused", "{data}");
    let (from, to) = (json!({"epoch": epoch, "seq": 5}), json!({"epoch": epoch, "seq": 7}));
    assert_eq!((&data["from"], &data["to"]), (&from, &to), "{data}");
    assert_eq!(stage.dropped().await, 1.0);
}

/// A key of another type stands where the topic should: the broker never takes a thing.
async fn a_refused_topic(backing: Backing, args: &[&str]) -> Option<Stage> {
    let mut stage = Stage::new(FleetPlan::new(1, backing).args(args)).await?;
    stage.fleet.redis.as_ref().expect("it is there").set("bad", "no stream").await;
    let mut refused = stage.open("refused", "bad").await;
    let mut neighbour = stage.open("neighbour", "good").await;
    refused.say("into the void").await;
    for number in 0..200 {
        neighbour.say(format!("hello {number}")).await;
    }
    wait_for("the neighbour's messages", async || (stage.events("good").await.len() >= 200).then_some(()))
        .await;
    wait_for("the event to be given up", async || (stage.dropped().await == 1.0).then_some(())).await;
    neighbour.say("still there").await;
    wait_for("the last one", async || (stage.events("good").await.len() == 201).then_some(())).await;
    let value: String =
        stage.fleet.redis.as_ref().expect("it is there").get("bad").await.expect("it is there");
    assert_eq!(value, "no stream");
    Some(stage)
}

#[tokio::test]
async fn a_topic_that_the_broker_refuses_harms_its_own_lane_only_on_redis() {
    a_refused_topic(Backing::Redis, &[]).await;
}

async fn dead_letters(backing: Backing) {
    let Some(stage) = a_refused_topic(backing, &["--dead-letter-topic", "dead"]).await else { return };
    let dead = wait_for("the dead letter", async || {
        Some(stage.events("dead").await).filter(|dead| !dead.is_empty())
    })
    .await;
    let texts: Vec<_> = dead.iter().filter_map(|event| event["data"]["payload"].as_str()).collect();
    assert_eq!(texts, ["into the void"], "{dead:?}");
}

/// Both at once: most of it is the patience that a broker gets that elects a leader.
#[tokio::test]
async fn a_topic_that_the_broker_refuses_harms_its_own_lane_only_on_dapr() {
    tokio::join!(a_refused_topic(Backing::Dapr, &[]), dead_letters(Backing::Dapr));
}
