//! Who is in which room, and those who do not keep up.

use super::send;
use crate::harness::{Service, Visitor, service::Plan, wait_for};
use serde_json::json;
use std::time::Duration;

async fn ids(service: &Service, path: &str, key: &str) -> Vec<String> {
    let answer = service.http().get(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = answer.json()[key].as_array().cloned().unwrap_or_default();
    list.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn rooms_and_members_are_listed_with_counts() {
    let service = Service::start().await;
    let mut visitors = Vec::new();
    for room in ["a", "a", "b"] {
        visitors.push(Visitor::new(&service, &format!("/ws/{room}")).await);
    }
    let rooms = service.http().get("/v1/rooms").await.json();
    let names: Vec<_> = rooms["rooms"].as_array().expect("rooms").clone();
    assert_eq!(names.len(), 2, "{rooms}");
    assert_eq!((&names[0]["name"], super::number(&names[0]["members"])), (&json!("a"), 2));
    assert_eq!(ids(&service, "/v1/rooms/a/members", "members").await.len(), 2);
    visitors.remove(0).close().await;
    wait_for("one to be gone", async || {
        (ids(&service, "/v1/rooms/a/members", "members").await.len() == 1).then_some(())
    })
    .await;
    let connections = ids(&service, "/v1/connections?direction=IN", "connections").await;
    assert_eq!(connections.len(), 2);
    assert!(connections.iter().all(|id| id.starts_with('~')), "{connections:?}");
}

#[tokio::test]
async fn an_application_puts_connections_into_rooms_and_takes_them_out() {
    let service = Service::start().await;
    let mut visitor = Visitor::new(&service, "/ws/a").await;
    let id = ids(&service, "/v1/rooms/a/members", "members").await.remove(0);
    let http = service.http();
    let path = format!("/v1/rooms/b/members/{id}");
    assert_eq!(http.call("PUT", &path, None).await.status, 200);
    send(&service, "b", "in b").await;
    assert_eq!(visitor.text().await, "in b");
    assert_eq!(http.call("DELETE", &path, None).await.status, 200);
    send(&service, "b", "not any more").await;
    send(&service, "a", "in a").await;
    assert_eq!(visitor.text().await, "in a");
    assert_eq!(http.call("DELETE", &path, None).await.status, 404);
    assert_eq!(http.call("PUT", "/v1/rooms/b/members/nobody", None).await.status, 404);
}

#[tokio::test]
async fn a_client_joins_leaves_and_pings_by_itself() {
    let service = Service::start().await;
    let mut visitor = Visitor::numbered(&service, "/ws/a").await;
    visitor.say("{\"ping\": {\"at\": 1}}").await;
    assert_eq!(visitor.json().await, json!({"pong": {"at": 1}}));
    visitor.say("{\"join\": \"b\", \"id\": 7}").await;
    let joined = visitor.json().await;
    assert_eq!((joined["joined"].as_str(), &joined["id"]), (Some("b"), &json!(7)));
    send(&service, "b", "hello b").await;
    assert_eq!(visitor.json().await["data"], "hello b");
    visitor.say("{\"leave\": \"b\"}").await;
    assert_eq!(visitor.json().await, json!({"left": "b"}));
    visitor.say("{\"join\": \"bad\\u0000name\", \"id\": \"x\"}").await;
    let refused = visitor.json().await;
    assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!("INVALID_ARGUMENT"), &json!("x")));
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed_and_holds_up_nobody() {
    let service = Service::start().await;
    let stuck = Visitor::new(&service, "/ws/a").await.into_stream();
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(Visitor::new(&service, "/ws/a").await);
    }
    let text = "x".repeat(100_000);
    let sender = async {
        wait_for("the slow reader to be closed", async || {
            send(&service, "a", &text).await;
            (service.metric("wsm_slow_readers_total", &[("action", "close")]).await >= 1.0).then_some(())
        })
        .await;
        send(&service, "a", "the last").await;
    };
    let readers = others.iter_mut().map(async |other| while other.text().await != "the last" {});
    tokio::join!(sender, futures_util::future::join_all(readers));
    assert_eq!(service.metric("wsm_slow_readers_total", &[]).await, 1.0, "a neighbour was closed too");
    drop(stuck);
    wait_for("the books", async || {
        let metrics = service.metrics().await;
        let outcomes = metrics.sum("wsm_room_deliveries_total", &[]);
        let accepted = metrics.sum("wsm_room_deliveries_accepted_total", &[]);
        let in_flight = metrics.sum("wsm_room_deliveries_in_flight", &[]);
        (accepted > 0.0 && accepted == outcomes + in_flight && in_flight == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rule_lets_a_slow_reader_lose_the_oldest_and_says_so() {
    let service =
        Plan::new().args(&["--reader-bytes-max", "64KiB", "--room-rule", "a slow=drop_oldest"]).start().await;
    let mut slow = Visitor::numbered(&service, "/ws/a").await;
    let text = "x".repeat(100_000);
    let mut sent = 0;
    wait_for("the slow reader to lose some", async || {
        sent = send(&service, "a", &text).await.1;
        (service.metric("wsm_slow_readers_total", &[("action", "drop_oldest")]).await >= 1.0).then_some(())
    })
    .await;
    let (_, last) = send(&service, "a", "the last").await;
    let (mut seen, mut skipped) = (0, 0);
    while seen < last {
        let frame = slow.json().await;
        if let Some(gap) = frame.get("gap") {
            assert_eq!((gap["cause"].as_str(), &gap["from"]["offset"]), (Some("slow_reader"), &json!(seen)));
            let to = gap["to"]["offset"].as_u64().expect("a number");
            skipped += to - seen - 1;
            seen = to - 1;
        } else {
            let offset = frame["offset"].as_u64().expect("a number");
            assert_eq!(offset, seen + 1, "a hole that no gap announces");
            seen = offset;
        }
    }
    assert!(skipped > 0, "nothing was skipped");
    assert_eq!(service.metric("wsm_closes_total", &[("cause", "slow_reader")]).await, 0.0);
}

#[tokio::test]
async fn users_are_reached_and_ended_wherever_they_are() {
    // Who somebody is says the authoriser; without one a room's members have no user.
    let service = Service::start().await;
    let answer = service.http().post("/v1/users/u1/messages", &json!({"message": "x"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut visitor = Visitor::new(&service, "/ws/a").await;
    let kicked = service.http().call("DELETE", "/v1/users/u1/connections", None).await;
    assert_eq!(kicked.status, 200);
    assert!(crate::harness::wait::stays_pending(Duration::from_millis(100), visitor.text()).await);
}
