//! A spill log that is full: reads pause and go on in order, and what an upstream cuts meanwhile, or
//! what a crash takes, is told.

use super::{
    feed::{Feeds, Pace},
    settled,
};
use crate::harness::{
    Client, Upstream,
    fleet::{Backing, Fleet, FleetPlan},
    grpc, wait_for,
};
use serde_json::{Value, json};
use websocket_manager::proto::ConnectionStatus;

/// Small, so that it is soon full.
const BOUNDS: [&str; 4] = ["--spill-bytes", "1048576", "--publish-queue-bytes", "65536"];
const LANES: usize = 3;
/// So much a second socket says.
const LAST: usize = 20;
const GAP: &str = "com.virtufin.websocketmanager.gap";

struct Stage {
    fleet: Fleet,
    upstream: Upstream,
    client: Client,
    feeds: Feeds,
}

fn lane(number: usize) -> String {
    format!("lane-{number}")
}

/// Few and large: what fills the buffers of the system has to be published one by one.
const PACE: Pace = Pace::per_second(200).padded(10_000);

impl Stage {
    /// Lanes that speak faster than the broker, which is away, takes anything.
    async fn full(backing: Backing) -> Option<Self> {
        let fleet = FleetPlan::new(1, backing).args(&BOUNDS).start().await?;
        let client = fleet.service(0).grpc().await;
        let mut stage = Stage { fleet, upstream: Upstream::start().await, client, feeds: Feeds::default() };
        let more = json!({
            "publish": {"topic": "feed"}, "autoReconnect": true, "reconnect": {"baseMs": 1, "maxMs": 50},
        });
        for number in 0..LANES {
            let (client, upstream) = (&mut stage.client, &mut stage.upstream);
            stage.feeds.open(client, upstream, &lane(number), more.clone(), PACE).await;
        }
        let service = stage.fleet.service(0);
        wait_for("the first messages to be there", async || {
            (service.metric("wsm_publish_delivered_total", &[]).await >= 50.0).then_some(())
        })
        .await;
        stage.fleet.redis.as_mut().expect("it is there").kill().await;
        let service = stage.fleet.service(0);
        wait_for("every read to be paused", async || {
            let metrics = service.metrics().await;
            let refused = [("outcome", "refused")];
            let full = metrics.sum("wsm_embedded_spill_records_total", &refused) >= 1.0;
            (full && metrics.sum("wsm_reads_paused", &[]) == LANES as f64).then_some(())
        })
        .await;
        Some(stage)
    }

    async fn broker_comes_back(&mut self) {
        self.fleet.redis.as_mut().expect("it is there").start_again().await;
    }

    /// Each lane is dialled once more, and what its second socket says is published.
    async fn new_sockets_have_spoken(&mut self) {
        for _ in 0..LANES {
            let peer = self.upstream.peer().await;
            self.feeds.keep(peer);
        }
        for number in 0..LANES {
            grpc::once(&mut self.client, &lane(number), ConnectionStatus::Connected).await;
        }
        let names = (0..LANES).map(lane).collect();
        self.feeds.speak_as_told(&mut self.client, names, PACE.at_most(LAST)).await;
        let redis = self.fleet.redis.as_ref().expect("it is there");
        for number in 0..LANES {
            let last = format!("{} 1 {LAST:07} ", lane(number));
            wait_for(&format!("{last:?} to be published"), async || {
                let events = redis.latest("feed", 2 * LANES * LAST).await;
                let is_last = |event: &Value| {
                    event["data"]["payload"].as_str().is_some_and(|text| text.starts_with(&last))
                };
                events.iter().any(is_last).then_some(())
            })
            .await;
        }
    }

    async fn events(&self) -> Vec<Value> {
        self.fleet.redis.as_ref().expect("it is there").events("feed").await
    }
}

async fn reads_go_on(backing: Backing) {
    let Some(mut stage) = Stage::full(backing).await else { return };
    assert!(stage.fleet.service(0).metric("wsm_publish_spilled_messages", &[]).await > 0.0);
    stage.broker_comes_back().await;
    stage.feeds.stop().await;
    let metrics = settled(stage.fleet.service(0), stage.feeds.said()).await;
    let account = stage.feeds.shared.sent.audit(&stage.events().await);
    println!("{backing:?}: {account:?}");
    for name in ["wsm_messages_dropped_total", "wsm_publish_gap_records_total", "wsm_reads_paused"] {
        assert_eq!(metrics.sum(name, &[]), 0.0, "{name}: {account:?}\n{}", stage.fleet.service(0).log());
    }
    account.assert_clean();
    assert_eq!((account.delivered, account.gaps), (stage.feeds.said(), 0), "{account:?}");
}

#[tokio::test]
async fn a_full_spill_log_pauses_reads_until_the_broker_is_back_on_dapr() {
    reads_go_on(Backing::Dapr).await;
}

#[tokio::test]
async fn a_full_spill_log_pauses_reads_until_the_broker_is_back_on_redis() {
    reads_go_on(Backing::Redis).await;
}

async fn what_is_cut_is_told(backing: Backing) {
    let Some(mut stage) = Stage::full(backing).await else { return };
    stage.feeds.held_up().await;
    stage.feeds.cut().await;
    stage.broker_comes_back().await;
    stage.new_sockets_have_spoken().await;
    let account = stage.feeds.shared.sent.audit(&stage.events().await);
    let causes: Vec<_> = account.causes.clone().into_iter().collect();
    assert_eq!(causes, [("backpressure".to_owned(), LANES)]);
    account.assert_clean();
    println!("{backing:?}: {} delivered, {} cut", account.delivered, account.in_gaps);
}

#[tokio::test]
async fn what_an_upstream_cuts_while_reads_are_paused_is_a_gap_on_dapr() {
    what_is_cut_is_told(Backing::Dapr).await;
}

#[tokio::test]
async fn what_an_upstream_cuts_while_reads_are_paused_is_a_gap_on_redis() {
    what_is_cut_is_told(Backing::Redis).await;
}

async fn a_crash_is_told(backing: Backing) {
    let Some(mut stage) = Stage::full(backing).await else { return };
    stage.fleet.kill(0).await;
    stage.feeds.cut().await;
    stage.broker_comes_back().await;
    stage.fleet.restart(0).await;
    stage.client = stage.fleet.service(0).grpc().await;
    stage.new_sockets_have_spoken().await;
    let events = stage.events().await;
    let account = stage.feeds.shared.sent.audit(&events);
    account.assert_clean();
    for number in 0..LANES {
        assert_stream_reads(&events, &lane(number));
    }
    let restored = stage.fleet.service(0).metric("wsm_publish_restored_total", &[]).await;
    assert!(restored > 0.0, "it came from the spill log");
    println!(
        "{backing:?}: {} delivered, {restored} restored, {} in gaps",
        account.delivered, account.in_gaps
    );
}

/// Old epoch up to what was spilled, one gap record that names that, the new epoch.
fn assert_stream_reads(events: &[Value], name: &str) {
    let own: Vec<&Value> = events.iter().filter(|event| event["subject"] == name).collect();
    let epoch = |event: &Value| event["data"]["epoch"].as_u64();
    let first = own.iter().find_map(|event| epoch(event)).expect("an old epoch");
    let last = own.iter().filter_map(|event| epoch(event)).max().expect("a new epoch");
    assert!(last > first, "{name}: a new epoch");
    let of_old = |event: &&&Value| epoch(event) == Some(first);
    let seq =
        own.iter().filter(of_old).filter_map(|event| event["data"]["seq"].as_u64()).max().expect("a seq");
    let is_bridge =
        |event: &&&Value| event["type"] == GAP && event["data"]["to"]["epoch"].as_u64() != Some(first);
    let bridges: Vec<_> = own.iter().filter(is_bridge).collect();
    assert_eq!(bridges.len(), 1, "{name}: {bridges:?}");
    let data = &bridges[0]["data"];
    assert_eq!(data["from"], json!({"epoch": first, "seq": seq}), "{name}: {data}");
    assert_eq!((&data["to"], &data["cause"]), (&json!({"epoch": last, "seq": 1}), &json!("crash")), "{name}");
    let place = own.iter().position(|event| std::ptr::eq(*event, *bridges[0])).expect("it is there");
    let before = own[..place].iter().filter_map(|event| epoch(event)).max();
    let after = own[place..].iter().filter_map(|event| epoch(event)).min();
    assert_eq!((before, after), (Some(first), Some(last)), "{name}: the gap stands between the epochs");
}

/// Both at once: most of it is waiting for a lease to run out.
#[tokio::test]
async fn after_a_crash_with_a_full_spill_log_the_stream_reads() {
    tokio::join!(a_crash_is_told(Backing::Dapr), a_crash_is_told(Backing::Redis));
}
