//! An owner that stands still for longer than its lease.

use super::{accounted, all_open, dial, incarnations, published};
use crate::harness::{
    feed::Feed,
    fleet::{Backing, FleetPlan},
    grpc, wait_for, wait_long,
};
use serde_json::json;
use websocket_manager::proto::SendRawRequest;

const NAMES: [&str; 3] = ["p-0", "p-1", "p-2"];

pub async fn who_overslept_writes_nothing_and_begins_anew() {
    let Some(fleet) = FleetPlan::new(2, Backing::Redis).start().await else { return };
    fleet.gathered().await;
    let feed = Feed::start().await;
    let mut sleeper = fleet.service(0).grpc().await;
    let mut client = fleet.service(1).grpc().await;
    for name in NAMES {
        dial(&mut sleeper, published(&feed, name, "nap")).await;
    }
    let before = all_open(&mut client, &NAMES).await;
    let runs = incarnations(&fleet, "wsm-0").await;
    fleet.pause(0).await;
    // It waits in the sleeper's sockets until he wakes up.
    let late = SendRawRequest { id: NAMES[0].into(), message: "late".into(), ..Default::default() };
    let mut asked = sleeper.clone();
    let late = tokio::spawn(async move { asked.send_raw(late).await });
    let after = all_open(&mut client, &NAMES).await;
    for name in NAMES {
        assert!(after[name].epoch > before[name].epoch, "{name}");
        assert_eq!(after[name].instance_id, "wsm-1", "{name}");
        assert!(feed.sockets(name)[0].open, "nobody closed what the sleeper holds");
    }
    fleet.resume(0).await;
    wait_for("the old sockets to be closed", async || (feed.alive().len() == NAMES.len()).then_some(()))
        .await;
    let late = late.await.expect("it was asked");
    for name in NAMES {
        let sockets = feed.sockets(name);
        assert_eq!((sockets.len(), sockets[0].open, sockets[1].open), (2, false, true), "{name}");
        assert_eq!((&sockets[0].got[..], sockets[0].frames), (&[] as &[String], 0), "{name}: written late");
    }
    // Forwarded to who has it now, or refused: never lost in between.
    let heard = feed.sockets(NAMES[0])[1].got.len();
    assert_eq!(heard, usize::from(late.is_ok()), "{late:?}");
    wait_long("the sleeper to be a member again", async || {
        let now = incarnations(&fleet, "wsm-0").await;
        (now.len() == 1 && now != runs).then_some(())
    })
    .await;
    fleet.gathered().await;
    wait_for("the sleeper to be ready", async || {
        (fleet.service(0).http().get("/readyz").await.status == 200).then_some(())
    })
    .await;
    for name in NAMES {
        assert_eq!(grpc::get(&mut sleeper, name).await.expect("forwarded").instance_id, "wsm-1");
    }
    let silent = Feed::silent().await;
    dial(&mut sleeper, json!({"connectionId": "new", "url": silent.url("new")})).await;
    assert_eq!(grpc::get(&mut client, "new").await.expect("forwarded").instance_id, "wsm-0");
    accounted(&feed, fleet.redis(), "nap").await;
}
