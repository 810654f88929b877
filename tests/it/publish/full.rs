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

const PACE: Pace = Pace::per_second(1000).padded(2000);

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
    for _ in 0..LANES {
        let peer = stage.upstream.peer().await;
        // Which connection it is, its first Send tells.
        stage.feeds.keep(peer);
    }
    for number in 0..LANES {
        grpc::once(&mut stage.client, &lane(number), ConnectionStatus::Connected).await;
    }
    stage.feeds.speak_as_told(&mut stage.client, (0..LANES).map(lane).collect(), PACE.at_most(20)).await;
    let causes = wait_for("a gap record of each", async || {
        let account = stage.feeds.shared.sent.audit(&stage.events().await);
        (account.gaps >= LANES).then_some(account.causes)
    })
    .await;
    assert_eq!(causes.into_iter().collect::<Vec<_>>(), [("backpressure".to_owned(), LANES)]);
    stage.feeds.spoken().await;
    wait_for("everything to be published", async || {
        let metrics = stage.fleet.service(0).metrics().await;
        let waits = metrics.sum("wsm_publish_pending_messages", &[]) + metrics.sum("wsm_publish_spilled_messages", &[]);
        let account = stage.feeds.shared.sent.audit(&stage.events().await);
        (waits == 0.0 && account.delivered + account.in_gaps == account.sent).then_some(())
    })
    .await;
    let account = stage.feeds.shared.sent.audit(&stage.events().await);
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
    for _ in 0..LANES {
        let peer = stage.upstream.peer().await;
        stage.feeds.keep(peer);
    }
    for number in 0..LANES {
        grpc::once(&mut stage.client, &lane(number), ConnectionStatus::Connected).await;
    }
    stage.feeds.speak_as_told(&mut stage.client, (0..LANES).map(lane).collect(), PACE.at_most(20)).await;
    stage.feeds.spoken().await;
    let events = wait_for("everything to be published", async || {
        let events = stage.events().await;
        let metrics = stage.fleet.service(0).metrics().await;
        let new = events.iter().filter(|event| event["data"]["payload"].as_str().is_some_and(|text| text.contains(" 1 ")));
        let waits = metrics.sum("wsm_publish_pending_messages", &[]) + metrics.sum("wsm_publish_spilled_messages", &[]);
        (new.count() >= LANES * 20 && waits == 0.0).then_some(events)
    })
    .await;
    let account = stage.feeds.shared.sent.audit(&events);
    account.assert_clean();
    for number in 0..LANES {
        assert_stream_reads(&events, &lane(number));
    }
    let restored = stage.fleet.service(0).metric("wsm_publish_restored_total", &[]).await;
    assert!(restored > 0.0, "it came from the spill log");
    println!("{backing:?}: {} delivered, {restored} restored, {} in gaps", account.delivered, account.in_gaps);
}

/// Old epoch up to what was spilled, one gap record that names that, the new epoch.
fn assert_stream_reads(events: &[Value], name: &str) {
    let own: Vec<&Value> = events.iter().filter(|event| event["subject"] == name).collect();
    let epoch = |event: &Value| event["data"]["epoch"].as_u64();
    let first = own.iter().find_map(|event| epoch(event)).expect("an old epoch");
    let last = own.iter().filter_map(|event| epoch(event)).max().expect("a new epoch");
    assert!(last > first, "{name}: a new epoch");
    let of_old = |event: &&&Value| epoch(event) == Some(first);
    let seq = own.iter().filter(of_old).filter_map(|event| event["data"]["seq"].as_u64()).max().expect("a seq");
    let is_bridge = |event: &&&Value| event["type"] == GAP && event["data"]["to"]["epoch"].as_u64() != Some(first);
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

#[tokio::test]
async fn after_a_crash_with_a_full_spill_log_the_stream_reads_on_dapr() {
    a_crash_is_told(Backing::Dapr).await;
}

#[tokio::test]
async fn after_a_crash_with_a_full_spill_log_the_stream_reads_on_redis() {
    a_crash_is_told(Backing::Redis).await;
}
