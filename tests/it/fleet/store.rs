//! The store goes away, comes back, or comes back empty.

use super::{accounted, all_open, dial, index_is, published, readiness};
use crate::harness::{
    Upstream,
    feed::Feed,
    fleet::{Backing, Fleet, FleetPlan},
    wait_for, wait_long,
};
use serde_json::{Value, json};
use websocket_manager::proto::SendRequest;

const NAMES: [&str; 4] = ["s-0", "s-1", "s-2", "s-3"];

async fn fill(fleet: &Fleet, feed: &Feed) {
    for (number, name) in NAMES.iter().enumerate() {
        let mut client = fleet.service(number % fleet.members.len()).grpc().await;
        dial(&mut client, published(feed, name, "store")).await;
    }
    index_is(fleet, &NAMES).await;
}

/// Each record is there, whole, and names a member. Each member writes itself into the list again
/// with its own next renewal.
async fn documents_are_whole(fleet: &Fleet) {
    let runs = wait_long("all members in the list", async || {
        let members = fleet.document("wsm-members").await?;
        let members = members.as_array().expect("a list");
        let runs = members.iter().filter_map(|it| it["incarnation"].as_str()).map(str::to_owned);
        (members.len() == fleet.members.len()).then(|| runs.collect::<Vec<String>>())
    })
    .await;
    for name in NAMES {
        let document = fleet.document(&format!("websocket-{name}")).await.expect("its record");
        let owner = document["owner"].as_str().unwrap_or_default();
        assert!(runs.iter().any(|run| run == owner), "{name}: {owner} is none of {runs:?}");
        assert!(document["request"].is_string() && document["epoch"].is_u64(), "{document}");
    }
}

pub async fn members_without_their_store_stop_and_come_back() {
    let Some(mut fleet) = FleetPlan::new(2, Backing::Redis).start().await else { return };
    fleet.gathered().await;
    let feed = Feed::start().await;
    fill(&fleet, &feed).await;
    let mut client = fleet.service(0).grpc().await;

    // Away for less than a lease: nobody drops anything.
    let redis = fleet.redis.as_mut().expect("it is on Redis");
    redis.kill().await;
    redis.start_again().await;
    let renewals = fleet.service(0).metric("wsm_lease_renewals_total", &[]).await;
    wait_for("a renewal", async || {
        (fleet.service(0).metric("wsm_lease_renewals_total", &[]).await > renewals).then_some(())
    })
    .await;
    let before = all_open(&mut client, &NAMES).await;
    assert!(NAMES.iter().all(|name| feed.sockets(name).len() == 1), "nothing was dropped");

    fleet.redis.as_mut().expect("it is on Redis").kill().await;
    wait_long("both to stop", async || {
        for member in &fleet.members {
            let (status, body) = readiness(&member.service).await;
            if status != 503 {
                return None;
            }
            assert!(
                body["reason"].as_str().is_some_and(|why| why.contains("redis") || why.contains("Redis")),
                "{body}"
            );
        }
        (feed.open() == 0).then_some(())
    })
    .await;
    fleet.redis.as_mut().expect("it is on Redis").start_again().await;
    let after = all_open(&mut client, &NAMES).await;
    for name in NAMES {
        assert!(after[name].epoch > before[name].epoch, "{name}");
    }
    assert_eq!(feed.alive(), NAMES, "each has one socket");
    fleet.gathered().await;
    for member in &fleet.members {
        wait_for("readiness", async || (readiness(&member.service).await.0 == 200).then_some(())).await;
    }
    index_is(&fleet, &NAMES).await;
    documents_are_whole(&fleet).await;
    accounted(&feed, fleet.redis(), "store").await;
    feed.assert_no_overlap();
}

pub async fn who_is_alone_goes_on_without_his_store() {
    let Some(mut fleet) = FleetPlan::new(1, Backing::Redis).start().await else { return };
    let (feed, echo) = (Feed::start().await, Upstream::echo().await);
    fill(&fleet, &feed).await;
    let mut client = fleet.service(0).grpc().await;
    dial(&mut client, json!({"connectionId": "echo", "url": echo.url()})).await;
    fleet.redis.as_mut().expect("it is on Redis").kill().await;
    let body = wait_long("going on alone", async || {
        let (status, body) = readiness(fleet.service(0)).await;
        assert_eq!(status, 200, "{body}");
        (body["advisory"] == Value::Bool(true)).then_some(body)
    })
    .await;
    assert!(body["degraded"].is_string(), "{body}");
    assert_eq!(fleet.service(0).metric("wsm_lease_advisory", &[]).await, 1.0);
    // As long again as a strict lease would have lasted.
    let mut sends = 0;
    wait_long("what a strict lease would not outlive", async || {
        let send = SendRequest { id: "echo".into(), message: format!("{sends}"), ..Default::default() };
        let reply = client.send(send).await.expect("Sends go on").into_inner().response;
        assert_eq!(reply, sends.to_string());
        sends += 1;
        (sends >= 100).then_some(())
    })
    .await;
    fleet.redis.as_mut().expect("it is on Redis").start_again().await;
    wait_long("the lease to be held again", async || {
        let (status, body) = readiness(fleet.service(0)).await;
        (status == 200 && body["advisory"] == Value::Bool(false)).then_some(())
    })
    .await;
    let events = accounted(&feed, fleet.redis(), "store").await;
    let account = feed.sent().audit(&events);
    assert_eq!((account.in_gaps, account.gaps), (0, 0), "nothing is lost: {account:?}");
    assert!(NAMES.iter().all(|name| feed.sockets(name).len() == 1), "and nothing was dropped");
    assert_eq!(fleet.service(0).metric("wsm_lease_fences_total", &[]).await, 0.0);
    documents_are_whole(&fleet).await;
}

/// Emptied while it runs, and gone and back without anything.
pub async fn owners_write_again_what_the_store_lost() {
    let Some(mut fleet) = FleetPlan::new(2, Backing::Redis).start().await else { return };
    fleet.gathered().await;
    let feed = Feed::silent().await;
    fill(&fleet, &feed).await;
    let mut client = fleet.service(0).grpc().await;
    for restarts in [false, true] {
        fleet.redis().run::<String>(&["FLUSHALL"]).await;
        if restarts {
            let redis = fleet.redis.as_mut().expect("it is on Redis");
            redis.kill().await;
            redis.start_again().await;
        }
        for name in NAMES {
            wait_long("its record", async || fleet.document(&format!("websocket-{name}")).await).await;
        }
        index_is(&fleet, &NAMES).await;
        fleet.gathered().await;
        documents_are_whole(&fleet).await;
        all_open(&mut client, &NAMES).await;
        assert!(NAMES.iter().all(|name| feed.sockets(name).len() == 1), "nothing is dropped");
    }
    for member in &fleet.members {
        assert_eq!(member.service.metric("wsm_lease_fences_total", &[]).await, 0.0);
    }
}

/// Nobody takes the lease back, and the end is an orderly one all the same.
pub async fn who_leaves_while_the_store_is_away_comes_to_an_end() {
    let plan = FleetPlan::new(1, Backing::Redis).args(&["--drain-lame-duck", "0s", "--drain-timeout", "4s"]);
    let Some(mut fleet) = plan.start().await else { return };
    let feed = Feed::silent().await;
    fill(&fleet, &feed).await;
    fleet.redis.as_mut().expect("it is on Redis").kill().await;
    let code = fleet.terminate(0).await;
    // What is still to be published lies on disk; 2 says that it did not leave in time.
    assert!(matches!(code, 0 | 2), "{code}: {}", fleet.service(0).log());
    wait_for("the sockets to be closed", async || (feed.open() == 0).then_some(())).await;
    assert!(!fleet.service(0).log().contains("panicked"), "{}", fleet.service(0).log());
}
