//! A sidecar or a broker that is away for a while: nothing is lost, and nothing else stops.

use super::{
    feed::{Feeds, Pace, ask},
    settled,
};
use crate::harness::{
    Client, Upstream,
    fleet::{Backing, Fleet, FleetPlan},
    metrics::Metrics,
    wait_for,
};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::interval;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Sidecar,
    Broker,
}

/// Messages by which the backlog has to shrink before its time is up.
const SHRINKS: f64 = 1000.0;

/// Messages a second of all lanes, and for how long the part is away.
#[derive(Clone, Copy)]
struct Load {
    lanes: usize,
    rate: usize,
    seconds: usize,
}

/// With WSM_LONG=1 as long and as busy as the promise says; else what a test run can afford.
fn load() -> Load {
    match std::env::var_os("WSM_LONG") {
        Some(_) => Load { lanes: 100, rate: 5000, seconds: 60 },
        None => Load { lanes: 20, rate: 1000, seconds: 10 },
    }
}

async fn set_away(fleet: &mut Fleet, what: Outage, away: bool) {
    let sidecar = fleet.members[0].sidecar.as_mut();
    match (what, sidecar, away) {
        (Outage::Sidecar, Some(sidecar), true) => sidecar.kill().await,
        (Outage::Sidecar, Some(sidecar), false) => sidecar.start_again().await,
        (Outage::Sidecar, None, _) => panic!("no sidecar here"),
        (Outage::Broker, _, true) => fleet.redis.as_mut().expect("it is there").kill().await,
        (Outage::Broker, _, false) => fleet.redis.as_mut().expect("it is there").start_again().await,
    }
}

/// Sends with replies until the feeds have said so much; how many there were.
async fn asks_until(client: &mut Client, feeds: &Feeds, lanes: usize, said: usize, asked: &mut usize) {
    let mut pace = interval(Duration::from_millis(50));
    while feeds.said() < said {
        pace.tick().await;
        ask(client, &format!("lane-{}", *asked % lanes), *asked).await;
        *asked += 1;
    }
}

async fn nothing_is_lost(backing: Backing, what: Outage) {
    let load = load();
    // Little memory, so that a short outage spills as a long one does.
    let args = ["--ping-interval", "500ms", "--publish-queue-bytes", "262144"];
    let Some(mut fleet) = FleetPlan::new(1, backing).args(&args).start().await else { return };
    let mut upstream = Upstream::start().await;
    let mut client = fleet.service(0).grpc().await;
    let mut feeds = Feeds::default();
    for lane in 0..load.lanes {
        let format = ["PUBLISH_FORMAT_ENVELOPE", "PUBLISH_FORMAT_PAYLOAD", "PUBLISH_FORMAT_FRAMES"][lane % 3];
        let more = json!({"publish": {"topic": "feed", "format": format}, "autoReconnect": true});
        let pace = Pace::per_second(load.rate / load.lanes);
        feeds.open(&mut client, &mut upstream, &format!("lane-{lane}"), more, pace).await;
    }
    let mut asked = 0;
    asks_until(&mut client, &feeds, load.lanes, load.rate, &mut asked).await;
    let (before, pings, asked_before) = (fleet.service(0).metrics().await, feeds.pings(), asked);
    set_away(&mut fleet, what, true).await;
    let until = feeds.said() + load.rate * load.seconds;
    asks_until(&mut client, &feeds, load.lanes, until, &mut asked).await;
    let during = fleet.service(0).metrics().await;
    println!("{backing:?} {what:?}: spilled at the end of the outage {}", spilled(&during));
    assert!(spilled(&during) > 0.0, "it was long enough to spill");
    assert!(
        feeds.pings() >= pings + load.seconds * load.lanes / 2,
        "heartbeats go on: {} pings",
        feeds.pings() - pings
    );
    assert!(asked > asked_before + load.seconds, "Sends go on: {}", asked - asked_before);
    set_away(&mut fleet, what, false).await;
    caught_up(&fleet, &mut client, load.lanes, &mut asked).await;
    assert_eq!(upstream.taken(), load.lanes, "no connection was lost");
    feeds.stop().await;
    let after = settled(fleet.service(0), feeds.said()).await;
    assert_books(&before, &after, feeds.said());
    wait_for("the service to be as it was", async || {
        let readyz = fleet.service(0).http().get("/readyz").await;
        (readyz.status == 200 && readyz.json()["advisory"] == false).then_some(())
    })
    .await;
    let events = fleet.redis.as_ref().expect("it is there").events("feed").await;
    let account = feeds.shared.sent.audit(&events);
    account.assert_clean();
    assert_eq!((account.delivered, account.gaps, account.marked), (feeds.said(), 0, 0), "{account:?}");
    println!("{backing:?} {what:?}: {} messages, {} again, {asked} Sends", account.delivered, account.again);
}

fn spilled(metrics: &Metrics) -> f64 {
    metrics.sum("wsm_publish_spilled_messages", &[])
}

/// The backlog goes while the feeds speak on.
async fn caught_up(fleet: &Fleet, client: &mut Client, lanes: usize, asked: &mut usize) {
    let begun = Instant::now();
    let mut left = f64::INFINITY;
    while left > 0.0 {
        left = wait_for("the backlog to shrink", async || {
            ask(client, &format!("lane-{}", *asked % lanes), *asked).await;
            *asked += 1;
            let now = spilled(&fleet.service(0).metrics().await);
            (now == 0.0 || now < left - SHRINKS).then_some(now)
        })
        .await;
    }
    println!("caught up after {} ms", begun.elapsed().as_millis());
}

/// What the outage moved: only the spill's counters, and those of a batch that is sent again.
fn assert_books(before: &Metrics, after: &Metrics, said: usize) {
    let sum = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels);
    assert_eq!(sum("wsm_publish_accepted_total", &[]), said as f64);
    assert_eq!(sum("wsm_publish_delivered_total", &[]), said as f64);
    assert!(sum("wsm_publish_batches_total", &[("outcome", "spilled")]) > 0.0);
    for name in [
        "wsm_messages_dropped_total",
        "wsm_gaps_total",
        "wsm_publish_gap_records_total",
        "wsm_publish_records_refused_total",
        "wsm_publish_records_unreadable_total",
        "wsm_lifecycle_dropped_total",
        "wsm_reconnects_total",
        "wsm_read_pauses_total",
        "wsm_sends_refused_total",
    ] {
        assert_eq!(sum(name, &[]), before.sum(name, &[]), "{name} moved");
        assert_eq!(sum(name, &[]), 0.0, "{name}");
    }
}

#[tokio::test]
async fn a_lone_instance_outlives_its_sidecar() {
    nothing_is_lost(Backing::Dapr, Outage::Sidecar).await;
}

#[tokio::test]
async fn a_lone_instance_outlives_the_broker_behind_its_sidecar() {
    nothing_is_lost(Backing::Dapr, Outage::Broker).await;
}

#[tokio::test]
async fn a_lone_instance_outlives_its_redis() {
    nothing_is_lost(Backing::Redis, Outage::Broker).await;
}
