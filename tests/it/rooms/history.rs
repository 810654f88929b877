//! What a room keeps, and clients that come back.

use super::{number, send};
use crate::harness::{Service, Visitor, service::Plan, wait_for, within};
use serde_json::{Value, json};

async fn position(visitor: &mut Visitor) -> (u64, u64, Value) {
    let frame = visitor.json().await;
    (number(&frame["epoch"]), number(&frame["offset"]), frame)
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_and_then_goes_on() {
    let service = Service::start().await;
    let mut visitor = Visitor::numbered(&service, "/ws/lobby").await;
    send(&service, "lobby", "one").await;
    let (epoch, offset, _) = position(&mut visitor).await;
    visitor.close().await;
    for text in ["two", "three", "four"] {
        send(&service, "lobby", text).await;
    }
    let path = format!("/ws/lobby?epoch={epoch}&offset={offset}");
    let mut back = Visitor::numbered(&service, &path).await;
    let answer = back.json().await;
    assert_eq!((&answer["recovered"], answer["room"].as_str()), (&json!(true), Some("lobby")));
    send(&service, "lobby", "five").await;
    for (nth, text) in ["two", "three", "four", "five"].into_iter().enumerate() {
        let (same, at, frame) = position(&mut back).await;
        assert_eq!((same, at, frame["data"].as_str()), (epoch, nth as u64 + 2, Some(text)));
    }
    // The same by a frame on the socket, from the start.
    back.say(json!({"resume": {"room": "lobby", "epoch": epoch, "offset": 0}}).to_string()).await;
    assert_eq!(back.json().await["recovered"], true);
    for text in ["one", "two", "three", "four", "five"] {
        assert_eq!(back.json().await["data"], text);
    }
}

#[tokio::test]
async fn who_was_away_too_long_is_told_so() {
    let service = Plan::new().args(&["--room-rule", "small history=messages:2"]).start().await;
    let mut visitor = Visitor::numbered(&service, "/ws/small").await;
    send(&service, "small", "one").await;
    let (epoch, offset, _) = position(&mut visitor).await;
    visitor.close().await;
    for text in ["two", "three", "four"] {
        send(&service, "small", text).await;
    }
    let mut back = Visitor::numbered(&service, &format!("/ws/small?epoch={epoch}&offset={offset}")).await;
    assert_eq!(back.json().await["recovered"], false);
    assert_eq!(
        (back.json().await["data"].clone(), back.json().await["data"].clone()),
        (json!("three"), json!("four"))
    );
    // Of another epoch nothing can be said.
    let mut stranger = Visitor::numbered(&service, "/ws/small?epoch=5&offset=1").await;
    assert_eq!(stranger.json().await["recovered"], false);
}

#[tokio::test]
async fn history_is_read_by_position_and_newest_first_without_one() {
    let service = Service::start().await;
    let mut epoch = 0;
    for nth in 1..=5 {
        epoch = send(&service, "a", &format!("m{nth}")).await.0;
    }
    let http = service.http();
    let all = http.get("/v1/rooms/a/messages").await.json();
    assert_eq!(all["messages"].as_array().map(Vec::len), Some(5));
    let page = http.get(&format!("/v1/rooms/a/messages?epoch={epoch}&offset=1&limit=2")).await.json();
    let texts: Vec<_> =
        page["messages"].as_array().expect("a list").iter().map(|m| m["text"].clone()).collect();
    assert_eq!((texts, &page["recovered"]), (vec![json!("m2"), json!("m3")], &json!(true)));
    let unknown = http.get("/v1/rooms/a/messages?epoch=3&offset=1").await.json();
    assert_ne!(unknown["recovered"], json!(true));
}

#[tokio::test]
async fn a_room_is_followed_by_server_sent_events_and_resumed() {
    let service = Service::start().await;
    send(&service, "a", "before").await;
    let http = service.http();
    let mut events = http.events("/v1/rooms/a/events?fromStart=true", None).await;
    let first = within("the first event", events.next()).await;
    send(&service, "a", "after").await;
    let second = within("the second event", events.next()).await;
    let body = |data: &Value| data["text"].clone();
    assert_eq!((body(&first.data), body(&second.data)), (json!("before"), json!("after")));
    drop(events);
    send(&service, "a", "missed").await;
    let mut events = http.events("/v1/rooms/a/events", Some(&second.id)).await;
    assert_eq!(body(&within("what was missed", events.next()).await.data), json!("missed"));
}

#[tokio::test]
async fn a_room_that_nobody_needs_is_forgotten() {
    let service = Plan::new().args(&["--room-rule", "short-* history=none"]).start().await;
    for nth in 0..200 {
        let visitor = Visitor::new(&service, &format!("/ws/short-{nth}")).await;
        visitor.close().await;
    }
    wait_for("no room to be left but that of everybody", async || {
        let metrics = service.metrics().await;
        let rooms = metrics.sum("wsm_rooms", &[]);
        let homes = metrics.sum("wsm_room_homes", &[]);
        (rooms <= 2.0 && homes <= 2.0).then_some(())
    })
    .await;
}
