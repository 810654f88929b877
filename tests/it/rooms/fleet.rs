//! Rooms across instances: any of them takes a send, members everywhere hear it, and what a broker or
//! an instance loses is recovered or said.

use super::{number, send};
use crate::harness::{
    Visitor,
    fleet::{Backing, Fleet, FleetPlan},
    wait_for, wait_long,
};
use serde_json::{Value, json};

async fn started(count: usize, backing: Backing) -> Option<Fleet> {
    let fleet = FleetPlan::new(count, backing).start().await?;
    fleet.gathered().await;
    Some(fleet)
}

/// Sends until the room's sequencer takes it: it begins one lease after the last change of the fleet.
async fn send_when_ready(fleet: &Fleet, instance: usize, room: &str, text: &str) {
    let path = format!("/v1/rooms/{room}/messages");
    post_when_ready(fleet, instance, &path, &json!({ "message": text })).await;
}

async fn post_when_ready(fleet: &Fleet, instance: usize, path: &str, body: &Value) {
    wait_long("the room to be numbered", async || {
        let answer = fleet.service(instance).http().post(path, body).await;
        assert!(answer.status == 200 || answer.text().contains("not_sent"), "{}", answer.text());
        (answer.status == 200).then_some(())
    })
    .await;
}

/// The next message. A room whose sequencer changed says so by a gap before it.
async fn message(visitor: &mut Visitor) -> Value {
    loop {
        let frame = visitor.json().await;
        match frame.get("gap") {
            None => return frame,
            Some(gap) => assert_eq!(gap["cause"], "new_epoch", "{frame}"),
        }
    }
}

async fn any_instance_sends_to_members_everywhere(backing: Backing) {
    let Some(fleet) = started(2, backing).await else { return };
    send_when_ready(&fleet, 0, "warm", "up").await;
    let mut here = Visitor::when_ready(fleet.service(0), "/ws/lobby").await;
    let mut there = Visitor::when_ready(fleet.service(1), "/ws?room=lobby&room=news").await;
    for nth in 0..20 {
        send_when_ready(&fleet, nth % 2, "lobby", &format!("m{nth}")).await;
    }
    let mut last = (0, 0);
    for nth in 0..20 {
        let (one, other) = (message(&mut here).await, message(&mut there).await);
        assert_eq!((&one["data"], &other["data"]), (&json!(format!("m{nth}")), &json!(format!("m{nth}"))));
        assert_eq!((&one["epoch"], &one["offset"]), (&other["epoch"], &other["offset"]));
        last = (number(&one["epoch"]), number(&one["offset"]));
    }
    let both = json!({"rooms": ["lobby", "news"], "message": "to both"});
    post_when_ready(&fleet, 0, "/v1/rooms:send", &both).await;
    assert_eq!(message(&mut there).await["data"], "to both");
    post_when_ready(&fleet, 1, "/v1/broadcast", &json!({"message": "everybody"})).await;
    assert_eq!(
        (message(&mut here).await["data"].clone(), message(&mut here).await["data"].clone()),
        (json!("to both"), json!("everybody"))
    );
    assert_eq!(message(&mut there).await["data"], "everybody", "a message to both rooms comes once");

    // Lists are the whole fleet's, and an id leads to its instance from any other.
    let members = fleet.service(0).http().get("/v1/rooms/lobby/members").await.json();
    assert_eq!(members["members"].as_array().map(Vec::len), Some(2), "{members}");
    for member in members["members"].as_array().expect("members") {
        let id = member["id"].as_str().expect("an id");
        for instance in 0..2 {
            let got = fleet.service(instance).http().get(&format!("/v1/connections/{id}")).await;
            assert_eq!(got.status, 200, "{}", got.text());
        }
    }
    // Who comes back at the other instance has missed nothing.
    here.close().await;
    send_when_ready(&fleet, 1, "lobby", "missed").await;
    let path = format!("/ws/lobby?epoch={}&offset={}", last.0, last.1);
    let mut back = Visitor::when_ready(fleet.service(1), &path).await;
    assert_eq!(back.json().await["recovered"], true);
    assert_eq!(
        (message(&mut back).await["data"].clone(), message(&mut back).await["data"].clone()),
        (json!("to both"), json!("missed"))
    );
}

#[tokio::test]
async fn any_instance_sends_to_members_everywhere_on_redis() {
    any_instance_sends_to_members_everywhere(Backing::Redis).await;
}

#[tokio::test]
async fn any_instance_sends_to_members_everywhere_on_dapr() {
    any_instance_sends_to_members_everywhere(Backing::Dapr).await;
}

#[tokio::test]
async fn a_broken_subscription_loses_nothing_though_nothing_follows() {
    let Some(fleet) = started(2, Backing::Redis).await else { return };
    let mut visitors = Vec::new();
    for instance in 0..2 {
        visitors.push(Visitor::when_ready(fleet.service(instance), "/ws/lobby").await);
    }
    for round in 0..3 {
        fleet.redis().run::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        send(fleet.service(round % 2), "lobby", &format!("round {round}")).await;
        for visitor in &mut visitors {
            assert_eq!(visitor.json().await["data"], format!("round {round}"));
        }
    }
}

#[tokio::test]
async fn a_server_that_was_away_is_back_and_rooms_go_on() {
    let Some(mut fleet) = started(2, Backing::Redis).await else { return };
    let mut visitor = Visitor::when_ready(fleet.service(1), "/ws/lobby").await;
    send(fleet.service(0), "lobby", "before").await;
    assert_eq!(visitor.json().await["data"], "before");
    fleet.redis_mut().kill().await;
    let refused = fleet.service(0).http().post("/v1/rooms/lobby/messages", &json!({"message": "lost"})).await;
    assert!(matches!(refused.status, 409 | 503), "{}", refused.text());
    assert!(refused.text().contains("_sent"), "{}", refused.text());
    fleet.redis_mut().start_again().await;
    wait_long("the room to be numbered again", async || {
        let path = "/v1/rooms/lobby/messages";
        let answer = fleet.service(0).http().post(path, &json!({ "message": "after" })).await;
        (answer.status == 200).then_some(())
    })
    .await;
    loop {
        let frame = visitor.json().await;
        if frame.get("gap").is_none() {
            assert!(frame["data"] == "after" || frame["data"] == "lost", "{frame}");
            if frame["data"] == "after" {
                break;
            }
        }
    }
}

#[tokio::test]
async fn the_members_of_a_dead_instance_are_gone_with_its_lease() {
    let Some(mut fleet) = started(2, Backing::Redis).await else { return };
    let _stays = Visitor::new(fleet.service(0), "/ws/lobby").await;
    let _dies = Visitor::new(fleet.service(1), "/ws/lobby").await;
    let count = async |fleet: &Fleet| {
        let answer = fleet.service(0).http().get("/v1/rooms/lobby/members").await;
        answer.json()["members"].as_array().map(Vec::len)
    };
    wait_for("both to be members", async || (count(&fleet).await == Some(2)).then_some(())).await;
    fleet.kill(1).await;
    wait_long("one of them to be gone", async || (count(&fleet).await == Some(1)).then_some(())).await;
}
